//! Appending, paging, restarting, trimming.

use std::time::Duration;

use super::*;

#[test]
fn an_entry_is_readable_as_soon_as_it_is_appended_and_unchanged_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let original = entry(1);
    writer.append(&[Arc::clone(&original)]).unwrap();
    assert_eq!(store.reader().get(&original.id).unwrap().unwrap(), original);
    writer.finish().unwrap();
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.reader().get_text(&original.id.to_string()).unwrap().unwrap(), original);
    assert_eq!(store.last_seq(), 1);
}

#[test]
fn seq_goes_on_after_an_orderly_end_and_jumps_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(directory.path(), StoreConfig::default()).unwrap();
    let store = open();
    let mut writer = store.writer(metrics()).unwrap();
    append(&mut writer, 1..=5);
    writer.finish().unwrap();
    drop(store);
    let store = open();
    let mut writer = store.writer(metrics()).unwrap();
    assert_eq!(store.last_seq(), 5);
    append(&mut writer, 6..=9);
    writer.flush().unwrap();
    append(&mut writer, 10..=12);
    drop((writer, store));
    let store = open();
    assert_eq!(store.last_seq(), 9 + super::super::database::SEQ_JUMP);
    assert_eq!(all(&store.reader()), descending(9, 1));
}

#[test]
fn pages_join_without_gap_or_double_across_blocks_fragments_and_tail() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    for start in (1..=3401).step_by(100) {
        append(&mut writer, start..=start + 99);
        if start % 300 == 1 {
            writer.flush().unwrap();
        }
    }
    append(&mut writer, 3501..=3510);
    let reader = store.reader();
    let mut seen = Vec::new();
    loop {
        let next = page(&reader, seen.last().copied(), 77);
        if next.is_empty() {
            break;
        }
        seen.extend(next);
    }
    assert_eq!(seen, descending(3510, 1));
    assert_eq!(store.stats().entries, 3510);
}

#[test]
fn fragments_are_replaced_by_one_block() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    for seq in 1..=1000 {
        append(&mut writer, seq..=seq);
        if seq % 100 == 0 {
            writer.flush().unwrap();
        }
    }
    assert_eq!(store.stats().blocks, 1);
    writer.finish().unwrap();
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.stats().blocks, 1);
    assert_eq!(all(&store.reader()), descending(1000, 1));
}

#[test]
fn a_reader_during_concurrent_appends_sees_each_entry_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    append(&mut writer, 1..=1);
    let reader = store.reader();
    let appender = std::thread::spawn(move || {
        for start in (2..=20_000).step_by(50) {
            append(&mut writer, start..=start + 49);
            if start % 1000 == 2 {
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap();
    });
    while !appender.is_finished() {
        let seen = all(&reader);
        assert_eq!(seen, descending(seen[0], 1));
    }
    appender.join().unwrap();
}

#[test]
fn blocks_are_skipped_by_their_summary() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    for seq in 1..=3000 {
        let protocol = if seq <= 1000 { "redis" } else { "http" };
        writer.append(&[entry_with(seq, protocol, Timestamp(seq), 10)]).unwrap();
    }
    writer.flush().unwrap();
    let mut seen = 0;
    let mut skipped = std::cell::Cell::new(0);
    let skip = |zone: &ZoneMap| {
        assert_eq!((zone.earliest.nanos(), zone.latest.nanos()), (zone.first_seq, zone.last_seq));
        let skip = !zone.protocols.contains(&ProtocolKey::new("redis"));
        skipped.set(skipped.get() + u32::from(skip));
        skip
    };
    let mut visit = |entry: Arc<Entry>| {
        assert_eq!(entry.protocol.as_str(), "redis");
        seen += 1;
        ControlFlow::Continue(())
    };
    store.reader().newest_first(None, &mut visit, Some(&skip)).unwrap();
    assert_eq!((seen, *skipped.get_mut()), (1000, 2));
}

#[test]
fn ids_that_are_unknown_or_no_ids_name_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    append(&mut writer, 1..=100);
    writer.flush().unwrap();
    let reader = store.reader();
    assert_eq!(reader.get_text("node-1/run-3-2").unwrap().unwrap().seq, 23);
    for id in ["node-2/run-3-2", "node-1/run-3-9", "node-1/run-3-", "run-3-2", "", "/", "-"] {
        assert!(reader.get_text(id).unwrap().is_none(), "{id}");
    }
}

#[test]
fn the_oldest_entries_go_when_the_size_limit_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: StoreConfig::MIN_BYTES, ..StoreConfig::default() };
    let store = Store::open(directory.path(), config).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let mut largest = 0;
    for start in (1..=6000).step_by(100) {
        let batch: Vec<_> =
            (start..start + 100).map(|seq| entry_with(seq, "http", clock::now(), 10_000)).collect();
        writer.append(&batch).unwrap();
        writer.flush().unwrap();
        largest = largest.max(store.stats().file_bytes);
    }
    let stats = store.stats();
    assert!(largest <= stats.max_bytes, "{largest} {stats:?}");
    let seen = all(&store.reader());
    assert_eq!(seen, descending(6000, stats.first_seq));
    // 60 MB went through 32 MiB: something had to go, and half of the room at least is used.
    assert!(stats.first_seq > 3000 && seen.len() > 1300, "{stats:?}");
    assert_eq!(stats.trimmed_entries + seen.len() as u64, 6000);
}

#[test]
fn entries_beyond_the_age_limit_go_and_younger_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_age: Some(Duration::from_secs(3600)), ..StoreConfig::default() };
    let store = Store::open(directory.path(), config).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let old = Timestamp(clock::now().nanos() - 7200 * 1_000_000_000);
    let batch: Vec<_> = (1..=2000).map(|seq| entry_with(seq, "http", old, 10)).collect();
    writer.append(&batch).unwrap();
    writer.flush().unwrap();
    append(&mut writer, 2001..=3500);
    writer.flush().unwrap();
    assert_eq!(all(&store.reader()), descending(3500, 2001));
}

#[test]
fn an_entry_out_of_order_is_counted_and_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let metrics = metrics();
    let mut writer = store.writer(Arc::clone(&metrics)).unwrap();
    append(&mut writer, 5..=6);
    append(&mut writer, 4..=6);
    assert_eq!(metrics.drops().get(DropReason::StoreFailed), 3);
    assert_eq!(all(&store.reader()), [6, 5]);
    assert!(matches!(store.writer(metrics), Err(StoreError::WriterTaken)));
}

#[test]
fn blocks_of_very_different_sizes_stay_within_the_disk_limit() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: 2 * StoreConfig::MIN_BYTES, ..StoreConfig::default() };
    let store = Store::open(directory.path(), config.clone()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let (mut dice, mut next) = (12_345_u64, 1);
    for _ in 0..200 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let body = [100, 1000, 5000, 20_000, 60_000][(dice >> 20) as usize % 5];
        let after = next + 1 + dice % 60;
        let batch: Vec<_> = (next..after).map(|seq| entry_with(seq, "http", clock::now(), body)).collect();
        next = after;
        writer.append(&batch).unwrap();
        writer.flush().unwrap();
        let stats = store.stats();
        assert!(stats.file_bytes <= config.max_bytes, "{stats:?}");
    }
    assert!(store.stats().trimmed_entries > 0);
}

#[test]
fn oldest_first_gives_a_span_across_blocks_fragments_and_tail() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    for start in (1..=2401).step_by(100) {
        append(&mut writer, start..=start + 99);
        if start % 300 == 1 {
            writer.flush().unwrap();
        }
    }
    append(&mut writer, 2501..=2510);
    let reader = store.reader();
    let span = |from, until| {
        let mut seen = Vec::new();
        let mut visit = |entry: Arc<Entry>| {
            seen.push(entry.seq);
            std::ops::ControlFlow::Continue(())
        };
        reader.oldest_first(from, until, &mut visit, &|_| false).unwrap();
        seen
    };
    for (from, until) in
        [(0, u64::MAX), (1, 1), (5, 2505), (999, 1002), (2450, 2510), (2505, 2507), (2510, 9999)]
    {
        let wanted: Vec<u64> = (from.max(1)..=until.min(2510)).collect();
        assert_eq!(span(from, until), wanted, "{from}..={until}");
    }
    assert_eq!(span(2511, 9999), Vec::<u64>::new());
    assert_eq!(reader.last_seq(), 2510);
}
