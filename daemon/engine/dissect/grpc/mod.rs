//! gRPC: calls over HTTP/2 with service, method, status and messages.
//!
//! A call is recognised when it is finished, by its content type; what HTTP/2 made of it stays as it is,
//! and `grpc` objects join request and response. Messages are shown without a schema.

mod fields;
mod messages;
mod protobuf;

#[cfg(test)]
mod tests;

use compact_str::CompactString;

use super::http::view::{self, answered, asked};
use super::{Protocol, ProtocolInfo, Section, SectionContent, Transaction, Verdict, http2};
use crate::limits::Limits;
use crate::model::{EntryEvent, Map, ProtocolKey, Value};

const INFO: ProtocolInfo = ProtocolInfo {
    key: "grpc",
    abbr: "gRPC",
    long_name: "Hypertext Transfer Protocol Version 2 (HTTP/2) [ gRPC over HTTP/2 ]",
    macro_name: "grpc",
    reference: "https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html",
    ports: &[80, 443, 8080, 50051],
    ..http2::INFO
};

/// gRPC in the registry. It is found in the calls of HTTP/2, which opens its connections.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[INFO],
    over: &[],
    probe: |_| Verdict::No,
    open: http2::open,
    fields: fields::FIELDS,
    columns: view::COLUMNS,
    payloads: &[
        "request.postData.params",
        "request.postData.text",
        "request.grpc.messages",
        "response.content.text",
        "response.grpc.messages",
    ],
    sections: SECTIONS,
    names: None,
};

const SECTIONS: &[Section] = &[
    asked(
        "Details",
        SectionContent::Details(&[
            ("Service", "request.grpc.service"),
            ("Method", "request.grpc.method"),
            ("Path", "request.path"),
            ("Messages", "request.grpc.messageCount"),
            ("Encoding", "request.grpc.encoding"),
            ("Timeout", "request.grpc.timeout"),
            ("Body Size (bytes)", "request.bodySize"),
        ]),
    ),
    asked("Messages", SectionContent::Table("request.grpc.messages")),
    asked("Headers", SectionContent::Table("request.headers")),
    asked("Body", SectionContent::Body("request.postData.text", "request.postData.mimeType")),
    answered(
        "Details",
        SectionContent::Details(&[
            ("gRPC Status", "response.grpc.status"),
            ("gRPC Status Name", "response.grpc.statusName"),
            ("gRPC Message", "response.grpc.message"),
            ("Messages", "response.grpc.messageCount"),
            ("Encoding", "response.grpc.encoding"),
            ("HTTP Status", "response.status"),
            ("Body Size (bytes)", "response.bodySize"),
        ]),
    ),
    answered("Messages", SectionContent::Table("response.grpc.messages")),
    answered("Headers", SectionContent::Table("response.headers")),
    answered("Body", SectionContent::Body("response.content.text", "response.content.mimeType")),
];

/// Makes a finished HTTP/2 call its own if it is one of gRPC.
pub(in crate::dissect) fn refine(transaction: &mut Transaction, limits: &Limits) -> bool {
    if transaction.protocol.as_str() != http2::INFO.key
        || !is_grpc(&transaction.request) && !is_grpc(&transaction.response)
    {
        return false;
    }
    transaction.protocol = ProtocolKey::new(INFO.key);
    let path = transaction.request.get("path").and_then(Value::as_str).unwrap_or_default();
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    let mut asked = Map::with_capacity(6);
    asked.put("service", Value::from(service));
    asked.put("method", Value::from(method));
    asked.put("timeout", Value::from(header(&transaction.request, "grpc-timeout")));
    let body = ["postData", "text"];
    join(&mut transaction.request, asked, body, limits, &mut transaction.events);
    let answered = outcome(&transaction.response);
    join(&mut transaction.response, answered, ["content", "text"], limits, &mut transaction.events);
    true
}

fn is_grpc(message: &Value) -> bool {
    header(message, "content-type").starts_with("application/grpc")
        || !header(message, "grpc-status").is_empty()
}

fn header<'a>(message: &'a Value, name: &str) -> &'a str {
    match message.get("headers") {
        Some(Value::Map(headers)) => {
            headers.get_ignore_case(name).and_then(Value::as_str).unwrap_or_default()
        }
        _ => "",
    }
}

/// Status and message, from trailers or from a response that has nothing else.
fn outcome(response: &Value) -> Map {
    let mut map = Map::with_capacity(6);
    if let Ok(code) = header(response, "grpc-status").parse::<i64>() {
        map.put("status", Value::Int(code));
        map.put("statusName", Value::from(status_name(code)));
        map.put("message", unescape(header(response, "grpc-message")));
    }
    map
}

/// Adds the `grpc` object with encoding and messages to one half.
fn join(message: &mut Value, mut map: Map, body: [&str; 2], limits: &Limits, events: &mut Vec<EntryEvent>) {
    let encoding: CompactString = header(message, "grpc-encoding").into();
    let bytes = match message.get(body[0]).and_then(|outer| outer.get(body[1])) {
        Some(Value::Str(text)) => text.as_bytes(),
        Some(Value::Bytes(bytes)) => bytes,
        _ => &[],
    };
    let (messages, count) = messages::read(bytes, &encoding, limits, events);
    map.put("encoding", encoding);
    map.put("messageCount", Value::Int(count));
    map.put("messages", Value::List(messages));
    if let Value::Map(tree) = message {
        tree.put("grpc", map);
    }
}

/// `%xx` as in `Grpc-Message`; what is not valid stays as it is.
fn unescape(text: &str) -> CompactString {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|digit| (*digit as char).to_digit(16));
        let escaped = hex(1).zip(hex(2)).filter(|_| byte == b'%');
        out.push(escaped.map_or(byte, |(high, low)| (high * 16 + low) as u8));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    CompactString::from_utf8_lossy(&out)
}

/// The name of a status code.
fn status_name(code: i64) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|index| NAMES.get(index)).copied().unwrap_or("")
}
