//! The handle of one subscriber.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::bus::Inner;
use super::group::Group;
use super::notice::Notice;
use super::observed::Observed;
use super::outbox::Outbox;
use crate::engine::model::{DropReason, Stage};

/// What a stream yields.
#[derive(Clone, Debug)]
pub enum Item {
    /// An entry that matches.
    Entry(Arc<Observed>),
    /// A notice, for subscribers that asked for them.
    Notice(Notice),
}

/// Why a stream ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open,
    /// The filter's `limit(n)` is reached.
    Limit,
}

/// A live subscription; dropping it ends it.
#[derive(Debug)]
pub struct Stream {
    tap: Arc<Inner>,
    group: Arc<Group>,
    outbox: Arc<Outbox>,
    ready: VecDeque<Item>,
    left: Option<u64>,
    edge: u64,
    // Entries up to this number came to the reader on another way.
    had: u64,
    losses: Losses,
    heartbeat: Instant,
}

impl Stream {
    pub(super) fn new(tap: Arc<Inner>, group: Arc<Group>, outbox: Arc<Outbox>, left: Option<u64>) -> Self {
        let losses = Losses::new(&tap);
        let edge = tap.newest.load(Ordering::Relaxed);
        let heartbeat = Instant::now();
        Self { tap, group, outbox, ready: VecDeque::new(), left, edge, had: 0, losses, heartbeat }
    }

    /// The newest entry published before this subscription was in force: every matching entry beyond
    /// it comes on this stream, or is counted as lost.
    pub fn edge(&self) -> u64 {
        self.edge
    }

    /// Leaves out entries up to `seq`: the reader got those elsewhere, `count` of them matching.
    pub fn go_on_after(&mut self, seq: u64, count: u64) {
        self.had = seq;
        self.left = self.left.map(|left| left.saturating_sub(count));
    }

    /// The next item; `None` when `limit(n)` is reached. May be cancelled without loss.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            if self.end() != End::Open {
                return None;
            }
            if !self.outbox.wants_notices() {
                self.outbox.changed().await;
                continue;
            }
            let wait = self.tap.config.loss_interval.min(self.tap.config.heartbeat);
            let _elapsed = tokio::time::timeout(wait, self.outbox.changed()).await;
        }
    }

    /// The next item if there is one already: a writer takes all that is there before it flushes.
    pub fn try_next(&mut self) -> Option<Item> {
        if self.end() != End::Open {
            return None;
        }
        let item = loop {
            if self.ready.is_empty() {
                self.look_for_losses();
                self.outbox.drain(&mut self.ready);
            }
            match self.ready.pop_front()? {
                Item::Entry(observed) if observed.entry().seq <= self.had => {}
                item => break item,
            }
        };
        if let Item::Entry(_) = &item {
            self.tap.delivered.fetch_add(1, Ordering::Relaxed);
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Some(item)
    }

    /// Whether and why the stream is over.
    pub fn end(&self) -> End {
        if self.left == Some(0) { End::Limit } else { End::Open }
    }

    fn look_for_losses(&mut self) {
        if !self.outbox.wants_notices() {
            return;
        }
        for (reason, count) in self.losses.since_last(&self.tap) {
            self.ready.push_back(Item::Notice(Notice::gap(reason, count)));
        }
        if self.heartbeat.elapsed() >= self.tap.config.heartbeat {
            self.heartbeat = Instant::now();
            let seq = self.tap.newest.load(Ordering::Relaxed);
            self.ready.push_back(Item::Notice(Notice::Heartbeat { seq }));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.tap.unsubscribe(&self.group, &self.outbox);
    }
}

/// What was lost in other stages when this subscriber looked last.
#[derive(Debug)]
struct Losses {
    at: Instant,
    seen: Vec<(DropReason, u64)>,
}

impl Losses {
    fn new(tap: &Inner) -> Self {
        Self { at: Instant::now(), seen: tap.drops.snapshot() }
    }

    /// What was added since the last call, at most once per interval. Losses of subscribers are left
    /// out: each is told its own.
    fn since_last(&mut self, tap: &Inner) -> Vec<(DropReason, u64)> {
        if self.at.elapsed() < tap.config.loss_interval {
            return Vec::new();
        }
        self.at = Instant::now();
        let now = tap.drops.snapshot();
        let grown = now.iter().zip(&self.seen).filter_map(|((reason, count), (_, before))| {
            let more = count.saturating_sub(*before);
            (more > 0 && reason.stage() != Stage::Stream && reason.stage() != Stage::Store)
                .then_some((*reason, more))
        });
        let grown = grown.collect();
        self.seen = now;
        grown
    }
}
