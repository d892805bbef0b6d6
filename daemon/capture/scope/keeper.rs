//! Keeps the kernel's lists of cgroups true while units and containers come and go.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CgroupRule, ContainerOf, Executables, Scope, ScopeMaps, TlsScopeMaps, resolve};
use crate::capture::CaptureError;
use crate::runtime::spawn_thread;

/// Notices that may wait; what is lost the sweep finds.
const MAX_NOTICES: usize = 1024;
/// How often the tree is walked without a notice.
const SWEEP: Duration = Duration::from_secs(30);
/// A walk is followed by this many times its own time without one.
const REST: u32 = 10;
/// A cgroup with this id is no cgroup: it ends the thread.
const STOP: u64 = 0;

/// Tells the keeper in which cgroups programs are executed; never waits.
#[derive(Clone, Debug)]
pub(in crate::capture) struct CgroupNotice {
    sender: SyncSender<u64>,
    /// Nobody waits for cgroups as long as no rule names one.
    is_wanted: Arc<AtomicBool>,
}

impl CgroupNotice {
    pub(in crate::capture) fn used(&self, cgroup: u64) {
        if self.is_wanted.load(Ordering::Relaxed) && cgroup != STOP {
            let _ = self.sender.try_send(cgroup);
        }
    }
}

/// Both ends of the way from the events to the keeper.
pub(in crate::capture) fn notices() -> (CgroupNotice, Receiver<u64>) {
    let (sender, receiver) = sync_channel(MAX_NOTICES);
    (CgroupNotice { sender, is_wanted: Arc::new(AtomicBool::new(false)) }, receiver)
}

/// The kernel's maps, and what they were filled from.
#[derive(Debug)]
struct Kept {
    scope: Scope,
    known: HashSet<u64>,
    unmet: Vec<String>,
    packets: ScopeMaps,
    tls: Option<(Arc<TlsScopeMaps>, Arc<Executables>)>,
    root: Option<PathBuf>,
    container_of: ContainerOf,
}

impl Kept {
    fn apply(&mut self) -> Result<(), CaptureError> {
        let found = resolve(self.root.as_deref(), self.container_of, &self.scope);
        if let Some((tls, _)) = &self.tls {
            tls.set(&self.scope, &found)?;
        }
        self.packets.set(&self.scope, &found)?;
        for rule in found.unmet.iter().filter(|rule| !self.unmet.contains(rule)) {
            tracing::warn!("the capture scope names {rule}, which is not there now");
        }
        self.known = found.known;
        self.unmet = found.unmet;
        Ok(())
    }

    fn has_names(&self) -> bool {
        let rules = || self.scope.include.cgroups.iter().chain(&self.scope.exclude.cgroups);
        rules().any(|rule| !matches!(rule, CgroupRule::Id(_)))
    }
}

/// The running keeper; dropping it ends its thread.
#[derive(Debug)]
pub(in crate::capture) struct ScopeKeeper {
    kept: Arc<Mutex<Kept>>,
    notice: CgroupNotice,
    thread: Option<JoinHandle<()>>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Whoever held it left the maps as far as it came; the next walk completes them.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScopeKeeper {
    /// Takes the maps over; the scope is set when this returns. What it says of executables was set
    /// before, since discovery adds to that.
    pub(in crate::capture) fn start(
        scope: &Scope,
        (root, container_of): (Option<PathBuf>, ContainerOf),
        packets: ScopeMaps,
        tls: Option<(Arc<TlsScopeMaps>, Arc<Executables>)>,
        (notice, notices): (CgroupNotice, Receiver<u64>),
    ) -> Result<Self, CaptureError> {
        let (known, unmet) = (HashSet::new(), Vec::new());
        let mut kept = Kept { scope: scope.clone(), known, unmet, packets, tls, root, container_of };
        kept.apply()?;
        notice.is_wanted.store(kept.has_names(), Ordering::Relaxed);
        let kept = Arc::new(Mutex::new(kept));
        let shared = Arc::clone(&kept);
        let thread = spawn_thread("capture-scope", move || follow(&shared, &notices))
            .map_err(|error| CaptureError::Thread { error })?;
        Ok(Self { kept, notice, thread: Some(thread) })
    }

    /// Changes the scope.
    pub(in crate::capture) fn set(&self, scope: &Scope) -> Result<(), CaptureError> {
        let mut kept = lock(&self.kept);
        kept.scope = scope.clone();
        if let Some((_, executables)) = &kept.tls {
            executables.set(scope)?;
        }
        self.notice.is_wanted.store(kept.has_names(), Ordering::Relaxed);
        kept.apply()
    }
}

impl Drop for ScopeKeeper {
    fn drop(&mut self) {
        // A full queue means that the thread is awake, and takes this as soon as there is room.
        let _ = self.notice.sender.send(STOP);
        if let Some(thread) = self.thread.take() {
            // A panic was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn follow(kept: &Mutex<Kept>, notices: &Receiver<u64>) {
    let mut rested = Instant::now();
    loop {
        let noticed = match notices.recv_timeout(SWEEP) {
            Ok(STOP) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(cgroup) => Some(cgroup),
            Err(RecvTimeoutError::Timeout) => None,
        };
        let is_news =
            |kept: &Kept| kept.has_names() && noticed.is_none_or(|cgroup| !kept.known.contains(&cgroup));
        if !is_news(&lock(kept)) {
            continue;
        }
        std::thread::sleep(rested.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        let mut kept = lock(kept);
        if let Err(error) = kept.apply() {
            tracing::error!("the capture scope could not be brought up to date: {error}");
        }
        // One that is gone already, or that the tree does not show, is no news a second time.
        kept.known.extend(noticed);
        rested = Instant::now() + begun.elapsed() * REST;
    }
}
