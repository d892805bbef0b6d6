//! What the router remembers of a connection: its vantages, header tuples and stream positions.

use smallvec::SmallVec;

use super::Fit;
use super::window::ReceiveWindow;
use crate::model::{
    AddrPort, ConnectionId, Direction, FiveTuple, Hook, L4, SocketCookie, SocketTuple, Timestamp,
};
use crate::wire::{Headers, SeqNumber, TcpFlags, TcpHeader};

/// How far a packet's positions may lie from those last seen to count as the same stream: more than
/// what socket buffers hold by default, little enough that two streams hardly ever overlap.
const CONTINUITY_WINDOW: u32 = 16 << 20;
/// Data packets of a connection with one known end that are compared with those of others.
const WATCHED_PACKETS: u8 = 8;
/// Header tuples remembered per connection: NAT gives at most one per vantage and direction.
const MAX_TUPLES: usize = 4;

/// A socket that shows the connection's packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct VantagePoint {
    /// The connected socket; 0 while only the listener's cookie is known, and for files.
    pub(super) cookie: SocketCookie,
    /// The listener (or unconnected socket) under whose cookie the first packets came; 0 if none.
    pub(super) listener: SocketCookie,
    /// Peer as the socket names it.
    pub(super) remote: AddrPort,
    /// What the socket takes.
    window: ReceiveWindow,
    /// Hooks at which a packet was seen: bit 0 ingress, bit 1 egress.
    hooks: u8,
}

impl VantagePoint {
    pub(super) fn new(cookie: SocketCookie, socket: Option<SocketTuple>) -> Self {
        let connected = socket.filter(|tuple| tuple.remote.port != 0);
        match connected {
            Some(tuple) => Self { remote: tuple.remote, ..Self::bare(cookie, SocketCookie(0)) },
            None => Self::bare(SocketCookie(0), cookie),
        }
    }

    fn bare(cookie: SocketCookie, listener: SocketCookie) -> Self {
        Self { cookie, listener, remote: AddrPort::default(), window: ReceiveWindow::default(), hooks: 0 }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) shard: usize,
    pub(super) vantages: [Option<VantagePoint>; 2],
    /// Where the client sends from in a packet's header; tells directions apart for files.
    pub(super) client: AddrPort,
    /// Canonical header tuples under which the connection is found.
    pub(super) tuples: SmallVec<[FiveTuple; 2]>,
    /// Initial sequence number of the client, when its SYN was seen.
    pub(super) isn: Option<SeqNumber>,
    /// Per direction: the furthest position seen.
    next: [Option<SeqNumber>; 2],
    /// Digest and hook of the last datagram: pairs datagrams, which have no positions.
    last: Option<(u64, Hook)>,
    pub(super) last_seen: Timestamp,
    /// Last moved to the fresh end of the LRU list.
    pub(super) touched: Timestamp,
    /// Data packets still compared, to find the other end behind NAT.
    pub(super) watch: u8,
    /// Per direction: a packet passed.
    seen: [bool; 2],
    /// Per direction: a FIN passed.
    fin: [bool; 2],
    /// Set once it is on the list of connections that end.
    pub(super) closing: bool,
}

impl Link {
    pub(super) fn new(id: ConnectionId, shard: usize, client: AddrPort, at: Timestamp) -> Self {
        Self {
            id,
            shard,
            vantages: [None, None],
            client,
            tuples: SmallVec::new(),
            isn: None,
            next: [None, None],
            last: None,
            last_seen: at,
            touched: at,
            watch: WATCHED_PACKETS,
            seen: [false, false],
            fin: [false, false],
            closing: false,
        }
    }

    /// The vantage of a side, 0 the client's.
    pub(super) fn vantage(&self, side: u8) -> Option<&VantagePoint> {
        let [client, server] = &self.vantages;
        if side == 0 { client.as_ref() } else { server.as_ref() }
    }

    pub(super) fn vantage_mut(&mut self, side: u8) -> &mut Option<VantagePoint> {
        let [client, server] = &mut self.vantages;
        if side == 0 { client } else { server }
    }

    /// The only side at which packets were seen, if it is one.
    pub(super) fn only_side(&self) -> Option<u8> {
        match &self.vantages {
            [Some(_), None] => Some(0),
            [None, Some(_)] => Some(1),
            _ => None,
        }
    }

    /// Notes that `side` showed a packet at `hook`; true the first time, when its header tuple is news.
    pub(super) fn note_hook(&mut self, side: u8, hook: Hook) -> bool {
        let bit = if hook == Hook::Egress { 2 } else { 1 };
        match self.vantage_mut(side) {
            Some(vantage) if vantage.hooks & bit == 0 => {
                vantage.hooks |= bit;
                true
            }
            _ => false,
        }
    }

    /// Adds a header tuple; true when it was new and must be indexed.
    pub(super) fn add_tuple(&mut self, tuple: FiveTuple) -> bool {
        let fresh = !self.tuples.contains(&tuple) && self.tuples.len() < MAX_TUPLES;
        if fresh {
            self.tuples.push(tuple);
        }
        fresh
    }

    /// How far a segment is believed at `side`; learns from those that the socket there sent.
    pub(super) fn judge(&mut self, side: u8, direction: Direction, hook: Hook, headers: &Headers) -> Fit {
        let [to_server, to_client] = self.next;
        let reached =
            if direction == Direction::ToServer { (to_server, to_client) } else { (to_client, to_server) };
        let (Some(tcp), Some(vantage)) = (headers.tcp(), self.vantage_mut(side)) else { return Fit::Whole };
        if hook == Hook::Egress {
            vantage.window.sent(tcp);
            return Fit::Whole;
        }
        vantage.window.judge(headers, tcp, reached)
    }

    /// Notes a datagram, so that the same one is recognised at the other end.
    pub(super) fn note_datagram(&mut self, digest: u64, hook: Hook) {
        self.last = Some((digest, hook));
    }

    /// How long ago the datagram with this digest was seen at the other hook, if it was the last one.
    pub(super) fn datagram_age(&self, digest: u64, hook: Hook, at: Timestamp) -> Option<u64> {
        let (last, seen_at) = self.last?;
        (last == digest && seen_at != hook).then(|| at.since(self.last_seen))
    }

    /// Moves the stream positions along; true when the packet ends the connection.
    pub(super) fn follow(&mut self, direction: Direction, headers: &Headers, at: Timestamp) -> bool {
        self.last_seen = self.last_seen.max(at);
        let [up, down] = &mut self.seen;
        *(if direction == Direction::ToServer { up } else { down }) = true;
        let Some(tcp) = headers.tcp() else { return false };
        if tcp.flags.opens() && self.isn.is_none() && direction == Direction::ToServer {
            self.isn = Some(tcp.seq);
        }
        if tcp.flags.accepts() && self.isn.is_none() && direction == Direction::ToClient {
            self.isn = Some(tcp.ack - 1);
        }
        if tcp.flags.has(TcpFlags::RST) {
            return self.continuity(direction, tcp).is_some();
        }
        let end = tcp.seq + tcp.sequence_len(headers.payload_len_on_wire);
        let [to_server, to_client] = &mut self.next;
        let (own, other) =
            if direction == Direction::ToServer { (to_server, to_client) } else { (to_client, to_server) };
        *own = Some(own.map_or(end, |next| next.max(end)));
        if let Some(ack) = tcp.acknowledged() {
            other.get_or_insert(ack);
        }
        if tcp.flags.has(TcpFlags::FIN) {
            let [up, down] = &mut self.fin;
            *(if direction == Direction::ToServer { up } else { down }) = true;
        }
        self.fin == [true, true]
    }

    /// Whether this is a TCP connection.
    pub(super) fn is_tcp(&self) -> bool {
        self.tuples.first().is_some_and(|tuple| tuple.protocol == L4::TCP)
    }

    /// Whether both directions carried a packet.
    pub(super) fn is_answered(&self) -> bool {
        self.seen == [true, true]
    }

    /// How well a segment that travels in `direction` continues this connection: smaller is better,
    /// `None` when it does not belong to it.
    pub(super) fn continuity(&self, direction: Direction, tcp: &TcpHeader) -> Option<u64> {
        if tcp.flags.opens() {
            return (direction == Direction::ToServer && self.isn == Some(tcp.seq)).then_some(0);
        }
        let [to_server, to_client] = self.next;
        let (own, other) =
            if direction == Direction::ToServer { (to_server, to_client) } else { (to_client, to_server) };
        let mut sum = 0;
        let mut known = false;
        let by_ack = other.zip(tcp.acknowledged());
        // A refusal answers with sequence number 0: its position says nothing.
        let refusal = tcp.flags.has(TcpFlags::RST);
        let by_seq = own.filter(|_| !refusal).map(|next| (next, tcp.seq));
        for (expected, seen) in by_ack.into_iter().chain(by_seq) {
            let distance = seen.distance(expected).unsigned_abs();
            if distance > CONTINUITY_WINDOW {
                return None;
            }
            known = true;
            sum += u64::from(distance);
        }
        known.then_some(sum)
    }
}
