//! How fast something has been going lately, so that somebody can be told when to come back.

use crate::Tick;

/// Counts over the last ten seconds: a full window that fades while the next one fills.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    /// When the current window began.
    since: Tick,
    previous: u64,
    current: u64,
}

const WINDOW_US: u64 = 10_000_000;

impl Pace {
    pub(crate) fn count(&mut self, num: u64, now: Tick) {
        *self = self.at(now);
        self.current += num;
    }

    /// How long `num` more take at this pace, in microseconds; `None` if nothing went on lately.
    pub(crate) fn time_for(&self, num: u64, now: Tick) -> Option<u64> {
        let Self { since, previous, current } = self.at(now);
        let elapsed = now.0.saturating_sub(since.0);
        let left = WINDOW_US - elapsed;
        // While there is no window before this one, its own time is all there is.
        let span = if previous == 0 { elapsed.max(1) } else { WINDOW_US };
        let faded = u128::from(previous) * u128::from(left) / u128::from(WINDOW_US);
        let counted = faded + u128::from(current);
        let time = (u128::from(num) * u128::from(span)).checked_div(counted)?;
        u64::try_from(time).ok()
    }

    /// The windows as of `now`.
    fn at(&self, now: Tick) -> Self {
        let elapsed = now.0.saturating_sub(self.since.0);
        match elapsed / WINDOW_US {
            0 => *self,
            1 => Self { since: Tick(self.since.0 + WINDOW_US), previous: self.current, current: 0 },
            _ => Self { since: now, previous: 0, current: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_more_follows_from_what_went_on_in_the_last_window() {
        let mut pace = Pace::default();
        assert_eq!(pace.time_for(1, Tick(0)), None);
        pace.count(4, Tick(0));
        assert_eq!(pace.time_for(1, Tick(2_000_000)), Some(500_000), "4 in two seconds");
        assert_eq!(pace.time_for(1, Tick(10_000_000)), Some(2_500_000), "4 in ten");
        assert_eq!(pace.time_for(1, Tick(15_000_000)), Some(5_000_000), "half forgotten");
        pace.count(8, Tick(15_000_000));
        assert_eq!(pace.time_for(20, Tick(15_000_000)), Some(20_000_000), "2 and 8 in ten");
        assert_eq!(pace.time_for(1, Tick(60_000_000)), None, "long ago");
    }
}
