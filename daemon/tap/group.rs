//! All subscribers with one and the same filter: it is evaluated once for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::inbox::{Batch, Inbox};
use super::notice::Notice;
use super::observed::Observed;
use super::outbox::Outbox;
use crate::engine::kfl::Filter;

/// How long a group evaluates before it lets other tasks of its thread run.
const SLICE: Duration = Duration::from_millis(1);

/// Entries between two looks at the clock.
const CLOCK_EVERY: usize = 16;

/// One distinct filter and its subscribers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) filter: Filter,
    inbox: Inbox,
    // Changed only under the bus's lock; read without one.
    members: ArcSwap<Vec<Arc<Outbox>>>,
}

impl Group {
    pub(super) fn new(filter: Filter, capacity: usize) -> Self {
        Self { filter, inbox: Inbox::new(capacity), members: ArcSwap::default() }
    }

    pub(super) fn join(&self, member: Arc<Outbox>) {
        let mut members = Vec::clone(&self.members.load());
        members.push(member);
        self.members.store(Arc::new(members));
    }

    /// Removes a member; `true` when it was the last one.
    pub(super) fn leave(&self, member: &Arc<Outbox>) -> bool {
        let mut members = Vec::clone(&self.members.load());
        members.retain(|other| !Arc::ptr_eq(other, member));
        let last = members.is_empty();
        self.members.store(Arc::new(members));
        last
    }

    pub(super) fn close(&self) {
        self.inbox.close();
    }

    pub(super) fn tell(&self, notice: &Notice) {
        for member in self.members.load().iter().filter(|member| member.wants_notices()) {
            member.tell(notice.clone());
        }
    }

    /// Queues a batch for evaluation; without room its entries are lost for this group's members,
    /// since nobody knows which of them would have matched.
    pub(super) fn offer(&self, batch: &Batch) {
        if !self.inbox.push(batch) {
            for member in self.members.load().iter() {
                member.lose(batch.entries.len() as u64);
            }
        }
    }

    /// Evaluates batches until the group is closed.
    pub(super) async fn run(self: Arc<Self>) {
        let mut matched = Vec::new();
        while let Some(batch) = self.inbox.next().await {
            self.evaluate(&batch, &mut matched).await;
            self.deliver(&mut matched);
            tokio::task::yield_now().await;
        }
    }

    async fn evaluate(&self, batch: &Batch, matched: &mut Vec<Arc<Observed>>) {
        let mut since = Instant::now();
        for chunk in batch.entries.chunks(CLOCK_EVERY) {
            matched.extend(chunk.iter().filter(|observed| self.filter.matches(observed.entry())).cloned());
            if since.elapsed() > SLICE {
                self.deliver(matched);
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
    }

    fn deliver(&self, matched: &mut Vec<Arc<Observed>>) {
        if matched.is_empty() {
            return;
        }
        for member in self.members.load().iter() {
            member.push(matched);
        }
        matched.clear();
    }
}
