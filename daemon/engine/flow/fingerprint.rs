//! Recognises one packet at both ends of a NAT, where its addresses differ.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::model::{ConnectionId, Hook, Packet, Timestamp};
use crate::wire::{Headers, SeqNumber};

/// How long a packet waits for its twin.
const PATIENCE: Duration = Duration::from_secs(5);
/// Packets that wait at most; the oldest is forgotten beyond it (a flood costs pairing, not memory).
const MAX_WAITING: usize = 32_768;

/// Bytes of a datagram's payload that its digest covers: enough to tell queries apart.
const DIGESTED: usize = 256;

/// Tells a datagram from others of the same addresses, wherever on this host it is seen.
pub(super) fn datagram_digest(hasher: &DefaultHashBuilder, packet: &Packet, headers: &Headers) -> u64 {
    let payload = headers.payload(&packet.data);
    // The identification of IPv4 tells repeated datagrams apart; no router changes it.
    let identification = if headers.tuple.src.ip.is_ipv4() { packet.data.get(4..6) } else { None };
    hasher.hash_one((identification, headers.payload_len_on_wire, payload.get(..DIGESTED).unwrap_or(payload)))
}

/// What stays the same of a packet when NAT rewrites its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fingerprint {
    /// Of a SYN.
    Syn { isn: SeqNumber, timestamp: u32, window: u16 },
    /// Of data: for connections whose SYN was not seen at both ends.
    Data { seq: SeqNumber, ack: SeqNumber, len: u32 },
}

impl Fingerprint {
    /// `None` for packets that look like many others.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let tcp = headers.tcp()?;
        if tcp.flags.opens() {
            let timestamp = tcp.options.timestamps.map_or(0, |(value, _)| value);
            return Some(Self::Syn { isn: tcp.seq, timestamp, window: tcp.window });
        }
        let len = headers.payload_len_on_wire;
        tcp.acknowledged().filter(|_| len > 0).map(|ack| Self::Data { seq: tcp.seq, ack, len })
    }
}

/// Where a fingerprint was taken; the slot may have been given to another connection since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) slot: u32,
    pub(super) id: ConnectionId,
    pub(super) hook: Hook,
}

/// Fingerprints that wait for their twin, oldest first.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    sightings: HashMap<Fingerprint, Sighting>,
    order: VecDeque<(Timestamp, Fingerprint)>,
}

impl Fingerprints {
    pub(super) fn get(&self, headers: &Headers) -> Option<&Sighting> {
        self.sightings.get(&Fingerprint::of(headers)?)
    }

    pub(super) fn remember(&mut self, headers: &Headers, sighting: Sighting, at: Timestamp) {
        let Some(key) = Fingerprint::of(headers) else { return };
        if self.order.len() >= MAX_WAITING
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.sightings.remove(&oldest);
        }
        self.order.push_back((at, key));
        self.sightings.insert(key, sighting);
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.order.front() {
            if at.plus(PATIENCE) > now {
                return;
            }
            self.sightings.remove(key);
            self.order.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sightings.len().max(self.order.len())
    }
}
