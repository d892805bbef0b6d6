//! Snapshots and their dissections on a real directory; crashes as the states that they leave behind.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::archive::{ArchiveConfig, Feed, Identities, Recorder};
use crate::engine::model::{CaptureSource, Hook, NodeInfo, Packet, Record, SocketCookie};
use crate::runtime::clock;
use crate::store::{Store, StoreConfig};
use crate::telemetry::Drops;

const PATIENCE: Duration = Duration::from_secs(20);

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
        let config = LibraryConfig { path: self.snapshots(), max_bytes, limits };
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
