//! Who is at an end of a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The kernel's id of a socket: unique per boot, never reused. 0 means "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketCookie(pub u64);

impl SocketCookie {
    /// Whether the kernel named a socket.
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// A process for good: a pid alone is reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Start time in nanoseconds since boot; 0 when not known.
    pub started: u64,
}

/// What is known of a process. Every field but the pid may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Real user id; `None` when not known.
    pub uid: Option<u32>,
    /// Kernel's name of the thread group leader (`comm`, up to 15 bytes).
    pub name: CompactString,
    /// Path of the executable as the process sees it.
    pub exe: Arc<str>,
    /// cgroup v2 id (inode number); 0 when not known.
    pub cgroup_id: u64,
    /// Path of the cgroup, `/`-rooted.
    pub cgroup: Arc<str>,
    /// Container id (64 hex digits for most runtimes); empty outside containers.
    pub container_id: CompactString,
    /// systemd unit, such as `nginx.service`; empty outside of one.
    pub unit: CompactString,
    /// Network namespace (inode number); 0 when not known.
    pub netns: u32,
}

/// An address goes by a name for some time: what an answer on the wire taught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFact {
    /// The address.
    pub ip: IpAddr,
    /// The name that was asked for.
    pub name: CompactString,
    /// When the answer came.
    pub at: Timestamp,
    /// How long it may be used.
    pub ttl: Duration,
}
