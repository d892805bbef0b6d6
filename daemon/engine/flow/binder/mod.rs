//! Ties plaintext of TLS libraries to connections, by the socket that the evidence names.
//!
//! Plaintext waits here, within bounds, until its socket is known and until a packet of that socket was
//! routed: the two come through different rings with no order between them. Invariant: pieces of one
//! session leave in the order in which they came, each at most once, and those that never leave are
//! counted. Plaintext without any packet of its connection is given up: there is nothing to tie it to.

mod evidence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use self::evidence::{Evidence, Outcome};
use super::{LruTable, Router, SocketPlace};
use crate::limits;
use crate::model::{
    ConnectionId, DropReason, SocketCookie, Timestamp, TlsChunk, TlsEvent, TlsSession, TlsWitness,
};

/// What a shard is told about the plaintext of one of its connections.
#[derive(Debug)]
pub struct RoutedTls {
    /// The connection.
    pub connection: ConnectionId,
    /// At which of its ends: [`CLIENT_VANTAGE`](super::CLIENT_VANTAGE) or
    /// [`SERVER_VANTAGE`](super::SERVER_VANTAGE).
    pub vantage: u8,
    /// What.
    pub news: TlsNews,
}

/// What happened to a session that is tied to a connection.
#[derive(Debug)]
pub enum TlsNews {
    /// Plaintext, and how it is known to belong here.
    Data(TlsChunk, TlsWitness),
    /// The library freed the session: nothing more will come.
    Closed(Timestamp, TlsSession),
    /// Better evidence says that the session belongs elsewhere: what came of it was another connection's.
    Revoked(Timestamp, TlsSession),
}

/// What the binder hands out; reused between calls.
#[derive(Debug, Default)]
pub struct Bound {
    /// For shards, by their number.
    pub routed: Vec<(usize, RoutedTls)>,
    /// What was given up: why, and how many pieces.
    pub losses: Vec<(DropReason, u64)>,
    /// Evidence that named another socket than the one believed, whichever was believed afterwards.
    pub disagreements: u64,
}

/// One session of a library.
#[derive(Debug)]
struct Known {
    session: TlsSession,
    evidence: Evidence,
    /// Plaintext that waits, oldest first, and since when.
    held: VecDeque<(Timestamp, TlsChunk)>,
    held_bytes: usize,
    /// Freed by its library, while plaintext still waited.
    closed: Option<Timestamp>,
    /// It is in the queue of those that wait.
    queued: bool,
}

/// Ties plaintext to connections. Single-threaded, beside the router.
#[derive(Debug, Default)]
pub struct Binder {
    sessions: LruTable<Known>,
    slots: HashMap<TlsSession, u32>,
    /// Sessions with held plaintext, in turn.
    waiting: VecDeque<u32>,
    held_bytes: usize,
    held_chunks: usize,
}

impl Binder {
    /// Takes what a probe saw; `now` is the moment of taking it.
    pub fn event(&mut self, event: TlsEvent, now: Timestamp, router: &Router, out: &mut Bound) {
        match event {
            TlsEvent::Data(chunk) => self.data(chunk, now, router, out),
            TlsEvent::Bound { at, session, cookie, witness } => {
                let slot = self.slot(session, out);
                self.learn(slot, at, cookie, witness, router, out);
                self.release(slot, router, out);
            }
            TlsEvent::Closed { at, session } => self.close(session, at, router, out),
        }
    }

    /// Hands out what waited for its connection and gives up what waited too long.
    pub fn retry(&mut self, now: Timestamp, router: &Router, out: &mut Bound) {
        for _ in 0..self.waiting.len().min(limits::tls::LOOKUPS) {
            let Some(slot) = self.waiting.pop_front() else { return };
            if let Some(known) = self.sessions.get_mut(slot) {
                known.queued = false;
            }
            self.release(slot, router, out);
            self.expire(slot, now, out);
            self.queue(slot);
        }
    }

    /// Whether plaintext waits, so that [`retry`](Self::retry) has something to do.
    pub fn is_waiting(&self) -> bool {
        self.held_chunks > 0
    }

    /// Pieces of plaintext that wait, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.held_chunks, self.held_bytes)
    }

    /// Sessions remembered.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn data(&mut self, chunk: TlsChunk, now: Timestamp, router: &Router, out: &mut Bound) {
        let slot = self.slot(chunk.session, out);
        self.sessions.touch(slot);
        if let Some((cookie, witness)) = chunk.socket {
            self.learn(slot, chunk.at, cookie, witness, router, out);
        }
        self.release(slot, router, out);
        let Some(known) = self.sessions.get_mut(slot) else { return };
        if known.held.is_empty()
            && let Some((place, witness)) = place_of(known, router)
        {
            out.routed.push((place.shard, routed(place, TlsNews::Data(chunk, witness))));
        } else {
            self.hold(slot, chunk, now, out);
        }
    }

    /// The slot of a session, which is made if need be.
    fn slot(&mut self, session: TlsSession, out: &mut Bound) -> u32 {
        if let Some(slot) = self.slots.get(&session) {
            return *slot;
        }
        if self.sessions.len() >= limits::tls::SESSIONS
            && let Some(oldest) = self.sessions.oldest()
        {
            self.give_up(oldest, DropReason::TlsHeldLimit, out);
            self.forget(oldest);
        }
        let slot = self.sessions.insert(Known {
            session,
            evidence: Evidence::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            closed: None,
            queued: false,
        });
        self.slots.insert(session, slot);
        slot
    }

    fn learn(
        &mut self,
        slot: u32,
        at: Timestamp,
        cookie: SocketCookie,
        witness: TlsWitness,
        router: &Router,
        out: &mut Bound,
    ) {
        let Some(known) = self.sessions.get_mut(slot).filter(|_| cookie.is_known()) else { return };
        match known.evidence.take(cookie, witness, |socket| router.place_of(socket).is_some()) {
            Outcome::Agrees => {}
            Outcome::Refused => out.disagreements += 1,
            Outcome::Replaces(former) => {
                out.disagreements += 1;
                if let Some(place) = router.place_of(former) {
                    out.routed.push((place.shard, routed(place, TlsNews::Revoked(at, known.session))));
                }
            }
        }
    }

    fn close(&mut self, session: TlsSession, at: Timestamp, router: &Router, out: &mut Bound) {
        let Some(slot) = self.slots.get(&session).copied() else { return };
        self.release(slot, router, out);
        let Some(known) = self.sessions.get_mut(slot) else { return };
        if known.held.is_empty() {
            if let Some((place, _)) = place_of(known, router) {
                out.routed.push((place.shard, routed(place, TlsNews::Closed(at, session))));
            }
            self.forget(slot);
        } else {
            known.closed = Some(at);
            // Whoever gets the same handle from here on is another session.
            self.slots.remove(&session);
        }
    }

    /// Hands out what is held of a session, if its connection is known.
    fn release(&mut self, slot: u32, router: &Router, out: &mut Bound) {
        let Some(known) = self.sessions.get_mut(slot).filter(|known| !known.held.is_empty()) else { return };
        let Some((place, witness)) = place_of(known, router) else { return };
        self.held_chunks -= known.held.len();
        self.held_bytes -= known.held_bytes;
        known.held_bytes = 0;
        for (_, chunk) in known.held.drain(..) {
            out.routed.push((place.shard, routed(place, TlsNews::Data(chunk, witness))));
        }
        if let Some(at) = known.closed {
            out.routed.push((place.shard, routed(place, TlsNews::Closed(at, known.session))));
            self.forget(slot);
        }
    }

    fn hold(&mut self, slot: u32, chunk: TlsChunk, now: Timestamp, out: &mut Bound) {
        let len = chunk.data.len();
        let over = |known: &Known| known.held_bytes + len > limits::tls::HELD_SESSION_BYTES;
        if self.sessions.get(slot).is_none_or(over) {
            return out.losses.push((DropReason::TlsHeldLimit, 1));
        }
        // What waited longest is least likely to find its connection.
        while (self.held_bytes + len > limits::tls::HELD_BYTES
            || self.held_chunks >= limits::tls::HELD_CHUNKS)
            && let Some(oldest) = self.waiting.pop_front()
        {
            if let Some(known) = self.sessions.get_mut(oldest) {
                known.queued = false;
            }
            self.give_up(oldest, DropReason::TlsHeldLimit, out);
            self.forget_if_closed(oldest);
        }
        let Some(known) = self.sessions.get_mut(slot) else { return };
        // A copy of its own: the bytes may be a small part of a block that would stay alive with them.
        let data = Bytes::copy_from_slice(&chunk.data);
        known.held.push_back((now, TlsChunk { data, ..chunk }));
        known.held_bytes += len;
        self.held_bytes += len;
        self.held_chunks += 1;
        self.queue(slot);
    }

    /// Gives up what waited too long.
    fn expire(&mut self, slot: u32, now: Timestamp, out: &mut Bound) {
        let Some(known) = self.sessions.get_mut(slot) else { return };
        let (mut count, mut bytes) = (0, 0);
        while let Some((since, chunk)) = known.held.front()
            && since.plus(limits::tls::HELD_TIME) <= now
        {
            count += 1;
            bytes += chunk.data.len();
            known.held.pop_front();
        }
        if count == 0 {
            return;
        }
        known.held_bytes -= bytes;
        self.held_bytes -= bytes;
        self.held_chunks -= count;
        let reason = match known.evidence.socket() {
            Some(_) => DropReason::TlsUnrouted,
            None => DropReason::TlsUnbound,
        };
        out.losses.push((reason, count as u64));
        self.forget_if_closed(slot);
    }

    fn queue(&mut self, slot: u32) {
        if let Some(known) = self.sessions.get_mut(slot)
            && !known.queued
            && !known.held.is_empty()
        {
            known.queued = true;
            self.waiting.push_back(slot);
        }
        if self.waiting.len() > 2 * limits::tls::SESSIONS {
            self.compact();
        }
    }

    /// Leaves each session that waits in the queue once; those that were forgotten stay there until now, to
    /// keep forgetting cheap.
    fn compact(&mut self) {
        let mut seen = hashbrown::HashSet::new();
        let sessions = &self.sessions;
        self.waiting.retain(|slot| {
            sessions.get(*slot).is_some_and(|known| !known.held.is_empty()) && seen.insert(*slot)
        });
    }

    /// Drops what is held of a session.
    fn give_up(&mut self, slot: u32, reason: DropReason, out: &mut Bound) {
        let Some(known) = self.sessions.get_mut(slot).filter(|known| !known.held.is_empty()) else { return };
        self.held_chunks -= known.held.len();
        self.held_bytes -= known.held_bytes;
        known.held_bytes = 0;
        out.losses.push((reason, known.held.len() as u64));
        known.held.clear();
    }

    fn forget_if_closed(&mut self, slot: u32) {
        if self.sessions.get(slot).is_some_and(|known| known.closed.is_some() && known.held.is_empty()) {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: u32) {
        if let Some(known) = self.sessions.remove(slot)
            && self.slots.get(&known.session) == Some(&slot)
        {
            self.slots.remove(&known.session);
        }
    }
}

fn place_of(known: &Known, router: &Router) -> Option<(SocketPlace, TlsWitness)> {
    let (cookie, witness) = known.evidence.socket()?;
    Some((router.place_of(cookie)?, witness))
}

fn routed(place: SocketPlace, news: TlsNews) -> RoutedTls {
    RoutedTls { connection: place.connection, vantage: place.vantage, news }
}
