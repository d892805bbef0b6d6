//! What capture hands to the engine, live or from a file.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Hook, Loss, ProcessKey, SocketCookie, SocketTuple, Timestamp, TlsEvent, TlsSecret};

/// One thing that capture saw. The same stream live, from segments and from an imported file.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A packet at a socket.
    Packet(Packet),
    /// Life, death or ownership of a socket.
    Socket(SocketEvent),
    /// A process that started, changed its image, or ended.
    Process(ProcessEvent),
    /// Plaintext at a TLS library.
    Tls(TlsEvent),
    /// Key material of TLS; only where it was asked for.
    Secret(TlsSecret),
    /// Something was lost here.
    Loss(Loss),
}

impl Record {
    /// When it was seen.
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Packet(packet) => packet.at,
            Self::Socket(
                SocketEvent::Owner { at, .. }
                | SocketEvent::State { at, .. }
                | SocketEvent::Destroyed { at, .. },
            )
            | Self::Process(
                ProcessEvent::Exec { at, .. }
                | ProcessEvent::Described { at, .. }
                | ProcessEvent::Exit { at, .. },
            )
            | Self::Tls(TlsEvent::Bound { at, .. } | TlsEvent::Closed { at, .. }) => *at,
            Self::Tls(TlsEvent::Data(chunk)) => chunk.at,
            Self::Secret(secret) => secret.at,
            Self::Loss(loss) => loss.at,
        }
    }
}

/// One L3 packet as the kernel showed it at a socket; GSO/GRO super packets are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When the kernel saw it.
    pub at: Timestamp,
    /// The socket it belongs to. The first packets of an accepted connection carry the listener's.
    pub cookie: SocketCookie,
    /// Arriving at or leaving that socket.
    pub hook: Hook,
    /// Interface index in the socket's network namespace.
    pub ifindex: u32,
    /// The socket's own addresses; `None` when capture has no socket (a file).
    pub socket: Option<SocketTuple>,
    /// Bytes of the packet on the wire, from the IP header on; `data` may be shorter.
    pub wire_len: u32,
    /// The packet from its IP header on.
    pub data: Bytes,
}

/// Which hook named a socket's owner; later evidence of a better rank replaces earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerEvidence {
    /// Created the socket; a listener's children inherit it until better is known.
    Create,
    /// Found in a process's file table at start-up.
    FileTable,
    /// Called connect or sendmsg on it.
    Connect,
    /// Accepted it.
    Accept,
    /// Sent or received data on it.
    DataTransfer,
}

/// TCP connection state, by the kernel's numbers (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TcpState(pub u8);

impl TcpState {
    /// Data can flow.
    pub const ESTABLISHED: Self = Self(1);
    /// Gone.
    pub const CLOSE: Self = Self(7);
    /// Waiting for connections.
    pub const LISTEN: Self = Self(10);
}

/// Life, death or ownership of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketEvent {
    /// A process is seen using the socket.
    Owner {
        /// When.
        at: Timestamp,
        /// Which socket.
        cookie: SocketCookie,
        /// Whose.
        process: ProcessKey,
        /// Parent's pid at that moment, 0 if not known.
        ppid: u32,
        /// Real uid of the caller, `None` if not known.
        uid: Option<u32>,
        /// Name of the calling process (`comm`).
        name: CompactString,
        /// cgroup v2 id of the caller.
        cgroup_id: u64,
        /// Network namespace of the socket (inode number), 0 if not known.
        netns: u32,
        /// How this was seen.
        evidence: OwnerEvidence,
    },
    /// A TCP socket changed its state.
    State {
        /// When.
        at: Timestamp,
        /// Which socket.
        cookie: SocketCookie,
        /// Its addresses.
        tuple: SocketTuple,
        /// Network namespace of the socket (inode number), 0 if not known.
        netns: u32,
        /// The state it is in now.
        state: TcpState,
    },
    /// The socket is gone; its cookie will not come again.
    Destroyed {
        /// When.
        at: Timestamp,
        /// Which socket.
        cookie: SocketCookie,
    },
}

/// A process that started, changed its image, or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessEvent {
    /// `execve` succeeded.
    Exec {
        /// When.
        at: Timestamp,
        /// Which process.
        process: ProcessKey,
        /// Parent's pid.
        ppid: u32,
        /// Real uid.
        uid: Option<u32>,
        /// Name (`comm`) after the exec.
        name: CompactString,
        /// cgroup v2 id.
        cgroup_id: u64,
        /// The path given to execve.
        path: CompactString,
    },
    /// What the host told about a process that uses sockets. The daemon writes these into its segments,
    /// because nobody can ask the host later.
    Described {
        /// When it was asked.
        at: Timestamp,
        /// Which process.
        process: ProcessKey,
        /// The answer.
        description: Arc<super::Process>,
    },
    /// The last thread ended.
    Exit {
        /// When.
        at: Timestamp,
        /// Which process.
        process: ProcessKey,
    },
}
