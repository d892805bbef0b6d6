//! Link layers: takes frames of capture files down to their IP packets.

use bytes::{Buf, Bytes};

use crate::limits::pcap::VLAN_TAGS;

/// Link types (tcpdump.org/linktypes.html) whose frames are understood.
const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_COOKED: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_COOKED_V2: u16 = 276;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const TYPE_PPPOE: u16 = 0x8864;
const TYPE_MPLS: u16 = 0x8847;
pub(super) const TYPE_BRIDGED: u16 = 0x6558;

/// Why a frame gives no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPacket {
    /// Nothing is known of this link type.
    UnknownLink,
    /// It carries something else than IP.
    NotIp,
}

/// The IP packet in a frame.
pub(super) fn packet_of(link: u16, mut frame: Bytes) -> Result<Bytes, NoPacket> {
    match link {
        ETHERNET => ethernet(frame),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => ip(frame),
        NULL | LOOP => {
            // Four bytes of address family, whose numbers and byte order differ; the packet says it too.
            skip(&mut frame, 4)?;
            ip(frame)
        }
        LINUX_COOKED => {
            let kind = be16(&frame, 14)?;
            skip(&mut frame, 16)?;
            by_type(kind, frame)
        }
        LINUX_COOKED_V2 => {
            let kind = be16(&frame, 0)?;
            skip(&mut frame, 20)?;
            by_type(kind, frame)
        }
        _ => Err(NoPacket::UnknownLink),
    }
}

/// The IP packet in an Ethernet frame.
pub(super) fn ethernet(mut frame: Bytes) -> Result<Bytes, NoPacket> {
    let kind = be16(&frame, 12)?;
    skip(&mut frame, 14)?;
    by_type(kind, frame)
}

/// The IP packet behind an Ethernet type.
pub(super) fn by_type(mut kind: u16, mut rest: Bytes) -> Result<Bytes, NoPacket> {
    for _ in 0..=VLAN_TAGS {
        if TYPE_VLAN.contains(&kind) {
            kind = be16(&rest, 2)?;
            skip(&mut rest, 4)?;
            continue;
        }
        return match kind {
            TYPE_IPV4 | TYPE_IPV6 => ip(rest),
            TYPE_PPPOE => {
                skip(&mut rest, 8)?;
                ip(rest)
            }
            TYPE_MPLS => mpls(rest),
            _ => Err(NoPacket::NotIp),
        };
    }
    Err(NoPacket::NotIp)
}

/// Labels of four bytes; the last one is marked.
fn mpls(mut rest: Bytes) -> Result<Bytes, NoPacket> {
    for _ in 0..=VLAN_TAGS {
        let is_last = rest.get(2).ok_or(NoPacket::NotIp)? & 1 != 0;
        skip(&mut rest, 4)?;
        if is_last {
            return ip(rest);
        }
    }
    Err(NoPacket::NotIp)
}

fn ip(packet: Bytes) -> Result<Bytes, NoPacket> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4 | 6) => Ok(packet),
        _ => Err(NoPacket::NotIp),
    }
}

fn skip(frame: &mut Bytes, len: usize) -> Result<(), NoPacket> {
    if frame.len() < len {
        return Err(NoPacket::NotIp);
    }
    frame.advance(len);
    Ok(())
}

fn be16(frame: &[u8], at: usize) -> Result<u16, NoPacket> {
    let bytes = frame.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_be_bytes).ok_or(NoPacket::NotIp)
}
