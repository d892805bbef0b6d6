//! Raw capture: everything that capture saw, in pcapng segments on disk, the oldest given up first.
//!
//! Capture threads hand records to a [`Feed`]; one thread encodes and writes them. A segment begins with
//! what is known of sockets and processes, so each can be dissected by itself, and is sealed by size or
//! age: synced, then renamed to a name that says what it holds. So the directory is its own index.
//! Invariants: a slow or failing disk costs records, counted, and nothing else; a file with a sealed name
//! is whole; what a crash leaves open is cut behind its last whole block and sealed at the next start.

mod disk;
mod held_back;
mod log;
mod recorder;
mod segment;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::model::{DropReason, Record, Timestamp};

pub use self::recorder::{Archive, Feed, Recorder};
pub use self::segment::Segment;

/// Extension of files that are sealed.
pub const SEALED: &str = "pcapng";
/// Extension of the file that is written to.
const OPEN: &str = "part";

/// What to keep, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// The segments' directory; made if it is not there.
    pub path: PathBuf,
    /// Bytes of all segments together; at least [`Self::MIN_BYTES`].
    pub max_bytes: u64,
    /// Segments whose last record is older are removed; `None` keeps them until the size limit.
    pub max_age: Option<Duration>,
    /// Whether recording starts switched on.
    pub enabled: bool,
    /// Whether key material comes, which is to stand before the packets that it opens.
    pub takes_secrets: bool,
}

impl ArchiveConfig {
    /// Less would hold less than a minute of a busy host.
    pub const MIN_BYTES: u64 = 16 << 20;
}

/// Says what is known of sockets and processes at a moment.
pub trait Identities: Send {
    /// As records, in an order in which a directory can learn them.
    fn identities(&self, now: Timestamp) -> Vec<Record>;

    /// What was lost before it could become a record, by reason, since the daemon started. Asked about twice a
    /// second; what it grew by is written down as a record.
    fn losses(&self) -> Vec<(DropReason, u64)> {
        Vec::new()
    }
}

/// Whether records reach the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Switched off.
    #[default]
    Off,
    /// They do.
    Recording,
    /// The disk refused; it is tried again.
    Failed,
    /// Records wait, but nothing was written for too long.
    Stalled,
}

impl State {
    /// Text in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Recording => "recording",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }
}

/// What raw capture holds and does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawStatus {
    /// Whether records reach the disk.
    pub state: State,
    /// Why not, in words; empty while they do.
    pub detail: String,
    /// Moment of the oldest record that is kept; zero when none is.
    pub oldest: Timestamp,
    /// Moment of the newest.
    pub newest: Timestamp,
    /// Segments, the open one included.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Limit of bytes.
    pub max_bytes: u64,
    /// Packets in the segments.
    pub packets: u64,
    /// Bytes written since the daemon started.
    pub written_bytes: u64,
    /// Records written since the daemon started.
    pub written_records: u64,
    /// Records lost since the daemon started: the queue was full or the disk refused.
    pub dropped: u64,
    /// Bytes written per second, over the last few seconds.
    pub rate: u64,
    /// When this run of the daemon began to record; names a session.
    pub session: Timestamp,
}

/// Why raw capture cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory cannot be used.
    #[error("cannot keep raw capture in {path}: {error}; make it writable for the daemon, or set capture.raw = false", path = path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The thread did not answer.
    #[error("the recorder does not answer: the disk of {path} may be stuck", path = path.display())]
    Stuck {
        /// Its directory.
        path: PathBuf,
    },
    /// The segment under way could not be completed.
    #[error("cannot complete the segment under way: {reason}")]
    Seal {
        /// Why.
        reason: String,
    },
}
