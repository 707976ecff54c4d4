//! How much of a rate is used up: the generic cell rate algorithm, as a bucket that leaks.
//!
//! ITU-T I.371, annex A, gives the algorithm in two forms that decide alike: a time at which the
//! next one is due, and the bucket that is here. The bucket suits what a time does not: an estimate
//! that is corrected when the truth is known, and a rate that is changed under way, neither of
//! which the `governor` crate has. A minute's worth fits in at once, then it goes on at the rate.
//! Time is an argument, and all of it is integers, so that nothing is lost to rounding.

use std::num::NonZeroU64;
use std::time::Duration;

use runtime_core::Tick;

/// One rate of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    per_minute: NonZeroU64,
    /// What is in the bucket: each unit that was taken is [`MINUTE_US`] of it, and every
    /// microsecond takes `per_minute` of it away.
    level: u128,
    /// When that was so.
    at: Tick,
}

/// Where a meter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Units in a minute.
    pub limit: u64,
    /// Units that may be taken now.
    pub remaining: u64,
    /// When nothing will be used up any more, if nothing is taken until then.
    pub reset: Duration,
}

const MINUTE_US: u128 = 60_000_000;

impl Meter {
    /// A rate of which nothing is used up.
    pub(crate) const fn new(per_minute: NonZeroU64) -> Self {
        Self { per_minute, level: 0, at: Tick(0) }
    }

    /// The same use of another rate.
    pub(crate) const fn at_rate(self, per_minute: NonZeroU64) -> Self {
        Self { per_minute, ..self }
    }

    /// Takes `num` units. More than the limit are taken when nothing is used up, and paid off
    /// afterwards: otherwise they could never be.
    ///
    /// # Errors
    /// How long it takes until they could be taken, if nobody else takes any.
    pub(crate) fn take(&mut self, num: u64, now: Tick) -> Result<(), Duration> {
        self.leak(now);
        let asked = u128::from(num.min(self.per_minute.get())) * MINUTE_US;
        let over = (self.level + asked).saturating_sub(self.capacity());
        if over > 0 {
            return Err(self.time_for(over));
        }
        self.level += u128::from(num) * MINUTE_US;
        Ok(())
    }

    /// So many were taken, and so many used. What was not is given back; what was used beyond is
    /// owed, and those who come later wait for it.
    ///
    /// However much is given back, no more than a minute's worth and the rate times the time is
    /// ever used by those who took what they used: the bucket holds all that was used, less what
    /// has leaked, or is empty.
    pub(crate) fn correct(&mut self, taken: u64, used: u64, now: Tick) {
        self.leak(now);
        let (taken, used) = (u128::from(taken) * MINUTE_US, u128::from(used) * MINUTE_US);
        self.level = (self.level + used).saturating_sub(taken);
    }

    /// Where it stands.
    pub(crate) fn read(&mut self, now: Tick) -> Reading {
        self.leak(now);
        let room = self.capacity().saturating_sub(self.level) / MINUTE_US;
        Reading {
            limit: self.per_minute.get(),
            remaining: u64::try_from(room).expect("no more than the limit"),
            reset: self.time_for(self.level),
        }
    }

    fn leak(&mut self, now: Tick) {
        let elapsed = u128::from(now.0.saturating_sub(self.at.0));
        self.level = self.level.saturating_sub(elapsed * u128::from(self.per_minute.get()));
        self.at = self.at.max(now);
    }

    fn capacity(&self) -> u128 {
        u128::from(self.per_minute.get()) * MINUTE_US
    }

    /// How long it takes for so much to leak.
    fn time_for(&self, level: u128) -> Duration {
        let micros = level.div_ceil(u128::from(self.per_minute.get()));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(per_minute: u64) -> Meter {
        Meter::new(NonZeroU64::new(per_minute).unwrap())
    }

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_minute_s_worth_at_once_and_then_the_rate() {
        let mut meter = meter(3);
        for _ in 0..3 {
            assert_eq!(meter.take(1, Tick(0)), Ok(()));
        }
        assert_eq!(meter.take(1, Tick(0)), Err(Duration::from_secs(20)));
        assert_eq!(meter.take(1, Tick(15 * SECOND)), Err(Duration::from_secs(5)));
        assert_eq!(meter.take(1, Tick(20 * SECOND)), Ok(()));
        let reset = Duration::from_secs(60);
        assert_eq!(meter.read(Tick(20 * SECOND)), Reading { limit: 3, remaining: 0, reset });
        let reading = meter.read(Tick(80 * SECOND));
        assert_eq!((reading.remaining, reading.reset), (3, Duration::ZERO));
        assert_eq!(meter.take(3, Tick(10 * SECOND)), Ok(()), "time does not go back");
    }

    #[test]
    fn what_is_not_used_is_given_back_and_what_is_used_beyond_is_owed() {
        let mut meter = meter(60);
        assert_eq!(meter.take(60, Tick(0)), Ok(()));
        meter.correct(60, 10, Tick(0));
        assert_eq!(meter.read(Tick(0)).remaining, 50);
        meter.correct(0, 110, Tick(0));
        assert_eq!(meter.read(Tick(0)).remaining, 0);
        assert_eq!(meter.take(1, Tick(0)), Err(Duration::from_secs(61)));
        meter.correct(1_000, 0, Tick(0));
        assert_eq!(meter.read(Tick(0)).remaining, 60, "never more than a minute's worth");
    }

    #[test]
    fn more_than_the_limit_waits_for_all_of_it_and_is_paid_off() {
        let mut meter = meter(60);
        assert_eq!(meter.take(1, Tick(0)), Ok(()));
        assert_eq!(meter.take(600, Tick(0)), Err(Duration::from_secs(1)));
        assert_eq!(meter.take(600, Tick(SECOND)), Ok(()));
        assert_eq!(meter.read(Tick(SECOND)).reset, Duration::from_secs(600));
    }

    #[test]
    fn a_rate_that_changes_keeps_what_is_used() {
        let mut slow = meter(60);
        assert_eq!(slow.take(30, Tick(0)), Ok(()));
        let mut fast = slow.at_rate(NonZeroU64::new(120).unwrap());
        assert_eq!(fast.read(Tick(0)).remaining, 90);
        assert_eq!(fast.read(Tick(15 * SECOND)).remaining, 120);
    }

    /// Whatever is estimated, nobody uses more than a minute's worth and the rate allow.
    #[test]
    fn estimates_that_are_too_large_win_nothing() {
        let mut meter = meter(1_000);
        let (mut used, mut open, mut state) = (0_u64, Vec::new(), 1_u64);
        for now in (0..600 * SECOND).step_by(SECOND as usize / 4) {
            // Knuth's linear congruential generator (MMIX).
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let taken = 1 + (state >> 33) % 400;
            if meter.take(taken, Tick(now)).is_ok() {
                open.push((taken, (state >> 40) % (taken + 1)));
            }
            if state >> 63 == 0 && !open.is_empty() {
                let (taken, use_of_it) = open.swap_remove((state >> 20) as usize % open.len());
                meter.correct(taken, use_of_it, Tick(now));
                used += use_of_it;
            }
            assert!(u128::from(used) * 60 <= 1_000 * 60 + 1_000 * u128::from(now) / 1_000_000);
        }
        assert!(used > 5_000, "the test takes something: {used}");
    }
}
