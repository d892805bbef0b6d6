//! Reads integers, names and texts out of a DNS message (RFC 1035 4.1.4).

use compact_str::{CompactString, format_compact};

use crate::limits::dns as limits;

/// What is wrong with a message, for a person.
pub(super) type Malformed = &'static str;

/// A place in a message and the end of what may be read there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a message.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0, end: message.len() }
    }

    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end =
            self.at.checked_add(count).filter(|end| *end <= self.end).ok_or("the message is cut short")?;
        let bytes = self.message.get(self.at..end).ok_or("the message is cut short")?;
        self.at = end;
        Ok(bytes)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(self.left()).unwrap_or_default()
    }

    /// A reader of the next `count` bytes, which still sees the whole message through pointers.
    pub(super) fn part(&mut self, count: usize) -> Result<Self, Malformed> {
        let at = self.at;
        self.take(count)?;
        Ok(Self { at, end: self.at, ..*self })
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(self.take(2)?.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes)))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(self.take(4)?.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes)))
    }

    /// A text with its length in front.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// A name, possibly compressed. Each pointer must lead further back than the last one, so no name can
    /// run in circles.
    pub(super) fn name(&mut self) -> Result<CompactString, Malformed> {
        let mut name = CompactString::default();
        let (mut at, mut lowest) = (self.at, self.at);
        let (mut octets, mut jumped) = (1, false);
        loop {
            let limit = if jumped { self.message.len() } else { self.end };
            let first = *self.message.get(at).filter(|_| at < limit).ok_or("a name is cut short")?;
            match first {
                0 => {
                    if !jumped {
                        self.at = at + 1;
                    }
                    break;
                }
                1..64 => {
                    let end = at + 1 + usize::from(first);
                    let label = self
                        .message
                        .get(at + 1..end)
                        .filter(|_| end <= limit)
                        .ok_or("a name is cut short")?;
                    octets += label.len() + 1;
                    if octets > limits::NAME {
                        return Err("a name is too long");
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    push_label(&mut name, label);
                    at = end;
                }
                192.. => {
                    let second =
                        *self.message.get(at + 1).filter(|_| at + 1 < limit).ok_or("a name is cut short")?;
                    let target = usize::from(first & 0x3f) << 8 | usize::from(second);
                    if !jumped {
                        self.at = at + 2;
                        jumped = true;
                    }
                    if target >= lowest {
                        return Err("a name points forward");
                    }
                    lowest = target;
                    at = target;
                }
                _ => return Err("a name has a label of unknown kind"),
            }
        }
        if name.is_empty() {
            name.push('.');
        }
        Ok(name)
    }
}

/// A label as zone files write it (RFC 4343 2.1).
fn push_label(name: &mut CompactString, label: &[u8]) {
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                name.push('\\');
                name.push(char::from(*byte));
            }
            0x21..=0x7e => name.push(char::from(*byte)),
            _ => name.push_str(&format_compact!("\\{byte:03}")),
        }
    }
}

/// Bytes as hexadecimal digits, at most as many bytes as are shown.
pub(super) fn hex(bytes: &[u8]) -> CompactString {
    let mut text = CompactString::default();
    for byte in bytes.iter().take(limits::SHOWN) {
        text.push_str(&format_compact!("{byte:02x}"));
    }
    if bytes.len() > limits::SHOWN {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_at(message: &[u8], at: usize) -> Result<CompactString, Malformed> {
        let mut reader = Reader::new(message);
        reader.take(at)?;
        reader.name()
    }

    #[test]
    fn pointers_lead_back_and_never_in_circles() {
        let message = b"\x03www\x01a\x00\x03ftp\xc0\x04\xc0\x0d\xc0\x11";
        assert_eq!(name_at(message, 0).as_deref(), Ok("www.a"));
        assert_eq!(name_at(message, 7).as_deref(), Ok("ftp.a"));
        assert_eq!(name_at(message, 13), Err("a name points forward"));
        assert_eq!(name_at(b"\xc0\x00", 0), Err("a name points forward"));
        assert_eq!(name_at(b"\x01a\xc0\x00", 0), Err("a name points forward"));
        assert_eq!(name_at(b"\x05abc", 0), Err("a name is cut short"));
        assert_eq!(name_at(b"\x41", 0), Err("a name has a label of unknown kind"));
    }

    #[test]
    fn names_have_an_end_and_odd_bytes_are_escaped() {
        assert_eq!(name_at(b"\x00", 0).as_deref(), Ok("."));
        assert_eq!(name_at(b"\x04a.b\xff\x00", 0).as_deref(), Ok("a\\.b\\255"));
        let long = [[b"\x3f".as_slice(), &[b'x'; 63]].concat().repeat(4), vec![0]].concat();
        assert_eq!(name_at(&long, 0), Err("a name is too long"));
    }

    #[test]
    fn a_part_ends_where_it_ends() {
        let mut reader = Reader::new(b"\x01a\x00\xc0\x00\x07");
        reader.take(3).expect("there");
        let mut part = reader.part(2).expect("there");
        assert_eq!(part.name().as_deref(), Ok("a"));
        assert!(part.u8().is_err());
        assert_eq!(reader.u8(), Ok(7));
    }
}
