//! Packets of a snapshot, or of a window of raw capture, as one file for other programs.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::library::Library;
use super::{CaptureFile, Dissector, SnapshotError};
use crate::engine::kfl::Filter;
use crate::engine::limits::Limits;
use crate::engine::model::{
    CaptureSource, Entry, FiveTuple, L4, NodeInfo, Packet, Process, Record, SocketCookie, Timestamp, TlsEvent,
};
use crate::engine::pcap::{
    Head, Item, write_classic_head, write_classic_packet, write_event, write_exported, write_head,
    write_packet,
};
use crate::engine::shard::ShardContext;
use crate::engine::wire::Headers;
use crate::resolve::Directory;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// Connections that a filter may choose; those found later are left out, which ends the export with an error.
const MAX_CHOSEN: usize = 1 << 20;

/// The format of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With everything known: comments, plaintext, events.
    Pcapng,
    /// Packets alone, for programs that read nothing else.
    Pcap,
}

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As what.
    pub format: Format,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Not after this.
    pub to: Option<Timestamp>,
    /// Only connections with a call that matches; all packets without.
    pub filter: Option<Filter>,
}

/// An export under way: yields the file in pieces. Memory stays the same however long it is.
#[derive(Debug)]
pub struct Export {
    files: VecDeque<PathBuf>,
    file: Option<CaptureFile>,
    format: Format,
    window: (Timestamp, Timestamp),
    chosen: Option<Chosen>,
    directory: Directory,
    begun: bool,
    /// Links that are removed at the end.
    temporary: Option<PathBuf>,
}

/// The connections that a filter chose.
#[derive(Debug, Default)]
struct Chosen {
    cookies: HashSet<SocketCookie>,
    tuples: HashSet<FiveTuple>,
}

impl Library {
    /// Begins to export packets of a snapshot. With a filter, all of it is dissected first.
    pub fn export(&self, name: &str, wanted: &Wanted) -> Result<Export, SnapshotError> {
        let snapshot = self.get(name)?;
        let window = (
            wanted.from.unwrap_or(snapshot.from).max(snapshot.from),
            wanted.to.unwrap_or(snapshot.to).min(snapshot.to),
        );
        let directory = self.directory(snapshot.id);
        Export::begin(&directory, &snapshot.segments, window, wanted, &self.config.limits)
    }

    /// The same of raw capture as it is now.
    pub fn export_raw(&self, wanted: &Wanted) -> Result<Export, SnapshotError> {
        let window = (wanted.from.unwrap_or(Timestamp::ZERO), wanted.to.unwrap_or(Timestamp(u64::MAX)));
        let (directory, segments) = self.hold(window.0, window.1)?;
        let begun = Export::begin(&directory, &segments, window, wanted, &self.config.limits);
        match begun {
            Ok(mut export) => {
                export.temporary = Some(directory);
                Ok(export)
            }
            Err(error) => {
                super::library::remove_all(&directory);
                Err(error)
            }
        }
    }
}

impl Export {
    fn begin(
        directory: &Path,
        segments: &[String],
        window: (Timestamp, Timestamp),
        wanted: &Wanted,
        limits: &Arc<Limits>,
    ) -> Result<Self, SnapshotError> {
        let files: VecDeque<PathBuf> = segments.iter().map(|segment| directory.join(segment)).collect();
        let chosen = match &wanted.filter {
            Some(filter) => Some(Chosen::find(&files, window, filter, limits)?),
            None => None,
        };
        Ok(Self {
            files,
            file: None,
            format: wanted.format,
            window,
            chosen,
            directory: Directory::recorded(),
            begun: false,
            temporary: None,
        })
    }

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
            Item::Head(head) => self.write_head(&head, out),
            Item::Record(record) => {
                if let Record::Socket(_) | Record::Process(_) = &record {
                    // Descriptions are in the file already.
                    let _described = self.directory.apply(&record);
                }
                self.record(&record, out);
            }
        }
    }

    fn write_head(&mut self, head: &Head, out: &mut Vec<u8>) {
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
            (Record::Packet(packet), format) => {
                if is_inside && self.chosen.as_ref().is_none_or(|chosen| chosen.has(packet)) {
                    self.packet(packet, format, out);
                }
            }
            (_, Format::Pcap) => {}
            (Record::Tls(TlsEvent::Data(chunk)), Format::Pcapng) => {
                let cookie = chunk.socket.map(|(cookie, _)| cookie);
                let is_chosen =
                    |chosen: &Chosen| cookie.is_some_and(|cookie| chosen.cookies.contains(&cookie));
                if is_inside && self.chosen.as_ref().is_none_or(is_chosen) {
                    write_exported(out, chunk, None, "");
                }
            }
            // What is known of sockets and processes holds for the window whenever it was learned.
            (event, Format::Pcapng) => write_event(out, event),
        }
    }

    fn packet(&self, packet: &Packet, format: Format, out: &mut Vec<u8>) {
        if format == Format::Pcap {
            write_classic_packet(out, packet);
            return;
        }
        let owner = self.directory.process_of(packet.cookie);
        let comment = owner.as_deref().map(comment_of).unwrap_or_default();
        write_packet(out, packet, &comment);
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Some(directory) = self.temporary.take() {
            super::library::remove_all(&directory);
        }
    }
}

impl Chosen {
    /// Dissects the files and notes the connections of calls that match.
    fn find(
        files: &VecDeque<PathBuf>,
        (from, to): (Timestamp, Timestamp),
        filter: &Filter,
        limits: &Arc<Limits>,
    ) -> Result<Self, SnapshotError> {
        let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
        let context = ShardContext { node, run: "export".into(), source: CaptureSource::File };
        let mut dissector = Dissector::new(Arc::clone(limits), context);
        let mut chosen = Self::default();
        let mut judge = |entry: Entry| {
            let began =
                entry.timing.request_start.max(entry.timing.request_end).max(entry.timing.response_start);
            if (from..=to).contains(&began) && filter.matches(&entry) {
                chosen.note(&entry);
            }
        };
        for path in files {
            let mut file = CaptureFile::open(path)?;
            while let Some(item) = file.next_item()? {
                dissector.item(item, &mut judge);
            }
        }
        dissector.finish(&mut judge);
        if chosen.tuples.len() >= MAX_CHOSEN {
            return Err(super::library::invalid(format!(
                "the filter chooses more than {MAX_CHOSEN} connections; narrow it or the window"
            )));
        }
        Ok(chosen)
    }

    fn note(&mut self, entry: &Entry) {
        if self.tuples.len() >= MAX_CHOSEN {
            return;
        }
        let ends = [&entry.src, &entry.dst];
        self.cookies.extend(ends.iter().map(|end| end.socket).filter(|cookie| cookie.is_known()));
        let [src, dst] = ends.map(|end| end.translated.unwrap_or(end.addr));
        for protocol in [L4::TCP, L4::UDP] {
            self.tuples.insert(FiveTuple { src, dst, protocol }.canonical());
        }
    }

    fn has(&self, packet: &Packet) -> bool {
        packet.cookie.is_known() && self.cookies.contains(&packet.cookie)
            || Headers::of(packet).is_ok_and(|headers| self.tuples.contains(&headers.tuple.canonical()))
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
