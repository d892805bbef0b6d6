//! What is written down of a snapshot and its dissections.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::model::Timestamp;

/// Where a snapshot's records are from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Raw capture of this node.
    #[default]
    Capture,
    /// A file.
    Import,
}

/// Version of what is written down. Fields that are new have a default and need no other; a version that is not
/// known here is left as it is.
const VERSION: u64 = 1;

/// A window of records that is kept until it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Version of this description; 0 from before there was one.
    pub version: u64,
    /// Written by another release and not understood here: shown, and left as it is until it is deleted.
    #[serde(skip)]
    pub is_foreign: bool,
    /// Its directory's name; never used again.
    pub id: u64,
    /// What people call it; may change.
    pub name: String,
    /// For people.
    pub note: String,
    /// Which calls it is about; those of all dissections match it. Empty: all.
    pub kfl: String,
    /// Where its records are from.
    pub origin: Origin,
    /// When it was made.
    pub created: Timestamp,
    /// The window.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Packets in them; the window may cut some off.
    pub packets: u64,
    /// Its files, oldest first.
    pub segments: Vec<String>,
    /// Why it cannot be used; empty when it can.
    pub failure: String,
    /// What was made of it.
    pub dissections: Vec<Dissection>,
    /// Id of the next dissection.
    pub next_dissection: u64,
}

impl Snapshot {
    /// Reads what was written down. What is not understood becomes a snapshot that cannot be used.
    pub(super) fn read(id: u64, document: &[u8]) -> Self {
        let reason = match serde_json::from_slice::<Self>(document) {
            Ok(found) if found.version <= VERSION => return found,
            Ok(found) => format!("version {} of its description; up to {VERSION} are read", found.version),
            Err(error) => error.to_string(),
        };
        tracing::warn!("snapshot {id} is not understood: {reason}");
        let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
        let name = document["name"].as_str().map_or_else(|| format!("snapshot-{id}"), str::to_owned);
        let failure = format!("another release wrote it, which can use it ({reason}); it is left as it is");
        Self { id, name, failure, is_foreign: true, ..Self::default() }
    }

    /// As it is written down.
    pub(super) fn document(&self) -> Vec<u8> {
        let versioned = Self { version: VERSION, ..self.clone() };
        // Plain data with text keys: serialization cannot fail.
        serde_json::to_vec(&versioned).unwrap_or_default()
    }
}

/// How far a dissection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waits for its turn.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// All entries are there.
    Completed,
    /// Ended on request; what was made is kept.
    Cancelled,
    /// Ended by an error.
    Failed,
}

impl Stage {
    /// Text in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more happens.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// The entries made of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dissection {
    /// Its directory's name within the snapshot's.
    pub id: u64,
    /// What people call it; unique in its snapshot.
    pub name: String,
    /// How far it is.
    pub stage: Stage,
    /// Hundredths of the packets.
    pub progress: u64,
    /// Packets that were replayed.
    pub packets: u64,
    /// Bytes of the segments that were read.
    pub bytes: u64,
    /// Entries made.
    pub entries: u64,
    /// Entries by protocol.
    pub protocols: BTreeMap<String, u64>,
    /// Moment of the first entry; zero before there is one.
    pub first: Timestamp,
    /// Moment of the last entry.
    pub last: Timestamp,
    /// What went wrong or is missing.
    pub errors: Vec<String>,
    /// Entries that were there already when it was taken up after a restart; zero without one.
    pub resumed: u64,
    /// Most bytes that it held of connections and calls under way.
    pub held: u64,
    /// The bound of that when it was made.
    pub max_held: u64,
}
