//! Which old blocks have to go to keep the limits of size and age.

use std::collections::VecDeque;
use std::time::Duration;

use super::ZoneMap;
use crate::engine::model::Timestamp;

/// Most blocks removed in one commit, so that a lowered limit does not stall new entries.
pub(super) const MAX_TRIM: usize = 256;
/// redb's page.
const PAGE: u64 = 4096;

/// The writer's note of a stored block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) first_seq: u64,
    pub(super) entries: u64,
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    /// Bytes of the file that it occupies, see [`charge`].
    pub(super) bytes: u64,
}

impl Stored {
    pub(super) fn new(zone: &ZoneMap, bytes: u64) -> Self {
        Self {
            first_seq: zone.first_seq,
            entries: zone.entries,
            earliest: zone.earliest,
            latest: zone.latest,
            bytes,
        }
    }
}

/// Bytes of the file that a block's values occupy. redb gives a value beyond a page a run of pages whose
/// number is a power of two; smaller values share pages, which are on average two thirds full.
pub(super) fn charge(values: [u64; 4]) -> u64 {
    let shared = |len: u64| len + len / 2 + 32;
    let own = |len: u64| {
        if len < PAGE / 2 { shared(len) } else { (len + 64).div_ceil(PAGE).next_power_of_two() * PAGE }
    };
    values.into_iter().map(own).sum()
}

/// All stored blocks, oldest first, with their sums.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    list: VecDeque<Stored>,
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Blocks {
    pub(super) fn push(&mut self, block: Stored) {
        self.bytes += block.bytes;
        self.entries += block.entries;
        self.list.push_back(block);
    }

    /// Takes back the newest blocks that begin at or after `seq`, which others are about to replace.
    pub(super) fn pop_from(&mut self, seq: u64) {
        while self.list.back().is_some_and(|block| block.first_seq >= seq) {
            if let Some(block) = self.list.pop_back() {
                self.subtract(block);
            }
        }
    }

    /// Forgets the `count` oldest blocks.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        for block in self.list.drain(..count.min(self.list.len())).collect::<Vec<_>>() {
            self.subtract(block);
        }
    }

    /// The oldest blocks that have to go so that at most `budget` bytes stay and nothing is older
    /// than `max_age`; at most [`MAX_TRIM`]. Blocks from `keep_from` on are left alone.
    pub(super) fn excess(
        &self,
        budget: u64,
        max_age: Option<Duration>,
        now: Timestamp,
        keep_from: u64,
    ) -> Vec<Stored> {
        let oldest_kept = max_age.map_or(0, |age| now.nanos().saturating_sub(age.as_nanos() as u64));
        let mut left = self.bytes;
        let mut gone = Vec::new();
        for block in self.list.iter().take(MAX_TRIM) {
            let expired = block.latest.nanos() < oldest_kept;
            if block.first_seq >= keep_from || (left <= budget && !expired) {
                break;
            }
            left -= block.bytes;
            gone.push(*block);
        }
        gone
    }

    pub(super) fn oldest(&self) -> Option<&Stored> {
        self.list.front()
    }

    pub(super) fn newest(&self) -> Option<&Stored> {
        self.list.back()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    fn subtract(&mut self, block: Stored) {
        self.bytes -= block.bytes;
        self.entries -= block.entries;
    }
}
