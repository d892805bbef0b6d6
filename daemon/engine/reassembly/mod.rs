//! Turns TCP segments into ordered bytes and declared gaps, per direction.
//!
//! Segments come from both vantages of a connection in any order and any number of copies; whichever
//! copy comes first is used. Invariant: every byte position from the first one on is handed out
//! exactly once, either as data or as part of a gap, in order, until the direction ends.

mod half;

use crate::limits::Limits;
use crate::model::{Direction, DropReason, Timestamp};
use crate::wire::{SeqNumber, TcpFlags, TcpHeader};

use half::Half;

/// A reset is believed only when its position lies this close to where the stream stands; more than
/// any receive window that Linux uses by default, little enough to make blind resets unlikely.
const RESET_WINDOW: u32 = 16 << 20;

/// Takes what reassembly hands out.
pub trait StreamSink {
    /// Bytes in order; `at` is the record that delivered them.
    fn data(&mut self, direction: Direction, bytes: &[u8], at: Timestamp);
    /// `len` bytes will never come.
    fn gap(&mut self, direction: Direction, len: u64, reason: DropReason, at: Timestamp);
    /// The direction ended in order.
    fn fin(&mut self, direction: Direction, at: Timestamp);
}

/// One TCP segment, from either vantage.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its header.
    pub header: &'a TcpHeader,
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload bytes on the wire; more than `payload` when the capture was cut.
    pub len_on_wire: u32,
    /// When it was seen.
    pub at: Timestamp,
    /// The sender's own socket showed it: all bytes before it were sent.
    pub sent_here: bool,
    /// Its acknowledgement is believed.
    pub ack_counts: bool,
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Reassembler {
    halves: [Half; 2],
    reset: Option<Direction>,
}

impl Reassembler {
    /// Takes one segment that travels in `direction`.
    pub fn segment<S: StreamSink>(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        limits: &Limits,
        out: &mut S,
    ) {
        if self.reset.is_some() {
            return;
        }
        let header = segment.header;
        if header.flags.has(TcpFlags::RST) {
            self.take_reset(direction, segment, out);
            return;
        }
        let mut first_byte = header.seq;
        if header.flags.has(TcpFlags::SYN) {
            first_byte = header.seq + 1;
            self.half(direction).open(first_byte);
            if header.flags.accepts() {
                self.half(direction.flipped()).open(header.ack);
            }
        }
        self.half(direction).payload(direction, first_byte, segment, limits, out);
        if header.flags.has(TcpFlags::FIN) {
            self.half(direction).fin(direction, first_byte + segment.len_on_wire, segment.at, out);
        }
        if segment.sent_here {
            self.half(direction).acknowledge(first_byte, segment.at);
        }
        if let Some(ack) = header.acknowledged().filter(|_| segment.ack_counts) {
            self.half(direction.flipped()).acknowledge(ack, segment.at);
        }
        // A hole may be overdue by the time of the records while nobody calls `advance`.
        if self.has_holes() {
            self.advance(segment.at, limits, out);
        }
    }

    /// Declares the holes whose patience is over at `now`.
    pub fn advance<S: StreamSink>(&mut self, now: Timestamp, limits: &Limits, out: &mut S) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.half(direction).advance(direction, now, limits, out);
        }
    }

    /// When `advance` has something to do at the earliest.
    pub fn next_deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let [one, other] = &self.halves;
        match (one.deadline(limits), other.deadline(limits)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The connection is over: hands out what is buffered, with a gap for each hole.
    pub fn close<S: StreamSink>(&mut self, at: Timestamp, out: &mut S) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.half(direction).flush(direction, at, out);
        }
    }

    /// The direction in which a believed reset travelled.
    pub const fn reset(&self) -> Option<Direction> {
        self.reset
    }

    /// Whether both directions have ended, in order or by reset.
    pub fn is_ended(&self) -> bool {
        self.halves.iter().all(Half::is_ended)
    }

    /// Whether this direction has ended.
    pub fn has_ended(&self, direction: Direction) -> bool {
        let [to_server, to_client] = &self.halves;
        match direction {
            Direction::ToServer => to_server.is_ended(),
            Direction::ToClient => to_client.is_ended(),
        }
    }

    /// Bytes buffered out of order.
    pub fn buffered(&self) -> usize {
        self.halves.iter().map(Half::buffered).sum()
    }

    fn has_holes(&self) -> bool {
        self.halves.iter().any(Half::has_hole)
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        let [to_server, to_client] = &mut self.halves;
        match direction {
            Direction::ToServer => to_server,
            Direction::ToClient => to_client,
        }
    }

    fn take_reset<S: StreamSink>(&mut self, direction: Direction, segment: &Segment<'_>, out: &mut S) {
        let seq: SeqNumber = segment.header.seq;
        if self
            .half(direction)
            .position()
            .is_some_and(|next| seq.distance(next).unsigned_abs() > RESET_WINDOW)
        {
            return;
        }
        self.reset = Some(direction);
        self.close(segment.at, out);
    }
}

#[cfg(test)]
mod tests;
