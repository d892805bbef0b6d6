//! Published batches that a group has not evaluated yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::observed::Observed;

/// Entries published in one call, and their weight.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) entries: Arc<[Arc<Observed>]>,
    pub(super) bytes: usize,
}

/// A queue of batches, bounded in bytes; the newest batch is refused when it is full.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), capacity }
    }

    /// Takes a batch; `false` when there is no room. An empty inbox takes a batch of any size, since
    /// one is bounded where it is made.
    pub(super) fn push(&self, batch: &Batch) -> bool {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.bytes > 0 && state.bytes + batch.bytes > self.capacity {
                return false;
            }
            state.bytes += batch.bytes;
            state.batches.push_back(batch.clone());
        }
        self.changed.notify_one();
        true
    }

    /// The next batch; `None` once closed.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.closed {
                    return None;
                }
                if let Some(batch) = state.batches.pop_front() {
                    state.bytes -= batch.bytes;
                    return Some(batch);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Lets the evaluating task end.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.batches.clear();
        state.bytes = 0;
        drop(state);
        self.changed.notify_one();
    }
}
