//! Times counted in buckets, fine enough for quantiles: each is at most a hundredth too long.

/// Buckets up to the next power of two.
const PARTS: u64 = 128;

/// Counts of microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    num: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let index = bucket(value);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.num += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.num += other.num;
    }

    /// What `percent` of a hundred are not above; `None` of nothing.
    pub(crate) fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.num * percent).div_ceil(100).max(1);
        let mut so_far = 0;
        let index = self.counts.iter().position(|count| {
            so_far += count;
            so_far >= rank
        });
        index.map(top)
    }
}

fn bucket(value: u64) -> usize {
    let shift = (value / PARTS).checked_ilog2().map_or(0, |log| log + 1);
    let index = if shift == 0 { value } else { u64::from(shift) * PARTS / 2 + (value >> shift) };
    index as usize
}

/// The largest value of a bucket.
fn top(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index;
    }
    let shift = (index - PARTS / 2) / (PARTS / 2);
    let mantissa = index - shift * PARTS / 2;
    ((mantissa + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_is_little_wider_than_it() {
        let mut before = 0;
        for value in (0..2_000).chain([1 << 20, (1 << 20) + 77_777, 3 << 40]) {
            let index = bucket(value);
            assert!(index >= before, "{value} is in order");
            before = index;
            assert!((value..=value + value / 60).contains(&top(index)), "{value}: {}", top(index));
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_counted() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        assert_eq!(one.quantile(50), None);
        (1..=50).for_each(|value| one.add(value));
        (51..=100).for_each(|value| other.add(value));
        one.merge(&other);
        assert_eq!((one.quantile(50), one.quantile(99)), (Some(50), Some(99)));
        assert_eq!((one.quantile(0), one.quantile(100)), (Some(1), Some(100)));
    }
}
