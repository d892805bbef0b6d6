//! Size, age, and room for others.

use std::time::Duration;

use super::super::ArchiveConfig;
use super::super::log::Log;
use super::{Memory, config, kept, log, origin, packet, second};

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
