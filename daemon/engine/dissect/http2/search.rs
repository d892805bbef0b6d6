//! Finds the next frame where its place is not known: after a gap, or in the middle of a connection.
//!
//! The answer depends on the bytes alone and not on how they came: a frame that can hardly be anything
//! else is believed at once, any other one when a likely frame follows it.

use super::frame::{self, FrameHeader, HEADER, flag, kind};
use super::hpack::{Decoder, Field};

/// Error codes that are registered.
const LAST_ERROR: u32 = 13;
/// Settings that are registered, extensions included.
const LAST_SETTING: u16 = 16;

/// Whether bytes are the start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// As good as certain.
    Yes,
    /// No.
    No,
    /// More bytes decide.
    More,
}

/// Where the first frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes are in front of it.
    At(usize),
    /// So many bytes hold nothing; what follows them may be one once there are more.
    Nothing(usize),
}

/// Searches `bytes` for the start of a frame that is no longer than `max_length`.
pub(super) fn search(bytes: &[u8], max_length: usize) -> Found {
    for at in 0..bytes.len() {
        match starts(&bytes[at..], max_length) {
            Start::Yes => return Found::At(at),
            Start::More => return Found::Nothing(at),
            Start::No => {}
        }
    }
    Found::Nothing(bytes.len())
}

/// Whether `bytes` begin with a frame.
pub(super) fn starts(bytes: &[u8], max_length: usize) -> Start {
    let Some(header) = FrameHeader::parse(bytes) else {
        return if may_begin(bytes, max_length) { Start::More } else { Start::No };
    };
    if !header.is_likely(max_length) {
        return Start::No;
    }
    let length = header.length as usize;
    let rest = &bytes[HEADER..];
    match (rest.get(..length), rest.get(length..)) {
        (Some(payload), _) if is_believed(header, payload) => Start::Yes,
        (Some(_), _) if is_fixed(header) => Start::No,
        (None, _) if is_fixed(header) => Start::More,
        (_, None) => Start::More,
        (_, Some(next)) => match FrameHeader::parse(next) {
            Some(next) if next.is_likely(max_length) => Start::Yes,
            Some(_) => Start::No,
            None => Start::More,
        },
    }
}

/// Whether fewer than nine bytes may still become a likely header.
fn may_begin(bytes: &[u8], max_length: usize) -> bool {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let least = u32::from_be_bytes([0, at(0), at(1), at(2)]) as usize;
    least <= max_length && at(3) <= kind::CONTINUATION
}

/// Types whose payload has a shape of its own: they are believed or not, without a look at what follows.
fn is_fixed(header: FrameHeader) -> bool {
    !matches!(header.kind, kind::DATA | kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE)
}

fn is_believed(header: FrameHeader, payload: &[u8]) -> bool {
    let number = |at: usize| payload.get(at..).and_then(frame::number);
    match header.kind {
        kind::HEADERS => header.has(flag::END_HEADERS) && is_head(header, payload),
        kind::SETTINGS => {
            let mut settings = frame::settings(payload);
            header.has(flag::ACK)
                || header.length > 0 && settings.all(|(id, _)| (1..=LAST_SETTING).contains(&id))
        }
        kind::RST_STREAM => number(0).is_some_and(|code| code <= LAST_ERROR),
        kind::GOAWAY => number(4).is_some_and(|code| code <= LAST_ERROR),
        kind::WINDOW_UPDATE => number(0).is_some_and(|more| more != 0 && more >> 31 == 0),
        kind::PRIORITY | kind::PING => true,
        _ => false,
    }
}

/// Whether a payload is a header block that begins as requests and responses do: with `:something`.
fn is_head(header: FrameHeader, payload: &[u8]) -> bool {
    let Some(block) = frame::fragment(header, payload) else { return false };
    role(block).is_some() && Decoder::new(true).block(block, 0, &mut |_: Field<'_>| {}).is_ok()
}

/// Whether a block is a request's (true) or a response's (false), by its first header if that is a
/// pseudo header of the static table.
pub(super) fn role(block: &[u8]) -> Option<bool> {
    let start = block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
    let first = *block.get(start)?;
    let index = match first {
        0x80.. => first & 0x7f,
        0x40.. => first & 0x3f,
        _ => first & 0x0f,
    };
    match index {
        1..=7 => Some(true),
        8..=14 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 128 << 10;
    const UPDATE: &[u8] = b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x10\x00";
    const DATA: &[u8] = b"\x00\x00\x05\x00\x00\x00\x00\x00\x01hello";
    const REQUEST: &[u8] = b"\x00\x00\x03\x01\x05\x00\x00\x00\x03\x82\x86\x84";

    #[test]
    fn frames_of_unmistakable_shape_are_believed_alone() {
        for bytes in [UPDATE, REQUEST, b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"] {
            assert_eq!(starts(bytes, MAX), Start::Yes);
        }
    }

    #[test]
    fn data_is_believed_when_a_frame_follows() {
        assert_eq!(starts(DATA, MAX), Start::More);
        assert_eq!(starts(&[DATA, UPDATE].concat(), MAX), Start::Yes);
        assert_eq!(starts(&[DATA, b"world, world"].concat(), MAX), Start::No);
    }

    #[test]
    fn the_first_frame_is_found_behind_anything() {
        for noise in [&b"some text of a body"[..], &[0; 40], &[0xff; 11], &DATA[4..]] {
            let bytes = [noise, UPDATE, DATA, REQUEST].concat();
            assert_eq!(search(&bytes, MAX), Found::At(noise.len()), "{noise:?}");
        }
    }

    #[test]
    fn a_prefix_never_decides_otherwise_than_the_whole() {
        let noise = b"\x00\x00\x04\x08 GET / HTTP/1.1\r\n\x00\x00\x01\x00\x00\x00\x00\x00\x01";
        let bytes = [&noise[..], UPDATE, DATA, REQUEST].concat();
        let Found::At(whole) = search(&bytes, MAX) else { panic!("not found") };
        for end in 0..bytes.len() {
            match search(&bytes[..end], MAX) {
                Found::At(at) => assert_eq!(at, whole),
                Found::Nothing(at) => assert!(at <= whole),
            }
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_frames() {
        let others: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            b"\x00\x00\x00\x1c\x00\x12\x00\x04\x00\x00\x00\x01\x00\x07console",
            b"\x03\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ];
        for bytes in others {
            assert_eq!(starts(bytes, MAX), Start::No, "{bytes:?}");
        }
    }
}
