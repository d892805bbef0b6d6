//! Entries, tokens and settings in redb; the only user of redb.
//!
//! One [`Writer`] (the store thread) appends entries; any number of [`Reader`]s page through them,
//! newest first. Entries become readable at once from the tail in memory and durable within
//! [`COMMIT_INTERVAL`]; a crash at any moment loses at most what was not yet committed, never what
//! was. The layout of the file is described in FORMAT.md beside this file.
//!
//! A [`Search`] runs a filter over all of it: blocks are passed over by their [`ZoneMap`] and their texts, entries are
//! judged without their messages first. [`Statistics`] and [`Topology`] count what a search finds.
//! Invariants: one writer; every commit result is checked; entries ascend by `seq` and so do blocks.
//! Rejected: one key per entry (ten times the commit cost at 20 k entries/s, no compression).

mod block;
mod bytes;
mod codec;
mod database;
mod error;
mod facts;
mod latency;
mod reader;
mod search;
mod settings;
mod snapshots;
mod statistics;
mod tail;
#[cfg(test)]
mod tests;
mod tokens;
mod topology;
mod trim;
mod writer;

use std::time::Duration;

pub use block::ZoneMap;
pub use database::{Stats, Store};
pub use error::StoreError;
pub use latency::Latencies;
pub use reader::Reader;
pub use search::{Found, Search};
pub use settings::Setting;
pub use statistics::{Group, Grouping, MAX_GROUPS, Statistics, Tally, is_failure};
pub use tokens::{NewToken, TokenId, TokenInfo};
pub use topology::{Node, NodeKey, NodeKind, Topology};
pub use writer::Writer;

/// Longest time that an appended entry stays in memory only: what a crash may cost.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// How much the store may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Limit of the disk space that the file occupies, bytes; the oldest entries go first. At least [`Self::MIN_BYTES`].
    pub max_bytes: u64,
    /// Entries older than this are removed; `None` keeps them until the size limit.
    pub max_age: Option<Duration>,
    /// Whether what a crash took away is made again with the same numbers, as a dissection that is taken up
    /// does: numbers go on behind the last one that was committed then, without a jump.
    pub remade: bool,
}

impl StoreConfig {
    /// A database smaller than this would be mostly its own bookkeeping.
    pub const MIN_BYTES: u64 = crate::config::MIN_STORE_BYTES;
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { max_bytes: 512 << 20, max_age: None, remade: false }
    }
}
