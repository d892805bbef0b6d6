//! Addresses, tuples and directions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// An IP address and an L4 port. IPv4-mapped IPv6 addresses are always stored as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddrPort {
    /// The address, IPv4-mapped IPv6 already unmapped.
    pub ip: IpAddr,
    /// The port; 0 for protocols without ports.
    pub port: u16,
}

impl AddrPort {
    /// An endpoint; `::ffff:a.b.c.d` becomes `a.b.c.d`.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip: ip.to_canonical(), port }
    }
}

impl Default for AddrPort {
    fn default() -> Self {
        Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 }
    }
}

impl fmt::Display for AddrPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The transport protocol of a packet, by IANA protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct L4(pub u8);

impl L4 {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Lower-case name (`"tcp"`), or `"ip"` for anything without one here.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TCP => "tcp",
            Self::UDP => "udp",
            Self::ICMP | Self::ICMPV6 => "icmp",
            Self::SCTP => "sctp",
            _ => "ip",
        }
    }
}

/// The addresses of one packet, in the direction it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FiveTuple {
    /// Where the packet's header says that it comes from.
    pub src: AddrPort,
    /// Where the packet's header says that it goes.
    pub dst: AddrPort,
    /// Transport protocol.
    pub protocol: L4,
}

impl FiveTuple {
    /// The tuple of an answer to this packet.
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, protocol: self.protocol }
    }

    /// The same value for both directions: the smaller endpoint first.
    pub fn canonical(self) -> Self {
        if self.src <= self.dst { self } else { self.reversed() }
    }
}

/// A socket's own view of its connection: behind NAT it differs from the packets' headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketTuple {
    /// The socket's address on this host.
    pub local: AddrPort,
    /// The peer as the application named it (a service address stays one). Port 0: a listener.
    pub remote: AddrPort,
}

/// Where the kernel showed a packet, relative to the socket that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// Arriving at the socket.
    Ingress,
    /// Leaving the socket.
    Egress,
}

/// Direction relative to the initiator of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

impl Direction {
    /// The other way.
    pub const fn flipped(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }

    /// 0 to the server, 1 to the client: for two-element arrays.
    pub const fn index(self) -> usize {
        self as usize
    }
}
