//! Packets of a snapshot, or of a window of raw capture, as one file for other programs.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::about::{About, Scope};
use super::dissector::file_context;
use super::keys::Keys;
use super::library::Library;
use super::named::Named;
use super::{CaptureFile, Dissector, SnapshotError};
use crate::engine::kfl::Filter;
use crate::engine::limits::Limits;
use crate::engine::model::{
    AddrPort, Entry, FiveTuple, L4, Packet, Process, Record, SocketCookie, Timestamp, TlsEvent, TlsSecret,
};
use crate::engine::pcap::{
    Head, Item, write_classic_head, write_classic_packet, write_event, write_exported, write_head,
    write_packet, write_secret,
};
use crate::engine::wire::Headers;
use crate::resolve::Directory;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// Connections that a filter may choose; those found later are left out, which ends the export with an error.
const MAX_CHOSEN: usize = 1 << 20;
/// How far a connection's key material may be from the packets that it opens.
const KEY_SLACK: Duration = Duration::from_secs(2);
/// Exports whose length is remembered.
const MAX_LENGTHS: usize = 256;

/// The format of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// With everything known: comments, names, plaintext, events.
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
    /// Only these connections.
    pub about: Option<About>,
}

/// An export under way: yields the file in pieces. Memory stays the same however long it is. The same
/// plan gives the same bytes each time.
#[derive(Debug)]
pub struct Export {
    plan: Arc<Plan>,
    files: VecDeque<PathBuf>,
    file: Option<CaptureFile>,
    /// Sockets of chosen connections, met on the way.
    sockets: HashSet<SocketCookie>,
    directory: Directory,
    named: Named,
    keys: Keys,
    begun: bool,
    /// Bytes of the file made so far, and those of them that are wanted.
    made: u64,
    range: (u64, u64),
}

/// What the bytes of an export depend on.
#[derive(Debug)]
struct Plan {
    files: Vec<PathBuf>,
    format: Format,
    window: (Timestamp, Timestamp),
    chosen: Option<Chosen>,
    limits: Arc<Limits>,
    tag: u64,
    /// Links that are removed at the end.
    temporary: Option<PathBuf>,
}

/// The connections that a filter or a request chose.
#[derive(Debug, Default)]
struct Chosen {
    cookies: HashSet<SocketCookie>,
    tuples: HashSet<FiveTuple>,
    /// A client's address and the server that it calls, whatever its port.
    hosts: HashSet<(IpAddr, AddrPort)>,
}

impl Library {
    /// Begins to export packets of a snapshot: of one with a filter, the connections that it chooses. With
    /// a filter, all of it is dissected first.
    pub fn export(&self, name: &str, wanted: &Wanted) -> Result<Export, SnapshotError> {
        let snapshot = self.get(name)?;
        let window = (
            wanted.from.unwrap_or(snapshot.from).max(snapshot.from),
            wanted.to.unwrap_or(snapshot.to).min(snapshot.to),
        );
        let mut filters: Vec<Filter> = wanted.filter.iter().cloned().collect();
        if !snapshot.kfl.trim().is_empty() {
            filters.push(super::library::filter_of(&snapshot.kfl)?);
        }
        let directory = self.directory(snapshot.id);
        Plan::new(&directory, &snapshot.segments, window, wanted, &filters, &self.config.limits)
            .map(Export::of)
    }

    /// The same of raw capture as it is now.
    pub fn export_raw(&self, wanted: &Wanted) -> Result<Export, SnapshotError> {
        let window = (wanted.from.unwrap_or(Timestamp::ZERO), wanted.to.unwrap_or(Timestamp(u64::MAX)));
        let (directory, segments) = self.hold(window.0, window.1)?;
        let filters: Vec<Filter> = wanted.filter.iter().cloned().collect();
        match Plan::new(&directory, &segments, window, wanted, &filters, &self.config.limits) {
            Ok(mut plan) => {
                plan.temporary = Some(directory);
                Ok(Export::of(plan))
            }
            Err(error) => {
                super::library::remove_all(&directory);
                Err(error)
            }
        }
    }

    /// Length of an export, bytes: counted by making it, unless that was done before.
    pub fn export_length(&self, export: &Export) -> Result<u64, SnapshotError> {
        if let Some(length) = self.lengths.of(export.tag()) {
            return Ok(length);
        }
        let mut measured = export.again();
        while measured.next_piece()?.is_some() {}
        self.lengths.note(export.tag(), measured.made);
        Ok(measured.made)
    }

    /// The same if it is known.
    pub fn known_export_length(&self, export: &Export) -> Option<u64> {
        self.lengths.of(export.tag())
    }

    /// Remembers the length of an export that is at its end.
    pub fn note_export_length(&self, export: &Export) {
        self.lengths.note(export.tag(), export.made);
    }
}

/// Lengths of exports by their tags.
#[derive(Debug, Default)]
pub(super) struct Lengths(Mutex<VecDeque<(u64, u64)>>);

impl Lengths {
    fn known(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        // Nothing in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, tag: u64) -> Option<u64> {
        self.known().iter().find(|known| known.0 == tag).map(|known| known.1)
    }

    fn note(&self, tag: u64, length: u64) {
        let mut known = self.known();
        known.retain(|known| known.0 != tag);
        known.push_back((tag, length));
        if known.len() > MAX_LENGTHS {
            known.pop_front();
        }
    }
}

impl Plan {
    fn new(
        directory: &Path,
        segments: &[String],
        window: (Timestamp, Timestamp),
        wanted: &Wanted,
        filters: &[Filter],
        limits: &Arc<Limits>,
    ) -> Result<Self, SnapshotError> {
        let files: Vec<PathBuf> = segments.iter().map(|segment| directory.join(segment)).collect();
        let about = wanted.about.as_ref();
        let window =
            about.and_then(About::window).map_or(window, |(from, to)| (window.0.max(from), window.1.min(to)));
        let chosen = match (filters, about) {
            ([], None) => None,
            ([], Some(about)) => Some(Chosen::of(about)),
            (filters, None) => Some(Chosen::find(&files, window, filters, limits)?),
            (_, Some(_)) => {
                let text = "kfl and a single call or connection do not go together: leave one out";
                return Err(super::library::invalid(text));
            }
        };
        let mut hasher = DefaultHasher::new();
        (segments, window, wanted.format, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
        filters.iter().for_each(|filter| filter.key().hash(&mut hasher));
        wanted.about.hash(&mut hasher);
        let (format, tag) = (wanted.format, hasher.finish());
        Ok(Self { files, format, window, chosen, limits: Arc::clone(limits), tag, temporary: None })
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if let Some(directory) = self.temporary.take() {
            super::library::remove_all(&directory);
        }
    }
}

impl Export {
    fn of(plan: Plan) -> Self {
        Self::from_start(Arc::new(plan))
    }

    fn from_start(plan: Arc<Plan>) -> Self {
        Self {
            files: plan.files.iter().cloned().collect(),
            file: None,
            sockets: HashSet::new(),
            directory: Directory::recorded(),
            named: Named::new(&plan.limits),
            keys: Keys::default(),
            begun: false,
            made: 0,
            range: (0, u64::MAX),
            plan,
        }
    }

    /// The same export from its first byte.
    pub fn again(&self) -> Self {
        Self::from_start(Arc::clone(&self.plan))
    }

    /// Equal for exports of equal bytes.
    pub fn tag(&self) -> u64 {
        self.plan.tag
    }

    /// Only the bytes from `start` up to and without `end`. Those before are made and thrown away.
    pub fn part(mut self, start: u64, end: u64) -> Self {
        self.range = (start, end);
        self
    }

    /// The next piece; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let (start, end) = self.range;
        while self.made < end {
            let Some(mut piece) = self.make_piece()? else { return Ok(None) };
            let begun = self.made;
            self.made += piece.len() as u64;
            // Both are at most the piece's length.
            piece.truncate((end - begun).min(piece.len() as u64) as usize);
            piece.drain(..(start.saturating_sub(begun)).min(piece.len() as u64) as usize);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn make_piece(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
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
        match self.plan.format {
            Format::Pcapng => write_head(out, head, concat!("remora ", env!("CARGO_PKG_VERSION"))),
            Format::Pcap => write_classic_head(out),
        }
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let (from, to) = self.plan.window;
        let is_inside = (from..=to).contains(&record.at());
        match (record, self.plan.format) {
            (Record::Packet(packet), format) => {
                if format == Format::Pcapng {
                    self.named.learn(packet);
                }
                if is_inside && self.has(packet) {
                    if format == Format::Pcapng && self.plan.chosen.is_some() {
                        self.keys.write_of(packet, out);
                    }
                    self.packet(packet, format, out);
                }
            }
            (_, Format::Pcap) => {}
            (Record::Tls(TlsEvent::Data(chunk)), Format::Pcapng) => {
                let is_chosen = self.plan.chosen.as_ref().is_none_or(|chosen| {
                    let cookie = chunk.socket.map(|(cookie, _)| cookie);
                    cookie.is_some_and(|cookie| {
                        chosen.cookies.contains(&cookie) || self.sockets.contains(&cookie)
                    })
                });
                if is_inside && is_chosen {
                    write_exported(out, chunk, None, "");
                }
            }
            (Record::Secret(secret), Format::Pcapng) => self.secret(secret, out),
            // What is known of sockets and processes holds for the window whenever it was learned.
            (event, Format::Pcapng) => write_event(out, event),
        }
    }

    /// Key material goes with the packets that it opens, and with no others.
    fn secret(&mut self, secret: &TlsSecret, out: &mut Vec<u8>) {
        let (from, to) = self.plan.window;
        if self.plan.chosen.is_some() {
            self.keys.learn(secret.clone(), out);
        } else if secret.at.plus(KEY_SLACK) >= from && secret.at <= to.plus(KEY_SLACK) {
            write_secret(out, secret);
        }
    }

    fn has(&mut self, packet: &Packet) -> bool {
        let Some(chosen) = &self.plan.chosen else { return true };
        if !chosen.has(packet) {
            return false;
        }
        // The plaintext of its connection is known by the socket alone.
        if packet.cookie.is_known() && self.sockets.len() < MAX_CHOSEN {
            self.sockets.insert(packet.cookie);
        }
        true
    }

    fn packet(&mut self, packet: &Packet, format: Format, out: &mut Vec<u8>) {
        if format == Format::Pcap {
            write_classic_packet(out, packet);
            return;
        }
        self.named.write_new(packet, out);
        let owner = self.directory.process_of(packet.cookie);
        let comment = owner.as_deref().map(comment_of).unwrap_or_default();
        write_packet(out, packet, &comment);
    }
}

impl Chosen {
    fn of(about: &About) -> Self {
        let mut chosen = Self { cookies: about.cookies().collect(), ..Self::default() };
        let (client, server) = about.ends();
        match about.scope() {
            Scope::Flow => drop(chosen.hosts.insert((client.ip, server))),
            Scope::Call | Scope::Connection => chosen.add(client, server),
        }
        if let Some((client, server)) = about.translated() {
            chosen.add(client, server);
        }
        chosen
    }

    fn add(&mut self, src: AddrPort, dst: AddrPort) {
        for protocol in [L4::TCP, L4::UDP] {
            self.tuples.insert(FiveTuple { src, dst, protocol }.canonical());
        }
    }

    /// Dissects the files and notes the connections of calls that match.
    fn find(
        files: &[PathBuf],
        (from, to): (Timestamp, Timestamp),
        filters: &[Filter],
        limits: &Arc<Limits>,
    ) -> Result<Self, SnapshotError> {
        let mut dissector = Dissector::new(Arc::clone(limits), file_context("export".into()));
        let mut chosen = Self::default();
        let mut judge = |entry: Entry| {
            if (from..=to).contains(&entry.timing.began())
                && filters.iter().all(|filter| filter.matches(&entry))
            {
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
        self.add(src, dst);
    }

    fn has(&self, packet: &Packet) -> bool {
        packet.cookie.is_known() && self.cookies.contains(&packet.cookie)
            || Headers::of(packet).is_ok_and(|headers| {
                let FiveTuple { src, dst, .. } = headers.tuple;
                self.tuples.contains(&headers.tuple.canonical())
                    || self.hosts.contains(&(src.ip, dst))
                    || self.hosts.contains(&(dst.ip, src))
            })
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
