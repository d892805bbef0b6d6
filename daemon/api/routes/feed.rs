//! What one reader gets: the history that it asked for, then what happens, without gap or double.
//!
//! While much is missing, the store is paged without a live subscription, so that nothing has to be held
//! back however long it takes. Close to the live edge the subscription begins; its [`Stream::edge`] is the
//! last entry that has to come from the store, and the few entries that arrive until it is read wait in
//! the subscriber's bounded queue. Entries become readable a moment after they were published, hence the
//! patience.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Api;
use crate::api::control::{ControlError, History, Span, Stored, Stretch};
use crate::engine::kfl::Filter;
use crate::engine::model::Timestamp;
use crate::tap::{Item, Notice, Observed, Stream, Subscription, TapError};

/// Entries before the live edge at which the subscription begins: what arrives while as many are read
/// fits into a subscriber's queue many times over.
const CLOSE: u64 = 2000;

/// How long an entry that was published may take to become readable. Longer means that the store lost
/// it, which it counts.
const READABLE_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks whether it is readable.
const READABLE_STEP: Duration = Duration::from_millis(5);

/// Numbers that a daemon passes over after it ended abnormally are a thousand million; fewer missing
/// ones have another cause.
const CRASH_JUMP: u64 = 500_000_000;

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With what happens now.
    Now,
    /// With this number.
    Seq(u64),
    /// With calls that began then.
    Moment(Timestamp),
}

/// Why there are no more entries.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The store does not answer.
    #[error(transparent)]
    History(#[from] ControlError),
    /// There is no place.
    #[error(transparent)]
    Tap(#[from] TapError),
}

/// The entries of one reader.
pub(super) struct Feed {
    api: Arc<Api>,
    history: Arc<dyn History>,
    /// The entries of a snapshot: nothing happens after them.
    is_frozen: bool,
    has_ended: bool,
    filter: Filter,
    notices: bool,
    ready: VecDeque<Item>,
    replay: Option<Replay>,
    stream: Option<Stream>,
    given: u64,
}

/// The history on its way.
struct Replay {
    next: u64,
    since: Timestamp,
    work: Option<JoinHandle<Result<Stretch, ControlError>>>,
    // Once subscribed: the last entry to read, and until when it is waited for.
    edge: Option<(u64, Instant)>,
}

impl Feed {
    /// Subscribes, or begins with the history.
    pub(super) fn open(
        api: Arc<Api>,
        filter: Filter,
        start: Start,
        notices: bool,
        frozen: Option<Arc<dyn History>>,
    ) -> Result<Self, FeedError> {
        let is_frozen = frozen.is_some();
        let mut feed = Self {
            history: frozen.unwrap_or_else(|| Arc::clone(&api.history)),
            is_frozen,
            has_ended: false,
            api,
            filter,
            notices,
            ready: VecDeque::new(),
            replay: None,
            stream: None,
            given: 0,
        };
        if is_frozen {
            let (next, since) = match start {
                Start::Now => (0, Timestamp::ZERO),
                Start::Seq(seq) => (seq, Timestamp::ZERO),
                Start::Moment(moment) => (0, moment),
            };
            feed.replay = Some(Replay { next, since, work: None, edge: None });
            return Ok(feed);
        }
        let (mut next, since) = match start {
            Start::Now => (None, Timestamp::ZERO),
            Start::Seq(seq) => (Some(seq), Timestamp::ZERO),
            Start::Moment(moment) => (Some(0), moment),
        };
        if let Start::Moment(moment) = start {
            feed.api.control.look_back(moment);
        }
        let newest = feed.api.tap.newest();
        if next.is_some_and(|next| next > newest.saturating_add(1)) {
            // No such entry was ever published: the store was emptied, and numbers began anew.
            let detail = "no entry has come this far: numbering began anew, here is everything that is kept";
            feed.tell(Notice::Missing {
                after: newest,
                before: next.unwrap_or(0),
                detail: detail.to_owned(),
            });
            next = Some(0);
        }
        match (next, feed.history.newest_seq()) {
            (None, _) => feed.go_live()?,
            (Some(next), Ok(_)) => feed.replay = Some(Replay { next, since, work: None, edge: None }),
            // Who can be told gets at least what happens from now on.
            (Some(next), Err(error)) if notices => {
                let (after, before) = (next.saturating_sub(1), newest.saturating_add(1));
                if after < newest || since > Timestamp::ZERO {
                    feed.tell(Notice::Missing { after, before, detail: error.to_string() });
                }
                feed.go_live()?;
            }
            (Some(_), Err(error)) => return Err(error.into()),
        }
        Ok(feed)
    }

    /// The next item; `None` when the filter's `limit(n)` is reached. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, FeedError> {
        loop {
            if let Some(item) = self.try_next() {
                return Ok(Some(item));
            }
            if self.is_over() || self.has_ended {
                return Ok(None);
            }
            match (&mut self.replay, &mut self.stream) {
                (Some(_), _) => self.advance().await?,
                (None, Some(stream)) => return Ok(stream.next().await),
                (None, None) => self.go_live()?,
            }
        }
    }

    /// The next item if there is one already.
    pub(super) fn try_next(&mut self) -> Option<Item> {
        if self.is_over() {
            return None;
        }
        if let Some(item) = self.ready.pop_front() {
            self.given += u64::from(matches!(item, Item::Entry(_)));
            return Some(item);
        }
        match (&self.replay, &mut self.stream) {
            (None, Some(stream)) => stream.try_next(),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        self.filter.limit().is_some_and(|limit| self.given >= limit)
    }

    /// One step of the history: waits for a stretch, begins one, or ends the history.
    async fn advance(&mut self) -> Result<(), FeedError> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        if let Some(work) = &mut replay.work {
            let done = work.await;
            replay.work = None;
            let stretch =
                done.map_err(|error| ControlError::Internal(format!("reading broke off: {error}")))??;
            replay.next = stretch.next;
            stretch.found.into_iter().for_each(|found| self.take(found));
            return Ok(());
        }
        let readable = self.history.newest_seq()?;
        if self.is_frozen {
            if replay.next > readable {
                self.replay = None;
                self.has_ended = true;
            } else {
                self.read_until(readable);
            }
            return Ok(());
        }
        match replay.edge {
            None if readable >= replay.next.saturating_add(CLOSE) => self.read_until(readable),
            None => self.subscribe()?,
            Some((edge, _)) if replay.next > edge => self.arrive(edge),
            Some((edge, _)) if readable >= replay.next => self.read_until(edge.min(readable)),
            Some((_, patience)) if Instant::now() < patience => sleep(READABLE_STEP).await,
            Some((edge, _)) => {
                let after = replay.next.saturating_sub(1);
                replay.next = edge.saturating_add(1);
                let detail = "the store was too busy to keep these".to_owned();
                self.tell(Notice::Missing { after, before: edge.saturating_add(1), detail });
            }
        }
        Ok(())
    }

    fn read_until(&mut self, until: u64) {
        let Some(replay) = &mut self.replay else { return };
        let span = Span { from: replay.next, until, since: replay.since };
        let (api, history, filter) = (Arc::clone(&self.api), Arc::clone(&self.history), self.filter.clone());
        // Few at a time, whoever asks: a stretch costs memory and a core.
        replay.work = Some(tokio::spawn(async move {
            let _place = api.replays.acquire().await;
            let done = tokio::task::spawn_blocking(move || history.oldest_first(&filter, span)).await;
            done.unwrap_or_else(|error| Err(ControlError::Internal(format!("reading broke off: {error}"))))
        }));
    }

    fn take(&mut self, found: Stored) {
        match found {
            Stored::Entry(entry) => self.ready.push_back(Item::Entry(Arc::new(Observed::new(entry)))),
            Stored::Hole(hole) => {
                let missing = hole.before.saturating_sub(hole.after);
                let detail = match (hole.after, missing) {
                    (_, CRASH_JUMP..) => "the daemon ended abnormally, its last second was not kept",
                    _ => "trimmed to the store's limits, or never stored because it was busy",
                };
                let (after, before) = (hole.after, hole.before);
                self.tell(Notice::Missing { after, before, detail: detail.to_owned() });
            }
        }
    }

    fn subscribe(&mut self) -> Result<(), FeedError> {
        let subscription = Subscription {
            filter: self.filter.clone(),
            from_seq: None,
            notices: self.notices,
            max_bytes: None,
        };
        let stream = self.api.tap.subscribe(subscription)?;
        if let Some(replay) = &mut self.replay {
            replay.edge = Some((stream.edge(), Instant::now() + READABLE_PATIENCE));
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// The history is read: from here on it is live.
    fn arrive(&mut self, edge: u64) {
        self.replay = None;
        if let Some(stream) = &mut self.stream {
            stream.go_on_after(edge, self.given);
        }
        self.tell(Notice::Live { seq: edge });
    }

    fn go_live(&mut self) -> Result<(), FeedError> {
        self.subscribe()?;
        let edge = self.stream.as_ref().map_or(0, Stream::edge);
        self.tell(Notice::Live { seq: edge });
        Ok(())
    }

    fn tell(&mut self, notice: Notice) {
        if self.notices {
            self.ready.push_back(Item::Notice(notice));
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(work) = self.replay.as_ref().and_then(|replay| replay.work.as_ref()) {
            work.abort();
        }
    }
}
