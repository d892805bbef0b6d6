//! What waits for one subscriber: entries and notices, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::notice::Notice;
use super::observed::Observed;
use super::stream::Item;
use crate::engine::model::DropReason;
use crate::telemetry::Drops;

/// Notices kept for a subscriber that does not read; further ones are merged or left out.
const MAX_NOTICES: usize = 64;

/// Bytes handed to the reader at once: what the reader holds is beyond the queue's own limit.
const HANDOVER_BYTES: usize = 256 << 10;

/// Items handed to the reader at once.
const HANDOVER_ITEMS: usize = 64;

/// The queue of one subscriber.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
    capacity: usize,
    first_seq: u64,
    notices: bool,
    drops: Arc<Drops>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    notices: usize,
    /// Entries lost since the last one that was taken.
    lost: u64,
}

impl Outbox {
    pub(super) fn new(capacity: usize, first_seq: u64, notices: bool, drops: Arc<Drops>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), capacity, first_seq, notices, drops }
    }

    pub(super) fn wants_notices(&self) -> bool {
        self.notices
    }

    /// Takes what fits, in order, and counts the rest as lost. Never waits.
    pub(super) fn push(&self, matched: &[Arc<Observed>]) {
        let mut lost = 0;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for observed in matched.iter().filter(|observed| observed.entry().seq >= self.first_seq) {
                if state.take(observed, self.capacity, self.notices) {
                    continue;
                }
                lost += 1;
            }
        }
        self.drops.count(DropReason::SubscriberSlow, lost);
        self.changed.notify_one();
    }

    /// Counts entries that never reached the queue.
    pub(super) fn lose(&self, count: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lost += count;
        self.drops.count(DropReason::SubscriberSlow, count);
        self.changed.notify_one();
    }

    /// Adds a notice for a subscriber that wants them.
    pub(super) fn tell(&self, notice: Notice) {
        if !self.notices {
            return;
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).note(notice);
        self.changed.notify_one();
    }

    /// Moves what waits into `to`; `false` when there was nothing.
    pub(super) fn drain(&self, to: &mut VecDeque<Item>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        while to.len() < HANDOVER_ITEMS && bytes < HANDOVER_BYTES {
            let Some(item) = state.items.pop_front() else { break };
            match &item {
                Item::Entry(observed) => bytes += observed.weight(),
                Item::Notice(_) => state.notices -= 1,
            }
            to.push_back(item);
        }
        state.bytes -= bytes;
        if state.items.is_empty() && state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            if self.notices {
                to.push_back(Item::Notice(Notice::gap(DropReason::SubscriberSlow, lost)));
            }
        }
        !to.is_empty()
    }

    /// Waits until [`Self::drain`] may find something.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn take(&mut self, observed: &Arc<Observed>, capacity: usize, notices: bool) -> bool {
        // Once entries are lost, a quarter has to be free again: else each single entry that is read
        // would make room for one entry between two gaps.
        let room = if self.lost > 0 { capacity / 4 * 3 } else { capacity };
        if self.bytes > 0 && self.bytes + observed.weight() > room {
            self.lost += 1;
            return false;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            if notices {
                self.note(Notice::gap(DropReason::SubscriberSlow, lost));
            }
        }
        self.bytes += observed.weight();
        self.items.push_back(Item::Entry(Arc::clone(observed)));
        true
    }

    fn note(&mut self, notice: Notice) {
        // A reader that lets this many wait learns of losses from the counters of later notices.
        if self.notices < MAX_NOTICES {
            self.notices += 1;
            self.items.push_back(Item::Notice(notice));
        }
    }
}
