//! One direction of a connection's plaintext, put together from what both ends' libraries show.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::limits;
use crate::model::{DropReason, Timestamp};

/// Bytes before the current position that are kept to recognise plaintext which is not of this stream.
const TAIL: usize = 32;

/// Whose positions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Counted from the first byte of the direction: both ends' positions are the same.
    Start,
    /// Counted from where this vantage's probes joined: the other end's positions cannot be compared.
    Joined(u8),
}

/// A piece of plaintext and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) vantage: u8,
    pub(super) offset: u64,
    pub(super) from_start: bool,
    pub(super) data: Bytes,
    pub(super) at: Timestamp,
}

/// What a lane hands out, in order.
#[derive(Debug)]
pub(super) enum Ready {
    Data(Bytes, Timestamp),
    Gap(u64, DropReason, Timestamp),
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Handed out, or kept behind a hole.
    Used,
    /// Known already from the other end.
    Known,
    /// It contradicts what the other end showed at the same place.
    Foreign,
}

/// One direction. Invariant: every position from the first one on is handed out once, as data or as part
/// of a gap, in order.
#[derive(Debug, Default)]
pub(super) struct Lane {
    origin: Option<Origin>,
    /// Position of the next byte.
    next: u64,
    /// The last bytes handed out, at most [`TAIL`].
    tail: Vec<u8>,
    /// What lies behind a hole, by its position.
    waiting: BTreeMap<u64, (Bytes, Timestamp)>,
    waiting_bytes: usize,
    hole_since: Option<Timestamp>,
}

impl Lane {
    /// Bytes that lie behind a hole.
    pub(super) fn waiting(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether positions are counted from the first byte.
    pub(super) fn is_from_start(&self) -> bool {
        self.origin == Some(Origin::Start)
    }

    /// Whether nothing was taken.
    pub(super) fn is_new(&self) -> bool {
        self.origin.is_none()
    }

    /// The end whose positions alone count, if probes joined after the first byte.
    pub(super) fn joined(&self) -> Option<u8> {
        match self.origin {
            Some(Origin::Joined(vantage)) => Some(vantage),
            _ => None,
        }
    }

    /// Takes a piece. `fillable`: the other end may still show what is missing before it.
    pub(super) fn take(&mut self, piece: Piece, fillable: bool, out: &mut Vec<Ready>) -> Taken {
        let origin = *self.origin.get_or_insert_with(|| {
            if piece.from_start {
                Origin::Start
            } else {
                self.next = piece.offset;
                Origin::Joined(piece.vantage)
            }
        });
        let counts = match origin {
            Origin::Start => piece.from_start,
            Origin::Joined(vantage) => vantage == piece.vantage,
        };
        if !counts {
            return Taken::Known;
        }
        if self.contradicts(&piece) {
            return Taken::Foreign;
        }
        let end = piece.offset.saturating_add(piece.data.len() as u64);
        if end <= self.next {
            return Taken::Known;
        }
        if piece.offset <= self.next {
            self.deliver(piece.offset, piece.data, piece.at, out);
            self.drain(out);
        } else {
            let at = piece.at;
            self.keep(piece);
            let full = self.waiting_bytes > limits::tls::OUT_OF_ORDER
                || self.waiting.len() > limits::tls::OUT_OF_ORDER_CHUNKS;
            if !fillable || origin != Origin::Start || full {
                self.skip_hole(at, out);
            } else {
                self.hole_since.get_or_insert(at);
            }
        }
        Taken::Used
    }

    /// Goes on behind a hole that nobody filled in time.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Vec<Ready>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.skip_hole(now, out);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        const PATIENCE: Duration = limits::tls::HOLE_PATIENCE;
        self.hole_since.map(|since| since.plus(PATIENCE))
    }

    /// Hands out everything: nothing more will come.
    pub(super) fn finish(&mut self, at: Timestamp, out: &mut Vec<Ready>) {
        while !self.waiting.is_empty() {
            self.skip_hole(at, out);
        }
    }

    fn keep(&mut self, piece: Piece) {
        let len = piece.data.len();
        let shorter = self.waiting.get(&piece.offset).is_none_or(|(known, _)| known.len() < len);
        if shorter {
            // A copy of its own: the bytes may be a small part of a block that would stay alive with them.
            let data = Bytes::copy_from_slice(&piece.data);
            let replaced = self.waiting.insert(piece.offset, (data, piece.at));
            self.waiting_bytes += len;
            self.waiting_bytes -= replaced.map_or(0, |(known, _)| known.len());
        }
    }

    /// Declares what is missing before the first piece that waits, and hands that out.
    fn skip_hole(&mut self, at: Timestamp, out: &mut Vec<Ready>) {
        if let Some((first, _)) = self.waiting.first_key_value()
            && *first > self.next
        {
            out.push(Ready::Gap(first - self.next, DropReason::TlsHole, at));
            self.next = *first;
            self.tail.clear();
        }
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Vec<Ready>) {
        while let Some(first) = self.waiting.first_entry()
            && *first.key() <= self.next
        {
            let (offset, (data, at)) = first.remove_entry();
            self.waiting_bytes -= data.len();
            if offset.saturating_add(data.len() as u64) > self.next {
                self.deliver(offset, data, at, out);
            }
        }
        self.hole_since = match (self.waiting.first_key_value(), self.hole_since) {
            (None, _) => None,
            (Some((_, (_, at))), _) => Some(*at),
        };
    }

    /// Hands out what of `data`, which lies at `offset`, is new.
    fn deliver(&mut self, offset: u64, data: Bytes, at: Timestamp, out: &mut Vec<Ready>) {
        // The caller made sure that `offset <= next < offset + len`.
        let known = usize::try_from(self.next - offset).unwrap_or(data.len()).min(data.len());
        let fresh = data.slice(known..);
        self.next += fresh.len() as u64;
        self.remember(&fresh);
        out.push(Ready::Data(fresh, at));
    }

    fn remember(&mut self, fresh: &[u8]) {
        let last = fresh.get(fresh.len().saturating_sub(TAIL)..).unwrap_or(fresh);
        let keep = TAIL - last.len();
        let gone = self.tail.len().saturating_sub(keep);
        self.tail.drain(..gone);
        self.tail.extend_from_slice(last);
    }

    /// Whether a piece differs from the last bytes handed out where it overlaps them.
    fn contradicts(&self, piece: &Piece) -> bool {
        let tail_start = self.next - self.tail.len() as u64;
        let from = piece.offset.max(tail_start);
        let to = piece.offset.saturating_add(piece.data.len() as u64).min(self.next);
        if from >= to {
            return false;
        }
        // Both ranges lie inside: `tail_start <= from < to <= next`, `offset <= from`, `to <= offset + len`.
        let known = self.tail.get((from - tail_start) as usize..(to - tail_start) as usize);
        let shown = piece.data.get((from - piece.offset) as usize..(to - piece.offset) as usize);
        known != shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::ms;

    fn piece(vantage: u8, offset: u64, text: &str) -> Piece {
        let data = Bytes::copy_from_slice(text.as_bytes());
        Piece { vantage, offset, from_start: true, data, at: ms(offset) }
    }

    fn text(ready: &[Ready]) -> String {
        let show = |ready: &Ready| match ready {
            Ready::Data(data, _) => String::from_utf8_lossy(data).into_owned(),
            Ready::Gap(len, _, _) => format!("[{len}]"),
        };
        ready.iter().map(show).collect()
    }

    fn take(lane: &mut Lane, piece: Piece, fillable: bool) -> (Taken, String) {
        let mut out = Vec::new();
        (lane.take(piece, fillable, &mut out), text(&out))
    }

    #[test]
    fn the_same_bytes_from_the_other_end_are_known() {
        let mut lane = Lane::default();
        assert_eq!(take(&mut lane, piece(0, 0, "hello "), true), (Taken::Used, "hello ".into()));
        assert_eq!(take(&mut lane, piece(1, 0, "hel"), true), (Taken::Known, String::new()));
        assert_eq!(take(&mut lane, piece(1, 3, "lo world"), true), (Taken::Used, "world".into()));
        assert_eq!(take(&mut lane, piece(0, 6, "world"), true), (Taken::Known, String::new()));
    }

    #[test]
    fn the_other_end_fills_a_hole() {
        let mut lane = Lane::default();
        take(&mut lane, piece(0, 0, "a"), true);
        assert_eq!(take(&mut lane, piece(0, 3, "d"), true), (Taken::Used, String::new()));
        assert_eq!(lane.deadline(), Some(ms(203)));
        assert_eq!(take(&mut lane, piece(1, 0, "abc"), true), (Taken::Used, "bcd".into()));
        assert_eq!(lane.deadline(), None);
    }

    #[test]
    fn a_hole_that_nobody_can_fill_is_a_gap_at_once() {
        let mut lane = Lane::default();
        take(&mut lane, piece(0, 0, "a"), false);
        assert_eq!(take(&mut lane, piece(0, 3, "d"), false), (Taken::Used, "[2]d".into()));
        assert_eq!(take(&mut lane, piece(1, 0, "abc"), false).0, Taken::Known);
    }

    #[test]
    fn a_hole_that_nobody_fills_in_time_is_a_gap() {
        let mut lane = Lane::default();
        take(&mut lane, piece(0, 2, "c"), true);
        let mut out = Vec::new();
        lane.expire(ms(201), &mut out);
        assert!(out.is_empty());
        lane.expire(ms(202), &mut out);
        assert_eq!(text(&out), "[2]c");
    }

    #[test]
    fn plaintext_of_another_stream_is_noticed() {
        let mut lane = Lane::default();
        take(&mut lane, piece(0, 0, "GET /mine"), true);
        assert_eq!(take(&mut lane, piece(1, 0, "GET /yours HTTP"), true), (Taken::Foreign, String::new()));
        assert_eq!(take(&mut lane, piece(0, 9, " HTTP"), true), (Taken::Used, " HTTP".into()));
    }

    #[test]
    fn where_probes_joined_late_one_end_counts() {
        let mut lane = Lane::default();
        let late = |vantage, offset, text| Piece { from_start: false, ..piece(vantage, offset, text) };
        assert_eq!(take(&mut lane, late(1, 7, "ab"), true), (Taken::Used, "ab".into()));
        assert_eq!(take(&mut lane, late(0, 0, "ab"), true).0, Taken::Known);
        assert_eq!(take(&mut lane, late(1, 10, "d"), true), (Taken::Used, "[1]d".into()));
        assert!(!lane.is_from_start());
    }

    proptest! {
        #[test]
        fn two_lossy_ends_give_the_stream_once(
            cuts in proptest::collection::vec((1..9_usize, any::<bool>(), any::<bool>()), 1..60),
            order in proptest::collection::vec(any::<bool>(), 120),
        ) {
            let len: usize = cuts.iter().map(|(len, _, _)| len).sum();
            let stream: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            let mut ends: [Vec<Piece>; 2] = [Vec::new(), Vec::new()];
            let mut missing = vec![true; len];
            let mut at = 0;
            for (len, client, server) in &cuts {
                for (vantage, shown) in [(0, *client), (1, *server)] {
                    if shown {
                        let data = Bytes::copy_from_slice(&stream[at..at + len]);
                        ends[vantage].push(Piece { vantage: vantage as u8, offset: at as u64, from_start: true, data, at: ms(1) });
                        missing[at..at + len].fill(false);
                    }
                }
                at += len;
            }
            for end in &mut ends {
                end.reverse();
            }
            let mut lane = Lane::default();
            let mut out = Vec::new();
            for side in order.into_iter().chain([true, false].repeat(60)) {
                if let Some(piece) = ends[usize::from(side)].pop() {
                    prop_assert_ne!(lane.take(piece, true, &mut out), Taken::Foreign);
                }
            }
            lane.finish(ms(9), &mut out);
            let mut position = 0;
            for ready in out {
                match ready {
                    Ready::Data(data, _) => {
                        prop_assert_eq!(&data[..], &stream[position..position + data.len()]);
                        position += data.len();
                    }
                    Ready::Gap(gap, _, _) => {
                        prop_assert!(missing[position..position + gap as usize].iter().all(|missing| *missing));
                        position += gap as usize;
                    }
                }
            }
            prop_assert!(missing[position..].iter().all(|missing| *missing));
        }
    }
}
