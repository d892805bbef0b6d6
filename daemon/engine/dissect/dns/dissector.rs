//! DNS on one flow or connection: messages as they come, one per datagram or behind their length.

use super::entry::{Half, ProtocolName, Service, transaction};
use super::matcher::Matcher;
use super::message::{HEADER, Message, is_message, may_begin};
use super::{LLMNR_PORT, MDNS_PORT};
use crate::dissect::{Carrier, Dissector, End, Input, Opening, Output, Progress};
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp};

/// Bytes in front of a message on a stream.
const PREFIX: usize = 2;

/// DNS on one flow or connection.
#[derive(Debug)]
pub(super) struct Dns {
    service: Service,
    matcher: Matcher,
    lanes: [Lane; 2],
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Lane {
    /// First byte of the message that is coming in.
    since: Option<Timestamp>,
    /// Where messages begin is not known.
    lost: bool,
    /// Bytes passed over in search of a message.
    searched: usize,
    /// What the next message declares.
    gap: u64,
}

impl Dns {
    /// A dissector that begins with whole messages, or somewhere in a stream.
    pub(super) fn new(opening: &Opening<'_>) -> Self {
        let over_tcp = opening.carrier != Carrier::Datagram;
        let key = match opening.server_port {
            MDNS_PORT if !over_tcp => ProtocolName::Mdns,
            LLMNR_PORT => ProtocolName::Llmnr,
            _ => ProtocolName::Dns,
        };
        let lane = || Lane { lost: over_tcp && !opening.from_start, ..Lane::default() };
        Self { service: Service { key, over_tcp }, matcher: Matcher::default(), lanes: [lane(), lane()] }
    }

    /// Whether answers come from others than were asked, so that nothing waits for anything.
    fn is_multicast(&self) -> bool {
        self.service.key != ProtocolName::Dns && !self.service.over_tcp
    }

    /// One message. False: it is none.
    fn take(
        &mut self,
        bytes: &[u8],
        start: Timestamp,
        end: Timestamp,
        gap: Option<EntryEvent>,
        out: &mut Output<'_>,
    ) -> bool {
        let Some(message) = Message::read(bytes) else { return false };
        let is_response = message.header.is_response();
        let prefix = if self.service.over_tcp { PREFIX } else { 0 };
        let half = Half { message, start, end, size: (bytes.len() + prefix) as u64 };
        let before = out.transactions.len();
        match (self.is_multicast(), is_response) {
            (true, false) => out.transactions.push(transaction(self.service, Some(half), None, None)),
            (true, true) => out.transactions.push(transaction(self.service, None, Some(half), None)),
            (false, false) => self.matcher.ask(self.service, half, out),
            (false, true) => self.matcher.answer(self.service, half, out),
        }
        if let (Some(gap), Some(shown)) = (gap, out.transactions.get_mut(before..).and_then(<[_]>::last_mut))
        {
            shown.events.push(gap);
        }
        true
    }

    fn stream(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Progress::Consumed(taken);
            }
            let lane = self.lane(direction);
            let start = *lane.since.get_or_insert(at);
            if lane.lost {
                match lane.search(rest) {
                    Some(0) if lane.lost => return Progress::Consumed(taken),
                    Some(count) => taken += count,
                    None => taken += rest.len(),
                }
                if lane.searched > out.limits.max_resync {
                    return Progress::Desync;
                }
                continue;
            }
            let Some((prefix, body)) = rest.split_first_chunk::<PREFIX>() else {
                return Progress::Need { consumed: taken, at_least: PREFIX };
            };
            let len = usize::from(u16::from_be_bytes(*prefix));
            let Some(message) = body.get(..len) else {
                return Progress::Need { consumed: taken, at_least: PREFIX + len };
            };
            let gap = lane.declare(direction);
            lane.since = None;
            if len < HEADER || !self.take(message, start, at, gap, out) {
                return Progress::Desync;
            }
            taken += PREFIX + len;
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        let [up, down] = &mut self.lanes;
        if direction == Direction::ToServer { up } else { down }
    }
}

impl Lane {
    /// The gap before the message that comes next.
    fn declare(&mut self, direction: Direction) -> Option<EntryEvent> {
        let bytes = std::mem::take(&mut self.gap);
        (bytes > 0).then_some(match direction {
            Direction::ToServer => EntryEvent::GapInRequest { bytes },
            Direction::ToClient => EntryEvent::GapInResponse { bytes },
        })
    }

    /// Looks for a length with a whole message behind it; returns how many bytes lie before. None: all of
    /// it is passed over. `Some(0)` while still lost: more is needed.
    fn search(&mut self, rest: &[u8]) -> Option<usize> {
        for from in 0..rest.len() {
            let here = rest.get(from..).unwrap_or_default();
            let Some((prefix, body)) = here.split_first_chunk::<PREFIX>() else { return Some(from) };
            let len = usize::from(u16::from_be_bytes(*prefix));
            if len < HEADER || !may_begin(body) {
                self.searched = self.searched.saturating_add(1);
                continue;
            }
            // What is behind starts like a message; without its end it has to be waited for.
            let Some(message) = body.get(..len) else { return Some(from) };
            if is_message(message, false) {
                *self = Self { gap: self.gap, ..Self::default() };
                return Some(from);
            }
            // Reading costs as much as passing over, so that crafted headers cannot make it slow.
            self.searched = self.searched.saturating_add(len);
        }
        None
    }
}

impl Dissector for Dns {
    fn held(&self) -> usize {
        self.matcher.held()
    }

    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress {
        match input {
            Input::Bytes(bytes) if self.service.over_tcp => self.stream(direction, bytes, at, out),
            Input::Bytes(bytes) if self.take(bytes, at, at, None, out) => Progress::Consumed(bytes.len()),
            Input::Bytes(_) => Progress::Desync,
            Input::Gap(bytes) => {
                let lane = self.lane(direction);
                *lane = Lane { lost: true, gap: lane.gap.saturating_add(bytes), ..Lane::default() };
                Progress::Consumed(0)
            }
            Input::Eof if direction == Direction::ToClient => {
                self.matcher.close(
                    self.service,
                    ErrorKind::Connection,
                    "closed by the server before it answered",
                    out,
                );
                Progress::Consumed(0)
            }
            Input::Eof => Progress::Consumed(0),
        }
    }

    fn expire(&mut self, now: Timestamp, out: &mut Output<'_>) {
        self.matcher.expire(now, self.service, out);
    }

    fn close(&mut self, end: End, _at: Timestamp, out: &mut Output<'_>) {
        let (kind, why) = match end {
            End::Closed => (ErrorKind::Connection, "closed before it was answered"),
            End::Reset(Direction::ToServer) => (ErrorKind::Connection, "reset by the client"),
            End::Reset(Direction::ToClient) => (ErrorKind::Connection, "reset by the server"),
            End::Expired => (ErrorKind::Timeout, "no answer in time"),
            End::CaptureEnd => (ErrorKind::PairNotFound, "capture ended before the answer"),
            End::Desync => (ErrorKind::Dissection, "the bytes stopped following DNS"),
        };
        self.matcher.close(self.service, kind, why, out);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.matcher.next_deadline()
    }
}
