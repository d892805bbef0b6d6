//! Everything that can be lost, under one name each.
//!
//! `captured = delivered + sum of drops by reason` is a tested identity, so each reason says which
//! unit it counts, and a piece of work is counted under exactly one reason.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The part of the data path that dropped something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In the kernel or between kernel and ring reader.
    Capture,
    /// Flow table, reassembly, dissectors.
    Pipeline,
    /// Persistent entry store.
    Store,
    /// A live subscriber.
    Stream,
}

macro_rules! drop_reasons {
    ($($variant:ident, $name:literal, $stage:ident, $doc:literal;)*) => {
        /// Why a piece of work was not delivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum DropReason { $(#[doc = $doc] $variant,)* }

        impl DropReason {
            /// All reasons, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in metrics, status and notices.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for a person: unit and meaning.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }

            /// The stage that drops for this reason.
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* }
            }
        }
    };
}

drop_reasons! {
    RingFull, "ring_full", Capture, "packets that the kernel could not hand over because the ring buffer was full";
    PacketTruncated, "packet_truncated", Capture, "packets larger than the largest record class, cut at its size";
    PacketUnreadable, "packet_unreadable", Capture, "packets whose bytes the kernel refused to copy";
    RecordMalformed, "record_malformed", Capture, "records from the kernel that did not decode";
    NotIp, "not_ip", Capture, "packets that are neither IPv4 nor IPv6, or whose headers are broken";
    Fragment, "fragment", Pipeline, "IP fragments other than the first, which no socket could be named for";
    SocketRingFull, "socket_ring_full", Capture, "socket and process events lost because their ring buffer was full";
    TlsRingFull, "tls_ring_full", Capture, "chunks of TLS plaintext lost because their ring buffer was full";
    TlsUnreadable, "tls_unreadable", Capture, "chunks of TLS plaintext whose memory the kernel could not read";
    TlsOverBudget, "tls_over_budget", Capture, "bytes of TLS plaintext beyond the budget of one message";
    ShardQueueFull, "shard_queue_full", Pipeline, "packets dropped before dissection because the shard was busy";
    ConnectionLimit, "connection_limit", Pipeline, "connections evicted because the flow table was full";
    ReassemblyLimit, "reassembly_limit", Pipeline, "bytes given up because the out-of-order buffer was full";
    OutOfWindow, "out_of_window", Pipeline, "TCP segments ignored because the receiving socket would not take them: forged or stray";
    SequenceHole, "sequence_hole", Pipeline, "bytes that never arrived in a captured packet";
    TlsQueueFull, "tls_queue_full", Pipeline, "pieces of TLS plaintext dropped because the shard was busy";
    TlsUnbound, "tls_unbound", Pipeline, "pieces of TLS plaintext given up because nothing told which socket they belong to";
    TlsUnrouted, "tls_unrouted", Pipeline, "pieces of TLS plaintext given up because no packets of their connection were captured";
    TlsHeldLimit, "tls_held_limit", Pipeline, "pieces of TLS plaintext given up because too much waited for its connection to be known";
    TlsDisagreement, "tls_disagreement", Pipeline, "pieces of TLS plaintext left out because they contradict what better evidence, or the other end, showed";
    TlsHole, "tls_hole", Pipeline, "bytes of TLS plaintext that never arrived in a captured piece";
    DissectorBusy, "dissector_limit", Pipeline, "messages given up because a dissector's limit was reached";
    Paused, "dissection_paused", Pipeline, "packets counted but not dissected because dissection is paused";
    MemoryLimit, "memory_limit", Pipeline, "connections given up because delayed dissection held too much memory";
    EntryQueueFull, "entry_queue_full", Pipeline, "entries dropped because the entry thread was busy";
    StoreQueueFull, "store_queue_full", Store, "entries not stored because the store was busy";
    StoreFailed, "store_failed", Store, "entries not stored because the disk refused";
    RawQueueFull, "raw_queue_full", Store, "packets and events not in the raw capture because the disk was too slow";
    RawFailed, "raw_failed", Store, "packets and events not in the raw capture because the disk refused";
    SubscriberSlow, "subscriber_slow", Stream, "entries skipped for one subscriber that reads too slowly";
}

/// A counted loss at a moment, shown to readers as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it was noticed.
    pub at: Timestamp,
    /// Why.
    pub reason: DropReason,
    /// How much, in the unit of the reason.
    pub count: u64,
}
