//! The IPv6 header and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::{HeaderError, be16, packet_end};
use crate::model::L4;

const BROKEN: HeaderError = HeaderError::Broken("IPv6");
/// Bytes of the fixed header.
const FIXED_HEADER: usize = 40;
/// Extension headers followed per packet. RFC 8200 names six, each once; more is an attack or garbage.
pub const MAX_EXTENSION_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// An IPv6 packet whose fixed header lies within the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    data: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// Checks that the fixed header is there.
    pub fn new(data: &'a [u8]) -> Result<Self, HeaderError> {
        if data.len() < FIXED_HEADER { Err(BROKEN) } else { Ok(Self { data }) }
    }

    /// Where the packet ends, counted from the start of its header.
    pub fn end(&self, wire_len: usize) -> usize {
        match be16(self.data, 4).unwrap_or(0) {
            0 => wire_len,
            payload => packet_end(FIXED_HEADER + usize::from(payload), wire_len),
        }
    }

    /// Sender.
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// Receiver.
    pub fn target(&self) -> Ipv6Addr {
        self.address(24)
    }

    /// The transport protocol and where its header begins, behind all extension headers.
    pub fn transport(&self) -> Result<(L4, usize), HeaderError> {
        let mut next = self.data.get(6).copied().ok_or(BROKEN)?;
        let mut offset = FIXED_HEADER;
        for _ in 0..=MAX_EXTENSION_HEADERS {
            let header = self.data.get(offset..).ok_or(BROKEN)?;
            let len = match next {
                HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY => (extension_len(header)? + 1) * 8,
                AUTHENTICATION => (extension_len(header)? + 2) * 4,
                FRAGMENT if be16(header, 2).ok_or(BROKEN)? & 0xfff8 != 0 => {
                    return Err(HeaderError::Fragment);
                }
                FRAGMENT => 8,
                protocol => return Ok((L4(protocol), offset)),
            };
            next = header.first().copied().ok_or(BROKEN)?;
            offset += len;
        }
        Err(BROKEN)
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let bytes: Option<[u8; 16]> = self.data.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        bytes.unwrap_or_default().into()
    }
}

fn extension_len(header: &[u8]) -> Result<usize, HeaderError> {
    header.get(1).copied().map(usize::from).ok_or(BROKEN)
}
