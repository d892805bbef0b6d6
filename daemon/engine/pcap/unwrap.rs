//! Takes tunnels off: GRE, VXLAN, IP in IP; and tells fragments from whole packets.

use bytes::{Buf, Bytes};

use super::link;
use crate::wire::{Ipv4View, Ipv6View, MAX_EXTENSION_HEADERS};

const GRE: u8 = 47;
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const UDP: u8 = 17;
/// IANA's port of VXLAN, and the one that Linux used before.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const IPV6_FRAGMENT: u8 = 44;
const IPV6_FIXED: usize = 40;

/// What a packet is to whoever unwraps it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// A part of a larger one.
    Fragment(Fragment),
    /// A packet in a packet.
    Tunnel(Bytes),
    /// Neither.
    Plain,
}

/// A part of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Addresses, protocol and identification: equal for all parts of a datagram.
    pub(super) key: Vec<u8>,
    /// Headers that the whole will have; that of the first part counts.
    pub(super) head: Vec<u8>,
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) data: Bytes,
}

/// Looks at an IP packet.
pub(super) fn layer(packet: &Bytes) -> Layer {
    let found = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        _ => None,
    };
    found.unwrap_or(Layer::Plain)
}

fn ipv4(packet: &Bytes) -> Option<Layer> {
    let view = Ipv4View::new(packet).ok()?;
    let (start, end) = (view.header_len(), view.end(packet.len()).min(packet.len()));
    let field = be16(packet, 6)?;
    let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
    let body = if start <= end { packet.slice(start..end) } else { return None };
    if offset > 0 || more {
        let mut key = packet.get(12..20)?.to_vec();
        key.extend_from_slice(packet.get(4..6)?);
        key.push(view.protocol().0);
        let head = packet.get(..start)?.to_vec();
        return Some(Layer::Fragment(Fragment { key, head, offset, more, data: body }));
    }
    inner(view.protocol().0, body)
}

fn ipv6(packet: &Bytes) -> Option<Layer> {
    let view = Ipv6View::new(packet).ok()?;
    let end = view.end(packet.len()).min(packet.len());
    let mut next = *packet.get(6)?;
    let mut next_at = 6;
    let mut at = IPV6_FIXED;
    for _ in 0..MAX_EXTENSION_HEADERS {
        match next {
            IPV6_FRAGMENT => return ipv6_fragment(packet, next_at, at, end),
            0 | 43 | 60 | 135 => {
                next_at = at;
                next = *packet.get(at)?;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            _ => break,
        }
    }
    if at > end { None } else { inner(next, packet.slice(at..end)) }
}

/// `at` is where the fragment header stands, `next_at` the byte that announced it.
fn ipv6_fragment(packet: &Bytes, next_at: usize, at: usize, end: usize) -> Option<Layer> {
    let field = be16(packet, at + 2)?;
    let (offset, more) = (usize::from(field & 0xfff8), field & 1 != 0);
    let mut head = packet.get(..at)?.to_vec();
    // The whole has no fragment header: what stood behind it is announced instead.
    *head.get_mut(next_at)? = *packet.get(at)?;
    let mut key = packet.get(8..IPV6_FIXED)?.to_vec();
    key.extend_from_slice(packet.get(at + 4..at + 8)?);
    if at + 8 > end {
        return None;
    }
    Some(Layer::Fragment(Fragment { key, head, offset, more, data: packet.slice(at + 8..end) }))
}

fn inner(protocol: u8, body: Bytes) -> Option<Layer> {
    let packet = match protocol {
        IPV4_IN_IP | IPV6_IN_IP => link::packet_of(101, body).ok()?,
        GRE => gre(body)?,
        UDP if VXLAN_PORTS.contains(&be16(&body, 2)?) => vxlan(body)?,
        _ => return None,
    };
    Some(Layer::Tunnel(packet))
}

/// RFC 2784 and 2890: flags, type, and up to three optional words.
fn gre(mut body: Bytes) -> Option<Bytes> {
    let (flags, kind) = (be16(&body, 0)?, be16(&body, 2)?);
    let version = flags & 7;
    if version != 0 {
        return None;
    }
    let words = [0x8000, 0x2000, 0x1000].into_iter().filter(|bit| flags & bit != 0).count();
    let header = 4 + 4 * words;
    if body.len() < header {
        return None;
    }
    body.advance(header);
    if kind == link::TYPE_BRIDGED { link::ethernet(body).ok() } else { link::by_type(kind, body).ok() }
}

/// RFC 7348: behind the UDP header one of eight bytes with a flag that is always set.
fn vxlan(mut body: Bytes) -> Option<Bytes> {
    if body.get(8)? & 0x08 == 0 || body.len() < 16 {
        return None;
    }
    body.advance(16);
    link::ethernet(body).ok()
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}
