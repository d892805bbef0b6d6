//! gRPC from recorded peers, in all streaming shapes, with errors and compression.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dissect::Transaction;
use crate::dissect::conversation::{self, Script};
use crate::limits::Limits;
use crate::model::Value;
use crate::protobuf::DescriptorSet;
use crate::protobuf::tests::SHOP;

fn recorded() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/pcaps/grpc")
}

fn scripts() -> Vec<(String, Script)> {
    let scripts = conversation::scripts(&recorded());
    assert!(scripts.len() >= 9, "recordings are missing");
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

fn with_descriptors() -> Limits {
    let limits = Limits::default();
    let mut set = DescriptorSet::default();
    set.add(SHOP).unwrap();
    limits.schemas.replace(set);
    limits
}

/// Calls of a recording, with the descriptors of the shop's messages.
fn shopping(name: &str) -> Vec<Transaction> {
    let (_, script) = scripts().into_iter().find(|(known, _)| known == name).expect("recorded");
    script.play_with(&with_descriptors(), |len| len)
}

#[test]
fn descriptors_give_fields_their_names_and_types() {
    let call = shopping("shop").remove(0);
    let cart = part(&call.request, "grpc.messages.0");
    assert_eq!(part(cart, "type").as_str(), Some("remora.test.Cart"));
    let number = |path: &str| part(cart, path).clone();
    assert_eq!(number("fields.customer"), "Ada".into());
    assert_eq!(number("fields.session_token"), Value::Bytes(b"\0\x01\x02\xff"[..].into()));
    assert_eq!(number("fields.stock.apple"), 3.into());
    assert_eq!(number("fields.stock.pear"), (-4).into());
    assert_eq!(number("fields.by_number.-7.name"), "seven".into());
    assert_eq!(number("fields.card"), "4111".into());
    assert_eq!(cart.get("fields").and_then(|fields| fields.get("voucher")), None);
    assert_eq!(number("fields.currency"), "EUR".into());
    assert_eq!(number("fields.at.nanos"), 500_000_000.into());
    // Without a schema this name of two letters would be text as well, and a message of one field too.
    assert_eq!(number("fields.items.0.name"), "AB".into());
    assert_eq!(number("fields.items.0.delta"), (-5).into());
    assert_eq!(number("fields.items.0.code"), 4_294_967_295_i64.into());
    assert_eq!(number("fields.items.0.big"), "18446744073709551615".into());
    assert_eq!(number("fields.items.0.price"), Value::Float(0.1));
    assert_eq!(number("fields.items.0.weight"), Value::Float(-2.5));
    assert_eq!(number("fields.items.0.sizes"), Value::List(vec![1.into(), (-2).into(), 300.into()]));
    assert_eq!(number("fields.items.0.accepted"), Value::List(vec!["USD".into(), "EUR".into()]));
    assert_eq!(number("fields.items.0.gift"), true.into());
    assert_eq!(number("fields.items.0.shift"), (-1).into());
    assert_eq!(number("fields.items.0.balance"), (-9_007_199_254_740_993_i64).into());
    assert_eq!(number("fields.items.0.tags"), Value::List(vec!["only".into()]));
    assert_eq!(number("fields.items.1.inner.inner.sizes"), Value::List(vec![7.into()]));
    let receipt = part(&call.response, "grpc.messages.0");
    assert_eq!(part(receipt, "type").as_str(), Some("remora.test.Receipt"));
    assert_eq!(part(receipt, "fields.first.serial"), &Value::Int(42));
}

#[test]
fn grpc_web_has_the_shape_of_grpc_over_both_versions_of_http() {
    for (name, key) in [("web1", "grpcweb1"), ("web2", "grpcweb2")] {
        let calls: [Transaction; 3] = shopping(name).try_into().expect("three calls");
        for call in &calls {
            assert_eq!(call.protocol.as_str(), key);
            assert_eq!(part(&call.request, "grpc.service").as_str(), Some("remora.test.Shop"));
        }
        let [order, refused, watch] = &calls;
        assert_eq!(part(&order.request, "grpc.messages.0.fields.customer").as_str(), Some("Ada"));
        assert_eq!(*part(&order.request, "grpc.messages.0.fields.items.0.delta"), Value::Int(-2));
        assert_eq!(part(&order.response, "grpc.messages.0.fields.id").as_str(), Some("for Ada"));
        assert_eq!(*part(&order.response, "grpc.status"), Value::Int(0));
        assert_eq!(*part(&order.response, "grpc.messageCount"), Value::Int(1));
        assert_eq!(part(&order.response, "grpc.trailers.x-token").as_str(), Some("trailing secret"));
        assert_eq!(part(&refused.response, "grpc.statusName").as_str(), Some("INVALID_ARGUMENT"));
        assert_eq!(part(&refused.response, "grpc.message").as_str(), Some("who? 100%"));
        assert_eq!(*part(&watch.response, "grpc.messageCount"), Value::Int(3));
        assert_eq!(part(&watch.response, "grpc.messages.2.fields.id").as_str(), Some("third"));
    }
}

#[test]
fn grpc_web_in_base64_is_read_piece_by_piece() {
    // A cart of Ada; a receipt and the trailers, each with its own padding.
    let asked = STANDARD.encode(b"\0\0\0\0\x05\x0a\x03Ada");
    let trailers = b"grpc-status:5\r\ngrpc-message:no%20pear\r\n";
    let end = [&[0x80, 0, 0, 0, trailers.len() as u8][..], trailers].concat();
    let answered = STANDARD.encode(b"\0\0\0\0\x05\x0a\x03r-1") + &STANDARD.encode(end);
    let text = format!(
        "> POST /remora.test.Shop/Order HTTP/1.1\\r\\nContent-Type: application/grpc-web-text+proto\\r\\nContent-Length: {}\\r\\n\\r\\n{asked}\n\
         < HTTP/1.1 200 OK\\r\\nContent-Type: application/grpc-web-text+proto\\r\\nContent-Length: {}\\r\\n\\r\\n{answered}\n! close\n",
        asked.len(),
        answered.len()
    );
    let call = Script::parse(&text).play_with(&with_descriptors(), |_| 1).remove(0);
    assert_eq!(call.protocol.as_str(), "grpcweb1");
    assert_eq!(part(&call.request, "grpc.messages.0.fields.customer").as_str(), Some("Ada"));
    assert_eq!(part(&call.response, "grpc.messages.0.fields.id").as_str(), Some("r-1"));
    assert_eq!(*part(&call.response, "grpc.status"), Value::Int(5));
    assert_eq!(part(&call.response, "grpc.message").as_str(), Some("no pear"));
}

#[test]
fn other_calls_over_http1_stay_http() {
    let text = "> POST /a.B/C HTTP/1.1\\r\\nContent-Type: application/grpc\\r\\nContent-Length: 0\\r\\n\\r\\n\n\
                < HTTP/1.1 415 No\\r\\ngrpc-status: 2\\r\\nContent-Length: 0\\r\\n\\r\\n\n! close\n";
    assert_eq!(Script::parse(text).play(|len| len)[0].protocol.as_str(), "http");
}
