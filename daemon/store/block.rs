//! A block: up to a thousand consecutive entries, compressed, with a summary to skip it by.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::bytes::{Cursor, Dictionary, put_bytes, put_number};
use super::codec::{self, Light, Messages, Rows};
use crate::engine::model::{Entry, EntryId, ProtocolKey, Timestamp, Value};
use crate::runtime::clock;

/// Entries of a full block: decoding one costs a few milliseconds, its summary pays for itself.
pub(super) const BLOCK_ENTRIES: u64 = 1000;
/// Uncompressed bytes at which a block is full even with fewer entries (large bodies).
pub(super) const BLOCK_BYTES: usize = 2 << 20;
/// Uncompressed bytes beyond which a section is damaged rather than large: a full block and one
/// entry of the largest size that limits allow, several times over.
const MAX_SECTION_BYTES: usize = 256 << 20;
/// What an entry counts beside its messages.
const ENTRY_BYTES: usize = 256;
/// zstd level: 1 halves the time of 3 and costs a tenth more space on JSON-like entries.
const ZSTD_LEVEL: i32 = 1;
/// Different methods listed in a summary; a block with more says nothing of methods.
const MAX_METHODS: usize = 32;

/// What a reader knows of a block without decoding it. Bounds are inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneMap {
    /// Smallest `seq`; the block's key.
    pub first_seq: u64,
    /// Largest `seq`.
    pub last_seq: u64,
    /// Number of entries.
    pub entries: u64,
    /// Earliest start of a request; zero when one was not seen.
    pub min_start: Timestamp,
    /// Latest start of a request.
    pub max_start: Timestamp,
    /// Smallest port that was asked.
    pub min_port: u16,
    /// Largest port that was asked.
    pub max_port: u16,
    /// Earliest moment of a call.
    pub earliest: Timestamp,
    /// Latest moment of a call.
    pub latest: Timestamp,
    /// Protocols that occur.
    pub protocols: Vec<ProtocolKey>,
    /// Methods that occur; `None` when there were too many to list.
    pub methods: Option<Vec<String>>,
    /// Smallest status.
    pub min_status: i64,
    /// Largest status.
    pub max_status: i64,
    /// Longest call, ns.
    pub max_elapsed: u64,
    /// Entries with an error.
    pub errors: u64,
    /// Entries that were decrypted.
    pub decrypted: u64,
}

impl ZoneMap {
    fn include(&mut self, entry: &Entry) {
        let at = moment(entry);
        if self.entries == 0 {
            self.first_seq = entry.seq;
            self.earliest = at;
            self.min_start = entry.timing.began();
            self.min_port = entry.dst.addr.port;
            self.min_status = entry.status;
            self.max_status = entry.status;
            self.methods = Some(Vec::new());
        }
        self.entries += 1;
        self.last_seq = entry.seq;
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
        self.min_start = self.min_start.min(entry.timing.began());
        self.max_start = self.max_start.max(entry.timing.began());
        self.min_port = self.min_port.min(entry.dst.addr.port);
        self.max_port = self.max_port.max(entry.dst.addr.port);
        self.min_status = self.min_status.min(entry.status);
        self.max_status = self.max_status.max(entry.status);
        self.max_elapsed = self.max_elapsed.max(entry.timing.elapsed());
        self.errors += u64::from(entry.error.is_some());
        self.decrypted += u64::from(entry.tls);
        if !self.protocols.contains(&entry.protocol) {
            self.protocols.push(entry.protocol.clone());
        }
        self.include_method(&entry.method);
    }

    fn include_method(&mut self, method: &str) {
        let Some(methods) = &mut self.methods else { return };
        if methods.iter().any(|known| known == method) {
            return;
        }
        if methods.len() < MAX_METHODS {
            methods.push(method.to_owned());
        } else {
            self.methods = None;
        }
    }

    fn absorb(&mut self, later: &Self) {
        if self.entries == 0 {
            *self = later.clone();
            return;
        }
        self.entries += later.entries;
        self.last_seq = later.last_seq;
        self.earliest = self.earliest.min(later.earliest);
        self.latest = self.latest.max(later.latest);
        self.min_start = self.min_start.min(later.min_start);
        self.max_start = self.max_start.max(later.max_start);
        self.min_port = self.min_port.min(later.min_port);
        self.max_port = self.max_port.max(later.max_port);
        self.min_status = self.min_status.min(later.min_status);
        self.max_status = self.max_status.max(later.max_status);
        self.max_elapsed = self.max_elapsed.max(later.max_elapsed);
        self.errors += later.errors;
        self.decrypted += later.decrypted;
        for protocol in &later.protocols {
            if !self.protocols.contains(protocol) {
                self.protocols.push(protocol.clone());
            }
        }
        match &later.methods {
            Some(methods) => methods.iter().for_each(|method| self.include_method(method)),
            None => self.methods = None,
        }
    }
}

/// When a call happened as far as age limits are concerned.
pub(super) fn moment(entry: &Entry) -> Timestamp {
    Some(entry.timing.began()).filter(|at| *at != Timestamp::ZERO).unwrap_or_else(clock::now)
}

/// A block in the making: its entries, their fingerprints and summary.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    entries: Vec<Arc<Entry>>,
    bytes: usize,
    fingerprints: Vec<u32>,
    pub(super) zone: ZoneMap,
}

/// The four values that a block is stored as.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Everything but bodies.
    pub(super) block: Vec<u8>,
    /// Bodies.
    pub(super) bodies: Vec<u8>,
    /// Summary.
    pub(super) zone: Vec<u8>,
    /// Sorted fingerprints of the entries' ids.
    pub(super) ids: Vec<u8>,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.zone.entries == 0
    }

    /// About the bytes that its entries take, before they are compressed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an entry. On an error nothing was added.
    pub(super) fn push(&mut self, entry: &Arc<Entry>) -> Result<(), StoreError> {
        let size = ENTRY_BYTES + size_of_value(&entry.request)? + size_of_value(&entry.response)?;
        self.bytes += size;
        self.zone.include(entry);
        self.fingerprints.push(fingerprint(&entry.id));
        self.entries.push(Arc::clone(entry));
        Ok(())
    }

    /// Takes the entries of `later`, which follow its own, and leaves it empty.
    pub(super) fn absorb(&mut self, later: &mut Self) {
        if later.is_empty() {
            return;
        }
        self.entries.append(&mut later.entries);
        self.fingerprints.append(&mut later.fingerprints);
        self.bytes += std::mem::take(&mut later.bytes);
        self.zone.absorb(&later.zone);
        later.zone = ZoneMap::default();
    }

    pub(super) fn encode(&self) -> Result<Encoded, StoreError> {
        let sections =
            codec::write(&self.entries).map_err(|reason| StoreError::Encode { what: "a block", reason })?;
        let mut block = Vec::new();
        for section in [&sections.texts, &sections.light, &sections.heads] {
            put_section(&mut block, section)?;
        }
        let mut bodies = Vec::new();
        put_section(&mut bodies, &sections.bodies)?;
        let zone = rmp_serde::to_vec_named(&self.zone)
            .map_err(|error| StoreError::Encode { what: "a zone map", reason: error.to_string() })?;
        let mut sorted = self.fingerprints.clone();
        sorted.sort_unstable();
        let ids = sorted.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        Ok(Encoded { block, bodies, zone, ids })
    }
}

/// About the bytes of a message tree; an error when it is deeper than a block takes.
fn size_of_value(value: &Value) -> Result<usize, StoreError> {
    let mut open = vec![(value, 0)];
    let mut size = 0;
    while let Some((value, depth)) = open.pop() {
        if depth > codec::MAX_DEPTH {
            let reason = format!("its message has more than {} levels", codec::MAX_DEPTH);
            return Err(StoreError::Encode { what: "an entry", reason });
        }
        size += match value {
            Value::Str(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => {
                open.extend(items.iter().map(|item| (item, depth + 1)));
                items.len()
            }
            Value::Map(map) => {
                open.extend(map.0.iter().map(|(_, item)| (item, depth + 1)));
                map.iter().map(|(key, _)| key.len() + 2).sum()
            }
            _ => 2,
        };
    }
    Ok(size)
}

/// Length, compressed length, zstd frame.
fn put_section(out: &mut Vec<u8>, section: &[u8]) -> Result<(), StoreError> {
    let frame = zstd::bulk::compress(section, ZSTD_LEVEL)
        .map_err(|error| StoreError::Encode { what: "a block", reason: error.to_string() })?;
    put_number(out, section.len() as u64);
    put_bytes(out, &frame);
    Ok(())
}

/// Decompresses the section at the cursor. Memory is bounded whatever the bytes say.
fn section(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, String> {
    let length = cursor.size()?;
    if length > MAX_SECTION_BYTES {
        return Err(format!("it claims a section of {length} bytes"));
    }
    let frame = cursor.prefixed()?;
    let bytes = zstd::bulk::decompress(frame, length).map_err(|error| error.to_string())?;
    if bytes.len() == length { Ok(bytes) } else { Err("a section has a wrong length".to_owned()) }
}

/// The summary from its stored form.
pub(super) fn decode_zone(bytes: &[u8]) -> Result<ZoneMap, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// A block that is opened step by step, each only when it is needed.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) texts: Dictionary,
    rest: Cursor<'a>,
}

impl<'a> Block<'a> {
    /// Reads the texts.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = Cursor::new(bytes);
        let texts = Dictionary::read(section(&mut rest)?)?;
        Ok(Self { texts, rest })
    }

    /// The entries without their messages, oldest first.
    pub(super) fn light(&mut self, count: u64, stubs: bool) -> Result<Vec<Light>, String> {
        let light = section(&mut self.rest)?;
        Ok(Rows::read(&light, &self.texts, count, stubs)?)
    }

    /// The message trees, after [`Self::light`].
    pub(super) fn heads(&mut self) -> Result<Vec<u8>, String> {
        section(&mut self.rest)
    }
}

/// The bodies of a block.
pub(super) fn decode_bodies(bytes: &[u8]) -> Result<Vec<u8>, String> {
    section(&mut Cursor::new(bytes))
}

/// All entries of a block, oldest first.
pub(super) fn decode_block(bytes: &[u8], bodies: &[u8], count: u64) -> Result<Vec<Arc<Entry>>, String> {
    let mut block = Block::open(bytes)?;
    let light = block.light(count, false)?;
    let (heads, bodies) = (block.heads()?, decode_bodies(bodies)?);
    let messages = Messages { texts: &block.texts, heads: &heads, bodies: &bodies };
    light.into_iter().map(|light| Ok(Arc::new(messages.complete(light)?))).collect()
}

/// A 32-bit hash of an id (FNV-1a, folded): tells which blocks cannot have it.
pub(super) fn fingerprint(id: &EntryId) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let index = id.index.to_le_bytes();
    for byte in id.stream.bytes().chain(index) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)) as u32
}

/// Whether sorted fingerprints in stored form contain one.
pub(super) fn has_fingerprint(ids: &[u8], wanted: u32) -> bool {
    let (sorted, _) = ids.as_chunks::<4>();
    sorted.binary_search_by_key(&wanted, |bytes| u32::from_le_bytes(*bytes)).is_ok()
}
