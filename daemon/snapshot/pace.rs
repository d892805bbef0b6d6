//! How fast work that nobody waits for goes: a share of one CPU, and not at all while live capture has a backlog.

use std::time::{Duration, Instant};

use crate::archive::Archive;
use crate::runtime;

/// Work between two rests, if it takes all of its share.
const WORK: Duration = Duration::from_millis(15);
/// Items between two looks at the clock.
pub(super) const STEP: u64 = 256;
/// Rest while live capture has a backlog.
const YIELD: Duration = Duration::from_millis(20);
/// Part of the queue of raw capture that counts as a backlog.
const BACKLOG_PART: usize = 4;

/// What work that nobody waits for may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Per cent of one CPU, 1 to 100.
    pub cpu: u8,
    /// The threads' nice value.
    pub nice: u8,
}

impl Default for Pace {
    fn default() -> Self {
        Self { cpu: 75, nice: 10 }
    }
}

impl Pace {
    fn rest(self) -> Duration {
        let share = u32::from(self.cpu.clamp(1, 100));
        WORK * (100 - share) / share
    }

    /// Makes the calling thread as nice as this says.
    pub(super) fn take_on(self) {
        if let Err(error) = runtime::lower_priority(self.nice) {
            tracing::warn!("delayed dissection runs at ordinary priority: {error}");
        }
    }
}

/// Keeps one thread at its pace.
#[derive(Debug)]
pub(super) struct Pacer {
    rest: Duration,
    archive: Option<Archive>,
    worked_since: Instant,
}

impl Pacer {
    pub(super) fn new(pace: Pace, archive: Option<Archive>) -> Self {
        Self { rest: pace.rest(), archive, worked_since: Instant::now() }
    }

    /// Rests if it is time to, until live capture has no backlog or `is_over`. Returns whether it was time.
    pub(super) fn pause(&mut self, is_over: impl Fn() -> bool) -> bool {
        if self.worked_since.elapsed() < WORK {
            return false;
        }
        if !self.rest.is_zero() {
            std::thread::park_timeout(self.rest);
        }
        while self.is_live_behind() && !is_over() {
            std::thread::park_timeout(YIELD);
        }
        self.worked_since = Instant::now();
        true
    }

    fn is_live_behind(&self) -> bool {
        let depth = self.archive.as_ref().map(|archive| archive.probe().depth());
        depth.is_some_and(|depth| depth.bytes > depth.capacity_bytes / BACKLOG_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_cpu_decides_the_rest() {
        let rest = |cpu| Pace { cpu, nice: 0 }.rest();
        assert_eq!((rest(75), rest(50), rest(100)), (WORK / 3, WORK, Duration::ZERO));
        assert_eq!(rest(0), rest(1), "never a division by zero");
    }
}
