//! The entry bus: from the entry thread to the groups of subscribers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::group::Group;
use super::inbox::Batch;
use super::notice::Notice;
use super::observed::Observed;
use super::outbox::Outbox;
use super::stream::Stream;
use crate::engine::kfl::Filter;
use crate::engine::model::Entry;
use crate::telemetry::Drops;

/// Entries of one batch: bounds what one queued batch holds beyond a group's limit.
const MAX_BATCH: usize = 256;

/// Sizes of the tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// Bytes of entries that one distinct filter may leave unevaluated before entries are lost for
    /// its subscribers. Entries are shared, so all groups together hold little more than one.
    pub group_bytes: usize,
    /// Bytes that may wait for one subscriber, unless its subscription says otherwise.
    pub subscriber_bytes: usize,
    /// Subscribers at once.
    pub max_subscribers: usize,
    /// How often subscribers with notices are told of losses in other stages.
    pub loss_interval: Duration,
    /// How often subscribers with notices hear that the stream is alive.
    pub heartbeat: Duration,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            group_bytes: 16 << 20,
            subscriber_bytes: 16 << 20,
            max_subscribers: 1000,
            loss_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(25),
        }
    }
}

/// What a subscriber wants.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Which entries.
    pub filter: Filter,
    /// Entries numbered below are left out: a reader that resumes has them already.
    pub from_seq: Option<u64>,
    /// Whether gaps, heartbeats and pauses are told.
    pub notices: bool,
    /// Bytes that may wait for it; `None`: as configured.
    pub max_bytes: Option<usize>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The configured number is reached.
    #[error("all {limit} live streams are taken; end one or raise stream.max-subscribers")]
    TooManySubscribers {
        /// As configured.
        limit: usize,
    },
}

/// Hands published entries to all subscribers; clones share it.
#[derive(Clone, Debug)]
pub struct Tap {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: TapConfig,
    pub(super) drops: Arc<Drops>,
    // What publish reads; rebuilt from `by_key` under its lock.
    groups: ArcSwap<Vec<Arc<Group>>>,
    by_key: Mutex<HashMap<String, Arc<Group>>>,
    subscribers: AtomicUsize,
    pub(super) newest: AtomicU64,
    pub(super) delivered: AtomicU64,
}

impl Tap {
    /// A tap without subscribers; losses of subscribers are counted in `drops`, those of other stages
    /// are read there.
    pub fn new(config: TapConfig, drops: Arc<Drops>) -> Self {
        let inner = Inner {
            config,
            drops,
            groups: ArcSwap::default(),
            by_key: Mutex::default(),
            subscribers: AtomicUsize::new(0),
            newest: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Hands entries to all subscribers. Never blocks and evaluates no filter; costs next to nothing
    /// while nobody listens.
    pub fn publish(&self, entries: &[Arc<Entry>]) {
        let Some(last) = entries.last() else { return };
        self.inner.newest.store(last.seq, Ordering::Relaxed);
        // With the one in `subscribe`: either this sees a new subscriber, or it sees this number.
        fence(Ordering::SeqCst);
        let groups = self.inner.groups.load();
        if groups.is_empty() {
            return;
        }
        for chunk in entries.chunks(MAX_BATCH) {
            let entries: Arc<[_]> =
                chunk.iter().map(|entry| Arc::new(Observed::new(Arc::clone(entry)))).collect();
            let bytes = entries.iter().map(|observed| observed.weight()).sum();
            let batch = Batch { entries, bytes };
            for group in groups.iter() {
                group.offer(&batch);
            }
        }
    }

    /// Tells every subscriber that wants notices.
    pub fn announce(&self, notice: &Notice) {
        for group in self.inner.groups.load().iter() {
            group.tell(notice);
        }
    }

    /// A stream of what matches from now on. Must be called inside a tokio runtime, which runs the
    /// task that evaluates the filter.
    pub fn subscribe(&self, subscription: Subscription) -> Result<Stream, TapError> {
        let inner = &self.inner;
        let limit = inner.config.max_subscribers;
        let mut by_key = inner.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.subscribers.load(Ordering::Relaxed) >= limit {
            return Err(TapError::TooManySubscribers { limit });
        }
        let outbox = Arc::new(Outbox::new(
            subscription.max_bytes.unwrap_or(inner.config.subscriber_bytes),
            subscription.from_seq.unwrap_or(0),
            subscription.notices,
            Arc::clone(&inner.drops),
        ));
        let key = subscription.filter.key().to_owned();
        let limit = subscription.filter.limit();
        let group = by_key.entry(key).or_insert_with(|| {
            let group = Arc::new(Group::new(subscription.filter, inner.config.group_bytes));
            tokio::spawn(Arc::clone(&group).run());
            group
        });
        group.join(Arc::clone(&outbox));
        let group = Arc::clone(group);
        inner.groups.store(Arc::new(by_key.values().cloned().collect()));
        // Last: whoever sees the number knows that the subscription is in place.
        inner.subscribers.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(Stream::new(Arc::clone(inner), group, outbox, limit))
    }

    /// Entries up to this number were published by an earlier run of the daemon.
    pub fn resume_after(&self, seq: u64) {
        self.inner.newest.fetch_max(seq, Ordering::Relaxed);
    }

    /// Live subscribers.
    pub fn subscribers(&self) -> usize {
        self.inner.subscribers.load(Ordering::Acquire)
    }

    /// Distinct filters among them.
    pub fn filters(&self) -> usize {
        self.inner.groups.load().len()
    }

    /// Entries handed to subscribers so far.
    pub fn delivered(&self) -> u64 {
        self.inner.delivered.load(Ordering::Relaxed)
    }

    /// Number of the newest entry published, by an earlier run if need be; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.inner.newest.load(Ordering::Relaxed)
    }
}

impl Inner {
    pub(super) fn unsubscribe(&self, group: &Arc<Group>, outbox: &Arc<Outbox>) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
        if group.leave(outbox) {
            by_key.remove(group.filter.key());
            self.groups.store(Arc::new(by_key.values().cloned().collect()));
            group.close();
        }
    }
}
