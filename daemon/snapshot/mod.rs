//! Windows of raw capture that are kept, what is made of them, and capture files in and out.
//!
//! A [`Library`] keeps snapshots: hard links to sealed segments, so that making one costs nothing and never
//! pauses capture. Their delayed dissections are entry databases of their own, queried like the live one.
//! Invariants: after a crash a snapshot is whole or gone; entries are what they would have been live,
//! because the same router, shards and directory make them, and because segments hold what the host knew.

mod about;
mod capture_file;
mod dissections;
mod dissector;
mod export;
mod import;
mod job;
mod keys;
mod library;
mod look_back;
mod made;
mod manifest;
mod named;
mod pace;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::ArchiveError;
use crate::engine::limits::Limits;
use crate::engine::model::Timestamp;
use crate::store::StoreError;

pub use self::about::{About, Scope};
pub use self::capture_file::{CaptureFile, FileError};
pub use self::dissector::{Dissector, Losses, file_context};
pub use self::export::{Export, Format, Wanted};
pub use self::library::{Library, Making};
pub use self::look_back::{LEAD, LookBack, LookedBack};
pub use self::manifest::{Dissection, Origin, Snapshot, Stage};
pub use self::pace::Pace;

/// Where snapshots are kept, and how much.
#[derive(Clone, Debug)]
pub struct LibraryConfig {
    /// Their directory, on the same file system as the raw segments.
    pub path: PathBuf,
    /// Bytes of all their segments.
    pub max_bytes: u64,
    /// Caps of delayed dissection: those of live dissection, so that entries are the same.
    pub limits: Arc<Limits>,
    /// What it may take.
    pub delayed: Delayed,
}

/// What delayed dissection may take of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// How fast each goes, and with which priority.
    pub pace: Pace,
    /// Bytes that each holds at most of connections and calls under way.
    pub memory: usize,
    /// How many run at once; further ones wait.
    pub at_once: usize,
}

impl Default for Delayed {
    fn default() -> Self {
        Self { pace: Pace::default(), memory: 256 << 20, at_once: 1 }
    }
}

/// A snapshot that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// For people.
    pub note: String,
    /// Which calls it is about.
    pub kfl: String,
    /// Only calls that one of these made or got: addresses or names.
    pub peers: Vec<String>,
    /// Beginning of the window; everything that is kept without this and `duration`.
    pub from: Option<Timestamp>,
    /// End of the window; now without.
    pub to: Option<Timestamp>,
    /// Length of the window, where `from` is not given.
    pub duration: Option<Duration>,
}

/// Why something cannot be done with snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No such snapshot.
    #[error("there is no snapshot {name:?}; `remora snapshot list` shows what there is")]
    NotFound {
        /// Its name.
        name: String,
    },
    /// No entries were made of it.
    #[error("{name:?} has no entries yet: dissect it first (`remora snapshot dissect NAME`)")]
    NotDissected {
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("there is a snapshot or dissection {name:?} already; choose another name or delete it")]
    Exists {
        /// The name.
        name: String,
    },
    /// The request is not possible as written.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// Nothing is there.
    #[error("nothing was captured in that window; GET /api/v1/capture/raw says what is kept")]
    Empty,
    /// No room.
    #[error(
        "snapshots hold {used} of {limit} bytes and this one has {more}: delete one, or raise capture.snapshot-size"
    )]
    Quota {
        /// Bytes in use.
        used: u64,
        /// Bytes that were to be added.
        more: u64,
        /// The limit.
        limit: u64,
    },
    /// Nothing is recorded here.
    #[error("raw capture does not run, so there is nothing to keep; GET /api/v1/capture/raw says why")]
    NoCapture,
    /// The recorder's error.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The disk refused.
    #[error("cannot use {path}: {error}", path = path.display())]
    Disk {
        /// What.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A segment cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
