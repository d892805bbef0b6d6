//! One delayed dissection: begun, or gone on with after a restart, at its pace.
//!
//! The position of a dissection is the number of its last stored entry. The state of open connections is not
//! stored: to go on, the segments are replayed from the first on, and the entries up to the position are not
//! stored again but compared. Replaying is deterministic, so what follows is what an uninterrupted run would
//! have made; where it is not (another release, other limits), the comparison says so and all is made anew.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use compact_str::format_compact;

use super::dissections::Key;
use super::dissector::file_context;
use super::library::{Library, filter_at};
use super::made::{Counts, Made};
use super::manifest::{Dissection, Snapshot, Stage};
use super::pace::{Pacer, STEP};
use super::{CaptureFile, Dissector, SnapshotError};
use crate::engine::model::Record;
use crate::engine::pcap::Item;
use crate::store::{Store, StoreError};

/// Things that went wrong, kept per dissection.
const MAX_ERRORS: usize = 20;
/// How often it is written down how far it is: what is shown after a restart until it is further again.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// How one attempt ended.
enum Attempt {
    Whole,
    Cancelled,
    /// What was stored before a restart is not what is made now.
    Differs,
}

/// One dissection under way.
pub(super) struct Job<'a> {
    library: &'a Library,
    key: Key,
    snapshot: &'a Snapshot,
    live: Dissection,
    pacer: Pacer,
    noted: Instant,
    /// Packets replayed in this attempt; what is shown does not go back.
    packets: u64,
    bytes: u64,
}

impl<'a> Job<'a> {
    pub(super) fn new(library: &'a Library, key: Key, snapshot: &'a Snapshot, found: Dissection) -> Self {
        let live = Dissection { stage: Stage::Running, ..found };
        let pacer = library.pacer();
        Self { library, key, snapshot, live, pacer, noted: Instant::now(), packets: 0, bytes: 0 }
    }

    /// Makes it, and says how it ended.
    pub(super) fn run(mut self) -> Dissection {
        self.library.dissections.show(self.key, &self.live);
        self.live.stage = match self.dissect() {
            Ok(Attempt::Cancelled) => Stage::Cancelled,
            Ok(_) => {
                self.live.progress = 100;
                Stage::Completed
            }
            Err(error) => {
                self.note(error.to_string());
                Stage::Failed
            }
        };
        self.live
    }

    fn note(&mut self, error: String) {
        if self.live.errors.len() < MAX_ERRORS {
            self.live.errors.push(error);
        }
    }

    fn dissect(&mut self) -> Result<Attempt, SnapshotError> {
        let path = self.library.entries_path(self.key.0, self.key.1);
        if path.exists() {
            match self.library.dissections.store(self.key.0, self.key.1, &path) {
                Ok(store) => match self.attempt(&store)? {
                    Attempt::Differs => {}
                    ended => return Ok(ended),
                },
                Err(SnapshotError::Store(
                    error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. }),
                )) => {
                    tracing::warn!("a dissection is made anew: {error}");
                }
                Err(error) => return Err(error),
            }
            self.begin_anew(&path)?;
        }
        let store = self.library.dissections.store(self.key.0, self.key.1, &path)?;
        self.attempt(&store)
    }

    /// Throws away what is stored of it.
    fn begin_anew(&mut self, path: &std::path::Path) -> Result<(), SnapshotError> {
        tracing::info!(
            dissection = self.live.name,
            "what was stored of a dissection is of no use; it is made anew"
        );
        self.live = Dissection {
            id: self.live.id,
            name: self.live.name.clone(),
            stage: Stage::Running,
            ..Dissection::default()
        };
        self.library.dissections.forget(self.key.0, Some(self.key.1));
        std::fs::remove_dir_all(path).map_err(|error| SnapshotError::Disk { path: path.to_path_buf(), error })
    }

    fn attempt(&mut self, store: &Store) -> Result<Attempt, SnapshotError> {
        // The filter's now() is the moment of the snapshot, whenever it is made.
        let filter = filter_at(&self.snapshot.kfl, self.snapshot.created)?;
        let mut made = Made::new(store, filter, (self.snapshot.from, self.snapshot.to))?;
        self.live.resumed = store.last_seq();
        self.live.max_held = self.library.config.delayed.memory as u64;
        self.live.errors.clear();
        (self.packets, self.bytes) = (0, 0);
        self.library.dissections.show(self.key, &self.live);
        let run = format_compact!("{:x}.{}", self.snapshot.created.millis(), self.key.1);
        let mut dissector = Dissector::new(self.library.limits(), file_context(run));
        let flow = self.replay(&mut dissector, &mut made)?;
        if flow.is_continue() {
            dissector.finish(&mut |entry| made.take(entry));
        }
        for (reason, count) in dissector.losses() {
            self.note(format!("{}: {count} {}", reason.name(), reason.describe()));
        }
        self.live.held = dissector.most_held() as u64;
        made.flush()?;
        if made.differs() {
            return Ok(Attempt::Differs);
        }
        if flow.is_break() {
            self.count(made.counts());
            made.finish_early()?;
            return Ok(Attempt::Cancelled);
        }
        let Some(counts) = made.finish()? else { return Ok(Attempt::Differs) };
        self.count(Some(&counts));
        let trimmed = store.stats().trimmed_entries;
        if trimmed > 0 {
            self.note(format!("the oldest {trimmed} entries were given up to keep the limit of size"));
        }
        Ok(Attempt::Whole)
    }

    /// Replays all segments; breaks when it is cancelled, or when what comes out is not what is stored.
    fn replay(
        &mut self,
        dissector: &mut Dissector,
        made: &mut Made,
    ) -> Result<ControlFlow<()>, SnapshotError> {
        let directory = self.library.directory(self.key.0);
        let mut items = 0;
        for name in &self.snapshot.segments {
            let path = directory.join(name);
            let mut file = CaptureFile::open(&path)?;
            loop {
                let item = match file.next_item() {
                    Ok(Some(item)) => item,
                    Ok(None) => break,
                    Err(error) => {
                        self.note(error.to_string());
                        break;
                    }
                };
                self.packets += u64::from(matches!(item, Item::Record(Record::Packet(_))));
                dissector.item(item, &mut |entry| made.take(entry));
                items += 1;
                if items % STEP == 0 {
                    made.flush()?;
                    if made.differs() || self.pause(dissector, made).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            self.bytes += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is shown does not go back while the way to where it was is gone again.
    fn count(&mut self, counts: Option<&Counts>) {
        self.live.packets = self.live.packets.max(self.packets);
        self.live.bytes = self.live.bytes.max(self.bytes);
        // The end is told by the stage alone.
        let share = self.packets.saturating_mul(100) / self.snapshot.packets.max(1);
        self.live.progress = self.live.progress.max(share.min(99));
        let Some(Counts { entries, protocols, first, last }) = counts else { return };
        self.live.entries = *entries;
        self.live.protocols.clone_from(protocols);
        (self.live.first, self.live.last) = (*first, *last);
    }

    /// Shows how far it is, rests, and sees whether to go on.
    fn pause(&mut self, dissector: &Dissector, made: &Made) -> ControlFlow<()> {
        let dissections = &self.library.dissections;
        if !self.pacer.pause(|| dissections.is_cancelled(self.key)) {
            return ControlFlow::Continue(());
        }
        self.count(made.counts());
        self.live.held = dissector.most_held() as u64;
        dissections.show(self.key, &self.live);
        if self.noted.elapsed() >= NOTE_INTERVAL {
            self.noted = Instant::now();
            self.library.note_dissection(self.key.0, &self.live);
        }
        if dissections.is_cancelled(self.key) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
