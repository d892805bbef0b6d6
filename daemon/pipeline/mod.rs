//! Threads and bounded queues between capture and the sinks.
//!
//! ```text
//!  packet reader --(router)--> shard queue --> shard thread --+
//!                              shard queue --> shard thread --+--> entry queue --> entry thread --> tap
//!  socket reader --> directory, router events                                          |
//!                                                              store thread <-- store queue
//! ```
//!
//! Both sinks hand every record to raw capture as well, before anything else happens to it.
//!
//! Every queue is bounded in bytes and drops the newest work, counted under its reason.
//! Invariant: no parsing, no storage format, no HTTP here; a busy stage never blocks the one before it.

mod entries;
mod late;
mod packets;
mod shards;
mod sockets;
mod storing;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use compact_str::CompactString;
use remora_engine::limits::Limits;
use remora_engine::model::{CaptureSource, Entry, NodeInfo};
use remora_engine::shard::{FlowInfo, ShardContext};

use crate::archive::Feed;
use crate::capture::ReaderWatch;
use crate::resolve::Directory;
use crate::runtime::{Capacity, Depth, Probe, Shutdown};
use crate::store;
use crate::tap::Tap;
use crate::telemetry::{Drops, Metrics};

pub use packets::PacketSink;
pub use sockets::SocketSink;

/// What the pipeline needs to be built.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Dissecting threads, at least one.
    pub shards: usize,
    /// Caps of the engine.
    pub limits: Arc<Limits>,
    /// This node.
    pub node: Arc<NodeInfo>,
    /// Prefix of stream ids, unique per start of the daemon.
    pub run: CompactString,
    /// Whether dissection starts switched on.
    pub dissecting: bool,
    /// Bound of each shard's queue.
    pub shard_queue: Capacity,
    /// Bound of the queue to the entry thread.
    pub entry_queue: Capacity,
    /// Bound of the queue to the store thread.
    pub store_queue: Capacity,
    /// How packets were captured.
    pub source: CaptureSource,
}

/// What the pipeline hands to and asks from.
#[derive(Debug)]
pub struct Sinks {
    /// Names the ends of entries.
    pub directory: Arc<Directory>,
    /// Live subscribers.
    pub tap: Tap,
    /// Persistent entries; `None` when storing is switched off.
    pub store: Option<store::Writer>,
    /// Raw capture: one feed for packets, one for sockets; `None` where it does not run.
    pub raw: [Option<Feed>; 2],
    /// Number of the last entry of earlier runs.
    pub last_seq: u64,
    /// Loss counters.
    pub drops: Arc<Drops>,
    /// Other counters.
    pub metrics: Arc<Metrics>,
}

/// The running pipeline. Dropping the sinks given to capture ends it from the front.
#[derive(Debug)]
pub struct Pipeline {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

/// A way to ask the running pipeline; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shards: Arc<shards::Control>,
    late: Arc<late::Late>,
    socket_events: Arc<OnceLock<ReaderWatch>>,
    queues: Arc<Vec<Probe>>,
}

impl Pipeline {
    /// Starts all threads. Returns the sinks for capture's two reader threads.
    pub fn start(
        config: PipelineConfig,
        sinks: Sinks,
        shutdown: &Shutdown,
    ) -> std::io::Result<(Self, PacketSink, SocketSink)> {
        let mut threads = Vec::new();
        let mut queues: Vec<Probe> = Vec::new();
        let socket_events = Arc::new(OnceLock::new());

        let storing = sinks
            .store
            .map(|writer| storing::spawn(writer, config.store_queue, &mut threads, &mut queues))
            .transpose()?;
        let entry_sender = entries::spawn(
            entries::Parts {
                directory: Arc::clone(&sinks.directory),
                tap: sinks.tap,
                storing,
                last_seq: sinks.last_seq,
                socket_events: Arc::clone(&socket_events),
                drops: Arc::clone(&sinks.drops),
                metrics: Arc::clone(&sinks.metrics),
            },
            config.entry_queue,
            &mut threads,
            &mut queues,
        )?;
        let late = Arc::new(late::Late::new(entry_sender.clone()));
        let context =
            ShardContext { node: Arc::clone(&config.node), run: config.run.clone(), source: config.source };
        let control = shards::spawn(
            shards::Parts {
                count: config.shards.max(1),
                limits: Arc::clone(&config.limits),
                context,
                entries: entry_sender,
                drops: Arc::clone(&sinks.drops),
                dissecting: config.dissecting,
            },
            config.shard_queue,
            &mut threads,
            &mut queues,
        )?;
        let [raw_packets, raw_sockets] = sinks.raw;
        let (packets, events) = PacketSink::new(
            &config.limits,
            control.senders(),
            raw_packets,
            Arc::clone(&sinks.drops),
            sinks.metrics,
        );
        let sockets = SocketSink::new(sinks.directory, events, raw_sockets, sinks.drops, shutdown.clone());
        let handle = Handle { shards: Arc::new(control), late, socket_events, queues: Arc::new(queues) };
        Ok((Self { handle, threads }, packets, sockets))
    }

    /// A handle for the API.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for all threads to drain. Call after capture was stopped and its sinks were dropped.
    ///
    /// Returns false when `deadline` passed first; the threads end with the process then.
    pub fn drain(self, deadline: Duration) -> bool {
        let Self { handle, threads } = self;
        handle.shards.close();
        handle.late.close();
        let end = std::time::Instant::now() + deadline;
        for thread in threads {
            while !thread.is_finished() {
                if std::time::Instant::now() >= end {
                    return false;
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
            // A panic was logged by the thread's own guard; there is nothing to add here.
            drop(thread.join());
        }
        true
    }
}

impl Handle {
    /// Whether entries are being made.
    pub fn is_dissecting(&self) -> bool {
        self.shards.is_dissecting()
    }

    /// Switches dissection; L4 accounting goes on either way.
    pub fn set_dissecting(&self, on: bool) {
        self.shards.set_dissecting(on);
    }

    /// Lets entries wait for what was not read yet of the events that name their processes. Once.
    pub fn watch_socket_events(&self, events: ReaderWatch) {
        // A second capture would have to be another pipeline's.
        let _ = self.socket_events.set(events);
    }

    /// Hands an entry that was made from raw capture to subscribers and store, as soon as live entries
    /// leave room for it. Returns false when the pipeline ends.
    pub fn deliver(&self, entry: Entry) -> bool {
        self.late.deliver(entry)
    }

    /// Whether every shard takes work off its queue within `patience`; for the watchdog. A shard that is
    /// merely busy answers once it gets there; one whose queue is full does not.
    pub fn is_alive(&self, patience: Duration) -> bool {
        self.shards.is_alive(patience)
    }

    /// A view of all live flows. Waits for busy shards up to `patience`, then answers without them.
    pub fn flows(&self, patience: Duration) -> Vec<FlowInfo> {
        self.shards.flows(patience)
    }

    /// The fill of every queue.
    pub fn depths(&self) -> Vec<Depth> {
        self.queues.iter().map(Probe::depth).collect()
    }

    /// The queues, for the metrics.
    pub fn queues(&self) -> &[Probe] {
        &self.queues
    }
}
