//! The entries of one dissection as they are made: numbered, counted, stored; or compared with what is stored
//! of it already.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::SnapshotError;
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, Timestamp};
use crate::store::{Reader, Store, Writer};
use crate::telemetry::{Drops, Metrics};

/// Entries handed to the store at once.
const BATCH: usize = 256;
/// Bytes of them: entries hold bodies.
const BATCH_BYTES: usize = 8 << 20;
/// Stored entries read at once to compare them.
const COMPARED: u64 = 512;

/// How many, of which kind, from when to when.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) protocols: BTreeMap<String, u64>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// Takes the entries of one dissection.
pub(super) struct Made {
    writer: Writer,
    batch: Vec<Arc<Entry>>,
    batch_bytes: usize,
    filter: Filter,
    window: (Timestamp, Timestamp),
    counts: Counts,
    stored: Stored,
    failure: Option<SnapshotError>,
}

/// What an earlier run of the daemon stored of the same dissection.
struct Stored {
    reader: Reader,
    /// Number of the last one.
    last: u64,
    ahead: VecDeque<Arc<Entry>>,
    differs: bool,
}

impl Made {
    pub(super) fn new(
        store: &Store,
        filter: Filter,
        window: (Timestamp, Timestamp),
    ) -> Result<Self, SnapshotError> {
        let stored =
            Stored { reader: store.reader(), last: store.last_seq(), ahead: VecDeque::new(), differs: false };
        let metrics = Arc::new(Metrics::new(Arc::new(Drops::new())));
        Ok(Self {
            writer: store.writer(metrics)?,
            batch: Vec::with_capacity(BATCH),
            batch_bytes: 0,
            filter,
            window,
            counts: Counts::default(),
            stored,
            failure: None,
        })
    }

    /// Takes the next entry, if it is within window and filter.
    pub(super) fn take(&mut self, mut entry: Entry) {
        let at = entry.timing.began();
        let (from, to) = self.window;
        if at < from || at > to || !self.filter.matches(&entry) {
            return;
        }
        let counts = &mut self.counts;
        counts.entries += 1;
        entry.seq = counts.entries;
        *counts.protocols.entry(entry.protocol.as_str().to_owned()).or_default() += 1;
        counts.first = if counts.first == Timestamp::ZERO { at } else { counts.first.min(at) };
        counts.last = counts.last.max(at);
        if entry.seq <= self.stored.last {
            let compared = self.stored.compare(&entry);
            self.failure = self.failure.take().or(compared.err());
            return;
        }
        self.batch_bytes += entry.weight();
        self.batch.push(Arc::new(entry));
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES {
            let flushed = self.write();
            self.failure = self.failure.take().or(flushed.err());
        }
    }

    /// What was made; once it is more than what was stored before.
    pub(super) fn counts(&self) -> Option<&Counts> {
        (self.counts.entries >= self.stored.last).then_some(&self.counts)
    }

    /// Whether what is made now is not what was stored before: then all of that is worth nothing.
    pub(super) fn differs(&self) -> bool {
        self.stored.differs
    }

    fn write(&mut self) -> Result<(), SnapshotError> {
        if !self.batch.is_empty() {
            self.writer.append(&self.batch)?;
            self.batch.clear();
            self.batch_bytes = 0;
        }
        Ok(())
    }

    /// Hands over what was made so far.
    pub(super) fn flush(&mut self) -> Result<(), SnapshotError> {
        self.write()?;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Nothing more comes: all of it is durable on return. `None` if less was made than was stored before.
    pub(super) fn finish(mut self) -> Result<Option<Counts>, SnapshotError> {
        self.flush()?;
        if self.counts.entries < self.stored.last {
            return Ok(None);
        }
        self.writer.finish()?;
        Ok(Some(self.counts))
    }

    /// More would come, but nobody wants it: what was made so far is durable on return.
    pub(super) fn finish_early(mut self) -> Result<(), SnapshotError> {
        self.flush()?;
        Ok(self.writer.finish()?)
    }
}

impl Stored {
    fn compare(&mut self, made: &Entry) -> Result<(), SnapshotError> {
        if self.ahead.is_empty() {
            let ahead = &mut self.ahead;
            let mut take = |entry| {
                ahead.push_back(entry);
                ControlFlow::Continue(())
            };
            let until = made.seq.saturating_add(COMPARED).min(self.last);
            self.reader.oldest_first(made.seq, until, &mut take, &|_| false)?;
        }
        // The oldest may have been given up to keep the limit of size.
        if self.ahead.front().is_some_and(|stored| stored.seq <= made.seq) {
            let stored = self.ahead.pop_front();
            self.differs |= stored.is_none_or(|stored| *stored != *made);
        }
        Ok(())
    }
}
