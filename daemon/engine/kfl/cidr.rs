//! Address ranges: `cidr(ip, "10.0.0.0/8")`.

use std::net::IpAddr;

/// A range of addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    bits: u128,
    length: u32,
    v4: bool,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8`, or a single address. Bits beyond the prefix are ignored.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text.trim(), None),
        };
        let ip: IpAddr = address.parse().ok()?;
        let (bits, width, v4) = spread(ip);
        let length = length.unwrap_or(width);
        (length <= width).then_some(Self { bits, length, v4 })
    }

    /// Whether the address lies in the range; IPv4 in IPv6 counts as IPv4.
    pub(super) fn contains(self, ip: IpAddr) -> bool {
        let (bits, _, v4) = spread(ip.to_canonical());
        let differs = (bits ^ self.bits).checked_shr(128 - self.length);
        v4 == self.v4 && differs.unwrap_or(0) == 0
    }
}

/// An address as bits from the top, how many it has, and whether it is IPv4.
fn spread(ip: IpAddr) -> (u128, u32, bool) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32, true),
        IpAddr::V6(ip) => (u128::from(ip), 128, false),
    }
}

/// The octets of the start of an IPv4 address that ends with a dot: `192.168.` is 192 and 168.
///
/// Only what an address would be written as: no leading zeros, and at most three octets.
pub(super) fn octets(start: &[u8]) -> Option<Box<[u8]>> {
    let parts = std::str::from_utf8(start).ok()?.strip_suffix('.')?.split('.');
    let octet = |part: &str| part.parse::<u8>().ok().filter(|octet| octet.to_string() == part);
    let octets: Box<[u8]> = parts.map(octet).collect::<Option<_>>()?;
    (octets.len() <= 3).then_some(octets)
}
