//! WebSocket frame headers (RFC 6455 5.2), and how to tell them from anything else.

use crate::model::Direction;

/// Longest frame header: two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;
/// Longest payload of a control frame.
pub(super) const MAX_CONTROL: u64 = 125;
/// Frames longer than this are not waited for while a frame's start is searched.
const MAX_SEARCHED_FRAME: u64 = 64 << 10;
/// Bytes of a text that are looked at while a frame's start is searched; bounds the work per candidate.
const SEARCHED_TEXT: usize = 256;
/// Bytes of text that are evidence enough where the rest of the frame is not there yet.
const EVIDENT_TEXT: usize = 16;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// The name in entries.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    /// Whether it may come between the fragments of a message.
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Last frame of its message.
    pub(super) fin: bool,
    /// The first reserved bit: compressed, where permessage-deflate was agreed on.
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub(super) len: u64,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Header(Header),
    /// Too few bytes to tell.
    More,
    /// No frame header.
    Bad,
}

impl Header {
    /// The header at the start of `bytes`. Reserved bits and opcodes, long control frames and lengths that
    /// are not in their shortest form are no headers. `deflate`: compression may be in use.
    pub(super) fn parse(bytes: &[u8], deflate: bool) -> Parsed {
        let (first, second) = match bytes {
            [] => return Parsed::More,
            [first] => {
                return if Self::first_byte(*first, deflate).is_some() { Parsed::More } else { Parsed::Bad };
            }
            [first, second, ..] => (*first, *second),
        };
        let Some((fin, compressed, opcode)) = Self::first_byte(first, deflate) else { return Parsed::Bad };
        let rest = bytes.get(2..).unwrap_or_default();
        let (len, extra) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 2),
                None => return Parsed::More,
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 8),
                None => return Parsed::More,
            },
            short => (u64::from(short), 0),
        };
        let shortest = match extra {
            0 => true,
            2 => len >= 126,
            _ => len > u64::from(u16::MAX) && i64::try_from(len).is_ok(),
        };
        if !shortest || opcode.is_control() && len > MAX_CONTROL {
            return Parsed::Bad;
        }
        let mask = match (second & 0x80 != 0, rest.get(extra..).and_then(<[u8]>::first_chunk::<4>)) {
            (false, _) => None,
            (true, Some(mask)) => Some(*mask),
            (true, None) => return Parsed::More,
        };
        let size = 2 + extra + if mask.is_some() { 4 } else { 0 };
        Parsed::Header(Self { fin, compressed, opcode, mask, len, size })
    }

    fn first_byte(first: u8, deflate: bool) -> Option<(bool, bool, Opcode)> {
        let opcode = Opcode::of(first & 0x0f)?;
        let (fin, compressed, reserved) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x30 != 0);
        let compressible = matches!(opcode, Opcode::Text | Opcode::Binary);
        let valid = !reserved && (fin || !opcode.is_control()) && (!compressed || deflate && compressible);
        valid.then_some((fin, compressed, opcode))
    }
}

/// Undoes masking of `bytes`, the first of which is byte `offset` of its payload.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let start = (offset % 4) as usize;
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle().skip(start)) {
        *byte ^= key;
    }
}

/// Whether a place in a stream whose framing is not known is the start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Yes,
    No,
    More,
}

/// Judges `bytes` by what a frame of this direction must look like, the text in it, and what follows it.
pub(super) fn start(bytes: &[u8], direction: Direction, deflate: bool) -> Start {
    let header = match Header::parse(bytes, deflate) {
        Parsed::Header(header) => header,
        Parsed::More => return Start::More,
        Parsed::Bad => return Start::No,
    };
    if header.mask.is_some() != (direction == Direction::ToServer) {
        return Start::No;
    }
    let payload = bytes.get(header.size..).unwrap_or_default();
    let whole = payload.len() as u64 >= header.len;
    let shown = payload.get(..payload.len().min(header.len as usize).min(SEARCHED_TEXT)).unwrap_or_default();
    let is_text = header.opcode == Opcode::Text && !header.compressed;
    if is_text && !is_text_start(shown, header.mask) {
        return Start::No;
    }
    if !whole {
        return match header.len {
            _ if is_text && shown.len() >= EVIDENT_TEXT => Start::Yes,
            ..=MAX_SEARCHED_FRAME => Start::More,
            _ => Start::No,
        };
    }
    // A frame ends where the next one begins.
    let next = payload.get(header.len as usize..).unwrap_or_default();
    match Header::parse(next, deflate) {
        Parsed::Header(next) if next.mask.is_some() != header.mask.is_some() => Start::No,
        Parsed::Bad => Start::No,
        Parsed::Header(_) | Parsed::More => Start::Yes,
    }
}

/// Whether masked or clear bytes begin like a text that people or programs write.
fn is_text_start(bytes: &[u8], mask: Option<[u8; 4]>) -> bool {
    let mut text = bytes.to_vec();
    if let Some(mask) = mask {
        unmask(&mut text, mask, 0);
    }
    let valid = match std::str::from_utf8(&text) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none(),
    };
    valid && !text.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Parsed {
        Header::parse(bytes, false)
    }

    #[test]
    fn lengths_have_three_forms_and_only_the_shortest_counts() {
        let parsed = |bytes: &[u8]| match header(bytes) {
            Parsed::Header(header) => (header.len, header.size),
            other => panic!("{other:?}"),
        };
        assert_eq!(parsed(&[0x81, 5]), (5, 2));
        assert_eq!(parsed(&[0x82, 126, 1, 0]), (256, 4));
        assert_eq!(parsed(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]), (65_536, 14));
        assert_eq!(header(&[0x82, 126, 0, 100]), Parsed::Bad);
        assert_eq!(header(&[0x82, 127, 0, 0, 0, 0, 0, 0, 1, 0]), Parsed::Bad);
        assert_eq!(header(&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0]), Parsed::Bad);
    }

    #[test]
    fn reserved_bits_and_long_or_split_control_frames_are_no_headers() {
        for bytes in [&[0xc1, 0][..], &[0xa1, 0], &[0x83, 0], &[0x89, 126, 1, 0], &[0x09, 0], &[0x8b, 0]] {
            assert_eq!(header(bytes), Parsed::Bad, "{bytes:x?}");
        }
        assert!(matches!(Header::parse(&[0xc1, 0], true), Parsed::Header(Header { compressed: true, .. })));
        assert_eq!(Header::parse(&[0xc0, 0], true), Parsed::Bad);
    }

    #[test]
    fn masking_goes_on_where_it_stopped() {
        let mut bytes = *b"hello world";
        unmask(&mut bytes, [1, 2, 3, 4], 0);
        let (front, back) = bytes.split_at_mut(3);
        unmask(front, [1, 2, 3, 4], 0);
        unmask(back, [1, 2, 3, 4], 3);
        assert_eq!(&bytes, b"hello world");
    }

    #[test]
    fn a_start_is_believed_when_the_next_frame_follows() {
        let down = Direction::ToClient;
        assert_eq!(start(b"\x81\x03abc\x82\x01", down, false), Start::Yes);
        assert_eq!(start(b"\x81\x03abc\x0f\x01", down, false), Start::No);
        assert_eq!(start(b"\x81\x03abc", Direction::ToServer, false), Start::No);
        assert_eq!(start(b"\x81\x03a\x01c", down, false), Start::No);
        assert_eq!(start(b"\x82\x7e\x10\x00ab", down, false), Start::More);
        assert_eq!(start(b"GET / HTTP/1.1", down, false), Start::No);
    }
}
