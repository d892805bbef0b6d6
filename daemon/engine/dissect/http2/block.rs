//! A header block from its first frame to its last: fragments together, then headers.

use compact_str::CompactString;

use super::frame::{self, FrameHeader, flag, kind};
use super::hpack::{Decoder, Field};
use super::lane::Frame;
use crate::limits::Limits;
use crate::model::Timestamp;

/// A header block that is coming in.
#[derive(Debug)]
pub(super) struct Block {
    /// The stream it came on.
    pub(super) stream: u32,
    /// The stream that it promises (PUSH_PROMISE).
    pub(super) promised: Option<u32>,
    /// It is the last of its direction.
    pub(super) end_stream: bool,
    /// First byte of its first frame.
    pub(super) start: Timestamp,
    /// Bytes of its frames, their headers included.
    pub(super) wire: u64,
    bytes: Vec<u8>,
    /// Bytes of it that never came.
    missing: u64,
    too_long: bool,
    malformed: bool,
}

/// The headers of a block.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Names and values in order, those of the pseudo headers included.
    pub(super) list: Vec<(CompactString, CompactString)>,
    /// Bytes of the block.
    pub(super) size: usize,
    /// Bytes of names and values.
    pub(super) text: usize,
    /// How many are placeholders.
    pub(super) unknown: u64,
    /// Bytes of the block that never came.
    pub(super) missing: u64,
    /// The block is not what it should be; `list` has what could be read.
    pub(super) malformed: bool,
    /// A limit that left headers out.
    pub(super) limit: Option<&'static str>,
}

impl Block {
    /// A block that begins with a HEADERS or PUSH_PROMISE frame.
    pub(super) fn new(header: FrameHeader, payload: &[u8], start: Timestamp) -> Self {
        let promise = header.kind == kind::PUSH_PROMISE;
        Self {
            stream: header.stream,
            promised: if promise { frame::promised(header, payload) } else { None },
            end_stream: !promise && header.has(flag::END_STREAM),
            start,
            wire: 0,
            bytes: Vec::new(),
            missing: 0,
            too_long: false,
            malformed: false,
        }
    }

    /// Takes one frame of the block.
    pub(super) fn push(&mut self, frame: &Frame, limits: &Limits) {
        let header = frame.header;
        self.wire += u64::from(header.length) + frame::HEADER as u64;
        self.missing += frame.missing;
        let continued = header.kind == kind::CONTINUATION;
        let part = if continued { Some(&frame.payload[..]) } else { frame::fragment(header, &frame.payload) };
        let whole = !frame.cut && self.missing == 0;
        match part {
            _ if self.missing > 0 => {}
            Some(part) if whole && self.bytes.len() + part.len() <= limits.max_head => {
                self.bytes.extend_from_slice(part);
            }
            Some(_) => self.too_long = true,
            None => self.malformed = true,
        }
    }

    /// The headers. What is broken is decoded as far as it goes, and the table is lost with the rest.
    pub(super) fn decode(&self, decoder: &mut Decoder, limits: &Limits) -> Headers {
        let mut headers = Headers { size: self.bytes.len(), ..Headers::default() };
        let mut add = |field: Field<'_>| headers.add(field, limits);
        let done = decoder.block(&self.bytes, limits.max_header_table, &mut add);
        // A block that was cut somewhere ends in the middle of a header.
        let cut = self.missing > 0 || self.too_long;
        headers.malformed = self.malformed || done.is_err() && !cut;
        headers.missing = self.missing;
        if self.too_long {
            headers.limit = Some("max_head");
        }
        if cut || self.malformed {
            decoder.lose();
        }
        headers
    }
}

impl Headers {
    fn add(&mut self, field: Field<'_>, limits: &Limits) {
        self.unknown += u64::from(field.unknown);
        let text = self.text + field.name.len() + field.value.len();
        if self.list.len() >= limits.max_headers {
            self.limit = Some("max_headers");
        } else if text > limits.max_head {
            self.limit = Some("max_head");
        } else {
            self.text = text;
            self.list.push((field.name.into(), field.value.into()));
        }
    }

    /// The value of a header by its exact name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response's head; 0 when it has none or it is a placeholder.
    pub(super) fn status(&self) -> u16 {
        self.get(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Whether this is the head of a message and not its trailers: trailers have no pseudo headers. Where
    /// some names are unknown, one of them may have been one.
    pub(super) fn is_head(&self) -> bool {
        self.unknown > 0 || self.list.iter().any(|(name, _)| name.starts_with(':'))
    }
}
