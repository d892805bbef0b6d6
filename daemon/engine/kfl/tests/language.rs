//! Meaning of the language: precedence, types, missing values, time, errors.

use super::sample::http;
use super::{assert_differs, assert_matches, filter, refused};
use serde_json::json;

#[test]
fn and_binds_tighter_than_or() {
    let entry = http("GET", "/a", 200, json!({}));
    assert_matches("http or http and dns", &entry);
    assert_matches("http || http && dns", &entry);
    assert_differs("(http or http) and dns", &entry);
}
