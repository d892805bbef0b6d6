//! Searches the history with a filter: newest first, block by block, on a few threads.
//!
//! A block is passed over by its summary, then by its texts; then entries are judged without their
//! messages, and only those that may match are read as a whole.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::block::{Block, decode_bodies, decode_zone, moment};
use super::codec::{Light, Messages};
use super::facts::{TextFacts, ZoneFacts};
use super::reader::View;
use super::{Reader, StoreError, ZoneMap};
use crate::engine::kfl::{FieldReader, Filter, Sketch, Verdict};
use crate::engine::model::{Entry, Timestamp};
use crate::runtime::spawn_thread;

/// Blocks that are read together. The first rounds are smaller, so that a page that is full at once costs
/// little; a round's results are in memory together. Each round ends with its slowest thread, so that they
/// must not be too small either.
const MAX_ROUND: usize = 64;
/// The same where blocks give many whole entries, which may have large bodies.
const MAX_RICH_ROUND: usize = 8;
/// Whole entries of a round that are many.
const MANY_WHOLE: usize = 200;
/// Threads beside the callers' that all searches together may use: they compete with the pipeline.
const MAX_HELPERS: usize = 3;

/// What to look for.
#[derive(Debug)]
pub struct Search {
    filter: Filter,
    sketch: Sketch,
    /// Whether the sketch depends on messages.
    reads_messages: bool,
    /// Only entries with a smaller `seq`.
    pub before: u64,
    /// Only calls from this moment on.
    pub from: Timestamp,
    /// Only calls before this moment.
    pub to: Timestamp,
    /// Most entries that one block gives: as many as the caller still wants.
    pub at_most: usize,
    /// Whether matching entries must have their messages.
    pub whole: bool,
    /// What the caller reads of entries that need not be whole.
    pub readers: Vec<FieldReader>,
    /// When to stop, between two rounds, with what was found.
    pub deadline: Option<Instant>,
}

impl Search {
    /// A search for everything that matches, whole.
    pub fn new(filter: Filter) -> Self {
        let sketch = filter.sketch();
        Self {
            reads_messages: sketch.reads_messages(),
            sketch,
            filter,
            before: u64::MAX,
            from: Timestamp::ZERO,
            to: Timestamp(u64::MAX),
            at_most: usize::MAX,
            whole: true,
            readers: Vec::new(),
            deadline: None,
        }
    }

    fn wants_block(&self, zone: &ZoneMap) -> bool {
        zone.latest >= self.from && zone.earliest < self.to && self.sketch.could_match(&ZoneFacts(zone))
    }

    fn in_window(&self, entry: &Entry) -> bool {
        let at = moment(entry);
        entry.seq < self.before && at >= self.from && at < self.to
    }

    /// Whether a matching partial entry is enough for the caller.
    fn is_enough(&self, partial: &Entry) -> bool {
        !self.whole && self.readers.iter().all(|reader| reader.is_met_by(partial))
    }
}

/// What one block gave.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// What the caller made of the matching entries.
    pub value: T,
    /// The smallest `seq` looked at: the search goes on below it.
    pub lowest: u64,
}

/// A block that is to be read.
struct Task {
    key: u64,
    zone: ZoneMap,
}

/// What threads share while they read one round.
struct Round<T> {
    reader: Reader,
    view: Arc<View>,
    search: Arc<Search>,
    tasks: Vec<Task>,
    next: AtomicUsize,
    /// Whole entries found so far.
    whole: AtomicUsize,
    results: Mutex<Vec<Option<Result<T, StoreError>>>>,
}

impl Reader {
    /// Gives `each` the matching entries of one block after the other, newest first, on several threads,
    /// and `take` what it made of them, in order, until that breaks. Returns where to go on when the
    /// deadline came first.
    pub fn search<T: Send + 'static>(
        &self,
        search: &Arc<Search>,
        each: impl Fn(Vec<Arc<Entry>>) -> T + Send + Sync + 'static,
        mut take: impl FnMut(Found<T>) -> ControlFlow<()>,
    ) -> Result<Option<u64>, StoreError> {
        let each = Arc::new(each);
        // The tail first, then the transaction: see `Tail`.
        let tail = self.shared.tail.snapshot();
        let view = Arc::new(self.view()?);
        let mut below = search.before;
        if let Some(lowest) = tail.iter().find_map(|batch| batch.first()).map(|entry| entry.seq) {
            let entries = tail.iter().rev().flat_map(|batch| batch.iter().rev());
            let matching = entries.filter(|entry| search.in_window(entry) && search.filter.matches(entry));
            let value = each(matching.take(search.at_most).cloned().collect());
            below = below.min(lowest);
            if take(Found { value, lowest: below }).is_break() {
                return Ok(None);
            }
        }
        let mut zones = view.zones.range(..below).map_err(StoreError::failed("read entries"))?.rev();
        let mut size = 1;
        loop {
            if search.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Some(below));
            }
            let (tasks, passed) = self.tasks(&mut zones, search, size)?;
            let Some(passed) = passed else { return Ok(None) };
            let keys: Vec<u64> = tasks.iter().map(|task| task.key).collect();
            let round = Arc::new(Round {
                reader: self.clone(),
                view: Arc::clone(&view),
                search: Arc::clone(search),
                results: Mutex::new(tasks.iter().map(|_| None).collect()),
                tasks,
                next: AtomicUsize::new(0),
                whole: AtomicUsize::new(0),
            });
            let results = round.run(&each);
            size = (size * 4).min(MAX_ROUND);
            if round.whole.load(Ordering::Relaxed) > MANY_WHOLE {
                size = size.min(MAX_RICH_ROUND);
            }
            for (value, lowest) in results.into_iter().zip(keys) {
                if take(Found { value: value?, lowest }).is_break() {
                    return Ok(None);
                }
            }
            below = passed;
        }
    }

    /// The next blocks that may hold a match, and the last key that was looked at (`None` at the end).
    fn tasks<'z>(
        &self,
        zones: &mut impl Iterator<
            Item = Result<
                (redb::AccessGuard<'z, u64>, redb::AccessGuard<'z, &'static [u8]>),
                redb::StorageError,
            >,
        >,
        search: &Search,
        most: usize,
    ) -> Result<(Vec<Task>, Option<u64>), StoreError> {
        let mut tasks = Vec::new();
        let mut passed = None;
        for row in zones {
            let (key, bytes) = row.map_err(StoreError::failed("read entries"))?;
            let key = key.value();
            passed = Some(key);
            match decode_zone(bytes.value()) {
                Ok(zone) if search.wants_block(&zone) => tasks.push(Task { key, zone }),
                Ok(_) => {}
                Err(_) => self.note_damage(key, "its summary does not decode"),
            }
            if tasks.len() >= most {
                break;
            }
        }
        Ok((tasks, passed))
    }
}

impl<T: Send + 'static> Round<T> {
    /// Reads all blocks, with helpers where there are several.
    fn run<F>(self: &Arc<Self>, each: &Arc<F>) -> Vec<Result<T, StoreError>>
    where
        F: Fn(Vec<Arc<Entry>>) -> T + Send + Sync + 'static,
    {
        let mut helpers = VecDeque::new();
        while helpers.len() + 1 < self.tasks.len() && self.reader.take_helper() {
            let (round, each) = (Arc::clone(self), Arc::clone(each));
            match spawn_thread("history", move || round.work(&*each)) {
                Ok(helper) => helpers.push_back(helper),
                Err(error) => {
                    self.reader.give_helper();
                    tracing::debug!(%error, "a search goes on without help");
                    break;
                }
            }
        }
        self.work(&**each);
        for helper in helpers {
            // A panic there is logged by the thread and leaves its block without a result, below.
            let _panicked = helper.join();
            self.reader.give_helper();
        }
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || StoreError::Unavailable { reason: "a thread that was searching broke off".to_owned() };
        results.drain(..).map(|result| result.unwrap_or_else(|| Err(lost()))).collect()
    }

    fn work(&self, each: &impl Fn(Vec<Arc<Entry>>) -> T) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(index) else { return };
            let result = self.block(task).map(each);
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = results.get_mut(index) {
                *slot = Some(result);
            }
        }
    }

    /// The matching entries of a block, newest first. A damaged block is counted and has none.
    fn block(&self, task: &Task) -> Result<Vec<Arc<Entry>>, StoreError> {
        let Some(bytes) = self.view.blocks.get(task.key).map_err(StoreError::failed("read a block"))? else {
            self.reader.note_damage(task.key, "it is missing");
            return Ok(Vec::new());
        };
        Ok(self.matching(task, bytes.value()).unwrap_or_else(|reason| {
            self.reader.note_damage(task.key, &reason);
            Vec::new()
        }))
    }

    fn bodies(&self, key: u64) -> Result<Vec<u8>, String> {
        let bytes = self.view.bodies.get(key).map_err(|error| error.to_string())?;
        decode_bodies(bytes.ok_or("its bodies are missing")?.value())
    }

    fn matching(&self, task: &Task, bytes: &[u8]) -> Result<Vec<Arc<Entry>>, String> {
        let search = &*self.search;
        let mut block = Block::open(bytes)?;
        let bodies = OnceCell::new();
        let damage = OnceCell::new();
        let read_bodies = || {
            self.bodies(task.key).unwrap_or_else(|reason| {
                // Set once: the cell around this runs it once.
                let _first = damage.set(reason);
                Vec::new()
            })
        };
        let could = search.sketch.could_match(&TextFacts {
            zone: ZoneFacts(&task.zone),
            texts: &block.texts,
            bodies: &bodies,
            read_bodies: &read_bodies,
        });
        if let Some(reason) = damage.get() {
            return Err(reason.clone());
        }
        if !could {
            return Ok(Vec::new());
        }
        let light = block.light(task.zone.entries, search.reads_messages || !search.readers.is_empty())?;
        let mut heads = None;
        let mut found = Vec::new();
        for light in light.into_iter().rev() {
            if found.len() >= search.at_most {
                break;
            }
            if !search.in_window(&light.entry) {
                continue;
            }
            let verdict = search.sketch.judge(&light.entry);
            if verdict == Verdict::No {
                continue;
            }
            if verdict == Verdict::Yes && search.is_enough(&light.entry) {
                found.push(Arc::new(light.entry));
                continue;
            }
            if heads.is_none() {
                heads = Some(block.heads()?);
            }
            let entry = complete(light, &block, heads.as_deref(), bodies.get_or_init(read_bodies))?;
            if let Some(reason) = damage.get() {
                return Err(reason.clone());
            }
            if verdict == Verdict::Yes || search.filter.matches(&entry) {
                self.whole.fetch_add(1, Ordering::Relaxed);
                found.push(Arc::new(entry));
            }
        }
        Ok(found)
    }
}

fn complete(light: Light, block: &Block<'_>, heads: Option<&[u8]>, bodies: &[u8]) -> Result<Entry, String> {
    let heads = heads.unwrap_or_default();
    Ok(Messages { texts: &block.texts, heads, bodies }.complete(light)?)
}

impl Reader {
    /// Takes one of the threads that may help, if one is free.
    fn take_helper(&self) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let most = (cores - 1).min(MAX_HELPERS);
        let helpers = &self.shared.helpers;
        helpers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| (used < most).then_some(used + 1))
            .is_ok()
    }

    fn give_helper(&self) {
        self.shared.helpers.fetch_sub(1, Ordering::AcqRel);
    }
}
