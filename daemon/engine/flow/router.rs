//! The one place that decides which connection a packet belongs to.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::SmallVec;

use super::fingerprint::{Fingerprints, Sighting, datagram_digest};
use super::link::{Link, VantagePoint};
use super::listeners::Listeners;
use super::{CLIENT_VANTAGE, Fit, LruTable, Routed, RoutedPacket, SERVER_VANTAGE, SocketPlace};
use crate::limits::Limits;
use crate::model::{
    AddrPort, ConnectionId, Direction, FiveTuple, Hook, L4, Packet, SocketCookie, SocketEvent, TcpState,
    Timestamp,
};
use crate::wire::{Headers, TcpHeader};

/// Connections indexed under one header tuple (one per network namespace, and a few that just ended);
/// the oldest, whose ends have met long ago, is left out beyond it.
const MAX_TWINS: usize = 16;
/// Young connections looked at for one that nobody answered before the table's oldest is evicted.
const MAX_EVICTION_TRIES: usize = 8;
/// How long a datagram takes from one socket of this host to another at most, ns.
const MAX_DATAGRAM_AGE: u64 = 1_000_000_000;
/// Absorbed connections that a shard is told of with its next packets; one beyond that stays until idle.
const MAX_ABSORBED: usize = 1024;
/// The LRU order is exact to this much: saves relinking on every packet.
const TOUCH_EVERY: u64 = 1_000_000_000;
/// Connections aged out per call of `expire`: bounds the pause of the packet reader.
const MAX_EXPIRED: usize = 4096;
/// Ports below are given to servers; the last hint about who the client is.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// Ports above that servers of datagram protocols have: STUN, RADIUS, SIP, mDNS, LLMNR.
const DATAGRAM_SERVERS: [u16; 6] = [1812, 1813, 3478, 5060, 5353, 5355];

/// What a router is told once.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Number of shards; at least 1.
    pub shards: usize,
    /// Connections in all shards together.
    pub max_connections: usize,
    /// Id of the first connection.
    pub first_connection_id: u64,
    /// Idle time after which a connection is forgotten.
    pub idle_timeout: Duration,
    /// The same for datagram flows and unanswered openings.
    pub brief_timeout: Duration,
    /// How long an ended connection is remembered for stragglers.
    pub close_linger: Duration,
}

impl RouterConfig {
    /// The configuration that goes with `shards` shards under `limits`.
    pub fn new(shards: usize, limits: &Limits) -> Self {
        let shards = shards.max(1);
        Self {
            shards,
            max_connections: limits.max_connections.saturating_mul(shards).max(1),
            first_connection_id: 1,
            idle_timeout: limits.idle_timeout,
            brief_timeout: limits.brief_timeout,
            close_linger: limits.close_linger,
        }
    }
}

/// A connection's slot and the side at which a packet of it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: u32,
    side: u8,
}

/// Gives each packet its connection. Single-threaded; time comes from the packets.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    links: LruTable<Link>,
    /// Live connections per shard.
    load: Vec<usize>,
    next_id: u64,
    /// Connected sockets: the fast path.
    by_cookie: HashMap<SocketCookie, Place>,
    /// Listeners and unconnected sockets by canonical header tuple; cookie 0 for files.
    by_listener: HashMap<(SocketCookie, FiveTuple), Place>,
    /// All connections by canonical header tuple, to find the other end.
    by_tuple: HashMap<FiveTuple, SmallVec<[u32; 2]>>,
    fingerprints: Fingerprints,
    /// Connections that end, in the order in which they are forgotten.
    closing: VecDeque<(Timestamp, u32, ConnectionId)>,
    /// Datagram flows and young connections, roughly in the order in which they may be forgotten.
    brief: VecDeque<(Timestamp, u32, ConnectionId)>,
    listeners: Listeners,
    /// Per shard: connections that it is to drop because they went on as another one.
    absorbed: Vec<VecDeque<ConnectionId>>,
    hasher: DefaultHashBuilder,
}

impl Router {
    /// An empty router.
    pub fn new(config: RouterConfig) -> Self {
        let config = RouterConfig {
            shards: config.shards.max(1),
            max_connections: config.max_connections.max(1),
            ..config
        };
        Self {
            load: vec![0; config.shards],
            next_id: config.first_connection_id,
            links: LruTable::default(),
            by_cookie: HashMap::new(),
            by_listener: HashMap::new(),
            by_tuple: HashMap::new(),
            fingerprints: Fingerprints::default(),
            closing: VecDeque::new(),
            brief: VecDeque::new(),
            listeners: Listeners::default(),
            absorbed: vec![VecDeque::new(); config.shards],
            hasher: DefaultHashBuilder::default(),
            config,
        }
    }

    /// Number of connections known.
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// Where a connected socket's packets go; `None` as long as none of them was routed.
    pub fn place_of(&self, cookie: SocketCookie) -> Option<SocketPlace> {
        let place = self.by_cookie.get(&cookie)?;
        let link = self.links.get(place.slot)?;
        Some(SocketPlace { connection: link.id, shard: link.shard, vantage: place.side })
    }

    /// Finds or makes the connection of `packet`.
    pub fn route(&mut self, packet: Packet) -> Routed {
        let headers = match Headers::of(&packet) {
            Ok(headers) => headers,
            Err(error) => return Routed::Dropped(error.drop_reason()),
        };
        let (place, first, replaces) = match self.known(&packet, &headers) {
            Some(place) => (self.reunite(place, &packet, &headers), false, None),
            None => match self.join(&packet, &headers) {
                Some(place) => (place, false, None),
                None => self.open(&packet, &headers),
            },
        };
        let Some(link) = self.links.get_mut(place.slot) else {
            // `place` was found or made a moment ago, so its slot is taken; not reached.
            return Routed::Dropped(crate::model::DropReason::ConnectionLimit);
        };
        let direction = direction_of(&packet, &headers, place.side, link.client);
        let fit = if packet.cookie.is_known() {
            link.judge(place.side, direction, packet.hook, &headers)
        } else {
            Fit::Whole
        };
        let ends = fit != Fit::Nothing && link.follow(direction, &headers, packet.at);
        if headers.protocol() != L4::TCP {
            link.note_datagram(datagram_digest(&self.hasher, &packet, &headers), packet.hook);
        }
        let (connection, shard) = (link.id, link.shard);
        let news = link.note_hook(place.side, packet.hook);
        let touch = packet.at.since(link.touched) >= TOUCH_EVERY;
        if touch {
            link.touched = packet.at;
        }
        if ends {
            self.close_soon(place.slot, packet.at);
        }
        if touch {
            self.links.touch(place.slot);
        }
        if news {
            self.learn(place, &packet, &headers);
        }
        Routed::To {
            shard,
            packet: RoutedPacket {
                connection,
                vantage: place.side,
                direction,
                first,
                replaces,
                absorbed: self.absorbed.get_mut(shard).and_then(VecDeque::pop_front),
                fit,
                headers,
                packet,
            },
        }
    }

    /// Takes what the kernel tells about sockets.
    pub fn socket_event(&mut self, event: &SocketEvent) {
        match event {
            SocketEvent::State { cookie, tuple, state, .. } if *state == TcpState::LISTEN => {
                self.listeners.add(*cookie, tuple.local.port);
            }
            SocketEvent::Destroyed { cookie, at } => {
                self.listeners.remove(*cookie);
                self.socket_gone(*cookie, *at);
            }
            SocketEvent::State { .. } | SocketEvent::Owner { .. } => {}
        }
    }

    /// Forgets what ended or was idle too long at `now`. Cheap to call often.
    pub fn expire(&mut self, now: Timestamp) {
        self.expire_closing(now);
        self.expire_brief(now);
        self.expire_idle(now);
        self.fingerprints.expire(now);
    }

    fn expire_closing(&mut self, now: Timestamp) {
        for _ in 0..MAX_EXPIRED {
            match self.closing.front() {
                Some((at, _, _)) if *at <= now => {}
                _ => break,
            }
            if let Some((_, slot, id)) = self.closing.pop_front()
                && self.links.get(slot).is_some_and(|link| link.id == id)
            {
                self.forget(slot);
            }
        }
    }

    fn expire_brief(&mut self, now: Timestamp) {
        for _ in 0..MAX_EXPIRED {
            match self.brief.front() {
                Some((at, _, _)) if *at <= now => {}
                _ => break,
            }
            let Some((_, slot, id)) = self.brief.pop_front() else { break };
            let Some(link) = self.links.get(slot).filter(|link| link.id == id) else { continue };
            let due = link.last_seen.plus(self.config.brief_timeout);
            if link.is_tcp() && link.is_answered() {
                continue;
            }
            if due <= now {
                self.forget(slot);
            } else {
                self.brief.push_back((due, slot, id));
            }
        }
    }

    fn expire_idle(&mut self, now: Timestamp) {
        for _ in 0..MAX_EXPIRED {
            let Some(slot) = self.links.oldest() else { break };
            let Some(link) = self.links.get_mut(slot) else { break };
            // Entries move in the list at most once a second, so the list may lag behind the truth.
            if now.since(link.touched) < duration_nanos(self.config.idle_timeout) {
                break;
            }
            if now.since(link.last_seen) < duration_nanos(self.config.idle_timeout) {
                link.touched = link.last_seen;
                self.links.touch(slot);
            } else {
                self.forget(slot);
            }
        }
    }

    /// The connection that this packet's key already names.
    fn known(&mut self, packet: &Packet, headers: &Headers) -> Option<Place> {
        if let Some(remote) = connected(packet, headers) {
            let place = *self.by_cookie.get(&packet.cookie)?;
            let link = self.links.get(place.slot)?;
            let vantage = link.vantage(place.side)?;
            // A socket that was connected again, to another peer or anew, is another connection.
            let same_peer = headers.protocol() == L4::TCP || vantage.remote == remote;
            let restarted = packet.hook == Hook::Egress && is_new_syn(link, headers.tcp());
            return (same_peer && !restarted).then_some(place);
        }
        let place = self.by_listener.get(&(packet.cookie, headers.tuple.canonical())).copied();
        let place = match place {
            Some(place) => place,
            // A disconnecting socket has lost its peer's address already.
            None if packet.cookie.is_known() => {
                *self.by_cookie.get(&packet.cookie).filter(|_| headers.protocol() == L4::TCP)?
            }
            None => return None,
        };
        let link = self.links.get(place.slot)?;
        (!is_new_syn(link, headers.tcp())).then_some(place)
    }

    /// The connection that this packet's socket turns out to be an end of.
    fn join(&mut self, packet: &Packet, headers: &Headers) -> Option<Place> {
        if !packet.cookie.is_known() {
            return None;
        }
        let place = self.find_twin(packet, headers).or_else(|| self.find_fingerprint(packet, headers))?;
        self.attach(place, packet, headers);
        Some(place)
    }

    /// Among the connections with this header tuple, the one that the packet continues best.
    fn find_twin(&self, packet: &Packet, headers: &Headers) -> Option<Place> {
        let twins = self.by_tuple.get(&headers.tuple.canonical())?;
        let digest = headers.tcp().map_or_else(|| datagram_digest(&self.hasher, packet, headers), |_| 0);
        let mut best: Option<(u64, Place)> = None;
        for slot in twins.iter().rev() {
            let Some(link) = self.links.get(*slot) else { continue };
            let Some(side) = open_side(link, packet, headers) else { continue };
            let distance = match headers.tcp() {
                Some(tcp) => link.continuity(direction_at(packet.hook, side), tcp),
                None => {
                    link.datagram_age(digest, packet.hook, packet.at).filter(|age| *age < MAX_DATAGRAM_AGE)
                }
            };
            let Some(distance) = distance else { continue };
            if best.is_none_or(|(known, _)| distance < known) {
                best = Some((distance, Place { slot: *slot, side }));
            }
        }
        best.map(|(_, place)| place)
    }

    /// The connection that showed this very packet at its other end, under other addresses.
    fn find_fingerprint(&self, packet: &Packet, headers: &Headers) -> Option<Place> {
        let seen = self.fingerprints.get(headers)?;
        let link = self.links.get(seen.slot).filter(|link| link.id == seen.id)?;
        let side = link.only_side()?;
        // What left one socket arrives at the other.
        (packet.hook != seen.hook).then_some(Place { slot: seen.slot, side: 1 - side })
    }

    /// A connection with one end so far may turn out to be the other end of another one.
    fn reunite(&mut self, place: Place, packet: &Packet, headers: &Headers) -> Place {
        let watched = |link: &&mut Link| link.watch > 0 && headers.payload_len_on_wire > 0;
        let Some(link) = self.links.get_mut(place.slot).filter(watched) else { return place };
        link.watch -= 1;
        let (id, watch) = (link.id, link.watch);
        if link.only_side().is_none() || !packet.cookie.is_known() {
            link.watch = 0;
            return place;
        }
        let Some(found) = self.find_fingerprint(packet, headers).filter(|found| found.slot != place.slot)
        else {
            let sighting = Sighting { slot: place.slot, id, hook: packet.hook };
            self.fingerprints.remember(headers, sighting, packet.at);
            return place;
        };
        // The one that showed more data goes on: the other one knows nothing that it does not know.
        if self.links.get(found.slot).is_some_and(|other| other.watch > watch) {
            self.merge(place.slot, found.slot);
            place
        } else {
            self.merge(found.slot, place.slot);
            found
        }
    }

    /// `gone`, of which one end is known, becomes the missing end of `kept`.
    fn merge(&mut self, kept: u32, gone: u32) {
        let known = |link: &Link| Some((*link.vantage(link.only_side()?)?, link.tuples.clone()));
        let Some((vantage, tuples)) = self.links.get(gone).and_then(known) else { return };
        let Some(missing) = self.links.get(kept).and_then(Link::only_side).map(|side| 1 - side) else {
            return;
        };
        if let Some((id, shard)) = self.forget(gone)
            && let Some(queue) = self.absorbed.get_mut(shard)
        {
            if queue.len() >= MAX_ABSORBED {
                queue.pop_front();
            }
            queue.push_back(id);
        }
        let Some(link) = self.links.get_mut(kept) else { return };
        *link.vantage_mut(missing) = Some(vantage);
        let place = Place { slot: kept, side: missing };
        let is_connected = vantage.cookie.is_known();
        let cookie = if is_connected { vantage.cookie } else { vantage.listener };
        for tuple in tuples {
            self.index(place, cookie, is_connected, tuple);
        }
    }

    /// Makes the packet's socket the vantage (or the accepted child) at `place`.
    fn attach(&mut self, place: Place, packet: &Packet, headers: &Headers) {
        let fresh = VantagePoint::new(packet.cookie, packet.socket);
        let canonical = headers.tuple.canonical();
        if let Some(link) = self.links.get_mut(place.slot) {
            let vantage = link.vantage_mut(place.side);
            match vantage {
                Some(known) if !known.cookie.is_known() => {
                    known.cookie = fresh.cookie;
                    known.remote = fresh.remote;
                }
                Some(_) => return,
                None => *vantage = Some(fresh),
            }
        }
        self.index(place, packet.cookie, fresh.cookie.is_known(), canonical);
    }

    /// A new connection that begins with this packet.
    fn open(&mut self, packet: &Packet, headers: &Headers) -> (Place, bool, Option<ConnectionId>) {
        self.supersede(packet, headers);
        self.compact();
        let replaces = self.make_room();
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let shard = match &replaces {
            Some((_, shard)) => *shard,
            None => self.load.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(shard, _)| shard),
        };
        let from_client = self.comes_from_client(packet, headers);
        let client = if from_client { headers.tuple.src } else { headers.tuple.dst };
        let side = match (packet.cookie.is_known(), packet.hook, from_client) {
            (false, _, _) | (true, Hook::Egress, true) | (true, Hook::Ingress, false) => CLIENT_VANTAGE,
            _ => SERVER_VANTAGE,
        };
        let mut link = Link::new(id, shard, client, packet.at);
        let vantage = VantagePoint::new(packet.cookie, packet.socket);
        *link.vantage_mut(side) = Some(vantage);
        let place = Place { slot: self.links.insert(link), side };
        if let Some(load) = self.load.get_mut(shard) {
            *load += 1;
        }
        self.brief.push_back((packet.at.plus(self.config.brief_timeout), place.slot, id));
        self.index(place, packet.cookie, vantage.cookie.is_known(), headers.tuple.canonical());
        if packet.cookie.is_known() {
            let sighting = Sighting { slot: place.slot, id, hook: packet.hook };
            self.fingerprints.remember(headers, sighting, packet.at);
        }
        (place, true, replaces.map(|(id, _)| id))
    }

    /// A connection that had this packet's key until now (the port is used again) ends.
    fn supersede(&mut self, packet: &Packet, headers: &Headers) {
        let old = match connected(packet, headers) {
            Some(_) => self.by_cookie.get(&packet.cookie),
            None => self.by_listener.get(&(packet.cookie, headers.tuple.canonical())),
        };
        if let Some(slot) = old.map(|place| place.slot) {
            self.close_soon(slot, packet.at);
        }
    }

    /// Puts a connection on the list of those that end.
    fn close_soon(&mut self, slot: u32, at: Timestamp) {
        if let Some(link) = self.links.get_mut(slot)
            && !link.closing
        {
            link.closing = true;
            self.closing.push_back((at.plus(self.config.close_linger), slot, link.id));
        }
    }

    /// Evicts a connection when the table is full: one whose opening nobody answered for long, so that
    /// a flood of SYNs hurts itself first, else the least recently used one.
    fn make_room(&mut self) -> Option<(ConnectionId, usize)> {
        if self.links.len() < self.config.max_connections {
            return None;
        }
        for _ in 0..MAX_EVICTION_TRIES {
            let Some((at, slot, id)) = self.brief.pop_front() else { break };
            let Some(link) = self.links.get(slot).filter(|link| link.id == id) else { continue };
            if !link.is_answered() {
                return self.forget(slot);
            }
            if !link.is_tcp() {
                self.brief.push_back((at, slot, id));
            }
        }
        let slot = self.links.oldest()?;
        self.forget(slot)
    }

    /// Drops queued slots that were given to other connections, once they are the majority.
    fn compact(&mut self) {
        let most = self.config.max_connections.saturating_mul(2).saturating_add(1024);
        let links = &self.links;
        for queue in [&mut self.brief, &mut self.closing] {
            if queue.len() > most {
                queue.retain(|(_, slot, id)| links.get(*slot).is_some_and(|link| link.id == *id));
            }
        }
    }

    fn index(&mut self, place: Place, cookie: SocketCookie, is_connected: bool, canonical: FiveTuple) {
        if is_connected {
            self.by_cookie.insert(cookie, place);
        } else {
            self.by_listener.insert((cookie, canonical), place);
        }
        self.add_tuple(place.slot, canonical);
    }

    fn add_tuple(&mut self, slot: u32, canonical: FiveTuple) {
        if self.links.get_mut(slot).is_some_and(|link| link.add_tuple(canonical)) {
            let twins = self.by_tuple.entry(canonical).or_default();
            if twins.len() >= MAX_TWINS {
                twins.remove(0);
            }
            twins.push(slot);
        }
    }

    /// The first packet at a hook shows under which addresses NAT sends this direction.
    fn learn(&mut self, place: Place, packet: &Packet, headers: &Headers) {
        if packet.cookie.is_known() {
            self.add_tuple(place.slot, headers.tuple.canonical());
        }
    }

    fn comes_from_client(&self, packet: &Packet, headers: &Headers) -> bool {
        let (src, dst) = (headers.tuple.src, headers.tuple.dst);
        if let Some(tcp) = headers.tcp() {
            if tcp.flags.opens() {
                return true;
            }
            if tcp.flags.accepts() {
                return false;
            }
        }
        let outbound = packet.hook == Hook::Egress;
        if packet.cookie.is_known() && connected(packet, headers).is_none() && headers.protocol() == L4::TCP {
            // Only listeners have no peer, and they are servers.
            return !outbound;
        }
        if headers.protocol() == L4::TCP && packet.cookie.is_known() {
            let local = packet.socket.map_or(0, |socket| socket.local.port);
            let remote = packet.socket.map_or(0, |socket| socket.remote.port);
            let (local_listens, remote_listens) = (self.listeners.has(local), self.listeners.has(remote));
            if local_listens != remote_listens {
                return local_listens != outbound;
            }
        }
        if headers.protocol() == L4::TCP {
            src.port >= dst.port
        } else {
            !serves(src.port) || serves(dst.port)
        }
    }

    fn socket_gone(&mut self, cookie: SocketCookie, at: Timestamp) {
        let Some(place) = self.by_cookie.get(&cookie).copied() else { return };
        let Some(link) = self.links.get(place.slot) else { return };
        // The other end may still drain; a lone socket's connection is over with it. Its last packets
        // may come after this event, so it lingers.
        if link.vantage(1 - place.side).is_none() {
            self.close_soon(place.slot, at);
        }
    }

    fn forget(&mut self, slot: u32) -> Option<(ConnectionId, usize)> {
        let link = self.links.remove(slot)?;
        for vantage in link.vantages.iter().flatten() {
            if self.by_cookie.get(&vantage.cookie).is_some_and(|place| place.slot == slot) {
                self.by_cookie.remove(&vantage.cookie);
            }
            for tuple in &link.tuples {
                let key = (vantage.listener, *tuple);
                if self.by_listener.get(&key).is_some_and(|place| place.slot == slot) {
                    self.by_listener.remove(&key);
                }
            }
        }
        for tuple in &link.tuples {
            if let Some(slots) = self.by_tuple.get_mut(tuple) {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    self.by_tuple.remove(tuple);
                }
            }
        }
        if let Some(load) = self.load.get_mut(link.shard) {
            *load = load.saturating_sub(1);
        }
        Some((link.id, link.shard))
    }
}

#[cfg(test)]
impl Router {
    pub(super) fn queue_sizes(&self) -> [usize; 2] {
        [self.brief.len(), self.closing.len()]
    }

    pub(super) fn most_twins(&self) -> usize {
        self.by_tuple.values().map(SmallVec::len).max().unwrap_or(0)
    }

    /// Entries in every index; none may outlive its connections.
    pub(super) fn index_sizes(&self) -> [usize; 5] {
        [
            self.by_cookie.len(),
            self.by_listener.len(),
            self.by_tuple.len(),
            self.fingerprints.len(),
            self.load.iter().sum(),
        ]
    }
}

/// The peer of a connected socket that keys packets by its cookie.
fn connected(packet: &Packet, headers: &Headers) -> Option<AddrPort> {
    if !packet.cookie.is_known() || !matches!(headers.protocol(), L4::TCP | L4::UDP) {
        return None;
    }
    packet.socket.map(|socket| socket.remote).filter(|remote| remote.port != 0)
}

/// Whether this SYN opens a connection other than `link`.
fn is_new_syn(link: &Link, tcp: Option<&TcpHeader>) -> bool {
    tcp.is_some_and(|tcp| tcp.flags.opens() && link.isn != Some(tcp.seq))
}

/// The side of `link` that the packet's socket could be: the one not seen yet, or the one known only
/// by its listener.
fn open_side(link: &Link, packet: &Packet, headers: &Headers) -> Option<u8> {
    let local = if packet.hook == Hook::Egress { headers.tuple.src } else { headers.tuple.dst };
    if link.is_tcp() && connected(packet, headers).is_some() {
        let waits = |side: u8| link.vantage(side).is_some_and(|vantage| !vantage.cookie.is_known());
        if waits(SERVER_VANTAGE) && (local != link.client || headers.tuple.src == headers.tuple.dst) {
            return Some(SERVER_VANTAGE);
        }
    }
    let side = 1 - link.only_side()?;
    // The two ends of a connection do not share an address.
    let at_client = local == link.client;
    (at_client == (side == CLIENT_VANTAGE)).then_some(side)
}

/// Whether a datagram port is one that servers have.
fn serves(port: u16) -> bool {
    port < FIRST_UNPRIVILEGED_PORT || DATAGRAM_SERVERS.contains(&port)
}

fn direction_at(hook: Hook, side: u8) -> Direction {
    if (hook == Hook::Egress) == (side == CLIENT_VANTAGE) { Direction::ToServer } else { Direction::ToClient }
}

fn direction_of(packet: &Packet, headers: &Headers, side: u8, client: AddrPort) -> Direction {
    if packet.cookie.is_known() {
        direction_at(packet.hook, side)
    } else if headers.tuple.src == client {
        Direction::ToServer
    } else {
        Direction::ToClient
    }
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
