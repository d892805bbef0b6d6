//! Latencies in buckets: quantiles of any number of calls in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets per power of two, as a power of two: a bucket is a 32nd of its lower bound wide at most, so
/// that its middle is off by 1.6 % at most.
const STEPS: u32 = 5;

/// How many values fell into which bucket; values are nanoseconds. At most 1,920 buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    max: u64,
}

impl Latencies {
    /// Counts one.
    pub fn add(&mut self, nanos: u64) {
        *self.buckets.entry(bucket(nanos)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Counts those of another.
    pub fn absorb(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The value that a share of all stays at or below, 1.6 % off at most; `None` without values.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(middle(*bucket).min(self.max)));
            }
        }
        None
    }

    /// The largest value, exact; `None` without values.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }
}

fn bucket(value: u64) -> u16 {
    let width = value.max(1).ilog2();
    if width < STEPS {
        return value as u16;
    }
    let shift = width - STEPS;
    // At most (58 + 1) * 32 + 31.
    (((shift + 1) << STEPS) as u64 + ((value >> shift) - (1 << STEPS))) as u16
}

fn middle(bucket: u16) -> u64 {
    let (row, step) = (u32::from(bucket) >> STEPS, u64::from(bucket) & ((1 << STEPS) - 1));
    if row == 0 {
        return step;
    }
    let shift = row - 1;
    (((1 << STEPS) + step) << shift) + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_close_to_the_value_at_its_rank() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.quantile(0.5), latencies.max()), (None, None));
        for value in 1..=100_000_u64 {
            latencies.add(value * 1000);
        }
        for (share, exact) in [(0.5, 50e6), (0.9, 90e6), (0.99, 99e6)] {
            let found = latencies.quantile(share).unwrap().as_nanos() as f64;
            assert!((found / exact - 1.0).abs() < 0.0161, "{share}: {found}");
        }
        assert_eq!(latencies.max(), Some(Duration::from_millis(100)));
        let mut twice = latencies.clone();
        twice.absorb(&latencies);
        assert_eq!(twice.quantile(0.9), latencies.quantile(0.9));
    }

    #[test]
    fn every_value_lies_near_the_middle_of_its_bucket() {
        for value in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, (1 << bit) - 1]) {
            let off = middle(bucket(value)).abs_diff(value);
            assert!(off as f64 <= value as f64 * 0.0161, "{value}");
        }
        assert!(bucket(u64::MAX) < 1920 && bucket(0) == 0);
    }
}
