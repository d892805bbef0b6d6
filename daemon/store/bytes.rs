//! The smallest pieces of a block's sections: numbers, bytes, and texts that are stored once per block.

use std::collections::HashMap;
use std::net::IpAddr;

/// Why a section cannot be read.
pub(super) type Damage = &'static str;

/// Bytes from which on a text is worth no place in the dictionary: bodies, and what looks like them.
pub(super) const LONG_TEXT: usize = 512;

/// LEB128.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Zigzag, so that small negative numbers are short.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Four or sixteen bytes after their number.
pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => put_bytes(out, &ip.octets()),
        IpAddr::V6(ip) => put_bytes(out, &ip.octets()),
    }
}

/// Reads a section from its start. Never beyond its end.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.bytes.split_first().ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    pub(super) fn signed(&mut self) -> Result<i64, Damage> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn size(&mut self) -> Result<usize, Damage> {
        let size = self.number()?;
        usize::try_from(size).map_err(|_| "a length is too large")
    }

    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], Damage> {
        let count = self.size()?;
        self.take(count)
    }

    pub(super) fn ip(&mut self) -> Result<IpAddr, Damage> {
        let bytes = self.prefixed()?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Ok(octets.into());
        }
        <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| "an address has a wrong length")
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Texts of a block in the order they came, each once.
#[derive(Debug, Default)]
pub(super) struct DictionaryWriter<'e> {
    known: HashMap<&'e str, u64>,
    lengths: Vec<u8>,
    texts: Vec<u8>,
}

impl<'e> DictionaryWriter<'e> {
    /// The number of a text.
    pub(super) fn number(&mut self, text: &'e str) -> u64 {
        let next = self.known.len() as u64;
        let number = *self.known.entry(text).or_insert(next);
        if number == next {
            put_number(&mut self.lengths, text.len() as u64);
            self.texts.extend_from_slice(text.as_bytes());
        }
        number
    }

    /// Number of texts, their lengths, the texts without anything between.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.lengths.len() + self.texts.len() + 10);
        put_number(&mut out, self.known.len() as u64);
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.texts);
        out
    }
}

/// The texts of a block, read.
#[derive(Debug)]
pub(super) struct Dictionary {
    texts: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

impl Dictionary {
    pub(super) fn read(section: Vec<u8>) -> Result<Self, Damage> {
        let mut cursor = Cursor::new(&section);
        let count = cursor.size()?;
        if count > cursor.len() {
            return Err("its dictionary claims more texts than it has bytes");
        }
        let mut ends = Vec::with_capacity(count);
        let mut end = 0_usize;
        for _ in 0..count {
            end = end.checked_add(cursor.size()?).ok_or("a length is too large")?;
            ends.push(u32::try_from(end).map_err(|_| "its dictionary is too large")?);
        }
        let start = section.len() - cursor.len();
        if end != cursor.len() {
            return Err("its dictionary has a wrong length");
        }
        let mut texts = section;
        texts.drain(..start);
        let texts = String::from_utf8(texts).map_err(|_| "its dictionary is not UTF-8")?;
        Ok(Self { texts, ends })
    }

    pub(super) fn text(&self, number: u64) -> Result<&str, Damage> {
        let index = usize::try_from(number).map_err(|_| "a text has no such number")?;
        let end = *self.ends.get(index).ok_or("a text has no such number")? as usize;
        let start =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.texts.get(start..end).ok_or("a text is cut inside a character")
    }

    /// All texts in a row: a needle that is not in it is in none of them.
    pub(super) fn all(&self) -> &[u8] {
        self.texts.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_short_input_is_an_error() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        numbers.iter().for_each(|number| put_number(&mut out, *number));
        signed.iter().for_each(|number| put_signed(&mut out, *number));
        let mut cursor = Cursor::new(&out);
        assert_eq!(numbers.map(|_| cursor.number().unwrap()), numbers);
        assert_eq!(signed.map(|_| cursor.signed().unwrap()), signed);
        assert!(cursor.byte().is_err() && cursor.number().is_err());
        assert!(Cursor::new(&[0xff; 11]).number().is_err());
        assert!(Cursor::new(&[9, 1]).prefixed().is_err());
    }

    #[test]
    fn a_dictionary_holds_each_text_once() {
        let mut writer = DictionaryWriter::default();
        let numbers = ["a", "", "\u{e4}b", "a", ""].map(|text| writer.number(text));
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
        let section = writer.finish();
        let dictionary = Dictionary::read(section.clone()).unwrap();
        assert_eq!([0, 1, 2].map(|n| dictionary.text(n).unwrap()), ["a", "", "\u{e4}b"]);
        assert!(dictionary.text(3).is_err());
        for end in 0..section.len() {
            assert!(Dictionary::read(section[..end].to_vec()).is_err(), "{end}");
        }
    }
}
