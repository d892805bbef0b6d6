//! The sequence of segments: appends records, seals, trims, and recovers, on whatever disk it has.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::time::Duration;

use super::disk::Disk;
use super::{ArchiveConfig, Identities, OPEN, Segment};
use crate::engine::model::{CaptureSource, DropReason, Loss, NodeInfo, Record, Timestamp};
use crate::engine::pcap::{Head, Item, Reader, Statistics, write_head, write_record, write_statistics};

/// Largest segment: small enough that giving one up costs little of the window.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Least number of segments that the total size is divided into.
const MIN_SEGMENTS: u64 = 16;
/// Oldest segment that is still written to.
const SEGMENT_AGE: Duration = Duration::from_secs(300);
/// Encoded bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
/// Longest time that an encoded record stays in memory: what a crash of the daemon costs.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two syncs of the open segment: what a loss of power costs. Sealed ones are synced whole.
const SYNC_INTERVAL: Duration = Duration::from_secs(10);
/// Part of the disk that is left to others: recording stops before.
const RESERVED_PART: u64 = 20;
/// Most that is left to others.
const RESERVED_BYTES: u64 = 512 << 20;
/// How often the limits of age and free space are looked at.
const TRIM_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes read at a time when an open segment is recovered.
const READ_BYTES: usize = 256 << 10;

/// What segments are written for.
pub(super) struct Origin {
    pub(super) node: NodeInfo,
    pub(super) source: CaptureSource,
    pub(super) identities: Box<dyn Identities>,
}

/// The segments and the one under way.
pub(super) struct Log {
    disk: Box<dyn Disk>,
    origin: Origin,
    pub(super) max_bytes: u64,
    max_age: Option<Duration>,
    sealed: VecDeque<Segment>,
    next_number: u64,
    current: Option<Current>,
    buffer: Vec<u8>,
    /// Records in the buffer.
    buffered: u64,
    /// Losses before capture that were written down, or happened while nothing was recorded.
    said: BTreeMap<DropReason, u64>,
    next_trim: Timestamp,
    /// Bytes and records written since the start.
    pub(super) written: (u64, u64),
}

struct Current {
    name: String,
    segment: Segment,
    /// What of it is on disk.
    saved: Segment,
    begun: Timestamp,
    written_at: Timestamp,
    synced_at: Timestamp,
    lost: u64,
}

/// The disk refused, and this many records were lost by that.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: io::Error,
    pub(super) lost: u64,
}

impl Log {
    /// Takes over a directory: what was left open is cut, sealed or removed.
    pub(super) fn open(mut disk: Box<dyn Disk>, origin: Origin, config: &ArchiveConfig) -> io::Result<Self> {
        let files = disk.list()?;
        let mut sealed: Vec<Segment> =
            files.iter().filter_map(|(name, bytes)| Segment::of(name, *bytes)).collect();
        sealed.sort_by_key(|segment| segment.number);
        let mut next_number = sealed.last().map_or(1, |segment| segment.number + 1);
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(OPEN)) {
            if let Some(segment) = recover(&mut *disk, name, next_number)? {
                sealed.push(segment);
                next_number += 1;
            }
        }
        let mut this = Self {
            disk,
            origin,
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            sealed: sealed.into(),
            next_number,
            current: None,
            buffer: Vec::with_capacity(2 * WRITE_BYTES),
            buffered: 0,
            said: BTreeMap::new(),
            next_trim: Timestamp::ZERO,
            written: (0, 0),
        };
        this.trim_size();
        Ok(this)
    }

    pub(super) fn set_limits(&mut self, max_bytes: u64, max_age: Option<Duration>) {
        (self.max_bytes, self.max_age) = (max_bytes, max_age);
        self.next_trim = Timestamp::ZERO;
    }

    pub(super) fn sealed(&self) -> impl Iterator<Item = &Segment> {
        self.sealed.iter()
    }

    /// The segment under way.
    pub(super) fn current(&self) -> Option<Segment> {
        self.current.as_ref().map(|current| current.segment)
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.current.as_ref().map_or(0, |current| current.segment.bytes);
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + open
    }

    /// Takes a record; most of the time only into memory.
    pub(super) fn append(&mut self, record: &Record, now: Timestamp) -> Result<(), Refused> {
        if self.current.is_none() {
            self.begin(now)?;
        }
        if let Some(current) = &mut self.current {
            current.segment.note(record);
            if let Record::Loss(loss) = record {
                current.lost += if is_of_packets(loss.reason) { loss.count } else { 0 };
            }
        }
        write_record(&mut self.buffer, record);
        self.buffered += 1;
        if self.buffer.len() >= WRITE_BYTES {
            self.write(now)?;
        }
        Ok(())
    }

    /// Writes down what capture lost since the last time; only notes it while nothing is recorded.
    pub(super) fn note_losses(&mut self, now: Timestamp, is_recording: bool) -> Result<(), Refused> {
        for (reason, total) in self.origin.identities.losses() {
            let count = total.saturating_sub(self.said.insert(reason, total).unwrap_or(0));
            if count > 0 && is_recording {
                self.append(&Record::Loss(Loss { at: now, reason, count }), now)?;
            }
        }
        Ok(())
    }

    /// Does what is due: writes, syncs, seals by age, trims.
    pub(super) fn tick(&mut self, now: Timestamp) -> Result<(), Refused> {
        let past = |since: Timestamp, interval: Duration| now >= since.plus(interval);
        let Some(current) = &self.current else {
            self.trim(now);
            return Ok(());
        };
        if past(current.begun, SEGMENT_AGE) {
            self.seal(now)?;
        } else if past(current.written_at, WRITE_INTERVAL) {
            let sync = past(current.synced_at, SYNC_INTERVAL);
            self.write(now)?;
            if sync {
                self.disk.sync().map_err(|error| self.refused(error))?;
                if let Some(current) = &mut self.current {
                    current.synced_at = now;
                }
            }
        }
        self.trim(now);
        Ok(())
    }

    fn begin(&mut self, now: Timestamp) -> Result<(), Refused> {
        self.make_room().map_err(|error| Refused { error, lost: 1 })?;
        let name = format!("{:020}.{OPEN}", now.0);
        self.disk.create(&name).map_err(|error| Refused { error, lost: 1 })?;
        let segment = Segment { number: self.next_number, ..Segment::default() };
        self.next_number += 1;
        self.current = Some(Current {
            name,
            segment,
            saved: segment,
            begun: now,
            written_at: now,
            synced_at: now,
            lost: 0,
        });
        let NodeInfo { name, ip } = self.origin.node.clone();
        let head = Head { node: name, ip, source: self.origin.source, at: now };
        write_head(&mut self.buffer, &head, concat!("remora ", env!("CARGO_PKG_VERSION")));
        for record in self.origin.identities.identities(now) {
            write_record(&mut self.buffer, &record);
        }
        Ok(())
    }

    fn write(&mut self, now: Timestamp) -> Result<(), Refused> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if let Err(error) = self.disk.append(&self.buffer) {
            return Err(self.refused(error));
        }
        current.segment.bytes += self.buffer.len() as u64;
        current.saved = current.segment;
        current.written_at = now;
        self.written.0 += self.buffer.len() as u64;
        self.written.1 += self.buffered;
        self.buffer.clear();
        self.buffered = 0;
        if current.segment.bytes >= self.segment_bytes() {
            self.seal(now)?;
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min(self.max_bytes / MIN_SEGMENTS)
    }

    /// Completes the segment under way, if there is one: afterwards all that was appended is in sealed ones.
    pub(super) fn seal(&mut self, now: Timestamp) -> Result<(), Refused> {
        let Some(current) = &self.current else { return Ok(()) };
        let Segment { first, last, packets, .. } = current.segment;
        let dropped = current.lost;
        let statistics = Statistics { first, last, received: packets.saturating_add(dropped), dropped };
        write_statistics(&mut self.buffer, &statistics);
        // Not `write`, which may seal by size.
        if let Err(error) = self.disk.append(&self.buffer) {
            return Err(self.refused(error));
        }
        self.written.0 += self.buffer.len() as u64;
        self.written.1 += std::mem::take(&mut self.buffered);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        let Some(mut current) = self.current.take() else { return Ok(()) };
        current.segment.bytes += bytes;
        if current.segment.first == Timestamp::ZERO {
            (current.segment.first, current.segment.last) = (current.begun, now);
        }
        self.rename(&current).map_err(|error| Refused { error, lost: 0 })?;
        self.trim_size();
        Ok(())
    }

    fn rename(&mut self, current: &Current) -> io::Result<()> {
        self.disk.seal(&current.name, &current.segment.name())?;
        self.sealed.push_back(current.segment);
        Ok(())
    }

    /// Gives up what is in memory, and saves what is on disk as far as that works. Recovery at the next
    /// start does the rest.
    fn refused(&mut self, error: io::Error) -> Refused {
        let lost = std::mem::take(&mut self.buffered);
        self.buffer.clear();
        if let Some(mut current) = self.current.take() {
            current.segment = current.saved;
            let cut = self.disk.truncate(&current.name, current.segment.bytes);
            if current.segment.packets == 0 {
                // Recovery would remove it as well.
                let _left_behind = self.disk.remove(&current.name);
            } else if cut.is_ok() {
                // If this fails as well, the next start does it.
                let _left_open = self.rename(&current);
            }
        }
        Refused { error, lost }
    }

    fn trim(&mut self, now: Timestamp) {
        if now < self.next_trim {
            return;
        }
        self.next_trim = now.plus(TRIM_INTERVAL);
        self.trim_size();
        if let Some(age) = self.max_age {
            let age = age.as_nanos() as u64;
            while self.sealed.front().is_some_and(|segment| now.since(segment.last) > age) {
                if !self.remove_oldest() {
                    return;
                }
            }
        }
    }

    /// Keeps the limit of size, a new segment's included.
    fn trim_size(&mut self) {
        let limit = self.max_bytes.saturating_sub(self.segment_bytes());
        while self.bytes() > limit && self.remove_oldest() {}
    }

    /// Leaves others their part of the disk, at the cost of the oldest segments.
    fn make_room(&mut self) -> io::Result<()> {
        loop {
            let (free, size) = self.disk.free()?;
            let reserved = (size / RESERVED_PART).min(RESERVED_BYTES) + self.segment_bytes();
            if free >= reserved {
                return Ok(());
            }
            if !self.remove_oldest() {
                let text = format!("only {free} bytes of the disk are free, {reserved} are left to others");
                return Err(io::Error::new(io::ErrorKind::StorageFull, text));
            }
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let Some(oldest) = self.sealed.front().copied() else { return false };
        match self.disk.remove(&oldest.name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove the oldest raw segment: {error}");
                false
            }
            _ => {
                self.sealed.pop_front();
                true
            }
        }
    }
}

/// Whether a loss counts packets, as interface statistics do, and not bytes or pieces of plaintext.
fn is_of_packets(reason: DropReason) -> bool {
    use DropReason::{PacketUnreadable, RawFailed, RawQueueFull, RingFull};
    matches!(reason, RingFull | PacketUnreadable | RawQueueFull | RawFailed)
}

/// Cuts a file that was being written behind its last whole block and seals it; removes it if nothing is
/// in it.
fn recover(disk: &mut dyn Disk, name: &str, number: u64) -> io::Result<Option<Segment>> {
    let (mut segment, begun) = scan(disk.read(name)?)?;
    segment.number = number;
    if begun == Timestamp::ZERO || segment.packets == 0 {
        disk.remove(name)?;
        return Ok(None);
    }
    disk.truncate(name, segment.bytes)?;
    disk.seal(name, &segment.name())?;
    tracing::info!(packets = segment.packets, "a raw segment was left open; what is whole of it is kept");
    Ok(Some(segment))
}

/// What the whole blocks of a file hold, how long they are, and when it was begun.
fn scan(mut from: Box<dyn Read>) -> io::Result<(Segment, Timestamp)> {
    let (mut segment, mut begun) = (Segment::default(), Timestamp::ZERO);
    let mut reader = Reader::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        let len = from.read(&mut piece)?;
        reader.feed(piece.get(..len).unwrap_or_default());
        loop {
            match reader.next_item() {
                Ok(Some(Item::Head(head))) => begun = head.at,
                Ok(Some(Item::Record(record))) => segment.note(&record),
                Ok(None) => break,
                // Damage ends what is whole, like the end of the file.
                Err(_) => {
                    segment.bytes = reader.position();
                    return Ok((segment, begun));
                }
            }
        }
        if len == 0 {
            segment.bytes = reader.position();
            return Ok((segment, begun));
        }
    }
}
