//! Puts the fragments of datagrams together.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::unwrap::Fragment;
use crate::limits::pcap::{DATAGRAMS, FRAGMENT_PATIENCE, FRAGMENTS};
use crate::model::Timestamp;

/// Largest datagram behind its headers.
const MAX_BODY: usize = 65_535;

/// A datagram of which parts are missing.
#[derive(Debug)]
struct Partial {
    since: Timestamp,
    /// Headers of the first part.
    head: Vec<u8>,
    /// By offset, without overlaps.
    parts: Vec<(usize, Bytes)>,
    /// Where the last part ends.
    end: Option<usize>,
}

/// Datagrams under way.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    partial: HashMap<Vec<u8>, Partial>,
    order: VecDeque<(Timestamp, Vec<u8>)>,
    /// Fragments of datagrams that were given up.
    lost: u64,
}

impl Fragments {
    /// Fragments that belong to no whole datagram so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost + self.partial.values().map(|partial| partial.parts.len() as u64).sum::<u64>()
    }

    /// Takes a part; the whole packet if it was the last one that was missing.
    pub(super) fn add(&mut self, at: Timestamp, fragment: Fragment) -> Option<Bytes> {
        self.make_room(at);
        let Fragment { key, head, offset, more, data } = fragment;
        let partial = self.partial.entry(key.clone()).or_insert_with(|| {
            self.order.push_back((at, key.clone()));
            Partial { since: at, head: Vec::new(), parts: Vec::new(), end: None }
        });
        if !partial.add(head, offset, more, data) {
            // It contradicts itself: RFC 5722 says that all of it is to be thrown away.
            self.give_up(&key, 1);
            return None;
        }
        if !partial.is_whole() {
            return None;
        }
        // The key stays in the order until it is the oldest, and names nothing then.
        self.partial.remove(&key).and_then(Partial::assemble)
    }

    fn give_up(&mut self, key: &[u8], more: u64) {
        self.lost += more + self.partial.remove(key).map_or(0, |partial| partial.parts.len() as u64);
    }

    fn make_room(&mut self, now: Timestamp) {
        while let Some((since, key)) = self.order.front() {
            let is_stale = self.partial.get(key).is_none_or(|partial| partial.since != *since);
            if !is_stale && self.partial.len() < DATAGRAMS && now.since(*since) < FRAGMENT_PATIENCE {
                return;
            }
            let Some((_, key)) = self.order.pop_front() else { return };
            if !is_stale {
                self.give_up(&key, 0);
            }
        }
    }
}

impl Partial {
    /// False if the part overlaps another one or does not fit.
    fn add(&mut self, head: Vec<u8>, offset: usize, more: bool, data: Bytes) -> bool {
        let end = offset + data.len();
        let misfit = more && !data.len().is_multiple_of(8) || data.is_empty() || end > MAX_BODY;
        if misfit || self.parts.len() >= FRAGMENTS {
            return false;
        }
        if !more && self.end.replace(end).is_some_and(|known| known != end) {
            return false;
        }
        if offset == 0 {
            self.head = head;
        }
        let place = self.parts.partition_point(|(start, _)| *start < offset);
        let known = self.parts.get(place);
        if known.is_some_and(|(start, part)| *start == offset && *part == data) {
            // The same again: seen at two interfaces.
            return true;
        }
        let before = place.checked_sub(1).and_then(|place| self.parts.get(place));
        let overlaps = known.is_some_and(|(start, _)| end > *start)
            || before.is_some_and(|(start, part)| start + part.len() > offset);
        if overlaps {
            return false;
        }
        self.parts.insert(place, (offset, data));
        true
    }

    fn is_whole(&self) -> bool {
        let Some(end) = self.end else { return false };
        let mut next = 0;
        for (start, part) in &self.parts {
            if *start != next {
                return false;
            }
            next += part.len();
        }
        next == end
    }

    /// One packet with the first part's headers and no trace of fragmentation.
    fn assemble(self) -> Option<Bytes> {
        let mut packet = self.head;
        let header = packet.len();
        self.parts.iter().for_each(|(_, part)| packet.extend_from_slice(part));
        if packet.first()? >> 4 == 4 {
            let total = u16::try_from(packet.len()).unwrap_or(0);
            packet.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
            packet.get_mut(6..8)?.fill(0);
        } else {
            let payload = u16::try_from(packet.len().checked_sub(40)?).unwrap_or(0);
            packet.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
        }
        (header > 0).then(|| packet.into())
    }
}
