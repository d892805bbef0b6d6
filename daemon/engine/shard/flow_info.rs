//! A connection as `GET /api/v1/flows` shows it.

use serde::Serialize;

use crate::flow::TcpReport;
use crate::model::{AddrPort, ConnectionId, Peer, SocketCookie, Timestamp};

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
    /// For TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpReport>,
}
