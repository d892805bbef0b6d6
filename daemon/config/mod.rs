//! Turns files, environment and flags into one validated configuration.
//!
//! [`Sources`] say where to look; [`Config::load`] reads them all and reports every problem at once,
//! each with the file and line, variable or flag that it comes from. The keys are one table
//! ([`Key::ALL`]): parsing, the environment, `--check`, and the test of `packaging/remora.toml`
//! derive from it.
//!
//! Invariant: a [`Config`] that exists is valid; loading has no side effects and starts nothing.

mod error;
mod keys;
mod load;
mod network;
mod role;
mod sources;
#[cfg(test)]
mod tests;
mod units;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigErrors, Problem};
pub use keys::Key;
pub use network::{Network, NoNetwork};
pub use role::{Role, UnknownRole};
pub use sources::{DEFAULT_FILE, Sources};
pub use units::{ByteSize, Period, UnitError};
pub use validate::MIN_STORE_BYTES;

use crate::engine::limits::Limits;

/// The daemon's whole configuration; made by [`Config::load`], or the defaults.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[listen]`
    pub listen: ListenConfig,
    /// `[access]`
    pub access: AccessConfig,
    /// `[capture]`
    pub capture: CaptureConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[dissection]`
    pub dissection: DissectionConfig,
    /// `[store]`
    pub store: StoreSection,
    /// `[stream]`
    pub stream: StreamConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// Who this daemon is and how it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// Name in entries and ids; empty for the host name.
    pub name: String,
    /// How long a stop may take to deliver what is under way.
    pub drain_timeout: Period,
}

/// Where the API is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// Path of the unix socket; empty for none.
    pub unix: PathBuf,
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
    /// PEM file with the certificate chain; empty for no TLS.
    pub tls_cert: PathBuf,
    /// PEM file with its private key.
    pub tls_key: PathBuf,
    /// Serve addresses other than loopback without TLS.
    pub allow_plaintext: bool,
    /// Further values of the Host header that are accepted.
    pub allowed_hosts: Vec<String>,
    /// Further origins whose pages may call.
    pub allowed_origins: Vec<String>,
}

impl ListenConfig {
    /// The unix socket's path, if there is to be one.
    pub fn unix_path(&self) -> Option<&PathBuf> {
        (!self.unix.as_os_str().is_empty()).then_some(&self.unix)
    }

    /// Certificate and key, if TLS is configured.
    pub fn tls(&self) -> Option<(&PathBuf, &PathBuf)> {
        (!self.tls_cert.as_os_str().is_empty()).then_some((&self.tls_cert, &self.tls_key))
    }
}

/// Which local users may call, and as what. Root is always admin.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessConfig {
    /// Group that owns the unix socket; empty leaves it to root.
    pub group: String,
    /// Role of that group's members.
    pub group_role: Role,
    /// User name or uid -> role.
    pub users: BTreeMap<String, Role>,
    /// Group name or gid -> role; of several that fit a caller, the highest counts.
    pub groups: BTreeMap<String, Role>,
}

/// How packets are captured.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureConfig {
    /// Size of the packet ring.
    pub ring_size: ByteSize,
    /// Size of the ring for socket and process events.
    pub socket_ring_size: ByteSize,
    /// Whether all of it is kept on disk as well, unless that was switched while running.
    pub raw: bool,
    /// Disk space for that.
    pub raw_size: ByteSize,
    /// Limit of its age; zero for none.
    pub raw_age: Period,
    /// Disk space for snapshots, which are kept until they are deleted.
    pub snapshot_size: ByteSize,
    /// Capture only what fits each list here that is not empty.
    pub include: ScopeConfig,
    /// Capture nothing that fits any list here.
    pub exclude: ScopeConfig,
}

impl CaptureConfig {
    /// The age limit of raw capture, if there is one.
    pub fn raw_age(&self) -> Option<Duration> {
        (!self.raw_age.0.is_zero()).then_some(self.raw_age.0)
    }
}

/// What a packet can be recognised by. Of cgroups, units and containers one that fits is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeConfig {
    /// Paths below the cgroup2 root (`/system.slice/nginx.service`), or cgroup ids as numbers.
    pub cgroups: Vec<String>,
    /// Names of systemd units (`nginx.service`).
    pub units: Vec<String>,
    /// Ids of containers, or how they begin, or names of machines.
    pub containers: Vec<String>,
    /// Ports of either end.
    pub ports: Vec<u16>,
    /// Networks of either address.
    pub networks: Vec<Network>,
}

/// How plaintext is taken of TLS libraries.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// Whether it is.
    pub enabled: bool,
    /// Size of the ring for plaintext.
    pub ring_size: ByteSize,
    /// Most bytes taken of one read or write.
    pub max_message: ByteSize,
    /// Whether key material is taken as well and kept in raw capture.
    pub keylog: bool,
    /// Take plaintext only of processes that fit each list here that is not empty.
    pub include: TlsScopeConfig,
    /// Take none of processes that fit any list here.
    pub exclude: TlsScopeConfig,
}

/// What a process whose plaintext is taken can be recognised by, beside its cgroup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsScopeConfig {
    /// Names or numbers of its real user.
    pub users: Vec<String>,
    /// Paths of its executable, or names without a path.
    pub executables: Vec<String>,
}

/// How packets become entries.
#[derive(Clone, Debug, PartialEq)]
pub struct DissectionConfig {
    /// Whether dissection runs at start, unless it was paused or resumed before.
    pub enabled: bool,
    /// Threads; 0 for as many as half of the CPUs, at least one.
    pub shards: usize,
    /// Connections per shard.
    pub max_connections: usize,
    /// Bytes kept of each message body.
    pub max_body: ByteSize,
    /// Bytes that a body may grow to when it is decompressed.
    pub max_decoded_body: ByteSize,
    /// Bytes of a message's head.
    pub max_head: ByteSize,
    /// Requests without an answer kept per connection.
    pub max_pending: usize,
    /// How long a request may wait for its answer.
    pub answer_timeout: Period,
    /// When a silent connection is forgotten.
    pub idle_timeout: Period,
    /// Share of one CPU that each delayed dissection takes at most, per cent.
    pub delayed_cpu: usize,
    /// Its threads' nice value.
    pub delayed_nice: usize,
    /// Bytes that each holds at most of connections and calls under way.
    pub delayed_memory: ByteSize,
    /// Delayed dissections at once; further ones wait.
    pub delayed_at_once: usize,
}

impl DissectionConfig {
    /// The engine's limits; those that are not configured keep their defaults.
    pub fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            max_body: self.max_body.as_usize(),
            max_decoded_body: self.max_decoded_body.as_usize(),
            max_head: self.max_head.as_usize(),
            max_pending: self.max_pending,
            answer_timeout: self.answer_timeout.0,
            idle_timeout: self.idle_timeout.0,
            ..Limits::default()
        }
    }

    /// Number of shard threads on a host with `cpus` CPUs.
    pub fn shard_count(&self, cpus: usize) -> usize {
        if self.shards == 0 { (cpus / 2).max(1) } else { self.shards }
    }
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSection {
    /// Whether entries are kept; tokens and settings always are.
    pub enabled: bool,
    /// Directory.
    pub path: PathBuf,
    /// Limit of disk space.
    pub max_size: ByteSize,
    /// Limit of age; zero for none.
    pub max_age: Period,
}

impl StoreSection {
    /// The age limit, if there is one.
    pub fn max_age(&self) -> Option<Duration> {
        (!self.max_age.0.is_zero()).then_some(self.max_age.0)
    }
}

/// Queues between the stages and to subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamConfig {
    /// Bytes of packets that may wait for each shard.
    pub shard_queue: ByteSize,
    /// Bytes of entries that may wait to be named and numbered.
    pub entry_queue: ByteSize,
    /// Bytes of entries that may wait for the store.
    pub store_queue: ByteSize,
    /// Bytes of entries that may wait for one subscriber.
    pub subscriber_queue: ByteSize,
    /// Subscribers at once.
    pub max_subscribers: usize,
}

/// Logging.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// error, warn, info, debug, trace, or target=level pairs.
    pub level: String,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: String::new(), drain_timeout: Period::seconds(10) }
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            unix: "/run/remora/remora.sock".into(),
            tcp: vec![SocketAddr::from(([127, 0, 0, 1], 8899))],
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            allow_plaintext: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            group: "remora".to_owned(),
            group_role: Role::Operator,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            ring_size: ByteSize::mib(32),
            socket_ring_size: ByteSize::mib(4),
            raw: true,
            raw_size: ByteSize::mib(1024),
            raw_age: Period::seconds(24 * 3600),
            snapshot_size: ByteSize::mib(10 << 10),
            include: ScopeConfig::default(),
            exclude: ScopeConfig::default(),
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ring_size: ByteSize::mib(16),
            max_message: ByteSize::mib(2),
            keylog: false,
            include: TlsScopeConfig::default(),
            exclude: TlsScopeConfig::default(),
        }
    }
}

impl Default for DissectionConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            enabled: true,
            shards: 0,
            max_connections: limits.max_connections,
            max_body: ByteSize(limits.max_body as u64),
            max_decoded_body: ByteSize(limits.max_decoded_body as u64),
            max_head: ByteSize(limits.max_head as u64),
            max_pending: limits.max_pending,
            answer_timeout: Period(limits.answer_timeout),
            idle_timeout: Period(limits.idle_timeout),
            delayed_cpu: 75,
            delayed_nice: 10,
            delayed_memory: ByteSize::mib(256),
            delayed_at_once: 1,
        }
    }
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/var/lib/remora".into(),
            max_size: ByteSize::mib(512),
            max_age: Period::seconds(7 * 24 * 3600),
        }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            shard_queue: ByteSize::mib(32),
            entry_queue: ByteSize::mib(32),
            store_queue: ByteSize::mib(32),
            subscriber_queue: ByteSize::mib(64),
            max_subscribers: 1000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}
