//! Files of other releases: refused with the way out, or read; never damaged.

use std::path::Path;

use super::super::database::{META, META_SCHEMA, SCHEMA};
use super::super::{NewToken, Setting};
use super::*;
use crate::config::Role;

/// A store with the present schema as it was written when that was new: entries 1 to 1500, a token, a setting, a
/// snapshot. It stays as it is, so that later releases prove that they still read it.
const PRESENT: &[u8] = include_bytes!("../../../tests/upgrade/store-2.redb.zst");

fn set_schema(directory: &Path, to: u64) {
    let database = redb::Database::open(directory.join("remora.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(META_SCHEMA, to).unwrap();
    txn.commit().unwrap();
}

fn filled(directory: &Path) {
    let store = Store::open(directory, StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    append(&mut writer, 1..=1500);
    writer.finish().unwrap();
    let NewToken { .. } = store.token_create("x", Role::Viewer, None).unwrap();
    store.set_setting(Setting::DissectionPaused, Some("true")).unwrap();
    store.set_snapshot(4, Some(b"{}")).unwrap();
}

fn check(directory: &Path) {
    let store = Store::open(directory, StoreConfig::default()).unwrap();
    assert_eq!(all(&store.reader()), descending(1500, 1));
    let mut whole = 0;
    let mut visit = |found: Arc<Entry>| {
        whole += usize::from(found.summary == format!("/item/{}", found.seq) && found.status == 200);
        ControlFlow::Continue(())
    };
    store.reader().oldest_first(0, u64::MAX, &mut visit, &|_| false).unwrap();
    assert_eq!(whole, 1500);
    assert_eq!(store.token_list().len(), 1);
    assert_eq!(store.setting(Setting::DissectionPaused).unwrap().as_deref(), Some("true"));
    assert_eq!(store.snapshots().unwrap(), [(4, b"{}".to_vec())]);
    assert_eq!((store.last_seq(), store.stats().damaged_blocks), (1500, 0));
}

#[test]
fn newer_and_unknown_schemas_are_refused_with_the_way_out_and_lose_nothing() {
    for other in [SCHEMA + 1, u64::MAX, SCHEMA - 1] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        set_schema(directory.path(), other);
        for _ in 0..2 {
            let error = Store::open(directory.path(), StoreConfig::default()).unwrap_err();
            let text = error.to_string();
            if other > SCHEMA {
                assert!(matches!(error, StoreError::Newer { found, .. } if found == other), "{text}");
                assert!(
                    text.contains("start the newer release") && text.contains("move the file away"),
                    "{text}"
                );
            } else {
                assert!(text.contains(&format!("schema {other}")) && text.contains("mv "), "{text}");
            }
        }
        // The release that wrote it finds all of it.
        set_schema(directory.path(), SCHEMA);
        check(directory.path());
    }
}

#[test]
fn a_store_that_was_written_when_the_schema_was_new_is_read_and_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = zstd::decode_all(PRESENT).unwrap();
    std::fs::write(directory.path().join("remora.redb"), file).unwrap();
    check(directory.path());
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    append(&mut writer, 1501..=1600);
    writer.finish().unwrap();
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(all(&store.reader()), descending(1600, 1));
}

#[test]
fn what_this_release_writes_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    check(directory.path());
    if let Some(path) = std::env::var_os("REMORA_WRITE_FIXTURE") {
        let file = std::fs::read(directory.path().join("remora.redb")).unwrap();
        std::fs::write(path, zstd::encode_all(&*file, 19).unwrap()).unwrap();
    }
}
