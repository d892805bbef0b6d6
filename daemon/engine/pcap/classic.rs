//! Classic pcap files: what is left of a packet when only time, lengths and bytes are kept.

use crate::model::{Packet, Timestamp};

/// Magic number of files with nanoseconds, in the byte order that Remora writes.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Longest packet that readers accept.
const SNAPLEN: u32 = 262_144;
const NANOS: u64 = 1_000_000_000;

/// Appends the header of a file of raw IP packets.
pub fn write_head(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC_NANOS.to_le_bytes());
    out.extend_from_slice(&2_u16.to_le_bytes());
    out.extend_from_slice(&4_u16.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&SNAPLEN.to_le_bytes());
    out.extend_from_slice(&u32::from(super::number::RAW_IP).to_le_bytes());
}

/// Appends a packet.
pub fn write_packet(out: &mut Vec<u8>, packet: &Packet) {
    let data = packet.data.get(..packet.data.len().min(SNAPLEN as usize)).unwrap_or_default();
    out.extend_from_slice(&((packet.at.0 / NANOS) as u32).to_le_bytes());
    out.extend_from_slice(&((packet.at.0 % NANOS) as u32).to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(&packet.wire_len.max(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
}

/// The moment in a packet's header: seconds since 1970 and a fraction.
pub(super) fn moment(seconds: u32, fraction: u32, nanos: bool) -> Timestamp {
    let fraction = u64::from(fraction) * if nanos { 1 } else { 1000 };
    Timestamp(u64::from(seconds) * NANOS + fraction)
}
