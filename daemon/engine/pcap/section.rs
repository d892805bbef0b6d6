//! What a pcapng section says of its interfaces, and the packets in its blocks.

use bytes::Bytes;

use super::framing::Endian;
use super::number;
use super::options::Options;
use crate::limits::pcap::INTERFACES;
use crate::model::Timestamp;

/// Resolution of time stamps (`if_tsresol`), and what is added to them (`if_tsoffset`, seconds).
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;
const NANOS: u128 = 1_000_000_000;

/// An interface of the section that is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) link: u16,
    snaplen: u32,
    resolution: u8,
    /// Seconds.
    offset: i64,
}

impl Interface {
    fn read(body: &[u8], endian: Endian) -> Option<Self> {
        let link = endian.u16(body, 0)?;
        let snaplen = endian.u32(body, 4)?;
        let mut this = Self { link, snaplen, resolution: 6, offset: 0 };
        for (code, value) in Options::new(body.get(8..).unwrap_or_default(), endian) {
            match code {
                TIME_RESOLUTION => this.resolution = value.first().copied().unwrap_or(6),
                TIME_OFFSET => this.offset = endian.u64(value, 0).unwrap_or(0).cast_signed(),
                _ => {}
            }
        }
        Some(this)
    }

    /// A time stamp of this interface in nanoseconds; 0 and the largest value stand for what lies outside.
    fn moment(self, high: u32, low: u32) -> Timestamp {
        let ticks = u128::from(high) << 32 | u128::from(low);
        let exponent = u32::from(self.resolution & 0x7f);
        let nanos = if self.resolution & 0x80 != 0 {
            // 2^-exponent; ticks have 64 bits and 10^9 has 30.
            (ticks * NANOS).checked_shr(exponent).unwrap_or(0)
        } else if exponent <= 9 {
            ticks * 10_u128.pow(9 - exponent)
        } else {
            10_u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        let offset = i128::from(self.offset) * NANOS.cast_signed();
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// A packet as its block has it.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) at: Timestamp,
    pub(super) link: u16,
    pub(super) wire_len: u32,
    pub(super) data: Bytes,
    /// The block's options; empty for blocks without.
    pub(super) options: Bytes,
}

/// The section under way.
#[derive(Debug, Default)]
pub(super) struct Section {
    interfaces: Vec<Interface>,
    last: Timestamp,
}

impl Section {
    /// Takes an interface; false if it is broken or one too many.
    pub(super) fn interface(&mut self, body: &[u8], endian: Endian) -> bool {
        let Some(interface) = Interface::read(body, endian) else { return false };
        if self.interfaces.len() >= INTERFACES {
            return false;
        }
        self.interfaces.push(interface);
        true
    }

    /// The packet in a block of one of the three kinds; `None` if it is broken.
    pub(super) fn packet(&mut self, kind: u32, endian: Endian, body: &Bytes) -> Option<Framed> {
        match kind {
            number::ENHANCED_PACKET => self.timed(endian, body, endian.u32(body, 0)? as usize),
            number::PACKET => self.timed(endian, body, usize::from(endian.u16(body, 0)?)),
            _ => self.simple(endian, body),
        }
    }

    fn timed(&mut self, endian: Endian, body: &Bytes, interface: usize) -> Option<Framed> {
        let interface = *self.interfaces.get(interface)?;
        let at = interface.moment(endian.u32(body, 4)?, endian.u32(body, 8)?);
        let captured = endian.u32(body, 12)? as usize;
        let end = captured.checked_add(20)?;
        if end > body.len() {
            return None;
        }
        let options = body.len().min(captured.next_multiple_of(4).checked_add(20)?);
        self.last = at;
        Some(Framed {
            at,
            link: interface.link,
            wire_len: endian.u32(body, 16)?,
            data: body.slice(20..end),
            options: body.slice(options..),
        })
    }

    /// A simple packet has no time: it gets that of the one before.
    fn simple(&self, endian: Endian, body: &Bytes) -> Option<Framed> {
        let interface = *self.interfaces.first()?;
        let wire_len = endian.u32(body, 0)?;
        let cap = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let end = (wire_len.min(cap) as usize).checked_add(4)?.min(body.len());
        let data = body.slice(4..end);
        Some(Framed { at: self.last, link: interface.link, wire_len, data, options: Bytes::new() })
    }
}
