//! The plaintext of one TLS connection: whose sessions deliver it, its two directions, its dissection.
//!
//! Each end of a connection has at most one session at a time; a newer one with evidence that is no weaker
//! takes over, as inside a tunnel or after a renewed handshake. Positions from the first byte on let both
//! ends of a local connection complete each other without doubling anything.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use self::lane::{Lane, Piece, Ready, Taken};
use super::Sink;
use crate::dissect::{Carrier, End, Input, ProtocolInfo, Session, Transaction};
use crate::flow::SERVER_VANTAGE;
use crate::limits::{self, Limits};
use crate::model::{
    Direction, DropReason, Hook, Timestamp, TlsChunk, TlsHandshake, TlsInfo, TlsLibrary, TlsSession,
    TlsWitness,
};

/// What plaintext may use while it works.
pub(super) struct Surroundings<'a> {
    pub(super) limits: &'a Limits,
    pub(super) dissecting: bool,
    pub(super) transactions: &'a mut Vec<Transaction>,
    pub(super) sink: &'a mut dyn Sink,
    pub(super) server_port: u16,
    /// Both ends' sockets are on this host.
    pub(super) both_ends: bool,
}

/// A session that delivers at one end.
#[derive(Clone, Copy, Debug)]
struct Source {
    session: TlsSession,
    witness: TlsWitness,
    closed: bool,
}

/// The plaintext of one connection.
#[derive(Debug, Default)]
pub(super) struct Plaintext {
    /// Client's, server's.
    sources: [Option<Source>; 2],
    /// Sessions that were here before.
    retired: VecDeque<TlsSession>,
    lanes: [Lane; 2],
    session: Option<Box<Session>>,
    /// Dissection was paused since the first byte.
    interrupted: bool,
    library: Option<TlsLibrary>,
    witness: Option<TlsWitness>,
    /// Its end was told to the dissector; only what is known already may still come.
    finished: bool,
    /// Built when an entry asks for it, dropped when a fact changes.
    info: Option<Arc<TlsInfo>>,
    /// Reused between pieces.
    ready: Vec<Ready>,
}

impl Plaintext {
    /// Bytes of memory that it holds, roughly.
    pub(super) fn held(&self) -> usize {
        let waiting: usize = self.lanes.iter().map(Lane::waiting).sum();
        waiting + self.session.as_ref().map_or(0, |session| session.held())
    }

    /// Takes a piece of plaintext from one end.
    pub(super) fn data(
        &mut self,
        vantage: u8,
        chunk: TlsChunk,
        witness: TlsWitness,
        around: &mut Surroundings<'_>,
    ) {
        if self.retired.contains(&chunk.session) {
            return;
        }
        if !self.admit(vantage, &chunk, witness, around) {
            return around.sink.loss(DropReason::TlsDisagreement, 1);
        }
        let direction = direction_at(vantage, chunk.hook);
        let piece = Piece {
            vantage,
            offset: chunk.offset,
            from_start: chunk.from_start,
            data: chunk.data,
            at: chunk.at,
        };
        let mut ready = std::mem::take(&mut self.ready);
        let copy = self.sources.iter().all(Option::is_some).then(|| piece.clone());
        let mut taken = self.place(direction, piece, around, &mut ready);
        if taken == Taken::Foreign {
            around.sink.loss(DropReason::TlsDisagreement, 1);
            let other = self.sources[usize::from(vantage != SERVER_VANTAGE)];
            match (other, copy) {
                (Some(other), Some(copy)) if other.witness < witness => {
                    self.revoked(other.session);
                    self.remember_retired(other.session);
                    taken = self.place(direction, copy, around, &mut ready);
                }
                _ => self.retire(vantage),
            }
        }
        if taken == Taken::Used && self.finished {
            ready.clear();
            around.sink.loss(DropReason::TlsUnrouted, 1);
        } else if taken == Taken::Used {
            self.note(chunk.library, witness);
            self.feed(direction, &mut ready, around);
        }
        self.ready = ready;
    }

    fn place(
        &mut self,
        direction: Direction,
        piece: Piece,
        around: &Surroundings<'_>,
        ready: &mut Vec<Ready>,
    ) -> Taken {
        // Where only one end counts, it is the same one in both directions: each end's times say what of
        // its own came first, and nothing about the other end's, where a write may return after its answer.
        let other = self.lanes[direction.flipped().index()].joined();
        if self.lanes[direction.index()].is_new() && other.is_some_and(|end| end != piece.vantage) {
            return Taken::Known;
        }
        let fillable = around.both_ends && !self.finished;
        self.lanes[direction.index()].take(piece, fillable, ready)
    }

    /// Notes by what stack and on what evidence plaintext came.
    fn note(&mut self, library: TlsLibrary, witness: TlsWitness) {
        let weakest = self.witness.map_or(witness, |known| known.min(witness));
        if self.library.is_none() || self.witness != Some(weakest) {
            self.library.get_or_insert(library);
            self.witness = Some(weakest);
            self.info = None;
        }
    }

    /// A session's library freed it.
    pub(super) fn closed(&mut self, session: TlsSession) {
        for source in self.sources.iter_mut().flatten().filter(|source| source.session == session) {
            source.closed = true;
        }
    }

    /// A session never was of this connection: what came of it is given up.
    pub(super) fn revoked(&mut self, session: TlsSession) {
        let is_it = |source: &Option<Source>| source.is_some_and(|source| source.session == session);
        if let Some(vantage) = self.sources.iter().position(is_it) {
            self.sources[vantage] = None;
            // Whatever is half read came from the wrong session; what the other end shows begins anew.
            self.begin_anew();
        }
    }

    /// The stack at which it was read.
    pub(super) fn library(&self) -> Option<TlsLibrary> {
        self.library
    }

    /// The weakest evidence by which it was tied to the connection.
    pub(super) fn witness(&self) -> Option<TlsWitness> {
        self.witness
    }

    /// Whether anything was read.
    pub(super) fn has_data(&self) -> bool {
        self.witness.is_some()
    }

    /// Whether every session that delivered was freed.
    pub(super) fn is_closed(&self) -> bool {
        let mut sources = self.sources.iter().flatten().peekable();
        sources.peek().is_some() && sources.all(|source| source.closed)
    }

    /// Whether its end is still to come.
    pub(super) fn is_open(&self) -> bool {
        !self.finished
    }

    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Timestamp, around: &mut Surroundings<'_>) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut ready = std::mem::take(&mut self.ready);
            self.lanes[direction.index()].expire(now, &mut ready);
            self.feed(direction, &mut ready, around);
            self.ready = ready;
        }
        if let Some(session) = &mut self.session {
            session.expire(now, around.limits, around.transactions);
        }
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let holes = self.lanes.iter().filter_map(Lane::deadline);
        holes.chain(self.session.as_ref().and_then(|session| session.next_deadline())).min()
    }

    /// The connection is over, and nothing more is waited for.
    pub(super) fn finish(&mut self, end: End, at: Timestamp, around: &mut Surroundings<'_>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut ready = std::mem::take(&mut self.ready);
            self.lanes[direction.index()].finish(at, &mut ready);
            self.feed(direction, &mut ready, around);
            self.ready = ready;
        }
        self.end_session(end, at, around);
    }

    /// What plaintext is dissected as.
    pub(super) fn protocol(&self) -> Option<&'static ProtocolInfo> {
        self.session.as_ref().and_then(|session| session.protocol())
    }

    /// Whether client and server are the other way round; `None` as long as the protocol is not known.
    pub(super) fn is_swapped(&self) -> Option<bool> {
        self.session
            .as_ref()
            .filter(|session| session.protocol().is_some())
            .map(|session| session.is_swapped())
    }

    /// What entries say about their TLS.
    pub(super) fn info(&mut self, handshake: Option<&TlsHandshake>) -> Arc<TlsInfo> {
        let nothing = TlsHandshake::default();
        let handshake = handshake.unwrap_or(&nothing);
        let alpn = if handshake.alpn.is_empty() { self.spoken(handshake) } else { handshake.alpn.as_str() };
        match &self.info {
            Some(info) if info.handshake == *handshake && info.alpn == alpn => Arc::clone(info),
            _ => {
                let (library, witness) = (self.library, self.witness);
                let info = TlsInfo { handshake: handshake.clone(), alpn: alpn.into(), library, witness };
                Arc::clone(self.info.insert(Arc::new(info)))
            }
        }
    }

    /// The offered application protocol that is really spoken (TLS 1.3 hides the server's choice).
    pub(super) fn spoken<'h>(&self, handshake: &'h TlsHandshake) -> &'h str {
        let name = match self.protocol().map_or("", |info| info.key) {
            "http" | "http10" => "http/1.1",
            "http2" | "grpc" => "h2",
            _ => "",
        };
        handshake
            .offered_alpn
            .iter()
            .find(|offered| offered.as_str() == name)
            .map_or("", |name| name.as_str())
    }

    /// Whether a piece's session may deliver at its end. A newer session takes over from an older one.
    fn admit(
        &mut self,
        vantage: u8,
        chunk: &TlsChunk,
        witness: TlsWitness,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let place = usize::from(vantage == SERVER_VANTAGE);
        match &mut self.sources[place] {
            Some(source) if source.session == chunk.session => {
                source.witness = source.witness.max(witness);
                return true;
            }
            Some(source) if witness < source.witness && !source.closed => return false,
            Some(_) => {
                self.retire(0);
                self.retire(1);
                self.end_session(End::Closed, chunk.at, around);
                self.begin_anew();
            }
            None => {}
        }
        self.sources[place] = Some(Source { session: chunk.session, witness, closed: false });
        true
    }

    fn begin_anew(&mut self) {
        self.lanes = [Lane::default(), Lane::default()];
        self.session = None;
        self.interrupted = false;
        self.witness = None;
        self.library = None;
        self.info = None;
    }

    fn retire(&mut self, vantage: u8) {
        if let Some(source) = self.sources[usize::from(vantage == SERVER_VANTAGE)].take() {
            self.remember_retired(source.session);
        }
    }

    fn remember_retired(&mut self, session: TlsSession) {
        if self.retired.len() >= limits::tls::RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(session);
    }

    fn end_session(&mut self, end: End, at: Timestamp, around: &mut Surroundings<'_>) {
        let Some(mut session) = self.session.take() else { return };
        if end == End::Closed {
            for direction in [Direction::ToServer, Direction::ToClient] {
                session.feed(direction, Input::Eof, at, around.limits, around.transactions);
            }
        }
        session.close(end, at, around.limits, around.transactions);
        // Kept for what it knows: protocol and roles.
        self.session = Some(session);
    }

    fn feed(&mut self, direction: Direction, ready: &mut Vec<Ready>, around: &mut Surroundings<'_>) {
        if !around.dissecting
            && let Some(Ready::Data(_, at) | Ready::Gap(_, _, at)) = ready.first()
        {
            // The packets that carried it are counted as paused. The stream is detected anew later.
            self.end_session(End::CaptureEnd, *at, around);
            self.session = None;
            self.interrupted = true;
            return ready.clear();
        }
        for item in ready.drain(..) {
            if let Ready::Gap(len, reason, _) = item {
                around.sink.loss(reason, len);
            }
            let from_start = self.lanes[direction.index()].is_from_start() && !self.interrupted;
            let session = self.session.get_or_insert_with(|| {
                Box::new(Session::new(Carrier::Stream, around.server_port, from_start))
            });
            let (input, at) = match &item {
                Ready::Data(data, at) => (Input::Bytes(data), *at),
                Ready::Gap(len, _, at) => (Input::Gap(*len), *at),
            };
            session.feed(direction, input, at, around.limits, around.transactions);
        }
    }
}

fn direction_at(vantage: u8, hook: Hook) -> Direction {
    if (hook == Hook::Egress) == (vantage == SERVER_VANTAGE) {
        Direction::ToClient
    } else {
        Direction::ToServer
    }
}
