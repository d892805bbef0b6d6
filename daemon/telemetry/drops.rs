//! Counts what was not delivered, by reason, without locks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::model::DropReason;

const REASONS: usize = DropReason::ALL.len();

/// One counter per [`DropReason`]; shared by all stages in an `Arc`.
#[derive(Debug)]
pub struct Drops {
    counters: [AtomicU64; REASONS],
}

impl Drops {
    /// All counters at zero.
    pub fn new() -> Self {
        Self { counters: [const { AtomicU64::new(0) }; REASONS] }
    }

    /// Adds `n` in the unit of the reason.
    pub fn count(&self, reason: DropReason, n: u64) {
        if n > 0 {
            self.counter(reason).fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Sets a counter that is kept elsewhere (in the kernel) to its newest total.
    pub fn set(&self, reason: DropReason, total: u64) {
        self.counter(reason).store(total, Ordering::Relaxed);
    }

    /// The total of one reason since the daemon started.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counter(reason).load(Ordering::Relaxed)
    }

    /// All totals, zeros included, in the order in which reasons are shown.
    pub fn snapshot(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.iter().map(|reason| (*reason, self.get(*reason))).collect()
    }

    fn counter(&self, reason: DropReason) -> &AtomicU64 {
        // In bounds: `ALL` lists every variant of the field-less enum, so the largest index is its
        // length less one.
        &self.counters[reason as usize]
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let drops = Drops::new();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            drops.count(*reason, index as u64 + 1);
        }
        let seen: Vec<u64> = drops.snapshot().into_iter().map(|(_, count)| count).collect();
        assert_eq!(seen, (1..=DropReason::ALL.len() as u64).collect::<Vec<_>>());
    }
}
