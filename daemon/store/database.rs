//! The database file: opening, schema, and what all handles share.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase as _,
    ReadableTable as _, StorageError, TableDefinition, WriteTransaction,
};

use super::reader::Reader;
use super::tail::Tail;
use super::tokens::Tokens;
use super::trim::{Blocks, Stored, charge};
use super::writer::Writer;
use super::{StoreConfig, StoreError, block};
use crate::engine::model::Timestamp;
use crate::telemetry::Metrics;

/// Version of the layout in FORMAT.md.
pub(super) const SCHEMA: u64 = 2;
/// File name inside the store's directory.
const FILE: &str = "remora.redb";
/// redb's page cache. Its default of 1 GiB would break the daemon's memory budget; scans read
/// each block once, so a larger cache would not help them.
const CACHE_BYTES: usize = 16 << 20;
/// Added to the last `seq` after a crash: entries that were numbered and shown but never committed
/// must not share a number with later ones. Exact in JSON for nine million crashes.
pub(super) const SEQ_JUMP: u64 = 1_000_000_000;

/// Facts about the file.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// First `seq` -> long texts and bytes of messages, compressed.
pub(super) const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entry_bodies");
/// First `seq` -> everything else of the entries, compressed.
pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entry_blocks");
/// First `seq` -> summary.
pub(super) const ZONES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entry_zones");
/// First `seq` -> sorted fingerprints of ids.
pub(super) const IDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entry_ids");
/// Token id -> token.
pub(super) const TOKENS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tokens");
/// Setting -> value.
pub(super) const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");
/// Snapshot id -> document.
pub(super) const SNAPSHOTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshots");

pub(super) const META_SCHEMA: &str = "schema";
pub(super) const META_LAST_SEQ: &str = "last_seq";
/// 1 while a writer is at work; 0 after an orderly end.
pub(super) const META_DIRTY: &str = "dirty";

/// Opens the database; called again after a disk failure. A seam for tests with failing disks.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// A view of the store's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries that can be read, those not yet committed included.
    pub entries: u64,
    /// Stored blocks.
    pub blocks: u64,
    /// Bytes that they occupy in the file.
    pub live_bytes: u64,
    /// Bytes of disk that the file occupies; its length may be twice that, with holes.
    pub file_bytes: u64,
    /// Limit of the file's size.
    pub max_bytes: u64,
    /// Smallest stored `seq`; 0 when nothing is stored.
    pub first_seq: u64,
    /// Largest `seq` ever taken.
    pub last_seq: u64,
    /// Largest `seq` that a crash cannot take away any more.
    pub committed_seq: u64,
    /// Moment of the oldest stored call; zero when nothing is stored.
    pub oldest: Timestamp,
    /// Moment of the newest stored call; zero when nothing is stored.
    pub newest: Timestamp,
    /// Entries removed by the limits since the daemon started.
    pub trimmed_entries: u64,
    /// Blocks that could not be decoded since the daemon started.
    pub damaged_blocks: u64,
    /// Why entries are not being stored, while they are not.
    pub degraded: Option<String>,
}

/// What store, writer and readers share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) opener: Opener,
    // Empty while a failed database waits to be opened again.
    database: ArcSwapOption<Database>,
    pub(super) config: Mutex<StoreConfig>,
    pub(super) tail: Tail,
    pub(super) tokens: Tokens,
    pub(super) blocks: Mutex<Blocks>,
    pub(super) last_seq: AtomicU64,
    pub(super) committed_seq: AtomicU64,
    pub(super) trimmed: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) degraded: ArcSwapOption<String>,
    pub(super) writer_taken: AtomicBool,
    /// Threads that help with searches now.
    pub(super) helpers: AtomicUsize,
}

impl Shared {
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.current()?.begin_read().map_err(StoreError::failed("begin reading"))
    }

    /// A durable transaction; `quick_repair` makes the next start after a crash immediate.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let mut txn = self.current()?.begin_write().map_err(StoreError::failed("begin writing"))?;
        txn.set_durability(Durability::Immediate).map_err(StoreError::failed("begin writing"))?;
        txn.set_quick_repair(true);
        Ok(txn)
    }

    fn current(&self) -> Result<Arc<Database>, StoreError> {
        self.database.load_full().ok_or_else(|| {
            let reason = self.degraded.load_full();
            let reason = reason.map_or_else(|| "it is closed".to_owned(), |text| text.as_ref().clone());
            StoreError::Unavailable { reason }
        })
    }

    /// Closes a failed database and opens it anew; the list of blocks is read again, because a
    /// failed commit may or may not have taken effect.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        self.database.store(None);
        let database = open_database(&self.path, &self.opener)?;
        let opened = Opened::read(&database, &self.path, self.config().remade)?;
        *self.lock_blocks() = opened.blocks;
        self.database.store(Some(Arc::new(database)));
        Ok(())
    }

    // Poisoning leaves sums that are at worst stale: nothing panics under these locks.
    pub(super) fn lock_blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config(&self) -> StoreConfig {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_degraded(&self, reason: Option<String>) {
        self.degraded.store(reason.map(Arc::new));
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            entries: self.tail.len(),
            file_bytes: disk_bytes(&self.path),
            max_bytes: self.config().max_bytes,
            last_seq: self.last_seq.load(Ordering::Acquire),
            committed_seq: self.committed_seq.load(Ordering::Acquire),
            trimmed_entries: self.trimmed.load(Ordering::Relaxed),
            damaged_blocks: self.damaged.load(Ordering::Relaxed),
            degraded: self.degraded.load_full().map(|text| text.as_ref().clone()),
            ..Stats::default()
        };
        let blocks = self.lock_blocks();
        stats.entries += blocks.entries;
        stats.blocks = blocks.len() as u64;
        stats.live_bytes = blocks.bytes;
        stats.first_seq = blocks.oldest().map_or(0, |block| block.first_seq);
        stats.oldest = blocks.oldest().map_or(Timestamp::ZERO, |block| block.earliest);
        stats.newest = blocks.newest().map_or(Timestamp::ZERO, |block| block.latest);
        stats
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A handle of the store; clones share it. Tokens and settings are reached through it directly,
/// entries through its [`Writer`] and [`Reader`]s.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

impl Store {
    /// Opens the store in `directory`, which is made (mode 0700) if it is not there, and keeps it
    /// locked until the last handle is gone. After a crash the file is repaired at once.
    pub fn open(directory: &Path, config: StoreConfig) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let failed = |source| StoreError::Open { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        // Made here and not by redb, so that entries and token hashes are never readable by others.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600))).map_err(failed)?;
        let file = path.clone();
        let opener: Opener = Box::new(move || Database::builder().set_cache_size(CACHE_BYTES).create(&file));
        Self::open_with(path, opener, config)
    }

    pub(super) fn open_with(path: PathBuf, opener: Opener, config: StoreConfig) -> Result<Self, StoreError> {
        let mut database = open_database(&path, &opener)?;
        prepare(&database, &path)?;
        let opened = Opened::read(&database, &path, config.remade)?;
        shrink(&mut database, &path, &opened, &config);
        let shared = Shared {
            path,
            opener,
            database: ArcSwapOption::from_pointee(database),
            config: Mutex::new(config),
            tail: Tail::default(),
            tokens: Tokens::new(opened.tokens),
            blocks: Mutex::new(opened.blocks),
            last_seq: AtomicU64::new(opened.last_seq),
            committed_seq: AtomicU64::new(opened.last_seq),
            trimmed: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            degraded: ArcSwapOption::empty(),
            writer_taken: AtomicBool::new(false),
            helpers: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The one writer. What it cannot store it counts in `metrics`.
    pub fn writer(&self, metrics: Arc<Metrics>) -> Result<Writer, StoreError> {
        if self.shared.writer_taken.swap(true, Ordering::AcqRel) {
            return Err(StoreError::WriterTaken);
        }
        Writer::start(Arc::clone(&self.shared), metrics)
    }

    /// A reader; cheap, as many as wanted.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The largest `seq` ever taken: number new entries from the next one on.
    pub fn last_seq(&self) -> u64 {
        self.shared.last_seq.load(Ordering::Acquire)
    }

    /// New limits, as a configuration reload brings them; kept from the next commit on.
    pub fn set_limits(&self, config: StoreConfig) {
        *self.shared.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The present state.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

/// Opens redb and says clearly what is wrong. A damaged file may make redb panic, which is caught.
fn open_database(path: &Path, opener: &Opener) -> Result<Database, StoreError> {
    let opened = catch_unwind(AssertUnwindSafe(opener)).map_err(|_panic| StoreError::Corrupt {
        path: path.to_owned(),
        reason: "it cannot be interpreted".to_owned(),
    })?;
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked { path: path.to_owned() }
        }
        DatabaseError::UpgradeRequired(version) => StoreError::Corrupt {
            path: path.to_owned(),
            reason: format!("redb file format {version} is not supported"),
        },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            StoreError::Corrupt { path: path.to_owned(), reason }
        }
        // redb reports a file that is no database of its own as invalid data.
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            StoreError::Corrupt { path: path.to_owned(), reason: error.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) => {
            StoreError::Open { path: path.to_owned(), source }
        }
        other => StoreError::Failed { operation: "open the database", source: Box::new(other.into()) },
    })
}

/// Makes the tables of a new file; checks the schema of an old one and refuses a newer one before
/// anything is written.
fn prepare(database: &Database, path: &Path) -> Result<(), StoreError> {
    let failed = "prepare the tables";
    let read = database.begin_read().map_err(StoreError::failed(failed))?;
    let found = match read.open_table(META) {
        Ok(meta) => meta.get(META_SCHEMA).map_err(StoreError::failed(failed))?.map(|schema| schema.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(StoreError::failed(failed)(error)),
    };
    drop(read);
    match found {
        Some(SCHEMA) => return Ok(()),
        Some(found) if found > SCHEMA => {
            return Err(StoreError::Newer { path: path.to_owned(), found, supported: SCHEMA });
        }
        Some(found) => {
            let reason = format!("schema {found} was never released");
            return Err(StoreError::Corrupt { path: path.to_owned(), reason });
        }
        None => {}
    }
    let txn = database.begin_write().map_err(StoreError::failed(failed))?;
    {
        let mut meta = txn.open_table(META).map_err(StoreError::failed(failed))?;
        meta.insert(META_SCHEMA, SCHEMA).map_err(StoreError::failed(failed))?;
        for table in [BLOCKS, BODIES, ZONES, IDS, TOKENS] {
            txn.open_table(table).map_err(StoreError::failed(failed))?;
        }
        txn.open_table(SNAPSHOTS).map_err(StoreError::failed(failed))?;
        txn.open_table(SETTINGS).map_err(StoreError::failed(failed))?;
    }
    txn.commit().map_err(StoreError::failed(failed))
}

/// Bytes of disk behind a file. Not its length: redb doubles that when it grows, and what it has not
/// written yet is a hole.
fn disk_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

/// What is read once when the file is opened.
struct Opened {
    blocks: Blocks,
    last_seq: u64,
    tokens: Vec<super::TokenInfo>,
}

impl Opened {
    fn read(database: &Database, path: &Path, remade: bool) -> Result<Self, StoreError> {
        let failed = "read the list of blocks";
        let txn = database.begin_read().map_err(StoreError::failed(failed))?;
        let meta = txn.open_table(META).map_err(StoreError::failed(failed))?;
        let number = |key| -> Result<u64, StoreError> {
            let value = meta.get(key).map_err(StoreError::failed(failed))?;
            Ok(value.map_or(0, |value| value.value()))
        };
        let mut last_seq = number(META_LAST_SEQ)?;
        if number(META_DIRTY)? != 0 && !remade {
            last_seq = last_seq.saturating_add(SEQ_JUMP);
        }
        let blocks = Self::read_blocks(&txn, path)?;
        let tokens = super::tokens::read_all(&txn, path)?;
        Ok(Self { blocks, last_seq, tokens })
    }

    fn read_blocks(txn: &ReadTransaction, path: &Path) -> Result<Blocks, StoreError> {
        let failed = "read the list of blocks";
        let zones = txn.open_table(ZONES).map_err(StoreError::failed(failed))?;
        let stored = txn.open_table(BLOCKS).map_err(StoreError::failed(failed))?;
        let bodies = txn.open_table(BODIES).map_err(StoreError::failed(failed))?;
        let mut blocks = Blocks::default();
        for row in zones.iter().map_err(StoreError::failed(failed))? {
            let (key, bytes) = row.map_err(StoreError::failed(failed))?;
            let zone = block::decode_zone(bytes.value()).map_err(|reason| StoreError::Corrupt {
                path: path.to_owned(),
                reason: format!("summary of block {}: {reason}", key.value()),
            })?;
            let length = |table: &ReadOnlyTable<u64, &'static [u8]>| {
                let value = table.get(key.value()).map_err(StoreError::failed(failed))?;
                Ok(value.map_or(0, |value| value.value().len() as u64))
            };
            let lengths = [length(&stored)?, length(&bodies)?, bytes.value().len() as u64, zone.entries * 4];
            let bytes = charge(lengths);
            blocks.push(Stored::new(&zone, bytes));
        }
        Ok(blocks)
    }
}

/// Gives disk space back when the limit was lowered far below the file's size. Only at the start:
/// redb cannot compact while anyone reads. The writer trims first, so this may take two starts.
fn shrink(database: &mut Database, path: &Path, opened: &Opened, config: &StoreConfig) {
    let file_bytes = disk_bytes(path);
    if file_bytes <= config.max_bytes || opened.blocks.bytes > file_bytes / 2 {
        return;
    }
    match database.compact() {
        Ok(_) => tracing::info!(path = %path.display(), "compacted the store to keep its size limit"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "the store could not be compacted"),
    }
}
