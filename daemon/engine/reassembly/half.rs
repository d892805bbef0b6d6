//! One direction of a TCP connection: what was handed out, what waits behind a hole.

use std::collections::VecDeque;

use super::{Segment, StreamSink};
use crate::limits::Limits;
use crate::model::{Direction, DropReason, Timestamp};
use crate::wire::SeqNumber;

/// Positions further ahead than the largest window of TCP (RFC 7323: 1 GiB) are not of this stream.
const MAX_JUMP: i32 = 1 << 30;

/// Where a direction stands.
///
/// ```text
///  Unseen --SYN, or the peer's SYN-ACK, or first payload (mid-stream)--> Open
///  Open   --FIN reached in order--> Ended
///  Open   --segment ahead of `next`--> Open with a hole
///            hole --filled, or patience over (gap), or buffer full (gap)--> Open
///  any    --RST, close: buffered data and gaps are handed out--> Ended
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No position is known yet.
    #[default]
    Unseen,
    /// `next` is the first position that was not handed out.
    Open,
    /// Nothing more is handed out.
    Ended,
}

/// Bytes that wait behind a hole. Pieces never overlap and never touch `next`.
#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    bytes: Box<[u8]>,
    at: Timestamp,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq + self.bytes.len() as u32
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    state: State,
    next: SeqNumber,
    /// Furthest position known to have existed: of data, of cut-off tails, of acknowledged bytes.
    end: SeqNumber,
    fin: Option<SeqNumber>,
    pieces: VecDeque<Piece>,
    piece_bytes: usize,
    /// Since when the hole at `next` waits without progress. Set exactly while `end` is beyond `next`.
    hole_since: Option<Timestamp>,
    /// Furthest acknowledged position beyond `next` and when it was first beyond.
    acked: Option<(SeqNumber, Timestamp)>,
}

impl Half {
    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) const fn has_hole(&self) -> bool {
        self.hole_since.is_some()
    }

    pub(super) const fn buffered(&self) -> usize {
        self.piece_bytes
    }

    /// The first position not handed out, once known.
    pub(super) fn position(&self) -> Option<SeqNumber> {
        (self.state != State::Unseen).then_some(self.next)
    }

    /// Sets the start; a start that is known stays (a SYN inside a stream is a stray or an attack).
    pub(super) fn open(&mut self, first: SeqNumber) {
        if self.state == State::Unseen {
            self.state = State::Open;
            self.next = first;
            self.end = first;
        }
    }

    /// Takes payload whose first byte stands at `seq`.
    pub(super) fn payload<S: StreamSink>(
        &mut self,
        direction: Direction,
        seq: SeqNumber,
        segment: &Segment<'_>,
        limits: &Limits,
        out: &mut S,
    ) {
        if segment.len_on_wire == 0 {
            return;
        }
        self.open(seq);
        let ahead = seq.distance(self.next);
        let wire_end = seq + segment.len_on_wire;
        if self.state == State::Ended || ahead > MAX_JUMP || !wire_end.after(self.next) {
            return;
        }
        // The common case: in order, whole, nothing waiting.
        if ahead == 0 && self.hole_since.is_none() && segment.payload.len() as u32 == segment.len_on_wire {
            self.next = wire_end;
            self.end = wire_end;
            out.data(direction, segment.payload, segment.at);
            return;
        }
        let before = self.next;
        self.end = self.end.max(wire_end);
        self.place(direction, seq, segment.payload, segment.at, limits, out);
        self.settle(direction, before, segment.at, out);
    }

    /// Notes that the direction ends at `at_seq`.
    pub(super) fn fin<S: StreamSink>(
        &mut self,
        direction: Direction,
        at_seq: SeqNumber,
        at: Timestamp,
        out: &mut S,
    ) {
        self.open(at_seq);
        if self.state == State::Ended || at_seq.distance(self.next) > MAX_JUMP {
            return;
        }
        self.fin.get_or_insert(at_seq);
        self.end = self.end.max(at_seq);
        self.settle(direction, self.next, at, out);
    }

    /// Everything before `ack` was sent, and nobody will send it again: the receiver has it, or the sender's
    /// own socket went on behind it.
    pub(super) fn acknowledge(&mut self, ack: SeqNumber, at: Timestamp) {
        if self.state != State::Open || !ack.after(self.next) || ack.distance(self.next) > MAX_JUMP {
            return;
        }
        // The FIN takes a position but is no byte.
        let ack = if self.fin.is_some_and(|fin| ack.after(fin)) { ack - 1 } else { ack };
        if ack.after(self.end) {
            self.end = ack;
        }
        if self.end.after(self.next) {
            self.hole_since.get_or_insert(at);
            let since = self.acked.map_or(at, |(_, since)| since);
            self.acked = Some((self.acked.map_or(ack, |(position, _)| position.max(ack)), since));
        }
    }

    /// When the hole at `next` is given up.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let patience = self.hole_since?.plus(limits.hole_patience);
        let acked = self.acked.map(|(_, since)| since.plus(limits.acked_hole_patience));
        Some(acked.map_or(patience, |acked| acked.min(patience)))
    }

    /// Gives up every hole that is overdue at `now`.
    pub(super) fn advance<S: StreamSink>(
        &mut self,
        direction: Direction,
        now: Timestamp,
        limits: &Limits,
        out: &mut S,
    ) {
        while let Some(since) = self.hole_since {
            let target = self.hole_end();
            let target = if since.plus(limits.hole_patience) <= now {
                target
            } else {
                match self.acked {
                    Some((acked, since)) if since.plus(limits.acked_hole_patience) <= now => {
                        if acked.before(target) { acked } else { target }
                    }
                    _ => return,
                }
            };
            self.give_up(direction, target, DropReason::SequenceHole, now, out);
        }
    }

    /// Hands out everything, with a gap for each hole, and ends.
    pub(super) fn flush<S: StreamSink>(&mut self, direction: Direction, at: Timestamp, out: &mut S) {
        while self.state == State::Open && self.end.after(self.next) {
            self.give_up(direction, self.hole_end(), DropReason::SequenceHole, at, out);
        }
        self.state = State::Ended;
        self.hole_since = None;
    }

    /// Where the hole at `next` ends as far as is known.
    fn hole_end(&self) -> SeqNumber {
        self.pieces.front().map_or(self.end, |piece| piece.seq)
    }

    /// Declares a gap up to `target` and hands out what follows it.
    fn give_up<S: StreamSink>(
        &mut self,
        direction: Direction,
        target: SeqNumber,
        reason: DropReason,
        at: Timestamp,
        out: &mut S,
    ) {
        let len = target.distance(self.next);
        if len > 0 {
            out.gap(direction, len as u64, reason, at);
            self.next = target;
        }
        let since = self.pieces.front().map(|piece| piece.at);
        self.drain(direction, out);
        self.settle(direction, self.next, since.unwrap_or(at), out);
        if self.hole_since.is_some() {
            // The next hole waits since the data behind it came, not since now.
            self.hole_since = self.pieces.front().map(|piece| piece.at).or(since).or(Some(at));
        }
    }

    /// Hands out or buffers `bytes` at `seq`. Bytes that were there first win over later ones.
    fn place<S: StreamSink>(
        &mut self,
        direction: Direction,
        seq: SeqNumber,
        bytes: &[u8],
        at: Timestamp,
        limits: &Limits,
        out: &mut S,
    ) {
        let end = seq + bytes.len() as u32;
        // Makes room first: giving up a hole moves `next`, maybe into or past these bytes.
        while seq.after(self.next) && self.is_full(bytes.len(), limits) {
            let target = if self.pieces.is_empty() { seq } else { self.hole_end() };
            let target = if target.before(seq) { target } else { seq };
            self.give_up(direction, target, DropReason::ReassemblyLimit, at, out);
            if self.state != State::Open {
                return;
            }
        }
        if seq.after(self.next) {
            self.buffer(seq, bytes, at);
            return;
        }
        while end.after(self.next) {
            let stop =
                self.pieces.front().map_or(end, |piece| if piece.seq.before(end) { piece.seq } else { end });
            let from = self.next.distance(seq) as usize;
            let to = stop.distance(seq) as usize;
            // `seq <= next < stop <= end`: pieces lie strictly behind `next`.
            out.data(direction, bytes.get(from..to).unwrap_or_default(), at);
            self.next = stop;
            self.drain(direction, out);
        }
    }

    fn is_full(&self, more: usize, limits: &Limits) -> bool {
        // One segment can fall apart into one piece more than there are pieces already; counting it
        // as one keeps the bound within a factor of two.
        self.piece_bytes + more > limits.max_out_of_order
            || self.pieces.len() >= limits.max_out_of_order_segments
    }

    /// Buffers the parts of `bytes` that no piece covers yet.
    fn buffer(&mut self, seq: SeqNumber, bytes: &[u8], at: Timestamp) {
        let end = seq + bytes.len() as u32;
        let mut index = self.pieces.partition_point(|piece| !piece.end().after(seq));
        let mut cursor = seq;
        while cursor.before(end) {
            let piece = self.pieces.get(index).map(|piece| (piece.seq, piece.end()));
            let stop = match piece {
                Some((piece_seq, piece_end)) if !piece_seq.after(cursor) => {
                    cursor = cursor.max(piece_end);
                    index += 1;
                    continue;
                }
                Some((piece_seq, _)) if piece_seq.before(end) => piece_seq,
                _ => end,
            };
            let range = cursor.distance(seq) as usize..stop.distance(seq) as usize;
            let fresh: Box<[u8]> = bytes.get(range).unwrap_or_default().into();
            self.piece_bytes += fresh.len();
            self.pieces.insert(index, Piece { seq: cursor, bytes: fresh, at });
            index += 1;
            cursor = stop;
        }
    }

    /// Hands out the pieces that `next` has reached.
    fn drain<S: StreamSink>(&mut self, direction: Direction, out: &mut S) {
        while self.pieces.front().is_some_and(|piece| !piece.seq.after(self.next)) {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.piece_bytes -= piece.bytes.len();
            let skip = self.next.distance(piece.seq) as usize;
            if let Some(fresh) = piece.bytes.get(skip..).filter(|fresh| !fresh.is_empty()) {
                out.data(direction, fresh, piece.at);
                self.next = piece.end();
            }
        }
    }

    /// Updates hole and end after `next` may have moved from `before`.
    fn settle<S: StreamSink>(&mut self, direction: Direction, before: SeqNumber, at: Timestamp, out: &mut S) {
        if self.acked.is_some_and(|(acked, _)| !acked.after(self.next)) {
            self.acked = None;
        }
        if self.end.after(self.next) {
            let moved = self.next != before;
            self.hole_since = if moved { Some(at) } else { self.hole_since.or(Some(at)) };
        } else {
            self.hole_since = None;
        }
        if self.state == State::Open && self.fin.is_some_and(|fin| !fin.after(self.next)) {
            self.state = State::Ended;
            self.hole_since = None;
            self.pieces = VecDeque::new();
            self.piece_bytes = 0;
            out.fin(direction, at);
        }
    }
}
