//! Every recorded conversation of `tests/pcaps`, of whatever protocol: whole, in any split, with losses, from the
//! middle.

use std::path::{Path, PathBuf};

use super::conversation::{self, Script};

/// Folders of `tests/pcaps` with conversations in them.
fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/pcaps");
    let mut found: Vec<_> = std::fs::read_dir(root)
        .expect("the golden captures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir() && !conversation::scripts(path).is_empty())
        .collect();
    found.sort();
    assert!(found.len() >= 3, "recordings are missing: {found:?}");
    found
}

fn scripts() -> Vec<(String, Script)> {
    folders().iter().flat_map(|folder| conversation::scripts(folder)).collect()
}

#[test]
fn recorded_peers_give_the_golden_transactions() {
    folders().iter().for_each(|folder| conversation::assert_golden(folder));
}

#[test]
fn any_split_gives_the_same_transactions() {
    conversation::assert_same_in_any_split(&scripts(), 10);
}

#[test]
fn a_lost_piece_never_pairs_wrongly_and_is_declared() {
    conversation::assert_lost_pieces_are_declared(&scripts());
}

#[test]
fn a_lost_range_never_pairs_wrongly_and_is_declared() {
    conversation::assert_lost_ranges_are_declared(&scripts(), 10);
}

#[test]
fn joining_in_the_middle_never_pairs_wrongly() {
    conversation::assert_joining_is_declared(&scripts());
}
