//! Snapshots and their dissections on a real directory; crashes as the states that they leave behind.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::archive::{ArchiveConfig, Feed, Identities, Recorder};
use crate::engine::model::{CaptureSource, Entry, Hook, NodeInfo, Packet, Record, SocketCookie};
use crate::runtime::clock;
use crate::store::{Store, StoreConfig};
use crate::telemetry::Drops;

#[path = "../../tests/support/conversations.rs"]
mod made_up;
use made_up::conversations;

const PATIENCE: Duration = Duration::from_secs(60);

struct Nobody;

impl Identities for Nobody {
    fn identities(&self, _: Timestamp) -> Vec<Record> {
        Vec::new()
    }
}

struct Host {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    recorder: Recorder,
    feed: Feed,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).unwrap());
        let config = ArchiveConfig {
            path: dir.path().join("raw"),
            max_bytes: ArchiveConfig::MIN_BYTES,
            max_age: None,
            enabled: true,
            takes_secrets: false,
        };
        let node = NodeInfo { name: "alpha".into(), ip: [10, 0, 0, 1].into() };
        let drops = Arc::new(Drops::new());
        let recorder = Recorder::start(config, node, CaptureSource::Ebpf, Box::new(Nobody), drops).unwrap();
        let feed = recorder.feed().unwrap();
        Self { dir, store, recorder, feed }
    }

    fn library(&self) -> Arc<Library> {
        self.library_of(1 << 30).unwrap()
    }

    fn library_of(&self, max_bytes: u64) -> Result<Arc<Library>, SnapshotError> {
        let limits = Arc::new(Limits::default());
        let config = LibraryConfig { path: self.snapshots(), max_bytes, limits, delayed: Delayed::default() };
        Library::open(config, Arc::clone(&self.store), Some(self.recorder.archive()))
    }

    fn snapshots(&self) -> std::path::PathBuf {
        self.dir.path().join("snapshots")
    }

    /// Captures some datagrams.
    fn capture(&mut self) {
        for _ in 0..10 {
            let mut data = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            data.extend([0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
            self.feed.record(&Record::Packet(Packet {
                at: clock::now(),
                cookie: SocketCookie(1),
                hook: Hook::Egress,
                ifindex: 1,
                socket: None,
                wire_len: 32,
                data: Bytes::from(data),
            }));
        }
        self.feed.flush();
    }
}

fn request(name: &str) -> Request {
    Request { name: name.to_owned(), ..Request::default() }
}

fn completed(library: &Library, snapshot: &str) -> Dissection {
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, dissection) = library.dissection(snapshot, "").unwrap();
        if dissection.stage.is_over() {
            return dissection;
        }
        assert!(Instant::now() < end, "{dissection:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn all(format: Format) -> Wanted {
    Wanted { format, from: None, to: None, filter: None, about: None }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_outlives_what_raw_capture_gives_up() {
    let mut host = Host::new();
    let library = host.library();
    assert!(matches!(library.create(request("empty")), Err(SnapshotError::Empty)));
    host.capture();
    let made = library.create(request("one")).unwrap();
    assert_eq!((made.packets, made.segments.len()), (10, 1));
    for name in names(host.recorder.archive().path()) {
        std::fs::remove_file(host.recorder.archive().path().join(name)).unwrap();
    }
    library.dissect("one", "").unwrap();
    let dissection = completed(&library, "one");
    assert_eq!((dissection.stage, dissection.packets, dissection.progress), (Stage::Completed, 10, 100));
    assert!(dissection.errors.is_empty(), "{dissection:?}");
    let mut export = library.export("one", &all(Format::Pcapng)).unwrap();
    assert!(export.next_piece().unwrap().is_some_and(|piece| piece.len() > 10 * 60));
    assert!(export.next_piece().unwrap().is_none());
}

#[test]
fn an_export_of_raw_capture_holds_its_segments_and_lets_go_of_them() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    let mut export = library.export_raw(&all(Format::Pcap)).unwrap();
    for name in names(host.recorder.archive().path()) {
        std::fs::remove_file(host.recorder.archive().path().join(name)).unwrap();
    }
    assert_eq!(names(&host.snapshots()), ["1.new"]);
    let piece = export.next_piece().unwrap().unwrap();
    assert_eq!(piece.len(), 24 + 10 * (16 + 32));
    drop(export);
    assert_eq!(names(&host.snapshots()), Vec::<String>::new());
}

#[test]
fn names_are_unique_and_change_and_deletion_leaves_nothing() {
    let mut host = Host::new();
    let library = host.library();
    host.capture();
    library.create(request("one")).unwrap();
    assert!(matches!(library.create(request("one")), Err(SnapshotError::Exists { .. })));
    for wrong in ["", "a/b", "..", "import", "a b", &"x".repeat(101)] {
        assert!(matches!(library.create(request(wrong)), Err(SnapshotError::Invalid { .. })), "{wrong:?}");
    }
    host.capture();
    library.create(request("two")).unwrap();
    assert!(matches!(library.change("two", Some("one".into()), None), Err(SnapshotError::Exists { .. })));
    library.change("two", Some("three".into()), Some("for the report".into())).unwrap();
    let found = library.get("three").unwrap();
    assert_eq!((found.note.as_str(), found.packets), ("for the report", 20));
    assert!(matches!(library.get("two"), Err(SnapshotError::NotFound { .. })));
    library.dissect("three", "first").unwrap();
    completed(&library, "three");
    assert!(matches!(library.dissect("three", "first"), Err(SnapshotError::Exists { .. })));
    library.entries("three/first").unwrap();
    library.delete_dissection("three", "first").unwrap();
    assert!(matches!(library.entries("three"), Err(SnapshotError::NotDissected { .. })));
    for name in ["one", "three"] {
        library.delete(name).unwrap();
    }
    assert_eq!(names(&host.snapshots()), Vec::<String>::new());
    assert_eq!(host.store.snapshots().unwrap(), Vec::new());
    assert_eq!(library.used().0, 0);
}

#[test]
fn a_quota_counts_shared_segments_once() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    let bytes = library.create(request("one")).unwrap().bytes;
    library.create(request("two")).unwrap();
    assert_eq!(library.used().0, bytes);
    drop(library);
    let library = host.library_of(bytes).unwrap();
    assert!(matches!(library.create(request("three")), Err(SnapshotError::Quota { .. })));
    assert_eq!(names(&host.snapshots()), ["1", "2"]);
}

#[test]
fn what_is_being_made_is_shown_as_such_until_it_is_there_or_failed() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    let held = library.creating.lock().unwrap();
    let making = {
        let library = Arc::clone(&library);
        crate::runtime::spawn_thread("create", move || drop(library.create(request("one")).unwrap())).unwrap()
    };
    let end = Instant::now() + PATIENCE;
    while library.making().is_empty() {
        assert!(Instant::now() < end);
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let shown = library.making();
    assert_eq!((shown.len(), shown[0].name.as_str(), shown[0].failure.as_str()), (1, "one", ""));
    assert!(library.get("one").is_err(), "not there yet");
    assert!(matches!(library.create(request("one")), Err(SnapshotError::Exists { .. })), "one at a time");
    drop(held);
    making.join().unwrap();
    assert!(library.making().is_empty() && library.get("one").is_ok());

    // Somebody was told that it is being made, and then it failed.
    library.note_failure("two", "the disk is full".to_owned());
    assert_eq!(library.making()[0].failure, "the disk is full");
    library.delete("two").unwrap();
    assert!(
        library.making().is_empty() && matches!(library.delete("two"), Err(SnapshotError::NotFound { .. }))
    );
    (0..200).for_each(|n| library.note_failure(&format!("n{n}"), "x".to_owned()));
    assert_eq!(library.making().len(), 64);
    library.create(request("n199")).unwrap();
    assert!(library.making().iter().all(|known| known.name != "n199"));
}

#[test]
fn what_another_release_wrote_down_is_shown_and_left_as_it_is() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    library.create(request("ours")).unwrap();
    drop(library);
    // A later one, a broken one, and one from before descriptions had a version.
    let later = br#"{"version":2,"id":7,"name":"later","shards":[{"of":"something"}]}"#.to_vec();
    let broken = br#"{"name":"broken","dissections":5}"#.to_vec();
    let older = br#"{"id":9,"name":"older","from":1,"to":2,"segments":[]}"#.to_vec();
    for (id, document) in [(7, &later), (8, &broken), (9, &older)] {
        host.store.set_snapshot(id, Some(document)).unwrap();
        std::fs::create_dir(host.snapshots().join(id.to_string())).unwrap();
    }
    let library = host.library();
    let shown = library.list();
    assert_eq!(
        shown.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(),
        ["ours", "later", "broken", "older"]
    );
    for name in ["later", "broken"] {
        assert!(library.get(name).unwrap().failure.contains("another release"), "{name}");
        assert!(library.change(name, Some("renamed".to_owned()), None).is_err());
        assert!(library.dissect(name, "").is_err() && library.create(request(name)).is_err());
    }
    assert_eq!(library.get("older").unwrap().failure, "");
    library.change("older", None, Some("a note".to_owned())).unwrap();
    let documents = host.store.snapshots().unwrap();
    assert!(documents.contains(&(7, later)) && documents.contains(&(8, broken)), "byte by byte");
    assert_eq!(names(&host.snapshots()), ["1", "7", "8", "9"], "and their files");
    library.delete("later").unwrap();
    assert_eq!(names(&host.snapshots()), ["1", "8", "9"], "but for who wants it gone");
}

#[test]
fn a_crash_at_any_step_leaves_a_snapshot_whole_or_gone() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    library.create(request("whole")).unwrap();
    library.create(request("gone")).unwrap();
    drop(library);
    let path = host.snapshots();
    // While it was made: before and after the directory got its name. While it was deleted: after the row.
    for left_over in ["8.new", "9"] {
        std::fs::create_dir(path.join(left_over)).unwrap();
        std::fs::write(path.join(left_over).join("segment"), "x").unwrap();
    }
    // Something else took the files.
    std::fs::remove_dir_all(path.join("2")).unwrap();
    let library = host.library();
    assert_eq!(names(&path), ["1"]);
    assert_eq!(library.get("whole").unwrap().failure, "");
    assert_eq!(library.get("gone").unwrap().failure, "its files are gone");
    assert!(library.dissect("gone", "").is_err());
    library.delete("gone").unwrap();
    assert_eq!(library.create(request("new")).unwrap().id, 10, "numbers of left-overs do not come again");
}

#[test]
fn a_dissection_that_a_crash_interrupted_is_made_again() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    let mut snapshot = library.create(request("one")).unwrap();
    drop(library);
    let under_way =
        Dissection { id: 1, name: "first".into(), stage: Stage::Running, ..Dissection::default() };
    snapshot.dissections.push(under_way);
    snapshot.next_dissection = 2;
    host.store.set_snapshot(snapshot.id, Some(&serde_json::to_vec(&snapshot).unwrap())).unwrap();
    let half_made = host.snapshots().join("1/1.entries");
    std::fs::create_dir_all(&half_made).unwrap();
    std::fs::write(half_made.join("remora.redb"), "torn").unwrap();
    let library = host.library();
    let dissection = completed(&library, "one");
    assert_eq!((dissection.stage, dissection.packets), (Stage::Completed, 10), "{dissection:?}");
}

/// A snapshot of conversations and its first dissection, made without a break.
fn dissected(library: &Library, calls: usize, body: usize) -> Vec<Arc<Entry>> {
    let file = std::io::Cursor::new(conversations(calls, body));
    let file = CaptureFile::read_from(Path::new("conversations"), Box::new(file)).unwrap();
    library.import("one", file).unwrap();
    library.dissect("one", "").unwrap();
    assert_eq!(completed(library, "one").stage, Stage::Completed);
    stored(library, "one")
}

fn stored(library: &Library, name: &str) -> Vec<Arc<Entry>> {
    let mut entries = Vec::new();
    let mut take = |entry| {
        entries.push(entry);
        std::ops::ControlFlow::Continue(())
    };
    library.entries(name).unwrap().oldest_first(0, u64::MAX, &mut take, &|_| false).unwrap();
    entries
}

/// Brings a completed dissection into the state that a kill of the daemon leaves behind: entries that were committed,
/// a file that was not closed, and a manifest that says that it is under way.
fn interrupt(host: &Host, committed: &[Arc<Entry>]) {
    let (id, document) = host.store.snapshots().unwrap().pop().unwrap();
    let mut snapshot: Snapshot = serde_json::from_slice(&document).unwrap();
    snapshot.dissections[0].stage = Stage::Running;
    (snapshot.dissections[0].entries, snapshot.dissections[0].progress) = (committed.len() as u64, 30);
    host.store.set_snapshot(id, Some(&serde_json::to_vec(&snapshot).unwrap())).unwrap();
    let path = host.snapshots().join(format!("{id}/1.entries"));
    std::fs::remove_dir_all(&path).unwrap();
    let metrics = || Arc::new(crate::telemetry::Metrics::new(Arc::new(Drops::new())));
    let partial = Store::open(&path, StoreConfig::default()).unwrap();
    let mut writer = partial.writer(metrics()).unwrap();
    writer.append(committed).unwrap();
    writer.flush().unwrap();
}

#[test]
fn a_dissection_that_was_interrupted_goes_on_and_equals_one_that_was_not() {
    for share in [1, 50, 99] {
        let host = Host::new();
        let library = host.library();
        let whole = dissected(&library, 3_000, 3_000);
        assert!(whole.len() > 3_000 && whole.iter().any(|entry| entry.error.is_some()));
        assert!(whole.iter().any(|entry| !entry.dst.dns.is_empty() && !entry.events.is_empty()));
        drop(library);
        let committed = whole.len() * share / 100;
        interrupt(&host, &whole[..committed]);
        let library = host.library();
        let (_, shown) = library.dissection("one", "").unwrap();
        assert!(shown.progress >= 30, "what is shown does not go back: {shown:?}");
        assert!(stored(&library, "one").len() >= committed, "what was committed is there at once");
        let ended = completed(&library, "one");
        assert_eq!((ended.stage, ended.resumed), (Stage::Completed, committed as u64), "{ended:?}");
        assert_eq!(ended.entries, whole.len() as u64);
        assert_eq!(stored(&library, "one"), whole);
    }
}

#[test]
fn what_was_stored_is_thrown_away_where_it_would_not_come_out_again() {
    let host = Host::new();
    let library = host.library();
    let whole = dissected(&library, 500, 300);
    drop(library);
    // As another release may have made it.
    let mut other: Vec<Arc<Entry>> = whole[..100].to_vec();
    other[70] = Arc::new(Entry { status: 999, ..Entry::clone(&other[70]) });
    interrupt(&host, &other);
    let library = host.library();
    let ended = completed(&library, "one");
    assert_eq!((ended.stage, ended.resumed), (Stage::Completed, 0), "{ended:?}");
    assert_eq!(stored(&library, "one"), whole);
    // As a filter or a shorter file would have left it: more than comes out.
    drop(library);
    let mut longer = whole.clone();
    let last = whole.len() as u64;
    longer.push(Arc::new(Entry { seq: last + 1, ..Entry::clone(&whole[0]) }));
    interrupt(&host, &longer);
    let library = host.library();
    assert_eq!(completed(&library, "one").entries, last);
    assert_eq!(stored(&library, "one"), whole);
}

#[test]
fn a_dissection_says_what_it_holds_and_what_its_bound_is() {
    let host = Host::new();
    let limits = Arc::new(Limits::default());
    let delayed = Delayed { memory: 16 << 20, at_once: 2, pace: Pace { cpu: 100, nice: 0 } };
    let config = LibraryConfig { path: host.snapshots(), max_bytes: 1 << 30, limits, delayed };
    let library = Library::open(config, Arc::clone(&host.store), None).unwrap();
    dissected(&library, 640, 30_000);
    let (_, ended) = library.dissection("one", "").unwrap();
    assert!(ended.held > 64 << 10 && ended.held <= ended.max_held, "64 connections are open: {ended:?}");
    assert_eq!(
        (ended.max_held, ended.errors.iter().any(|error| error.contains("memory"))),
        (16 << 20, false)
    );
}

#[test]
fn a_dissection_can_be_cancelled() {
    let mut host = Host::new();
    host.capture();
    let library = host.library();
    library.create(request("one")).unwrap();
    library.dissect("one", "first").unwrap();
    let ended = library.cancel("one", "first").unwrap();
    assert!(matches!(ended.stage, Stage::Cancelled | Stage::Completed));
    assert!(completed(&library, "one").stage.is_over());
    library.delete("one").unwrap();
}
