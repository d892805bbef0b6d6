//! Plaintext at TLS libraries: what was handed to or by the application, and which socket it belongs to.

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Hook, ProcessKey, SocketCookie, Timestamp};

/// One TLS connection as its library knows it, alive until [`TlsEvent::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TlsSession {
    /// The process whose memory the handle points into.
    pub process: ProcessKey,
    /// Address of the library's connection object (`SSL *`, `gnutls_session_t`, `*tls.Conn`).
    pub handle: u64,
    /// Tells apart sessions that got the same address one after the other.
    pub generation: u64,
}

/// The stack that encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsLibrary {
    /// OpenSSL and what has its interface and layout.
    OpenSsl,
    /// Google's fork.
    BoringSsl,
    /// OpenBSD's fork.
    LibreSsl,
    /// GnuTLS.
    GnuTls,
    /// NSS through NSPR.
    Nss,
    /// Go's crypto/tls.
    Go,
    /// rustls.
    Rustls,
}

impl TlsLibrary {
    /// Text in JSON, KFL and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::BoringSsl => "boringssl",
            Self::LibreSsl => "libressl",
            Self::GnuTls => "gnutls",
            Self::Nss => "nss",
            Self::Go => "go",
            Self::Rustls => "rustls",
        }
    }
}

/// What says that a session's plaintext belongs to a socket. A greater one replaces a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsWitness {
    /// The only socket of the process that fits: a guess, and marked as one.
    Process,
    /// The thread's next send or last receive around a call that did no I/O itself (memory BIOs).
    NearbyTransfer,
    /// The application told the library which descriptor to use, or the library's object holds it.
    Descriptor,
    /// The thread sent or received on the socket while it was inside the library's call.
    InCall,
}

impl TlsWitness {
    /// Text in JSON, KFL and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::NearbyTransfer => "nearby_transfer",
            Self::Descriptor => "descriptor",
            Self::InCall => "in_call",
        }
    }
}

/// What a probe at a TLS library saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsEvent {
    /// Plaintext.
    Data(TlsChunk),
    /// The session's socket became known, for what came before and for what follows.
    Bound {
        /// When.
        at: Timestamp,
        /// Which session.
        session: TlsSession,
        /// Its socket.
        cookie: SocketCookie,
        /// How that is known.
        witness: TlsWitness,
    },
    /// The library freed the session; its handle may be used again.
    Closed {
        /// When.
        at: Timestamp,
        /// Which session.
        session: TlsSession,
    },
}

/// Consecutive plaintext bytes of one direction of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsChunk {
    /// When the library's call returned.
    pub at: Timestamp,
    /// Whose plaintext.
    pub session: TlsSession,
    /// The stack.
    pub library: TlsLibrary,
    /// Egress: the process wrote it. Ingress: the process read it.
    pub hook: Hook,
    /// Position of `data` in its direction, counted from the first byte that the probes could see. What
    /// lies between the end of one chunk and the offset of the next was lost.
    pub offset: u64,
    /// The probes saw this session from its beginning, so that offset 0 is its first byte.
    pub from_start: bool,
    /// The socket, where it was known at that moment, and how.
    pub socket: Option<(SocketCookie, TlsWitness)>,
    /// The bytes.
    pub data: Bytes,
}

/// What the unencrypted part of a connection's TLS handshake said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsHandshake {
    /// Server name that the client asked for (RFC 6066); empty without one.
    pub sni: CompactString,
    /// The version in use (`0x0303` is TLS 1.2); 0 when the server's hello was not seen.
    pub version: u16,
    /// The highest version that the client offered; 0 when its hello was not seen.
    pub offered_version: u16,
    /// The cipher suite in use, by its IANA number.
    pub cipher_suite: Option<u16>,
    /// Cipher suites that the client offered, in its order.
    pub offered_suites: Vec<u16>,
    /// The application protocol in use (RFC 7301), where it was sent in clear text (up to TLS 1.2).
    pub alpn: CompactString,
    /// Application protocols that the client offered, in its order.
    pub offered_alpn: Vec<CompactString>,
    /// Fingerprint of the client's hello; empty when it was not seen.
    pub ja4: CompactString,
    /// The server asked for another hello first.
    pub retried: bool,
    /// The fatal alert that ended the handshake, by its number (RFC 8446, 6).
    pub alert: Option<u8>,
}

/// What is known about the TLS of a call that was read in clear text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsInfo {
    /// From the packets; all empty where the handshake was not captured.
    pub handshake: TlsHandshake,
    /// The application protocol that both agreed on; where the handshake hides it (TLS 1.3), the one that
    /// was offered and is really spoken. Empty when none is known.
    pub alpn: CompactString,
    /// The stack at which the plaintext was read.
    pub library: Option<TlsLibrary>,
    /// The weakest evidence by which the plaintext was tied to the connection.
    pub witness: Option<TlsWitness>,
}
