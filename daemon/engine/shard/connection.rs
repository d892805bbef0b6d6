//! One connection in a shard: accounting, reassembly, dissection and its end.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::endpoints::Endpoints;
use super::plaintext::{Plaintext, Surroundings};
use super::{FlowInfo, FlowState, FlowTls, FlowTraffic, Sink};
use crate::dissect::{self, Carrier, End, Input, ProtocolInfo, Session, Stage, Transaction};
use crate::flow::{Fit, RoutedPacket, TcpMetrics, TlsNews};
use crate::limits::{self, Limits};
use crate::model::{ConnectionId, Direction, DropReason, Hook, L4, Timestamp, TlsHandshake, TlsInfo};
use crate::reassembly::{Reassembler, Segment, StreamSink};
use crate::wire::{TcpFlags, TcpHeader};

/// What a connection may use while it works.
pub(super) struct Turn<'a> {
    pub(super) limits: &'a Limits,
    pub(super) dissecting: bool,
    /// From the packets' own bytes.
    pub(super) transactions: &'a mut Vec<Transaction>,
    /// From decrypted bytes.
    pub(super) decrypted: &'a mut Vec<Transaction>,
    pub(super) sink: &'a mut dyn Sink,
}

/// Whether payload is looked at.
///
/// ```text
///  Waiting --first data--> Active --no protocol fits, or the connection ended--> Off
///     ^                       |
///     +---- payload came while dissection is paused
/// ```
#[derive(Debug)]
enum Dissection {
    /// No data yet.
    Waiting,
    /// A session takes the bytes.
    Active(Box<Session>),
    /// Nobody wants the bytes any more.
    Off,
}

/// What only TCP has.
#[derive(Debug)]
struct Tcp {
    reassembler: Reassembler,
    metrics: TcpMetrics,
    dissection: Dissection,
    /// The first byte of the connection was or will be seen.
    from_start: bool,
    /// Per direction: a FIN passed.
    fins: [bool; 2],
    /// What the TLS handshake said, once records were seen.
    handshake: Option<Box<TlsHandshake>>,
    /// What TLS libraries show of it.
    plaintext: Option<Box<Plaintext>>,
    /// How and when packets told the end; plaintext may come a little later.
    ended: Option<(End, Timestamp)>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: CompactString,
    pub(super) next_index: u64,
    /// Indices of calls that were shown open, by the number that their dissector gave them.
    pub(super) open_calls: HashMap<u64, u64>,
    /// Its place in the deadline queue.
    pub(super) armed: Option<Timestamp>,
    /// Last moved in the LRU order.
    pub(super) touched: Timestamp,
    protocol: L4,
    ends: Endpoints,
    /// The vantage that is accounted: the first one seen.
    primary: u8,
    traffic: [FlowTraffic; 2],
    first_seen: Timestamp,
    last_seen: Timestamp,
    closed_at: Option<Timestamp>,
    application: Option<&'static ProtocolInfo>,
    tcp: Option<Box<Tcp>>,
    /// For UDP: a session that takes whole datagrams.
    datagrams: Dissection,
}

impl Connection {
    /// A connection that begins with `routed`, which is still to be taken.
    pub(super) fn new(stream: CompactString, routed: &RoutedPacket) -> Self {
        let at = routed.packet.at;
        let tcp = routed.headers.tcp().map(|_| {
            Box::new(Tcp {
                reassembler: Reassembler::default(),
                metrics: TcpMetrics::default(),
                dissection: Dissection::Waiting,
                from_start: false,
                fins: [false, false],
                handshake: None,
                plaintext: None,
                ended: None,
            })
        });
        Self {
            id: routed.connection,
            stream,
            next_index: 0,
            open_calls: HashMap::new(),
            armed: None,
            touched: at,
            protocol: routed.headers.protocol(),
            ends: Endpoints::new(routed),
            primary: routed.vantage,
            traffic: [FlowTraffic::default(); 2],
            first_seen: at,
            last_seen: at,
            closed_at: None,
            application: None,
            tcp,
            datagrams: match routed.headers.protocol() {
                L4::UDP => Dissection::Waiting,
                _ => Dissection::Off,
            },
        }
    }

    /// Bytes of memory that it holds, roughly.
    pub(super) fn held(&self) -> usize {
        // What tables, deadlines and small messages take beside the structs.
        const OVERHEAD: usize = 512;
        let of = |dissection: &Dissection| match dissection {
            Dissection::Active(session) => size_of::<Session>() + session.held(),
            Dissection::Waiting | Dissection::Off => 0,
        };
        let tcp = self.tcp.as_ref().map_or(0, |tcp| {
            let plaintext = tcp.plaintext.as_ref().map_or(0, |plaintext| plaintext.held());
            size_of::<Tcp>() + tcp.reassembler.buffered() + of(&tcp.dissection) + plaintext
        });
        OVERHEAD + size_of::<Self>() + tcp + of(&self.datagrams)
    }

    /// The index of a call's entry: a new one, unless the call was shown before.
    pub(super) fn index_of(&mut self, stage: Stage) -> u64 {
        if let Stage::Ended(call) = stage
            && let Some(index) = self.open_calls.remove(&call)
        {
            return index;
        }
        let index = self.next_index;
        self.next_index += 1;
        if let Stage::Open(call) = stage {
            self.open_calls.insert(call, index);
        }
        index
    }

    pub(super) fn ends(&self) -> &Endpoints {
        &self.ends
    }

    /// Takes one packet.
    pub(super) fn packet(&mut self, routed: &RoutedPacket, turn: &mut Turn<'_>) {
        let at = routed.packet.at;
        self.last_seen = self.last_seen.max(at);
        self.ends.learn(routed);
        if routed.vantage == self.primary {
            let [up, down] = &mut self.traffic;
            let traffic = if routed.direction == Direction::ToServer { up } else { down };
            traffic.packets += 1;
            traffic.bytes += u64::from(routed.packet.wire_len);
        }
        if routed.fit == Fit::Nothing {
            turn.sink.loss(DropReason::OutOfWindow, 1);
            return;
        }
        if let (Some(header), Some(tcp)) = (routed.headers.tcp(), &mut self.tcp) {
            let hook = routed.packet.cookie.is_known().then_some(routed.packet.hook);
            tcp.metrics.segment(routed.vantage, routed.direction, hook, &routed.headers, at);
            if self.closed_at.is_none() {
                self.segment(routed, header, turn);
            }
        } else if routed.vantage == self.primary {
            // The other end's socket shows the same datagrams again.
            self.datagram(routed, turn);
        }
    }

    fn datagram(&mut self, routed: &RoutedPacket, turn: &mut Turn<'_>) {
        let (at, from_start) = (routed.packet.at, routed.first);
        if matches!(self.datagrams, Dissection::Off) || self.closed_at.is_some() {
            return;
        }
        if !turn.dissecting {
            turn.sink.loss(DropReason::Paused, 1);
            if let Dissection::Active(session) = &mut self.datagrams {
                session.close(End::CaptureEnd, at, turn.limits, turn.transactions);
            }
            self.datagrams = Dissection::Waiting;
            return;
        }
        if matches!(self.datagrams, Dissection::Waiting) {
            let session = Session::new(Carrier::Datagram, self.ends.server_port(), from_start);
            self.datagrams = Dissection::Active(Box::new(session));
        }
        if let Dissection::Active(session) = &mut self.datagrams {
            let payload = Input::Bytes(routed.headers.payload(&routed.packet.data));
            session.feed(routed.direction, payload, at, turn.limits, turn.transactions);
            self.application = session.protocol().or(self.application);
            self.ends.swapped = session.is_swapped();
            if session.is_done() {
                self.datagrams = Dissection::Off;
            }
        }
    }

    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Timestamp, turn: &mut Turn<'_>) {
        self.with_stream(turn, |reassembler, feed| {
            let limits = feed.limits;
            reassembler.advance(now, limits, feed);
        });
        if let Some(Dissection::Active(session)) = self.tcp.as_mut().map(|tcp| &mut tcp.dissection) {
            session.expire(now, turn.limits, turn.transactions);
        }
        if let Dissection::Active(session) = &mut self.datagrams {
            session.expire(now, turn.limits, turn.transactions);
        }
        self.with_plaintext(turn, |plaintext, around| plaintext.advance(now, around));
        self.finish_if_ended(now, turn);
        if let Some((end, at)) = self.tcp.as_ref().and_then(|tcp| tcp.ended)
            && at.plus(limits::tls::END_PATIENCE) <= now
        {
            self.with_plaintext(turn, |plaintext, around| plaintext.finish(end, at, around));
        }
    }

    /// Takes news about its plaintext.
    pub(super) fn tls(&mut self, vantage: u8, news: TlsNews, turn: &mut Turn<'_>) {
        let Some(tcp) = &mut self.tcp else { return };
        let ended = tcp.ended;
        if matches!(news, TlsNews::Data(..)) {
            tcp.plaintext.get_or_insert_default();
        }
        self.with_plaintext(turn, |plaintext, around| match news {
            TlsNews::Data(chunk, witness) => plaintext.data(vantage, chunk, witness, around),
            TlsNews::Revoked(_, session) => plaintext.revoked(session),
            TlsNews::Closed(at, session) => {
                plaintext.closed(session);
                if let Some((end, _)) = ended.filter(|_| plaintext.is_closed()) {
                    plaintext.finish(end, at, around);
                }
            }
        });
    }

    /// When `advance` has something to do at the earliest.
    pub(super) fn deadline(&self, limits: &Limits) -> Timestamp {
        let mut deadline = self.over_at(limits);
        if let Dissection::Active(session) = &self.datagrams
            && let Some(answer) = session.next_deadline()
        {
            deadline = deadline.min(answer);
        }
        let Some(tcp) = &self.tcp else { return deadline };
        if let Some(hole) = tcp.reassembler.next_deadline(limits) {
            deadline = deadline.min(hole);
        }
        if let Dissection::Active(session) = &tcp.dissection
            && let Some(answer) = session.next_deadline()
        {
            deadline = deadline.min(answer);
        }
        let Some(plaintext) = &tcp.plaintext else { return deadline };
        let end = tcp.ended.filter(|_| plaintext.is_open());
        let end = end.map(|(_, at)| at.plus(limits::tls::END_PATIENCE));
        plaintext.deadline().into_iter().chain(end).fold(deadline, Timestamp::min)
    }

    /// Whether it may be forgotten at `now`.
    pub(super) fn is_over(&self, now: Timestamp, limits: &Limits) -> bool {
        self.over_at(limits) <= now
    }

    /// Ends dissection: hands out what is buffered and emits what is unfinished.
    pub(super) fn close(&mut self, end: End, at: Timestamp, turn: &mut Turn<'_>) {
        self.close_stream(end, at, turn);
        let (end, at) = self.tcp.as_ref().and_then(|tcp| tcp.ended).unwrap_or((end, at));
        self.with_plaintext(turn, |plaintext, around| plaintext.finish(end, at, around));
    }

    /// The packets told the end. Plaintext comes through another ring, so its end is waited for.
    fn end(&mut self, end: End, at: Timestamp, turn: &mut Turn<'_>) {
        self.close_stream(end, at, turn);
        if let Some(tcp) = &mut self.tcp {
            tcp.ended.get_or_insert((end, at));
        }
        self.with_plaintext(turn, |plaintext, around| {
            if plaintext.is_closed() {
                plaintext.finish(end, at, around);
            }
        });
    }

    fn close_stream(&mut self, end: End, at: Timestamp, turn: &mut Turn<'_>) {
        self.with_stream(turn, |reassembler, feed| reassembler.close(at, feed));
        if let Some(tcp) = &mut self.tcp {
            if let Dissection::Active(session) = &mut tcp.dissection {
                session.close(end, at, turn.limits, turn.transactions);
                self.application = session.protocol().or(self.application);
            }
            tcp.learn_handshake();
            tcp.dissection = Dissection::Off;
        }
        if let Dissection::Active(session) = &mut self.datagrams {
            session.close(end, at, turn.limits, turn.transactions);
        }
        self.datagrams = Dissection::Off;
        self.closed_at.get_or_insert(at);
    }

    /// The connection for a reader.
    pub(super) fn info(&self) -> FlowInfo {
        let [mut to_server, mut to_client] = self.traffic;
        if self.ends.swapped {
            std::mem::swap(&mut to_server, &mut to_client);
        }
        FlowInfo {
            id: self.id,
            protocol: self.protocol.name(),
            client: self.ends.client().into(),
            server: self.ends.server().into(),
            state: self.state(),
            application: self.application.map(|info| info.key),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            to_server,
            to_client,
            entries: self.next_index,
            tls: self.tcp.as_ref().and_then(|tcp| tcp.flow_tls()),
            tcp: self.tcp.as_ref().map(|tcp| tcp.metrics.report()),
        }
    }

    /// What entries made from its plaintext say about its TLS.
    pub(super) fn tls_info(&mut self) -> Option<Arc<TlsInfo>> {
        let tcp = self.tcp.as_mut()?;
        tcp.learn_handshake();
        Some(tcp.plaintext.as_mut()?.info(tcp.handshake.as_deref()))
    }

    fn state(&self) -> FlowState {
        let closing = self.tcp.as_ref().is_some_and(|tcp| tcp.fins != [false, false]);
        match self.closed_at {
            Some(_) => FlowState::Closed,
            None if closing => FlowState::Closing,
            None => FlowState::Open,
        }
    }

    fn over_at(&self, limits: &Limits) -> Timestamp {
        if let Some(at) = self.closed_at {
            return at.plus(limits.close_linger);
        }
        let [up, down] = &self.traffic;
        let brief = self.tcp.is_none() || up.packets == 0 || down.packets == 0;
        self.last_seen.plus(if brief { limits.brief_timeout } else { limits.idle_timeout })
    }

    fn segment(&mut self, routed: &RoutedPacket, header: &TcpHeader, turn: &mut Turn<'_>) {
        let at = routed.packet.at;
        let Some(tcp) = &mut self.tcp else { return };
        tcp.from_start |= header.flags.has(TcpFlags::SYN);
        let [up, down] = &mut tcp.fins;
        *(if routed.direction == Direction::ToServer { up } else { down }) |= header.flags.has(TcpFlags::FIN);
        let payload = routed.headers.payload(&routed.packet.data);
        tcp.notice_late_tls(payload);
        if matches!(tcp.dissection, Dissection::Off) {
            // Without reassembly the flags alone tell the end.
            if tcp.fins == [true, true] {
                self.end(End::Closed, at, turn);
            } else if header.flags.has(TcpFlags::RST) {
                self.end(End::Reset(routed.direction), at, turn);
            }
            return;
        }
        if !turn.dissecting && routed.headers.payload_len_on_wire > 0 {
            self.skip_paused(at, turn);
            return;
        }
        let segment = Segment {
            header,
            payload,
            len_on_wire: routed.headers.payload_len_on_wire,
            at,
            sent_here: routed.packet.cookie.is_known() && routed.packet.hook == Hook::Egress,
            ack_counts: routed.fit == Fit::Whole,
        };
        self.with_stream(turn, |reassembler, feed| {
            let limits = feed.limits;
            reassembler.segment(routed.direction, &segment, limits, feed);
        });
        self.finish_if_ended(at, turn);
    }

    /// Payload that nobody looks at: what was under way is given up, and the stream begins anew later.
    fn skip_paused(&mut self, at: Timestamp, turn: &mut Turn<'_>) {
        turn.sink.loss(DropReason::Paused, 1);
        let Some(tcp) = &mut self.tcp else { return };
        if let Dissection::Active(session) = &mut tcp.dissection {
            session.close(End::CaptureEnd, at, turn.limits, turn.transactions);
        }
        tcp.dissection = Dissection::Waiting;
        tcp.reassembler = Reassembler::default();
        tcp.from_start = false;
        if tcp.fins == [true, true] {
            self.end(End::Closed, at, turn);
        }
    }

    fn finish_if_ended(&mut self, at: Timestamp, turn: &mut Turn<'_>) {
        let Some(tcp) = &self.tcp else { return };
        let end = match tcp.reassembler.reset() {
            Some(direction) => End::Reset(direction),
            None if tcp.reassembler.is_ended() => End::Closed,
            None => return,
        };
        if self.closed_at.is_none() {
            self.end(end, at, turn);
        }
    }

    /// Lets the plaintext, if there is any, do something, then looks at what it has learned.
    fn with_plaintext(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Plaintext, &mut Surroundings<'_>),
    ) {
        let Some(plaintext) = self.tcp.as_mut().and_then(|tcp| tcp.plaintext.as_mut()) else { return };
        let mut around = Surroundings {
            limits: turn.limits,
            dissecting: turn.dissecting,
            transactions: &mut *turn.decrypted,
            sink: &mut *turn.sink,
            server_port: self.ends.server_port(),
            both_ends: self.ends.are_both_local(),
        };
        work(plaintext, &mut around);
        self.application = plaintext.protocol().or(self.application);
        if let Some(swapped) = plaintext.is_swapped() {
            self.ends.swapped = swapped;
        }
    }

    /// Lets the reassembler feed the session, then looks at what became of the session.
    fn with_stream(&mut self, turn: &mut Turn<'_>, work: impl FnOnce(&mut Reassembler, &mut Feed<'_>)) {
        let Some(tcp) = &mut self.tcp else { return };
        if matches!(tcp.dissection, Dissection::Off) {
            return;
        }
        let mut feed = Feed {
            dissection: &mut tcp.dissection,
            from_start: tcp.from_start,
            ends: &self.ends,
            limits: turn.limits,
            transactions: &mut *turn.transactions,
            sink: &mut *turn.sink,
            fed: false,
        };
        work(&mut tcp.reassembler, &mut feed);
        if !feed.fed {
            return;
        }
        if let Dissection::Active(session) = &tcp.dissection {
            let decrypted = tcp.plaintext.as_ref().and_then(|plaintext| plaintext.is_swapped());
            if decrypted.is_none() {
                self.application = session.protocol().or(self.application);
                self.ends.swapped = session.is_swapped();
            }
            // Once the handshake is read, nothing of what follows can be.
            let encrypted = session.handshake().is_some_and(|(_, settled)| settled);
            let done = encrypted || session.is_done();
            tcp.learn_handshake();
            if done {
                tcp.dissection = Dissection::Off;
                // Frees what waits behind holes; from here on only flags are followed.
                if !tcp.reassembler.is_ended() {
                    tcp.reassembler = Reassembler::default();
                }
            }
        }
    }
}

impl Tcp {
    /// Takes over what the handshake said so far; what was known before a pause stays.
    fn learn_handshake(&mut self) {
        let Dissection::Active(session) = &self.dissection else { return };
        let Some((facts, _)) = session.handshake() else { return };
        let known = self.handshake.get_or_insert_default();
        if **known != *facts && *facts != TlsHandshake::default() {
            **known = facts.clone();
        }
    }

    /// A connection whose first protocol nobody dissects may go on as TLS (STARTTLS).
    fn notice_late_tls(&mut self, payload: &[u8]) {
        let blind = matches!(self.dissection, Dissection::Off) && self.handshake.is_none();
        if blind && self.ended.is_none() && dissect::tls::begins_with_client_hello(payload) {
            self.dissection = Dissection::Waiting;
            self.reassembler = Reassembler::default();
            self.from_start = false;
        }
    }

    fn flow_tls(&self) -> Option<FlowTls> {
        let active = match &self.dissection {
            Dissection::Active(session) => session.handshake().map(|(facts, _)| facts),
            _ => None,
        };
        let plaintext = self.plaintext.as_deref();
        let handshake = active.filter(|_| self.handshake.is_none()).or(self.handshake.as_deref());
        (handshake.is_some() || plaintext.is_some()).then(|| FlowTls::new(handshake, plaintext))
    }
}

/// Carries bytes from the reassembler to the session.
struct Feed<'a> {
    dissection: &'a mut Dissection,
    from_start: bool,
    ends: &'a Endpoints,
    limits: &'a Limits,
    transactions: &'a mut Vec<Transaction>,
    sink: &'a mut dyn Sink,
    fed: bool,
}

impl Feed<'_> {
    fn feed(&mut self, direction: Direction, input: Input<'_>, at: Timestamp) {
        self.fed = true;
        if matches!(self.dissection, Dissection::Waiting) {
            let session = Session::new(Carrier::Stream, self.ends.server_port(), self.from_start);
            *self.dissection = Dissection::Active(Box::new(session));
        }
        if let Dissection::Active(session) = self.dissection {
            session.feed(direction, input, at, self.limits, self.transactions);
        }
    }
}

impl StreamSink for Feed<'_> {
    fn data(&mut self, direction: Direction, bytes: &[u8], at: Timestamp) {
        self.feed(direction, Input::Bytes(bytes), at);
    }

    fn gap(&mut self, direction: Direction, len: u64, reason: DropReason, at: Timestamp) {
        self.sink.loss(reason, len);
        self.feed(direction, Input::Gap(len), at);
    }

    fn fin(&mut self, direction: Direction, at: Timestamp) {
        // An end without any data before it is nothing to dissect.
        if matches!(self.dissection, Dissection::Active(_)) {
            self.feed(direction, Input::Eof, at);
        }
    }
}
