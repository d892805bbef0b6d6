//! Lets `tests/fuzz` decode bytes as if a ring had delivered them; nothing else calls this.

use super::bpf::{PacketDecoder, socket_record};
use super::clock::Clock;
use crate::engine::model::{Packet, Record};

/// A record of the packet ring; `None` if it is malformed.
pub fn packet(bytes: &[u8]) -> Option<Packet> {
    PacketDecoder::default().decode(bytes, &Clock::fixed(0))
}

/// An event of the socket ring or of the start-up iterator, and the bytes that it takes.
pub fn socket_event(bytes: &[u8]) -> Option<(Record, usize)> {
    socket_record(bytes, &Clock::fixed(0))
}
