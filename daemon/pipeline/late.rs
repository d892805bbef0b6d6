//! The way of entries that were made afterwards into the entry queue: live ones go first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remora_engine::model::Entry;

use crate::runtime::{Full, Sender};

/// Between two looks whether there is room.
const STEP: Duration = Duration::from_millis(5);

/// The entry queue, until the pipeline drains.
#[derive(Debug)]
pub(super) struct Late {
    entries: Mutex<Option<Sender<Entry>>>,
}

impl Late {
    pub(super) fn new(entries: Sender<Entry>) -> Self {
        Self { entries: Mutex::new(Some(entries)) }
    }

    fn entries(&self) -> MutexGuard<'_, Option<Sender<Entry>>> {
        // Nothing in between can panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the queue, so that the entry thread ends once the shards are gone too.
    pub(super) fn close(&self) {
        *self.entries() = None;
    }

    /// Waits until the queue is less than half full, so that live entries always find room.
    pub(super) fn deliver(&self, mut entry: Entry) -> bool {
        loop {
            match &*self.entries() {
                None => return false,
                Some(queue) => {
                    let depth = queue.depth();
                    if depth.items <= depth.capacity_items / 2 && depth.bytes <= depth.capacity_bytes / 2 {
                        let weight = entry.weight();
                        match queue.push(entry, weight) {
                            Ok(()) => return true,
                            Err(Full(refused)) => entry = refused,
                        }
                    }
                }
            }
            std::thread::park_timeout(STEP);
        }
    }
}
