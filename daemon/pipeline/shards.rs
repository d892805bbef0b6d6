//! Shard threads: each owns its share of the connections and turns packets into entries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use remora_engine::flow::{RoutedPacket, RoutedTls};
use remora_engine::limits::Limits;
use remora_engine::model::{DropReason, Entry, Timestamp};
use remora_engine::shard::{FlowInfo, Shard, ShardContext, Sink};

use crate::runtime::{self, Capacity, Popped, Probe, Receiver, Sender, clock};
use crate::telemetry::Drops;

/// Packets taken from the queue at once: enough to spread the lock, few enough to stay in cache.
const BATCH: usize = 256;

/// Longest wait for packets when a connection has a deadline to keep.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// Longest wait for packets when nothing is due.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Weight of a request to a shard.
const ASK_WEIGHT: usize = 64;

/// Work for a shard. Nearly all of it is packets, so boxing the large variant would cost an allocation
/// per packet to save memory for a few requests.
#[derive(Debug)]
pub(super) enum ShardInput {
    /// A packet of one of its connections.
    Packet(RoutedPacket),
    /// Plaintext of one of its connections.
    Tls(RoutedTls),
    /// Switch dissection.
    Dissecting(bool),
    /// Show that the thread makes progress.
    Ping(mpsc::SyncSender<()>),
    /// Send a view of all flows.
    Flows(mpsc::SyncSender<Vec<FlowInfo>>),
}

/// What shard threads need.
pub(super) struct Parts {
    pub(super) count: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) context: ShardContext,
    pub(super) entries: Sender<Entry>,
    pub(super) drops: Arc<Drops>,
    pub(super) dissecting: bool,
}

/// The shards' inboxes, for everybody but the packet reader.
#[derive(Debug)]
pub(super) struct Control {
    senders: Mutex<Vec<Sender<ShardInput>>>,
    dissecting: AtomicBool,
}

impl Control {
    pub(super) fn senders(&self) -> Vec<Sender<ShardInput>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the inboxes, so that shards end once the packet reader is gone too.
    pub(super) fn close(&self) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn is_dissecting(&self) -> bool {
        self.dissecting.load(Ordering::Relaxed)
    }

    pub(super) fn set_dissecting(&self, on: bool) {
        self.dissecting.store(on, Ordering::Relaxed);
        for sender in self.senders() {
            // A full queue means a busy shard, which reads the flag itself when it has caught up.
            let _ = sender.push(ShardInput::Dissecting(on), ASK_WEIGHT);
        }
    }

    /// Whether every shard takes work off its queue within `patience`.
    pub(super) fn is_alive(&self, patience: Duration) -> bool {
        let senders = self.senders();
        let (sender, receiver) = mpsc::sync_channel(senders.len().max(1));
        for shard in &senders {
            // A full queue is answered later, or not at all, which is what is asked here.
            let _ = shard.push(ShardInput::Ping(sender.clone()), ASK_WEIGHT);
        }
        let end = Instant::now() + patience;
        senders.iter().all(|_| receiver.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok())
    }

    pub(super) fn flows(&self, patience: Duration) -> Vec<FlowInfo> {
        let senders = self.senders();
        let (sender, receiver) = mpsc::sync_channel(senders.len().max(1));
        let asked = senders
            .iter()
            .filter(|shard| shard.push(ShardInput::Flows(sender.clone()), ASK_WEIGHT).is_ok())
            .count();
        drop(sender);
        let end = Instant::now() + patience;
        let mut flows = Vec::new();
        for _ in 0..asked {
            match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(part) => flows.extend(part),
                Err(_) => break,
            }
        }
        flows
    }
}

/// Starts the shard threads.
pub(super) fn spawn(
    parts: Parts,
    capacity: Capacity,
    threads: &mut Vec<JoinHandle<()>>,
    queues: &mut Vec<Probe>,
) -> std::io::Result<Control> {
    let mut senders = Vec::with_capacity(parts.count);
    for index in 0..parts.count {
        let (sender, receiver) = runtime::queue("shard", capacity);
        queues.push(sender.probe());
        let mut shard = Shard::new(Arc::clone(&parts.limits), parts.context.clone());
        shard.set_dissecting(parts.dissecting);
        let worker = Worker {
            shard,
            inbox: receiver,
            out: EntrySink::new(parts.entries.clone(), Arc::clone(&parts.drops)),
        };
        threads.push(runtime::spawn_thread(&format!("shard-{index}"), move || worker.run())?);
        senders.push(sender);
    }
    Ok(Control { senders: Mutex::new(senders), dissecting: AtomicBool::new(parts.dissecting) })
}

struct Worker {
    shard: Shard,
    inbox: Receiver<ShardInput>,
    out: EntrySink,
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = if self.shard.next_deadline().is_some() { BUSY_WAIT } else { IDLE_WAIT };
            let popped = self.inbox.pop_batch(&mut batch, BATCH, wait);
            let mut latest = Timestamp::ZERO;
            for input in batch.drain(..) {
                match input {
                    ShardInput::Packet(packet) => {
                        latest = packet.packet.at;
                        self.shard.packet(packet, &mut self.out);
                    }
                    ShardInput::Tls(routed) => self.shard.tls(routed, &mut self.out),
                    ShardInput::Ping(reply) => drop(reply.try_send(())),
                    ShardInput::Dissecting(on) => self.shard.set_dissecting(on),
                    // Whoever asked may have stopped waiting.
                    ShardInput::Flows(reply) => drop(reply.try_send(self.shard.flows())),
                }
            }
            // Deadlines follow the packets' clock while a backlog is worked off, so that lateness of
            // this thread is not mistaken for silence on the wire.
            let caught_up = !matches!(popped, Popped::Items) || self.inbox.depth().items == 0;
            let now = if caught_up { clock::now() } else { latest };
            if now != Timestamp::ZERO {
                self.shard.advance(now, &mut self.out);
            }
            self.out.flush();
            if matches!(popped, Popped::Closed) {
                break;
            }
        }
        self.shard.finish(clock::now(), &mut self.out);
        self.out.flush();
    }
}

/// Collects a batch of entries for the entry thread.
struct EntrySink {
    entries: Sender<Entry>,
    batch: Vec<(Entry, usize)>,
    drops: Arc<Drops>,
}

impl EntrySink {
    fn new(entries: Sender<Entry>, drops: Arc<Drops>) -> Self {
        Self { entries, batch: Vec::with_capacity(BATCH), drops }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let dropped = self.entries.push_all(&mut self.batch);
            self.drops.count(DropReason::EntryQueueFull, dropped as u64);
        }
    }
}

impl Sink for EntrySink {
    fn entry(&mut self, entry: Entry) {
        let weight = entry.weight();
        self.batch.push((entry, weight));
    }

    fn loss(&mut self, reason: DropReason, count: u64) {
        self.drops.count(reason, count);
    }
}
