//! Writes an exchange of any HTTP version as the HAR-like request and response of the entry.

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use super::content;
use super::message::Message;
use super::params;
use super::refine::refine;
use crate::dissect::{Stage, Transaction};
use crate::limits::Limits;
use crate::model::{EntryError, EntryEvent, Map, ProtocolKey, Timing, Value};

/// A request, its response, or both: what becomes one entry.
#[derive(Clone, Debug, Default)]
pub(in crate::dissect) struct Exchange {
    /// Whether it is over.
    pub(in crate::dissect) stage: Stage,
    /// The request; `None` when it was not seen.
    pub(in crate::dissect) request: Option<Box<Message>>,
    /// The response; `None` when it was not seen.
    pub(in crate::dissect) response: Option<Box<Message>>,
    /// Bytes of interim (1xx) responses.
    pub(in crate::dissect) interim: u64,
    /// Why it is incomplete.
    pub(in crate::dissect) error: Option<EntryError>,
    /// Facts about the pair.
    pub(in crate::dissect) events: Vec<EntryEvent>,
}

/// The transaction of an exchange, under the name of the protocol that rides in it if there is one.
pub(in crate::dissect) fn transaction(
    protocol: ProtocolKey,
    exchange: Exchange,
    limits: &Limits,
) -> Transaction {
    transaction_with(protocol, exchange, limits, |_| {})
}

/// The same, with what a version of HTTP adds of its own.
pub(in crate::dissect) fn transaction_with(
    protocol: ProtocolKey,
    exchange: Exchange,
    limits: &Limits,
    add: impl FnOnce(&mut Transaction),
) -> Transaction {
    let mut transaction = plain(protocol, exchange, limits);
    add(&mut transaction);
    refine(&mut transaction, limits);
    transaction
}

fn plain(protocol: ProtocolKey, exchange: Exchange, limits: &Limits) -> Transaction {
    let Exchange { stage, request, response, interim, error, mut events } = exchange;
    if matches!(stage, Stage::Open(_)) {
        events.push(EntryEvent::Open);
    }
    let mut transaction = Transaction {
        stage,
        protocol,
        method: CompactString::default(),
        summary: CompactString::default(),
        status: 0,
        request: Value::Null,
        response: Value::Null,
        request_size: 0,
        response_size: interim,
        timing: Timing::default(),
        error,
        events: Vec::new(),
    };
    if let Some(mut request) = request {
        note_losses(&request, &mut events, true);
        events.append(&mut request.events);
        transaction.method.clone_from(&request.method);
        transaction.summary = path_of(&request.target).into();
        transaction.request_size = request.wire;
        transaction.timing.request_start = request.start;
        transaction.timing.request_end = request.end;
        transaction.request = request_tree(*request, limits, &mut events);
    }
    if let Some(mut response) = response {
        note_losses(&response, &mut events, false);
        events.append(&mut response.events);
        transaction.status = i64::from(response.status);
        transaction.response_size += response.wire;
        transaction.timing.response_start = response.start;
        transaction.timing.response_end = response.end;
        transaction.response = response_tree(*response, limits, &mut events);
    }
    transaction.events = events;
    transaction
}

fn note_losses(message: &Message, events: &mut Vec<EntryEvent>, request: bool) {
    let (gap, cut) = (message.gap, message.cut);
    if gap > 0 {
        events.push(if request {
            EntryEvent::GapInRequest { bytes: gap }
        } else {
            EntryEvent::GapInResponse { bytes: gap }
        });
    }
    if cut > 0 {
        events.push(if request {
            EntryEvent::RequestTruncated { bytes: cut }
        } else {
            EntryEvent::ResponseTruncated { bytes: cut }
        });
    }
}

fn request_tree(mut message: Message, limits: &Limits, events: &mut Vec<EntryEvent>) -> Value {
    let body = decoded_body(&mut message, limits, events);
    let mime: CompactString = message.header("content-type").into();
    let target = message.target.clone();
    let path = path_of(&target);
    let mut post = Map::with_capacity(3);
    let form = params::of_body(&mime, &body, limits, events);
    post.put("mimeType", mime);
    post.put("params", Value::List(form));
    post.put("text", text_or_bytes(body));
    let mut tree = Map::with_capacity(12);
    tree.put("method", message.method);
    tree.put("url", target.clone());
    tree.put("targetUri", target.clone());
    tree.put("path", Value::from(path));
    tree.put("pathSegments", Value::List(segments(path)));
    tree.put("httpVersion", CompactString::const_new(message.version));
    tree.put("headers", message.headers);
    tree.put("cookies", message.cookies);
    tree.put("queryString", params::of_query(query_of(&target), limits, events));
    tree.put("headersSize", Value::Int(message.head_size as i64));
    tree.put("bodySize", Value::Int(message.body_size as i64));
    tree.put("postData", post);
    Value::Map(tree)
}

fn response_tree(mut message: Message, limits: &Limits, events: &mut Vec<EntryEvent>) -> Value {
    let body = decoded_body(&mut message, limits, events);
    let mut content = Map::with_capacity(4);
    content.put("size", Value::Int(body.len() as i64));
    content.put("mimeType", Value::from(message.header("content-type")));
    content.put("encoding", Value::from("base64"));
    content.put("text", Value::Bytes(Bytes::from(body)));
    let redirect: CompactString = message.header("location").into();
    let mut tree = Map::with_capacity(9);
    tree.put("status", Value::Int(i64::from(message.status)));
    tree.put("statusText", message.reason);
    tree.put("httpVersion", CompactString::const_new(message.version));
    tree.put("headers", message.headers);
    tree.put("cookies", message.cookies);
    tree.put("headersSize", Value::Int(message.head_size as i64));
    tree.put("bodySize", Value::Int(message.body_size as i64));
    tree.put("redirectURL", redirect);
    tree.put("content", content);
    Value::Map(tree)
}

/// The body with its codings undone, or as it was sent and an event that says why.
fn decoded_body(message: &mut Message, limits: &Limits, events: &mut Vec<EntryEvent>) -> Vec<u8> {
    let body = std::mem::take(&mut message.body);
    if body.is_empty() || message.codings.is_empty() {
        return body;
    }
    let complete = message.cut == 0 && message.gap == 0;
    match content::decode(&body, &message.codings, complete, limits.max_decoded_body) {
        Ok(decoded) => decoded,
        Err(error) => {
            events.push(EntryEvent::ContentNotDecoded {
                coding: error.coding.to_compact_string(),
                reason: error.reason.to_compact_string(),
            });
            body
        }
    }
}

fn text_or_bytes(body: Vec<u8>) -> Value {
    match String::from_utf8(body) {
        Ok(text) => Value::Str(text.into()),
        Err(error) => Value::Bytes(Bytes::from(error.into_bytes())),
    }
}

/// The path of a request target in any of its four forms, as sent.
pub(in crate::dissect) fn path_of(target: &str) -> &str {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let target = &target[..end];
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => target,
    }
}

fn query_of(target: &str) -> &str {
    let target = target.split('#').next().unwrap_or("");
    target.split_once('?').map_or("", |(_, query)| query)
}

fn segments(path: &str) -> Vec<Value> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').map(Value::from).collect() }
}
