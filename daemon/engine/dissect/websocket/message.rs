//! A message while its frames come in, and the entry that it becomes.

use bytes::Bytes;
use compact_str::{CompactString, format_compact};

use super::frame::Opcode;
use super::handshake::Handshake;
use super::inflate::{Decoded, Failed};
use crate::dissect::{Stage, Transaction};
use crate::limits::Limits;
use crate::model::{
    Direction, EntryError, EntryEvent, ErrorKind, Map, ProtocolKey, Timestamp, Timing, Value,
};

/// The stored key.
pub(super) const KEY: ProtocolKey = ProtocolKey::new("ws");
/// The content coding's name in events.
const DEFLATE: &str = "permessage-deflate";

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) opcode: Opcode,
    /// First byte of its first frame.
    pub(super) start: Timestamp,
    /// Last byte so far.
    pub(super) end: Timestamp,
    /// Bytes on the wire, headers included.
    pub(super) wire: u64,
    /// Frames so far.
    pub(super) frames: u64,
    /// Present when it is compressed.
    pub(super) decoded: Option<Decoded>,
    /// First bytes of the payload; of a compressed one nothing.
    pub(super) payload: Vec<u8>,
    /// Bytes of the payload as framed, missing ones included.
    pub(super) len: u64,
    /// Bytes of the payload that were seen and left out.
    pub(super) cut: u64,
    /// Bytes that never came.
    pub(super) gap: u64,
    pub(super) masked: bool,
    pub(super) events: Vec<EntryEvent>,
    pub(super) error: Option<(ErrorKind, &'static str)>,
}

impl Message {
    /// Bytes of memory that its content holds.
    pub(super) fn weight(&self) -> usize {
        self.payload.capacity() + self.decoded.as_ref().map_or(0, |decoded| decoded.bytes.capacity())
    }

    /// A message that begins with a frame.
    pub(super) fn new(opcode: Opcode, compressed: bool, masked: bool, start: Timestamp) -> Self {
        Self {
            opcode,
            start,
            end: start,
            wire: 0,
            frames: 0,
            decoded: compressed.then(Decoded::default),
            payload: Vec::new(),
            len: 0,
            cut: 0,
            gap: 0,
            masked,
            events: Vec::new(),
            error: None,
        }
    }

    /// How many of the next `count` bytes of payload are wanted in clear.
    pub(super) fn wants(&self, count: usize, limits: &Limits) -> usize {
        match &self.decoded {
            Some(decoded) if decoded.failed.is_none() => count,
            Some(_) => 0,
            None if self.gap > 0 => 0,
            None => limits.max_body.saturating_sub(self.payload.len()).min(count),
        }
    }

    /// Whether anything of it is missing.
    pub(super) fn has_gap(&self) -> bool {
        self.gap > 0
    }

    /// The entry.
    pub(super) fn finish(mut self, direction: Direction, handshake: &Handshake) -> Transaction {
        self.note_losses(direction);
        let tree = self.tree(handshake);
        let timing = match direction {
            Direction::ToServer => {
                Timing { request_start: self.start, request_end: self.end, ..Timing::default() }
            }
            Direction::ToClient => {
                Timing { response_start: self.start, response_end: self.end, ..Timing::default() }
            }
        };
        let (request, response, request_size, response_size) = match direction {
            Direction::ToServer => (tree, Value::Null, self.wire, 0),
            Direction::ToClient => (Value::Null, tree, 0, self.wire),
        };
        Transaction {
            stage: Stage::Whole,
            protocol: KEY,
            method: CompactString::const_new(self.opcode.name()),
            summary: handshake.path.clone(),
            status: 0,
            request,
            response,
            request_size,
            response_size,
            timing,
            error: self
                .error
                .map(|(kind, message)| EntryError { kind, message: CompactString::const_new(message) }),
            events: self.events,
        }
    }

    fn note_losses(&mut self, direction: Direction) {
        let up = direction == Direction::ToServer;
        if self.gap > 0 {
            let bytes = self.gap;
            self.events.push(if up {
                EntryEvent::GapInRequest { bytes }
            } else {
                EntryEvent::GapInResponse { bytes }
            });
        }
        let cut = match &self.decoded {
            Some(decoded) => decoded.total.saturating_sub(decoded.bytes.len() as u64),
            None => self.cut,
        };
        if cut > 0 {
            self.events.push(if up {
                EntryEvent::RequestTruncated { bytes: cut }
            } else {
                EntryEvent::ResponseTruncated { bytes: cut }
            });
        }
        if let Some(reason) = self.decoded.as_ref().and_then(trouble) {
            self.events.push(EntryEvent::ContentNotDecoded { coding: DEFLATE.into(), reason });
        }
    }

    fn tree(&mut self, handshake: &Handshake) -> Value {
        let compressed = self.decoded.is_some();
        let (payload, len) = match self.decoded.take() {
            Some(decoded) => (decoded.bytes, decoded.total),
            None => (std::mem::take(&mut self.payload), self.len),
        };
        // What broke off between two frames may end within a character too.
        let cut = self.error.is_some() || len > payload.len() as u64;
        let mut tree = Map::with_capacity(14);
        tree.put("opcode", Value::from(self.opcode.name()));
        tree.put("path", handshake.path.clone());
        tree.put("url", handshake.url.clone());
        tree.put("host", handshake.host.clone());
        if !handshake.subprotocol.is_empty() {
            tree.put("subprotocol", handshake.subprotocol.clone());
        }
        tree.put("frames", Value::Int(self.frames as i64));
        tree.put("masked", self.masked);
        tree.put("compressed", compressed);
        tree.put("payloadLength", Value::Int(len as i64));
        if self.opcode == Opcode::Close
            && let Some((code, reason)) = payload.split_first_chunk::<2>()
        {
            let code = u16::from_be_bytes(*code);
            tree.put("closeCode", Value::Int(i64::from(code)));
            tree.put("closeCodeName", Value::from(close_name(code)));
            tree.put("closeReason", Value::Str(CompactString::from_utf8_lossy(reason)));
        }
        put_payload(&mut tree, payload, self.opcode, cut);
        Value::Map(tree)
    }
}

/// Text as text, anything else as bytes. A text that was cut may end within a character.
fn put_payload(tree: &mut Map, payload: Vec<u8>, opcode: Opcode, cut: bool) {
    let text = match String::from_utf8(payload) {
        Ok(text) => Ok(text),
        Err(error) if opcode == Opcode::Text && cut && error.utf8_error().error_len().is_none() => {
            let end = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(end);
            String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)
        }
        Err(error) => Err(error.into_bytes()),
    };
    let (mime, value) = match text {
        Ok(text) if opcode != Opcode::Close => ("text/plain", Value::Str(text.into())),
        Ok(text) => ("application/octet-stream", Value::Bytes(Bytes::from(text.into_bytes()))),
        Err(bytes) => ("application/octet-stream", Value::Bytes(Bytes::from(bytes))),
    };
    tree.put("mimeType", Value::from(mime));
    if matches!(value, Value::Bytes(_)) {
        tree.put("encoding", Value::from("base64"));
    }
    tree.put("payload", value);
}

/// Why a compressed message is not shown whole and as it was.
fn trouble(decoded: &Decoded) -> Option<CompactString> {
    Some(match decoded.failed {
        Some(Failed::TooLong(most)) => format_compact!("it grows beyond {most} bytes"),
        Some(Failed::Malformed) => CompactString::const_new("the compressed data is malformed"),
        Some(Failed::Gap) => CompactString::const_new("compressed bytes are missing"),
        None if decoded.unknown > 0 => format_compact!(
            "{} of {} bytes refer to messages that were not captured and are shown as ?",
            decoded.unknown,
            decoded.total
        ),
        None => return None,
    })
}

/// Names of close codes (RFC 6455 7.4.1 and the registry).
fn close_name(code: u16) -> &'static str {
    match code {
        1000 => "Normal Closure",
        1001 => "Going Away",
        1002 => "Protocol Error",
        1003 => "Unsupported Data",
        1007 => "Invalid Payload Data",
        1008 => "Policy Violation",
        1009 => "Message Too Big",
        1010 => "Mandatory Extension",
        1011 => "Internal Error",
        1012 => "Service Restart",
        1013 => "Try Again Later",
        1014 => "Bad Gateway",
        3000..=3999 => "registered",
        4000..=4999 => "private",
        _ => "reserved",
    }
}
