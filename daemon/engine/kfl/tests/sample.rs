//! Entries to try filters on.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Entry, EntryId, Map, NodeInfo, Peer, Process,
    ProtocolKey, SocketCookie, Timestamp, Timing, Value,
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

/// An HTTP call with the given facts.
pub(in crate::kfl) fn http(method: &str, url: &str, status: i64, headers: Json) -> Entry {
    let path = url.split('?').next().unwrap_or_default();
    let query: serde_json::Map<String, Json> = url
        .split_once('?')
        .map(|(_, query)| query.split('&').filter_map(|pair| pair.split_once('=')))
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let request = json!({
        "method": method, "url": url, "targetUri": url, "path": path, "pathSegments": segments,
        "httpVersion": "HTTP/1.1", "headers": headers, "cookies": {"session": "abc"}, "queryString": query,
        "headersSize": 120, "bodySize": 11,
        "postData": {"mimeType": "application/json", "params": [], "text": "{\"a\":{\"b\":5}}"},
    });
    let response = json!({
        "status": status, "statusText": "X", "httpVersion": "HTTP/1.1",
        "headers": {"Content-Type": "application/json", "y": "b"}, "cookies": {}, "headersSize": 90, "bodySize": 60,
        "redirectURL": "",
        "content": {"size": 60, "mimeType": "application/json", "encoding": "base64",
            "text": "bytes:{\"some\":{\"path\":\"somevalue\"},\"user\":{\"id\":7,\"tags\":[\"x\",\"y\"]},\"n\":1.5}"},
    });
    Entry { method: method.into(), summary: path.into(), status, ..entry("http", request, response) }
}
