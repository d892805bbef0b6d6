//! The TCP header and its options (RFC 9293, RFC 7323).

use super::{HeaderError, SeqNumber, be16, be32};

const BROKEN: HeaderError = HeaderError::Broken("TCP");
/// Bytes of a header without options.
const MIN_HEADER: usize = 20;

/// The flag bits of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement field counts.
    pub const ACK: Self = Self(0x10);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this opens a connection: SYN without ACK.
    pub const fn opens(self) -> bool {
        self.has(Self::SYN) && !self.has(Self::ACK)
    }

    /// Whether this answers an opening: SYN with ACK.
    pub const fn accepts(self) -> bool {
        self.has(Self::SYN) && self.has(Self::ACK)
    }

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The options that matter; each `None` when it was not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size in bytes (SYN only).
    pub mss: Option<u16>,
    /// Shift count for later windows, at most 14 (SYN only).
    pub window_scale: Option<u8>,
    /// Whether SACK may be used (SYN only).
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
}

/// A TCP header by value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpHeader {
    /// Position of the first payload byte (of the SYN itself in a SYN).
    pub seq: SeqNumber,
    /// Next position that the sender expects; counts only with ACK.
    pub ack: SeqNumber,
    /// Flags.
    pub flags: TcpFlags,
    /// Advertised window, not scaled.
    pub window: u16,
    /// Options, read for SYN segments only: later ones hold nothing that the fast path needs
    /// ([`TcpView::options`] reads any).
    pub options: TcpOptions,
}

impl TcpHeader {
    /// The acknowledged position, when the flag says that it counts.
    pub const fn acknowledged(&self) -> Option<SeqNumber> {
        if self.flags.has(TcpFlags::ACK) { Some(self.ack) } else { None }
    }

    /// Sequence space taken by a segment with `payload` bytes: SYN and FIN count one each.
    pub const fn sequence_len(&self, payload: u32) -> u32 {
        let syn = self.flags.has(TcpFlags::SYN) as u32;
        let fin = self.flags.has(TcpFlags::FIN) as u32;
        payload.wrapping_add(syn).wrapping_add(fin)
    }
}

/// A TCP header whose whole length, options included, lies within the bytes.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    header: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// Checks the header's own length against `data`, which begins at the TCP header.
    pub fn new(data: &'a [u8]) -> Result<Self, HeaderError> {
        let len = usize::from(data.get(12).ok_or(BROKEN)? >> 4) * 4;
        match data.get(..len) {
            Some(header) if len >= MIN_HEADER => Ok(Self { header }),
            _ => Err(BROKEN),
        }
    }

    /// Bytes of the header with its options.
    pub const fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The header by value.
    pub fn header(&self) -> TcpHeader {
        let flags = TcpFlags(self.header.get(13).copied().unwrap_or(0));
        TcpHeader {
            seq: SeqNumber(be32(self.header, 4).unwrap_or(0)),
            ack: SeqNumber(be32(self.header, 8).unwrap_or(0)),
            flags,
            window: be16(self.header, 14).unwrap_or(0),
            options: if flags.has(TcpFlags::SYN) { self.options() } else { TcpOptions::default() },
        }
    }

    /// The options; a malformed one ends the list.
    pub fn options(&self) -> TcpOptions {
        let mut options = TcpOptions::default();
        let mut rest = self.header.get(MIN_HEADER..).unwrap_or_default();
        while let Some((&kind, tail)) = rest.split_first() {
            match kind {
                0 => break,
                1 => rest = tail,
                _ => {
                    let len = tail.first().copied().map_or(0, usize::from);
                    let Some(body) = rest.get(2..len) else { break };
                    take_option(&mut options, kind, body);
                    rest = rest.get(len..).unwrap_or_default();
                }
            }
        }
        options
    }
}

fn take_option(options: &mut TcpOptions, kind: u8, body: &[u8]) {
    match (kind, body.len()) {
        (2, 2) => options.mss = be16(body, 0),
        // RFC 7323, 2.3: a larger shift counts as 14.
        (3, 1) => options.window_scale = body.first().map(|shift| (*shift).min(14)),
        (4, 0) => options.sack_permitted = true,
        (8, 8) => options.timestamps = be32(body, 0).zip(be32(body, 4)),
        _ => {}
    }
}
