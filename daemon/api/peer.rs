//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

use super::access::{Access, Caller};
use super::sock_diag;

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// The unix socket; credentials of the process that connected.
    Unix { uid: u32, gid: u32 },
    /// TCP.
    Tcp { peer: SocketAddr, local: SocketAddr, tls: bool },
}

/// One connection's other end, attached to each of its requests.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) transport: Transport,
    /// The local user, when the kernel names one.
    pub(super) uid: Option<u32>,
    /// That user's role, if it has one.
    pub(super) local: Option<Caller>,
    /// Whether a bearer token may be sent over this connection.
    pub(super) tokens: bool,
}

impl Peer {
    /// Asks the kernel and the user database, so it may block. `allow_plaintext`: tokens are accepted
    /// without TLS from other hosts.
    pub(super) fn identify(transport: Transport, access: &Access, allow_plaintext: bool) -> Self {
        let (uid, gid) = match transport {
            Transport::Unix { uid, gid } => (Some(uid), Some(gid)),
            Transport::Tcp { peer, local, .. } => (loopback_owner(peer, local), None),
        };
        let local = uid.and_then(|uid| access.local(uid, gid));
        let tokens = match transport {
            Transport::Unix { .. } => true,
            Transport::Tcp { peer, tls, .. } => {
                tls || allow_plaintext || peer.ip().to_canonical().is_loopback()
            }
        };
        Self { transport, uid, local, tokens }
    }

    /// The address that wrong tokens are counted under; `None` for the unix socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.transport {
            Transport::Unix { .. } => None,
            Transport::Tcp { peer, .. } => Some(peer.ip().to_canonical()),
        }
    }
}

/// The uid of a loopback client. A failure of the lookup is logged and means that a token is needed.
fn loopback_owner(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    if !peer.ip().to_canonical().is_loopback() {
        return None;
    }
    match sock_diag::owner(peer, local) {
        Ok(uid) => uid,
        Err(error) => {
            tracing::warn!(%peer, %error, "the kernel did not say who owns a loopback connection: a token is needed");
            None
        }
    }
}
