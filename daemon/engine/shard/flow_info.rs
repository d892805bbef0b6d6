//! A connection as `GET /api/v1/flows` shows it.

use compact_str::CompactString;
use serde::Serialize;

use super::plaintext::Plaintext;
use crate::dissect::tls::{alert_name, suite_name, version_name};
use crate::flow::TcpReport;
use crate::model::{
    AddrPort, ConnectionId, Peer, SocketCookie, Timestamp, TlsHandshake, TlsLibrary, TlsWitness,
};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// Data can flow both ways, as far as is known.
    Open,
    /// One side has ended.
    Closing,
    /// Over; kept a moment for stragglers.
    Closed,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowEnd {
    /// Address as the client's side names it.
    pub addr: AddrPort,
    /// Address behind NAT, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<AddrPort>,
    /// The socket on this host; 0 when it is elsewhere.
    pub socket: SocketCookie,
}

impl From<Peer> for FlowEnd {
    fn from(peer: Peer) -> Self {
        Self { addr: peer.addr, translated: peer.translated, socket: peer.socket }
    }
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowTraffic {
    /// Packets as the socket saw them (super packets count once).
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

/// What is known about the TLS of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowTls {
    /// Server name that the client asked for.
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub sni: CompactString,
    /// Version in use: `TLS 1.3`.
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub version: CompactString,
    /// Cipher suite in use, by its IANA name.
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub cipher_suite: CompactString,
    /// Application protocol, as far as it is known.
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub alpn: CompactString,
    /// Fingerprint of the client's hello.
    #[serde(skip_serializing_if = "CompactString::is_empty")]
    pub ja4: CompactString,
    /// The fatal alert that ended the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<CompactString>,
    /// Plaintext was read at a TLS library.
    pub decrypted: bool,
    /// That library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<&'static str>,
    /// How the plaintext was tied to the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<&'static str>,
}

impl FlowTls {
    pub(super) fn new(handshake: Option<&TlsHandshake>, plaintext: Option<&Plaintext>) -> Self {
        let mut tls = Self { decrypted: plaintext.is_some_and(Plaintext::has_data), ..Self::default() };
        if let Some(handshake) = handshake {
            tls.sni.clone_from(&handshake.sni);
            tls.version = version_name(handshake.version);
            tls.cipher_suite = handshake.cipher_suite.map(suite_name).unwrap_or_default();
            tls.alpn.clone_from(&handshake.alpn);
            tls.ja4.clone_from(&handshake.ja4);
            tls.alert = handshake.alert.map(alert_name);
        }
        if let Some(plaintext) = plaintext {
            if let Some(handshake) = handshake.filter(|handshake| handshake.alpn.is_empty()) {
                tls.alpn = plaintext.spoken(handshake).into();
            }
            tls.library = plaintext.library().map(TlsLibrary::name);
            tls.witness = plaintext.witness().map(TlsWitness::name);
        }
        tls
    }
}

/// One connection or datagram flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowInfo {
    /// Its id.
    pub id: ConnectionId,
    /// `tcp`, `udp`, `icmp`, `sctp`, `ip`.
    pub protocol: &'static str,
    /// Who opened it.
    pub client: FlowEnd,
    /// Who was asked.
    pub server: FlowEnd,
    /// Where it stands.
    pub state: FlowState,
    /// Key of the application protocol; `None` when not detected.
    pub application: Option<&'static str>,
    /// First packet, ns since the epoch.
    pub first_seen: Timestamp,
    /// Last packet, ns since the epoch.
    pub last_seen: Timestamp,
    /// From client to server.
    pub to_server: FlowTraffic,
    /// From server to client.
    pub to_client: FlowTraffic,
    /// Entries that it gave so far.
    pub entries: u64,
    /// For TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<FlowTls>,
    /// For TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpReport>,
}
