//! What a subscriber that asks for notices is told between entries.

use serde::{Deserialize, Serialize};

use crate::engine::model::DropReason;

/// One notice; a frame of its own, `{"notice":{...}}`, which no entry looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Notice {
    /// Something is missing here.
    Gap {
        /// Why.
        reason: DropReason,
        /// How much, in the unit of the reason.
        count: u64,
        /// The unit and meaning in words.
        detail: String,
    },
    /// Numbers between two entries that no entry of the history has: trimmed, never stored because the
    /// store was busy, or passed over because the daemon ended abnormally.
    Missing {
        /// The last number before; 0 for the beginning.
        after: u64,
        /// The first number behind.
        before: u64,
        /// What is known of the cause, in words.
        detail: String,
    },
    /// From here on the stream is live: whatever matches beyond this number follows.
    Live {
        /// The newest entry published so far, matching or not.
        seq: u64,
    },
    /// Nothing else had to be said for a while; the stream is alive.
    Heartbeat {
        /// The newest entry published so far, matching or not; 0 before the first.
        seq: u64,
    },
    /// Dissection was paused: no entries until it is resumed.
    Paused,
    /// Dissection runs again.
    Resumed,
}

impl Notice {
    /// A gap of `count` in the unit of `reason`.
    pub fn gap(reason: DropReason, count: u64) -> Self {
        Self::Gap { reason, count, detail: reason.describe().to_owned() }
    }

    /// The text frame.
    pub fn json(&self) -> String {
        // Cannot fail: strings, numbers and unit variants only.
        serde_json::to_string(&Frame { notice: self }).unwrap_or_default()
    }

    /// The binary frame of streams in MessagePack.
    pub fn msgpack(&self) -> Vec<u8> {
        // Cannot fail: as above.
        rmp_serde::to_vec_named(&Frame { notice: self }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Frame<'a> {
    notice: &'a Notice,
}
