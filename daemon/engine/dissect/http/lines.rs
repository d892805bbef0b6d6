//! Heads made of lines: those of HTTP/1 messages and of the parts of multipart bodies.

use memchr::memchr;

/// The end of a head (the byte after its empty line), searching from `from`; CRLF or bare LF.
pub(in crate::dissect) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr(b'\n', rest)) {
        let next = at + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}
