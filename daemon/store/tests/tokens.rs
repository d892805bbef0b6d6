//! Tokens and settings.

use super::super::{Setting, TokenId};
use super::*;
use crate::config::Role;

#[test]
fn a_token_is_known_until_it_is_revoked_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let token = store.token_create("ci", Role::Viewer, None).unwrap();
    assert!(token.text.starts_with("rmr_") && token.text.len() == 4 + 43, "{}", token.text.len());
    assert_eq!(store.token_check(&token.text).unwrap().role, Role::Viewer);
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.token_check(&token.text), Some(token.info.clone()));
    assert_eq!(store.token_list(), std::slice::from_ref(&token.info));
    store.token_revoke(token.info.id).unwrap();
    assert_eq!(store.token_check(&token.text), None);
    assert!(matches!(store.token_revoke(token.info.id), Err(StoreError::UnknownToken { .. })));
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.token_check(&token.text), None);
    assert_eq!(store.token_create("next", Role::Admin, None).unwrap().info.id, TokenId(2));
}

#[test]
fn neither_the_file_nor_debug_output_contains_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let token = store.token_create("ci", Role::Admin, None).unwrap();
    assert!(!format!("{token:?}{store:?}").contains(&token.text));
    drop(store);
    let file = std::fs::read(directory.path().join("remora.redb")).unwrap();
    let secret = &token.text.as_bytes()[4..];
    assert!(!file.windows(secret.len()).any(|window| window == secret));
}

#[test]
fn unknown_altered_and_expired_tokens_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let token = store.token_create("ci", Role::Admin, None).unwrap();
    let expired = store.token_create("old", Role::Admin, Some(Timestamp(1))).unwrap();
    for text in ["", "rmr_", &token.text[..46], &format!("{}x", token.text), &expired.text] {
        assert_eq!(store.token_check(text), None);
    }
    assert!(store.token_create("", Role::Admin, None).is_err());
    assert!(store.token_create("two\nlines", Role::Admin, None).is_err());
}

#[test]
fn settings_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.setting(Setting::DissectionPaused).unwrap(), None);
    store.set_setting(Setting::DissectionPaused, Some("true")).unwrap();
    drop(store);
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    assert_eq!(store.setting(Setting::DissectionPaused).unwrap().as_deref(), Some("true"));
    store.set_setting(Setting::DissectionPaused, None).unwrap();
    assert_eq!(store.setting(Setting::DissectionPaused).unwrap(), None);
}
