//! A segment's name, which says what it holds.

use crate::engine::model::{Record, Timestamp};

use super::SEALED;

/// What a segment holds. Of sealed ones all of it is in the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Grows by one per segment: keeps apart those that hold the same moments.
    pub number: u64,
    /// Moment of the first record that happened while it was written.
    pub first: Timestamp,
    /// Moment of the last record.
    pub last: Timestamp,
    /// Packets and pieces of TLS plaintext.
    pub packets: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl Segment {
    /// The sealed name: first and last moment in nanoseconds since 1970, packets, and a number of its own.
    /// Names sort by time.
    pub fn name(&self) -> String {
        format!("{:020}-{:020}-{}-{}.{SEALED}", self.first.0, self.last.0, self.packets, self.number)
    }

    /// Reads a sealed name; `None` for every other file.
    pub fn of(name: &str, bytes: u64) -> Option<Self> {
        let stem = name.strip_suffix(SEALED)?.strip_suffix('.')?;
        let mut parts = stem.split('-').map(|part| part.parse::<u64>().ok());
        let (first, last) = (Timestamp(parts.next()??), Timestamp(parts.next()??));
        let (packets, number) = (parts.next()??, parts.next()??);
        let this = Self { number, first, last, packets, bytes };
        (parts.next().is_none() && this.name() == name).then_some(this)
    }

    /// Whether it holds something between two moments.
    pub fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        self.first <= to && self.last >= from
    }

    /// Counts a record.
    pub fn note(&mut self, record: &Record) {
        let at = record.at();
        if at != Timestamp::ZERO {
            self.first = if self.first == Timestamp::ZERO { at } else { self.first.min(at) };
            self.last = self.last.max(at);
        }
        let is_packet =
            matches!(record, Record::Packet(_) | Record::Tls(crate::engine::model::TlsEvent::Data(_)));
        self.packets += u64::from(is_packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_holds() {
        let segment = Segment { number: 2, first: Timestamp(5), last: Timestamp(7), packets: 3, bytes: 9 };
        assert_eq!(Segment::of(&segment.name(), 9), Some(segment));
        for wrong in ["", "x.pcapng", "1-2-3-4.pcapng", "1-2-3-4.part", &format!("{}x", segment.name())] {
            assert_eq!(Segment::of(wrong, 1), None, "{wrong}");
        }
        assert!(segment.overlaps(Timestamp(7), Timestamp(9)) && segment.overlaps(Timestamp(0), Timestamp(5)));
        assert!(!segment.overlaps(Timestamp(8), Timestamp(9)));
    }
}
