//! A snapshot's packets as one file for other programs.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::library::Library;
use super::manifest::Snapshot;
use super::{CaptureFile, SnapshotError};
use crate::engine::model::{Process, Record, Timestamp, TlsEvent};
use crate::engine::pcap::{
    Head, Item, write_classic_head, write_classic_packet, write_event, write_exported, write_head,
    write_packet,
};
use crate::resolve::Directory;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;

/// The format of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With everything known: comments, plaintext, events.
    Pcapng,
    /// Packets alone, for programs that read nothing else.
    Pcap,
}

/// An export under way: yields the file in pieces. Memory stays the same however long it is.
#[derive(Debug)]
pub struct Export {
    files: VecDeque<PathBuf>,
    file: Option<CaptureFile>,
    format: Format,
    window: (Timestamp, Timestamp),
    directory: Directory,
    begun: bool,
}

impl Library {
    /// Begins to export the packets of a snapshot between two moments.
    pub fn export(
        &self,
        name: &str,
        format: Format,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Export, SnapshotError> {
        let snapshot: Snapshot = self.get(name)?;
        let directory = self.directory(snapshot.id);
        let files = snapshot.segments.iter().map(|segment| directory.join(segment)).collect();
        let window =
            (from.unwrap_or(snapshot.from).max(snapshot.from), to.unwrap_or(snapshot.to).min(snapshot.to));
        Ok(Export { files, file: None, format, window, directory: Directory::recorded(), begun: false })
    }
}

impl Export {
    /// The next piece; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let mut piece = Vec::with_capacity(PIECE + (64 << 10));
        while piece.len() < PIECE {
            let Some(file) = &mut self.file else {
                let Some(path) = self.files.pop_front() else { break };
                self.file = Some(CaptureFile::open(&path)?);
                continue;
            };
            match file.next_item()? {
                Some(item) => self.write(item, &mut piece),
                None => self.file = None,
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn write(&mut self, item: Item, out: &mut Vec<u8>) {
        match item {
            Item::Head(head) => self.begin(&head, out),
            Item::Record(record) => {
                if let Record::Socket(_) | Record::Process(_) = &record {
                    // Descriptions are in the file already.
                    let _described = self.directory.apply(&record);
                }
                self.record(&record, out);
            }
        }
    }

    fn begin(&mut self, head: &Head, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        match self.format {
            Format::Pcapng => write_head(out, head, concat!("remora ", env!("CARGO_PKG_VERSION"))),
            Format::Pcap => write_classic_head(out),
        }
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let (from, to) = self.window;
        let is_inside = (from..=to).contains(&record.at());
        match (record, self.format) {
            (Record::Packet(_), _) if !is_inside => {}
            (Record::Packet(packet), Format::Pcap) => write_classic_packet(out, packet),
            (Record::Packet(packet), Format::Pcapng) => {
                let owner = self.directory.process_of(packet.cookie);
                let comment = owner.as_deref().map(comment_of).unwrap_or_default();
                write_packet(out, packet, &comment);
            }
            (_, Format::Pcap) => {}
            (Record::Tls(TlsEvent::Data(chunk)), Format::Pcapng) => {
                if is_inside {
                    write_exported(out, chunk, None, "");
                }
            }
            // What is known of sockets and processes holds for the window whenever it was learned.
            (event, Format::Pcapng) => write_event(out, event),
        }
    }
}

/// Who sent or received, for a person: `nginx[29087] nginx.service`.
fn comment_of(process: &Process) -> String {
    let mut text = format!("{}[{}]", process.name, process.pid);
    for part in [&process.unit, &process.container_id] {
        if !part.is_empty() {
            text.push(' ');
            text.push_str(part);
        }
    }
    text
}
