//! A capture file becomes a snapshot.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::library::{Library, check_name, invalid};
use super::manifest::{Origin, Snapshot};
use super::{CaptureFile, FileError, SnapshotError};
use crate::archive::{SEALED, Segment};
use crate::engine::model::{CaptureSource, Record, Timestamp};
use crate::engine::pcap::{Head, Item, write_head, write_record};
use crate::runtime::clock;

/// Bytes written at once.
const PIECE: usize = 256 << 10;
/// Bytes of an imported segment before the next one begins.
const SEGMENT: u64 = 64 << 20;

impl Library {
    /// Reads all of a file into a new snapshot. What the file has and Remora does not understand is said
    /// in the snapshot's note.
    pub fn import(&self, name: &str, mut file: CaptureFile) -> Result<Snapshot, SnapshotError> {
        check_name(name)?;
        if self.get(name).is_ok() {
            return Err(SnapshotError::Exists { name: name.to_owned() });
        }
        let mut written =
            Written { limit: self.config.max_bytes.saturating_sub(self.used().0), ..Written::default() };
        let mut failure = None;
        let snapshot = Snapshot {
            name: name.to_owned(),
            origin: Origin::Import,
            created: clock::now(),
            // All of it: files may be from any time.
            to: Timestamp(u64::MAX),
            ..Snapshot::default()
        };
        let added = self.add(snapshot, |directory| {
            loop {
                match file.next_item() {
                    Ok(Some(item)) => written.item(directory, item)?,
                    Ok(None) => break,
                    // What stands before the damage is worth having.
                    Err(error @ FileError::Content { .. }) if written.records > 0 => {
                        failure = Some(error.to_string());
                        break;
                    }
                    Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                }
            }
            written.seal(directory)?;
            if written.names.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the file has no packets that are understood",
                ));
            }
            Ok(std::mem::take(&mut written.names))
        });
        let added = added.map_err(|error| match error {
            SnapshotError::Disk { error, .. } if error.kind() == io::ErrorKind::InvalidData => {
                invalid(error.to_string())
            }
            other => other,
        })?;
        let tally = file.tally();
        let left_out = tally.unknown_link + tally.not_ip + tally.malformed + tally.fragments;
        let mut note: Vec<String> = failure.into_iter().collect();
        if left_out > 0 {
            note.push(format!("{left_out} frames of the file are no IP packets or not whole"));
        }
        if note.is_empty() {
            return Ok(added);
        }
        self.change(name, None, Some(note.join("; ")))
    }
}

/// The segments of an import.
#[derive(Debug, Default)]
struct Written {
    limit: u64,
    total: u64,
    records: u64,
    head: Option<Head>,
    buffer: Vec<u8>,
    current: Option<(std::fs::File, Segment)>,
    names: Vec<String>,
}

impl Written {
    fn item(&mut self, directory: &Path, item: Item) -> io::Result<()> {
        match item {
            Item::Head(head) => self.head = Some(head),
            Item::Record(record) => self.record(directory, &record)?,
        }
        Ok(())
    }

    fn record(&mut self, directory: &Path, record: &Record) -> io::Result<()> {
        if self.current.is_none() {
            let file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join("open"))?;
            let number = self.names.len() as u64 + 1;
            self.current = Some((file, Segment { number, ..Segment::default() }));
            let head = self.head.clone().unwrap_or_else(|| Head {
                node: "file".into(),
                ip: [0, 0, 0, 0].into(),
                source: CaptureSource::File,
                at: record.at(),
            });
            write_head(&mut self.buffer, &head, concat!("remora ", env!("CARGO_PKG_VERSION")));
        }
        self.records += 1;
        write_record(&mut self.buffer, record);
        if let Some((_, segment)) = &mut self.current {
            segment.note(record);
        }
        if self.buffer.len() >= PIECE {
            self.write()?;
            if self.current.as_ref().is_some_and(|(_, segment)| segment.bytes >= SEGMENT) {
                self.seal(directory)?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let Some((file, segment)) = &mut self.current else { return Ok(()) };
        file.write_all(&self.buffer)?;
        segment.bytes += self.buffer.len() as u64;
        self.total += self.buffer.len() as u64;
        self.buffer.clear();
        if self.total > self.limit {
            let text =
                format!("the file is larger than the {} bytes that snapshots may still have", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }

    fn seal(&mut self, directory: &Path) -> io::Result<()> {
        self.write()?;
        let Some((file, segment)) = self.current.take() else { return Ok(()) };
        file.sync_all()?;
        let name = segment.name();
        debug_assert!(name.ends_with(SEALED));
        std::fs::rename(directory.join("open"), directory.join(&name))?;
        self.names.push(name);
        Ok(())
    }
}
