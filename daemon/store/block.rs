//! A block: up to a thousand consecutive entries, compressed, with a summary to skip it by.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::engine::model::{Entry, EntryId, ProtocolKey, Timestamp};
use crate::runtime::clock;

/// Entries of a full block: decoding one costs a few milliseconds, its summary pays for itself.
pub(super) const BLOCK_ENTRIES: u64 = 1000;
/// Uncompressed bytes at which a block is full even with fewer entries (large bodies).
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// Uncompressed bytes beyond which a block is damaged rather than large: a full block and one
/// entry of the largest size that limits allow, several times over.
const MAX_BLOCK_BYTES: u64 = 256 << 20;
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
    /// Uncompressed bytes.
    pub raw_bytes: u64,
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
            self.min_status = entry.status;
            self.max_status = entry.status;
            self.methods = Some(Vec::new());
        }
        self.entries += 1;
        self.last_seq = entry.seq;
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
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
        self.raw_bytes += later.raw_bytes;
        self.last_seq = later.last_seq;
        self.earliest = self.earliest.min(later.earliest);
        self.latest = self.latest.max(later.latest);
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
fn moment(entry: &Entry) -> Timestamp {
    let timing = &entry.timing;
    [timing.request_start, timing.request_end, timing.response_start, timing.response_end]
        .into_iter()
        .find(|at| *at != Timestamp::ZERO)
        .unwrap_or_else(clock::now)
}

/// A block in the making: encoded entries, their fingerprints and summary.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    raw: Vec<u8>,
    fingerprints: Vec<u32>,
    pub(super) zone: ZoneMap,
}

/// The three values that a block is stored as.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Compressed entries.
    pub(super) block: Vec<u8>,
    /// Summary.
    pub(super) zone: Vec<u8>,
    /// Sorted fingerprints of the entries' ids.
    pub(super) ids: Vec<u8>,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.zone.entries == 0
    }

    /// Uncompressed bytes.
    pub(super) fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// Adds an entry. On an error nothing was added.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let before = self.raw.len();
        if let Err(error) = rmp_serde::encode::write_named(&mut self.raw, entry) {
            self.raw.truncate(before);
            return Err(StoreError::Encode { what: "an entry", reason: error.to_string() });
        }
        self.zone.include(entry);
        self.zone.raw_bytes = self.raw.len() as u64;
        self.fingerprints.push(fingerprint(&entry.id));
        Ok(())
    }

    /// Takes the entries of `later`, which follow its own, and leaves it empty.
    pub(super) fn absorb(&mut self, later: &mut Self) {
        if later.is_empty() {
            return;
        }
        self.raw.append(&mut later.raw);
        self.fingerprints.append(&mut later.fingerprints);
        self.zone.absorb(&later.zone);
        self.zone.raw_bytes = self.raw.len() as u64;
        later.zone = ZoneMap::default();
    }

    pub(super) fn encode(&self) -> Result<Encoded, StoreError> {
        let block = zstd::bulk::compress(&self.raw, ZSTD_LEVEL)
            .map_err(|error| StoreError::Encode { what: "a block", reason: error.to_string() })?;
        let zone = rmp_serde::to_vec_named(&self.zone)
            .map_err(|error| StoreError::Encode { what: "a zone map", reason: error.to_string() })?;
        let mut sorted = self.fingerprints.clone();
        sorted.sort_unstable();
        let ids = sorted.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        Ok(Encoded { block, zone, ids })
    }
}

/// The summary from its stored form.
pub(super) fn decode_zone(bytes: &[u8]) -> Result<ZoneMap, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// The entries of a block, oldest first. Memory is bounded whatever the bytes say.
pub(super) fn decode_block(bytes: &[u8], zone: &ZoneMap) -> Result<Vec<Arc<Entry>>, String> {
    if zone.raw_bytes > MAX_BLOCK_BYTES || zone.entries > zone.raw_bytes {
        return Err(format!("its summary claims {} entries in {} bytes", zone.entries, zone.raw_bytes));
    }
    let raw = zstd::bulk::decompress(bytes, zone.raw_bytes as usize).map_err(|error| error.to_string())?;
    let mut decoder = rmp_serde::Deserializer::from_read_ref(&raw);
    let mut entries = Vec::with_capacity(zone.entries.min(BLOCK_ENTRIES) as usize);
    for _ in 0..zone.entries {
        let entry = Entry::deserialize(&mut decoder).map_err(|error| error.to_string())?;
        entries.push(Arc::new(entry));
    }
    Ok(entries)
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
