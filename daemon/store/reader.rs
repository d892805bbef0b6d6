//! Reads entries back, newest or oldest first, from the tail in memory and the blocks on disk.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{ReadOnlyTable, ReadableTable as _};

use super::block::{decode_block, decode_zone, fingerprint, has_fingerprint};
use super::database::{BLOCKS, BODIES, IDS, Shared, Stats, ZONES};
use super::tail::Batch;
use super::{StoreError, ZoneMap};
use crate::engine::model::{Entry, EntryId};

/// Reads entries; clones are cheap. A reading sees the store as it was when it began. It keeps the
/// pages of that moment from being reused, so page through long results with a cursor.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

/// Tables of one read transaction.
pub(super) struct View {
    pub(super) blocks: ReadOnlyTable<u64, &'static [u8]>,
    pub(super) bodies: ReadOnlyTable<u64, &'static [u8]>,
    pub(super) zones: ReadOnlyTable<u64, &'static [u8]>,
    ids: ReadOnlyTable<u64, &'static [u8]>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The entry with this id; `None` when it is unknown or already trimmed.
    pub fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, StoreError> {
        let tail = self.shared.tail.snapshot();
        if let Some(entry) =
            tail.iter().rev().flat_map(|batch| batch.iter().rev()).find(|entry| entry.id == *id)
        {
            return Ok(Some(Arc::clone(entry)));
        }
        let view = self.view()?;
        let wanted = fingerprint(id);
        for row in view.ids.iter().map_err(StoreError::failed("look for an entry"))?.rev() {
            let (key, ids) = row.map_err(StoreError::failed("look for an entry"))?;
            if !has_fingerprint(ids.value(), wanted) {
                continue;
            }
            let entries = self.read_block(&view, key.value())?;
            if let Some(entry) = entries.into_iter().rev().find(|entry| entry.id == *id) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// As [`Self::get`], for an id in its text form `node/stream-index`. A text of another form
    /// names no entry.
    pub fn get_text(&self, id: &str) -> Result<Option<Arc<Entry>>, StoreError> {
        match parse_id(id) {
            Some(id) => self.get(&id),
            None => Ok(None),
        }
    }

    /// Gives `visit` every entry with a `seq` below `before` (all without it), newest first, until
    /// it breaks. Blocks for which `skip` is true are passed over without decoding; entries that
    /// are not yet committed are always given.
    pub fn newest_first(
        &self,
        before: Option<u64>,
        visit: &mut dyn FnMut(Arc<Entry>) -> ControlFlow<()>,
        skip: Option<&dyn Fn(&ZoneMap) -> bool>,
    ) -> Result<(), StoreError> {
        let mut below = before.unwrap_or(u64::MAX);
        // The tail first, then the transaction: see `Tail`.
        let tail = self.shared.tail.snapshot();
        if visit_tail(&tail, &mut below, visit).is_break() {
            return Ok(());
        }
        let view = self.view()?;
        for row in view.zones.range(..below).map_err(StoreError::failed("read entries"))?.rev() {
            let (key, bytes) = row.map_err(StoreError::failed("read entries"))?;
            let Ok(zone) = decode_zone(bytes.value()) else {
                self.note_damage(key.value(), "its summary does not decode");
                continue;
            };
            if skip.is_some_and(|skip| skip(&zone)) {
                continue;
            }
            for entry in self.read_block_with(&view, key.value(), &zone)?.into_iter().rev() {
                if entry.seq < below && visit(entry).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Gives `visit` every entry with a `seq` from `from` to `until`, oldest first, until it breaks.
    /// Blocks for which `skip` is true are passed over without decoding.
    pub fn oldest_first(
        &self,
        from: u64,
        until: u64,
        visit: &mut dyn FnMut(Arc<Entry>) -> ControlFlow<()>,
        skip: &dyn Fn(&ZoneMap) -> bool,
    ) -> Result<(), StoreError> {
        let mut from = from;
        // The tail first, then the transaction: see `Tail`.
        let tail = self.shared.tail.snapshot();
        let view = self.view()?;
        let failed = StoreError::failed("read entries");
        let before = view.zones.range(..=from).map_err(failed)?.next_back();
        let first = match before {
            Some(row) => row.map_err(StoreError::failed("read entries"))?.0.value(),
            None => from,
        };
        for row in view.zones.range(first..=until.max(first)).map_err(StoreError::failed("read entries"))? {
            let (key, bytes) = row.map_err(StoreError::failed("read entries"))?;
            let Ok(zone) = decode_zone(bytes.value()) else {
                self.note_damage(key.value(), "its summary does not decode");
                continue;
            };
            if zone.last_seq < from || skip(&zone) {
                continue;
            }
            for entry in self.read_block_with(&view, key.value(), &zone)? {
                if visit_next(entry, &mut from, until, visit).is_break() {
                    return Ok(());
                }
            }
        }
        for entry in tail.iter().flat_map(|batch| batch.iter()) {
            if visit_next(Arc::clone(entry), &mut from, until, visit).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Number of the newest entry that can be read; entries become readable in order.
    pub fn last_seq(&self) -> u64 {
        self.shared.last_seq.load(Ordering::Acquire)
    }

    /// The present state of the store.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    pub(super) fn view(&self) -> Result<View, StoreError> {
        let txn = self.shared.begin_read()?;
        Ok(View {
            blocks: txn.open_table(BLOCKS).map_err(StoreError::failed("open a table"))?,
            bodies: txn.open_table(BODIES).map_err(StoreError::failed("open a table"))?,
            zones: txn.open_table(ZONES).map_err(StoreError::failed("open a table"))?,
            ids: txn.open_table(IDS).map_err(StoreError::failed("open a table"))?,
        })
    }

    fn read_block(&self, view: &View, key: u64) -> Result<Vec<Arc<Entry>>, StoreError> {
        let zone = view.zones.get(key).map_err(StoreError::failed("read a block"))?;
        match zone.map(|bytes| decode_zone(bytes.value())) {
            Some(Ok(zone)) => self.read_block_with(view, key, &zone),
            Some(Err(reason)) => {
                self.note_damage(key, &reason);
                Ok(Vec::new())
            }
            None => Ok(Vec::new()),
        }
    }

    /// A block's entries. One damaged block must not hide the rest of the history: it is counted,
    /// logged, and read as empty.
    fn read_block_with(&self, view: &View, key: u64, zone: &ZoneMap) -> Result<Vec<Arc<Entry>>, StoreError> {
        let block = view.blocks.get(key).map_err(StoreError::failed("read a block"))?;
        let bodies = view.bodies.get(key).map_err(StoreError::failed("read a block"))?;
        let (Some(block), Some(bodies)) = (block, bodies) else {
            self.note_damage(key, "it is missing");
            return Ok(Vec::new());
        };
        Ok(decode_block(block.value(), bodies.value(), zone.entries).unwrap_or_else(|reason| {
            self.note_damage(key, &reason);
            Vec::new()
        }))
    }

    pub(super) fn note_damage(&self, key: u64, reason: &str) {
        self.shared.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(block = key, reason, "a stored block is damaged and passed over");
    }
}

/// Visits the tail below `below` and lowers it to the first `seq` that the tail has.
fn visit_tail(
    tail: &[Batch],
    below: &mut u64,
    visit: &mut dyn FnMut(Arc<Entry>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for entry in tail.iter().rev().flat_map(|batch| batch.iter().rev()) {
        if entry.seq < *below {
            visit(Arc::clone(entry))?;
            *below = entry.seq;
        }
    }
    ControlFlow::Continue(())
}

/// Visits an entry from `from` to `until` and raises `from` beyond it; breaks when `until` is passed.
fn visit_next(
    entry: Arc<Entry>,
    from: &mut u64,
    until: u64,
    visit: &mut dyn FnMut(Arc<Entry>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if entry.seq > until {
        return ControlFlow::Break(());
    }
    if entry.seq < *from {
        return ControlFlow::Continue(());
    }
    *from = entry.seq + 1;
    visit(entry)
}

/// `node/stream-index`; the node may contain slashes, the stream dashes.
fn parse_id(text: &str) -> Option<EntryId> {
    let (node, item) = text.rsplit_once('/')?;
    let (stream, index) = item.rsplit_once('-')?;
    Some(EntryId { node: node.into(), stream: stream.into(), index: index.parse().ok()? })
}
