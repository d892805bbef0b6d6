//! The length-prefixed messages of a gRPC body, each with its fields.

use std::borrow::Cow;

use bytes::Bytes;
use compact_str::ToCompactString;

use super::protobuf;
use crate::dissect::http::content;
use crate::limits::{Limits, grpc as limits};
use crate::model::{EntryEvent, Map, Value};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The messages of a body as far as it was kept. `encoding`: what compressed ones are compressed with.
/// Answers the list and how many messages the body has, those beyond the limit included.
pub(super) fn read(
    body: &[u8],
    encoding: &str,
    engine: &Limits,
    events: &mut Vec<EntryEvent>,
) -> (Vec<Value>, i64) {
    let mut messages = Vec::new();
    let mut count = 0;
    let mut budget = limits::FIELDS;
    let mut room = engine.max_decoded_body;
    let mut rest = body;
    while let Some((prefix, more)) = rest.split_first_chunk::<PREFIX>() {
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        let part = &more[..more.len().min(length)];
        rest = &more[part.len()..];
        count += 1;
        if messages.len() >= limits::MESSAGES {
            continue;
        }
        let whole = part.len() == length;
        messages.push(message(
            part,
            whole,
            (flag & 1 != 0).then_some(encoding),
            &mut budget,
            &mut room,
            events,
        ));
    }
    if count > limits::MESSAGES as i64 || budget == 0 {
        let limit = if budget == 0 { "grpc_fields" } else { "grpc_messages" };
        events.push(EntryEvent::LimitExceeded { limit: limit.into() });
    }
    (messages, count)
}

/// `{size, compressed, complete, fields}`; `data` stands for fields that could not be read.
fn message(
    part: &[u8],
    whole: bool,
    encoding: Option<&str>,
    budget: &mut usize,
    room: &mut usize,
    events: &mut Vec<EntryEvent>,
) -> Value {
    let mut tree = Map::with_capacity(4);
    tree.put("size", Value::Int(part.len() as i64));
    tree.put("compressed", encoding.is_some());
    if !whole {
        tree.put("complete", false);
    }
    let plain = match encoding {
        None => Some(Cow::Borrowed(part)),
        Some(encoding) => inflate(part, encoding, whole, room, events).map(Cow::Owned),
    };
    let fields = match &plain {
        Some(plain) if whole && *budget > 0 => protobuf::decode(plain, budget),
        _ => None,
    };
    match fields {
        Some(fields) => tree.put("fields", fields),
        None => tree.put("data", Value::Bytes(Bytes::copy_from_slice(plain.as_deref().unwrap_or(part)))),
    }
    Value::Map(tree)
}

/// Undoes a message's compression; what all messages of a body grow to is bounded.
fn inflate(
    part: &[u8],
    encoding: &str,
    whole: bool,
    room: &mut usize,
    events: &mut Vec<EntryEvent>,
) -> Option<Vec<u8>> {
    let codings: Vec<String> = content::codings(encoding).collect();
    match content::decode(part, &codings, whole, *room) {
        Ok(plain) if !codings.is_empty() => {
            *room -= plain.len();
            Some(plain)
        }
        Ok(_) => None,
        Err(error) => {
            let coding = error.coding.to_compact_string();
            let known = events.iter().any(|event| matches!(event, EntryEvent::ContentNotDecoded { .. }));
            if !known {
                events
                    .push(EntryEvent::ContentNotDecoded { coding, reason: error.reason.to_compact_string() });
            }
            None
        }
    }
}
