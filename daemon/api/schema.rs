//! The JSON of requests and answers, shared by daemon, command line and tests.
//!
//! Entries are not here: `engine::present` writes them.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::access::Role;

/// The envelope of all answers of Remora's own routes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Whether `data` is there.
    pub success: bool,
    /// The answer.
    pub data: Option<T>,
    /// Why there is none.
    pub error: Option<ErrorBody>,
}

/// The error of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs: `NOT_FOUND`, `BAD_REQUEST`, ...
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// `GET /api/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy` whenever the daemon answers.
    pub status: String,
    /// Present time, RFC 3339.
    pub timestamp: String,
}

/// `GET /api/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Version of the daemon.
    pub version: String,
    /// Such as `2h15m30s`.
    pub uptime: String,
    /// RFC 3339.
    pub started_at: String,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `ok`, `issues` or `error`.
    pub status: String,
    /// One line for a person.
    pub message: String,
    /// Number of things that are wrong.
    pub error_count: u64,
    /// Such as `2h15m30s`.
    pub uptime: String,
    /// RFC 3339.
    pub started_at: String,
    /// Version of the daemon.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Whether packets are dissected.
    pub dissection_enabled: bool,
    /// The parts of the data path.
    pub stages: Vec<StageStatus>,
    /// Queues between them.
    pub queues: Vec<QueueStatus>,
    /// What was lost, by reason; zeros included.
    pub drops: Vec<DropStatus>,
    /// Mechanism in use per capture job.
    pub rungs: Vec<RungStatus>,
    /// Live subscribers; filled by the API.
    pub stream: StreamStatus,
}

/// One part of the data path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StageStatus {
    /// `capture`, `pipeline`, `resolve`, `store`, `stream`.
    pub name: String,
    /// `ok`, `degraded`, `paused`, `off`.
    pub state: String,
    /// One line for a person; may be empty.
    pub detail: String,
    /// Its main numbers by name.
    pub counters: BTreeMap<String, u64>,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// Which.
    pub name: String,
    /// Items waiting.
    pub items: u64,
    /// Bytes waiting.
    pub bytes: u64,
    /// Bytes it may hold.
    pub capacity_bytes: u64,
}

/// One reason for losses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DropStatus {
    /// Name of the reason.
    pub reason: String,
    /// How much since the start, in the unit of the reason.
    pub count: u64,
    /// The stage that dropped.
    pub stage: String,
    /// Unit and meaning in words.
    pub meaning: String,
}

/// The mechanism in use for a capture job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RungStatus {
    /// `packets`, `owner`, ...
    pub job: String,
    /// Name of the mechanism; empty when none works.
    pub mechanism: String,
    /// Whether it is the best one there is.
    pub best: bool,
    /// Why no better one is in use; empty for the best.
    pub why: String,
}

/// Live subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStatus {
    /// How many.
    pub subscribers: u64,
    /// Distinct filters among them.
    pub filters: u64,
    /// Entries delivered since the start.
    pub delivered: u64,
    /// Number of the newest entry.
    pub newest_seq: u64,
}

/// `GET /api/v1/doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Doctor {
    /// Whether everything works by its best mechanism.
    pub healthy: bool,
    /// One line for a person.
    pub summary: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Version of the daemon.
    pub version: String,
    /// Each job of capture and attribution.
    pub jobs: Vec<DoctorJob>,
    /// Anything else worth knowing: losses, limits, missing privileges.
    pub findings: Vec<Finding>,
}

/// How one job is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DoctorJob {
    /// `packets`, `owner`, ...
    pub job: String,
    /// `ok`, `degraded`, `off`.
    pub state: String,
    /// Mechanism in use; empty when none works.
    pub mechanism: String,
    /// All mechanisms, best first, with what came of trying them.
    pub attempts: Vec<Attempt>,
    /// What the user can do; empty when nothing is to be done.
    pub advice: String,
}

/// A mechanism that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// Its name.
    pub mechanism: String,
    /// `in use`, `not tried`, or why it does not work.
    pub outcome: String,
}

/// `GET /api/v1/doctor/tls`: what is seen of the TLS of processes, and what is not, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsDoctor {
    /// Whether every process that lived at the start has been looked at.
    pub settled: bool,
    /// Processes with TLS, by pid.
    pub processes: Vec<TlsProcess>,
}

/// A process with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsProcess {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its libraries.
    pub libraries: Vec<TlsUse>,
    /// Why nothing can be seen, where that is known without a library; may be empty.
    pub reason: String,
    /// Bytes of plaintext seen that it read.
    pub bytes_read: u64,
    /// Bytes of plaintext seen that it wrote.
    pub bytes_written: u64,
    /// Chunks of plaintext, by what bound them to their connection: `in_call`, `descriptor`,
    /// `nearby_transfer`, `unbound` when they were taken.
    pub chunks: BTreeMap<String, u64>,
}

/// A TLS library in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsUse {
    /// `openssl`, `gnutls`, `go`, ...
    pub library: String,
    /// Its version; may be empty.
    pub version: String,
    /// The file, as the process sees it.
    pub path: String,
    /// How its functions were found: `symbols`, `line_table`, `signatures`; empty if they were not.
    pub found_by: String,
    /// Functions with probes.
    pub functions: Vec<String>,
    /// Probes sit on instructions that the kernel has to single-step, which slows the process more.
    pub costly: bool,
    /// Whether its plaintext can be seen.
    pub attached: bool,
    /// What cannot be seen, and why; may be empty.
    pub reason: String,
}

/// One thing worth knowing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Finding {
    /// `info`, `warning`, `error`.
    pub severity: String,
    /// What.
    pub what: String,
    /// What the user can do.
    pub advice: String,
}

/// `GET /api/v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// Busiest first.
    pub flows: Vec<Flow>,
    /// How many match, shown or not.
    pub total: u64,
    /// Whether `limit` cut the list.
    pub truncated: bool,
}

/// One L4 connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Flow {
    /// Id of the connection, as in entries.
    pub id: String,
    /// `tcp`, `udp`.
    pub protocol: String,
    /// L7 protocol once detected; empty before.
    pub application: String,
    /// TCP state in lower case; empty for others.
    pub state: String,
    /// Who opened it.
    pub client: FlowEnd,
    /// Who was called.
    pub server: FlowEnd,
    /// When its first packet was seen, RFC 3339.
    pub started_at: String,
    /// When its last packet was seen, RFC 3339.
    pub last_seen_at: String,
    /// What is known about its TLS; `null` for connections without.
    pub tls: Option<FlowTls>,
    /// TCP metrics by name; durations in microseconds end in `_us`.
    pub tcp: BTreeMap<String, u64>,
}

/// What is known about the TLS of a connection. Texts are empty where a fact is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowTls {
    /// Server name that the client asked for.
    pub sni: String,
    /// Version in use: `TLS 1.3`.
    pub version: String,
    /// Cipher suite in use, by its IANA name.
    pub cipher_suite: String,
    /// Application protocol.
    pub alpn: String,
    /// JA4 fingerprint of the client's hello.
    pub ja4: String,
    /// The fatal alert that ended the handshake.
    pub alert: String,
    /// Plaintext of it was read.
    pub decrypted: bool,
    /// The stack at which it was read.
    pub library: String,
    /// How it was tied to the connection.
    pub witness: String,
}

/// One end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowEnd {
    /// Address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Best name; may be empty.
    pub name: String,
    /// Process id; 0 when not on this host or not known.
    pub pid: u32,
    /// Process name; may be empty.
    pub process: String,
    /// systemd unit; may be empty.
    pub unit: String,
    /// Container id; may be empty.
    pub container_id: String,
    /// Packets it sent.
    pub packets: u64,
    /// Bytes it sent, IP headers included.
    pub bytes: u64,
}

/// `GET /api/query/validate`: Kubeshark's shape, without envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validation {
    /// Whether the filter can be used.
    pub valid: bool,
    /// What is wrong; empty for a valid one.
    pub message: String,
    /// Byte offsets of what is wrong.
    pub span: Option<Range<usize>>,
    /// Line from 1; 0 for a valid one.
    pub line: usize,
    /// Column in characters from 1; 0 for a valid one.
    pub column: usize,
    /// What could stand there.
    pub expected: Vec<String>,
    /// Ways out.
    pub hints: Vec<String>,
}

/// A word that fits at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Candidate {
    /// What is inserted.
    pub text: String,
    /// `field`, `function`, `operator`, ...
    pub kind: String,
    /// One line of documentation.
    pub doc: String,
}

/// `GET /api/v1/kfl/complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completion {
    /// Bytes of the filter that a candidate replaces.
    pub replace: Range<usize>,
    /// Best first.
    pub candidates: Vec<Candidate>,
}

/// A field of the filter language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldInfo {
    /// Name in a filter.
    pub name: String,
    /// Static type.
    #[serde(rename = "type")]
    pub ty: String,
    /// One sentence.
    pub doc: String,
    /// A filter that uses it.
    pub example: String,
    /// Whether something fills it yet.
    pub available: bool,
}

/// `GET /mcp/dissection`: Kubeshark's shape, without envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DissectionState {
    /// Whether packets are dissected.
    pub enabled: bool,
}

/// `POST /mcp/dissection/enable` and `/disable`: Kubeshark's shape, without envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DissectionChange {
    /// Whether it was done.
    pub success: bool,
    /// The state afterwards.
    pub enabled: bool,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Id for revoking.
    pub id: String,
    /// Given at creation.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; from then on it is refused. `None` for never.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// Body of `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For people, such as `ci`.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Seconds until it is refused; never without.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

/// Answer of `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    /// The only copy of the secret; only its hash is stored.
    pub token: String,
    /// The rest.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// `GET /api/v1/capture/raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawCapture {
    /// Whether records are taken.
    pub enabled: bool,
    /// `recording`, `off`, `failed` or `stalled`.
    pub state: String,
    /// Why not, while they are not.
    pub detail: String,
    /// The node whose window this is.
    pub node: String,
    /// Moment of the oldest record, RFC 3339.
    pub oldest: Option<String>,
    /// Moment of the newest.
    pub newest: Option<String>,
    /// The same in milliseconds since 1970; 0 when nothing is kept.
    pub oldest_ts: u64,
    /// The same for the newest.
    pub newest_ts: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Limit of bytes.
    pub max_bytes: u64,
    /// Packets in them.
    pub packets: u64,
    /// Bytes written since the start of the daemon.
    pub written_bytes: u64,
    /// Records written since then.
    pub written_records: u64,
    /// Records lost since then.
    pub dropped: u64,
    /// Bytes written per second, over the last few seconds.
    pub bytes_per_second: u64,
    /// Names this run of the recorder.
    pub session_id: String,
}

/// `GET /mcp/raw-capture`, in Kubeshark's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawState {
    /// Whether records are taken.
    pub enabled: bool,
    /// Names this run of the recorder.
    pub session_id: String,
}

/// `GET /mcp/data-boundaries`, in Kubeshark's shape: milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundaries {
    /// Of all nodes.
    pub cluster: Boundary,
    /// Of each.
    pub nodes: Vec<NodeBoundary>,
}

/// A window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// Its beginning.
    pub oldest_ts: u64,
    /// Its end.
    pub newest_ts: u64,
}

/// A node's window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBoundary {
    /// The node.
    pub name: String,
    /// Its beginning.
    pub oldest_ts: u64,
    /// Its end.
    pub newest_ts: u64,
}

/// `GET /api/v1/snapshots`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotList {
    /// Oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// Bytes of all their segments; those in several snapshots count once.
    pub used_bytes: u64,
    /// Limit of that.
    pub max_bytes: u64,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// For people.
    pub note: String,
    /// Which calls it is about; empty for all.
    pub kfl: String,
    /// `capture` or `import`.
    pub origin: String,
    /// `creating`, `ready` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: String,
    /// RFC 3339.
    pub created_at: String,
    /// Beginning of the window, RFC 3339; none: all that there was.
    pub from: Option<String>,
    /// End of the window.
    pub to: Option<String>,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Packets in them.
    pub packets: u64,
    /// Files.
    pub segments: u64,
    /// What was made of it.
    pub dissections: Vec<DissectionInfo>,
}

/// The making of a snapshot's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DissectionInfo {
    /// Its name.
    pub name: String,
    /// `pending`, `running`, `completed`, `cancelled` or `failed`.
    pub state: String,
    /// Per cent.
    pub progress: u64,
    /// Packets that were replayed.
    pub packets: u64,
    /// Bytes of segments that were read whole.
    pub bytes: u64,
    /// Entries made.
    pub entries: u64,
    /// Entries by protocol.
    pub protocols: BTreeMap<String, u64>,
    /// What went wrong or is missing.
    pub errors: Vec<String>,
    /// Entries that were there already when it was taken up after a restart; 0 without one.
    pub resumed_entries: u64,
    /// Most bytes that it held of connections and calls under way, looked at every 8 MiB of packets.
    pub held_bytes: u64,
    /// The bound of that: `dissection.delayed-memory`.
    pub max_held_bytes: u64,
}
