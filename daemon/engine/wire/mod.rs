//! Reads L3 and L4 headers as checked views over borrowed bytes.
//!
//! Invariant: total. Any bytes give [`Headers`] or a [`HeaderError`]; offsets inside a `Headers` lie
//! within the packet that it was read from, so `payload` never fails for that packet.

mod ipv4;
mod ipv6;
mod seq;
mod tcp;
mod transport;

use thiserror::Error;

use crate::model::{DropReason, FiveTuple, L4, Packet};

pub use ipv4::Ipv4View;
pub use ipv6::{Ipv6View, MAX_EXTENSION_HEADERS};
pub use seq::SeqNumber;
pub use tcp::{TcpFlags, TcpHeader, TcpOptions, TcpView};
pub use transport::Transport;

/// Largest value that the 16-bit length fields of IPv4 and IPv6 can carry. A longer packet is a GSO
/// super packet whose length field is zero or wrapped, so the kernel's own length counts.
const MAX_LENGTH_FIELD: usize = 65_535;

/// Why a packet has no usable headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Neither version 4 nor 6.
    #[error("packet is neither IPv4 nor IPv6: version field is {0}; it is counted and left out")]
    NotIp(u8),
    /// A header does not fit into the captured bytes, or contradicts itself.
    #[error("{0} header is cut short or contradicts itself; the packet is counted and left out")]
    Broken(&'static str),
    /// A fragment without the transport header.
    #[error("later IP fragment carries no transport header; it is counted and left out")]
    Fragment,
}

impl HeaderError {
    /// The name under which the packet is counted.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::NotIp(_) | Self::Broken(_) => DropReason::NotIp,
            Self::Fragment => DropReason::Fragment,
        }
    }
}

/// Everything later stages need from a packet's headers; `Copy`, no borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Addresses in the direction of travel, as the packet itself names them.
    pub tuple: FiveTuple,
    /// What the transport header says.
    pub transport: Transport,
    /// Where the payload begins in `Packet::data`.
    pub payload_offset: u32,
    /// Payload bytes that were captured.
    pub payload_captured: u32,
    /// Payload bytes that the packet had on the wire; at least `payload_captured`.
    pub payload_len_on_wire: u32,
}

impl Headers {
    /// Reads the headers of `packet`.
    pub fn of(packet: &Packet) -> Result<Self, HeaderError> {
        Self::parse(&packet.data, packet.wire_len)
    }

    /// Reads the headers at the start of `data`, a packet that had `wire_len` bytes on the wire.
    pub fn parse(data: &[u8], wire_len: u32) -> Result<Self, HeaderError> {
        let wire_len = (wire_len as usize).max(data.len());
        let (source, target, protocol, offset, end) = match data.first().map(|byte| byte >> 4) {
            Some(4) => {
                let ip = Ipv4View::new(data)?;
                if ip.fragment_offset() != 0 {
                    return Err(HeaderError::Fragment);
                }
                (ip.source().into(), ip.target().into(), ip.protocol(), ip.header_len(), ip.end(wire_len))
            }
            Some(6) => {
                let ip = Ipv6View::new(data)?;
                let (protocol, offset) = ip.transport()?;
                (ip.source().into(), ip.target().into(), protocol, offset, ip.end(wire_len))
            }
            Some(version) => return Err(HeaderError::NotIp(version)),
            None => return Err(HeaderError::Broken("IP")),
        };
        if end < offset {
            return Err(HeaderError::Broken("IP"));
        }
        // `offset <= data.len()` is a promise of both views.
        let captured = data.get(offset..end.min(data.len())).unwrap_or_default();
        let read = transport::read(protocol, captured)?;
        let payload_offset = offset + read.header_len;
        Ok(Self {
            tuple: FiveTuple {
                src: crate::model::AddrPort::new(source, read.ports.0),
                dst: crate::model::AddrPort::new(target, read.ports.1),
                protocol,
            },
            transport: read.transport,
            payload_offset: payload_offset as u32,
            payload_captured: (captured.len() - read.header_len) as u32,
            payload_len_on_wire: end.saturating_sub(payload_offset) as u32,
        })
    }

    /// The captured payload of the packet that these headers were read from.
    pub fn payload<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let start = self.payload_offset as usize;
        data.get(start..start + self.payload_captured as usize).unwrap_or_default()
    }

    /// The TCP header, when there is one.
    pub const fn tcp(&self) -> Option<&TcpHeader> {
        match &self.transport {
            Transport::Tcp(header) => Some(header),
            _ => None,
        }
    }

    /// Transport protocol.
    pub const fn protocol(&self) -> L4 {
        self.tuple.protocol
    }
}

/// Where a packet ends, given its length field and the length that capture reports.
fn packet_end(length_field: usize, wire_len: usize) -> usize {
    if length_field == 0 || wire_len > MAX_LENGTH_FIELD { wire_len } else { length_field.min(wire_len) }
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
