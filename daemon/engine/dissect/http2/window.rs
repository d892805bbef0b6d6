//! Flow control as far as it tells how long a sender had to wait (RFC 9113 5.2).
//!
//! What a receiver allows is known only where the connection was seen from its start without a loss;
//! elsewhere nothing is said.

use crate::model::{Direction, Timestamp};

/// What both sides begin with.
const INITIAL: i64 = 65_535;

/// The windows of a connection, per direction in which data flows.
#[derive(Debug)]
pub(super) struct Windows {
    /// Every frame was seen.
    pub(super) certain: bool,
    /// `SETTINGS_INITIAL_WINDOW_SIZE` of the receiver.
    initial: [i64; 2],
    connection: [i64; 2],
    /// Streams that wait for the connection's window; each was added by a DATA frame of its own.
    waiting: [Vec<u32>; 2],
}

/// What one direction of a stream has used, and how long it waited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    /// Bytes sent beyond what window updates gave back.
    used: i64,
    since: Option<Timestamp>,
    total: u64,
}

impl Windows {
    pub(super) fn new(certain: bool) -> Self {
        Self { certain, initial: [INITIAL; 2], connection: [INITIAL; 2], waiting: [Vec::new(), Vec::new()] }
    }

    /// The receiver of `direction` changed what streams begin with.
    pub(super) fn set_initial(&mut self, direction: Direction, size: u32) {
        self.initial[direction.index()] = i64::from(size);
    }

    /// So many bytes were sent in a DATA frame of a stream, and more of it will follow.
    pub(super) fn sent(
        &mut self,
        direction: Direction,
        stream: u32,
        stall: &mut Stall,
        bytes: u32,
        at: Timestamp,
    ) {
        let connection = &mut self.connection[direction.index()];
        *connection = connection.saturating_sub(i64::from(bytes));
        stall.used = stall.used.saturating_add(i64::from(bytes));
        stall.end(at);
        if !self.certain {
            return;
        }
        let open = stall.used < self.initial[direction.index()];
        if *connection <= 0 {
            self.waiting[direction.index()].push(stream);
        }
        if !open || *connection <= 0 {
            stall.since = Some(at);
        }
    }

    /// The receiver allows more on one stream.
    pub(super) fn update_stream(
        &mut self,
        direction: Direction,
        stall: &mut Stall,
        more: u32,
        at: Timestamp,
    ) {
        stall.used = stall.used.saturating_sub(i64::from(more));
        if stall.used < self.initial[direction.index()] && self.connection[direction.index()] > 0 {
            stall.end(at);
        }
    }

    /// The receiver allows more on the connection. Answers the streams that waited for that.
    pub(super) fn update_connection(&mut self, direction: Direction, more: u32) -> Vec<u32> {
        let connection = &mut self.connection[direction.index()];
        *connection = connection.saturating_add(i64::from(more));
        if *connection > 0 { std::mem::take(&mut self.waiting[direction.index()]) } else { Vec::new() }
    }
}

impl Stall {
    fn end(&mut self, at: Timestamp) {
        if let Some(since) = self.since.take() {
            self.total += at.since(since);
        }
    }

    /// How long it waited, in ns, until `end`.
    pub(super) fn total(&self, end: Timestamp) -> u64 {
        self.total + self.since.map_or(0, |since| end.since(since))
    }
}
