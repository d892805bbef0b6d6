//! Scripted conversations against golden transactions, in every split, with losses, from the middle.

use std::path::PathBuf;

use crate::dissect::Transaction;
use crate::dissect::conversation::{self, Script};

/// What the golden conversations give, with their names, for tests of what comes after dissection.
pub(crate) fn golden_transactions() -> Vec<(String, Transaction)> {
    let named = |(name, script): (String, Script)| {
        script.play(|len| len).into_iter().map(move |transaction| (name.clone(), transaction))
    };
    scripts().into_iter().flat_map(named).collect()
}

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dissect/http1/golden")
}

fn scripts() -> Vec<(String, Script)> {
    let scripts = conversation::scripts(&golden_dir());
    assert!(scripts.len() > 20, "scripts are missing");
    scripts
}

#[test]
fn conversations_give_the_golden_transactions() {
    conversation::assert_golden(&golden_dir());
}

#[test]
fn any_split_gives_the_same_transactions() {
    conversation::assert_same_in_any_split(&scripts(), 20);
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
    // A pipelined burst cut in its middle looks like a single request; see the matcher's invariant.
    let mut scripts = scripts();
    scripts.retain(|(name, _)| !["pipelining", "reset"].contains(&name.as_str()));
    conversation::assert_joining_is_declared(&scripts);
}
