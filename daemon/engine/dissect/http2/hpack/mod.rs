//! HPACK (RFC 7541): header blocks to headers, also where the blocks before them were not seen.
//!
//! Invariant: whatever the bytes are, a block costs time in the order of its length, and the tables
//! stay below the given cap. What cannot be known is a placeholder, never a guess.

mod huffman;
mod table;

#[cfg(test)]
mod tests;

use self::table::{Entry, Found, Table, Text};

/// Largest number that is believed: lengths and indices of real blocks stay far below.
const MAX_INTEGER: usize = 1 << 28;

/// A header of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// Name, or `[unknown N]`.
    pub(super) name: &'a str,
    /// Value, or `[unknown N]`.
    pub(super) value: &'a str,
    /// Name or value stand in a part of the table that was not seen.
    pub(super) unknown: bool,
}

/// The block does not follow RFC 7541; what came before the fault was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Decodes the header blocks of one direction.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
}

/// What is left of a block.
struct Reader<'a>(&'a [u8]);

impl Decoder {
    /// A decoder; `joined`: blocks may have passed before.
    pub(super) fn new(joined: bool) -> Self {
        Self { table: Table::new(joined) }
    }

    /// A block was missed.
    pub(super) fn lose(&mut self) {
        self.table.lose();
    }

    /// Decodes a whole block. `cap`: bytes of the dynamic table that are kept at most.
    ///
    /// # Errors
    /// When the block is malformed; the table is then as if a block had been missed.
    pub(super) fn block(
        &mut self,
        bytes: &[u8],
        cap: usize,
        each: &mut dyn FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        let mut reader = Reader(bytes);
        let mut scratch = Vec::new();
        while let Some(first) = reader.0.first().copied() {
            let done = match first {
                0x80.. => self.indexed(&mut reader, each),
                0x40.. => self.literal(&mut reader, 6, &mut scratch, Some(cap), each),
                0x20.. => reader.integer(5).map(|limit| self.table.resize(limit, cap)),
                _ => self.literal(&mut reader, 4, &mut scratch, None, each),
            };
            if done.is_none() {
                self.lose();
                return Err(Malformed);
            }
        }
        Ok(())
    }

    fn indexed(&self, reader: &mut Reader<'_>, each: &mut dyn FnMut(Field<'_>)) -> Option<()> {
        match self.table.get(reader.integer(7)?)? {
            Found::Known(entry) => {
                each(Field {
                    name: entry.name.as_str(),
                    value: entry.value.as_str(),
                    unknown: entry.unknown,
                });
            }
            Found::Unknown(text) => {
                each(Field { name: text.as_str(), value: text.as_str(), unknown: true });
            }
        }
        Some(())
    }

    /// A header with its value written out; `Some(cap)`: it joins the table.
    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        prefix: u8,
        scratch: &mut Vec<u8>,
        joins: Option<usize>,
        each: &mut dyn FnMut(Field<'_>),
    ) -> Option<()> {
        let (name, name_octets, unknown) = match reader.integer(prefix)? {
            0 => {
                let name = reader.text(scratch)?;
                (Text::Shared(String::from_utf8_lossy(name).into()), name.len(), false)
            }
            index => match self.table.get(index)? {
                Found::Known(entry) => (entry.name, entry.octets[0], entry.unknown),
                Found::Unknown(text) => (text, 0, true),
            },
        };
        let value = reader.text(scratch)?;
        let value_text = String::from_utf8_lossy(value);
        each(Field { name: name.as_str(), value: &value_text, unknown });
        if let Some(cap) = joins {
            let octets = [name_octets, value.len()];
            let value = Text::Shared(value_text.into());
            self.table.add(Entry { name, value, octets, unknown }, cap);
        }
        Some(())
    }
}

impl<'a> Reader<'a> {
    /// RFC 7541 5.1.
    fn integer(&mut self, prefix: u8) -> Option<usize> {
        let (first, mut rest) = self.0.split_first()?;
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(*first) & mask;
        if value == mask {
            let mut shift = 0;
            loop {
                let (byte, more) = rest.split_first()?;
                rest = more;
                value = value.checked_add(usize::from(byte & 0x7f).checked_shl(shift)?)?;
                shift += 7;
                if value > MAX_INTEGER || shift > 35 {
                    return None;
                }
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.0 = rest;
        Some(value)
    }

    /// RFC 7541 5.2; the text lies in the block or in `scratch`.
    fn text<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        let coded = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if !coded {
            return Some(text);
        }
        scratch.clear();
        huffman::decode(text, scratch).then_some(&scratch[..])
    }
}
