//! Delayed dissection: one thread of low weight makes the entries of snapshots, one after the other.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::library::Library;
use super::manifest::{Dissection, Snapshot, Stage};
use super::{CaptureFile, Dissector, SnapshotError};
use crate::engine::kfl::{Context, Filter};
use crate::engine::model::{CaptureSource, Entry, NodeInfo, Record, Timestamp};
use crate::engine::pcap::Item;
use crate::engine::shard::ShardContext;
use crate::runtime::{self, clock};
use crate::store::{Store, StoreConfig, Writer};
use crate::telemetry::{Drops, Metrics};

/// Of each stretch of time the thread rests a quarter: live work comes first.
pub(super) const WORK: Duration = Duration::from_millis(15);
pub(super) const REST: Duration = Duration::from_millis(5);
/// Items between two looks at clock and requests.
pub(super) const STEP: u64 = 256;
/// Entries handed to the store at once.
const BATCH: usize = 256;
/// Bytes of the entries of one dissection; the oldest go beyond it, which is said among its errors.
const MAX_ENTRIES_BYTES: u64 = 8 << 30;
/// Entry databases kept open for queries besides the one that is being made.
const MAX_OPEN: usize = 8;
/// Things that went wrong, kept per dissection.
const MAX_ERRORS: usize = 20;

/// A snapshot's and a dissection's id.
type Key = (u64, u64);

/// What waits, what runs, what is open.
#[derive(Debug, Default)]
pub(super) struct Dissections {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Key>,
    running: Option<(Key, Dissection)>,
    cancelled: HashSet<Key>,
    /// With the moment of last use.
    open: HashMap<Key, (Arc<Store>, Instant)>,
}

impl Dissections {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change stands for itself, so a panic leaves nothing half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enqueue(&self, snapshot: u64, dissection: u64) {
        self.state().waiting.push((snapshot, dissection));
        self.changed.notify_all();
    }

    /// Ends what is under way or waits: one dissection, or all of a snapshot.
    pub(super) fn cancel(&self, snapshot: u64, dissection: Option<u64>) {
        let mut state = self.state();
        let is_meant = |key: &Key| key.0 == snapshot && dissection.is_none_or(|wanted| wanted == key.1);
        state.waiting.retain(|key| !is_meant(key));
        let running = state.running.as_ref().map(|(key, _)| *key).filter(is_meant);
        state.cancelled.extend(running);
    }

    /// Closes databases that are going to be removed.
    pub(super) fn forget(&self, snapshot: u64, dissection: Option<u64>) {
        self.state().open.retain(|key, _| key.0 != snapshot || dissection.is_some_and(|kept| kept != key.1));
    }

    /// How far the running one is.
    pub(super) fn live(&self, snapshot: u64, dissection: u64) -> Option<Dissection> {
        let state = self.state();
        state.running.as_ref().filter(|(key, _)| *key == (snapshot, dissection)).map(|(_, live)| live.clone())
    }

    /// The entries' database, opened if it is not.
    pub(super) fn store(
        &self,
        snapshot: u64,
        dissection: u64,
        path: &Path,
    ) -> Result<Arc<Store>, SnapshotError> {
        let key = (snapshot, dissection);
        let mut state = self.state();
        if let Some((store, used)) = state.open.get_mut(&key) {
            *used = Instant::now();
            return Ok(Arc::clone(store));
        }
        while state.open.len() >= MAX_OPEN {
            let running = state.running.as_ref().map(|(key, _)| *key);
            let closable = state.open.iter().filter(|(key, _)| Some(**key) != running);
            let Some(oldest) = closable.min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key) else {
                break;
            };
            state.open.remove(&oldest);
        }
        let store = Arc::new(Store::open(path, StoreConfig { max_bytes: MAX_ENTRIES_BYTES, max_age: None })?);
        state.open.insert(key, (Arc::clone(&store), Instant::now()));
        Ok(store)
    }

    fn is_cancelled(&self, key: Key) -> bool {
        self.state().cancelled.contains(&key)
    }

    /// Waits for the next one to do; `None` now and then, to see whether anybody still wants something.
    fn next(&self) -> Option<Key> {
        let state = self.state();
        let waited =
            self.changed.wait_timeout_while(state, Duration::from_secs(1), |state| state.waiting.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!state.waiting.is_empty()).then(|| state.waiting.remove(0))
    }

    fn show(&self, key: Key, live: &Dissection) {
        self.state().running = Some((key, live.clone()));
    }

    fn done(&self, key: Key) {
        let mut state = self.state();
        state.running = None;
        state.cancelled.remove(&key);
    }
}

/// Starts the thread; it ends with the library.
pub(super) fn start(library: &Arc<Library>) -> std::io::Result<()> {
    let library = Arc::downgrade(library);
    // Not waited for at the end: what it makes is made again after a restart.
    let _detached = runtime::spawn_thread("dissect", move || run(&library))?;
    Ok(())
}

fn run(library: &Weak<Library>) {
    while let Some(library) = library.upgrade() {
        let Some(key) = library.dissections.next() else { continue };
        let Some(snapshot) = library.by_id(key.0) else { continue };
        let Some(found) = snapshot.dissections.iter().find(|found| found.id == key.1).cloned() else {
            continue;
        };
        let ended = Job::new(&library, key, &snapshot, found).run();
        library.dissections.done(key);
        tracing::info!(
            snapshot = snapshot.name,
            dissection = ended.name,
            entries = ended.entries,
            "a dissection is {}",
            ended.stage.name()
        );
        library.finish_dissection(key.0, ended);
    }
}

/// One dissection under way.
struct Job<'a> {
    library: &'a Library,
    key: Key,
    snapshot: &'a Snapshot,
    live: Dissection,
    worked_since: Instant,
}

impl<'a> Job<'a> {
    fn new(library: &'a Library, key: Key, snapshot: &'a Snapshot, found: Dissection) -> Self {
        // Begins anew, whatever it had made before a restart.
        let live =
            Dissection { id: found.id, name: found.name, stage: Stage::Running, ..Dissection::default() };
        Self { library, key, snapshot, live, worked_since: Instant::now() }
    }

    fn run(mut self) -> Dissection {
        self.library.dissections.show(self.key, &self.live);
        self.live.stage = match self.dissect() {
            Ok(ControlFlow::Continue(())) => {
                self.live.progress = 100;
                Stage::Completed
            }
            Ok(ControlFlow::Break(())) => Stage::Cancelled,
            Err(error) => {
                self.note(error.to_string());
                Stage::Failed
            }
        };
        self.live
    }

    fn note(&mut self, error: String) {
        if self.live.errors.len() < MAX_ERRORS {
            self.live.errors.push(error);
        }
    }

    fn dissect(&mut self) -> Result<ControlFlow<()>, SnapshotError> {
        let path = self.library.entries_path(self.key.0, self.key.1);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .map_err(|error| SnapshotError::Disk { path: path.clone(), error })?;
        }
        let store = self.library.dissections.store(self.key.0, self.key.1, &path)?;
        let metrics = Arc::new(Metrics::new(Arc::new(Drops::new())));
        let mut entries = Entries {
            writer: store.writer(metrics)?,
            batch: Vec::with_capacity(BATCH),
            filter: Filter::parse(&self.snapshot.kfl, &Context::new(clock::now()))
                .map_err(|error| super::library::invalid(error.to_string()))?,
            window: (self.snapshot.from, self.snapshot.to),
            made: Made::default(),
            failure: None,
        };
        let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
        let run = format!("{:x}.{}", self.snapshot.created.millis(), self.key.1).into();
        let context = ShardContext { node, run, source: CaptureSource::File };
        let mut dissector = Dissector::new(Arc::clone(&self.library.config.limits), context);
        let flow = self.replay(&mut dissector, &mut entries)?;
        if flow.is_continue() {
            dissector.finish(&mut |entry| entries.take(entry));
        }
        for (reason, count) in dissector.losses() {
            self.note(format!("{}: {count} {}", reason.name(), reason.describe()));
        }
        entries.flush()?;
        self.count(&entries.made);
        entries.writer.finish()?;
        let trimmed = store.stats().trimmed_entries;
        if trimmed > 0 {
            self.note(format!("the oldest {trimmed} entries were given up to keep the limit of size"));
        }
        Ok(flow)
    }

    fn replay(
        &mut self,
        dissector: &mut Dissector,
        entries: &mut Entries,
    ) -> Result<ControlFlow<()>, SnapshotError> {
        let directory = self.library.directory(self.key.0);
        let mut items = 0;
        for name in &self.snapshot.segments {
            let path = directory.join(name);
            let mut file = CaptureFile::open(&path)?;
            loop {
                let item = match file.next_item() {
                    Ok(Some(item)) => item,
                    Ok(None) => break,
                    Err(error) => {
                        self.note(error.to_string());
                        break;
                    }
                };
                self.live.packets += u64::from(matches!(item, Item::Record(Record::Packet(_))));
                dissector.item(item, &mut |entry| entries.take(entry));
                items += 1;
                if items % STEP == 0 {
                    entries.flush()?;
                    self.count(&entries.made);
                    if self.pause().is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            self.live.bytes += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        }
        Ok(ControlFlow::Continue(()))
    }

    fn count(&mut self, made: &Made) {
        self.live.entries = made.entries;
        self.live.protocols.clone_from(&made.protocols);
        (self.live.first, self.live.last) = (made.first, made.last);
        // The end is told by the stage alone.
        let share = self.live.packets.saturating_mul(100) / self.snapshot.packets.max(1);
        self.live.progress = share.min(99);
    }

    /// Shows how far it is, rests, and sees whether to go on.
    fn pause(&mut self) -> ControlFlow<()> {
        if self.worked_since.elapsed() >= WORK {
            self.library.dissections.show(self.key, &self.live);
            std::thread::park_timeout(REST);
            self.worked_since = Instant::now();
            if self.library.dissections.is_cancelled(self.key) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Numbers, counts and stores entries.
struct Entries {
    writer: Writer,
    batch: Vec<Arc<Entry>>,
    filter: Filter,
    window: (Timestamp, Timestamp),
    made: Made,
    failure: Option<SnapshotError>,
}

#[derive(Default)]
struct Made {
    entries: u64,
    protocols: std::collections::BTreeMap<String, u64>,
    first: Timestamp,
    last: Timestamp,
}

impl Entries {
    fn take(&mut self, mut entry: Entry) {
        let at = moment(&entry);
        let (from, to) = self.window;
        if at < from || at > to || !self.filter.matches(&entry) {
            return;
        }
        self.made.entries += 1;
        entry.seq = self.made.entries;
        *self.made.protocols.entry(entry.protocol.as_str().to_owned()).or_default() += 1;
        self.made.first = if self.made.first == Timestamp::ZERO { at } else { self.made.first.min(at) };
        self.made.last = self.made.last.max(at);
        self.batch.push(Arc::new(entry));
        if self.batch.len() >= BATCH {
            let flushed = self.write();
            self.failure = self.failure.take().or(flushed.err());
        }
    }

    fn write(&mut self) -> Result<(), SnapshotError> {
        if !self.batch.is_empty() {
            self.writer.append(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        self.write()?;
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// The first moment of a call that was seen.
pub(super) fn moment(entry: &Entry) -> Timestamp {
    let timing = &entry.timing;
    let moments = [timing.request_start, timing.request_end, timing.response_start, timing.response_end];
    moments.into_iter().find(|at| *at != Timestamp::ZERO).unwrap_or(Timestamp::ZERO)
}
