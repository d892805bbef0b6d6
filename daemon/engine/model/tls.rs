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

/// Key material of a TLS connection. Whoever has it can read the connection's packets.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSecret {
    /// When the library derived it.
    pub at: Timestamp,
    /// Which secret it is, one of [`Self::LABELS`].
    pub label: &'static str,
    /// The random of the client's hello, which names the connection.
    pub client_random: [u8; 32],
    /// The secret itself, at most [`Self::MAX_BYTES`].
    pub secret: Bytes,
}

impl TlsSecret {
    /// Names of secrets in NSS key logs (RFC 9850).
    pub const LABELS: [&'static str; 8] = [
        "CLIENT_RANDOM",
        "CLIENT_EARLY_TRAFFIC_SECRET",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
        "EARLY_EXPORTER_SECRET",
        "EXPORTER_SECRET",
    ];
    /// Longest secret: the output of SHA-512.
    pub const MAX_BYTES: usize = 64;

    /// `None` if the label is none, or the length no secret's.
    pub fn new(at: Timestamp, label: &[u8], client_random: [u8; 32], secret: &[u8]) -> Option<Self> {
        let label = Self::LABELS.into_iter().find(|known| known.as_bytes() == label)?;
        let is_secret = (1..=Self::MAX_BYTES).contains(&secret.len());
        is_secret.then(|| Self { at, label, client_random, secret: Bytes::copy_from_slice(secret) })
    }

    /// As a line of an NSS key log, without its end.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.label, hex(&self.client_random), hex(&self.secret))
    }

    /// Reads such a line.
    pub fn of_line(at: Timestamp, line: &[u8]) -> Option<Self> {
        let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
        let (label, random, secret) = (words.next()?, words.next()?, words.next()?);
        let client_random = unhex(random)?.try_into().ok()?;
        words.next().is_none().then(|| Self::new(at, label, client_random, &unhex(secret)?)).flatten()
    }
}

/// Says nothing of the secret, so that none gets into logs.
impl std::fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSecret").field("at", &self.at).field("label", &self.label).finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !text.len().is_multiple_of(2) || text.len() > 2 * TlsSecret::MAX_BYTES {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_line_of_a_key_log_and_is_not_in_debug_output() {
        let secret = TlsSecret::new(Timestamp(7), b"CLIENT_TRAFFIC_SECRET_0", [0xab; 32], &[0xc0; 48])
            .expect("a secret");
        let line = secret.line();
        assert_eq!(line, format!("CLIENT_TRAFFIC_SECRET_0 {} {}", "ab".repeat(32), "c0".repeat(48)));
        assert_eq!(TlsSecret::of_line(Timestamp(7), format!("{line}\n").as_bytes()), Some(secret.clone()));
        assert!(!format!("{secret:?}").contains("c0") && !format!("{secret:?}").contains("192"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let of = |line: &str| TlsSecret::of_line(Timestamp(7), line.as_bytes());
        let random = "ab".repeat(32);
        for line in ["", "CLIENT_RANDOM", "# comment", "CLIENT_RANDOM 00 00"] {
            assert_eq!(of(line), None, "{line}");
        }
        assert_eq!(of(&format!("PASSWORD {random} 00")), None);
        assert_eq!(of(&format!("CLIENT_RANDOM {random} ")), None);
        assert_eq!(of(&format!("CLIENT_RANDOM {random} 0g")), None);
        assert_eq!(of(&format!("CLIENT_RANDOM {random} {}", "00".repeat(65))), None);
        assert!(of(&format!("CLIENT_RANDOM {random} 00")).is_some());
    }
}
