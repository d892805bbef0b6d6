//! What capture saw, handed over, left out and lost.

use serde::Serialize;

use super::bpf::{PacketCounts, TlsCounts};
use crate::engine::model::DropReason;

/// Counters since the start of capture; packets unless said otherwise. Read while traffic flows they
/// may be off by the packets in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelCounters {
    /// Packets that a hook saw: twice for a packet between two sockets of this host.
    pub seen: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
    /// Handed over whole.
    pub captured: u64,
    /// Handed over, cut at the largest record class.
    pub truncated: u64,
    /// Lost: the ring was full.
    pub ring_full: u64,
    /// Lost: the kernel did not give the bytes.
    pub unreadable: u64,
    /// Neither IPv4 nor IPv6.
    pub not_ip: u64,
    /// Left out: the daemon's own traffic.
    pub excluded_own: u64,
    /// Left out: not in the scope.
    pub excluded_scope: u64,
    /// Socket and process events handed over.
    pub socket_events: u64,
    /// Socket and process events lost because their ring was full.
    pub socket_ring_full: u64,
    /// Calls of TLS libraries that moved plaintext.
    pub tls_calls: u64,
    /// Bytes of plaintext that they moved.
    pub tls_bytes: u64,
    /// Chunks of plaintext handed over.
    pub tls_chunks: u64,
    /// Chunks and events of TLS sessions lost because their ring was full.
    pub tls_ring_full: u64,
    /// Chunks lost because the memory that they were in was not there.
    pub tls_unreadable: u64,
    /// Bytes beyond the budget of a message.
    pub tls_over_budget: u64,
    /// Evidence of a session's socket that contradicted stronger or earlier one.
    pub tls_disagreed: u64,
    /// Looks at processes for TLS that were left to the next sweep, because too many were due.
    pub tls_postponed: u64,
    /// Records and events that did not decode.
    pub malformed: u64,
}

impl KernelCounters {
    pub(super) fn new(
        packets: PacketCounts,
        tls: TlsCounts,
        socket_events: u64,
        socket_ring_full: u64,
        malformed: u64,
    ) -> Self {
        Self {
            seen: packets.seen,
            bytes: packets.bytes,
            captured: packets.captured,
            truncated: packets.truncated,
            ring_full: packets.ring_full,
            unreadable: packets.unreadable,
            not_ip: packets.not_ip,
            excluded_own: packets.excluded_own,
            excluded_scope: packets.excluded_scope,
            socket_events,
            socket_ring_full,
            tls_calls: tls.calls,
            tls_bytes: tls.bytes,
            tls_chunks: tls.chunks,
            tls_ring_full: tls.ring_full,
            tls_unreadable: tls.unreadable,
            tls_over_budget: tls.over_budget,
            tls_disagreed: tls.disagreed,
            tls_postponed: 0,
            malformed,
        }
    }

    /// The losses by the names that all of Remora uses. A truncated packet is handed over, yet counts. What is
    /// not IP is no loss; `not_ip` as a reason is the router's.
    pub fn losses(&self) -> [(DropReason, u64); 8] {
        [
            (DropReason::RingFull, self.ring_full),
            (DropReason::PacketTruncated, self.truncated),
            (DropReason::PacketUnreadable, self.unreadable),
            (DropReason::SocketRingFull, self.socket_ring_full),
            (DropReason::TlsRingFull, self.tls_ring_full),
            (DropReason::TlsUnreadable, self.tls_unreadable),
            (DropReason::TlsOverBudget, self.tls_over_budget),
            (DropReason::RecordMalformed, self.malformed),
        ]
    }

    /// Packets handed over or accounted for otherwise; equals `seen` when no packet is in flight.
    pub fn accounted(&self) -> u64 {
        self.captured
            + self.truncated
            + self.ring_full
            + self.unreadable
            + self.not_ip
            + self.excluded_own
            + self.excluded_scope
    }
}
