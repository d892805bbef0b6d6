//! The recorder thread on a real directory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Archive, ArchiveConfig, Recorder, State};
use super::{Fault, Known, Memory, config, origin, packet};
use crate::engine::model::{CaptureSource, DropReason, NodeInfo, Record, Timestamp, TlsSecret};
use crate::engine::pcap::{Item, Reader};
use crate::telemetry::Drops;

const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn start(path: &Path, drops: &Arc<Drops>) -> Recorder {
    let config = ArchiveConfig { path: path.into(), ..config(ArchiveConfig::MIN_BYTES) };
    let node = NodeInfo { name: "alpha".into(), ip: [10, 0, 0, 1].into() };
    Recorder::start(config, node, CaptureSource::Ebpf, Box::new(Known), Arc::clone(drops)).unwrap()
}

fn packets(archive: &Archive) -> u64 {
    archive.segments().iter().map(|segment| segment.packets).sum()
}

#[test]
fn what_was_fed_before_a_seal_is_in_sealed_segments() {
    let dir = tempfile::tempdir().unwrap();
    let drops = Arc::new(Drops::new());
    let recorder = start(dir.path(), &drops);
    let archive = recorder.archive();
    let mut feed = recorder.feed().unwrap();
    for round in 1..=3 {
        (0..100).for_each(|number| feed.record(&packet(number, 100)));
        feed.flush();
        archive.seal(PATIENCE).unwrap();
        assert_eq!(packets(&archive), round * 100);
    }
    let status = archive.status();
    assert_eq!(
        (status.state, status.segments, status.packets, status.dropped),
        (State::Recording, 3, 300, 0)
    );
    archive.set_enabled(false);
    feed.record(&packet(1, 100));
    feed.flush();
    archive.seal(PATIENCE).unwrap();
    assert_eq!((packets(&archive), archive.status().state), (300, State::Off));
    archive.set_enabled(true);
    feed.record(&packet(1, 100));
    drop(feed);
    assert!(recorder.stop(PATIENCE));
    let again = start(dir.path(), &drops);
    assert_eq!(packets(&again.archive()), 300, "a record that was not flushed was not fed");
    assert!(again.stop(PATIENCE));
}

#[test]
fn a_refusing_disk_is_a_state_and_recording_goes_on_by_itself() {
    let disk = Memory::failing(Fault::Dead(0));
    let drops = Arc::new(Drops::new());
    let recorder = Recorder::start_on(
        Box::new(disk.clone()),
        config(ArchiveConfig::MIN_BYTES),
        origin(),
        Arc::clone(&drops),
    )
    .unwrap();
    let archive = recorder.archive();
    let mut feed = recorder.feed().unwrap();
    feed.record(&packet(1, 100));
    feed.flush();
    until("the failure", || archive.status().state == State::Failed);
    assert!(archive.seal(PATIENCE).is_err());
    feed.record(&packet(2, 100));
    feed.flush();
    until("both losses", || archive.status().dropped == 2);
    assert_eq!(drops.get(DropReason::RawFailed), 2);
    disk.heal();
    until("a packet on the disk", || {
        feed.record(&packet(3, 100));
        feed.flush();
        archive.status().state == State::Recording
    });
    drop(feed);
    assert!(recorder.stop(PATIENCE));
}

#[test]
fn key_material_stands_before_packets_that_came_just_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        ArchiveConfig { path: dir.path().into(), takes_secrets: true, ..config(ArchiveConfig::MIN_BYTES) };
    let node = NodeInfo { name: "alpha".into(), ip: [10, 0, 0, 1].into() };
    let drops = Arc::new(Drops::new());
    let recorder = Recorder::start(config, node, CaptureSource::Ebpf, Box::new(Known), drops).unwrap();
    let mut feed = recorder.feed().unwrap();
    let secret = TlsSecret::new(Timestamp(9), b"CLIENT_RANDOM", [1; 32], &[2; 48]).unwrap();
    feed.record(&packet(1, 100));
    feed.record(&Record::Secret(secret.clone()));
    feed.record(&packet(2, 100));
    feed.flush();
    recorder.archive().seal(PATIENCE).unwrap();
    let segment = recorder.archive().segments()[0];
    let mut reader = Reader::new();
    reader.feed(&std::fs::read(dir.path().join(segment.name())).unwrap());
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Record(record @ (Record::Secret(_) | Record::Packet(_))) = item {
            found.push(record);
        }
    }
    assert_eq!(found, [Record::Secret(secret), packet(1, 100), packet(2, 100)]);
    drop(feed);
    assert!(recorder.stop(PATIENCE));
}
