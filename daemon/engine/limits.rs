//! Every cap that the engine enforces, with unit, reason and what happens beyond it.
//!
//! Invariant: no number of this kind lives anywhere else. Crossing one is an event on the entry or
//! a counted drop, never silence.

use std::time::Duration;

/// Caps that configuration may change. One value is shared by all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections per shard; the least recently active one is evicted beyond it.
    pub max_connections: usize,
    /// Bytes kept per message body; the rest is left out and marked.
    pub max_body: usize,
    /// Bytes that a body may grow to when its content coding is undone.
    pub max_decoded_body: usize,
    /// Bytes of an HTTP head (start line and headers); a longer one ends dissection of the stream.
    pub max_head: usize,
    /// Headers of one message. 512 is five times what browsers and proxies produce.
    pub max_headers: usize,
    /// Query, form and multipart parameters listed per message; the body itself stays whole.
    pub max_params: usize,
    /// Bytes shown of one multipart parameter's value.
    pub max_param_value: usize,
    /// Requests without an answer kept per connection (pipelining); the oldest is given up beyond it.
    pub max_pending: usize,
    /// HTTP/2 streams kept per connection; the oldest is given up beyond it. Servers allow 100 to 1,000.
    pub max_streams: usize,
    /// Bytes of headers and bodies kept for all open streams of one HTTP/2 connection; beyond it bodies
    /// are cut and, if headers alone exceed it, the oldest stream is given up.
    pub max_stream_bytes: usize,
    /// Bytes kept of each HPACK table, whatever the peers agreed on: browsers use 64 KiB, others 4 KiB.
    pub max_header_table: usize,
    /// Out-of-order bytes buffered per direction before the hole is declared a gap.
    pub max_out_of_order: usize,
    /// Out-of-order segments buffered per direction: bounds the work on tiny segments.
    pub max_out_of_order_segments: usize,
    /// Bytes looked at before a stream is declared to speak no known protocol.
    pub max_detect: usize,
    /// Bytes searched for the start of a message where a stream is joined in its middle or lost its
    /// framing; beyond it the stream stays unknown.
    pub max_resync: usize,
    /// How often a stream that stopped following its protocol is detected anew.
    pub max_redetect: u32,
    /// Bytes that all connections of a shard hold together, checked now and then; beyond it those that hold the
    /// most are given up. Live dissection has the other caps alone; delayed dissection has this one too.
    pub max_held: usize,
    /// How long a hole is waited for once later data is there; packets on one host arrive in order,
    /// so a hole that lasts is a lost record.
    pub hole_patience: Duration,
    /// The same once the receiver has acknowledged the missing bytes: nobody will send them again, so
    /// this only covers records of one connection that different CPUs delivered out of order.
    pub acked_hole_patience: Duration,
    /// How long after its request's head a call is shown as open when it is not over. Few ordinary calls
    /// take a second, so that most are shown once.
    pub open_after: Duration,
    /// How long a request may wait for its answer before it is shown with a timeout error.
    pub answer_timeout: Duration,
    /// The same for a question about a name: resolvers ask again or give up after 5 seconds.
    pub lookup_timeout: Duration,
    /// Idle time after which a connection without a seen end is forgotten.
    pub idle_timeout: Duration,
    /// The same for datagram flows and for connections whose opening nobody answered: there are many of
    /// them, and most are over after one exchange.
    pub brief_timeout: Duration,
    /// How long an ended connection is kept for stragglers: retransmitted FINs, the other vantage.
    pub close_linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_body: 1 << 20,
            max_decoded_body: 4 << 20,
            max_head: 256 << 10,
            max_headers: 512,
            max_params: 256,
            max_param_value: 4096,
            max_pending: 1024,
            max_streams: 4096,
            max_stream_bytes: 16 << 20,
            max_header_table: 64 << 10,
            max_out_of_order: 1 << 20,
            max_out_of_order_segments: 512,
            max_detect: 4096,
            max_resync: 8 << 20,
            max_redetect: 4,
            max_held: usize::MAX,
            hole_patience: Duration::from_millis(200),
            acked_hole_patience: Duration::from_millis(10),
            open_after: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(60),
            lookup_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(20 * 60),
            brief_timeout: Duration::from_secs(60),
            close_linger: Duration::from_secs(3),
        }
    }
}

/// Caps of HTTP/2 that nobody needs to change.
pub mod http2 {
    use std::time::Duration;

    /// Bytes kept of a frame other than DATA and header blocks. Known settings take 42 bytes; what lies
    /// beyond is debug data.
    pub const CONTROL_PAYLOAD: usize = 1024;
    /// Bytes shown of a GOAWAY frame's debug data.
    pub const DEBUG_DATA: usize = 128;
    /// Bytes that a frame of an unknown type may have: they are to be ignored, and a length that is not
    /// one would make megabytes of a stream that lost its framing disappear.
    pub const UNKNOWN_PAYLOAD: u32 = 64 << 10;
    /// Ended streams remembered per connection, so that frames under way when a stream was reset are
    /// told from streams whose start was missed.
    pub const ENDED_STREAMS: usize = 1024;
    /// Streams per connection that are followed as connections of another protocol (RFC 8441); each may
    /// hold two messages of `max_body` bytes. Browsers open a handful.
    pub const TUNNELS: usize = 32;
    /// A wait for flow control that is shorter is an ordinary round trip and no event.
    pub const SHORTEST_STALL: Duration = Duration::from_millis(1);
}

/// Caps of what is shown of gRPC messages. Their bytes are part of the body and kept as such.
pub mod grpc {
    /// Messages shown per direction of a call; more are counted.
    pub const MESSAGES: usize = 256;
    /// Fields shown of all messages of one direction: a tree costs far more than the bytes it is made of.
    pub const FIELDS: usize = 4096;
    /// Messages within messages that are taken apart; each level reads its bytes once more.
    pub const DEPTH: usize = 16;
}

/// Caps of what is kept of TLS: of handshakes, and of plaintext that waits for its connection.
pub mod tls {
    use std::time::Duration;

    /// Bytes of a record's content: 2^14 and the room that TLS 1.2 grants for expansion (RFC 5246, 6.2.3).
    pub const RECORD: usize = (16 << 10) + 2048;
    /// Bytes of a hello that is read; the longest that browsers send, with post-quantum keys, has 3 KiB.
    pub const HELLO: usize = 32 << 10;
    /// Cipher suites of a hello that are kept. OpenSSL offers 30 by default, a scanner all 350.
    pub const OFFERED_SUITES: usize = 128;
    /// Extensions, and signature algorithms, of a hello that are kept.
    pub const EXTENSIONS: usize = 128;
    /// Application protocols of a hello that are kept.
    pub const PROTOCOLS: usize = 16;
    /// Bytes of a server name: the most that DNS allows.
    pub const NAME: usize = 255;
    /// Sessions of TLS libraries that are remembered; the least recently active one is forgotten.
    pub const SESSIONS: usize = 65_536;
    /// Bytes of plaintext, in all sessions together, that wait for their socket or connection to be known.
    pub const HELD_BYTES: usize = 32 << 20;
    /// The same of one session: one that is never tied to a socket cannot crowd out the others.
    pub const HELD_SESSION_BYTES: usize = 2 << 20;
    /// The same in chunks: bounds the overhead of tiny ones.
    pub const HELD_CHUNKS: usize = 65_536;
    /// How long plaintext waits for its socket or connection to be known. Both are known within
    /// milliseconds, or with the next send of a thread, or never.
    pub const HELD_TIME: Duration = Duration::from_secs(5);
    /// Waiting sessions whose connection is looked for in one go: bounds the pause of the packet reader.
    pub const LOOKUPS: usize = 512;
    /// Contradictions of equal rank, one after the other, after which the newer evidence is believed.
    pub const CONTRADICTIONS: u8 = 3;
    /// How long a hole in one end's plaintext waits for the other end to fill it.
    pub const HOLE_PATIENCE: Duration = Duration::from_millis(200);
    /// Bytes behind holes that one direction keeps.
    pub const OUT_OF_ORDER: usize = 1 << 20;
    /// Chunks behind holes that one direction keeps.
    pub const OUT_OF_ORDER_CHUNKS: usize = 512;
    /// How long the end of a connection waits for plaintext, which comes through another ring.
    pub const END_PATIENCE: Duration = Duration::from_secs(1);
    /// Former sessions of a connection whose late plaintext is recognised.
    pub const RETIRED: usize = 8;
}

/// Caps of reading capture files. A file beyond them is refused with an error, a packet is counted.
pub mod pcap {
    /// Bytes of one block. The largest packet that Wireshark reads has 256 KiB; blocks of names or TLS
    /// keys reach some MiB.
    pub const BLOCK: usize = 16 << 20;
    /// Bytes of one packet that are written: what Wireshark reads at most.
    pub const PACKET: usize = 256 << 10;
    /// Interfaces of one section. A container host has some hundred.
    pub const INTERFACES: usize = 65_536;
    /// Headers below headers that are taken off a packet: tunnels in tunnels.
    pub const LAYERS: usize = 4;
    /// VLAN tags of one frame; providers use two.
    pub const VLAN_TAGS: usize = 4;
    /// Datagrams in fragments that are put together at a time; the oldest is given up beyond it.
    pub const DATAGRAMS: usize = 256;
    /// Fragments of one datagram: 64 KiB in pieces of an MTU of 576 are 119.
    pub const FRAGMENTS: usize = 256;
    /// How long a datagram's missing fragments are waited for, ns, by the clock of the packets (RFC 8200).
    pub const FRAGMENT_PATIENCE: u64 = 60_000_000_000;
}

/// Caps on DNS messages.
pub mod dns {
    /// Octets of a name with the lengths of its labels (RFC 1035 2.3.4).
    pub const NAME: usize = 255;
    /// Questions kept of one message; real ones have one.
    pub const QUESTIONS: usize = 64;
    /// Records kept of one answer or zone transfer; the rest is left out and marked.
    pub const RECORDS: usize = 1024;
    /// Bytes shown as hexadecimal digits of what has no text form.
    pub const SHOWN: usize = 256;
    /// Bytes to which lists within a record (types, parameters) are written out.
    pub const TEXT: usize = 4096;
    /// Answered questions remembered per flow, to know a repeated answer.
    pub const ANSWERED: usize = 32;
}

/// Caps on GraphQL calls.
pub mod graphql {
    /// Bytes of a body that is read as GraphQL; a longer one stays HTTP.
    pub const BODY: usize = 1 << 20;
    /// Operations kept of one document.
    pub const OPERATIONS: usize = 64;
    /// Root fields kept of one operation.
    pub const FIELDS: usize = 32;
    /// Operations kept of one batch.
    pub const BATCH: usize = 64;
    /// Errors kept of one answer; all are counted.
    pub const ERRORS: usize = 64;
    /// Depth to which variables are kept as trees; what lies deeper becomes text.
    pub const DEPTH: usize = 16;
    /// Values that one operation's variables are kept as; the rest becomes text.
    pub const NODES: usize = 4096;
}

/// Caps of the filter language. A filter beyond them is refused with an error; an entry whose
/// evaluation goes beyond them does not match and is counted by the filter.
pub mod kfl {
    /// Bytes of a filter's text. The longest filter in users' notes is 400 bytes.
    pub const TEXT: usize = 16 << 10;
    /// Brackets within brackets. Bounds the recursion of parser, checker and evaluation.
    pub const DEPTH: usize = 64;
    /// Prefix operators in a row (`!!!x`).
    pub const PREFIXES: usize = 64;
    /// Nodes of a filter once its macros are expanded: bounds macros that use macros twice.
    pub const NODES: usize = 4096;
    /// Macros within macros.
    pub const MACRO_DEPTH: usize = 8;
    /// Regular expressions in one filter.
    pub const REGEXES: usize = 64;
    /// Bytes of one compiled regular expression.
    pub const REGEX_SIZE: usize = 256 << 10;
    /// Bytes that one regular expression may use as its search cache.
    pub const REGEX_CACHE: usize = 512 << 10;
    /// Brackets within brackets of a regular expression.
    pub const REGEX_DEPTH: u32 = 64;
    /// Work units of one evaluation, about 50 ns each: an entry costs 10 ms at most.
    pub const WORK: u32 = 200_000;
    /// Bytes that a plain text search looks at per work unit.
    pub const SEARCH_BYTES_PER_UNIT: usize = 256;
    /// Bytes that a regular expression or a JSON or XML reader looks at per work unit.
    pub const PARSE_BYTES_PER_UNIT: usize = 64;
    /// Bytes of one text or body that are searched; what lies beyond is not looked at. The same as
    /// the most that a decoded body may have, so that nothing is missed by default.
    pub const SEARCH: usize = 4 << 20;
    /// Bytes of a body that `json()` and `xml()` read; a longer one counts as missing.
    pub const DOCUMENT: usize = 1 << 20;
    /// Documents of one entry that are kept, read, until its evaluation ends; most filters ask one body.
    pub const DOCUMENTS: usize = 4;
    /// Elements within elements of a document that `xml()` reads.
    pub const DOCUMENT_DEPTH: usize = 64;
    /// Values that one `..name` or `.*` selection yields; the rest is not looked at.
    pub const SELECTED: usize = 1024;
    /// Bytes that a short error (websocket close frame) may have: the protocol allows 123.
    pub const SHORT_ERROR: usize = 120;
    /// Candidates that a completion returns.
    pub const COMPLETIONS: usize = 200;
}
