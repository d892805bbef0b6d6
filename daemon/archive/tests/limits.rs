//! Size, age, and room for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::log::{Log, Origin};
use super::super::{ArchiveConfig, Identities};
use super::{Memory, config, kept, log, origin, packet, second};
use crate::engine::model::{DropReason, Record, Timestamp};
use crate::engine::pcap::{Item, Reader};

const LIMIT: u64 = ArchiveConfig::MIN_BYTES;

#[test]
fn the_oldest_segments_go_first_and_the_limit_holds() {
    let disk = Memory::default();
    let mut log = log(&disk, LIMIT).unwrap();
    for number in 0..600 {
        log.append(&packet(number, 64 << 10), second(number / 100)).unwrap();
        log.tick(second(number / 100)).unwrap();
        assert!(log.bytes() <= LIMIT, "{} at {number}", log.bytes());
        let stored: usize = disk.files().values().map(Vec::len).sum();
        assert!(stored as u64 <= LIMIT);
    }
    log.seal(second(600)).unwrap();
    let found = kept(&disk);
    assert!(found.first() > Some(&300) && found.last() == Some(&599), "{found:?}");
    assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no hole in between: {found:?}");
}

#[test]
fn segments_are_sealed_and_removed_by_age() {
    let disk = Memory::default();
    let config = ArchiveConfig { max_age: Some(Duration::from_secs(1000)), ..config(LIMIT) };
    let mut log = Log::open(Box::new(disk.clone()), origin(), &config).unwrap();
    for number in [0, 200, 400, 1300] {
        log.append(&packet(number, 100), second(number)).unwrap();
        log.tick(second(number)).unwrap();
    }
    assert_eq!(log.sealed().count(), 1, "the first one was too old at 1300, the second is open or sealed");
    log.tick(second(2000)).unwrap();
    log.tick(second(2500)).unwrap();
    assert_eq!(kept(&disk), Vec::<u64>::new());
}

/// What the kernel's side says that it lost.
struct Lossy(Arc<AtomicU64>);

impl Identities for Lossy {
    fn identities(&self, _: Timestamp) -> Vec<Record> {
        Vec::new()
    }

    fn losses(&self) -> Vec<(DropReason, u64)> {
        let lost = self.0.load(Ordering::Relaxed);
        vec![(DropReason::RingFull, lost), (DropReason::TlsOverBudget, 10 * lost)]
    }
}

#[test]
fn losses_before_capture_are_written_down_once_each() {
    let (disk, lost) = (Memory::default(), Arc::new(AtomicU64::new(5)));
    let origin = Origin { identities: Box::new(Lossy(Arc::clone(&lost))), ..origin() };
    let mut log = Log::open(Box::new(disk.clone()), origin, &config(LIMIT)).unwrap();
    log.append(&packet(1, 100), second(1)).unwrap();
    log.note_losses(second(2), true).unwrap();
    log.note_losses(second(3), true).unwrap();
    lost.store(7, Ordering::Relaxed);
    log.note_losses(second(4), true).unwrap();
    lost.store(100, Ordering::Relaxed);
    log.note_losses(second(5), false).unwrap();
    lost.store(101, Ordering::Relaxed);
    log.note_losses(second(6), true).unwrap();
    log.seal(second(7)).unwrap();
    let data = disk.files().into_values().next().unwrap();
    let mut reader = Reader::new();
    reader.feed(&data);
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Record(Record::Loss(loss)) = item {
            found.push((loss.reason, loss.at, loss.count));
        }
    }
    let ring = [(second(2), 5), (second(4), 2), (second(6), 1)];
    let said = found.iter().filter(|(reason, ..)| *reason == DropReason::RingFull);
    assert_eq!(said.map(|(_, at, count)| (*at, *count)).collect::<Vec<_>>(), ring, "not while it was off");
    assert_eq!(found.len(), 6);
    // isb_ifdrop (option 5) counts packets: bytes of plaintext are none.
    let dropped = [&5_u16.to_le_bytes()[..], &8_u16.to_le_bytes(), &8_u64.to_le_bytes()].concat();
    assert!(data.windows(dropped.len()).any(|window| window == dropped));
}

#[test]
fn a_disk_that_others_need_is_not_filled() {
    let disk = Memory::default();
    // 1 GiB in all, of which a twentieth is left to others.
    disk.content.lock().unwrap().free = Some(100 << 20);
    let mut log = log(&disk, 256 << 20).unwrap();
    for number in 0..1000 {
        log.append(&packet(number, 64 << 10), second(0)).unwrap();
    }
    log.seal(second(0)).unwrap();
    let stored: usize = disk.files().values().map(Vec::len).sum();
    assert!(stored > 16 << 20 && stored < 50 << 20, "{stored}");
    disk.content.lock().unwrap().free = Some(0);
    let refused = log.append(&packet(1000, 100), second(1)).unwrap_err();
    assert_eq!(refused.error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(refused.lost, 1);
}
