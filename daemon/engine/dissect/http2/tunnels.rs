//! Streams that an extended CONNECT (RFC 8441) turned into connections of another protocol.
//!
//! Invariant: at most `limits::http2::TUNNELS` of them; what they hold between two frames is the other
//! protocol's, which has its own caps.

use std::collections::BTreeMap;

use super::streams::Moment;
use crate::dissect::{End, Input, Session, Transaction, Upgrade};
use crate::limits::{self, Limits};
use crate::model::{Direction, Timestamp};

/// Values of `:protocol` that a protocol of the registry rides on. HTTP/2 itself is not among them, so that
/// nothing nests.
const TOKENS: [&str; 1] = ["websocket"];

/// The tunnels of one connection, by their streams.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    open: BTreeMap<u32, Tunnel>,
}

#[derive(Debug)]
struct Tunnel {
    session: Session,
    upgrade: Upgrade,
    ended: [bool; 2],
    /// Bytes lost on the connection with their framing, per direction; perhaps of this stream.
    lost: [u64; 2],
}

/// The known spelling of a `:protocol`.
pub(super) fn token(protocol: &str) -> Option<&'static str> {
    TOKENS.into_iter().find(|known| known.eq_ignore_ascii_case(protocol))
}

impl Tunnels {
    /// Bytes of memory that they hold, roughly.
    pub(super) fn held(&self) -> usize {
        self.open.values().map(|tunnel| tunnel.session.held()).sum()
    }

    /// Whether a stream is a tunnel.
    pub(super) fn has(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    /// Whether no more are followed; the streams of others stay calls.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= limits::http2::TUNNELS
    }

    /// What comes on a stream from now on rides on `upgrade`.
    pub(super) fn begin(&mut self, id: u32, upgrade: Upgrade) {
        let session = Session::upgraded(upgrade.clone());
        self.open.insert(id, Tunnel { session, upgrade, ended: [false; 2], lost: [0; 2] });
    }

    /// Bytes, a hole, or the end of one direction of a stream.
    pub(super) fn feed(&mut self, moment: Moment<'_>, id: u32, input: Input<'_>, out: &mut Vec<Transaction>) {
        let Moment { direction, at, limits } = moment;
        let Some(tunnel) = self.open.get_mut(&id) else { return };
        let lost = std::mem::take(&mut tunnel.lost);
        if lost != [0; 2] {
            // How much of it was this stream's is not known, and a wrong length would make up content.
            tunnel.session.close(End::Desync, at, limits, out);
            tunnel.session = Session::upgraded(tunnel.upgrade.clone());
            // The other direction begins anew in the middle as well, so a hole is declared in both.
            for (way, bytes) in [Direction::ToServer, Direction::ToClient].into_iter().zip(lost) {
                tunnel.session.feed(way, Input::Gap(bytes.max(1)), at, limits, out);
            }
        }
        tunnel.session.feed(direction, input, at, limits, out);
        if matches!(input, Input::Eof) {
            tunnel.ended[direction.index()] = true;
            if tunnel.ended == [true; 2] {
                self.close(id, End::Closed, at, limits, out);
            }
        }
    }

    /// Frames were lost: any stream may lack some.
    pub(super) fn lose(&mut self, direction: Direction, bytes: u64) {
        for tunnel in self.open.values_mut() {
            let lost = &mut tunnel.lost[direction.index()];
            *lost = lost.saturating_add(bytes.max(1));
        }
    }

    /// A stream is over.
    pub(super) fn close(
        &mut self,
        id: u32,
        end: End,
        at: Timestamp,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        if let Some(mut tunnel) = self.open.remove(&id) {
            tunnel.session.close(end, at, limits, out);
        }
    }

    /// The connection is over.
    pub(super) fn close_all(&mut self, end: End, at: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        for (_, mut tunnel) in std::mem::take(&mut self.open) {
            tunnel.session.close(end, at, limits, out);
        }
    }
}
