//! What follows the IP header: TCP in full, the rest as far as flows need it.

use super::{HeaderError, TcpHeader, TcpView, be16};
use crate::model::L4;

/// The transport header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(TcpHeader),
    /// UDP.
    Udp,
    /// ICMP of either version.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// SCTP, the common header only.
    Sctp,
    /// Anything else: all of it is payload.
    Other,
}

/// A transport header and its length.
pub(super) struct Read {
    pub(super) transport: Transport,
    /// Source and destination, 0 where there are none.
    pub(super) ports: (u16, u16),
    /// At most the length of the bytes it was read from.
    pub(super) header_len: usize,
}

/// Reads the transport header at the start of `data`.
pub(super) fn read(protocol: L4, data: &[u8]) -> Result<Read, HeaderError> {
    match protocol {
        L4::TCP => {
            let view = TcpView::new(data)?;
            Ok(Read {
                transport: Transport::Tcp(view.header()),
                ports: ports(data),
                header_len: view.header_len(),
            })
        }
        L4::UDP => fixed(data, 8, Transport::Udp, HeaderError::Broken("UDP")),
        L4::SCTP => fixed(data, 12, Transport::Sctp, HeaderError::Broken("SCTP")),
        L4::ICMP | L4::ICMPV6 => match *data {
            [kind, code, _, _, ..] => {
                Ok(Read { transport: Transport::Icmp { kind, code }, ports: (0, 0), header_len: 4 })
            }
            _ => Err(HeaderError::Broken("ICMP")),
        },
        _ => Ok(Read { transport: Transport::Other, ports: (0, 0), header_len: 0 }),
    }
}

fn fixed(
    data: &[u8],
    header_len: usize,
    transport: Transport,
    error: HeaderError,
) -> Result<Read, HeaderError> {
    if data.len() < header_len {
        return Err(error);
    }
    Ok(Read { transport, ports: ports(data), header_len })
}

fn ports(data: &[u8]) -> (u16, u16) {
    (be16(data, 0).unwrap_or(0), be16(data, 2).unwrap_or(0))
}
