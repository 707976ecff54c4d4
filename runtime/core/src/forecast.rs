//! How long a step will take, learned from those that were measured.
//!
//! The time of a step is taken to be `f(positions) + a · sampled + b · reads + c · pairs`, in the
//! quantities of [`Work`]. `f` is a line between knots at the powers of two: reading weights makes
//! it flat where a batch is small, and arithmetic steep where it is large; a mixture's curve, whose
//! steps touch more experts the more positions they have, bends in between. The knots' values and
//! the three coefficients are estimated by recursive least squares with a random walk (a Kalman
//! filter; Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960), so that a
//! device that slows down is followed.
//!
//! Nothing is known before the first step. Where no step has been, `f` is taken to grow no faster
//! than in proportion: it is concave where weights are shared, and so that is too long rather than
//! too short. It is arithmetic without a clock or chance: equal measurements give equal forecasts.

use crate::work::Work;

/// Knots at 1, 2, 4, up to 65,536 positions.
const KNOTS: usize = 17;
const SAMPLED: usize = KNOTS;
const READS: usize = KNOTS + 1;
const PAIRS: usize = KNOTS + 2;
const TERMS: usize = KNOTS + 3;

/// A knot counts as seen when a step has come this near to it: of the way from one to the next.
const NEAR: f64 = 0.25;

/// One measurement is uncertain by this part of the time.
const NOISE: f64 = 0.05;

/// What a step adds to the uncertainty of each term: of its value, and of its first uncertainty.
const DRIFT: (f64, f64) = (0.01, 0.001);

/// The part of a relative surprise by which what was believed is uncertain again. Without it, what
/// was learned from steps of one kind would be held against those of another for ever.
const DOUBT: f64 = 0.25;

/// Steps after which a knot is forgotten that none has come near to.
const MEMORY: u64 = 200;

/// A measurement counts as no farther from the forecast than this part of it: a step that something
/// else held up says little of the next one.
const SURPRISE_MAX: f64 = 0.5;

/// What steps have told so far.
pub(crate) struct Forecast {
    /// Microseconds: at each knot, and for one of each of the other quantities.
    mean: [f64; TERMS],
    covariance: [[f64; TERMS]; TERMS],
    /// How uncertain each coefficient was at first; of the knots, nothing.
    doubt: [f64; TERMS],
    /// Knots that steps have come near to lately.
    seen: [bool; KNOTS],
    /// For each, the number of the step that last did.
    last_near: [u64; KNOTS],
    num_steps: u64,
}

/// A step as the coefficients of the terms, and what it has beside them.
struct Row {
    of: [f64; TERMS],
    /// The part of the time that is not estimated from this step.
    fixed: f64,
}

impl Forecast {
    pub(crate) const fn new() -> Self {
        Self {
            mean: [0.0; TERMS],
            covariance: [[0.0; TERMS]; TERMS],
            doubt: [0.0; TERMS],
            seen: [false; KNOTS],
            last_near: [0; KNOTS],
            num_steps: 0,
        }
    }

    /// Whether any step has been measured.
    pub(crate) fn is_known(&self) -> bool {
        self.seen.contains(&true)
    }

    /// How long a step of this work takes, in microseconds; 0 while nothing is known.
    pub(crate) fn time_us(&self, work: Work) -> f64 {
        let linear = self.mean[SAMPLED] * f64::from(work.sampled)
            + self.mean[READS] * work.reads as f64
            + self.mean[PAIRS] * work.pairs as f64;
        let (knot, part) = place(work.positions);
        self.knot(knot) * (1.0 - part) + self.knot((knot + 1).min(KNOTS - 1)) * part + linear
    }

    /// A step of this work took so long.
    pub(crate) fn learn(&mut self, work: Work, took_us: u64) {
        if work.positions == 0 || took_us == 0 {
            return;
        }
        let took = took_us as f64;
        if !self.is_known() {
            self.begin(work, took);
        }
        let row = self.row(work);
        self.forget();
        let expected = row.fixed + dot(&row.of, &self.mean);
        let surprise_max = expected * SURPRISE_MAX;
        let surprise = (took - expected).clamp(-surprise_max, surprise_max);
        self.drift(&row, expected, DOUBT * surprise.abs() / expected.max(1.0));
        self.correct(&row, surprise, NOISE * expected.max(took));
    }

    /// The first step says how large the numbers are that follow.
    fn begin(&mut self, work: Work, took: f64) {
        let each = took / f64::from(work.positions);
        // A sampled row may cost as much as a position; a position attended to far less.
        for (term, doubt) in [(SAMPLED, each), (READS, each / 256.0), (PAIRS, each / 4_096.0)] {
            self.doubt[term] = doubt;
            self.covariance[term][term] = doubt * doubt;
        }
        let (knot, part) = place(work.positions);
        let nearest = if part < 0.5 { knot } else { knot + 1 };
        self.see(nearest.min(KNOTS - 1), took);
    }

    /// The step's coefficients. Knots that it comes near to are seen from now on.
    fn row(&mut self, work: Work) -> Row {
        let mut row = Row { of: [0.0; TERMS], fixed: 0.0 };
        row.of[SAMPLED] = work.sampled.into();
        row.of[READS] = work.reads as f64;
        row.of[PAIRS] = work.pairs as f64;
        let (knot, part) = place(work.positions);
        for (knot, part) in [(knot, 1.0 - part), (knot + 1, part)] {
            if part == 0.0 {
                continue;
            }
            let knot = knot.min(KNOTS - 1);
            let value = self.knot(knot);
            if part >= NEAR {
                self.last_near[knot] = self.num_steps;
                if !self.seen[knot] {
                    self.see(knot, value);
                }
            }
            if self.seen[knot] {
                row.of[knot] += part;
            } else {
                row.fixed += part * value;
            }
        }
        row
    }

    /// What steps have not come near to for long is as unknown as it was: what was believed of it
    /// may be what keeps them away.
    fn forget(&mut self) {
        self.num_steps += 1;
        for (seen, last_near) in self.seen.iter_mut().zip(self.last_near) {
            *seen &= self.num_steps - last_near <= MEMORY;
        }
    }

    fn see(&mut self, knot: usize, value: f64) {
        self.seen[knot] = true;
        self.mean[knot] = value;
        self.covariance[knot] = [0.0; TERMS];
        self.covariance.iter_mut().for_each(|row| row[knot] = 0.0);
        self.covariance[knot][knot] = value * value;
    }

    /// The filter's update: every term moves by its share of the surprise.
    fn correct(&mut self, row: &Row, surprise: f64, noise: f64) {
        let spread: [f64; TERMS] = core::array::from_fn(|i| dot(&self.covariance[i], &row.of));
        let variance = dot(&spread, &row.of) + noise * noise;
        for i in 0..TERMS {
            // No time is negative, whatever a noisy step says.
            self.mean[i] = (self.mean[i] + spread[i] / variance * surprise).max(0.0);
            for j in 0..TERMS {
                self.covariance[i][j] -= spread[i] * spread[j] / variance;
            }
        }
    }

    /// The world has moved on since the last step, and the more so the greater the surprise is.
    fn drift(&mut self, row: &Row, expected: f64, surprise: f64) {
        for term in (0..TERMS).filter(|&term| row.of[term] != 0.0) {
            let (value, doubt) = if term < KNOTS {
                (expected, expected)
            } else {
                (self.mean[term], self.doubt[term])
            };
            let by_value = DRIFT.0.max(surprise) * value;
            let by_doubt = DRIFT.1.max(surprise) * doubt;
            if self.covariance[term][term] < doubt * doubt {
                self.covariance[term][term] += by_value * by_value + by_doubt * by_doubt;
            }
        }
    }

    /// The value of `f` at a knot: its estimate, or the most that its neighbours allow. More
    /// positions take no less time than fewer, and no more than in proportion.
    fn knot(&self, knot: usize) -> f64 {
        let seen = |&other: &usize| self.seen[other];
        let rising = |knot| {
            let up_to = (0..=knot).filter(seen).map(|other| self.mean[other]);
            up_to.fold(0.0, f64::max)
        };
        if self.seen[knot] {
            return rising(knot);
        }
        let below = (0..knot).rev().find(seen);
        let above = (knot..KNOTS).find(seen);
        let from_below = below.map(|other| rising(other) * positions(knot - other));
        let from_above = above.map(rising);
        match (from_below, from_above) {
            (Some(below), Some(above)) => below.min(above),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => 0.0,
        }
    }
}

/// The knot at or below a number of positions, and how far it is from there to the next one.
fn place(num_positions: u32) -> (usize, f64) {
    let num_positions = num_positions.max(1);
    let knot = num_positions.ilog2().min(KNOTS as u32 - 1);
    let at = f64::from(1_u32 << knot);
    (knot as usize, (f64::from(num_positions) - at) / at)
}

/// Two to the power of `knot`.
fn positions(knot: usize) -> f64 {
    f64::from(1_u32 << knot)
}

fn dot(a: &[f64; TERMS], b: &[f64; TERMS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests;
