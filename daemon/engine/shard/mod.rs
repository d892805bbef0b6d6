//! Drives flows, reassembly and dissectors for one share of the connections and emits entries.
//!
//! Single-threaded and without a clock: time comes with the packets and with `advance`. Invariant: each
//! transaction becomes exactly one entry; each connection has exactly one entry in the deadline queue;
//! work per packet does not grow with the number of connections.

mod connection;
mod deadlines;
mod endpoints;
mod flow_info;
mod plaintext;

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use hashbrown::HashMap;

use crate::dissect::{End, Transaction};
use crate::flow::{LruTable, RoutedPacket, RoutedTls, TlsNews};
use crate::limits::Limits;
use crate::model::{
    CaptureInfo, CaptureSource, ConnectionId, DropReason, Entry, EntryId, NodeInfo, Timestamp,
};

use connection::{Connection, Turn};
use deadlines::Deadlines;

pub use flow_info::{FlowEnd, FlowInfo, FlowState, FlowTls, FlowTraffic};

/// The LRU order is exact to this much: saves relinking on every packet.
const TOUCH_EVERY: u64 = 1_000_000_000;
/// A deadline that does not move is asked again no sooner than this.
const RETRY: std::time::Duration = std::time::Duration::from_millis(1);

/// Takes what a shard produces.
pub trait Sink {
    /// One finished call. `seq` is still 0.
    fn entry(&mut self, entry: Entry);
    /// Something was not delivered.
    fn loss(&mut self, reason: DropReason, count: u64);
}

/// What entries carry about where they come from.
#[derive(Clone, Debug)]
pub struct ShardContext {
    /// The host that sees the packets.
    pub node: Arc<NodeInfo>,
    /// Begins every stream id; unique per run of the daemon, so that ids never come again.
    pub run: CompactString,
    /// Which mechanism delivers the packets.
    pub source: CaptureSource,
}

/// One share of the connections.
#[derive(Debug)]
pub struct Shard {
    limits: Arc<Limits>,
    context: ShardContext,
    connections: LruTable<Connection>,
    slots: HashMap<ConnectionId, u32>,
    deadlines: Deadlines,
    dissecting: bool,
    /// Reused between packets.
    transactions: Vec<Transaction>,
    /// The same for calls read from plaintext of TLS.
    decrypted: Vec<Transaction>,
}

impl Shard {
    /// An empty shard that dissects.
    pub fn new(limits: Arc<Limits>, context: ShardContext) -> Self {
        Self {
            limits,
            context,
            connections: LruTable::default(),
            slots: HashMap::new(),
            deadlines: Deadlines::default(),
            dissecting: true,
            transactions: Vec::new(),
            decrypted: Vec::new(),
        }
    }

    /// Takes one packet; entries that it completes go to `sink` before this returns.
    pub fn packet(&mut self, routed: RoutedPacket, sink: &mut dyn Sink) {
        let at = routed.packet.at;
        if let Some(replaced) = routed.replaces {
            self.evict(replaced, at, sink);
        }
        if let Some(absorbed) = routed.absorbed {
            self.absorb(absorbed);
        }
        let slot = match self.slots.get(&routed.connection) {
            Some(slot) => *slot,
            None => self.open(&routed, sink),
        };
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut turn = Turn {
            limits: &self.limits,
            dissecting: self.dissecting,
            transactions: &mut self.transactions,
            decrypted: &mut self.decrypted,
            sink: &mut *sink,
        };
        connection.packet(&routed, &mut turn);
        if at.since(connection.touched) >= TOUCH_EVERY {
            connection.touched = at;
            self.connections.touch(slot);
        }
        self.settle(slot, at, sink);
    }

    /// Takes what TLS libraries show of one of its connections; entries that it completes go to `sink`
    /// before this returns.
    pub fn tls(&mut self, routed: RoutedTls, sink: &mut dyn Sink) {
        let (at, is_data) = match &routed.news {
            TlsNews::Data(chunk, _) => (chunk.at, true),
            TlsNews::Closed(at, _) | TlsNews::Revoked(at, _) => (*at, false),
        };
        let Some(slot) = self.slots.get(&routed.connection).copied() else {
            // The router knows the connection; its packets were lost on the way here, or it is over.
            if is_data {
                sink.loss(DropReason::TlsUnrouted, 1);
            }
            return;
        };
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut turn = Turn {
            limits: &self.limits,
            dissecting: self.dissecting,
            transactions: &mut self.transactions,
            decrypted: &mut self.decrypted,
            sink: &mut *sink,
        };
        connection.tls(routed.vantage, routed.news, &mut turn);
        self.settle(slot, at, sink);
    }

    /// Does what is due at `now`: patience with holes, unanswered requests, idle and ended connections.
    pub fn advance(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        while let Some(slot) = self.deadlines.pop_due(now) {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.armed = None;
            let mut turn = Turn {
                limits: &self.limits,
                dissecting: self.dissecting,
                transactions: &mut self.transactions,
                decrypted: &mut self.decrypted,
                sink: &mut *sink,
            };
            connection.advance(now, &mut turn);
            if connection.is_over(now, &self.limits) {
                self.remove(slot, End::Expired, now, sink);
            } else {
                self.settle(slot, now, sink);
            }
        }
    }

    /// Keeps `limits.max_held`: while all connections together hold more, those that hold the most are given up.
    /// Returns what they hold then, in bytes. Walks the whole table: for now and then, not for every packet.
    pub fn keep_bound(&mut self, now: Timestamp, sink: &mut dyn Sink) -> usize {
        let mut held: Vec<(usize, u32)> =
            self.connections.iter().map(|(slot, connection)| (connection.held(), slot)).collect();
        let mut total: usize = held.iter().map(|(bytes, _)| bytes).sum();
        if total <= self.limits.max_held {
            return total;
        }
        // A quarter below, so that it is not walked for each connection again.
        let aim = self.limits.max_held / 4 * 3;
        held.sort_unstable();
        while let Some((bytes, slot)) = held.pop().filter(|_| total > aim) {
            self.remove(slot, End::Expired, now, sink);
            sink.loss(DropReason::MemoryLimit, 1);
            total -= bytes;
        }
        total
    }

    /// Capture ends: everything unfinished is emitted, and the shard is empty.
    pub fn finish(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        while let Some(slot) = self.connections.oldest() {
            self.remove(slot, End::CaptureEnd, now, sink);
        }
    }

    /// Pauses or resumes dissection. While paused, connections are accounted for, payload is not looked
    /// at, and calls under way are given up; after that streams are detected anew, mid-stream.
    pub fn set_dissecting(&mut self, dissecting: bool) {
        self.dissecting = dissecting;
    }

    /// All connections, in no particular order. Walks the whole table: for people, not for every packet.
    pub fn flows(&self) -> Vec<FlowInfo> {
        self.connections.iter().map(|(_, connection)| connection.info()).collect()
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// When `advance` has something to do at the earliest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first()
    }

    fn open(&mut self, routed: &RoutedPacket, sink: &mut dyn Sink) -> u32 {
        // The router evicts first; this holds when the packet that named the evicted one was lost.
        let cap = self.limits.max_connections + self.limits.max_connections / 8 + 1;
        if self.connections.len() >= cap
            && let Some(oldest) = self.connections.oldest()
        {
            self.remove(oldest, End::Expired, routed.packet.at, sink);
            sink.loss(DropReason::ConnectionLimit, 1);
        }
        let ConnectionId(id) = routed.connection;
        let run = &self.context.run;
        let stream = if routed.first {
            format_compact!("{run}-{id}")
        } else {
            // It was known here and forgotten, or its first packet was lost: another stream, so that
            // indices cannot come twice.
            format_compact!("{run}-{id}.{:x}", routed.packet.at.nanos())
        };
        let slot = self.connections.insert(Connection::new(stream, routed));
        self.slots.insert(routed.connection, slot);
        slot
    }

    fn evict(&mut self, id: ConnectionId, at: Timestamp, sink: &mut dyn Sink) {
        if let Some(slot) = self.slots.get(&id) {
            self.remove(*slot, End::Expired, at, sink);
        }
        sink.loss(DropReason::ConnectionLimit, 1);
    }

    /// Drops a connection whose calls come out of another one.
    fn absorb(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slots.remove(&id)
            && let Some(connection) = self.connections.remove(slot)
        {
            self.deadlines.disarm(slot, connection.armed);
        }
    }

    fn remove(&mut self, slot: u32, end: End, at: Timestamp, sink: &mut dyn Sink) {
        if let Some(connection) = self.connections.get_mut(slot) {
            let mut turn = Turn {
                limits: &self.limits,
                dissecting: self.dissecting,
                transactions: &mut self.transactions,
                decrypted: &mut self.decrypted,
                sink: &mut *sink,
            };
            connection.close(end, at, &mut turn);
        }
        self.emit(slot, sink);
        if let Some(connection) = self.connections.remove(slot) {
            self.slots.remove(&connection.id);
            self.deadlines.disarm(slot, connection.armed);
        }
    }

    /// Emits what is finished and keeps the connection's place in the deadline queue.
    fn settle(&mut self, slot: u32, now: Timestamp, sink: &mut dyn Sink) {
        if !self.transactions.is_empty() || !self.decrypted.is_empty() {
            self.emit(slot, sink);
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let deadline = connection.deadline(&self.limits);
        // A later deadline need not move the entry: it is asked again when it comes up.
        if connection.armed.is_none_or(|armed| deadline < armed) {
            let deadline = deadline.max(now.plus(RETRY));
            if connection.armed.is_none_or(|armed| deadline < armed) {
                self.deadlines.arm(slot, connection.armed, deadline);
                connection.armed = Some(deadline);
            }
        }
    }

    fn emit(&mut self, slot: u32, sink: &mut dyn Sink) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        for transaction in self.transactions.drain(..) {
            sink.entry(entry(connection, &self.context, transaction));
        }
        if self.decrypted.is_empty() {
            return;
        }
        let info = connection.tls_info();
        for transaction in self.decrypted.drain(..) {
            let mut entry = entry(connection, &self.context, transaction);
            entry.tls = true;
            entry.tls_info.clone_from(&info);
            entry.capture.source = CaptureSource::EbpfTls;
            sink.entry(entry);
        }
    }
}

fn entry(connection: &mut Connection, context: &ShardContext, done: Transaction) -> Entry {
    let index = connection.index_of(done.stage);
    let ends = connection.ends();
    Entry {
        id: EntryId { node: context.node.name.clone(), stream: connection.stream.clone(), index },
        seq: 0,
        protocol: done.protocol,
        node: context.node.clone(),
        outgoing: ends.client_is_local(),
        capture: CaptureInfo { source: context.source, seen_at: ends.seen_at() },
        src: ends.client(),
        dst: ends.server(),
        tls: false,
        tls_info: None,
        timing: done.timing,
        method: done.method,
        summary: done.summary,
        status: done.status,
        request: done.request,
        response: done.response,
        request_size: done.request_size,
        response_size: done.response_size,
        error: done.error,
        events: done.events,
        connection: connection.id,
    }
}

#[cfg(test)]
mod tests;
