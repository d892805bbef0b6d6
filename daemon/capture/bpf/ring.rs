//! The thread that reads rings: who wakes it, when it naps, when it blocks.
//!
//! A wake-up costs a workload ten times what a small packet's copy costs, so the kernel wakes the
//! reader only when it sleeps. Awake, the reader looks every [`NAP`] and goes to sleep after
//! [`IDLE_ROUNDS`] empty looks: an idle host sees no wake-up at all, a busy one a thousand looks a
//! second, and a lone packet is read at once.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use libbpf_rs::{AsRawLibbpf, MapCore, MapHandle, Object, RingBuffer, RingBufferBuilder, libbpf_sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Attached, Loaded};
use crate::capture::CaptureError;
use crate::runtime::spawn_thread;

/// How long an awake reader waits before it looks again: the latency that batching costs.
const NAP: Duration = Duration::from_millis(1);
/// Empty looks after which the reader sleeps.
const IDLE_ROUNDS: u32 = 4;
/// Records between two flushes under load.
const BATCH: usize = 1024;

/// What is done with the records of a ring.
pub(in crate::capture) trait Batch {
    /// One record of the ring with this number.
    fn record(&mut self, ring: usize, bytes: &[u8]);
    /// No more records for now. Returns how long the reader may sleep; `None`: until the next record.
    fn end(&mut self) -> Option<Duration>;
}

/// Tells a reader to stop or to look now, wherever it waits, and says how far it is.
#[derive(Debug)]
struct Control {
    stopping: AtomicBool,
    event: EventFd,
    /// Number of the last look into the rings that began, and of the last one that left nothing behind.
    begun: AtomicU64,
    done: AtomicU64,
}

impl Control {
    fn new() -> Result<Self, CaptureError> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|error| CaptureError::Thread { error: error.into() })?;
        let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { stopping: AtomicBool::new(false), event, begun, done })
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = self.event.write(1);
    }

    /// Runs one look; it says whether it left nothing behind.
    fn look(&self, look: impl FnOnce() -> bool) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if look() {
            self.done.store(number, Ordering::SeqCst);
        }
    }
}

/// Says how far the reader of a ring is; cheap to clone.
#[derive(Clone, Debug)]
pub struct ReaderWatch(Arc<Control>);

impl ReaderWatch {
    /// A mark behind all records that the kernel has made so far. Wakes the reader.
    pub fn mark(&self) -> ReaderMark {
        let mark = ReaderMark(self.0.begun.load(Ordering::SeqCst));
        self.0.wake();
        mark
    }

    /// Whether all records before the mark were delivered, or none will be any more.
    pub fn has_reached(&self, mark: ReaderMark) -> bool {
        self.0.done.load(Ordering::SeqCst) > mark.0 || self.0.stopping.load(Ordering::Acquire)
    }
}

/// See [`ReaderWatch::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderMark(u64);

/// A running reader; owns the programs through its thread.
#[derive(Debug)]
pub(in crate::capture) struct ReaderHandle {
    thread: Option<std::thread::JoinHandle<()>>,
    control: Arc<Control>,
}

impl ReaderHandle {
    pub(in crate::capture) fn watch(&self) -> ReaderWatch {
        ReaderWatch(Arc::clone(&self.control))
    }

    /// Detaches the programs, delivers what they left in the ring, ends the thread. Idempotent.
    pub(in crate::capture) fn stop(&mut self) {
        self.control.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the reader was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for ReaderHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A ring, and the programs that fill it.
#[derive(Debug)]
pub(in crate::capture) struct RingSource {
    pub(in crate::capture) loaded: Loaded,
    /// Kept attached for as long as the ring is read.
    pub(in crate::capture) attached: Attached,
}

/// Starts the thread that reads the rings of `sources` until it is stopped, and keeps their programs
/// attached for as long. Rings are numbered as they stand in `sources`.
pub(in crate::capture) fn spawn_reader<B: Batch + Send + 'static>(
    name: &'static str,
    sources: Vec<RingSource>,
    batch: B,
) -> Result<ReaderHandle, CaptureError> {
    let control = Arc::new(Control::new()?);
    let (loaded, attached): (Vec<_>, Vec<_>) =
        sources.into_iter().map(|source| (source.loaded, source.attached)).unzip();
    let rings = loaded.iter().map(|loaded| loaded.map(loaded.ring)).collect::<Result<Vec<_>, _>>()?;
    let shared = Arc::clone(&control);
    let (ready, started) = sync_channel(1);
    let body = move || {
        let batch = RefCell::new(batch);
        let readers = match build_readers(&rings, &loaded, &batch) {
            Ok(readers) => readers,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let awake: Option<Vec<_>> =
            loaded.iter().map(|loaded| awake_flag(&loaded.object, loaded.awake_offset)).collect();
        let Some(awake) = awake else {
            return drop(ready.send(Err(CaptureError::Map { name: ".bss".to_owned() })));
        };
        // The starter waits for this.
        let _ = ready.send(Ok(()));
        // Each ring has its share, so that a flood in one does not hide the other.
        let consume = || consume(&readers);
        read_until_stopped(&rings, &awake, &shared, consume, || batch.borrow_mut().end());
        drop(attached);
        while consume().records > 0 {
            batch.borrow_mut().end();
        }
    };
    let thread = spawn_thread(name, body).map_err(|error| CaptureError::Thread { error })?;
    let handle = ReaderHandle { thread: Some(thread), control };
    match started.recv() {
        Ok(result) => result.map(|()| handle),
        Err(_) => {
            Err(CaptureError::Thread { error: std::io::Error::other("the thread died while starting") })
        }
    }
}

fn build_readers<'a, B: Batch>(
    rings: &'a [MapHandle],
    loaded: &[Loaded],
    batch: &'a RefCell<B>,
) -> Result<Vec<RingBuffer<'a>>, CaptureError> {
    let build = |(index, ring): (usize, &'a MapHandle)| {
        let receive = move |bytes: &[u8]| {
            batch.borrow_mut().record(index, bytes);
            0
        };
        let mut builder = RingBufferBuilder::new();
        builder.add(ring, receive)?;
        builder.build()
    };
    let built = rings.iter().enumerate().zip(loaded);
    built
        .map(|(ring, loaded)| build(ring).map_err(|error| CaptureError::Ring { name: loaded.ring, error }))
        .collect()
}

/// What one look into the rings took out.
#[derive(Clone, Copy)]
struct Taken {
    records: usize,
    /// All that was there when the look began.
    is_all: bool,
}

fn consume(readers: &[RingBuffer<'_>]) -> Taken {
    let ends: Vec<_> = readers.iter().map(|reader| positions(reader).1).collect();
    let records = readers.iter().map(|reader| reader.consume_raw_n(BATCH).max(0) as usize).sum();
    // A program that was interrupted while it fills a record holds up all that come after it.
    let is_all = readers.iter().zip(ends).all(|(reader, end)| positions(reader).0 >= end);
    Taken { records, is_all }
}

/// Up to where a ring's reader has taken records, and up to where there are some, in bytes since the start.
#[allow(unsafe_code)]
fn positions(reader: &RingBuffer<'_>) -> (u64, u64) {
    // SAFETY: the pointer is that of a live ring buffer, which was built with one ring and keeps it while it lives;
    // both calls only read its mapped pages.
    unsafe {
        let ring = libbpf_sys::ring_buffer__ring(reader.as_libbpf_object().as_ptr(), 0);
        (libbpf_sys::ring__consumer_pos(ring), libbpf_sys::ring__producer_pos(ring))
    }
}

fn read_until_stopped(
    rings: &[MapHandle],
    awake: &[&AtomicU32],
    control: &Control,
    consume: impl Fn() -> Taken,
    end_batch: impl Fn() -> Option<Duration>,
) {
    let set_awake = |value| awake.iter().for_each(|flag| flag.store(value, Ordering::SeqCst));
    set_awake(1);
    let mut idle_rounds = 0;
    while !control.stopping.load(Ordering::Acquire) {
        let (mut consumed, mut may_sleep) = (0, None);
        control.look(|| {
            let taken = consume();
            consumed = taken.records;
            may_sleep = end_batch();
            taken.is_all
        });
        if consumed >= BATCH {
            continue;
        }
        idle_rounds = if consumed > 0 { 0 } else { idle_rounds + 1 };
        if idle_rounds < IDLE_ROUNDS {
            std::thread::sleep(NAP);
            continue;
        }
        set_awake(0);
        // A program may have read the flag just before it was cleared, and then wakes nobody. Its
        // record is visible within the first, short wait.
        if wait(rings, control, Some(NAP)) || wait(rings, control, may_sleep) {
            idle_rounds = 0;
        }
        set_awake(1);
    }
}

/// Blocks until a ring has data, somebody wakes the reader, or the time is over; says whether one of the two came.
///
/// Polls the maps themselves: libbpf's epoll instance forgets a ring that was once empty, and then
/// misses records that were submitted without a wake-up.
fn wait(rings: &[MapHandle], control: &Control, at_most: Option<Duration>) -> bool {
    let timeout = at_most
        .map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time.max(NAP)).unwrap_or(PollTimeout::MAX));
    let polled = rings.iter().map(AsFd::as_fd).chain([control.event.as_fd()]);
    let mut fds: Vec<_> = polled.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    // An interrupted wait is a short one: the caller looks and waits again.
    let _ = poll(&mut fds, timeout);
    // Else the next wait would be none.
    let _ = control.event.read();
    fds.iter().any(|fd| fd.any().unwrap_or(false))
}

/// The word in the object's `.bss` by which a reader says that it is awake.
#[allow(unsafe_code)]
fn awake_flag(object: &Object, offset: usize) -> Option<&AtomicU32> {
    let map = object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"))?;
    let mut size = 0;
    // SAFETY: the map belongs to a live object; libbpf returns the address and size of the pages
    // that it shares with the kernel for this map, or null.
    let section =
        unsafe { libbpf_sys::bpf_map__initial_value(map.as_libbpf_object().as_ptr(), &raw mut size) };
    let end = offset.checked_add(size_of::<AtomicU32>())?;
    if section.is_null() || end > size as usize || !offset.is_multiple_of(align_of::<AtomicU32>()) {
        return None;
    }
    // SAFETY: inside the section and aligned (checked above; the section is page-aligned); mapped as
    // long as the object lives, whose borrow the result carries; the programs access it as a plain
    // 32-bit word, and this process only through this atomic.
    Some(unsafe { AtomicU32::from_ptr(section.cast::<u8>().add(offset).cast()) })
}
