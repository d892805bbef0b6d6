//! Turns the kernel's monotonic time into time since the epoch.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::engine::model::Timestamp;
use crate::runtime::clock::now;

/// How often the offset is taken again: NTP slews at most 0.5 ms per second.
const RESAMPLE_NS: u64 = 1_000_000_000;

/// Samples that are taken at most. Between the readings of a sample the thread, or the whole machine, may stand still;
/// the one that took the shortest is the best.
const TRIES: usize = 5;
/// A sample that took no longer is good enough.
const SHORT_NS: u64 = 20_000;

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
        Self::sample(monotonic, || now().nanos())
    }

    fn sample(mut monotonic: impl FnMut() -> u64, mut epoch: impl FnMut() -> u64) -> Self {
        let (mut shortest, mut best) = (u64::MAX, Self { offset: 0, sampled: 0 });
        for _ in 0..TRIES {
            let (before, epoch, after) = (monotonic(), epoch(), monotonic());
            let took = after.saturating_sub(before);
            if took < shortest {
                let sampled = before + took / 2;
                (shortest, best) = (took, Self { offset: epoch.saturating_sub(sampled), sampled });
            }
            if took <= SHORT_NS {
                break;
            }
        }
        best
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
    fn a_machine_that_stands_still_between_two_readings_does_not_shift_time() {
        const OFFSET: u64 = 1_000_000_000_000;
        // Each reading takes 100 ns, but once the machine stands still for two seconds.
        for stall in 0..6 {
            let time = std::cell::Cell::new((0_u64, 0));
            let read = || {
                let (now, reading) = time.get();
                let step = if reading == stall { 2_000_000_000 } else { 100 };
                time.set((now + step, reading + 1));
                now + step
            };
            let clock = Clock::sample(read, || read() + OFFSET);
            assert!(clock.offset.abs_diff(OFFSET) < 1_000, "{stall}: {clock:?}");
        }
    }

    #[test]
    fn now_is_the_time_of_the_system() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        let now = Clock::new().tick().nanos();
        assert!(now.abs_diff(before) < 1_000_000_000, "{now} is not {before}");
    }
}
