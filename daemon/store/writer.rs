//! The one writer of entries: collects blocks, commits them, trims, survives a failing disk.
//!
//! ```text
//!            append           commit every second            block full
//! entry ---> fresh draft ---> fragment (a small block) ---> fragments replaced by one block
//! ```
//! Between commits entries are in the shared tail, readable but not durable. Each entry is written
//! twice at most (as part of a fragment, as part of the full block), whatever the rate.
//!
//! When a commit fails the database is closed and opened again every few seconds. Meanwhile
//! entries wait in memory up to a limit; beyond it they are dropped and counted as `StoreFailed`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redb::ReadableTable as _;

use super::block::{BLOCK_BYTES, BLOCK_ENTRIES, Draft, Encoded};
use super::database::{BLOCKS, BODIES, IDS, META, META_DIRTY, META_LAST_SEQ, Shared, ZONES};
use super::trim::{Stored, charge};
use super::{COMMIT_INTERVAL, StoreError};
use crate::engine::model::{DropReason, Entry};
use crate::runtime::clock;
use crate::telemetry::{Metric, Metrics};

/// Encoded bytes that make a commit due before its second is over: bounds memory at high rates.
const COMMIT_BYTES: usize = 8 << 20;
/// Disk space left free for a commit's new pages while the old ones are still in use, twice over
/// because redb frees them one commit later. An eighth of the limit comes on top for holes between
/// blocks of different sizes (measured: 10 %).
const COMMIT_RESERVE: u64 = 2 * COMMIT_BYTES as u64;
/// Encoded bytes that may wait while the disk fails; the newest entries are dropped beyond.
const WAITING_BYTES: usize = 32 << 20;
/// First pause before a failed database is tried again; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest time that a block stays in the making: a quiet host must still be able to age it out.
const BLOCK_SPAN: Duration = Duration::from_secs(5 * 60);
/// How long the smaller budget after a full disk lasts.
const BUDGET_HOLD: Duration = Duration::from_secs(10 * 60);
/// How often the age limit is looked at when nothing is appended.
const AGE_CHECK: Duration = Duration::from_secs(10);

/// Appends entries; there is one per store, on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Entries of the block in the making that are committed as fragments.
    whole: Draft,
    /// When the first of them came.
    whole_since: Option<Instant>,
    /// Entries that came since the last commit and follow `whole`.
    fresh: Draft,
    /// Full blocks that wait for the next commit.
    sealed: Vec<Draft>,
    last_seq: u64,
    waiting_since: Option<Instant>,
    last_age_check: Instant,
    retry: Option<Retry>,
    /// After the disk was full: keep less than was stored then, so that new entries fit into the
    /// file, until the moment given.
    budget: Option<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

/// A block as it goes into the transaction.
struct Insert {
    encoded: Encoded,
    stored: Stored,
    last_seq: u64,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let writer = Self {
            last_seq: shared.last_seq.load(Ordering::Acquire),
            shared,
            metrics,
            whole: Draft::default(),
            whole_since: None,
            fresh: Draft::default(),
            sealed: Vec::new(),
            waiting_since: None,
            last_age_check: Instant::now(),
            retry: None,
            budget: None,
        };
        writer.mark(1)?;
        Ok(writer)
    }

    /// Takes entries that ascend by `seq`: readable on return, durable within [`COMMIT_INTERVAL`]
    /// provided that [`Self::tick`] is called. An error tells of a failed commit; the entries are
    /// kept for the next try or were counted under `StoreFailed`, so the caller need only log it.
    pub fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut taken = Vec::with_capacity(entries.len());
        let mut result = Ok(());
        for entry in entries {
            if self.take(entry) {
                taken.push(Arc::clone(entry));
            } else {
                self.metrics.drops().count(DropReason::StoreFailed, 1);
            }
            // Within the batch: a few entries with large bodies may fill what a commit takes.
            if self.waiting_bytes() >= COMMIT_BYTES && self.retry.is_none() {
                self.publish(&mut taken);
                result = result.and(self.tick());
            }
        }
        self.publish(&mut taken);
        result.and(self.tick())
    }

    /// Makes taken entries readable.
    fn publish(&mut self, taken: &mut Vec<Arc<Entry>>) {
        if taken.is_empty() {
            return;
        }
        self.waiting_since.get_or_insert_with(Instant::now);
        self.metrics.add(Metric::StoreWritten, taken.len() as u64);
        self.shared.tail.push(taken.drain(..).collect());
        self.shared.last_seq.store(self.last_seq, Ordering::Release);
    }

    /// Commits when due, enforces the age limit, and retries a failed database. Call it at least
    /// every 250 ms, also when there is nothing to append.
    pub fn tick(&mut self) -> Result<(), StoreError> {
        if let Some(retry) = self.retry {
            return if Instant::now() >= retry.at { self.recover(retry.pause) } else { Ok(()) };
        }
        let span_is_over = self.whole_since.is_some_and(|since| since.elapsed() >= BLOCK_SPAN);
        if span_is_over {
            self.seal();
        }
        let due = self.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_INTERVAL);
        if span_is_over || due || self.waiting_bytes() >= COMMIT_BYTES || self.something_expired() {
            return self.commit();
        }
        Ok(())
    }

    /// Commits everything taken so far.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        match self.retry {
            Some(retry) => self.recover(retry.pause),
            None if self.fresh.is_empty() && self.sealed.is_empty() => Ok(()),
            None => self.commit(),
        }
    }

    /// Commits the rest and marks the file as closed in order, so that `seq` goes on without a
    /// jump. Entries that could not be written are counted.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let result = self.flush().and_then(|()| self.mark(0));
        if result.is_err() {
            let lost =
                self.fresh.zone.entries + self.sealed.iter().map(|block| block.zone.entries).sum::<u64>();
            self.metrics.drops().count(DropReason::StoreFailed, lost);
        }
        result
    }

    fn take(&mut self, entry: &Arc<Entry>) -> bool {
        if entry.seq <= self.last_seq || self.waiting_bytes() >= WAITING_BYTES {
            return false;
        }
        if let Err(error) = self.fresh.push(entry) {
            tracing::error!(%error, id = %entry.id, "an entry cannot be stored");
            return false;
        }
        self.last_seq = entry.seq;
        let entries = self.whole.zone.entries + self.fresh.zone.entries;
        if entries >= BLOCK_ENTRIES || self.whole.bytes() + self.fresh.bytes() >= BLOCK_BYTES {
            self.seal();
        }
        true
    }

    /// Ends the block in the making: the next commit writes it in place of its fragments.
    fn seal(&mut self) {
        let mut draft = std::mem::take(&mut self.whole);
        draft.absorb(&mut self.fresh);
        self.whole_since = None;
        if !draft.is_empty() {
            self.sealed.push(draft);
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.fresh.bytes() + self.sealed.iter().map(Draft::bytes).sum::<usize>()
    }

    fn something_expired(&mut self) -> bool {
        let Some(max_age) = self.shared.config().max_age else { return false };
        if self.last_age_check.elapsed() < AGE_CHECK {
            return false;
        }
        self.last_age_check = Instant::now();
        let blocks = self.shared.lock_blocks();
        blocks.oldest().is_some_and(|block| block.latest.plus(max_age) < clock::now())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        let inserts = self.inserts()?;
        let trimmed = self.excess();
        match self.transact(&inserts, &trimmed) {
            Ok(()) => {
                self.committed(inserts, &trimmed);
                self.metrics.add(Metric::StoreCommits, 1);
                self.metrics.add(Metric::StoreCommitNanos, started.elapsed().as_nanos() as u64);
                Ok(())
            }
            Err(error) => {
                self.degrade(&error, RETRY_MIN);
                Err(error)
            }
        }
    }

    fn inserts(&self) -> Result<Vec<Insert>, StoreError> {
        let fragment = (!self.fresh.is_empty()).then_some(&self.fresh);
        let insert = |draft: &Draft| {
            let encoded = draft.encode()?;
            let parts = [&encoded.block, &encoded.bodies, &encoded.zone, &encoded.ids];
            let stored = Stored::new(&draft.zone, charge(parts.map(|value| value.len() as u64)));
            Ok(Insert { encoded, stored, last_seq: draft.zone.last_seq })
        };
        self.sealed.iter().chain(fragment).map(insert).collect()
    }

    /// The blocks to remove. The block in the making stays: its fragments are still to be merged.
    fn excess(&self) -> Vec<Stored> {
        let config = self.shared.config();
        let reserve = (config.max_bytes / 8 + COMMIT_RESERVE).min(config.max_bytes / 2);
        let limit = config.max_bytes - reserve;
        let budget = self.budget.map_or(limit, |(budget, _)| budget.min(limit));
        let unmerged = (!self.whole.is_empty()).then_some(&self.whole);
        let keep_from = self.sealed.first().or(unmerged).map_or(u64::MAX, |draft| draft.zone.first_seq);
        self.shared.lock_blocks().excess(budget, config.max_age, clock::now(), keep_from)
    }

    fn transact(&self, inserts: &[Insert], trimmed: &[Stored]) -> Result<(), StoreError> {
        let txn = self.shared.begin_write()?;
        {
            let mut blocks = txn.open_table(BLOCKS).map_err(StoreError::failed("open a table"))?;
            let mut bodies = txn.open_table(BODIES).map_err(StoreError::failed("open a table"))?;
            let mut zones = txn.open_table(ZONES).map_err(StoreError::failed("open a table"))?;
            let mut ids = txn.open_table(IDS).map_err(StoreError::failed("open a table"))?;
            let mut gone: Vec<u64> = trimmed.iter().map(|block| block.first_seq).collect();
            for insert in inserts {
                // By range and not by a list: an earlier commit that seemed to fail may have left one.
                let range = insert.stored.first_seq..=insert.last_seq;
                for row in zones.range(range).map_err(StoreError::failed("look for fragments"))? {
                    gone.push(row.map_err(StoreError::failed("look for fragments"))?.0.value());
                }
            }
            for key in gone {
                for table in [&mut blocks, &mut bodies, &mut zones, &mut ids] {
                    table.remove(key).map_err(StoreError::failed("remove a block"))?;
                }
            }
            for Insert { encoded, stored, .. } in inserts {
                let key = stored.first_seq;
                let failed = "write a block";
                blocks.insert(key, encoded.block.as_slice()).map_err(StoreError::failed(failed))?;
                bodies.insert(key, encoded.bodies.as_slice()).map_err(StoreError::failed(failed))?;
                zones.insert(key, encoded.zone.as_slice()).map_err(StoreError::failed(failed))?;
                ids.insert(key, encoded.ids.as_slice()).map_err(StoreError::failed(failed))?;
            }
            let mut meta = txn.open_table(META).map_err(StoreError::failed("open a table"))?;
            meta.insert(META_LAST_SEQ, self.last_seq).map_err(StoreError::failed("write a block"))?;
        }
        txn.commit().map_err(StoreError::failed("commit"))
    }

    fn committed(&mut self, inserts: Vec<Insert>, trimmed: &[Stored]) {
        {
            let mut blocks = self.shared.lock_blocks();
            blocks.drop_oldest(trimmed.len());
            for insert in inserts {
                blocks.pop_from(insert.stored.first_seq);
                blocks.push(insert.stored);
            }
        }
        self.sealed.clear();
        if !self.fresh.is_empty() {
            self.whole_since.get_or_insert_with(Instant::now);
            self.whole.absorb(&mut self.fresh);
        }
        self.shared.committed_seq.store(self.last_seq, Ordering::Release);
        self.shared.tail.forget_until(self.last_seq);
        self.waiting_since = None;
        self.budget = self.budget.filter(|(_, until)| Instant::now() < *until);
        self.note_trimmed(trimmed);
    }

    fn degrade(&mut self, error: &StoreError, pause: Duration) {
        if self.retry.is_none() {
            tracing::error!(%error, "entries cannot be stored; they wait in memory as long as there is room");
        }
        if error.is_disk_full() {
            // Make room inside the file: a twentieth of the history per failure.
            let stored = self.shared.lock_blocks().bytes;
            self.budget = Some((stored - stored / 20, Instant::now() + BUDGET_HOLD));
        }
        self.shared.set_degraded(Some(error.to_string()));
        self.metrics.set(Metric::StoreDegraded, 1);
        self.retry = Some(Retry { at: Instant::now() + pause, pause });
    }

    fn recover(&mut self, pause: Duration) -> Result<(), StoreError> {
        let longer = (pause * 2).min(RETRY_MAX);
        let result = self.shared.reopen().and_then(|()| self.make_room()).and_then(|()| self.commit());
        match result {
            Ok(()) => {
                tracing::info!("entries are stored again");
                self.retry = None;
                self.shared.set_degraded(None);
                self.metrics.set(Metric::StoreDegraded, 0);
                Ok(())
            }
            Err(error) => {
                self.degrade(&error, longer);
                Err(error)
            }
        }
    }

    /// After the disk was full: trims in a commit of its own. The pages become free with the commit
    /// after it, so the entries that follow need no more of the disk.
    fn make_room(&mut self) -> Result<(), StoreError> {
        if self.budget.is_none() {
            return Ok(());
        }
        let trimmed = self.excess();
        self.transact(&[], &trimmed)?;
        self.shared.lock_blocks().drop_oldest(trimmed.len());
        self.note_trimmed(&trimmed);
        self.mark(1)
    }

    fn note_trimmed(&self, trimmed: &[Stored]) {
        let gone: u64 = trimmed.iter().map(|block| block.entries).sum();
        self.shared.trimmed.fetch_add(gone, Ordering::Relaxed);
        self.metrics.add(Metric::StoreTrimmed, gone);
    }

    fn mark(&self, dirty: u64) -> Result<(), StoreError> {
        let txn = self.shared.begin_write()?;
        {
            let mut meta = txn.open_table(META).map_err(StoreError::failed("open a table"))?;
            let last = meta.get(META_LAST_SEQ).map_err(StoreError::failed("read the last seq"))?;
            let last = last.map_or(0, |last| last.value()).max(self.last_seq);
            meta.insert(META_LAST_SEQ, last).map_err(StoreError::failed("write the last seq"))?;
            meta.insert(META_DIRTY, dirty).map_err(StoreError::failed("mark the file"))?;
        }
        txn.commit().map_err(StoreError::failed("commit"))
    }
}
