//! Which dissections wait, run and are open for queries, and the threads that make them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use compact_str::format_compact;

use super::SnapshotError;
use super::job::Job;
use super::library::Library;
use super::manifest::Dissection;
use crate::runtime;
use crate::store::{Store, StoreConfig};

/// Bytes of the entries of one dissection; the oldest go beyond it, which is said among its errors.
const MAX_ENTRIES_BYTES: u64 = 8 << 30;
/// Entry databases kept open for queries besides the one that is being made.
const MAX_OPEN: usize = 8;

/// A snapshot's and a dissection's id.
pub(super) type Key = (u64, u64);

/// What waits, what runs, what is open.
#[derive(Debug, Default)]
pub(super) struct Dissections {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Key>,
    /// With how far they are, once they are begun.
    running: HashMap<Key, Option<Dissection>>,
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

    /// Ends what is under way or waits: one dissection, or all of a snapshot. What is under way ends by itself a
    /// little later and says so; false if nothing is.
    pub(super) fn cancel(&self, snapshot: u64, dissection: Option<u64>) -> bool {
        let mut state = self.state();
        let is_meant = |key: &Key| key.0 == snapshot && dissection.is_none_or(|wanted| wanted == key.1);
        state.waiting.retain(|key| !is_meant(key));
        let running: Vec<Key> = state.running.keys().copied().filter(is_meant).collect();
        state.cancelled.extend(&running);
        !running.is_empty()
    }

    /// Closes databases that are going to be removed.
    pub(super) fn forget(&self, snapshot: u64, dissection: Option<u64>) {
        self.state().open.retain(|key, _| key.0 != snapshot || dissection.is_some_and(|kept| kept != key.1));
    }

    /// How far a running one is.
    pub(super) fn live(&self, snapshot: u64, dissection: u64) -> Option<Dissection> {
        self.state().running.get(&(snapshot, dissection)).cloned().flatten()
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
            let closable = state.open.iter().filter(|(key, _)| !state.running.contains_key(key));
            let Some(oldest) = closable.min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key) else {
                break;
            };
            state.open.remove(&oldest);
        }
        let config = StoreConfig { max_bytes: MAX_ENTRIES_BYTES, max_age: None, remade: true };
        let store = Arc::new(Store::open(path, config)?);
        state.open.insert(key, (Arc::clone(&store), Instant::now()));
        Ok(store)
    }

    pub(super) fn is_cancelled(&self, key: Key) -> bool {
        self.state().cancelled.contains(&key)
    }

    /// Waits for the next one to do; `None` now and then, to see whether anybody still wants something.
    fn next(&self) -> Option<Key> {
        let state = self.state();
        let waited =
            self.changed.wait_timeout_while(state, Duration::from_secs(1), |state| state.waiting.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let key = (!state.waiting.is_empty()).then(|| state.waiting.remove(0))?;
        // At once, so that there is no moment at which it could not be cancelled.
        state.running.insert(key, None);
        Some(key)
    }

    pub(super) fn show(&self, key: Key, live: &Dissection) {
        self.state().running.insert(key, Some(live.clone()));
    }

    fn done(&self, key: Key) {
        let mut state = self.state();
        state.running.remove(&key);
        state.cancelled.remove(&key);
    }
}

/// Starts the threads, as many as dissections may run at once; they end with the library.
pub(super) fn start(library: &Arc<Library>) -> std::io::Result<()> {
    for number in 1..=library.config.delayed.at_once.max(1) {
        let library = Arc::downgrade(library);
        // Not waited for at the end: what it makes is gone on with after a restart.
        let _detached = runtime::spawn_thread(&format_compact!("dissect-{number}"), move || run(&library))?;
    }
    Ok(())
}

fn run(library: &Weak<Library>) {
    if let Some(library) = library.upgrade() {
        library.config.delayed.pace.take_on();
    }
    while let Some(library) = library.upgrade() {
        let Some(key) = library.dissections.next() else { continue };
        let found = library.by_id(key.0).and_then(|snapshot| {
            let found = snapshot.dissections.iter().find(|found| found.id == key.1).cloned()?;
            Some((snapshot, found))
        });
        // Nothing, if it was deleted a moment ago.
        if let Some((snapshot, found)) = found {
            let ended = Job::new(&library, key, &snapshot, found).run();
            tracing::info!(
                snapshot = snapshot.name,
                dissection = ended.name,
                entries = ended.entries,
                "a dissection is {}",
                ended.stage.name()
            );
            library.note_dissection(key.0, &ended);
        }
        library.dissections.done(key);
    }
}
