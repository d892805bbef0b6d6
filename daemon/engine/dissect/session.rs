//! One connection's way through detection, its dissector, hand-overs and loss of framing.
//!
//! The session buffers what the dissector left, so that a dissector sees contiguous bytes and nobody
//! copies what was taken at once. A direction that waits for the other one is queued with its times.
//! Invariant: buffered bytes stay below `max_head` (or `max_detect`) plus one input per direction, and
//! the work per input does not depend on how the bytes were split.

use super::backlog::{Item, Kind, Lane};
use super::{
    Carrier, Dissector, End, Input, Opening, Output, PROTOCOLS, Peek, Progress, Protocol, ProtocolInfo,
    Transaction, Upgrade, Verdict,
};
use crate::limits::Limits;
use crate::model::{Direction, Timestamp, TlsHandshake};

/// Dissection of one connection.
#[derive(Debug)]
pub struct Session {
    carrier: Carrier,
    server_port: u16,
    from_start: bool,
    /// Something was lost while the protocol was not yet known; the dissector will get it as gaps.
    lost: bool,
    swapped: bool,
    upgrade: Option<Box<Upgrade>>,
    protocol: Option<&'static Protocol>,
    stage: Stage,
    lanes: [Lane; 2],
    /// Numbers queued items across both lanes, to replay them as they came.
    order: u64,
    /// Bytes that detection looked at and let go.
    searched: usize,
    redetected: u32,
    /// What is queued has to be shown to detection again.
    undecided: bool,
}

#[derive(Debug)]
enum Stage {
    Detect,
    Active(Box<dyn Dissector>),
    Done,
}

/// What the session does after an answer of the dissector.
enum Next {
    Go,
    Desync,
    HandOver(Box<Upgrade>),
}

impl Session {
    /// A session for the bytes of one connection. `from_start`: its first byte will be fed.
    pub fn new(carrier: Carrier, server_port: u16, from_start: bool) -> Self {
        Self {
            carrier,
            server_port,
            from_start,
            lost: false,
            swapped: false,
            upgrade: None,
            protocol: None,
            stage: Stage::Detect,
            lanes: [Lane::default(), Lane::default()],
            order: 0,
            searched: 0,
            redetected: 0,
            undecided: false,
        }
    }

    /// A session for what rides on a part of a connection after an upgrade, such as a stream of HTTP/2, from its
    /// first byte on; the port of the connection says nothing about it.
    pub fn upgraded(upgrade: Upgrade) -> Self {
        let carrier = upgrade.carrier;
        Self { upgrade: Some(Box::new(upgrade)), ..Self::new(carrier, 0, true) }
    }

    /// Takes what is new in one direction: bytes in order, a gap, or its end. `dir` is the direction as
    /// the caller believes it (see [`is_swapped`](Self::is_swapped)); finished transactions go to `out`.
    pub fn feed(
        &mut self,
        dir: Direction,
        input: Input<'_>,
        at: Timestamp,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        let dir = if self.swapped { dir.flipped() } else { dir };
        match self.stage {
            Stage::Done => {}
            _ if self.carrier == Carrier::Datagram => self.datagram(dir, input, at, limits, out),
            Stage::Detect => self.detect(dir, input, at, limits, out),
            Stage::Active(_) => self.drive(dir, input, at, limits, out),
        }
    }

    /// One datagram: whole messages, so nothing is buffered. The first one that a protocol knows decides;
    /// later ones that it does not know are passed over, a bounded number of times.
    fn datagram(
        &mut self,
        dir: Direction,
        input: Input<'_>,
        at: Timestamp,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        let Input::Bytes(bytes) = input else { return };
        let mut dir = dir;
        if matches!(self.stage, Stage::Detect) {
            let empty: &[u8] = &[];
            let (to_server, to_client) =
                if dir == Direction::ToServer { (bytes, empty) } else { (empty, bytes) };
            let Detected::Yes(protocol, swapped) = self.probe(to_server, to_client) else {
                self.searched = self.searched.saturating_add(bytes.len());
                if self.searched > limits.max_detect {
                    self.give_up();
                }
                return;
            };
            self.open(protocol, swapped);
            dir = if swapped { dir.flipped() } else { dir };
        }
        let Stage::Active(dissector) = &mut self.stage else { return };
        let answer = dissector.feed(dir, input, at, &mut Output { limits, transactions: out });
        if answer == Progress::Desync {
            self.redetected += 1;
            if self.redetected > limits.max_redetect {
                self.finish(End::Desync, at, limits, out);
            }
        }
    }

    /// Gives up what waited too long at `now`.
    pub fn expire(&mut self, now: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        // What was given up may free input that is itself overdue.
        let mut before = None;
        while let Stage::Active(dissector) = &mut self.stage {
            dissector.expire(now, &mut Output { limits, transactions: out });
            self.pump(true, limits, out);
            let next = self.next_deadline().filter(|deadline| *deadline <= now);
            if next.is_none() || next == before {
                return;
            }
            before = next;
        }
    }

    /// The connection is over: what is unfinished is emitted with its error. Later input is ignored.
    pub fn close(&mut self, end: End, at: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        for dir in [Direction::ToServer, Direction::ToClient] {
            if self.lanes[dir.index()].waiting {
                self.unblock(dir, 0, limits, out);
            }
        }
        let end = match end {
            End::Reset(dir) if self.swapped => End::Reset(dir.flipped()),
            other => other,
        };
        self.finish(end, at, limits, out);
    }

    /// Whether the caller's idea of client and server was wrong: only possible where capture began
    /// mid-stream. Never changes once a protocol is known.
    pub fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// The protocol that was detected last.
    pub fn protocol(&self) -> Option<&'static ProtocolInfo> {
        self.protocol.and_then(|protocol| protocol.infos.first())
    }

    /// What the TLS handshake of this connection said, and whether nothing can be added to it.
    pub fn handshake(&self) -> Option<(&TlsHandshake, bool)> {
        match &self.stage {
            Stage::Active(dissector) => dissector.handshake(),
            _ => None,
        }
    }

    /// Bytes held here for detection or because the dissector left them.
    pub fn buffered(&self) -> usize {
        self.lanes.iter().map(|lane| lane.data.len() - lane.start).sum()
    }

    /// Bytes of memory held here and by the dissector, roughly.
    pub fn held(&self) -> usize {
        let dissector = match &self.stage {
            Stage::Active(dissector) => dissector.held(),
            Stage::Detect | Stage::Done => 0,
        };
        self.lanes.iter().map(Lane::cost).sum::<usize>() + dissector
    }

    /// When [`expire`](Self::expire) has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Active(dissector) => dissector.next_deadline(),
            _ => None,
        }
    }

    /// Whether nothing can come out any more: no protocol fits, or the connection is closed.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    fn finish(&mut self, end: End, at: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        if let Stage::Active(dissector) = &mut self.stage {
            dissector.close(end, at, &mut Output { limits, transactions: out });
        }
        self.give_up();
    }

    fn give_up(&mut self) {
        self.stage = Stage::Done;
        self.lanes = [Lane::default(), Lane::default()];
        self.upgrade = None;
    }

    fn queue(&mut self, dir: Direction, input: Input<'_>, at: Timestamp) {
        self.order += 1;
        self.lanes[dir.index()].queue(self.order, input, at);
    }

    fn detect(
        &mut self,
        dir: Direction,
        input: Input<'_>,
        at: Timestamp,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        let fresh = self.lanes.iter().all(|lane| lane.items.is_empty());
        match input {
            Input::Bytes([]) => return,
            Input::Bytes(bytes) if fresh => {
                let empty: &[u8] = &[];
                let (to_server, to_client) = match dir {
                    Direction::ToServer => (bytes, empty),
                    Direction::ToClient => (empty, bytes),
                };
                match self.probe(to_server, to_client) {
                    Detected::Yes(protocol, swapped) => {
                        self.open(protocol, swapped);
                        let dir = if swapped { dir.flipped() } else { dir };
                        return self.drive(dir, input, at, limits, out);
                    }
                    Detected::No => return self.let_go(bytes.len(), limits),
                    Detected::NeedMore => {}
                }
            }
            Input::Bytes(_) => {}
            Input::Gap(_) => {
                self.lost = true;
                self.queue(dir, input, at);
                return self.forget(dir);
            }
            Input::Eof => {
                self.queue(dir, input, at);
                let ended = |lane: &Lane| matches!(lane.items.back(), Some(Item { kind: Kind::Eof, .. }));
                if self.lanes.iter().all(ended) {
                    self.give_up();
                }
                return;
            }
        }
        self.queue(dir, input, at);
        self.undecided = true;
        self.pump(false, limits, out);
    }

    /// Asks the protocols about everything queued, and opens the one that answers.
    fn decide(&mut self, limits: &Limits) {
        self.undecided = false;
        let (to_server, to_client) = (self.lanes[0].head(), self.lanes[1].head());
        let longest = to_server.len().max(to_client.len());
        let total = to_server.len() + to_client.len();
        if total == 0 {
            return;
        }
        match self.probe(to_server, to_client) {
            Detected::Yes(protocol, swapped) => {
                if swapped {
                    self.lanes.swap(0, 1);
                }
                self.open(protocol, swapped);
            }
            Detected::NeedMore if longest < limits.max_detect => {}
            Detected::NeedMore | Detected::No => self.let_go(total, limits),
        }
    }

    /// No protocol fits what was seen. At the start of a connection that is final; in the middle of one
    /// the next piece may be the start of a message.
    fn let_go(&mut self, count: usize, limits: &Limits) {
        self.searched = self.searched.saturating_add(count);
        if self.is_joined_at_start() || self.searched > limits.max_resync {
            return self.give_up();
        }
        self.forget(Direction::ToServer);
        self.forget(Direction::ToClient);
    }

    fn is_joined_at_start(&self) -> bool {
        self.from_start && !self.lost
    }

    /// Lets go of what is queued for detection. A stream that was seen from its start learns of the hole.
    fn forget(&mut self, dir: Direction) {
        self.order += 1;
        self.lanes[dir.index()].forget(self.order, self.from_start);
    }

    fn probe(&self, to_server: &[u8], to_client: &[u8]) -> Detected {
        let peek = Peek {
            to_server,
            to_client,
            server_port: self.server_port,
            from_start: self.is_joined_at_start(),
            carrier: self.carrier,
        };
        let mut undecided = false;
        for protocol in PROTOCOLS.iter().copied().filter(|protocol| protocol.over.contains(&self.carrier)) {
            match (protocol.probe)(&peek) {
                Verdict::Yes => return Detected::Yes(protocol, false),
                Verdict::YesSwapped => return Detected::Yes(protocol, true),
                Verdict::No => {}
                Verdict::NeedMore => undecided = true,
            }
        }
        if undecided { Detected::NeedMore } else { Detected::No }
    }

    fn open(&mut self, protocol: &'static Protocol, swapped: bool) {
        self.swapped ^= swapped;
        self.protocol = Some(protocol);
        self.stage = Stage::Active((protocol.open)(&Opening {
            carrier: self.carrier,
            server_port: self.server_port,
            from_start: self.from_start,
            upgrade: self.upgrade.as_deref(),
        }));
    }

    /// Input for an open dissector: straight from the caller's slice where nothing is buffered.
    fn drive(
        &mut self,
        dir: Direction,
        input: Input<'_>,
        at: Timestamp,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        let lane = &mut self.lanes[dir.index()];
        if let (Input::Bytes(bytes), Stage::Active(dissector)) = (input, &mut self.stage)
            && lane.is_idle()
            && lane.left() == 0
        {
            let answer = dissector.feed(dir, input, at, &mut Output { limits, transactions: out });
            let taken = taken(&answer).min(bytes.len());
            lane.data.extend_from_slice(&bytes[taken..]);
            lane.seen = lane.data.len();
            lane.seen_at = at;
            let next = self.judge(dir, answer, limits);
            self.follow(next, at, limits, out);
        } else {
            let waiting = lane.waiting;
            self.queue(dir, input, at);
            if waiting {
                if self.lanes[dir.index()].cost() > limits.max_head {
                    self.unblock(dir, limits.max_head, limits, out);
                }
                return;
            }
        }
        self.pump(true, limits, out);
    }

    /// Turns an answer into lane state; the bytes taken are already accounted by the caller.
    fn judge(&mut self, dir: Direction, answer: Progress, limits: &Limits) -> Next {
        let lane = &mut self.lanes[dir.index()];
        lane.need = 0;
        lane.waiting = false;
        match answer {
            Progress::Consumed(_) => {}
            Progress::Need { at_least, .. } => lane.need = at_least,
            Progress::Wait(_) => lane.waiting = true,
            Progress::Desync => return Next::Desync,
            Progress::HandOver(_, upgrade) => return Next::HandOver(upgrade),
        }
        if lane.left() > limits.max_head && !lane.waiting { Next::Desync } else { Next::Go }
    }

    fn follow(&mut self, next: Next, at: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        match next {
            Next::Go => {}
            Next::HandOver(upgrade) => {
                self.carrier = upgrade.carrier;
                self.upgrade = Some(upgrade);
                self.from_start = true;
                self.lost = false;
                self.restart();
            }
            Next::Desync => {
                if let Stage::Active(dissector) = &mut self.stage {
                    dissector.close(End::Desync, at, &mut Output { limits, transactions: out });
                }
                self.redetected += 1;
                if self.redetected > limits.max_redetect {
                    return self.give_up();
                }
                self.from_start = false;
                self.stage = Stage::Detect;
                self.forget(Direction::ToServer);
                self.forget(Direction::ToClient);
            }
        }
    }

    /// Detects what follows a hand-over, beginning with what is already here.
    fn restart(&mut self) {
        self.stage = Stage::Detect;
        self.protocol = None;
        if !PROTOCOLS.iter().any(|protocol| protocol.over.contains(&self.carrier)) {
            return self.give_up();
        }
        for lane in &mut self.lanes {
            lane.requeue(0);
        }
        self.undecided = true;
    }

    /// Offers what is queued, in the order in which it came, until nothing moves. `again`: also what
    /// waits for the other direction.
    fn pump(&mut self, again: bool, limits: &Limits, out: &mut Vec<Transaction>) {
        let mut retry = [again, again];
        loop {
            if self.undecided && matches!(self.stage, Stage::Detect) {
                self.decide(limits);
            } else if !matches!(self.stage, Stage::Active(_)) {
                return;
            } else if let Some(dir) = self.next_queued() {
                let moved = self.step(dir, limits, out);
                retry[dir.flipped().index()] |= moved;
            } else if let Some(dir) = self.next_waiting(retry) {
                retry[dir.index()] = false;
                let moved = self.offer(dir, limits, out);
                retry[dir.flipped().index()] |= moved;
            } else {
                return;
            }
        }
    }

    fn next_queued(&self) -> Option<Direction> {
        [Direction::ToServer, Direction::ToClient]
            .into_iter()
            .filter(|dir| !self.lanes[dir.index()].waiting)
            .filter_map(|dir| self.lanes[dir.index()].items.front().map(|item| (item.order, dir)))
            .min_by_key(|(order, _)| *order)
            .map(|(_, dir)| dir)
    }

    fn next_waiting(&self, retry: [bool; 2]) -> Option<Direction> {
        [Direction::ToServer, Direction::ToClient]
            .into_iter()
            .find(|dir| self.lanes[dir.index()].waiting && retry[dir.index()])
    }

    /// Takes one item off a lane's queue. True: the dissector was asked.
    fn step(&mut self, dir: Direction, limits: &Limits, out: &mut Vec<Transaction>) -> bool {
        let lane = &mut self.lanes[dir.index()];
        let Some(item) = lane.items.pop_front() else { return false };
        let input = match item.kind {
            Kind::Bytes(len) => {
                lane.seen = (lane.seen + len).min(lane.data.len());
                lane.seen_at = item.at;
                return lane.left() >= lane.need && self.offer(dir, limits, out);
            }
            Kind::Gap(count) => Input::Gap(count),
            Kind::Eof => Input::Eof,
        };
        let left = lane.left();
        lane.consume(left);
        let Stage::Active(dissector) = &mut self.stage else { return false };
        let answer = dissector.feed(dir, input, item.at, &mut Output { limits, transactions: out });
        let next = self.judge(dir, answer, limits);
        self.follow(next, item.at, limits, out);
        true
    }

    /// Offers what lies in a lane. True: something was taken, or the lane no longer waits.
    fn offer(&mut self, dir: Direction, limits: &Limits, out: &mut Vec<Transaction>) -> bool {
        let lane = &mut self.lanes[dir.index()];
        let Stage::Active(dissector) = &mut self.stage else { return false };
        let at = lane.seen_at;
        let answer =
            dissector.feed(dir, Input::Bytes(lane.unread()), at, &mut Output { limits, transactions: out });
        let taken = taken(&answer);
        lane.consume(taken);
        let next = self.judge(dir, answer, limits);
        self.follow(next, at, limits, out);
        taken > 0 || !self.lanes[dir.index()].waiting
    }

    /// Makes the dissector decide with what it knows until no more than `keep` bytes wait.
    fn unblock(&mut self, dir: Direction, keep: usize, limits: &Limits, out: &mut Vec<Transaction>) {
        loop {
            let before = self.lanes[dir.index()].cost();
            let Stage::Active(dissector) = &mut self.stage else { return };
            dissector.unblock(dir);
            self.pump(true, limits, out);
            let lane = &self.lanes[dir.index()];
            if !lane.waiting || lane.cost() <= keep {
                return;
            }
            if lane.cost() == before {
                let at = lane.seen_at;
                return self.follow(Next::Desync, at, limits, out);
            }
        }
    }
}

enum Detected {
    Yes(&'static Protocol, bool),
    No,
    NeedMore,
}

fn taken(answer: &Progress) -> usize {
    match answer {
        Progress::Consumed(count) | Progress::Wait(count) | Progress::HandOver(count, _) => *count,
        Progress::Need { consumed, .. } => *consumed,
        Progress::Desync => 0,
    }
}
