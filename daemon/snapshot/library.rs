//! Snapshots on disk and in the manifest: made, found, renamed, deleted; whole or gone after a crash.
//!
//! Files come first and the manifest's row makes them count; a deletion removes the row first. So at a
//! start every directory without a row is left over and removed, and every row has its directory.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dissections::Dissections;
use super::export::Lengths;
use super::manifest::{Dissection, Snapshot, Stage};
use super::pace::Pacer;
use super::{LibraryConfig, Request, SnapshotError};
use crate::archive::{Archive, Segment};
use crate::engine::kfl::{Context, Filter};
use crate::engine::limits::Limits;
use crate::engine::model::Timestamp;
use crate::runtime::clock;
use crate::store::{Reader, Store};

/// Longest name.
const MAX_NAME: usize = 100;
/// Longest note, bytes.
const MAX_NOTE: usize = 4096;
/// Peers that a snapshot may be limited to.
const MAX_PEERS: usize = 64;
/// Snapshots that failed while nobody waited and are remembered; the oldest is forgotten beyond it.
const MAX_FAILURES: usize = 64;
/// Snapshots at once.
const MAX_SNAPSHOTS: usize = 1000;
/// Dissections of one snapshot.
const MAX_DISSECTIONS: usize = 32;
/// How long the recorder may take to complete its segment.
const SEAL_PATIENCE: Duration = Duration::from_secs(10);
/// A window that ends this shortly ago is still being written.
const RECENT: Duration = Duration::from_secs(5);
/// Ending of a directory that is being made or removed.
const UNFINISHED: &str = ".new";

/// A snapshot that is not there yet, or will not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Making {
    /// Its name.
    pub name: String,
    /// When it was asked for.
    pub since: Timestamp,
    /// Why there is none; empty while it is being made.
    pub failure: String,
}

/// Takes a name off the list of what is being made.
struct Under<'a> {
    library: &'a Library,
    name: String,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.library.making_of().remove(&self.name);
    }
}

/// All snapshots of this node.
#[derive(Debug)]
pub struct Library {
    pub(super) config: LibraryConfig,
    store: Arc<Store>,
    archive: Option<Archive>,
    state: Mutex<State>,
    /// Creation is one at a time for the sum of sizes to hold; it takes milliseconds.
    pub(super) creating: Mutex<()>,
    /// Those that are being made, and those that failed after somebody was told that they are.
    making: Mutex<BTreeMap<String, Making>>,
    pub(super) lengths: Lengths,
    pub(super) dissections: Dissections,
}

#[derive(Debug, Default)]
struct State {
    snapshots: BTreeMap<u64, Snapshot>,
    next: u64,
}

impl Library {
    /// Reads the manifest, removes what a crash left over, and takes up dissections that were under way.
    pub fn open(
        config: LibraryConfig,
        store: Arc<Store>,
        archive: Option<Archive>,
    ) -> Result<Arc<Self>, SnapshotError> {
        let failed = |error| SnapshotError::Disk { path: config.path.clone(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(&config.path).map_err(failed)?;
        let mut state = State { snapshots: BTreeMap::new(), next: 1 };
        for (id, document) in store.snapshots()? {
            state.next = state.next.max(id + 1);
            state.snapshots.insert(id, Snapshot::read(id, &document));
        }
        let known: Vec<u64> = store.snapshots()?.into_iter().map(|(id, _)| id).collect();
        state.next = state.next.max(remove_left_over(&config.path, &known).map_err(failed)? + 1);
        for snapshot in state.snapshots.values_mut() {
            if !snapshot.is_foreign && !config.path.join(snapshot.id.to_string()).is_dir() {
                "its files are gone".clone_into(&mut snapshot.failure);
            }
        }
        let this = Arc::new(Self {
            dissections: Dissections::default(),
            config,
            store,
            archive,
            state: Mutex::new(state),
            creating: Mutex::default(),
            making: Mutex::default(),
            lengths: Lengths::default(),
        });
        super::dissections::start(&this)
            .map_err(|error| SnapshotError::Disk { path: this.config.path.clone(), error })?;
        this.take_up();
        Ok(this)
    }

    /// Has dissections gone on with that were under way when the daemon ended.
    fn take_up(&self) {
        let mut unfinished = Vec::new();
        for snapshot in self.state().snapshots.values_mut() {
            let id = snapshot.id;
            for dissection in snapshot.dissections.iter_mut().filter(|found| !found.stage.is_over()) {
                dissection.stage = Stage::Pending;
                unfinished.push((id, dissection.id));
            }
        }
        for (snapshot, dissection) in unfinished {
            self.dissections.enqueue(snapshot, dissection);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one insertion or removal, so a panic leaves nothing half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All snapshots, oldest first.
    pub fn list(&self) -> Vec<Snapshot> {
        self.state().snapshots.values().cloned().collect()
    }

    /// The one with this name.
    pub fn get(&self, name: &str) -> Result<Snapshot, SnapshotError> {
        let found = self.state().snapshots.values().find(|snapshot| snapshot.name == name).cloned();
        found.ok_or_else(|| SnapshotError::NotFound { name: name.to_owned() })
    }

    pub(super) fn by_id(&self, id: u64) -> Option<Snapshot> {
        self.state().snapshots.get(&id).cloned()
    }

    /// Bytes of all segments, those in several snapshots counted once, and the limit.
    pub fn used(&self) -> (u64, u64) {
        let state = self.state();
        let segments: BTreeMap<&str, u64> = state
            .snapshots
            .values()
            .flat_map(|snapshot| &snapshot.segments)
            .filter_map(|name| Some((name.as_str(), bytes_of(name, &state.snapshots, &self.config.path)?)))
            .collect();
        (segments.values().sum(), self.config.max_bytes)
    }

    fn making_of(&self) -> MutexGuard<'_, BTreeMap<String, Making>> {
        // Each change is one insertion or removal.
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Snapshots that are being made, and those that failed while nobody waited.
    pub fn making(&self) -> Vec<Making> {
        self.making_of().values().cloned().collect()
    }

    /// Keeps in mind why there is no snapshot that somebody was told is being made.
    pub fn note_failure(&self, name: &str, failure: String) {
        let mut making = self.making_of();
        while making.len() >= MAX_FAILURES {
            let failed = making.values().filter(|known| !known.failure.is_empty());
            let Some(oldest) = failed.min_by_key(|known| known.since).map(|known| known.name.clone()) else {
                return;
            };
            making.remove(&oldest);
        }
        making.insert(name.to_owned(), Making { name: name.to_owned(), since: clock::now(), failure });
    }

    /// Says that a snapshot is being made; another one of that name cannot be begun meanwhile.
    fn begin(&self, name: &str) -> Result<Under<'_>, SnapshotError> {
        let mut making = self.making_of();
        if making.get(name).is_some_and(|known| known.failure.is_empty()) {
            return Err(SnapshotError::Exists { name: name.to_owned() });
        }
        let known = Making { name: name.to_owned(), since: clock::now(), failure: String::new() };
        making.insert(name.to_owned(), known);
        Ok(Under { library: self, name: name.to_owned() })
    }

    /// Freezes a window of raw capture.
    pub fn create(&self, request: Request) -> Result<Snapshot, SnapshotError> {
        check_name(&request.name)?;
        let _under_way = self.begin(&request.name)?;
        let kfl = scope_of(&request.kfl, &request.peers)?;
        if request.note.len() > MAX_NOTE {
            return Err(invalid(format!("a note may have {MAX_NOTE} bytes")));
        }
        let now = clock::now();
        let to = request.to.unwrap_or(now);
        let from = match (request.from, request.duration) {
            (Some(from), _) => from,
            (None, Some(duration)) => Timestamp(to.0.saturating_sub(duration.as_nanos() as u64)),
            (None, None) => Timestamp::ZERO,
        };
        if from >= to {
            return Err(invalid("from must lie before to"));
        }
        let _one = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_free(&request.name)?;
        let archive = self.archive.as_ref().ok_or(SnapshotError::NoCapture)?;
        if to.plus(RECENT) >= now {
            archive.seal(SEAL_PATIENCE)?;
        }
        let segments: Vec<Segment> =
            archive.segments().into_iter().filter(|segment| segment.overlaps(from, to)).collect();
        if segments.is_empty() {
            return Err(SnapshotError::Empty);
        }
        let wanted: u64 = segments.iter().map(|segment| segment.bytes).sum();
        self.check_quota(wanted)?;
        let names: Vec<String> = segments.iter().map(Segment::name).collect();
        let snapshot = Snapshot {
            name: request.name,
            note: request.note,
            kfl,
            created: now,
            from,
            to: to.min(now),
            ..Snapshot::default()
        };
        let raw = archive.path().to_path_buf();
        self.add(snapshot, |directory| link_all(&raw, directory, &names))
    }

    /// Links the segments of a window, so that they stay while they are read. Whoever asked removes the
    /// directory; after a crash the next start does.
    pub(super) fn hold(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(PathBuf, Vec<String>), SnapshotError> {
        let archive = self.archive.as_ref().ok_or(SnapshotError::NoCapture)?;
        if to.plus(RECENT) >= clock::now() {
            archive.seal(SEAL_PATIENCE)?;
        }
        let segments = archive.segments().into_iter().filter(|segment| segment.overlaps(from, to));
        let names: Vec<String> = segments.map(|segment| segment.name()).collect();
        if names.is_empty() {
            return Err(SnapshotError::Empty);
        }
        let directory = self.config.path.join(format!("{}{UNFINISHED}", self.next_id()));
        let made = DirBuilder::new().mode(0o700).create(&directory);
        match made.and_then(|()| link_all(archive.path(), &directory, &names)) {
            Ok(linked) => Ok((directory, linked)),
            Err(error) => {
                remove_all(&directory);
                Err(SnapshotError::Disk { path: directory, error })
            }
        }
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next - 1
    }

    /// Makes a directory, has it filled, and enters it into the manifest.
    pub(super) fn add(
        &self,
        mut snapshot: Snapshot,
        fill: impl FnOnce(&Path) -> io::Result<Vec<String>>,
    ) -> Result<Snapshot, SnapshotError> {
        let id = self.next_id();
        let unfinished = self.config.path.join(format!("{id}{UNFINISHED}"));
        let directory = self.directory(id);
        let failed = |error| SnapshotError::Disk { path: directory.clone(), error };
        let made = DirBuilder::new().mode(0o700).create(&unfinished).and_then(|()| {
            let segments = fill(&unfinished)?;
            sync(&unfinished)?;
            fs::rename(&unfinished, &directory)?;
            sync(&self.config.path)?;
            Ok(segments)
        });
        let segments = match made {
            Ok(segments) => segments,
            Err(error) => {
                remove_all(&unfinished);
                return Err(failed(error));
            }
        };
        let found = segments.iter().filter_map(|name| {
            let bytes = fs::metadata(directory.join(name)).ok()?.len();
            Segment::of(name, bytes)
        });
        (snapshot.bytes, snapshot.packets) = found
            .fold((0, 0), |(bytes, packets), segment| (bytes + segment.bytes, packets + segment.packets));
        (snapshot.id, snapshot.segments, snapshot.next_dissection) = (id, segments, 1);
        if let Err(error) = self.write(&snapshot) {
            remove_all(&directory);
            return Err(error);
        }
        self.state().snapshots.insert(id, snapshot.clone());
        tracing::info!(name = snapshot.name, packets = snapshot.packets, "snapshot made");
        Ok(snapshot)
    }

    /// Gives a snapshot another name or note.
    pub fn change(
        &self,
        name: &str,
        to: Option<String>,
        note: Option<String>,
    ) -> Result<Snapshot, SnapshotError> {
        let _one = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = to.as_deref().filter(|to| *to != name) {
            check_name(to)?;
            self.check_free(to)?;
        }
        let id = self.get(name)?.id;
        self.update(id, |snapshot| {
            to.into_iter().for_each(|to| snapshot.name = to);
            note.into_iter().for_each(|note| snapshot.note = note);
        })
    }

    /// Removes a snapshot with all that was made of it.
    pub fn delete(&self, name: &str) -> Result<(), SnapshotError> {
        let is_failed = |known: &Making| !known.failure.is_empty();
        if self.making_of().get(name).is_some_and(is_failed) && self.get(name).is_err() {
            self.making_of().remove(name);
            return Ok(());
        }
        let snapshot = self.get(name)?;
        self.dissections.cancel(snapshot.id, None);
        self.store.set_snapshot(snapshot.id, None)?;
        self.state().snapshots.remove(&snapshot.id);
        self.dissections.forget(snapshot.id, None);
        // From here on a crash leaves a directory without a row, which the next start removes.
        remove_all(&self.directory(snapshot.id));
        Ok(())
    }

    /// Begins to make entries of a snapshot. An empty name gets the first free one.
    pub fn dissect(&self, name: &str, as_name: &str) -> Result<Dissection, SnapshotError> {
        let snapshot = self.get(name)?;
        if !snapshot.failure.is_empty() {
            return Err(invalid(format!("snapshot {name:?} cannot be used: {}", snapshot.failure)));
        }
        let taken = |wanted: &str| snapshot.dissections.iter().any(|dissection| dissection.name == wanted);
        let chosen = if as_name.is_empty() {
            (1..=MAX_DISSECTIONS + 1)
                .map(|n| format!("dissection-{n}"))
                .find(|name| !taken(name))
                .unwrap_or_default()
        } else {
            check_name(as_name)?;
            as_name.to_owned()
        };
        if taken(&chosen) {
            return Err(SnapshotError::Exists { name: format!("{name}/{chosen}") });
        }
        if snapshot.dissections.len() >= MAX_DISSECTIONS {
            return Err(invalid(format!("a snapshot may have {MAX_DISSECTIONS} dissections; delete one")));
        }
        let mut added = Dissection { name: chosen, ..Dissection::default() };
        self.update(snapshot.id, |snapshot| {
            added.id = snapshot.next_dissection;
            snapshot.next_dissection += 1;
            snapshot.dissections.push(added.clone());
        })?;
        self.dissections.enqueue(snapshot.id, added.id);
        Ok(added)
    }

    /// A snapshot's dissection with how far it is; the newest one without a name.
    pub fn dissection(&self, snapshot: &str, name: &str) -> Result<(Snapshot, Dissection), SnapshotError> {
        let snapshot = self.get(snapshot)?;
        let mut named = snapshot.dissections.iter().filter(|found| name.is_empty() || found.name == name);
        let Some(found) = named.next_back() else {
            let name =
                if name.is_empty() { snapshot.name.clone() } else { format!("{}/{name}", snapshot.name) };
            return Err(SnapshotError::NotDissected { name });
        };
        let live = self.dissections.live(snapshot.id, found.id);
        let dissection = live.unwrap_or_else(|| found.clone());
        Ok((snapshot, dissection))
    }

    /// Ends a dissection; what it made is kept.
    pub fn cancel(&self, snapshot: &str, name: &str) -> Result<Dissection, SnapshotError> {
        let (snapshot, dissection) = self.dissection(snapshot, name)?;
        if dissection.stage.is_over() {
            return Ok(dissection);
        }
        let cancelled = Dissection { stage: Stage::Cancelled, ..dissection };
        if !self.dissections.cancel(snapshot.id, Some(cancelled.id)) {
            self.note_dissection(snapshot.id, &cancelled);
        }
        Ok(cancelled)
    }

    /// Removes a dissection and its entries.
    pub fn delete_dissection(&self, snapshot: &str, name: &str) -> Result<(), SnapshotError> {
        let (snapshot, dissection) = self.dissection(snapshot, name)?;
        self.dissections.cancel(snapshot.id, Some(dissection.id));
        self.update(snapshot.id, |snapshot| snapshot.dissections.retain(|found| found.id != dissection.id))?;
        self.dissections.forget(snapshot.id, Some(dissection.id));
        remove_all(&self.entries_path(snapshot.id, dissection.id));
        Ok(())
    }

    /// The entries of `SNAPSHOT` (its newest dissection) or `SNAPSHOT/DISSECTION`.
    pub fn entries(&self, name: &str) -> Result<Reader, SnapshotError> {
        let (snapshot, dissection) = name.split_once('/').unwrap_or((name, ""));
        let (snapshot, dissection) = self.dissection(snapshot, dissection)?;
        let path = self.entries_path(snapshot.id, dissection.id);
        // One that waits to be gone on with has what it made before a restart.
        if dissection.stage == Stage::Pending && !path.exists() {
            return Err(SnapshotError::NotDissected { name: name.to_owned() });
        }
        Ok(self.dissections.store(snapshot.id, dissection.id, &path)?.reader())
    }

    /// Writes down how far a dissection is, unless it was deleted meanwhile.
    pub(super) fn note_dissection(&self, snapshot: u64, now: &Dissection) {
        let updated = self.update(snapshot, |snapshot| {
            for dissection in snapshot.dissections.iter_mut().filter(|found| found.id == now.id) {
                dissection.clone_from(now);
            }
        });
        match updated {
            Ok(_) | Err(SnapshotError::NotFound { .. }) => {}
            Err(error) => tracing::warn!("how far a dissection is is not written down: {error}"),
        }
    }

    /// A pacer for work that nobody waits for.
    pub(super) fn pacer(&self) -> Pacer {
        Pacer::new(self.config.delayed.pace, self.archive.clone())
    }

    /// Caps of delayed dissection: those of live dissection, and its own bound of memory.
    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::new(Limits { max_held: self.config.delayed.memory, ..(*self.config.limits).clone() })
    }

    pub(super) fn directory(&self, id: u64) -> PathBuf {
        self.config.path.join(id.to_string())
    }

    pub(super) fn entries_path(&self, snapshot: u64, dissection: u64) -> PathBuf {
        self.directory(snapshot).join(format!("{dissection}.entries"))
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Snapshot)) -> Result<Snapshot, SnapshotError> {
        let mut state = self.state();
        let known = state.snapshots.get_mut(&id);
        let known = known.ok_or_else(|| SnapshotError::NotFound { name: id.to_string() })?;
        if known.is_foreign {
            return Err(invalid(format!("snapshot {:?} cannot be changed: {}", known.name, known.failure)));
        }
        let mut changed = known.clone();
        change(&mut changed);
        self.write(&changed)?;
        known.clone_from(&changed);
        Ok(changed)
    }

    fn write(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        Ok(self.store.set_snapshot(snapshot.id, Some(&snapshot.document()))?)
    }

    fn check_free(&self, name: &str) -> Result<(), SnapshotError> {
        let state = self.state();
        if state.snapshots.values().any(|snapshot| snapshot.name == name) {
            return Err(SnapshotError::Exists { name: name.to_owned() });
        }
        if state.snapshots.len() >= MAX_SNAPSHOTS {
            return Err(invalid(format!("there may be {MAX_SNAPSHOTS} snapshots; delete one")));
        }
        Ok(())
    }

    pub(super) fn check_quota(&self, more: u64) -> Result<(), SnapshotError> {
        let (used, limit) = self.used();
        if used.saturating_add(more) > limit {
            return Err(SnapshotError::Quota { used, more, limit });
        }
        Ok(())
    }
}

fn bytes_of(name: &str, snapshots: &BTreeMap<u64, Snapshot>, root: &Path) -> Option<u64> {
    let holder =
        snapshots.values().find(|snapshot| snapshot.segments.iter().any(|segment| segment == name))?;
    Some(fs::metadata(root.join(holder.id.to_string()).join(name)).ok()?.len())
}

pub(super) fn invalid(reason: impl Into<String>) -> SnapshotError {
    SnapshotError::Invalid { reason: reason.into() }
}

pub(super) fn check_name(name: &str) -> Result<(), SnapshotError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // `import` is a route of its own.
    if name.is_empty()
        || name == "import"
        || name.len() > MAX_NAME
        || name.starts_with('.')
        || !name.bytes().all(fits)
    {
        return Err(invalid(format!(
            "{name:?} is no name; up to {MAX_NAME} letters, digits, dashes, dots and underscores are"
        )));
    }
    Ok(())
}

pub(super) fn filter_of(kfl: &str) -> Result<Filter, SnapshotError> {
    filter_at(kfl, clock::now())
}

/// A filter as it was meant at a moment: `now()` is that one.
pub(super) fn filter_at(kfl: &str, at: Timestamp) -> Result<Filter, SnapshotError> {
    Filter::parse(kfl, &Context::new(at)).map_err(|error| invalid(error.to_string()))
}

/// Filter and peers as one filter.
fn scope_of(kfl: &str, peers: &[String]) -> Result<String, SnapshotError> {
    filter_of(kfl)?;
    if peers.len() > MAX_PEERS {
        return Err(invalid(format!("up to {MAX_PEERS} peers are taken; use kfl for more")));
    }
    let mut choices = Vec::with_capacity(peers.len());
    for peer in peers {
        // What could end the text of a filter is in no address and no name.
        if peer.is_empty() || peer.contains(['"', '\\']) || peer.chars().any(char::is_control) {
            return Err(invalid(format!("peer {peer:?} is neither an address nor a name")));
        }
        let field = if peer.parse::<IpAddr>().is_ok() { "ip" } else { "name" };
        choices.push(format!("src.{field} == \"{peer}\" or dst.{field} == \"{peer}\""));
    }
    let whole = match (kfl.trim(), choices.join(" or ")) {
        (kfl, peers) if peers.is_empty() => kfl.to_owned(),
        ("", peers) => peers,
        (kfl, peers) => format!("({kfl}) and ({peers})"),
    };
    filter_of(&whole)?;
    Ok(whole)
}

/// Links segments; one that was given up a moment ago is left out.
fn link_all(from: &Path, to: &Path, names: &[String]) -> io::Result<Vec<String>> {
    let mut linked = Vec::with_capacity(names.len());
    for name in names {
        match fs::hard_link(from.join(name), to.join(name)) {
            Ok(()) => linked.push(name.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if linked.is_empty() {
        return Err(io::Error::other("raw capture has given up this window a moment ago"));
    }
    Ok(linked)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes directories that no row of the manifest knows. Returns the largest id seen.
fn remove_left_over(root: &Path, known: &[u64]) -> io::Result<u64> {
    let mut largest = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let id = name.strip_suffix(UNFINISHED).unwrap_or(&name).parse::<u64>().ok();
        largest = largest.max(id.unwrap_or(0));
        let is_known = name.parse().is_ok_and(|id: u64| known.contains(&id));
        if id.is_some() && !is_known {
            tracing::info!(name, "a snapshot was not completed or not removed whole; it is removed now");
            remove_all(&entry.path());
        }
    }
    Ok(largest)
}

pub(super) fn remove_all(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}; the next start tries again", path.display());
        }
        _ => {}
    }
}
