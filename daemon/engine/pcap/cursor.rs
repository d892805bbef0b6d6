//! Little-endian encoding of Remora's own options and blocks, and its checked reading.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::AddrPort;

/// Texts longer than this are cut when they are written: paths of the kernel end at 4096.
const MAX_TEXT: usize = 4096;

pub(super) fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_u16(out, end as u16);
    out.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
}

pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            put_u8(out, 4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            put_u8(out, 6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

pub(super) fn put_addr(out: &mut Vec<u8>, addr: AddrPort) {
    put_ip(out, addr.ip);
    put_u16(out, addr.port);
}

/// A user id in 1 + 4 bytes; it may not be known.
pub(super) fn put_uid(out: &mut Vec<u8>, uid: Option<u32>) {
    put_u8(out, u8::from(uid.is_some()));
    put_u32(out, uid.unwrap_or(0));
}

/// The rest of some bytes; every read checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(usize::from(len))?).ok()
    }

    pub(super) fn ip(&mut self) -> Option<IpAddr> {
        match self.u8()? {
            4 => self.array::<4>().map(|octets| Ipv4Addr::from(octets).into()),
            6 => self.array::<16>().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    pub(super) fn addr(&mut self) -> Option<AddrPort> {
        Some(AddrPort { ip: self.ip()?, port: self.u16()? })
    }
}
