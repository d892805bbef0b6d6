//! A power cut at any moment: whatever the disk had not been told to sync may be there, torn or not.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use proptest::prelude::*;
use redb::StorageBackend;

use super::super::database::Opener;
use super::*;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// A disk that remembers what was written since the last sync.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    synced: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    /// Changes until the power goes; nothing reaches the disk after that.
    power: Option<u64>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        Change::Resize(len) => bytes.resize(*len, 0),
    }
}

impl DiskState {
    fn change(&mut self, change: Change) -> io::Result<()> {
        match &mut self.power {
            Some(0) => return Err(io::Error::other("power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
        Ok(())
    }

    /// What the platter holds after the cut: each unsynced change survives, is torn, or is lost.
    fn after_cut(&self, mut dice: u64) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.unsynced {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match ((dice >> 33) % 3, change) {
                (0, _) => {}
                (1, Change::Write(at, data)) => {
                    apply(&mut bytes, &Change::Write(*at, data[..data.len() / 2].to_vec()));
                }
                _ => apply(&mut bytes, change),
            }
        }
        // The length is metadata that file systems journal: it is the last one set.
        if bytes.len() < self.seen.len() {
            bytes.resize(self.seen.len(), 0);
        }
        bytes
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let bytes = disk.seen.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::Resize(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.power == Some(0) {
            return Err(io::Error::other("power is gone"));
        }
        disk.synced = disk.seen.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::Write(offset as usize, data.to_vec()))
    }
}

fn open(disk: &Disk) -> Result<Store, StoreError> {
    let disk = disk.clone();
    let opener: Opener = Box::new(move || redb::Database::builder().create_with_backend(disk.clone()));
    Store::open_with(PathBuf::from("in-memory"), opener, StoreConfig::default())
}

/// Appends in steps until the power goes; returns the last `seq` whose commit was confirmed.
fn write_until_cut(disk: &Disk, power: u64) -> u64 {
    let store = open(disk).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    disk.0.lock().unwrap().power = Some(power);
    let mut confirmed = 0;
    for start in (1..=2401).step_by(120) {
        let batch: Vec<_> = (start..start + 120).map(entry).collect();
        if writer.append(&batch).and_then(|()| writer.flush()).is_err() {
            break;
        }
        confirmed = start + 119;
    }
    confirmed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_there_after_a_power_cut(power in 0_u64..500, dice: u64) {
        let disk = Disk::default();
        let confirmed = write_until_cut(&disk, power);
        let bytes = disk.0.lock().unwrap().after_cut(dice);
        let after = Disk(Arc::new(Mutex::new(DiskState {
            synced: bytes.clone(),
            seen: bytes,
            ..DiskState::default()
        })));
        let store = open(&after).unwrap();
        let seen = all(&store.reader());
        let newest = seen.first().copied().unwrap_or(0);
        prop_assert!(newest >= confirmed, "{} committed, {} there", confirmed, newest);
        prop_assert_eq!(seen, descending(newest, 1));
        prop_assert_eq!(store.stats().damaged_blocks, 0);
        let mut writer = store.writer(metrics()).unwrap();
        let next = store.last_seq() + 1;
        append(&mut writer, next..=next);
        writer.finish().unwrap();
    }
}
