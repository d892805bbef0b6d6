//! The entry thread: names both ends, numbers entries, hands them to subscribers and the store.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use remora_engine::model::{DropReason, Entry};

use crate::capture::ReaderWatch;
use crate::resolve::Directory;
use crate::runtime::{self, Capacity, Popped, Probe, Receiver, Sender};
use crate::tap::Tap;
use crate::telemetry::{Drops, Metric, Metrics};

/// Entries taken at once.
const BATCH: usize = 512;

/// Longest sleep without entries.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// How often an entry looks for the owner of its sockets. Socket events travel through their own
/// ring; the reader is woken within a millisecond or two, so this is rarely used up. Looks are counted and not time:
/// when the whole machine stood still, the reader still needs its turn.
const OWNER_LOOKS: u32 = 10;

/// How often it looks in all for a reader that did not get to run, as long as few other entries wait behind.
const READER_LOOKS: u32 = 1000;

/// Between two looks.
const OWNER_STEP: Duration = Duration::from_millis(1);

/// What the entry thread needs.
pub(super) struct Parts {
    pub(super) directory: Arc<Directory>,
    pub(super) tap: Tap,
    pub(super) storing: Option<Sender<Arc<Entry>>>,
    pub(super) last_seq: u64,
    /// How far socket events are read; empty as long as nobody does.
    pub(super) socket_events: Arc<OnceLock<ReaderWatch>>,
    pub(super) drops: Arc<Drops>,
    pub(super) metrics: Arc<Metrics>,
}

/// Starts the thread.
pub(super) fn spawn(
    parts: Parts,
    capacity: Capacity,
    threads: &mut Vec<JoinHandle<()>>,
    queues: &mut Vec<Probe>,
) -> std::io::Result<Sender<Entry>> {
    let (sender, inbox) = runtime::queue("entries", capacity);
    queues.push(sender.probe());
    threads.push(runtime::spawn_thread("entries", move || Worker { parts, inbox }.run())?);
    Ok(sender)
}

struct Worker {
    parts: Parts,
    inbox: Receiver<Entry>,
}

impl Worker {
    fn run(mut self) {
        let mut batch: Vec<Entry> = Vec::with_capacity(BATCH);
        loop {
            let popped = self.inbox.pop_batch(&mut batch, BATCH, IDLE_WAIT);
            if !batch.is_empty() {
                self.handle(&mut batch);
            }
            if matches!(popped, Popped::Closed) {
                break;
            }
        }
    }

    fn handle(&mut self, batch: &mut Vec<Entry>) {
        self.wait_for_owners(batch);
        let entries: Vec<Arc<Entry>> = batch
            .drain(..)
            .map(|mut entry| {
                self.parts.directory.name_entry(&mut entry);
                self.parts.last_seq += 1;
                entry.seq = self.parts.last_seq;
                Arc::new(entry)
            })
            .collect();
        self.parts.metrics.add(Metric::PipelineEntries, entries.len() as u64);
        self.parts.tap.publish(&entries);
        if let Some(store) = &self.parts.storing {
            // History has each call once: an open one is stored when it is over.
            let mut weighed: Vec<_> = entries
                .into_iter()
                .filter(|entry| !entry.is_open())
                .map(|entry| {
                    let weight = entry.weight();
                    (entry, weight)
                })
                .collect();
            let dropped = store.push_all(&mut weighed);
            self.parts.drops.count(DropReason::StoreQueueFull, dropped as u64);
        }
    }

    /// Gives the socket reader a moment to name the sockets of this batch. One wait serves the whole
    /// batch, and a busy system has long batches, so the cost per entry stays small.
    fn wait_for_owners(&self, batch: &[Entry]) {
        let mut mark = None;
        for look in 1..=READER_LOOKS {
            if batch.iter().all(|entry| self.is_settled(entry)) {
                return;
            }
            if look >= OWNER_LOOKS {
                // On a busy host the reader may be late; what it has read tells more than any time does.
                let Some(events) = self.parts.socket_events.get() else { return };
                let mark = *mark.get_or_insert_with(|| events.mark());
                let is_pressed = self.inbox.depth().items >= BATCH;
                if events.has_reached(mark) || is_pressed {
                    return;
                }
            }
            std::thread::park_timeout(OWNER_STEP);
        }
    }

    fn is_settled(&self, entry: &Entry) -> bool {
        [&entry.src, &entry.dst].iter().all(|peer| {
            !peer.socket.is_known() || peer.process.is_some() || self.parts.directory.is_settled(peer.socket)
        })
    }
}
