//! What capture saw, handed over, left out and lost.

use serde::Serialize;

use super::bpf::PacketCounts;
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
    /// Records and events that did not decode.
    pub malformed: u64,
}

impl KernelCounters {
    pub(super) fn new(
        packets: PacketCounts,
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
            malformed,
        }
    }

    /// The losses by the names that all of Remora uses. A truncated packet is handed over, yet counts.
    pub fn losses(&self) -> [(DropReason, u64); 6] {
        [
            (DropReason::RingFull, self.ring_full),
            (DropReason::PacketTruncated, self.truncated),
            (DropReason::PacketUnreadable, self.unreadable),
            (DropReason::NotIp, self.not_ip),
            (DropReason::SocketRingFull, self.socket_ring_full),
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
