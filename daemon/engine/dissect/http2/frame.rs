//! HTTP/2 frames without state (RFC 9113 4 and 6): headers, what may stand where, payload parts.

use crate::limits::http2::UNKNOWN_PAYLOAD;

/// What the client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// Type codes.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flag bits.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// Type code.
    pub(super) kind: u8,
    /// Flag bits.
    pub(super) flags: u8,
    /// Stream, 0 for the connection. The reserved bit is left out.
    pub(super) stream: u32,
    /// The reserved bit, which is sent as 0.
    reserved: bool,
}

impl FrameHeader {
    /// The header at the front of `bytes`; `None` when they are fewer than nine.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3, ..] = *bytes else { return None };
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            reserved: s0 & 0x80 != 0,
        })
    }

    /// Whether a flag is set.
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a frame with this header may exist. Unknown types may: they are to be ignored.
    pub(super) fn is_possible(self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            kind::DATA | kind::CONTINUATION => on_stream,
            kind::HEADERS => on_stream,
            kind::PRIORITY => on_stream && self.length == 5,
            kind::RST_STREAM => on_stream && self.length == 4,
            kind::SETTINGS => {
                !on_stream && self.length.is_multiple_of(6) && (!self.has(flag::ACK) || self.length == 0)
            }
            kind::PUSH_PROMISE => on_stream && self.length >= 4,
            kind::PING => !on_stream && self.length == 8,
            kind::GOAWAY => !on_stream && self.length >= 8,
            kind::WINDOW_UPDATE => self.length == 4,
            _ => self.length <= UNKNOWN_PAYLOAD,
        }
    }

    /// Whether bytes at an unknown place may be such a header: as above, without types that nobody
    /// sends, flags that mean nothing, and sizes that hardly exist.
    pub(super) fn is_likely(self, max_length: usize) -> bool {
        let flags = match self.kind {
            kind::DATA => flag::END_STREAM | flag::PADDED,
            kind::HEADERS => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            kind::SETTINGS | kind::PING => flag::ACK,
            kind::PUSH_PROMISE => flag::END_HEADERS | flag::PADDED,
            kind::CONTINUATION => flag::END_HEADERS,
            _ => 0,
        };
        self.kind <= kind::CONTINUATION
            && self.is_possible()
            && !self.reserved
            && self.flags & !flags == 0
            && self.length as usize <= max_length
            // Empty frames are rare but for the end of a stream, and zeros are not.
            && match self.kind {
                kind::HEADERS => self.length > 0,
                kind::DATA => self.length > 0 || self.has(flag::END_STREAM),
                _ => true,
            }
    }
}

/// What padding and priority leave of a HEADERS or PUSH_PROMISE payload; `None`: more padding than bytes.
pub(super) fn fragment(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    let (pad, rest) = if header.has(flag::PADDED) {
        let (pad, rest) = payload.split_first()?;
        (usize::from(*pad), rest)
    } else {
        (0, payload)
    };
    let fixed = match header.kind {
        kind::HEADERS if header.has(flag::PRIORITY) => 5,
        kind::PUSH_PROMISE => 4,
        _ => 0,
    };
    rest.get(fixed..rest.len().checked_sub(pad)?)
}

/// The promised stream of a PUSH_PROMISE payload.
pub(super) fn promised(header: FrameHeader, payload: &[u8]) -> Option<u32> {
    let at = usize::from(header.has(flag::PADDED));
    number(payload.get(at..)?).map(|stream| stream & 0x7fff_ffff)
}

/// The number at the front of `bytes`.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// Settings of a SETTINGS payload.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> + '_ {
    payload.chunks_exact(6).map(|six| {
        (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]))
    })
}

/// The name of an error code (RFC 9113 7).
pub(super) fn error_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).copied().unwrap_or("an unknown error")
}
