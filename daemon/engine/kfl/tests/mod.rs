//! Tests of the whole language: every filter that users are known to have, and hostile ones.

mod examples;
mod language;
mod properties;
mod real;
pub(super) mod sample;
mod table;

use super::{Context, Filter, KflError};
use crate::model::{Entry, Timestamp};

/// 2026-03-14T22:30:00Z
const NOW: Timestamp = Timestamp(1_773_527_400_000_000_000);

fn context() -> Context {
    Context::new(NOW)
}

#[track_caller]
fn filter(text: &str) -> Filter {
    Filter::parse(text, &context()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn refused(text: &str) -> KflError {
    match Filter::parse(text, &context()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_matches(text: &str, entry: &Entry) {
    assert!(filter(text).matches(entry), "does not match: {text}");
}

#[track_caller]
fn assert_differs(text: &str, entry: &Entry) {
    assert!(!filter(text).matches(entry), "matches: {text}");
}

/// The compiled form of a filter, for tests of the order of its parts.
fn predicate(text: &str) -> String {
    filter(text).program()
}
