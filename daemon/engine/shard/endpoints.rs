//! Who is at the two ends of a connection, as far as packets and sockets tell.

use compact_str::CompactString;

use crate::flow::RoutedPacket;
use crate::model::{AddrPort, Direction, Hook, Peer, SocketCookie};

/// One end's socket on this host.
#[derive(Clone, Copy, Debug)]
struct Socket {
    cookie: SocketCookie,
    /// The socket's own address; `None` while unbound or only a listener's wildcard is known.
    local: Option<AddrPort>,
    /// The peer as the socket names it; `None` for listeners and unconnected sockets.
    remote: Option<AddrPort>,
    /// Where its packets really go.
    sends_to: Option<AddrPort>,
}

/// Both ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoints {
    /// Addresses in the first packet's header: client's, server's.
    header: [AddrPort; 2],
    /// Client's, server's; both `None` for a file.
    sockets: [Option<Socket>; 2],
    /// What was taken for the client is the server.
    pub(super) swapped: bool,
}

impl Endpoints {
    pub(super) fn new(routed: &RoutedPacket) -> Self {
        let tuple = routed.headers.tuple;
        let header = match routed.direction {
            Direction::ToServer => [tuple.src, tuple.dst],
            Direction::ToClient => [tuple.dst, tuple.src],
        };
        Self { header, sockets: [None, None], swapped: false }
    }

    /// Learns from a packet. Does next to nothing once the socket is known.
    pub(super) fn learn(&mut self, routed: &RoutedPacket) {
        let packet = &routed.packet;
        if !packet.cookie.is_known() {
            return;
        }
        let [client, server] = &mut self.sockets;
        let place = if routed.vantage == 0 { client } else { server };
        let tuple = packet.socket;
        match place {
            Some(socket) if socket.cookie == packet.cookie => {}
            // The listener's cookie gives way to the child's, never the other way round.
            Some(_) if tuple.is_none_or(|tuple| tuple.remote.port == 0) => {}
            _ => {
                *place = Some(Socket {
                    cookie: packet.cookie,
                    local: tuple.map(|tuple| tuple.local).filter(|local| !local.ip.is_unspecified()),
                    remote: tuple.map(|tuple| tuple.remote).filter(|remote| !remote.ip.is_unspecified()),
                    sends_to: None,
                });
            }
        }
        if let Some(socket) = place
            && socket.sends_to.is_none()
            && packet.hook == Hook::Egress
        {
            socket.sends_to = Some(routed.headers.tuple.dst);
        }
    }

    /// Whether the client's socket is on this host.
    pub(super) fn client_is_local(&self) -> bool {
        self.sides().0.is_some()
    }

    /// Whether both ends' sockets are on this host.
    pub(super) fn are_both_local(&self) -> bool {
        self.sockets.iter().all(Option::is_some)
    }

    /// Which ends' sockets were seen.
    pub(super) fn seen_at(&self) -> CompactString {
        CompactString::const_new(match self.sides() {
            (Some(_), Some(_)) => "both",
            (Some(_), None) => "client",
            (None, Some(_)) => "server",
            (None, None) => "",
        })
    }

    /// The client: its own address, and the one behind NAT that the server sees.
    pub(super) fn client(&self) -> Peer {
        let (client, server) = self.sides();
        let at_server = server.and_then(|socket| socket.remote);
        let addr = client.and_then(|socket| socket.local).or(at_server).unwrap_or_else(|| self.header(0));
        peer(addr, at_server, client)
    }

    /// The server: as the client named it, and where packets really went.
    pub(super) fn server(&self) -> Peer {
        let (client, server) = self.sides();
        let at_server = server.and_then(|socket| socket.local);
        let addr = client.and_then(|socket| socket.remote).or(at_server).unwrap_or_else(|| self.header(1));
        peer(addr, at_server.or(client.and_then(|socket| socket.sends_to)), server)
    }

    /// The server's port as packets name it.
    pub(super) fn server_port(&self) -> u16 {
        let (client, server) = self.sides();
        let real = server.and_then(|socket| socket.local).or(client.and_then(|socket| socket.sends_to));
        real.unwrap_or_else(|| self.header(1)).port
    }

    fn header(&self, side: usize) -> AddrPort {
        let [client, server] = self.header;
        if (side == 0) == self.swapped { server } else { client }
    }

    fn sides(&self) -> (Option<&Socket>, Option<&Socket>) {
        let [client, server] = &self.sockets;
        if self.swapped { (server.as_ref(), client.as_ref()) } else { (client.as_ref(), server.as_ref()) }
    }
}

fn peer(addr: AddrPort, real: Option<AddrPort>, socket: Option<&Socket>) -> Peer {
    Peer {
        addr,
        translated: real.filter(|real| *real != addr),
        socket: socket.map_or(SocketCookie(0), |socket| socket.cookie),
        ..Peer::default()
    }
}
