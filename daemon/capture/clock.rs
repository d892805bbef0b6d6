//! Turns the kernel's monotonic time into time since the epoch.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::engine::model::Timestamp;
use crate::runtime::clock::now;

/// How often the offset is taken again: NTP slews at most 0.5 ms per second.
const RESAMPLE_NS: u64 = 1_000_000_000;

/// The offset between `CLOCK_MONOTONIC` (what BPF stamps) and `CLOCK_REALTIME`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset: u64,
    /// Monotonic time of the last sample.
    sampled: u64,
}

impl Clock {
    /// Samples both clocks now.
    pub(super) fn new() -> Self {
        let before = monotonic();
        let epoch = now().nanos();
        let after = monotonic();
        let sampled = before + (after - before) / 2;
        Self { offset: epoch.saturating_sub(sampled), sampled }
    }

    /// A clock with a known offset, ns, for tests and fuzzing.
    pub(super) fn fixed(offset: u64) -> Self {
        Self { offset, sampled: u64::MAX - RESAMPLE_NS }
    }

    /// Takes the offset again if the last sample is old; returns the present moment.
    pub(super) fn tick(&mut self) -> Timestamp {
        let ktime = monotonic();
        if ktime > self.sampled + RESAMPLE_NS {
            *self = Self::new();
        }
        self.timestamp(ktime)
    }

    /// A kernel time as time since the epoch.
    pub(super) fn timestamp(&self, ktime: u64) -> Timestamp {
        Timestamp(ktime.saturating_add(self.offset))
    }
}

/// 0 if the clock does not exist, which Linux rules out.
fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn now_is_the_time_of_the_system() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        let now = Clock::new().tick().nanos();
        assert!(now.abs_diff(before) < 1_000_000_000, "{now} is not {before}");
    }
}
