//! Stand-in until the real one is merged.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use crate::model::{Entry, Peer, Value};
use base64::Engine as _;
use serde_json::{Value as Json, json};
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View { pub redact: bool }
fn value(v: &Value) -> Json {
    match v {
        Value::Null => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(i) => json!(i),
        Value::Float(f) => json!(f),
        Value::Str(s) => json!(s.as_str()),
        Value::Bytes(b) => json!(base64::engine::general_purpose::STANDARD.encode(b)),
        Value::List(l) => Json::Array(l.iter().map(value).collect()),
        Value::Map(m) => Json::Object(m.iter().map(|(k, v)| (k.to_string(), value(v))).collect()),
    }
}
fn peer(p: &Peer) -> Json {
    let d = Default::default();
    let q = p.process.as_deref().unwrap_or(&d);
    json!({"ip": p.addr.ip, "port": p.addr.port.to_string(), "name": p.name, "processId": q.pid, "parentProcessId": q.ppid, "processName": q.name, "processPath": q.exe, "uid": q.uid, "cgroup": q.cgroup, "socketId": p.socket.0, "containerId": q.container_id, "unit": q.unit, "translated": p.translated.map(|t| json!({"ip": t.ip, "port": t.port.to_string()}))})
}
pub fn full_json(e: &Entry, _v: &View) -> String {
    json!({"id": e.id.to_string(), "index": e.id.index, "stream": e.id.stream, "seq": e.seq, "protocol": {"name": e.protocol.as_str(), "abbr": "HTTP"}, "src": peer(&e.src), "dst": peer(&e.dst), "request": value(&e.request), "response": value(&e.response), "events": e.events, "error": e.error.as_ref().map(|x| json!({"type": x.kind.name(), "msg": x.message})), "timestamp": e.timing.request_start.millis(), "elapsedTime": e.timing.elapsed()/1_000_000}).to_string()
}
pub fn base_json(e: &Entry, v: &View) -> String { full_json(e, v) }
pub fn detail_json(e: &Entry, v: &View) -> String { full_json(e, v) }
