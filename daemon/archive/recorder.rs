//! The recorder thread, what feeds it, and what asks it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::{Disk, Folder};
use super::held_back::HeldBack;
use super::log::{Log, Origin, Refused};
use super::{ArchiveConfig, ArchiveError, Identities, RawStatus, Segment, State};
use crate::engine::model::{CaptureSource, DropReason, Loss, NodeInfo, Record, Timestamp, TlsEvent};
use crate::runtime::{self, Capacity, Popped, Probe, Receiver, Sender, clock};
use crate::telemetry::Drops;

/// Records that wait for the disk. A disk that pauses for a second at 500 Mbit/s costs nothing, and the
/// packets of a full ring, which a reader that had to wait for a core hands over at once, fit twice.
const QUEUE: Capacity = Capacity { bytes: 64 << 20, items: 262_144 };
/// Records taken at once.
const BATCH: usize = 1024;
/// Longest sleep: written, synced and sealed by time.
const TICK: Duration = Duration::from_millis(500);
/// Time between two attempts after the disk refused.
const RETRY: Duration = Duration::from_secs(5);
/// Silence of the thread while records wait that is called a stall.
const STALL: Duration = Duration::from_secs(15);
/// Bytes that a record costs beyond its payload.
const OVERHEAD: usize = 160;
/// Weight of a request.
const ASK_WEIGHT: usize = 64;
/// Time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// What the thread is given.
#[derive(Debug)]
enum Input {
    Record(Record),
    /// Complete the segment under way and say whether that worked.
    Seal(mpsc::SyncSender<Result<(), String>>),
    /// Switched on or off.
    Switched,
    Limits(u64, Option<Duration>),
}

#[derive(Debug)]
struct Shared {
    config: ArchiveConfig,
    enabled: AtomicBool,
    /// Records lost before they came to the thread, and not yet written down.
    unsaid: AtomicU64,
    dropped: AtomicU64,
    /// When the thread last came around, ns.
    progress: AtomicU64,
    view: Mutex<View>,
    session: Timestamp,
    drops: Arc<Drops>,
}

/// What the thread last said of itself.
#[derive(Clone, Debug, Default)]
struct View {
    sealed: Vec<Segment>,
    current: Option<Segment>,
    max_bytes: u64,
    failure: Option<String>,
    written: (u64, u64),
    rate: u64,
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        // Nothing panics while it is held, and each part stands for itself.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, reason: DropReason, count: u64) {
        if count > 0 {
            self.drops.count(reason, count);
            self.dropped.fetch_add(count, Ordering::Relaxed);
            self.unsaid.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The running recorder.
#[derive(Debug)]
pub struct Recorder {
    archive: Archive,
    thread: JoinHandle<()>,
}

/// A way to ask and switch raw capture; cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    shared: Arc<Shared>,
    /// Taken away when the daemon stops, so that the thread ends.
    sender: Arc<Mutex<Option<Sender<Input>>>>,
    probe: Probe,
}

/// Where one capture thread leaves its records. Never waits for the disk.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    sender: Sender<Input>,
    batch: Vec<(Input, usize)>,
}

impl Recorder {
    /// Takes over the directory, cleans up after a crash, and starts the thread.
    pub fn start(
        config: ArchiveConfig,
        node: NodeInfo,
        source: CaptureSource,
        identities: Box<dyn Identities>,
        drops: Arc<Drops>,
    ) -> Result<Self, ArchiveError> {
        let failed = |error| ArchiveError::Directory { path: config.path.clone(), error };
        let disk = Folder::open(&config.path).map_err(failed)?;
        Self::start_on(Box::new(disk), config.clone(), Origin { node, source, identities }, drops)
            .map_err(failed)
    }

    pub(super) fn start_on(
        disk: Box<dyn Disk>,
        config: ArchiveConfig,
        origin: Origin,
        drops: Arc<Drops>,
    ) -> std::io::Result<Self> {
        let log = Log::open(disk, origin, &config)?;
        let (sender, inbox) = runtime::queue("raw", QUEUE);
        let probe = sender.probe();
        let now = clock::now();
        let shared = Arc::new(Shared {
            enabled: AtomicBool::new(config.enabled),
            unsaid: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            progress: AtomicU64::new(now.0),
            view: Mutex::default(),
            session: now,
            drops,
            config,
        });
        let held = shared.config.takes_secrets.then(HeldBack::default);
        let mut worker =
            Worker { log, inbox, shared: Arc::clone(&shared), held, retry_at: None, rate_from: (now, 0) };
        worker.publish();
        let thread = runtime::spawn_thread("recorder", move || worker.run())?;
        let sender = Arc::new(Mutex::new(Some(sender)));
        Ok(Self { archive: Archive { shared, sender, probe }, thread })
    }

    /// A handle for the API.
    pub fn archive(&self) -> Archive {
        self.archive.clone()
    }

    /// A place for one capture thread's records; `None` once stopped.
    pub fn feed(&self) -> Option<Feed> {
        let sender = self.archive.sender()?;
        Some(Feed { shared: Arc::clone(&self.archive.shared), sender, batch: Vec::with_capacity(BATCH) })
    }

    /// Writes what is left, seals, and ends the thread; call after all feeds are gone. False when that
    /// takes longer than `deadline`: the next start recovers the rest.
    pub fn stop(self, deadline: Duration) -> bool {
        self.archive.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = std::time::Instant::now() + deadline;
        while !self.thread.is_finished() {
            if std::time::Instant::now() >= end {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // A panic was logged by the thread's own guard.
        drop(self.thread.join());
        true
    }
}

impl Feed {
    /// Takes a record if raw capture is on. The payload is shared, not copied.
    pub fn record(&mut self, record: &Record) {
        if self.shared.enabled.load(Ordering::Relaxed) {
            self.batch.push((Input::Record(record.clone()), weight_of(record)));
            if self.batch.len() >= BATCH {
                self.flush();
            }
        }
    }

    /// Hands over what was taken.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            let lost = self.sender.push_all(&mut self.batch) as u64;
            self.shared.lost(DropReason::RawQueueFull, lost);
        }
    }
}

fn weight_of(record: &Record) -> usize {
    OVERHEAD
        + match record {
            Record::Packet(packet) => packet.data.len(),
            Record::Tls(TlsEvent::Data(chunk)) => chunk.data.len(),
            _ => 0,
        }
}

impl Archive {
    fn sender(&self) -> Option<Sender<Input>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether records are taken.
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// Switches recording; what is recorded stays.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
        self.ask(Input::Switched);
    }

    /// Changes the limits while running.
    pub fn set_limits(&self, max_bytes: u64, max_age: Option<Duration>) {
        self.ask(Input::Limits(max_bytes, max_age));
    }

    fn ask(&self, input: Input) {
        if let Some(sender) = self.sender() {
            // A full queue means that the disk does not follow; the thread looks for itself then.
            let _ = sender.push(input, ASK_WEIGHT);
        }
    }

    /// The segments' directory.
    pub fn path(&self) -> &std::path::Path {
        &self.shared.config.path
    }

    /// The queue to the thread, for status and metrics.
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Completes the segment under way, so that all that was captured up to now is in sealed ones.
    pub fn seal(&self, patience: Duration) -> Result<(), ArchiveError> {
        let stuck = || ArchiveError::Stuck { path: self.shared.config.path.clone() };
        let (reply, answer) = mpsc::sync_channel(1);
        let sender = self.sender().ok_or_else(stuck)?;
        sender.push(Input::Seal(reply), ASK_WEIGHT).map_err(|_| stuck())?;
        match answer.recv_timeout(patience) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(ArchiveError::Seal { reason }),
            Err(_) => Err(stuck()),
        }
    }

    /// The sealed segments, oldest first. One may be given up the moment after.
    pub fn segments(&self) -> Vec<Segment> {
        self.shared.view().sealed.clone()
    }

    /// What it holds and does.
    pub fn status(&self) -> RawStatus {
        let view = self.shared.view().clone();
        let all = || view.sealed.iter().chain(&view.current);
        let progress = Timestamp(self.shared.progress.load(Ordering::Relaxed));
        let silence = clock::now().since(progress);
        let stalled = silence > STALL.as_nanos() as u64 && self.probe.depth().items > 0;
        let (state, detail) = if stalled {
            let seconds = silence / 1_000_000_000;
            (
                State::Stalled,
                format!("records wait, but nothing was written for {seconds} s; is the disk stuck?"),
            )
        } else if let Some(reason) = view.failure.clone() {
            (State::Failed, reason)
        } else if self.is_enabled() {
            (State::Recording, String::new())
        } else {
            (State::Off, "switched off".to_owned())
        };
        RawStatus {
            state,
            detail,
            oldest: all()
                .map(|segment| segment.first)
                .filter(|at| *at != Timestamp::ZERO)
                .min()
                .unwrap_or_default(),
            newest: all().map(|segment| segment.last).max().unwrap_or_default(),
            segments: all().count() as u64,
            bytes: all().map(|segment| segment.bytes).sum(),
            max_bytes: view.max_bytes,
            packets: all().map(|segment| segment.packets).sum(),
            written_bytes: view.written.0,
            written_records: view.written.1,
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            rate: view.rate,
            session: self.shared.session,
        }
    }
}

struct Worker {
    log: Log,
    inbox: Receiver<Input>,
    shared: Arc<Shared>,
    /// Records that wait for key material, if some may come.
    held: Option<HeldBack>,
    /// The disk refused: not tried again before.
    retry_at: Option<Timestamp>,
    rate_from: (Timestamp, u64),
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut losses_at = Timestamp::ZERO;
        let mut was_enabled = self.shared.enabled.load(Ordering::Relaxed);
        loop {
            let popped = self.inbox.pop_batch(&mut batch, BATCH, TICK);
            let now = clock::now();
            for input in batch.drain(..) {
                self.input(input, now);
            }
            while let Some(record) = self.held.as_mut().and_then(|held| held.pop_due(now)) {
                self.write(&record, now);
            }
            let enabled = self.shared.enabled.load(Ordering::Relaxed);
            if was_enabled && !enabled {
                self.write_held(now);
                self.attempt(now, |log| log.seal(now));
            }
            if now >= losses_at {
                self.attempt(now, |log| log.note_losses(now, enabled));
                losses_at = now.plus(TICK);
            }
            was_enabled = enabled;
            self.attempt(now, |log| log.tick(now));
            self.publish();
            if matches!(popped, Popped::Closed) {
                break;
            }
        }
        let now = clock::now();
        self.write_held(now);
        self.attempt(now, |log| log.seal(now));
        self.publish();
    }

    fn input(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Record(record) => match &mut self.held {
                Some(held) if !matches!(record, Record::Secret(_)) => {
                    let weight = weight_of(&record);
                    held.push(now, record, weight);
                }
                _ => self.write(&record, now),
            },
            Input::Seal(reply) => {
                self.write_held(now);
                let enabled = self.shared.enabled.load(Ordering::Relaxed);
                self.attempt(now, |log| log.note_losses(now, enabled));
                self.attempt(now, |log| log.seal(now));
                self.publish();
                let failure = self.shared.view().failure.clone();
                // Whoever asked may have stopped waiting.
                drop(reply.try_send(failure.map_or(Ok(()), Err)));
            }
            Input::Switched => {}
            Input::Limits(max_bytes, max_age) => self.log.set_limits(max_bytes, max_age),
        }
    }

    fn write(&mut self, record: &Record, now: Timestamp) {
        if self.retry_at.is_some_and(|at| now < at) {
            self.shared.lost(DropReason::RawFailed, 1);
            return;
        }
        self.say_losses(now);
        self.attempt(now, |log| log.append(record, now));
    }

    /// Writes what waited, without waiting longer.
    fn write_held(&mut self, now: Timestamp) {
        while let Some(record) = self.held.as_mut().and_then(HeldBack::pop) {
            self.write(&record, now);
        }
    }

    /// Marks in the segment where records are missing.
    fn say_losses(&mut self, now: Timestamp) {
        if self.shared.unsaid.load(Ordering::Relaxed) == 0 {
            return;
        }
        let count = self.shared.unsaid.swap(0, Ordering::Relaxed);
        let loss = Record::Loss(Loss { at: now, reason: DropReason::RawQueueFull, count });
        self.attempt(now, |log| log.append(&loss, now));
    }

    fn attempt(&mut self, now: Timestamp, work: impl FnOnce(&mut Log) -> Result<(), Refused>) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let had_written = self.log.written.0;
        match work(&mut self.log) {
            Ok(()) => {
                // Only bytes that arrived prove that the disk works again.
                if self.retry_at.is_some() && self.log.written.0 > had_written {
                    self.retry_at = None;
                    self.shared.view().failure = None;
                    tracing::info!("raw capture goes on");
                }
            }
            Err(Refused { error, lost }) => {
                if self.retry_at.is_none() {
                    tracing::error!("raw capture stops: {error}; it is tried again every {RETRY:?}");
                }
                self.shared.lost(DropReason::RawFailed, lost);
                self.retry_at = Some(now.plus(RETRY));
                self.shared.view().failure = Some(error.to_string());
            }
        }
    }

    fn publish(&mut self) {
        let now = clock::now();
        self.shared.progress.store(now.0, Ordering::Relaxed);
        let (since, bytes) = self.rate_from;
        let elapsed = now.since(since);
        let mut view = self.shared.view();
        if elapsed >= RATE_WINDOW.as_nanos() as u64 {
            let grown = u128::from(self.log.written.0.saturating_sub(bytes));
            view.rate = (grown * 1_000_000_000 / u128::from(elapsed)) as u64;
            self.rate_from = (now, self.log.written.0);
        }
        view.current = self.log.current();
        view.written = self.log.written;
        view.max_bytes = self.log.max_bytes;
        if !view.sealed.iter().eq(self.log.sealed()) {
            view.sealed = self.log.sealed().copied().collect();
        }
    }
}
