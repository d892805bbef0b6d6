//! gRPC from recorded peers, in all streaming shapes, with errors and compression.

use std::path::PathBuf;

use crate::dissect::Transaction;
use crate::dissect::conversation::{self, Script};
use crate::model::Value;

fn recorded() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/pcaps/grpc")
}

fn scripts() -> Vec<(String, Script)> {
    let scripts = conversation::scripts(&recorded());
    assert!(scripts.len() >= 6, "recordings are missing");
    scripts
}

fn call(name: &str) -> Transaction {
    let (_, script) = scripts().into_iter().find(|(known, _)| known == name).expect("recorded");
    let mut calls = script.play(|len| len);
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn part<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| match (value, key.parse::<usize>()) {
        (Value::List(values), Ok(index)) => &values[index],
        _ => value.get(key).unwrap_or_else(|| panic!("no {key} in {value:?}")),
    })
}

/// Field 1 of each message.
fn texts(half: &Value) -> Vec<&str> {
    let Value::List(messages) = part(half, "grpc.messages") else { panic!("no list") };
    messages.iter().map(|message| part(message, "fields.1").as_str().expect("text")).collect()
}

#[test]
fn recorded_peers_give_the_golden_transactions() {
    conversation::assert_golden(&recorded());
}

#[test]
fn any_split_gives_the_same_transactions() {
    conversation::assert_same_in_any_split(&scripts(), 10);
}

#[test]
fn losses_and_late_joins_are_declared() {
    conversation::assert_lost_pieces_are_declared(&scripts());
    conversation::assert_joining_is_declared(&scripts());
}

#[test]
fn all_four_shapes_show_their_messages() {
    let shapes: [(&str, &[&str], &[&str]); 4] = [
        ("unary", &["one"], &["hello one"]),
        ("client", &["one", "two", "three"], &["one+two+three"]),
        ("server", &["one"], &["one 0", "one 1", "one 2"]),
        ("both", &["one", "two", "three"], &["re: one", "re: two", "re: three"]),
    ];
    for (name, asked, answered) in shapes {
        let call = call(name);
        assert_eq!(call.protocol.as_str(), "grpc");
        assert_eq!(texts(&call.request), asked, "{name}");
        assert_eq!(texts(&call.response), answered, "{name}");
        assert_eq!(part(&call.request, "grpc.service").as_str(), Some("remora.test.Echo"));
        assert_eq!(*part(&call.response, "grpc.status"), Value::Int(0));
        assert_eq!(part(&call.response, "grpc.statusName").as_str(), Some("OK"));
    }
    assert_eq!(*part(&call("unary").response, "grpc.messages.0.fields.2"), Value::Int(42));
}

#[test]
fn an_error_without_messages_has_its_status() {
    let call = call("fail");
    assert_eq!(*part(&call.response, "grpc.status"), Value::Int(5));
    assert_eq!(part(&call.response, "grpc.statusName").as_str(), Some("NOT_FOUND"));
    assert_eq!(part(&call.response, "grpc.message").as_str(), Some("no such thing: 100%"));
    assert_eq!(*part(&call.response, "grpc.messageCount"), Value::Int(0));
    assert_eq!((call.status, call.error), (200, None));
}

#[test]
fn compressed_messages_are_read() {
    let call = call("gzip");
    assert_eq!(*part(&call.request, "grpc.messages.0.compressed"), Value::Bool(true));
    assert_eq!(texts(&call.request), ["z".repeat(100)]);
}
