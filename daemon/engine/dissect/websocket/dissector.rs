//! WebSocket on one connection: two independent lanes under one handshake.

use super::handshake::Handshake;
use super::lane::{Context, Lane, Step};
use crate::dissect::{Dissector, End, Input, Opening, Output, Progress};
use crate::model::{Direction, ErrorKind, Timestamp};

/// WebSocket on one connection.
#[derive(Debug)]
pub(super) struct WebSocket {
    handshake: Handshake,
    lanes: [Lane; 2],
}

impl WebSocket {
    /// A dissector for what follows a handshake, or for a connection that was joined later.
    pub(super) fn new(opening: &Opening<'_>) -> Self {
        let from_start = opening.from_start && opening.upgrade.is_some();
        Self {
            handshake: opening.upgrade.map_or_else(Handshake::unknown, Handshake::of),
            lanes: [Direction::ToServer, Direction::ToClient].map(|lane| Lane::new(lane, from_start)),
        }
    }

    fn with<T>(
        &mut self,
        direction: Direction,
        out: &mut Output<'_>,
        work: impl FnOnce(&mut Lane, &mut Context<'_>) -> T,
    ) -> T {
        let [up, down] = &mut self.lanes;
        let lane = if direction == Direction::ToServer { up } else { down };
        let mut context =
            Context { handshake: &self.handshake, limits: out.limits, out: &mut *out.transactions };
        work(lane, &mut context)
    }
}

impl Dissector for WebSocket {
    fn held(&self) -> usize {
        self.lanes.iter().map(Lane::held).sum()
    }

    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress {
        self.with(direction, out, |lane, context| match input {
            Input::Bytes(bytes) => {
                let mut taken = 0;
                loop {
                    match lane.step(bytes.get(taken..).unwrap_or_default(), at, context) {
                        Step::Took(count) => taken += count,
                        Step::More => return Progress::Consumed(taken),
                        Step::Desync => return Progress::Desync,
                    }
                }
            }
            Input::Gap(bytes) => {
                lane.gap(bytes, context);
                Progress::Consumed(0)
            }
            Input::Eof => {
                lane.end(ErrorKind::Connection, "closed before it was complete", context);
                Progress::Consumed(0)
            }
        })
    }

    fn expire(&mut self, _now: Timestamp, _out: &mut Output<'_>) {}

    fn close(&mut self, end: End, _at: Timestamp, out: &mut Output<'_>) {
        let (kind, why) = match end {
            End::Closed => (ErrorKind::Connection, "closed before it was complete"),
            End::Reset(Direction::ToServer) => (ErrorKind::Connection, "reset by the client"),
            End::Reset(Direction::ToClient) => (ErrorKind::Connection, "reset by the server"),
            End::Expired => (ErrorKind::Timeout, "the connection fell silent"),
            End::CaptureEnd => (ErrorKind::PairNotFound, "capture ended before its end"),
            End::Desync => (ErrorKind::Dissection, "the bytes stopped following WebSocket"),
        };
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.with(direction, out, |lane, context| lane.end(kind, why, context));
        }
    }
}
