//! Keeps per process what was found, attached and seen: written by capture's threads, read by reports.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::engine::model::{Hook, TlsEvent, TlsLibrary, TlsWitness};

/// Most processes that are counted for; hosts have fewer at a time.
const MAX_PROCESSES: usize = 65_536;

/// A TLS library in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsUse {
    /// The stack.
    pub library: TlsLibrary,
    /// Its version, as the file says; may be empty.
    pub version: String,
    /// The file, as the process sees it.
    pub path: String,
    /// How its functions were found: `symbols`, `line_table`, `signatures`; empty if they were not.
    pub found_by: &'static str,
    /// Functions with probes.
    pub functions: Vec<String>,
    /// Probes sit on instructions that the kernel has to single-step.
    pub is_costly: bool,
    /// Whether plaintext can be seen.
    pub attached: bool,
    /// What cannot be seen, and why; empty if nothing.
    pub reason: String,
}

/// What is seen of a process's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsProcess {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// Its libraries.
    pub libraries: Vec<TlsUse>,
    /// Why nothing can be seen, where that is known without a library; empty otherwise.
    pub reason: String,
    /// Plaintext.
    pub seen: TlsSeen,
}

/// Plaintext of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsSeen {
    /// Bytes handed over that the process read.
    pub bytes_read: u64,
    /// Bytes handed over that the process wrote.
    pub bytes_written: u64,
    /// Chunks.
    pub chunks: u64,
    /// Chunks whose socket was known by I/O inside the library's call.
    pub in_call: u64,
    /// Chunks whose socket was known by its descriptor.
    pub descriptor: u64,
    /// Chunks whose socket was known by I/O just before or after the call.
    pub nearby_transfer: u64,
    /// Chunks whose socket was not known when they were taken.
    pub unbound: u64,
}

impl TlsSeen {
    fn count(&mut self, hook: Hook, bytes: u64, witness: Option<TlsWitness>) {
        match hook {
            Hook::Egress => self.bytes_written += bytes,
            Hook::Ingress => self.bytes_read += bytes,
        }
        self.chunks += 1;
        *match witness {
            Some(TlsWitness::InCall) => &mut self.in_call,
            Some(TlsWitness::Descriptor) => &mut self.descriptor,
            Some(TlsWitness::NearbyTransfer) => &mut self.nearby_transfer,
            Some(TlsWitness::Process) | None => &mut self.unbound,
        } += 1;
    }
}

/// What is known of all processes.
#[derive(Debug, Default)]
pub(in crate::capture) struct Census {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: HashMap<u32, TlsSeen>,
    /// Processes with something to say, by the discovery.
    found: HashMap<u32, TlsProcess>,
    /// Files that could not be attached to, or not wholly.
    failures: u64,
    attached_files: usize,
    has_settled: bool,
    /// Looks at processes that were left to the next sweep.
    postponed: u64,
}

/// Numbers for the job's report.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::capture) struct CensusTotals {
    pub(in crate::capture) failures: u64,
    pub(in crate::capture) attached_files: usize,
}

impl Census {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event, and names the library that the interface alone does not tell.
    pub(in crate::capture) fn refine(&self, event: &mut TlsEvent) {
        let TlsEvent::Data(chunk) = event else { return };
        let pid = chunk.session.process.pid;
        let mut state = self.state();
        if chunk.library == TlsLibrary::OpenSsl
            && let Some(process) = state.found.get(&pid)
            && let Some(fork) = process.libraries.iter().find(|used| is_fork(used.library))
        {
            chunk.library = fork.library;
        }
        if state.seen.len() < MAX_PROCESSES || state.seen.contains_key(&pid) {
            let witness = chunk.socket.map(|(_, witness)| witness);
            state.seen.entry(pid).or_default().count(chunk.hook, chunk.data.len() as u64, witness);
        }
    }

    pub(super) fn put(&self, process: TlsProcess) {
        let mut state = self.state();
        if state.found.len() < MAX_PROCESSES || state.found.contains_key(&process.pid) {
            state.found.insert(process.pid, process);
        }
    }

    pub(super) fn forget(&self, pid: u32) {
        let mut state = self.state();
        state.found.remove(&pid);
        state.seen.remove(&pid);
    }

    /// Forgets processes that are not among the living.
    pub(super) fn retain(&self, lives: impl Fn(u32) -> bool) {
        let mut state = self.state();
        state.found.retain(|pid, _| lives(*pid));
        state.seen.retain(|pid, _| lives(*pid));
    }

    pub(super) fn postpone(&self) {
        self.state().postponed += 1;
    }

    /// Looks at processes that were left to the next sweep, because too many were due.
    pub(in crate::capture) fn postponed(&self) -> u64 {
        self.state().postponed
    }

    pub(super) fn count_failure(&self) {
        self.state().failures += 1;
    }

    pub(super) fn set_attached(&self, files: usize) {
        self.state().attached_files = files;
    }

    pub(super) fn settle(&self) {
        self.state().has_settled = true;
    }

    /// Whether every process that lived at the start was looked at.
    pub(in crate::capture) fn has_settled(&self) -> bool {
        self.state().has_settled
    }

    pub(in crate::capture) fn totals(&self) -> CensusTotals {
        let state = self.state();
        CensusTotals { failures: state.failures, attached_files: state.attached_files }
    }

    /// All processes with TLS, by pid.
    pub(in crate::capture) fn processes(&self) -> Vec<TlsProcess> {
        let state = self.state();
        let seen = |pid: &u32| state.seen.get(pid).copied().unwrap_or_default();
        let processes =
            state.found.iter().map(|(pid, found)| TlsProcess { seen: seen(pid), ..found.clone() });
        let mut processes: Vec<_> = processes.collect();
        processes.sort_by_key(|process| process.pid);
        processes
    }
}

/// Has OpenSSL's interface.
fn is_fork(library: TlsLibrary) -> bool {
    matches!(library, TlsLibrary::BoringSsl | TlsLibrary::LibreSsl)
}
