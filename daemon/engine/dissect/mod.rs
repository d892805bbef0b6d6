//! Detects protocols and turns stream bytes into transactions.
//!
//! The contract between a protocol and everything else stands in this file. A protocol is one
//! folder with a [`Protocol`] descriptor and one line in [`registry`]; detection order, names, colours,
//! KFL fields, documentation and the fuzz list derive from the descriptor.
//!
//! Invariant: total. Any input, any split of it and any gap in it yields transactions or a
//! [`Progress::Desync`], never a panic, and never more memory than `limits` says.

mod backlog;
#[cfg(test)]
pub(crate) mod conversation;
pub mod dns;
pub mod graphql;
pub mod grpc;
mod http;
pub mod http1;
pub mod http2;
pub mod registry;
pub mod session;
pub mod tls;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use registry::PROTOCOLS;
pub use session::Session;

use compact_str::CompactString;

use crate::limits::Limits;
use crate::model::{
    Direction, Entry, EntryError, EntryEvent, Field, L4, NameFact, ProtocolKey, Timestamp, Timing,
    TlsHandshake, Value,
};

/// What a dissector is given, per direction and in order.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// All bytes of this direction that were not consumed yet: what was left and what is new. Of
    /// datagrams exactly one, whole; nothing of it is offered again.
    Bytes(&'a [u8]),
    /// So many bytes of this direction are missing for good; buffered bytes before it were offered.
    Gap(u64),
    /// This direction ended in order; nothing more will come.
    Eof,
}

/// What a dissector answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Took so many bytes; offer the rest only together with more.
    Consumed(usize),
    /// Took `consumed` bytes and cannot go on before `at_least` bytes are there beyond them.
    Need {
        /// Bytes taken.
        consumed: usize,
        /// Bytes that must be available before another call makes sense; at most `limits.max_head`.
        at_least: usize,
    },
    /// Took so many bytes; the rest has a meaning only once the other direction has moved on (an answer
    /// before its request, what follows an upgrade request). The session keeps everything of this
    /// direction, in order and with its times, and offers it again after the other direction was fed,
    /// after [`Dissector::expire`], and, when too much piles up, after [`Dissector::unblock`].
    Wait(usize),
    /// The bytes do not follow the protocol. The dissector is closed with [`End::Desync`]; the stream is
    /// detected anew, a bounded number of times.
    Desync,
    /// The connection speaks another protocol after the first `usize` bytes of this input (upgrade,
    /// CONNECT): what follows in both directions is detected under the upgrade's carrier. The dissector
    /// has emitted all it had.
    HandOver(usize, Box<Upgrade>),
}

/// What the next protocol on a connection may know of the exchange that led to it: stream 1 of an h2c
/// upgrade, the extensions that a WebSocket handshake agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Upgrade {
    /// What the following bytes ride on.
    pub carrier: Carrier,
    /// The request that asked for it.
    pub request: Value,
    /// The response that granted it.
    pub response: Value,
    /// Moments of both.
    pub timing: Timing,
}

/// What a dissector is told when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// What the bytes ride on.
    pub carrier: Carrier,
    /// The server's port.
    pub server_port: u16,
    /// Whether the first byte it gets is the first one of the protocol.
    pub from_start: bool,
    /// The exchange that led here, for [`Carrier::Upgraded`] and tunnels.
    pub upgrade: Option<&'a Upgrade>,
}

/// What a protocol rides on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Copy)]
pub enum Carrier {
    /// A TCP stream, or decrypted TLS.
    Stream,
    /// Single datagrams.
    Datagram,
    /// A stream that an HTTP upgrade turned over; the token as the registry spells it. (A CONNECT tunnel
    /// is a `Stream` again: anything may ride in it.)
    Upgraded(&'static str),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// Reset; the direction is the one in which the RST travelled.
    Reset(Direction),
    /// Nothing was seen for the idle timeout, or the flow table evicted it.
    Expired,
    /// Capture stops, or the file is at its end.
    CaptureEnd,
    /// The bytes stopped following the protocol.
    Desync,
}

/// The start of both directions, for detection.
#[derive(Clone, Copy, Debug)]
pub struct Peek<'a> {
    /// First bytes from the client; may be empty.
    pub to_server: &'a [u8],
    /// First bytes from the server; may be empty.
    pub to_client: &'a [u8],
    /// The server's port.
    pub server_port: u16,
    /// Whether the first byte of the connection was seen.
    pub from_start: bool,
    /// What the bytes ride on.
    pub carrier: Carrier,
}

/// A protocol's answer to the question whether the bytes are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Certainly.
    Yes,
    /// Certainly, but what was taken for the client is the server (capture began mid-stream).
    YesSwapped,
    /// No, and more bytes will not change that.
    No,
    /// Cannot tell yet.
    NeedMore,
}

/// Where a call stands when it is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It is over, and was not given out before. Nearly all are.
    #[default]
    Whole,
    /// It is under way for longer than `limits.open_after`, and is given out as far as it is known. It
    /// comes once more, as [`Stage::Ended`] with this number; the number is unique among the calls of the
    /// connection that are open.
    Open(u64),
    /// It is over, and was given out open before.
    Ended(u64),
}

/// A finished (or given up) exchange, before its ends are named; or one that is open for long.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Whether it is over.
    pub stage: Stage,
    /// Protocol of this very transaction (a dissector may speak several versions of one).
    pub protocol: ProtocolKey,
    /// Verb.
    pub method: CompactString,
    /// One line that tells calls apart.
    pub summary: CompactString,
    /// Status code, 0 if none.
    pub status: i64,
    /// `Null` when not seen.
    pub request: Value,
    /// `Null` when not seen.
    pub response: Value,
    /// Bytes on the wire.
    pub request_size: u64,
    /// Bytes on the wire.
    pub response_size: u64,
    /// Moments.
    pub timing: Timing,
    /// Why it is incomplete.
    pub error: Option<EntryError>,
    /// Facts worth knowing.
    pub events: Vec<EntryEvent>,
}

/// Where a dissector puts what it found, and what it may look at while doing so.
#[derive(Debug)]
pub struct Output<'a> {
    /// Caps.
    pub limits: &'a Limits,
    /// Finished transactions in the order of their end.
    pub transactions: &'a mut Vec<Transaction>,
}

/// The stateful unit for one protocol on one stream.
pub trait Dissector: Send + std::fmt::Debug {
    /// Takes input of one direction. Called again with the unconsumed rest plus new bytes.
    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress;

    /// Gives up what waited too long at `now` (see `limits.answer_timeout`).
    fn expire(&mut self, now: Timestamp, out: &mut Output<'_>);

    /// The connection is over: emits what is unfinished, with its error.
    fn close(&mut self, end: End, at: Timestamp, out: &mut Output<'_>);

    /// When [`expire`](Self::expire) has something to do next.
    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Too much waits in `direction`: the next input of it may not be answered with [`Progress::Wait`].
    fn unblock(&mut self, _direction: Direction) {}

    /// Bytes of messages that it keeps, roughly; asked now and then. What stays below a few KiB does not count.
    fn held(&self) -> usize {
        0
    }

    /// What a TLS handshake said, and whether nothing can be added to it. Only TLS itself has it.
    fn handshake(&self) -> Option<(&TlsHandshake, bool)> {
        None
    }
}

/// How a protocol is shown; the common protocol object of Kubeshark's entries.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolInfo {
    /// Key stored in entries, never renamed: `"http"`, `"http2"`.
    pub key: &'static str,
    /// `protocol.name`.
    pub name: &'static str,
    /// `protocol.version`.
    pub version: &'static str,
    /// `protocol.abbr`.
    pub abbr: &'static str,
    /// `protocol.longName`.
    pub long_name: &'static str,
    /// `protocol.macro`: the KFL flag.
    pub macro_name: &'static str,
    /// CSS colour.
    pub background: &'static str,
    /// CSS colour.
    pub foreground: &'static str,
    /// Points.
    pub font_size: u8,
    /// Specification.
    pub reference: &'static str,
    /// Usual ports; they never decide.
    pub ports: &'static [u16],
    /// Transport.
    pub layer4: L4,
    /// Order among all protocols.
    pub priority: u8,
}

/// Hands what an entry teaches about the names of addresses to the second argument.
pub type Teach = fn(&Entry, &mut dyn FnMut(NameFact));

/// One protocol: the only thing that the rest of the system knows of its folder.
#[derive(Debug)]
pub struct Protocol {
    /// Shown forms; the first is the default one.
    pub infos: &'static [ProtocolInfo],
    /// What it rides on; empty: it is found inside the calls of another protocol (see `http::refine`).
    pub over: &'static [Carrier],
    /// Bounded look at the first bytes.
    pub probe: fn(&Peek<'_>) -> Verdict,
    /// A fresh dissector.
    pub open: fn(&Opening<'_>) -> Box<dyn Dissector>,
    /// KFL fields that it fills.
    pub fields: &'static [Field],
    /// KFL paths of the three columns of a list row.
    pub columns: Columns,
    /// Paths of payloads (bodies, values): left out for readers who may only see metadata.
    pub payloads: &'static [&'static str],
    /// What a detail view shows, in order.
    pub sections: &'static [Section],
    /// Tells what an entry of it teaches about the names of addresses.
    pub names: Option<Teach>,
}

/// KFL paths whose comparison with the shown text selects like entries; empty: the column has none.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Path of the method.
    pub method: &'static str,
    /// Path of the summary.
    pub summary: &'static str,
    /// Path of the status.
    pub status: &'static str,
}

/// One block of a detail view.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// Left or right half of the view.
    pub side: Direction,
    /// What it shows.
    pub content: SectionContent,
}

/// Where a block of a detail view takes its content from. Paths begin with `request.` or `response.`.
#[derive(Clone, Copy, Debug)]
pub enum SectionContent {
    /// Named single values: label and path.
    Details(&'static [(&'static str, &'static str)]),
    /// All values of the map or list at a path.
    Table(&'static str),
    /// A body: path of its text, path of its MIME type.
    Body(&'static str, &'static str),
}
