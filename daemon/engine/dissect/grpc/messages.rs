//! The length-prefixed messages of a gRPC body, each with its fields, and gRPC-Web's trailers among them.

use std::borrow::Cow;

use bytes::Bytes;
use compact_str::ToCompactString;

use super::protobuf::{self, Typed};
use crate::dissect::http::content;
use crate::limits::{Limits, grpc as limits};
use crate::model::{EntryEvent, Map, Value};

/// Bytes before a message: flags, and its length.
const PREFIX: usize = 5;
/// The message is compressed.
const COMPRESSED: u8 = 0x01;
/// It is no message, but the trailers (gRPC-Web).
const TRAILERS: u8 = 0x80;

/// How the messages of a body are to be read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'r> {
    /// What compressed ones are compressed with.
    pub(super) encoding: &'r str,
    /// Their type, if it is known.
    pub(super) typed: Option<Typed<'r>>,
    pub(super) limits: &'r Limits,
}

/// What is in a body.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// `{size, compressed, complete, type, fields}` each; `data` stands for fields that could not be read.
    pub(super) list: Vec<Value>,
    /// How many the body has, those beyond the limit included.
    pub(super) count: i64,
    /// By name; only of gRPC-Web.
    pub(super) trailers: Map,
}

/// The messages of a body as far as it was kept.
pub(super) fn read(body: &[u8], reading: Reading<'_>, events: &mut Vec<EntryEvent>) -> Messages {
    let mut found = Messages::default();
    let mut budget = limits::FIELDS;
    let mut room = reading.limits.max_decoded_body;
    let mut rest = body;
    while let Some((prefix, more)) = rest.split_first_chunk::<PREFIX>() {
        let [flags, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        let part = &more[..more.len().min(length)];
        rest = &more[part.len()..];
        let is_whole = part.len() == length;
        let is_compressed = flags & COMPRESSED != 0;
        let mut message = Message { part, is_whole, is_compressed, reading, room: &mut room, events };
        if flags & TRAILERS != 0 {
            found.trailers = message.trailers();
            continue;
        }
        found.count += 1;
        if found.list.len() < limits::MESSAGES {
            found.list.push(message.tree(&mut budget));
        }
    }
    if found.count > limits::MESSAGES as i64 || budget == 0 {
        let limit = if budget == 0 { "grpc_fields" } else { "grpc_messages" };
        events.push(EntryEvent::LimitExceeded { limit: limit.into() });
    }
    found
}

/// One message of a body.
struct Message<'m> {
    part: &'m [u8],
    is_whole: bool,
    is_compressed: bool,
    reading: Reading<'m>,
    /// Bytes that all messages of the body may still grow by.
    room: &'m mut usize,
    events: &'m mut Vec<EntryEvent>,
}

impl<'m> Message<'m> {
    fn tree(&mut self, budget: &mut usize) -> Value {
        let mut tree = Map::with_capacity(5);
        tree.put("size", Value::Int(self.part.len() as i64));
        tree.put("compressed", self.is_compressed);
        if !self.is_whole {
            tree.put("complete", false);
        }
        let plain = self.plain();
        let typed = self.reading.typed;
        let fields = match &plain {
            Some(plain) if self.is_whole && *budget > 0 => protobuf::decode(plain, typed, budget),
            _ => None,
        };
        if let Some(fields) = fields {
            if let Some(typed) = typed {
                tree.put("type", typed.message.name.clone());
            }
            tree.put("fields", fields);
        } else {
            let bytes = plain.as_deref().unwrap_or(self.part);
            tree.put("data", Value::Bytes(Bytes::copy_from_slice(bytes)));
        }
        Value::Map(tree)
    }

    /// Lines of names and values, as in the head of an HTTP/1 message.
    fn trailers(&mut self) -> Map {
        let plain = self.plain().unwrap_or_default();
        let text = String::from_utf8_lossy(&plain);
        let mut trailers = Map::default();
        for line in text.lines().filter(|line| !line.is_empty()).take(self.reading.limits.max_headers) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            trailers.push(name.trim().to_ascii_lowercase(), value.trim());
        }
        trailers
    }

    /// Undoes the compression; what all messages of a body grow to is bounded.
    fn plain(&mut self) -> Option<Cow<'m, [u8]>> {
        if !self.is_compressed {
            return Some(Cow::Borrowed(self.part));
        }
        let codings: Vec<String> = content::codings(self.reading.encoding).collect();
        match content::decode(self.part, &codings, self.is_whole, *self.room) {
            Ok(plain) if !codings.is_empty() => {
                *self.room -= plain.len();
                Some(Cow::Owned(plain))
            }
            Ok(_) => None,
            Err(error) => {
                let is_noted = |event: &EntryEvent| matches!(event, EntryEvent::ContentNotDecoded { .. });
                if !self.events.iter().any(is_noted) {
                    let (coding, reason) =
                        (error.coding.to_compact_string(), error.reason.to_compact_string());
                    self.events.push(EntryEvent::ContentNotDecoded { coding, reason });
                }
                None
            }
        }
    }
}
