//! A DNS message as its header, questions and records (RFC 1035 4).

use compact_str::CompactString;

use super::edns::Edns;
use super::names::{class_name, is_known_type, type_name};
use super::rdata;
use super::reader::{Malformed, Reader};
use crate::limits::dns as limits;
use crate::model::{Map, Value};

/// Bytes of the header.
pub(super) const HEADER: usize = 12;
/// The OPT record's type.
const OPT: u16 = 41;
/// Full and incremental zone transfers.
const TRANSFERS: [u16; 2] = [251, 252];
/// The bit that mDNS puts beside the class: "unicast answer wanted", "flush what you cached".
const MDNS_BIT: u16 = 0x8000;

/// The fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    flags: u16,
    /// Questions, answers, authorities, additionals.
    counts: [u16; 4],
}

impl Header {
    /// Reads it.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        let mut next = || reader.u16().ok();
        let (id, flags) = (next()?, next()?);
        Some(Self { id, flags, counts: [next()?, next()?, next()?, next()?] })
    }

    pub(super) const fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) const fn opcode(self) -> u8 {
        (self.flags >> 11 & 15) as u8
    }

    pub(super) const fn code(self) -> u16 {
        self.flags & 15
    }

    /// A flag by its bit: 10 authoritative, 9 truncated, 8 recursion desired, 7 available, 5 authentic
    /// data, 4 checking disabled.
    pub(super) const fn flag(self, bit: u8) -> bool {
        self.flags >> bit & 1 != 0
    }

    /// Whether a header looks like one where nothing else says that this is DNS.
    fn is_plausible(self) -> bool {
        let [questions, answers, authorities, additionals] = self.counts;
        let update = matches!(self.opcode(), 4 | 5);
        let quiet = self.is_response() || self.code() == 0 && (update || answers == 0 && authorities == 0);
        matches!(self.opcode(), 0 | 2 | 4..=6)
            && !self.flag(6)
            && quiet
            && questions <= 8
            && (self.is_response() || questions > 0)
            && additionals <= 64
            && usize::from(answers) + usize::from(authorities) <= limits::RECORDS
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: CompactString,
    pub(super) kind: u16,
    class: u16,
}

impl Question {
    /// Whether it asks the same; names are the same in any case.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.class == other.class && self.name.eq_ignore_ascii_case(&other.name)
    }

    pub(super) fn is_transfer(&self) -> bool {
        TRANSFERS.contains(&self.kind)
    }

    pub(super) fn tree(&self) -> Value {
        let mut tree = Map::with_capacity(3);
        tree.put("name", self.name.clone());
        tree.put("type", type_name(self.kind));
        tree.put("class", class_name(self.class));
        Value::Map(tree)
    }
}

/// A record as the entry shows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) kind: u16,
    pub(super) tree: Map,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) questions: Vec<Question>,
    /// Answers, authorities, additionals (without OPT).
    pub(super) sections: [Vec<Record>; 3],
    pub(super) edns: Option<Edns>,
    /// Why the rest could not be read.
    pub(super) malformed: Option<Malformed>,
    /// Records that were left out.
    pub(super) left_out: usize,
    /// All bytes were used.
    entire: bool,
    /// Only types and classes that have names.
    familiar: bool,
}

impl Message {
    /// Reads a message, as much of it as can be read. `None`: there is no header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let mut message = Self {
            header,
            questions: Vec::new(),
            sections: Default::default(),
            edns: None,
            malformed: None,
            left_out: 0,
            entire: false,
            familiar: true,
        };
        let mut reader = Reader::new(bytes);
        // There is a header, so this cannot fail.
        if reader.take(HEADER).is_ok() {
            message.malformed = message.read_sections(&mut reader).err();
            message.entire = reader.left() == 0 && message.malformed.is_none();
        }
        Some(message)
    }

    fn read_sections(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let [questions, counts @ ..] = self.header.counts;
        for _ in 0..questions {
            let name = reader.name()?;
            let (kind, class) = (reader.u16()?, reader.u16()? & !MDNS_BIT);
            self.familiar &= is_known_type(kind) && matches!(class, 1 | 3 | 4 | 254 | 255);
            if self.questions.len() >= limits::QUESTIONS {
                self.left_out += 1;
            } else {
                self.questions.push(Question { name, kind, class });
            }
        }
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                self.read_record(section, reader)?;
            }
        }
        Ok(())
    }

    fn read_record(&mut self, section: usize, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let name = reader.name()?;
        let (kind, class, ttl, len) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u16()?);
        let data = reader.part(usize::from(len))?;
        if kind == OPT {
            self.edns = Some(Edns::read(class, ttl, data)?);
            return Ok(());
        }
        let class = class & !MDNS_BIT;
        self.familiar &= is_known_type(kind) && matches!(class, 1 | 3 | 4 | 254 | 255);
        if self.sections.iter().map(Vec::len).sum::<usize>() >= limits::RECORDS {
            self.left_out += 1;
            return Ok(());
        }
        let mut tree = Map::with_capacity(6);
        tree.put("name", name);
        tree.put("type", type_name(kind));
        tree.put("class", class_name(class));
        tree.put("ttl", Value::Int(i64::from(ttl)));
        rdata::put(&mut tree, kind, data)?;
        if let Some(records) = self.sections.get_mut(section) {
            records.push(Record { kind, tree });
        }
        Ok(())
    }

    /// The response code, with its upper bits from EDNS.
    pub(super) fn code(&self) -> u16 {
        let upper = self.edns.as_ref().map_or(0, |edns| u16::from(edns.extended_code));
        upper << 4 | self.header.code()
    }
}

/// Whether bytes are one DNS message and nothing else. `expected`: on a port where DNS is usual, so that
/// less is asked of it.
pub(super) fn is_message(bytes: &[u8], expected: bool) -> bool {
    let Some(message) = Message::read(bytes) else { return false };
    let something =
        !message.questions.is_empty() || message.sections.iter().any(|records| !records.is_empty());
    if expected {
        let opcode = matches!(message.header.opcode(), 0..=2 | 4..=6);
        return opcode && (message.malformed.is_none() || something);
    }
    something && message.entire && message.familiar && message.header.is_plausible()
}

/// Whether bytes may be the beginning of a DNS message.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    Header::read(bytes).is_none_or(Header::is_plausible)
}
