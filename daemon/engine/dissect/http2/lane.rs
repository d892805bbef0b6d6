//! Where one direction stands: before its preface, at a frame, in one, or searching for the next.

use super::block::Block;
use super::frame::{FrameHeader, PREFACE, flag, kind};
use super::hpack::Decoder;
use crate::limits::{self, Limits};
use crate::model::{Direction, Timestamp};

/// What the next byte is part of.
#[derive(Debug)]
pub(super) enum State {
    /// The client's preface.
    Preface,
    /// A frame's header.
    Header,
    /// A frame's payload.
    Payload(Frame),
    /// Nothing known: searching for the start of a frame.
    Resync,
    /// The direction ended.
    Ended,
}

/// A frame that is coming in.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    /// Payload bytes that passed.
    pub(super) taken: u32,
    /// Bytes of padding at the end of a DATA payload.
    pub(super) padding: u32,
    /// First byte of the frame.
    pub(super) start: Timestamp,
    /// The payload of any other frame, as far as it is wanted.
    pub(super) payload: Vec<u8>,
    /// Bytes of the payload are missing or were left out.
    pub(super) cut: bool,
    /// Bytes of the payload that never came.
    pub(super) missing: u64,
}

/// One direction's parsing state.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    pub(super) decoder: Decoder,
    /// The header block that is coming in.
    pub(super) block: Option<Block>,
    /// When the first byte of the frame's header came.
    pub(super) since: Option<Timestamp>,
    /// Bytes searched without finding a frame.
    pub(super) searched: usize,
}

impl Lane {
    /// A lane at the start of a connection, or somewhere in it.
    pub(super) fn new(direction: Direction, from_start: bool) -> Self {
        let state = match (from_start, direction) {
            (false, _) => State::Resync,
            (true, Direction::ToServer) => State::Preface,
            (true, Direction::ToClient) => State::Header,
        };
        Self { state, decoder: Decoder::new(!from_start), block: None, since: None, searched: 0 }
    }

    /// Searches for the next frame; header blocks may have been missed.
    pub(super) fn resync(&mut self) {
        self.state = State::Resync;
        self.since = None;
        self.block = None;
        self.decoder.lose();
    }

    /// Whether `bytes` are the preface; `None`: they may become it.
    pub(super) fn is_preface(bytes: &[u8]) -> Option<bool> {
        let common = bytes.len().min(PREFACE.len());
        match bytes[..common] == PREFACE[..common] {
            true if common == PREFACE.len() => Some(true),
            true => None,
            false => Some(false),
        }
    }
}

impl Frame {
    pub(super) fn new(header: FrameHeader, start: Timestamp) -> Self {
        Self { header, taken: 0, padding: 0, start, payload: Vec::new(), cut: false, missing: 0 }
    }

    /// Payload bytes that have not passed.
    pub(super) fn left(&self) -> u32 {
        self.header.length - self.taken
    }

    /// Takes payload bytes of a DATA frame; answers those that are data.
    pub(super) fn take_data<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut data = bytes;
        if let (true, 0, [padding, rest @ ..]) = (self.header.has(flag::PADDED), self.taken, bytes) {
            self.padding = u32::from(*padding);
            data = rest;
        }
        let position = self.taken as usize + bytes.len() - data.len();
        self.taken += bytes.len() as u32;
        let end = self.header.length.saturating_sub(self.padding) as usize;
        &data[..data.len().min(end.saturating_sub(position))]
    }

    /// Takes payload bytes of any other frame.
    pub(super) fn take(&mut self, bytes: &[u8], limits: &Limits) {
        self.taken += bytes.len() as u32;
        let wanted = match self.header.kind {
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => limits.max_head,
            _ => limits::http2::CONTROL_PAYLOAD,
        };
        let kept = wanted.saturating_sub(self.payload.len()).min(bytes.len());
        self.payload.extend_from_slice(&bytes[..kept]);
        self.cut |= kept < bytes.len();
    }
}
