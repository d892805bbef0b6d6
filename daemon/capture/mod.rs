//! Packets and socket events from BPF, handed to sinks; the only user of libbpf-rs.
//!
//! [`Capture::start`] probes the host (`host_support`), decides (`plan`), loads and attaches (`bpf`),
//! and starts one thread per ring. Invariants: whatever a packet's fate, it is counted; nothing is
//! pinned, so the end of the process is the end of capture; unsafe code is in `bpf` only.

mod bpf;
mod clock;
mod counters;
mod delivery;
#[doc(hidden)]
pub mod fuzzing;
mod host_support;
mod plan;
mod report;
mod scope;
#[cfg(test)]
mod tests;
mod tls;
mod tls_side;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use self::bpf::{Attached, LoadOptions, Loaded, ReaderHandle, RingSource};
use self::delivery::{Delivery, Listeners};
use self::plan::CapturePlan;
use self::scope::{ScopeKeeper, ScopeMaps};
use self::tls_side::TlsSide;
use crate::engine::model::{Record, Timestamp};

pub use self::bpf::{ReaderMark, ReaderWatch};
pub use self::counters::KernelCounters;
pub use self::report::{JobReport, MissingProgram};
pub use self::scope::{CgroupRule, ContainerOf, Scope, ScopeLists};
pub use self::tls::{TlsProcess, TlsSeen, TlsUse};

/// Where records go. Called on a capture thread, so it must not wait.
pub trait Sink: Send {
    /// One record, in the order in which the kernel made them.
    fn record(&mut self, record: Record);

    /// Called after each batch of records (at most 1024), and when nothing came for [`Sink::patience`].
    fn flush(&mut self, now: Timestamp);

    /// How long the thread may sleep, if nothing arrives, before it flushes again; `None`: until
    /// something does. A sink with timers returns the time to the next one. The default serves those
    /// that only tidy up, at one wake-up a second.
    fn patience(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

/// What to capture and with how much memory.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// Bytes of the packet ring; rounded up to a power of two. 32 MiB loses 0.01 % at 4 GB/s.
    pub ring_bytes: u32,
    /// Bytes of the socket event ring; rounded up to a power of two.
    pub socket_ring_bytes: u32,
    /// Whether to look into TLS libraries.
    pub tls: bool,
    /// Bytes of the ring for plaintext of TLS; rounded up to a power of two.
    pub tls_ring_bytes: u32,
    /// Most bytes of plaintext taken of one call of a TLS library; at most 2 MiB.
    pub tls_message_bytes: u32,
    /// Whether to take key material of TLS as well.
    pub tls_secrets: bool,
    /// Which packets.
    pub scope: Scope,
    /// Says which container the cgroup at a path (below the root) is in; see [`ContainerOf`].
    pub container_of: ContainerOf,
    /// Process whose sockets, and whose clients' sockets, are not captured; 0: none. In the initial
    /// pid namespace.
    pub own_pid: u32,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 32 << 20,
            socket_ring_bytes: 4 << 20,
            tls: true,
            tls_ring_bytes: 16 << 20,
            tls_message_bytes: 2 << 20,
            tls_secrets: false,
            scope: Scope::default(),
            container_of: |_| None,
            own_pid: 0,
        }
    }
}

/// Smallest ring: one packet of the largest class must fit, with room for others.
const MIN_RING_BYTES: u32 = 1 << 20;
/// Largest ring that the kernel makes.
const MAX_RING_BYTES: u32 = 1 << 30;

/// Why capture does not run.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The process lacks rights.
    #[error(
        "not permitted to load the eBPF programs for {job}: run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    NotPermitted {
        /// Which job.
        job: &'static str,
    },
    /// This host cannot do it.
    #[error("{why}: {advice}")]
    Unsupported {
        /// What is missing.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The kernel refused the programs.
    #[error(
        "cannot load the eBPF programs for {job}: {error} ({said}); `remora doctor` tells what this kernel offers"
    )]
    Load {
        /// Which job.
        job: &'static str,
        /// The kernel's answer.
        error: libbpf_rs::Error,
        /// libbpf's last message.
        said: String,
    },
    /// The hooks that carry the packets could not be attached.
    #[error(
        "cannot attach {program} to the cgroup2 root: {why}; another program may hold the hook exclusively"
    )]
    Attach {
        /// Which program.
        program: String,
        /// The kernel's answer.
        why: String,
    },
    /// No cgroup2 root.
    #[error("cannot open a cgroup2 root at {path}: {error}; mount one there (mount -t cgroup2 none DIR)", path = path.display())]
    Cgroup {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A map of a loaded object is not there: the object and the daemon do not belong together.
    #[error("the loaded eBPF object has no map {name}: rebuild the daemon")]
    Map {
        /// Its name.
        name: String,
    },
    /// A ring cannot be mapped.
    #[error("cannot map the ring {name}: {error}; allow more locked memory or configure a smaller ring")]
    Ring {
        /// Its name.
        name: &'static str,
        /// Why.
        error: libbpf_rs::Error,
    },
    /// The scope does not fit.
    #[error(
        "cannot set the capture scope: {error}; it holds at most 4096 cgroups and 4096 networks of each family"
    )]
    Scope {
        /// The kernel's answer.
        error: libbpf_rs::Error,
    },
    /// A counter or mark cannot be accessed.
    #[error("cannot access the eBPF map {name}: {error}; is the descriptor an open IP socket?")]
    Access {
        /// Which map.
        name: &'static str,
        /// The kernel's answer.
        error: libbpf_rs::Error,
    },
    /// No thread.
    #[error("cannot start a capture thread: {error}; raise the limits on threads and open files")]
    Thread {
        /// Why.
        error: std::io::Error,
    },
}

/// Running capture; dropping it detaches everything.
#[derive(Debug)]
pub struct Capture {
    packets: ReaderHandle,
    sockets: Option<ReaderHandle>,
    packet_counters: MapHandle,
    socket_counters: Option<MapHandle>,
    scope: ScopeKeeper,
    tls: Option<TlsSide>,
    malformed: Arc<AtomicU64>,
    jobs: Vec<JobReport>,
}

impl Capture {
    /// Starts to capture. Sockets that exist already are reported before this returns, and hooks see
    /// everything from then on. Attribution that this kernel cannot do is left out and said in
    /// [`Capture::jobs`]; packets that cannot be captured are an error.
    ///
    /// `own` are sockets of the daemon that it has already, such as its listeners: their traffic is not
    /// captured, nor that of connections which wait at them.
    pub fn start(
        config: &CaptureConfig,
        own: &[BorrowedFd<'_>],
        packets: Box<dyn Sink>,
        sockets: Box<dyn Sink>,
    ) -> Result<Self, CaptureError> {
        let facts = host_support::probe();
        let plan = plan::plan(&facts)?;
        let cgroup = host_support::open_cgroup2(plan.cgroup2.as_deref())?;
        let malformed = Arc::new(AtomicU64::new(0));

        let (tls, tls_source, tls_job) = tls_side::start(config, &plan, cgroup.as_fd());
        let (cgroups, noticed_cgroups) = scope::notices();
        let listeners = Listeners { tls: tls.as_ref().map(TlsSide::noticing), cgroups: cgroups.clone() };
        let socket_side = start_sockets(config, &plan, cgroup.as_fd(), sockets, &malformed, listeners);
        let loaded = bpf::load_packet(&options(config, config.ring_bytes))?;
        let maps = ScopeMaps::of(&loaded)?;
        let tls_maps = tls.as_ref().map(TlsSide::scope);
        let scope = ScopeKeeper::start(
            &config.scope,
            (plan.cgroup2.clone(), config.container_of),
            maps,
            tls_maps,
            (cgroups, noticed_cgroups),
        )?;
        let packet_counters = loaded.map("packet_counters")?;
        mark_own(&loaded, own)?;
        let mut attached = bpf::attach_all(&loaded, cgroup.as_fd(), &report::PACKET_HOOKS);
        require_packet_hooks(&attached)?;
        attached.run(&loaded, plan::OWN_ITERATOR);
        let mut jobs = report::packet_jobs(&plan, &attached);
        let socket_side = match socket_side {
            Ok(side) => {
                jobs.extend_from_slice(&side.jobs);
                Some(side)
            }
            Err(error) => {
                jobs.push(report::failed("attribution", &error));
                None
            }
        };
        jobs.push(tls_job);
        let (sockets, socket_counters) = socket_side.map(|side| (side.reader, side.counters)).unzip();
        let delivery = Delivery::packets(packets, &malformed, tls.as_ref().map(TlsSide::census));
        let sources = std::iter::once(RingSource { loaded, attached }).chain(tls_source).collect();
        let reader = bpf::spawn_reader("capture-packets", sources, delivery)?;
        Ok(Self { packets: reader, sockets, packet_counters, socket_counters, scope, tls, malformed, jobs })
    }

    /// Where this host has a cgroup2 root mounted: the inode numbers below it are the cgroup ids of a
    /// [`Scope`].
    pub fn cgroup2_root() -> Option<PathBuf> {
        host_support::mounted_cgroup2()
    }

    /// What was seen and what was lost so far.
    pub fn counters(&self) -> Result<KernelCounters, CaptureError> {
        let read = |map: &MapHandle, name| {
            let value = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
            value.map(Option::unwrap_or_default).map_err(|error| CaptureError::Access { name, error })
        };
        let packets = bpf::packet_counts(&read(&self.packet_counters, "packet_counters")?);
        let (socket_events, socket_ring_full) = match &self.socket_counters {
            Some(map) => bpf::socket_counts(&read(map, "socket_counters")?),
            None => (0, 0),
        };
        let tls = match &self.tls {
            Some(tls) => bpf::tls_counts(&read(tls.counters(), "tls_counters")?),
            None => bpf::TlsCounts::default(),
        };
        let malformed = self.malformed.load(Ordering::Relaxed);
        let tls_postponed = self.tls.as_ref().map_or(0, |tls| tls.census().postponed());
        let counted = KernelCounters::new(packets, tls, socket_events, socket_ring_full, malformed);
        Ok(KernelCounters { tls_postponed, ..counted })
    }

    /// How far the reader of socket events is; `None` where nobody can attribute sockets.
    pub fn socket_events(&self) -> Option<ReaderWatch> {
        self.sockets.as_ref().map(ReaderHandle::watch)
    }

    /// Which mechanism does which job, and why not a better one.
    pub fn jobs(&self) -> Vec<JobReport> {
        let mut jobs = self.jobs.clone();
        if let (Some(tls), Some(job)) = (&self.tls, jobs.iter_mut().find(|job| job.job == "tls")) {
            tls.add_to(job);
        }
        jobs
    }

    /// What is seen of the TLS of each process that has any, and what is not, and why. By pid.
    pub fn tls_processes(&self) -> Vec<TlsProcess> {
        self.tls.as_ref().map(|tls| tls.census().processes()).unwrap_or_default()
    }

    /// Whether the TLS of every process that lived at the start has been looked at.
    pub fn has_seen_tls_of_all(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.census().has_settled())
    }

    /// Changes at run time what is captured.
    pub fn set_scope(&self, scope: &Scope) -> Result<(), CaptureError> {
        self.scope.set(scope)?;
        if let Some(tls) = &self.tls {
            tls.noticing().rescope();
        }
        Ok(())
    }

    /// Detaches everything, delivers what is left in the rings, and ends the threads.
    pub fn stop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.stop();
        }
        self.packets.stop();
        if let Some(sockets) = &mut self.sockets {
            sockets.stop();
        }
    }
}

fn options(config: &CaptureConfig, ring_bytes: u32) -> LoadOptions {
    LoadOptions {
        ring_bytes: ring_bytes.clamp(MIN_RING_BYTES, MAX_RING_BYTES).next_power_of_two(),
        own_pid: config.own_pid,
        ..LoadOptions::default()
    }
}

/// Marks sockets that were made before the hook that marks them. What a listener accepts later is marked
/// by that.
fn mark_own(loaded: &Loaded, sockets: &[BorrowedFd<'_>]) -> Result<(), CaptureError> {
    let map = loaded.map("own_sockets")?;
    for socket in sockets {
        let key = socket.as_raw_fd().to_ne_bytes();
        map.update(&key, &bpf::scope_bits::OWN_ALWAYS.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| CaptureError::Access { name: "own_sockets", error })?;
    }
    Ok(())
}

fn require_packet_hooks(attached: &Attached) -> Result<(), CaptureError> {
    for program in report::PACKET_HOOKS {
        if let Some(why) = attached.missing.get(program) {
            return Err(CaptureError::Attach { program: program.to_owned(), why: why.clone() });
        }
    }
    Ok(())
}

/// The attribution half of capture.
struct SocketSide {
    reader: ReaderHandle,
    counters: MapHandle,
    jobs: Vec<JobReport>,
}

fn start_sockets(
    config: &CaptureConfig,
    plan: &CapturePlan,
    cgroup: BorrowedFd<'_>,
    sink: Box<dyn Sink>,
    malformed: &Arc<AtomicU64>,
    listeners: Listeners,
) -> Result<SocketSide, CaptureError> {
    let loaded = bpf::load_socket(&LoadOptions {
        has_socket_helpers: plan.has_socket_helpers,
        without: plan.without.clone(),
        needless: plan.needless.clone(),
        ..options(config, config.socket_ring_bytes)
    })?;
    let mut attached = bpf::attach_all(&loaded, cgroup, &[]);
    let mut delivery = Delivery::sockets(sink, malformed, listeners);
    // The hooks are attached, so no socket falls between.
    if let Some(events) = attached.run(&loaded, plan::FILE_ITERATOR) {
        delivery.existing(&events);
    }
    let jobs = report::socket_jobs(plan, &attached);
    let counters = loaded.map("socket_counters")?;
    let reader = bpf::spawn_reader("capture-sockets", vec![RingSource { loaded, attached }], delivery)?;
    Ok(SocketSide { reader, counters, jobs })
}
