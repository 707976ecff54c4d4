use super::*;

/// Milliseconds of a mixture's decodes by rows, as curved as they get.
const CURVE: [(u32, f64); 9] = [
    (1, 3.09),
    (4, 6.24),
    (8, 9.63),
    (16, 14.87),
    (32, 19.49),
    (64, 22.09),
    (128, 24.0),
    (256, 26.6),
    (512, 27.5),
];

fn truth(work: Work) -> f64 {
    let after = CURVE.iter().position(|&(at, _)| at >= work.positions).expect("on the curve");
    let (to, high) = CURVE[after];
    let (from, low) = CURVE[after.saturating_sub(1)];
    let part = f64::from(work.positions - from) / f64::from((to - from).max(1));
    1_000.0 * (low + part * (high - low)) + 0.03 * work.reads as f64 + 0.002 * work.pairs as f64
}

fn decodes(num_rows: u32, at: u64) -> Work {
    let reads = at * u64::from(num_rows);
    Work { positions: num_rows, sampled: num_rows, reads, pairs: 0 }
}

/// Batches come and go, texts grow, and now and then there is a chunk.
fn taught(times: impl Fn(Work) -> f64) -> Forecast {
    let mut forecast = Forecast::new();
    for step in 0..4_000_u32 {
        let num_rows = [3, 20, 100, 30, 7, 250][(step / 40 % 6) as usize];
        let mut work = decodes(num_rows, u64::from(step % 700));
        if step.is_multiple_of(5) {
            work = work.plus(Work::row(step % 3_000, [40, 200, 16][(step % 3) as usize], false));
        }
        forecast.learn(work, times(work) as u64);
    }
    forecast
}

fn assert_near(forecast: &Forecast, work: Work, expected: f64) {
    let found = forecast.time_us(work);
    let is_near = (found - expected).abs() < 0.07 * expected;
    assert!(is_near, "{work:?} takes {expected}, and {found} is expected");
}

#[test]
fn a_curve_is_found_out_from_the_steps_of_a_day() {
    let forecast = taught(truth);
    for num_rows in [3, 16, 25, 90, 230] {
        let work = decodes(num_rows, 500);
        assert_near(&forecast, work, truth(work));
        let mixed = work.plus(Work::row(2_000, 128, false));
        assert_near(&forecast, mixed, truth(mixed));
    }
}

#[test]
fn one_step_that_something_held_up_changes_little() {
    let mut forecast = taught(truth);
    let work = decodes(20, 500);
    forecast.learn(work, 5_000_000);
    let found = forecast.time_us(work);
    assert!(found < 1.3 * truth(work), "{found} after one long step");
}

#[test]
fn a_device_that_slows_down_is_followed() {
    let mut forecast = taught(truth);
    let work = decodes(20, 500);
    for _ in 0..60 {
        forecast.learn(work, (2.0 * truth(work)) as u64);
    }
    assert_near(&forecast, work, 2.0 * truth(work));
}

#[test]
fn what_no_step_has_shown_is_taken_to_be_long() {
    let mut forecast = Forecast::new();
    assert!(!forecast.is_known());
    assert_eq!(forecast.time_us(decodes(1, 1)), 0.0);
    for _ in 0..10 {
        forecast.learn(decodes(4, 10), 6_000);
    }
    let found = forecast.time_us(Work { positions: 16, ..Work::default() });
    assert!((12_000.0..=24_500.0).contains(&found), "in proportion at most: {found}");
    let found = forecast.time_us(Work { positions: 2, ..Work::default() });
    assert!((3_000.0..=6_100.0).contains(&found), "no longer than more positions: {found}");
}

#[test]
fn no_step_makes_it_forget_itself() {
    let mut forecast = Forecast::new();
    let works = [decodes(1, 0), decodes(4_096, 1 << 24), Work::row(1 << 24, 65_536, true)];
    for (index, took) in [1, u64::MAX, 7, 0, 1 << 40, 3].into_iter().enumerate() {
        forecast.learn(works[index % 3], took);
        for work in works {
            assert!(forecast.time_us(work).is_finite() && forecast.time_us(work) >= 0.0);
        }
    }
}
