//! Walks the records of both directions and reads the two hellos; what is encrypted is stepped over.

use super::hello::{self, Answer, CLIENT_HELLO, SERVER_HELLO};
use super::record::{self, Header, Kind};
use crate::dissect::{Dissector, End, Input, Opening, Output, Progress};
use crate::limits;
use crate::model::{Direction, Timestamp, TlsHandshake};

/// Bytes of a handshake message's header: its type and its length.
const MESSAGE_HEADER: usize = 4;
/// Level of an alert that ends the connection.
const FATAL: u8 = 2;

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Bytes left of the record under way.
    left: usize,
    /// What to do with them.
    content: Content,
    /// The handshake message under way.
    message: Vec<u8>,
    /// The hello was read, or will not come.
    done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Content {
    /// Step over.
    #[default]
    Opaque,
    /// Collect handshake messages.
    Handshake,
    /// Read an alert in clear text.
    Alert,
}

/// The TLS of one connection.
#[derive(Debug)]
pub(super) struct Inspector {
    facts: TlsHandshake,
    lanes: [Lane; 2],
    /// Nothing more can be learned.
    settled: bool,
}

impl Inspector {
    pub(super) fn new(_opening: &Opening<'_>) -> Self {
        Self { facts: TlsHandshake::default(), lanes: [Lane::default(), Lane::default()], settled: false }
    }

    fn begin(&mut self, direction: Direction, header: Header) {
        let lane = &mut self.lanes[direction.index()];
        lane.left = header.len;
        lane.content = match header.kind {
            Kind::Handshake if !lane.done => Content::Handshake,
            Kind::Alert if header.len == 2 => Content::Alert,
            _ => Content::Opaque,
        };
        if lane.content == Content::Alert {
            // An alert inside a handshake message is against the protocol; the message is given up.
            lane.message.clear();
        }
        if header.kind == Kind::ApplicationData {
            lane.done = true;
            self.settle();
        }
    }

    fn content(&mut self, direction: Direction, bytes: &[u8]) {
        let lane = &mut self.lanes[direction.index()];
        match lane.content {
            Content::Opaque => {}
            Content::Alert | Content::Handshake => lane.message.extend_from_slice(bytes),
        }
        match lane.content {
            Content::Alert if lane.message.len() >= 2 => {
                if let [FATAL, alert, ..] = lane.message.as_slice() {
                    self.facts.alert = Some(*alert);
                    self.settled = true;
                }
                lane.message.clear();
            }
            Content::Handshake => self.messages(direction),
            _ => {}
        }
    }

    /// Reads the messages that are complete.
    fn messages(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction.index()];
        let mut at = 0;
        while !lane.done
            && let Some([kind, high, middle, low]) = lane.message.get(at..at + MESSAGE_HEADER)
        {
            let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            let start = at + MESSAGE_HEADER;
            let wanted = *kind == expected(direction);
            if len > limits::tls::HELLO {
                lane.done = true;
                break;
            }
            let Some(body) = lane.message.get(start..start + len) else { break };
            if wanted {
                lane.done = match direction {
                    Direction::ToServer => {
                        hello::client(body, &mut self.facts);
                        true
                    }
                    Direction::ToClient => hello::server(body, &mut self.facts) != Some(Answer::Retry),
                };
            }
            at = start + len;
        }
        if lane.done {
            lane.message = Vec::new();
            self.settle();
        } else {
            lane.message.drain(..at);
        }
    }

    fn settle(&mut self) {
        self.settled |= self.lanes.iter().all(|lane| lane.done);
        if self.settled {
            self.lanes = [Lane::default(), Lane::default()];
        }
    }
}

fn expected(direction: Direction) -> u8 {
    match direction {
        Direction::ToServer => CLIENT_HELLO,
        Direction::ToClient => SERVER_HELLO,
    }
}

impl Dissector for Inspector {
    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        _at: Timestamp,
        _out: &mut Output<'_>,
    ) -> Progress {
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Gap(len) => {
                let lane = &mut self.lanes[direction.index()];
                let inside = usize::try_from(len).is_ok_and(|len| len <= lane.left);
                if inside && lane.content == Content::Opaque {
                    lane.left -= len as usize;
                } else {
                    // Where records begin is lost, and so is a hello that lay there.
                    self.settled = true;
                }
                return Progress::Consumed(0);
            }
            Input::Eof => return Progress::Consumed(0),
        };
        let mut rest = bytes;
        while !self.settled {
            let lane = &mut self.lanes[direction.index()];
            if lane.left > 0 {
                let (content, more) = rest.split_at(lane.left.min(rest.len()));
                lane.left -= content.len();
                rest = more;
                self.content(direction, content);
            } else {
                match record::header(rest) {
                    record::Found::Header(header) => {
                        rest = rest.get(record::HEADER..).unwrap_or_default();
                        self.begin(direction, header);
                    }
                    record::Found::More => {
                        let consumed = bytes.len() - rest.len();
                        return Progress::Need { consumed, at_least: record::HEADER };
                    }
                    record::Found::Other => return Progress::Desync,
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        Progress::Consumed(bytes.len())
    }

    fn expire(&mut self, _now: Timestamp, _out: &mut Output<'_>) {}

    fn close(&mut self, _end: End, _at: Timestamp, _out: &mut Output<'_>) {}

    fn handshake(&self) -> Option<(&TlsHandshake, bool)> {
        Some((&self.facts, self.settled))
    }
}
