//! Files that cannot be opened, and a disk that fails while running.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use redb::StorageBackend;

use super::super::database::Opener;
use super::*;

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let second = Store::open(directory.path(), StoreConfig::default());
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
}

#[test]
fn a_file_that_is_no_store_is_an_error_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("remora.redb"), vec![7; 100_000]).unwrap();
    let error = Store::open(directory.path(), StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }) && error.to_string().contains("mv "), "{error}");
}

#[test]
fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("new");
    let _store = Store::open(&inside, StoreConfig::default()).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inside), mode(&inside.join("remora.redb"))), (0o700, 0o600));
}

/// A disk in memory that refuses writes while it is told to.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    /// Writes that still succeed; `None` for all.
    writes_left: Option<u64>,
}

impl Disk {
    fn fail_after(&self, writes: Option<u64>) {
        self.0.lock().unwrap().writes_left = writes;
    }

    fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || redb::Database::builder().create_with_backend(disk.clone()))
    }

    fn store(&self) -> Store {
        Store::open_with(PathBuf::from("in-memory"), self.opener(), StoreConfig::default()).unwrap()
    }
}

impl DiskState {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let bytes = disk.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        disk.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        disk.bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn tick_until_healthy(writer: &mut Writer, store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.stats().degraded.is_some() {
        assert!(Instant::now() < deadline, "it never came back");
        let _may_fail_again = writer.flush();
    }
}

#[test]
fn entries_wait_while_the_disk_is_full_and_are_stored_when_it_has_room() {
    // Wherever in the commit the disk begins to refuse, nothing taken is lost or doubled.
    for writes in 0..40 {
        let disk = Disk::default();
        let store = disk.store();
        let metrics = metrics();
        let mut writer = store.writer(Arc::clone(&metrics)).unwrap();
        append(&mut writer, 1..=1500);
        writer.flush().unwrap();
        disk.fail_after(Some(writes));
        append(&mut writer, 1501..=1700);
        let failed = writer.flush().is_err();
        assert_eq!(store.stats().degraded.is_some(), failed);
        append(&mut writer, 1701..=2600);
        disk.fail_after(None);
        tick_until_healthy(&mut writer, &store);
        writer.flush().unwrap();
        let first = store.stats().first_seq;
        assert_eq!(all(&store.reader()), descending(2600, first), "after {writes} writes");
        assert!(first == 1 || failed, "history is trimmed only to make room");
        assert_eq!(metrics.drops().get(DropReason::StoreFailed), 0);
        writer.finish().unwrap();
        drop(store);
        assert_eq!(all(&disk.store().reader()), descending(2600, first));
    }
}

#[test]
fn what_cannot_wait_is_counted_and_memory_stays_bounded() {
    let disk = Disk::default();
    let store = disk.store();
    let metrics = metrics();
    let mut writer = store.writer(Arc::clone(&metrics)).unwrap();
    disk.fail_after(Some(0));
    for seq in 1..=100 {
        let _fails = writer.append(&[entry_with(seq, "http", clock::now(), 1 << 20)]);
    }
    let waiting = store.stats().entries;
    assert!(waiting <= 33, "{waiting}");
    assert_eq!(metrics.drops().get(DropReason::StoreFailed) + waiting, 100);
    assert!(store.token_create("x", crate::config::Role::Viewer, None).is_err());
    assert!(writer.finish().is_err());
    assert_eq!(metrics.drops().get(DropReason::StoreFailed), 100);
}
