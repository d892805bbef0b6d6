//! Entries to try filters on.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::dissect::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Direction, Entry, EntryId, Map, NodeInfo, Peer,
    Process, ProtocolKey, SocketCookie, Timestamp, Timing, Value,
};

/// The message tree of a JSON text; a text under `"bytes:..."` becomes bytes.
pub(in crate::kfl) fn tree(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
        }
        Json::String(text) => match text.strip_prefix("bytes:") {
            Some(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes.as_bytes())),
            None => Value::from(text.as_str()),
        },
        Json::Array(items) => Value::List(items.iter().map(tree).collect()),
        Json::Object(items) => {
            Value::Map(Map(items.iter().map(|(key, value)| (key.as_str().into(), tree(value))).collect()))
        }
    }
}

fn process(pid: u32, name: &str) -> Arc<Process> {
    Arc::new(Process {
        pid,
        ppid: 1,
        uid: Some(1000),
        name: name.into(),
        exe: format!("/usr/bin/{name}").as_str().into(),
        cgroup_id: 77,
        cgroup: "/system.slice/nginx.service".into(),
        container_id: if name == "nginx" { "3f2a9c".into() } else { "".into() },
        unit: format!("{name}.service").into(),
        netns: 4_026_531_840,
    })
}

/// An entry of a protocol without messages.
pub(in crate::kfl) fn bare(protocol: &'static str) -> Entry {
    Entry {
        id: EntryId { node: "web-1".into(), stream: "1f-3".into(), index: 2 },
        seq: 900,
        protocol: ProtocolKey::new(protocol),
        node: Arc::new(NodeInfo { name: "web-1".into(), ip: [10, 0, 25, 170].into() }),
        src: Peer {
            addr: AddrPort::new([192, 168, 1, 5].into(), 36848),
            translated: None,
            socket: SocketCookie(5),
            name: "front-end".into(),
            dns: "".into(),
            process: Some(process(4711, "curl")),
        },
        dst: Peer {
            addr: AddrPort::new([10, 0, 0, 7].into(), 8080),
            translated: Some(AddrPort::new([172, 17, 0, 2].into(), 80)),
            socket: SocketCookie(6),
            name: "payment.shop".into(),
            dns: "db.example.com".into(),
            process: Some(process(80, "nginx")),
        },
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing {
            // 2026-03-14T22:15:00Z
            request_start: Timestamp(1_773_526_500_000_000_000),
            request_end: Timestamp(1_773_526_500_001_000_000),
            response_start: Timestamp(1_773_526_502_000_000_000),
            response_end: Timestamp(1_773_526_502_500_000_000),
        },
        method: "".into(),
        summary: "".into(),
        status: 0,
        request: Value::Null,
        response: Value::Null,
        request_size: 428,
        response_size: 114,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(42),
        capture: CaptureInfo { source: CaptureSource::Ebpf, seen_at: "both".into() },
    }
}

/// An entry with messages.
pub(in crate::kfl) fn entry(protocol: &'static str, request: Json, response: Json) -> Entry {
    Entry { request: tree(&request), response: tree(&response), ..bare(protocol) }
}

/// An entry around what a dissector found.
pub(in crate::kfl) fn dissected(call: Transaction) -> Entry {
    Entry {
        protocol: call.protocol,
        method: call.method,
        summary: call.summary,
        status: call.status,
        request: call.request,
        response: call.response,
        error: call.error,
        events: call.events,
        ..bare("http")
    }
}

/// What the golden conversations of HTTP/1 give, with their names.
pub(in crate::kfl) fn golden() -> Vec<(String, Entry)> {
    let calls = crate::dissect::http1::tests::golden_transactions();
    calls.into_iter().map(|(name, call)| (name, dissected(call))).collect()
}

/// An HTTP call with the given facts, as the dissector makes it out of bytes.
pub(in crate::kfl) fn http(method: &str, url: &str, status: i64, headers: Json) -> Entry {
    let body = r#"{"a":{"b":5}}"#;
    let mut lines = String::new();
    for (name, value) in headers.as_object().into_iter().flatten() {
        lines.extend([name.as_str(), ": ", value.as_str().expect("a text"), "\r\n"]);
    }
    let request = format!(
        "{method} {url} HTTP/1.1\r\n{lines}Cookie: session=abc\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = r#"{"some":{"path":"somevalue"},"user":{"id":7,"tags":["x","y"]},"n":1.5}"#;
    let response = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\ny: b\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    );
    let (limits, mut out) = (Limits::default(), Vec::new());
    let mut session = Session::new(Carrier::Stream, 80, true);
    for (direction, bytes) in [(Direction::ToServer, &request), (Direction::ToClient, &response)] {
        session.feed(direction, Input::Bytes(bytes.as_bytes()), Timestamp(1), &limits, &mut out);
    }
    session.close(End::Closed, Timestamp(2), &limits, &mut out);
    assert_eq!(out.len(), 1, "one call of {method} {url}");
    dissected(out.remove(0))
}
