//! The IPv4 header (RFC 791).

use std::net::Ipv4Addr;

use super::{HeaderError, be16, be32, packet_end};
use crate::model::L4;

const BROKEN: HeaderError = HeaderError::Broken("IPv4");
/// Bytes of a header without options.
const MIN_HEADER: usize = 20;

/// An IPv4 header whose whole length, options included, lies within the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    header: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Checks the header's own length against `data`.
    pub fn new(data: &'a [u8]) -> Result<Self, HeaderError> {
        let len = usize::from(data.first().ok_or(BROKEN)? & 0x0f) * 4;
        match data.get(..len) {
            Some(header) if len >= MIN_HEADER => Ok(Self { header }),
            _ => Err(BROKEN),
        }
    }

    /// Bytes of the header with its options.
    pub const fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Where the packet ends, counted from the start of its header.
    pub fn end(&self, wire_len: usize) -> usize {
        packet_end(usize::from(be16(self.header, 2).unwrap_or(0)), wire_len)
    }

    /// Offset of this fragment in bytes; 0 for whole packets and first fragments.
    pub fn fragment_offset(&self) -> usize {
        usize::from(be16(self.header, 6).unwrap_or(0) & 0x1fff) * 8
    }

    /// What follows the header.
    pub fn protocol(&self) -> L4 {
        L4(self.header.get(9).copied().unwrap_or(0))
    }

    /// Sender.
    pub fn source(&self) -> Ipv4Addr {
        be32(self.header, 12).unwrap_or(0).into()
    }

    /// Receiver.
    pub fn target(&self) -> Ipv4Addr {
        be32(self.header, 16).unwrap_or(0).into()
    }
}
