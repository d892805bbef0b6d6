//! One direction's bytes that a session keeps, and what is queued behind them in order and with its times.

use std::collections::VecDeque;

use super::Input;
use crate::model::Timestamp;

/// Queued pieces that keep a time of their own; further pieces are joined with the one before.
const MAX_TIMED_ITEMS: usize = 64;

/// One direction: `data[start..seen]` was offered and left, `data[seen..]` belongs to `items`.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) data: Vec<u8>,
    pub(super) start: usize,
    pub(super) seen: usize,
    pub(super) seen_at: Timestamp,
    pub(super) items: VecDeque<Item>,
    /// Bytes that must be there before the dissector is asked again.
    pub(super) need: usize,
    pub(super) waiting: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) order: u64,
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bytes(usize),
    Gap(u64),
    Eof,
}

impl Lane {
    pub(super) fn left(&self) -> usize {
        self.seen - self.start
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.data[self.start..self.seen]
    }

    pub(super) fn is_idle(&self) -> bool {
        self.items.is_empty() && !self.waiting
    }

    /// Takes `count` bytes from the front; moves the rest down once that is cheaper than what was taken.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.seen);
        if self.start == self.data.len() {
            self.data.clear();
            self.start = 0;
            self.seen = 0;
        } else if self.start >= 4096 && self.start * 2 >= self.data.len() {
            self.data.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
    }

    pub(super) fn queue(&mut self, order: u64, input: Input<'_>, at: Timestamp) {
        let crowded = self.items.len() >= MAX_TIMED_ITEMS;
        let kind = match input {
            Input::Bytes(bytes) => {
                self.data.extend_from_slice(bytes);
                Kind::Bytes(bytes.len())
            }
            Input::Gap(count) => Kind::Gap(count),
            Input::Eof => Kind::Eof,
        };
        match (self.items.back_mut(), kind) {
            (Some(Item { at: last, kind: Kind::Bytes(len), .. }), Kind::Bytes(more))
                if *last == at || crowded =>
            {
                *len += more;
            }
            (Some(Item { kind: Kind::Gap(len), .. }), Kind::Gap(more)) => *len = len.saturating_add(more),
            _ => self.items.push_back(Item { order, at, kind }),
        }
    }

    /// Memory that what is unread costs.
    pub(super) fn cost(&self) -> usize {
        self.data.len() - self.start + self.items.len() * size_of::<Item>()
    }

    /// Forgets all bytes. What is forgotten becomes a gap when `declare` says so; an end stays.
    pub(super) fn forget(&mut self, order: u64, declare: bool) {
        let ended = self.items.back().filter(|item| matches!(item.kind, Kind::Eof)).copied();
        let gaps = self
            .items
            .iter()
            .map(|item| if let Kind::Gap(count) = item.kind { count } else { 0 })
            .sum::<u64>();
        let lost = gaps.saturating_add((self.data.len() - self.start) as u64);
        let at = self.items.back().map_or(self.seen_at, |item| item.at);
        *self = Self { seen_at: at, ..Self::default() };
        if declare && lost > 0 {
            self.items.push_back(Item { order, at, kind: Kind::Gap(lost) });
        }
        self.items.extend(ended);
    }

    /// What was offered and left is queued again, for another dissector.
    pub(super) fn requeue(&mut self, order: u64) {
        let left = self.left();
        if left > 0 {
            self.items.push_front(Item { order, at: self.seen_at, kind: Kind::Bytes(left) });
            self.seen = self.start;
        }
        self.need = 0;
        self.waiting = false;
    }

    /// The first contiguous bytes that nobody consumed, for detection.
    pub(super) fn head(&self) -> &[u8] {
        let queued: usize = self
            .items
            .iter()
            .map_while(|item| if let Kind::Bytes(len) = item.kind { Some(len) } else { None })
            .sum();
        &self.data[self.start..(self.seen + queued).min(self.data.len())]
    }
}
