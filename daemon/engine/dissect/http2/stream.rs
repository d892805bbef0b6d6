//! One stream: a request and its response while they come in, and the call that they become.

use compact_str::{CompactString, format_compact};

use super::block::Headers;
use super::tunnels;
use super::window::Stall;
use crate::dissect::http::entry;
use crate::dissect::http::message::Message;
use crate::dissect::{Stage, Transaction, Upgrade};
use crate::limits::{self, Limits};
use crate::model::{Direction, EntryError, EntryEvent, ErrorKind, Map, ProtocolKey, Timestamp, Value};

/// The stored key of HTTP/2.
const HTTP2: ProtocolKey = ProtocolKey::new("http2");
/// `httpVersion` of both messages.
const VERSION: &str = "HTTP/2";

/// One direction of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    /// What came; `None` before the first frame.
    pub(super) message: Option<Box<Message>>,
    /// Its head came.
    pub(super) head: bool,
    /// Nothing more comes.
    pub(super) ended: bool,
    /// Bytes kept of it: headers and body.
    pub(super) kept: usize,
    /// Placeholders among its headers.
    pub(super) unknown: u64,
    /// Bytes that were lost with their framing in this direction, before the half began and at its end.
    pub(super) lost: [u64; 2],
    /// Bytes of header blocks that never came.
    pub(super) missing: u64,
    /// Waiting for flow control.
    pub(super) stall: Stall,
}

/// A stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) halves: [Half; 2],
    /// Bytes of interim (1xx) responses.
    pub(super) interim: u64,
    /// The server made up the request.
    pub(super) pushed: bool,
    /// The request was an HTTP/1 message that asked for the upgrade to HTTP/2.
    pub(super) upgrade: Option<Box<Upgrade>>,
    /// Why it is incomplete.
    pub(super) error: Option<EntryError>,
    /// The connection was joined late, and the stream's start was before that.
    pub(super) joined: bool,
    /// When the request's head was complete.
    pub(super) asked: Option<Timestamp>,
    /// It was shown while it was open.
    pub(super) shown: bool,
    /// Its request was shown without an answer.
    pub(super) given_up: bool,
    pub(super) events: Vec<EntryEvent>,
    /// Last frame.
    pub(super) last: Timestamp,
    /// Its place in the queue of deadlines.
    pub(super) armed: Timestamp,
}

impl Half {
    /// The message, which begins now if it has not.
    pub(super) fn message(&mut self, at: Timestamp) -> &mut Message {
        self.message.get_or_insert_with(|| {
            Box::new(Message { version: VERSION, start: at, end: at, ..Message::default() })
        })
    }

    /// Takes the headers of a head or of trailers.
    fn headers(
        &mut self,
        headers: &Headers,
        wire: u64,
        (start, end): (Timestamp, Timestamp),
        limits: &Limits,
    ) {
        let first = !self.head;
        self.unknown += headers.unknown;
        self.kept += headers.text;
        self.missing += headers.missing;
        let message = self.message(start);
        message.end = end;
        message.wire += wire;
        if first {
            message.head_size = headers.size as u64;
            message.status = headers.status();
            message.method = headers.get(":method").unwrap_or_default().into();
            let target = match headers.get(":path") {
                None if message.method == "CONNECT" => headers.get(":authority"),
                path => path,
            };
            message.target = target.unwrap_or_default().into();
            message.headers = Map::with_capacity(headers.list.len());
        }
        for (name, value) in &headers.list {
            message.add_line(name, value, limits);
        }
        if headers.malformed {
            message.anomaly("a header block is malformed");
        }
        if let Some(limit) = headers.limit {
            message.events.push(EntryEvent::LimitExceeded { limit: limit.into() });
        }
        // Trailers of a message whose head was not seen do not make up for it.
        self.head |= headers.is_head();
    }

    /// Bytes that were lost of its heads, and with their framing while it was coming in.
    fn lost(&self, total: u64) -> u64 {
        let [before, at_end] = self.lost;
        let end = if self.ended { at_end } else { total };
        self.missing + end.saturating_sub(before)
    }
}

impl Stream {
    /// A stream that begins `at`. `lost`: bytes lost so far with their framing, per direction.
    pub(super) fn new(id: u32, at: Timestamp, lost: [u64; 2]) -> Self {
        let half = |lost: u64| Half { lost: [lost, 0], ..Half::default() };
        Self {
            id,
            halves: lost.map(half),
            interim: 0,
            pushed: false,
            upgrade: None,
            error: None,
            joined: false,
            asked: None,
            shown: false,
            given_up: false,
            events: Vec::new(),
            last: at,
            armed: Timestamp::ZERO,
        }
    }

    pub(super) fn half(&mut self, direction: Direction) -> &mut Half {
        &mut self.halves[direction.index()]
    }

    pub(super) fn request(&self) -> &Half {
        &self.halves[Direction::ToServer.index()]
    }

    pub(super) fn response(&self) -> &Half {
        &self.halves[Direction::ToClient.index()]
    }

    /// Whether the request is known, from wherever.
    pub(super) fn has_request(&self) -> bool {
        self.request().head || self.upgrade.is_some()
    }

    /// Bytes kept of both halves.
    pub(super) fn kept(&self) -> usize {
        self.halves.iter().map(|half| half.kept).sum()
    }

    /// Takes a block of headers: the head of a message, an interim response, or trailers.
    pub(super) fn headers(
        &mut self,
        direction: Direction,
        headers: &Headers,
        wire: u64,
        times: (Timestamp, Timestamp),
        limits: &Limits,
    ) {
        let informational = direction == Direction::ToClient && (100..200).contains(&headers.status());
        if informational {
            self.interim += wire;
            return;
        }
        if direction == Direction::ToServer {
            self.asked.get_or_insert(times.1);
        }
        let half = self.half(direction);
        half.headers(headers, wire, times, limits);
    }

    /// The protocol that goes on here, if this is a CONNECT that was granted and names a known one.
    pub(super) fn turned(&self) -> Option<&'static str> {
        let [request, response] = &self.halves;
        let (request, response) = (request.message.as_ref()?, response.message.as_ref()?);
        let granted = request.method == "CONNECT" && (200..300).contains(&response.status);
        tunnels::token(request.header(":protocol")).filter(|_| granted)
    }

    /// Nothing more comes in `direction`. `lost`: bytes lost in it with their framing so far.
    pub(super) fn end(&mut self, direction: Direction, lost: u64) {
        let half = self.half(direction);
        if !half.ended {
            half.ended = true;
            half.lost[1] = lost;
        }
    }

    /// Whether the call is complete: both messages came to their ends.
    pub(super) fn is_complete(&self) -> bool {
        let request = self.request();
        let asked = self.upgrade.is_some() || self.given_up || request.head || request.message.is_some();
        asked && request.ended && self.response().ended
    }

    /// Notes why it is incomplete, unless that is known already.
    pub(super) fn fail(&mut self, kind: ErrorKind, message: impl Into<CompactString>) {
        if self.error.is_none() {
            self.error = Some(EntryError { kind, message: message.into() });
        }
    }

    /// The call as far as it is known, while it goes on.
    pub(super) fn show_open(&mut self, lost: [u64; 2], limits: &Limits) -> Transaction {
        self.shown = true;
        self.clone().transaction(Stage::Open(u64::from(self.id)), lost, limits)
    }

    /// The call. `lost`: bytes lost with their framing so far, per direction.
    pub(super) fn into_transaction(mut self, lost: [u64; 2], limits: &Limits) -> Transaction {
        self.explain();
        let stage = if self.shown { Stage::Ended(u64::from(self.id)) } else { Stage::Whole };
        self.transaction(stage, lost, limits)
    }

    fn transaction(mut self, stage: Stage, lost: [u64; 2], limits: &Limits) -> Transaction {
        let mut events = std::mem::take(&mut self.events);
        self.note(lost, &mut events);
        let id = self.id;
        let [request, response] = self.halves;
        let exchange = entry::Exchange {
            stage,
            request: request.message,
            response: response.message,
            interim: self.interim,
            error: self.error,
            events,
        };
        let request = self.upgrade;
        entry::transaction_with(HTTP2, exchange, limits, |transaction| {
            if let Some(upgrade) = request {
                take_request(transaction, *upgrade);
            }
            for tree in [&mut transaction.request, &mut transaction.response] {
                if let Value::Map(map) = tree {
                    map.put("streamId", Value::Int(i64::from(id)));
                }
            }
        })
    }

    /// What is missing becomes its error, if nothing worse is known.
    fn explain(&mut self) {
        if !self.has_request() {
            let why = match (self.given_up, self.joined) {
                (true, _) => "its request was given up before it came",
                (false, true) => "its request came before capture",
                (false, false) => "its request was not seen",
            };
            self.fail(ErrorKind::PairNotFound, why);
        } else if !self.response().head {
            self.fail(ErrorKind::PairNotFound, "the head of its response was not seen");
        }
    }

    fn note(&self, lost: [u64; 2], events: &mut Vec<EntryEvent>) {
        if self.joined && !self.has_request() {
            events.push(EntryEvent::MidStream);
        }
        if self.pushed {
            events.push(EntryEvent::Pushed);
        }
        let count = self.halves.iter().map(|half| half.unknown).sum::<u64>();
        if count > 0 {
            events.push(EntryEvent::UnknownHeaders { count });
        }
        let [request, response] = [0, 1].map(|index| self.halves[index].lost(lost[index]));
        if request > 0 {
            events.push(EntryEvent::GapInRequest { bytes: request });
        }
        if response > 0 {
            events.push(EntryEvent::GapInResponse { bytes: response });
        }
        let [request, response] = [0, 1].map(|index| self.halves[index].stall.total(self.last));
        let shortest = limits::http2::SHORTEST_STALL.as_nanos() as u64;
        if request >= shortest {
            events.push(EntryEvent::RequestStalled { ns: request });
        }
        if response >= shortest {
            events.push(EntryEvent::ResponseStalled { ns: response });
        }
    }
}

/// The request of an upgrade from HTTP/1 is that of stream 1 (RFC 7540 3.2).
fn take_request(transaction: &mut Transaction, upgrade: Upgrade) {
    let text = |key: &str| upgrade.request.get(key).and_then(Value::as_str).unwrap_or_default();
    transaction.method = text("method").into();
    transaction.summary = text("path").into();
    transaction.timing.request_start = upgrade.timing.request_start;
    transaction.timing.request_end = upgrade.timing.request_end;
    transaction.request = upgrade.request;
}

/// `reset by the client: CANCEL`.
pub(super) fn reset_by(direction: Direction, code: &str) -> CompactString {
    let who = if direction == Direction::ToServer { "client" } else { "server" };
    format_compact!("stream reset by the {who}: {code}")
}
