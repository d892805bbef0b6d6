//! The entry: one API call, or one one-sided event, as every reader sees it.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{AddrPort, Process, SocketCookie, Timestamp, TlsInfo, Value};

/// Key of a protocol in the dissector registry, such as `"http"`; stored, so never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtocolKey(pub CompactString);

impl ProtocolKey {
    /// A key known at compile time.
    pub const fn new(key: &'static str) -> Self {
        Self(CompactString::const_new(key))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a connection on one node since its daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// `{node}/{stream}-{index}`: which item of which stream on which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// Name of the node that saw it.
    pub node: Arc<str>,
    /// Stream id: start time of the daemon's run and connection, so that it never comes again.
    pub stream: CompactString,
    /// n-th item of the stream.
    pub index: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.node, self.stream, self.index)
    }
}

/// The host that saw the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Host name, or as configured.
    pub name: Arc<str>,
    /// Main address.
    pub ip: std::net::IpAddr,
}

/// One end of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Address and port as the client's side of the connection named them.
    pub addr: AddrPort,
    /// The address behind NAT that packets really went to, where it differs from `addr`.
    pub translated: Option<AddrPort>,
    /// The socket on this host; unknown when the peer is elsewhere.
    pub socket: SocketCookie,
    /// Best name: pod, service, DNS name, unit, process; empty when nothing is known.
    pub name: CompactString,
    /// DNS name seen for the address.
    pub dns: CompactString,
    /// The process; `None` when the peer is elsewhere or not attributed.
    pub process: Option<Arc<Process>>,
}

/// The moments of a call. Zero where it was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// First byte of the request.
    pub request_start: Timestamp,
    /// Last byte of the request.
    pub request_end: Timestamp,
    /// First byte of the (final) response.
    pub response_start: Timestamp,
    /// Last byte of the response.
    pub response_end: Timestamp,
}

impl Timing {
    /// First byte of the request to last byte of the response, ns; 0 where either was not seen.
    pub fn elapsed(&self) -> u64 {
        if self.request_start == Timestamp::ZERO {
            return 0;
        }
        self.response_end.since(self.request_start)
    }

    /// All four, in their order; 0 where one was not seen.
    pub fn moments(&self) -> [Timestamp; 4] {
        [self.request_start, self.request_end, self.response_start, self.response_end]
    }

    /// The first that was seen of it: of the request, or of the response where no request was seen. 0: nothing.
    pub fn began(&self) -> Timestamp {
        self.moments().into_iter().find(|at| *at != Timestamp::ZERO).unwrap_or(Timestamp::ZERO)
    }

    /// The last that was seen of it. 0: nothing.
    pub fn ended(&self) -> Timestamp {
        self.moments().into_iter().max().unwrap_or(Timestamp::ZERO)
    }
}

/// What kind of failure an entry stands for. Text forms are those of Kubeshark's `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The bytes did not follow the protocol.
    Dissection,
    /// The connection ended first: reset or closed.
    Connection,
    /// No answer within the configured time.
    Timeout,
    /// The other half was never seen: it began before capture or lies in a gap.
    PairNotFound,
}

impl ErrorKind {
    /// Text in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dissection => "dissection",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::PairNotFound => "pair-not-found",
        }
    }
}

/// Why a call has no complete answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryError {
    /// The class.
    pub kind: ErrorKind,
    /// For a person, such as `reset by the server`.
    pub message: CompactString,
}

/// A named fact about an entry: nothing is cut or guessed silently.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum EntryEvent {
    /// Bytes of the request's body are missing.
    GapInRequest { bytes: u64 },
    /// Bytes of the response's body are missing.
    GapInResponse { bytes: u64 },
    /// The request's body was longer than the limit; `bytes` were left out.
    RequestTruncated { bytes: u64 },
    /// The response's body was longer than the limit; `bytes` were left out.
    ResponseTruncated { bytes: u64 },
    /// A content coding could not be undone or would have grown beyond the limit.
    ContentNotDecoded { coding: CompactString, reason: CompactString },
    /// The connection existed before capture, so what came before is not known.
    MidStream,
    /// So many headers stand in a part of the compression table that was not seen (HPACK).
    UnknownHeaders { count: u64 },
    /// The client waited this long, in ns, for the server to take more of the request (flow control).
    RequestStalled { ns: u64 },
    /// The server waited this long, in ns, for the client to take more of the response (flow control).
    ResponseStalled { ns: u64 },
    /// The server answered a request that it made up itself (HTTP/2 push).
    Pushed,
    /// The call is still under way; the entry comes again, under the same id, when it is over.
    Open,
    /// A named limit was reached.
    LimitExceeded { limit: CompactString },
    /// The message deviates from the protocol but could be read.
    Anomaly { what: CompactString },
}

/// Which mechanism delivered the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureSource {
    /// Not known.
    #[default]
    Unspecified,
    /// Packets from AF_PACKET.
    AfPacket,
    /// Packets from eBPF at the socket.
    Ebpf,
    /// Plaintext from eBPF at a TLS library.
    EbpfTls,
    /// A capture file.
    File,
}

impl CaptureSource {
    /// Text in JSON and KFL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::AfPacket => "af_packet",
            Self::Ebpf => "ebpf",
            Self::EbpfTls => "ebpf_tls",
            Self::File => "file",
        }
    }
}

/// How an entry was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureInfo {
    /// The mechanism.
    pub source: CaptureSource,
    /// Which ends' sockets were seen: `"client"`, `"server"`, `"both"`; empty for a file.
    pub seen_at: CompactString,
}

impl Entry {
    /// Bytes of memory that it holds, for bounds: exact for texts and bodies, an estimate for the rest.
    pub fn weight(&self) -> usize {
        // What it has beyond its messages.
        const OVERHEAD: usize = 1024;
        OVERHEAD + self.request.weight() + self.response.weight()
    }

    /// Whether the call is still under way: the entry comes again, under the same id, when it is over.
    pub fn is_open(&self) -> bool {
        self.events.contains(&EntryEvent::Open)
    }
}

/// One API call (or one-sided event) with everything known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands: node, stream, index.
    pub id: EntryId,
    /// Grows by one per entry of a node; the resume cursor. 0 until the node has numbered it.
    pub seq: u64,
    /// Protocol in the registry.
    pub protocol: ProtocolKey,
    /// The node that saw it.
    pub node: Arc<NodeInfo>,
    /// Who asked.
    pub src: Peer,
    /// Who was asked.
    pub dst: Peer,
    /// Whether the client runs on this node.
    pub outgoing: bool,
    /// Whether the bytes were decrypted.
    pub tls: bool,
    /// What is known about its TLS, where the bytes were decrypted.
    pub tls_info: Option<Arc<TlsInfo>>,
    /// Moments.
    pub timing: Timing,
    /// Verb: HTTP method, Redis command, DNS opcode.
    pub method: CompactString,
    /// One line that tells calls apart: path, key, question.
    pub summary: CompactString,
    /// Status code; 0 when the protocol or the call has none.
    pub status: i64,
    /// The request as its protocol describes it; `Null` when it was not seen.
    pub request: Value,
    /// The response as its protocol describes it; `Null` when it was not seen.
    pub response: Value,
    /// Bytes of the request on the wire, L7 only.
    pub request_size: u64,
    /// Bytes of the response on the wire, L7 only.
    pub response_size: u64,
    /// Why there is no complete answer.
    pub error: Option<EntryError>,
    /// Facts worth knowing: gaps, cuts, limits.
    pub events: Vec<EntryEvent>,
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// How it was captured.
    pub capture: CaptureInfo,
}
