//! Segments that another release wrote: read as far as they are understood, and never damaged.

use super::super::log::Log;
use super::{Memory, config, kept, log, origin, packet, second};
use crate::archive::{ArchiveConfig, OPEN};

const LIMIT: u64 = ArchiveConfig::MIN_BYTES;
/// Remora's event block, and one more number for local use that no release has written yet.
const BLOCKS: [u32; 2] = [0x8052_454d, 0x8052_454e];

/// A block of a kind or version that is not known here.
fn unknown(number: u32) -> Vec<u8> {
    let mut block = Vec::new();
    block.extend(number.to_le_bytes());
    block.extend(24_u32.to_le_bytes());
    // Kind 200, version 77.
    block.extend([200, 77, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    block.extend(24_u32.to_le_bytes());
    block
}

#[test]
fn sealed_segments_with_blocks_of_a_later_release_stay_as_they_are() {
    let disk = Memory::default();
    let mut first = log(&disk, LIMIT).unwrap();
    (0..5).for_each(|number| first.append(&packet(number, 100), second(number)).unwrap());
    first.seal(second(5)).unwrap();
    drop(first);
    // The later release appended what it knows, and has files of its own in the directory.
    for data in disk.content.lock().unwrap().files.values_mut() {
        BLOCKS.into_iter().for_each(|number| data.extend(unknown(number)));
    }
    disk.content.lock().unwrap().files.insert("index-v9.bin".to_owned(), vec![1, 2, 3]);
    let before = disk.files();
    let mut again = Log::open(Box::new(disk.clone()), origin(), &config(LIMIT)).unwrap();
    assert_eq!(disk.files(), before);
    again.append(&packet(9, 100), second(9)).unwrap();
    again.seal(second(10)).unwrap();
    disk.content.lock().unwrap().files.remove("index-v9.bin").unwrap();
    assert_eq!(kept(&disk), [0, 1, 2, 3, 4, 9], "both are read");
}

#[test]
fn a_segment_that_a_later_release_left_open_loses_nothing_whole() {
    let disk = Memory::default();
    let mut first = log(&disk, LIMIT).unwrap();
    (0..5).for_each(|number| first.append(&packet(number, 100), second(number)).unwrap());
    first.tick(second(100)).unwrap();
    drop(first);
    let (name, mut data) = disk.files().into_iter().next().unwrap();
    assert!(name.ends_with(OPEN));
    BLOCKS.into_iter().for_each(|number| data.extend(unknown(number)));
    let whole = data.clone();
    // Torn: half of one more block.
    data.extend(&unknown(BLOCKS[0])[..11]);
    disk.content.lock().unwrap().files.insert(name, data);
    drop(Log::open(Box::new(disk.clone()), origin(), &config(LIMIT)).unwrap());
    assert_eq!(kept(&disk), [0, 1, 2, 3, 4]);
    assert_eq!(disk.files().into_values().next().unwrap(), whole, "what is not understood is kept, too");
}
