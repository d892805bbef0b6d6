//! Cuts a stream of bytes into file header, blocks and packets, whole ones only.

use bytes::{Buf, Bytes, BytesMut};

use super::{PcapError, number};
use crate::limits::pcap::BLOCK;

/// Byte order of a section or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    pub(super) fn u16(self, data: &[u8], at: usize) -> Option<u16> {
        let bytes = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self == Self::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    pub(super) fn u32(self, data: &[u8], at: usize) -> Option<u32> {
        let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    pub(super) fn u64(self, data: &[u8], at: usize) -> Option<u64> {
        let bytes = data.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(if self == Self::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }
}

/// A whole piece of a file.
#[derive(Debug)]
pub(super) enum Piece {
    /// Header of a classic file.
    ClassicHead { endian: Endian, nanos: bool, link: u32 },
    /// A packet of a classic file, with its 16 byte header.
    ClassicPacket(Bytes),
    /// A pcapng block: its number and what stands between the two lengths.
    Block { kind: u32, endian: Endian, body: Bytes },
}

/// Which format the file turned out to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Unknown,
    Classic(Endian),
    Sections(Endian),
}

/// Bytes that came, and where the next piece begins.
#[derive(Debug)]
pub(super) struct Framing {
    buffer: BytesMut,
    format: Format,
    /// Bytes of whole pieces so far.
    position: u64,
}

impl Default for Framing {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), format: Format::Unknown, position: 0 }
    }
}

impl Framing {
    pub(super) fn feed(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Bytes of whole pieces that were taken.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether nothing is left of what was fed.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole piece; `None`: feed more.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, PcapError> {
        if self.format == Format::Unknown {
            return self.first();
        }
        match self.format {
            Format::Classic(endian) => self.classic_packet(endian),
            Format::Sections(endian) => self.block(endian),
            Format::Unknown => Ok(None),
        }
    }

    fn first(&mut self) -> Result<Option<Piece>, PcapError> {
        let Some(magic) = Endian::Big.u32(&self.buffer, 0) else { return Ok(None) };
        let (endian, nanos) = match magic {
            number::SECTION => {
                self.format = Format::Sections(Endian::Little);
                return self.block(Endian::Little);
            }
            0xa1b2_c3d4 => (Endian::Big, false),
            0xa1b2_3c4d => (Endian::Big, true),
            0xd4c3_b2a1 => (Endian::Little, false),
            0x4d3c_b2a1 => (Endian::Little, true),
            other => return Err(PcapError::NotACapture(other)),
        };
        if self.buffer.len() < 24 {
            return Ok(None);
        }
        // The upper bits say how many bytes of check sum follow a frame; lengths in headers tell as well.
        let link = endian.u32(&self.buffer, 20).unwrap_or_default() & 0xffff;
        self.format = Format::Classic(endian);
        self.buffer.advance(24);
        self.position = 24;
        Ok(Some(Piece::ClassicHead { endian, nanos, link }))
    }

    fn classic_packet(&mut self, endian: Endian) -> Result<Option<Piece>, PcapError> {
        let Some(captured) = endian.u32(&self.buffer, 8) else { return Ok(None) };
        self.check_len(u64::from(captured))?;
        Ok(self.take(16 + captured as usize).map(Piece::ClassicPacket))
    }

    fn block(&mut self, endian: Endian) -> Result<Option<Piece>, PcapError> {
        let Some(kind) = endian.u32(&self.buffer, 0) else { return Ok(None) };
        let endian = if kind == number::SECTION {
            match Endian::Little.u32(&self.buffer, 8) {
                None => return Ok(None),
                Some(number::BYTE_ORDER) => Endian::Little,
                Some(mark) if mark.swap_bytes() == number::BYTE_ORDER => Endian::Big,
                Some(_) => return Err(self.broken("a section without a byte order mark")),
            }
        } else {
            endian
        };
        let Some(len) = endian.u32(&self.buffer, 4) else { return Ok(None) };
        self.check_len(u64::from(len))?;
        let len = len as usize;
        // Lengths count the padding; some writers forget it.
        let padded = len.next_multiple_of(4);
        if len < 12 {
            return Err(self.broken("a block shorter than its own frame"));
        }
        if self.buffer.len() < padded {
            return Ok(None);
        }
        if endian.u32(&self.buffer, padded - 4) != Some(len as u32) {
            return Err(self.broken("a block whose two lengths differ"));
        }
        self.format = Format::Sections(endian);
        let Some(block) = self.take(padded) else { return Ok(None) };
        Ok(Some(Piece::Block { kind, endian, body: block.slice(8..padded - 4) }))
    }

    fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.buffer.len() < len {
            return None;
        }
        self.position += len as u64;
        Some(self.buffer.split_to(len).freeze())
    }

    fn check_len(&self, len: u64) -> Result<(), PcapError> {
        if len > BLOCK as u64 {
            return Err(PcapError::Oversized { offset: self.position, len, limit: BLOCK });
        }
        Ok(())
    }

    fn broken(&self, what: &'static str) -> PcapError {
        PcapError::Broken { offset: self.position, what }
    }
}
