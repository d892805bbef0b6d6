//! Failures and crashes at every single operation.

use std::io::ErrorKind;

use super::super::log::{Log, Refused};
use super::{Fault, Memory, kept, log, packet, second};

const LIMIT: u64 = 16 << 20;
const PACKETS: u64 = 60;

/// Appends packets of 64 KiB, a second apart, as the recorder does. Returns how many it was told are lost.
fn run(log: &mut Log, numbers: std::ops::Range<u64>) -> u64 {
    let mut lost = 0;
    let mut note = |done: Result<(), Refused>| {
        if let Err(refused) = done {
            lost += refused.lost;
        }
    };
    for number in numbers {
        note(log.append(&packet(number, 64 << 10), second(number)));
        note(log.tick(second(number)));
    }
    lost
}

fn operations() -> usize {
    let disk = Memory::default();
    let mut log = log(&disk, LIMIT).unwrap();
    assert_eq!(run(&mut log, 0..PACKETS), 0);
    log.seal(second(PACKETS)).unwrap();
    assert_eq!(kept(&disk), (0..PACKETS).collect::<Vec<_>>());
    disk.operations()
}

#[test]
fn a_failure_anywhere_costs_what_is_reported_and_nothing_that_was_written() {
    let operations = operations();
    assert!(operations > 20, "{operations}");
    for at in 0..operations {
        for fault in
            [Fault::Once(at, ErrorKind::StorageFull), Fault::Once(at, ErrorKind::Other), Fault::Short(at)]
        {
            let disk = Memory::failing(fault);
            let mut open = log(&disk, LIMIT).unwrap();
            let lost = run(&mut open, 0..PACKETS);
            let ended = open.seal(second(PACKETS));
            let lost = lost + ended.err().map_or(0, |refused| refused.lost);
            drop(open);
            disk.heal();
            log(&disk, LIMIT).unwrap();
            let found = kept(&disk);
            assert!(found.is_sorted_by(|left, right| left < right), "{fault:?}: {found:?}");
            assert_eq!(found.len() as u64 + lost, PACKETS, "{fault:?}: lost {lost}, kept {found:?}");
        }
    }
}

#[test]
fn a_crash_anywhere_leaves_whole_segments_and_loses_only_the_tail() {
    for at in 0..operations() {
        let disk = Memory::failing(Fault::Dead(at));
        let Ok(mut open) = log(&disk, LIMIT) else { continue };
        let mut alive = 0;
        for number in 0..PACKETS {
            let done = open.append(&packet(number, 64 << 10), second(number));
            if done.and_then(|()| open.tick(second(number))).is_err() {
                break;
            }
            alive = number;
        }
        drop(open);
        disk.heal();
        let mut again = log(&disk, LIMIT).unwrap();
        let found = kept(&disk);
        // Written at once every second, so at most the last few are gone.
        assert!(found.iter().copied().eq(0..found.len() as u64), "{at}: {found:?}");
        assert!(found.len() as u64 + 8 >= alive, "dead at {at}: of {alive} only {found:?}");
        assert_eq!(run(&mut again, 100..120), 0);
        again.seal(second(120)).unwrap();
        assert_eq!(kept(&disk).len(), found.len() + 20, "it goes on after the crash");
    }
}

#[test]
fn a_tail_that_is_torn_anywhere_is_cut_at_its_last_whole_block() {
    let disk = Memory::default();
    let mut open = log(&disk, LIMIT).unwrap();
    for number in 0..3 {
        open.append(&packet(number, 100), second(number)).unwrap();
    }
    open.tick(second(5)).unwrap();
    drop(open);
    let whole = disk.files();
    let (name, data) = whole.first_key_value().unwrap();
    for len in 0..=data.len() {
        let torn = Memory::default();
        torn.content.lock().unwrap().files.insert(name.clone(), data[..len].to_vec());
        log(&torn, LIMIT).unwrap();
        let found = kept(&torn);
        assert!(found.iter().copied().eq(0..found.len() as u64));
        assert_eq!(found.len() == 3, len == data.len());
    }
    let mut noise = data.clone();
    let from = noise.len() - 50;
    noise[from..].fill(0xff);
    let torn = Memory::default();
    torn.content.lock().unwrap().files.insert(name.clone(), noise);
    log(&torn, LIMIT).unwrap();
    assert_eq!(kept(&torn), [0, 1]);
}
