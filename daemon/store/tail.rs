//! The newest entries, not yet committed, shared between the writer and all readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::model::Entry;

/// One appended batch; entries ascend by `seq`.
pub(super) type Batch = Arc<[Arc<Entry>]>;

/// Batches in the order of their `seq`. A reader takes a copy of the list (pointers only) *before*
/// it begins its read transaction: what leaves the list was committed before, so nothing is missed,
/// and what is in both is recognised by its `seq`.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: Mutex<VecDeque<Batch>>,
}

impl Tail {
    pub(super) fn push(&self, batch: Batch) {
        if !batch.is_empty() {
            self.lock().push_back(batch);
        }
    }

    /// Forgets what is committed: every batch that ends at or before `seq`.
    pub(super) fn forget_until(&self, seq: u64) {
        let mut batches = self.lock();
        while batches.front().and_then(|batch| batch.last()).is_some_and(|last| last.seq <= seq) {
            batches.pop_front();
        }
    }

    pub(super) fn snapshot(&self) -> Vec<Batch> {
        self.lock().iter().cloned().collect()
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.lock().iter().map(|batch| batch.len() as u64).sum()
    }

    // Poisoning cannot leave a broken list: no code under the lock panics half way.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
