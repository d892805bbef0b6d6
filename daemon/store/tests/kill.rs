//! kill -9 while a real process writes to a real file.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

const DIRECTORY: &str = "STORE_KILL_TEST_DIRECTORY";

/// What the child process of the test below runs until it is killed. By itself it writes three rounds in
/// a directory of its own and reads them back.
#[test]
fn child_writes_until_it_is_killed() {
    let own = tempfile::tempdir().unwrap();
    let started_below = std::env::var_os(DIRECTORY);
    let directory = started_below.as_ref().map_or(own.path(), std::path::Path::new);
    let store = Store::open(directory, StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let first = store.last_seq() + 1;
    let rounds = if started_below.is_some() { usize::MAX } else { 3 };
    for seq in (first..).step_by(37).take(rounds) {
        append(&mut writer, seq..=seq + 36);
        writer.flush().unwrap();
        // Straight to the descriptor: the test harness would swallow println.
        writeln!(std::io::stderr(), "committed {}", seq + 36).unwrap();
    }
    assert_eq!(store.stats().committed_seq, first + 3 * 37 - 1);
}

/// Runs the child until it has confirmed `commits`, kills it, and returns the last it confirmed.
fn write_until_killed(directory: &std::path::Path, commits: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::kill::child_writes_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut confirmed = 0;
    for line in lines.by_ref().take(commits) {
        let line = line.unwrap();
        let seq = line.strip_prefix("committed ").unwrap_or_else(|| panic!("the child said {line:?}"));
        confirmed = seq.parse().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    confirmed
}

#[test]
fn what_was_committed_before_kill_9_is_there_and_the_next_start_works() {
    let directory = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for commits in [1, 3, 20, 60] {
        let confirmed = write_until_killed(directory.path(), commits);
        let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
        runs.push(confirmed);
        let seen = all(&store.reader());
        for confirmed in &runs {
            assert!(seen.contains(confirmed), "{confirmed} is gone");
        }
        assert!(seen.is_sorted_by(|newer, older| newer > older));
        assert!(store.last_seq() > seen[0], "the next run must not reuse a number");
        assert_eq!(store.stats().damaged_blocks, 0);
    }
}
