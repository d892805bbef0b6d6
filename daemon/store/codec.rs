//! How entries are written into a block's sections and read back: see FORMAT.md.
//!
//! `light` has everything but the messages, `heads` the message trees, `bodies` the long texts and bytes
//! out of them, `texts` every other text once. A reader that needs no messages reads two of the four.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use super::bytes::{
    Cursor, Damage, Dictionary, DictionaryWriter, LONG_TEXT, put_bytes, put_ip, put_number, put_signed,
};
use crate::engine::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Entry, EntryError, EntryId, ErrorKind, Map, NodeInfo,
    Peer, Process, ProtocolKey, SocketCookie, Timestamp, Timing, TlsInfo, Value,
};

/// Lists and maps within each other that an entry may have. Bounds the recursion of both directions;
/// dissectors stop far earlier.
pub(super) const MAX_DEPTH: usize = 128;

/// The sections of a block, not yet compressed.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) texts: Vec<u8>,
    pub(super) light: Vec<u8>,
    pub(super) heads: Vec<u8>,
    pub(super) bodies: Vec<u8>,
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const LONG: u8 = 6;
const BYTES: u8 = 7;
const LONG_BYTES: u8 = 8;
const LIST: u8 = 9;
const MAP: u8 = 10;

const OUTGOING: u8 = 1;
const TLS: u8 = 2;
const ERROR: u8 = 4;
const EVENTS: u8 = 8;
/// The request tree has `method` and it is the entry's.
const SAME_METHOD: u8 = 16;
/// The request tree has `path` and it is the entry's summary.
const SAME_PATH: u8 = 32;
/// The response tree has `status` and it is the entry's.
const SAME_STATUS: u8 = 64;
/// Facts about its TLS follow.
const TLS_INFO: u8 = 128;

#[derive(Default)]
struct Writer<'e> {
    texts: DictionaryWriter<'e>,
    bodies: Vec<u8>,
    heads: Vec<u8>,
    nodes: HashMap<(&'e str, std::net::IpAddr), u64>,
    node_bytes: Vec<u8>,
    // By address: entries share what `resolve` found once.
    processes: HashMap<*const Process, u64>,
    process_bytes: Vec<u8>,
    // By address, as processes.
    tls_infos: HashMap<*const TlsInfo, u64>,
    rows: Vec<u8>,
    last_start: u64,
    last_seq: u64,
}

/// The sections of these entries, which ascend by `seq`.
pub(super) fn write(entries: &[Arc<Entry>]) -> Result<Sections, String> {
    let mut writer = Writer::default();
    for entry in entries {
        writer.entry(entry)?;
    }
    let mut light = Vec::with_capacity(writer.rows.len() + writer.process_bytes.len() + 64);
    put_number(&mut light, writer.nodes.len() as u64);
    light.append(&mut writer.node_bytes);
    put_number(&mut light, writer.processes.len() as u64);
    light.append(&mut writer.process_bytes);
    light.append(&mut writer.rows);
    Ok(Sections { texts: writer.texts.finish(), light, heads: writer.heads, bodies: writer.bodies })
}

impl<'e> Writer<'e> {
    fn entry(&mut self, entry: &'e Entry) -> Result<(), String> {
        let before = self.heads.len();
        self.value(&entry.request, 0);
        self.value(&entry.response, 0);
        let heads = (self.heads.len() - before) as u64;
        let mut row = std::mem::take(&mut self.rows);
        row.push(flags(entry));
        put_number(&mut row, heads);
        put_number(&mut row, entry.seq.wrapping_sub(self.last_seq));
        self.last_seq = entry.seq;
        put_number(&mut row, self.texts.number(&entry.id.node));
        put_number(&mut row, self.texts.number(&entry.id.stream));
        put_number(&mut row, entry.id.index);
        put_number(&mut row, self.texts.number(entry.protocol.as_str()));
        put_number(&mut row, self.node(&entry.node));
        self.peer(&mut row, &entry.src);
        self.peer(&mut row, &entry.dst);
        self.timing(&mut row, &entry.timing);
        put_number(&mut row, self.texts.number(&entry.method));
        put_number(&mut row, self.texts.number(&entry.summary));
        put_signed(&mut row, entry.status);
        put_number(&mut row, entry.request_size);
        put_number(&mut row, entry.response_size);
        put_number(&mut row, entry.connection.0);
        row.push(source_code(entry.capture.source));
        put_number(&mut row, self.texts.number(&entry.capture.seen_at));
        if let Some(error) = &entry.error {
            row.push(error_code(error.kind));
            put_number(&mut row, self.texts.number(&error.message));
        }
        if !entry.events.is_empty() {
            let events = rmp_serde::to_vec_named(&entry.events).map_err(|error| error.to_string())?;
            put_bytes(&mut row, &events);
        }
        if let Some(info) = &entry.tls_info {
            self.tls(&mut row, info)?;
        }
        self.rows = row;
        Ok(())
    }

    /// The entries of a connection share these facts: they are written with the first one.
    fn tls(&mut self, row: &mut Vec<u8>, info: &Arc<TlsInfo>) -> Result<(), String> {
        let next = self.tls_infos.len() as u64;
        let number = *self.tls_infos.entry(Arc::as_ptr(info)).or_insert(next);
        put_number(row, number);
        if number == next {
            put_bytes(row, &rmp_serde::to_vec_named(&**info).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn node(&mut self, node: &'e NodeInfo) -> u64 {
        let next = self.nodes.len() as u64;
        let number = *self.nodes.entry((&node.name, node.ip)).or_insert(next);
        if number == next {
            put_number(&mut self.node_bytes, self.texts.number(&node.name));
            put_ip(&mut self.node_bytes, node.ip);
        }
        number
    }

    fn peer(&mut self, row: &mut Vec<u8>, peer: &'e Peer) {
        put_ip(row, peer.addr.ip);
        put_number(row, u64::from(peer.addr.port) << 1 | u64::from(peer.translated.is_some()));
        if let Some(translated) = peer.translated {
            put_ip(row, translated.ip);
            put_number(row, u64::from(translated.port));
        }
        put_number(row, peer.socket.0);
        put_number(row, self.texts.number(&peer.name));
        put_number(row, self.texts.number(&peer.dns));
        let process = peer.process.as_ref().map_or(0, |process| 1 + self.process(process));
        put_number(row, process);
    }

    fn process(&mut self, process: &'e Arc<Process>) -> u64 {
        let next = self.processes.len() as u64;
        let number = *self.processes.entry(Arc::as_ptr(process)).or_insert(next);
        if number == next {
            let out = &mut self.process_bytes;
            put_number(out, u64::from(process.pid));
            put_number(out, u64::from(process.ppid));
            put_number(out, process.uid.map_or(0, |uid| 1 + u64::from(uid)));
            put_number(out, process.cgroup_id);
            put_number(out, u64::from(process.netns));
            let texts: [&'e str; 5] =
                [&process.name, &process.exe, &process.cgroup, &process.container_id, &process.unit];
            for text in texts {
                put_number(out, self.texts.number(text));
            }
        }
        number
    }

    /// The start beside the one before, the rest beside the start; which are zero comes first.
    fn timing(&mut self, row: &mut Vec<u8>, timing: &Timing) {
        let moments = timing.moments();
        let known = moments.iter().enumerate().map(|(bit, at)| u8::from(at.nanos() != 0) << bit).sum();
        row.push(known);
        let mut base = self.last_start;
        for at in moments.into_iter().filter(|at| at.nanos() != 0) {
            put_signed(row, at.nanos().wrapping_sub(base) as i64);
            base = at.nanos();
        }
        if let Some(first) = moments.into_iter().find(|at| at.nanos() != 0) {
            self.last_start = first.nanos();
        }
    }

    fn value(&mut self, value: &'e Value, depth: usize) {
        match value {
            // Deeper entries are refused by `Draft::push`.
            _ if depth > MAX_DEPTH => self.heads.push(NULL),
            Value::Null => self.heads.push(NULL),
            Value::Bool(flag) => self.heads.push(if *flag { TRUE } else { FALSE }),
            Value::Int(number) => {
                self.heads.push(INT);
                put_signed(&mut self.heads, *number);
            }
            Value::Float(number) => {
                self.heads.push(FLOAT);
                self.heads.extend_from_slice(&number.to_le_bytes());
            }
            Value::Str(text) if text.len() < LONG_TEXT => {
                self.heads.push(TEXT);
                put_number(&mut self.heads, self.texts.number(text));
            }
            Value::Str(text) => self.long(LONG, text.as_bytes()),
            // Short bodies that are text are found in the dictionary, as bodies of other protocols are.
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if text.len() < LONG_TEXT => {
                    self.heads.push(BYTES);
                    put_number(&mut self.heads, self.texts.number(text));
                }
                _ => self.long(LONG_BYTES, bytes),
            },
            Value::List(items) => {
                self.heads.push(LIST);
                put_number(&mut self.heads, items.len() as u64);
                items.iter().for_each(|item| self.value(item, depth + 1));
            }
            Value::Map(map) => {
                self.heads.push(MAP);
                put_number(&mut self.heads, map.len() as u64);
                for (key, item) in map.iter() {
                    put_number(&mut self.heads, self.texts.number(key));
                    self.value(item, depth + 1);
                }
            }
        }
    }

    fn long(&mut self, tag: u8, bytes: &[u8]) {
        self.heads.push(tag);
        put_number(&mut self.heads, self.bodies.len() as u64);
        put_number(&mut self.heads, bytes.len() as u64);
        self.bodies.extend_from_slice(bytes);
    }
}

fn flags(entry: &Entry) -> u8 {
    let text = |tree: &Value, name, same: &str| tree.get(name).and_then(Value::as_str) == Some(same);
    let bit = |flag: bool, bit: u8| if flag { bit } else { 0 };
    bit(entry.outgoing, OUTGOING)
        | bit(entry.tls, TLS)
        | bit(entry.error.is_some(), ERROR)
        | bit(!entry.events.is_empty(), EVENTS)
        | bit(entry.tls_info.is_some(), TLS_INFO)
        | bit(text(&entry.request, "method", &entry.method), SAME_METHOD)
        | bit(text(&entry.request, "path", &entry.summary), SAME_PATH)
        | bit(entry.response.get("status").and_then(Value::as_int) == Some(entry.status), SAME_STATUS)
}

const SOURCES: [CaptureSource; 5] = [
    CaptureSource::Unspecified,
    CaptureSource::AfPacket,
    CaptureSource::Ebpf,
    CaptureSource::EbpfTls,
    CaptureSource::File,
];

fn source_code(source: CaptureSource) -> u8 {
    SOURCES.iter().position(|known| *known == source).unwrap_or(0) as u8
}

const ERRORS: [ErrorKind; 4] =
    [ErrorKind::Dissection, ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::PairNotFound];

fn error_code(kind: ErrorKind) -> u8 {
    ERRORS.iter().position(|known| *known == kind).unwrap_or(0) as u8
}

/// An entry whose messages are still to be read: they are `Null`, or the stubs of [`Rows::read`].
#[derive(Debug)]
pub(super) struct Light {
    pub(super) entry: Entry,
    /// Where its messages begin in `heads`.
    heads: usize,
}

/// Reads all rows of a block.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    texts: &'a Dictionary,
    cursor: Cursor<'a>,
    ids: HashMap<u64, Arc<str>>,
    nodes: Vec<Arc<NodeInfo>>,
    processes: Vec<Arc<Process>>,
    tls_infos: Vec<Arc<TlsInfo>>,
    last_start: u64,
    last_seq: u64,
    heads: usize,
}

impl<'a> Rows<'a> {
    /// The rows of a block. `stubs`: what the row says of the messages stands in their trees.
    pub(super) fn read(
        light: &'a [u8],
        texts: &'a Dictionary,
        count: u64,
        stubs: bool,
    ) -> Result<Vec<Light>, Damage> {
        let mut rows = Self {
            texts,
            cursor: Cursor::new(light),
            ids: HashMap::new(),
            nodes: Vec::new(),
            processes: Vec::new(),
            tls_infos: Vec::new(),
            last_start: 0,
            last_seq: 0,
            heads: 0,
        };
        for _ in 0..rows.cursor.number()? {
            let name = rows.cursor.number()?;
            let name = rows.shared(name)?;
            let ip = rows.cursor.ip()?;
            rows.nodes.push(Arc::new(NodeInfo { name, ip }));
        }
        for _ in 0..rows.cursor.number()? {
            let process = rows.process()?;
            rows.processes.push(Arc::new(process));
        }
        let count = usize::try_from(count).map_err(|_| "it claims too many entries")?;
        if count > rows.cursor.len() {
            return Err("it claims more entries than it has bytes");
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(rows.row(stubs)?);
        }
        Ok(all)
    }

    fn text(&mut self) -> Result<CompactString, Damage> {
        let number = self.cursor.number()?;
        self.texts.text(number).map(CompactString::from)
    }

    fn shared(&mut self, number: u64) -> Result<Arc<str>, Damage> {
        if let Some(known) = self.ids.get(&number) {
            return Ok(Arc::clone(known));
        }
        let text: Arc<str> = self.texts.text(number)?.into();
        self.ids.insert(number, Arc::clone(&text));
        Ok(text)
    }

    fn process(&mut self) -> Result<Process, Damage> {
        let mut small = || self.cursor.number()?.try_into().map_err(|_| "a number is too large");
        let (pid, ppid) = (small()?, small()?);
        let uid = self.cursor.number()?.checked_sub(1);
        let uid = uid.map(u32::try_from).transpose().map_err(|_| "a number is too large")?;
        let cgroup_id = self.cursor.number()?;
        let netns = self.cursor.number()?.try_into().map_err(|_| "a number is too large")?;
        let name = self.text()?;
        let (exe, cgroup) = (self.text()?.as_str().into(), self.text()?.as_str().into());
        let (container_id, unit) = (self.text()?, self.text()?);
        Ok(Process { pid, ppid, uid, name, exe, cgroup_id, cgroup, container_id, unit, netns })
    }

    fn peer(&mut self) -> Result<Peer, Damage> {
        let port = |number: u64| u16::try_from(number).map_err(|_| "a port is too large");
        let ip = self.cursor.ip()?;
        let number = self.cursor.number()?;
        let addr = AddrPort { ip, port: port(number >> 1)? };
        let translated = if number & 1 == 1 {
            Some(AddrPort { ip: self.cursor.ip()?, port: port(self.cursor.number()?)? })
        } else {
            None
        };
        let socket = SocketCookie(self.cursor.number()?);
        let (name, dns) = (self.text()?, self.text()?);
        let process = match self.cursor.size()?.checked_sub(1) {
            Some(index) => Some(Arc::clone(self.processes.get(index).ok_or("a process has no such number")?)),
            None => None,
        };
        Ok(Peer { addr, translated, socket, name, dns, process })
    }

    fn timing(&mut self) -> Result<Timing, Damage> {
        let known = self.cursor.byte()?;
        let mut moments = [Timestamp::ZERO; 4];
        let mut base = self.last_start;
        let mut first = None;
        for (bit, at) in moments.iter_mut().enumerate() {
            if known & (1 << bit) != 0 {
                base = base.wrapping_add(self.cursor.signed()? as u64);
                first = first.or(Some(base));
                *at = Timestamp(base);
            }
        }
        self.last_start = first.unwrap_or(self.last_start);
        let [request_start, request_end, response_start, response_end] = moments;
        Ok(Timing { request_start, request_end, response_start, response_end })
    }

    fn row(&mut self, stubs: bool) -> Result<Light, Damage> {
        let flags = self.cursor.byte()?;
        let heads = self.heads;
        self.heads = heads.checked_add(self.cursor.size()?).ok_or("a length is too large")?;
        self.last_seq = self.last_seq.wrapping_add(self.cursor.number()?);
        let node = self.cursor.number()?;
        let node = self.shared(node)?;
        let id = EntryId { node, stream: self.text()?, index: self.cursor.number()? };
        let protocol = ProtocolKey(self.text()?);
        let node = self.cursor.size()?;
        let node = Arc::clone(self.nodes.get(node).ok_or("a node has no such number")?);
        let (src, dst) = (self.peer()?, self.peer()?);
        let timing = self.timing()?;
        let (method, summary) = (self.text()?, self.text()?);
        let status = self.cursor.signed()?;
        let (request_size, response_size) = (self.cursor.number()?, self.cursor.number()?);
        let connection = ConnectionId(self.cursor.number()?);
        let source = SOURCES.get(usize::from(self.cursor.byte()?)).ok_or("a capture source is unknown")?;
        let capture = CaptureInfo { source: *source, seen_at: self.text()? };
        let error = if flags & ERROR != 0 { Some(self.error()?) } else { None };
        let events = if flags & EVENTS != 0 {
            rmp_serde::from_slice(self.cursor.prefixed()?).map_err(|_| "its events do not decode")?
        } else {
            Vec::new()
        };
        let tls_info = if flags & TLS_INFO != 0 { Some(self.tls()?) } else { None };
        let (request, response) =
            if stubs { stubs_of(flags, &method, &summary, status) } else { (Value::Null, Value::Null) };
        let entry = Entry {
            id,
            seq: self.last_seq,
            protocol,
            node,
            src,
            dst,
            outgoing: flags & OUTGOING != 0,
            tls: flags & TLS != 0,
            tls_info,
            timing,
            method,
            summary,
            status,
            request,
            response,
            request_size,
            response_size,
            error,
            events,
            connection,
            capture,
        };
        Ok(Light { entry, heads })
    }

    fn tls(&mut self) -> Result<Arc<TlsInfo>, Damage> {
        let number = self.cursor.size()?;
        if number == self.tls_infos.len() {
            let info = rmp_serde::from_slice(self.cursor.prefixed()?);
            self.tls_infos.push(Arc::new(info.map_err(|_| "its facts about TLS do not decode")?));
        }
        self.tls_infos.get(number).map(Arc::clone).ok_or("facts about TLS have no such number")
    }

    fn error(&mut self) -> Result<EntryError, Damage> {
        let kind = *ERRORS.get(usize::from(self.cursor.byte()?)).ok_or("an error is of an unknown kind")?;
        Ok(EntryError { kind, message: self.text()? })
    }
}

fn stubs_of(flags: u8, method: &CompactString, summary: &CompactString, status: i64) -> (Value, Value) {
    let mut request = Map::default();
    if flags & SAME_METHOD != 0 {
        request.put("method", method.clone());
    }
    if flags & SAME_PATH != 0 {
        request.put("path", summary.clone());
    }
    let mut response = Map::default();
    if flags & SAME_STATUS != 0 {
        response.put("status", status);
    }
    (Value::Map(request), Value::Map(response))
}

/// The sections that messages are in.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    pub(super) texts: &'a Dictionary,
    pub(super) heads: &'a [u8],
    pub(super) bodies: &'a [u8],
}

impl Messages<'_> {
    /// The entry with its messages.
    pub(super) fn complete(&self, light: Light) -> Result<Entry, Damage> {
        let mut cursor = Cursor::new(self.heads.get(light.heads..).ok_or("its messages are not there")?);
        let request = self.value(&mut cursor, 0)?;
        let response = self.value(&mut cursor, 0)?;
        Ok(Entry { request, response, ..light.entry })
    }

    fn long(&self, cursor: &mut Cursor<'_>) -> Result<&[u8], Damage> {
        let (start, length) = (cursor.size()?, cursor.size()?);
        let end = start.checked_add(length).ok_or("a length is too large")?;
        self.bodies.get(start..end).ok_or("a body is not there")
    }

    fn value(&self, cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Damage> {
        if depth > MAX_DEPTH {
            return Err("a message is too deep");
        }
        Ok(match cursor.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(cursor.signed()?),
            FLOAT => {
                let bytes = cursor.take(8)?.try_into().map_err(|_| "it ends too early")?;
                Value::Float(f64::from_le_bytes(bytes))
            }
            TEXT => Value::Str(self.texts.text(cursor.number()?)?.into()),
            LONG => {
                let text = std::str::from_utf8(self.long(cursor)?).map_err(|_| "a text is not UTF-8")?;
                Value::Str(text.into())
            }
            BYTES => Value::Bytes(Bytes::copy_from_slice(self.texts.text(cursor.number()?)?.as_bytes())),
            LONG_BYTES => Value::Bytes(Bytes::copy_from_slice(self.long(cursor)?)),
            LIST => {
                let count = self.count(cursor)?;
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.value(cursor, depth + 1)?);
                }
                Value::List(items)
            }
            MAP => {
                let count = self.count(cursor)?;
                let mut map = Map::with_capacity(count);
                for _ in 0..count {
                    let key = self.texts.text(cursor.number()?)?;
                    map.push(key, self.value(cursor, depth + 1)?);
                }
                Value::Map(map)
            }
            _ => return Err("a value is of an unknown kind"),
        })
    }

    /// Items of a list or map, each of which takes a byte at least.
    #[allow(clippy::unused_self, reason = "reads better beside its callers")]
    fn count(&self, cursor: &mut Cursor<'_>) -> Result<usize, Damage> {
        let count = cursor.size()?;
        if count > cursor.len() { Err("a list is longer than its block") } else { Ok(count) }
    }
}
