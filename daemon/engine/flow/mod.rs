//! Gives packets and TLS plaintext their connection, pairs the two ends of a local one, and ages
//! connections out.
//!
//! Invariant: one connection, one id, one shard, whichever of its (at most two) sockets showed the
//! packet; two connections that share a tuple at the same time never share an id.

mod binder;
mod fingerprint;
mod link;
mod listeners;
mod metrics;
mod router;
mod table;
mod window;

use crate::model::{ConnectionId, Direction, DropReason, Packet};
use crate::wire::Headers;

pub use binder::{Binder, Bound, RoutedTls, TlsNews};
pub use metrics::{TcpMetrics, TcpReport};
pub use router::{Router, RouterConfig};
pub use table::LruTable;

/// At the client's socket, or seen by an observer without a socket (a capture file).
pub const CLIENT_VANTAGE: u8 = 0;
/// At the server's socket.
pub const SERVER_VANTAGE: u8 = 1;

/// What becomes of a packet.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one, and boxing it costs an allocation"
)]
pub enum Routed {
    /// Goes to a shard.
    To {
        /// Which one.
        shard: usize,
        /// The packet and what was found out.
        packet: RoutedPacket,
    },
    /// Was left out; the caller counts it.
    Dropped(DropReason),
}

/// Where the packets of a connected socket go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPlace {
    /// The connection that the socket is an end of.
    pub connection: ConnectionId,
    /// The connection's shard.
    pub shard: usize,
    /// [`CLIENT_VANTAGE`] or [`SERVER_VANTAGE`].
    pub vantage: u8,
}

/// How far a segment is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The receiving socket takes it, or nothing is known about that socket.
    Whole,
    /// It acknowledges what was never sent, or from a position that is not taken: its data may count, its
    /// acknowledgement does not.
    WithoutAck,
    /// The receiving socket throws it away: it was forged, or strayed in from an earlier connection.
    Nothing,
}

/// A packet with its place in a connection.
#[derive(Debug)]
pub struct RoutedPacket {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// [`CLIENT_VANTAGE`] or [`SERVER_VANTAGE`]; who is the client is a guess when capture began mid-stream.
    pub vantage: u8,
    /// Direction of travel, under the same guess.
    pub direction: Direction,
    /// Whether this is the first packet of the connection that the router saw.
    pub first: bool,
    /// A connection of the same shard that was evicted to make room for this one.
    pub replaces: Option<ConnectionId>,
    /// A connection of the same shard that turned out to be the other end of another one: what is known
    /// of it is known there too.
    pub absorbed: Option<ConnectionId>,
    /// How far it is believed.
    pub fit: Fit,
    /// The packet's headers.
    pub headers: Headers,
    /// The packet.
    pub packet: Packet,
}

#[cfg(test)]
mod tests;
