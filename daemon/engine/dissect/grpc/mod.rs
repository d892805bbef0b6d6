//! gRPC over HTTP/2, and gRPC-Web over any HTTP: calls with service, method, status and messages.
//!
//! A call is recognised when it is finished, by its content type; what HTTP made of it stays as it is, and
//! `grpc` objects join request and response. Messages have names where `limits.schemas` knows their types.

mod fields;
mod messages;
mod protobuf;
mod scalar;
mod web;

#[cfg(test)]
mod tests;

use compact_str::CompactString;

use super::http::view::{self, answered, asked};
use super::{Protocol, ProtocolInfo, Section, SectionContent, Transaction, Verdict, http2};
use crate::limits::Limits;
use crate::model::{EntryEvent, Map, ProtocolKey, Value};
use crate::protobuf::{DescriptorSet, MessageType};

use messages::{Messages, Reading};
use protobuf::Typed;

const INFO: ProtocolInfo = ProtocolInfo {
    key: "grpc",
    abbr: "gRPC",
    long_name: "Hypertext Transfer Protocol Version 2 (HTTP/2) [ gRPC over HTTP/2 ]",
    macro_name: "grpc",
    reference: "https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html",
    ports: &[80, 443, 8080, 50051],
    ..http2::INFO
};

const WEB2: ProtocolInfo = ProtocolInfo {
    key: "grpcweb2",
    abbr: "gRPC-Web",
    long_name: "Hypertext Transfer Protocol Version 2 (HTTP/2) [ gRPC-Web over HTTP/2 ]",
    reference: "https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md",
    ports: &[80, 443, 8080],
    ..INFO
};

const WEB1: ProtocolInfo = ProtocolInfo {
    key: "grpcweb1",
    version: "1.1",
    long_name: "Hypertext Transfer Protocol -- HTTP/1.1 [ gRPC-Web over HTTP/1.1 ]",
    ..WEB2
};

/// gRPC in the registry. It is found in the calls of HTTP/2, which opens its connections.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[INFO, WEB1, WEB2],
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

/// Makes a finished HTTP call its own if it is one of gRPC.
pub(in crate::dissect) fn refine(transaction: &mut Transaction, limits: &Limits) -> bool {
    let Some(key) = kind(transaction) else { return false };
    transaction.protocol = ProtocolKey::new(key);
    let path = transaction.request.get("path").and_then(Value::as_str).unwrap_or_default();
    let set = limits.schemas.get();
    let types = set.method(path);
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    let mut asked = Map::with_capacity(6);
    asked.put("service", Value::from(service));
    asked.put("method", Value::from(method));
    asked.put("timeout", Value::from(header(&transaction.request, "grpc-timeout")));
    let half = Half { body: ["postData", "text"], set: &set, message: types[0], limits };
    half.join(&mut transaction.request, asked, &mut transaction.events);
    let answered = Map::with_capacity(7);
    let half = Half { body: ["content", "text"], set: &set, message: types[1], limits };
    half.join(&mut transaction.response, answered, &mut transaction.events);
    true
}

/// The key of the call's protocol, if it is one of gRPC. Every HTTP call comes here, so little is looked at.
fn kind(transaction: &Transaction) -> Option<&'static str> {
    let types =
        [(&transaction.request, "postData"), (&transaction.response, "content")].map(|(half, body)| {
            half.get(body).and_then(|body| body.get("mimeType")?.as_str()).unwrap_or_default()
        });
    let is_http2 = transaction.protocol.as_str() == http2::INFO.key;
    if types.into_iter().any(web::is_web) {
        return Some(if is_http2 { WEB2.key } else { WEB1.key });
    }
    let is_grpc = types.into_iter().any(|kind| kind.starts_with("application/grpc"))
        || !header(&transaction.response, "grpc-status").is_empty();
    (is_http2 && is_grpc).then_some(INFO.key)
}

fn header<'a>(message: &'a Value, name: &str) -> &'a str {
    match message.get("headers") {
        Some(Value::Map(headers)) => {
            headers.get_ignore_case(name).and_then(Value::as_str).unwrap_or_default()
        }
        _ => "",
    }
}

/// One half of a call, and how it is read.
struct Half<'h> {
    /// Where the body stands.
    body: [&'static str; 2],
    set: &'h DescriptorSet,
    /// The type of its messages.
    message: Option<&'h MessageType>,
    limits: &'h Limits,
}

impl Half<'_> {
    /// Adds the `grpc` object: status, encoding and messages.
    fn join(&self, half: &mut Value, mut map: Map, events: &mut Vec<EntryEvent>) {
        let encoding: CompactString = header(half, "grpc-encoding").into();
        let bytes = match half.get(self.body[0]).and_then(|outer| outer.get(self.body[1])) {
            Some(Value::Str(text)) => text.as_bytes(),
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        };
        let body = web::without_base64(header(half, "content-type"), bytes);
        let typed = self.message.map(|message| Typed { set: self.set, message });
        let reading = Reading { encoding: &encoding, typed, limits: self.limits };
        let Messages { list, count, trailers } = messages::read(&body, reading, events);
        put_outcome(&mut map, half, &trailers);
        map.put("encoding", encoding);
        map.put("messageCount", Value::Int(count));
        map.put("messages", Value::List(list));
        if !trailers.is_empty() {
            map.put("trailers", trailers);
        }
        if let Value::Map(tree) = half {
            tree.put("grpc", map);
        }
    }
}

/// Status and message, from trailers or from a response that has nothing else.
fn put_outcome(map: &mut Map, half: &Value, trailers: &Map) {
    let said = |name: &str| match trailers.get(name).and_then(Value::as_str) {
        Some(value) => value,
        None => header(half, name),
    };
    if let Ok(code) = said("grpc-status").parse::<i64>() {
        map.put("status", Value::Int(code));
        map.put("statusName", Value::from(status_name(code)));
        map.put("message", unescape(said("grpc-message")));
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
