//! The thread that finds TLS libraries in processes and attaches to them.
//!
//! A process is looked at shortly after it executes a program (the loader has mapped its libraries
//! then), again a little later, when it begins to use sockets (what it loaded by dlopen is there by
//! then), and every [`SWEEP`]: no hook is needed at mmap, which every process calls all the time.
//! Attaching is per file and for all processes, so that only the first process with a library can be
//! missed; libraries in the usual places are attached to before that. All looking is paid from a
//! budget of time, so that a storm of processes costs one tenth of a CPU at most.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use libbpf_rs::Object;

use super::attachments::Attachments;
use super::binary::FileId;
use super::census::{Census, TlsProcess, TlsUse};
use super::process_maps::{self, MappedFile, Mapping};
use crate::capture::bpf::UprobeMethod;
use crate::capture::scope::Executables;
use crate::capture::{CaptureConfig, CaptureError};
use crate::runtime::spawn_thread;

/// When a process is looked at after it executed a program: the loader takes some milliseconds, an
/// interpreter its time to import.
const AFTER_EXEC: [Duration; 3] =
    [Duration::from_millis(4), Duration::from_millis(60), Duration::from_millis(700)];
/// A process that used a socket is not looked at again within this time.
const BETWEEN_SOCKET_LOOKS: Duration = Duration::from_millis(20);
/// Looks at a process because of its sockets.
const MAX_SOCKET_LOOKS: u32 = 4;
/// How often every process is looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// Processes waiting to be looked at; with more, some are left to the sweep.
const MAX_PENDING: usize = 16_384;
/// Notices that may wait; with more, some are left to the sweep.
const MAX_NOTICES: usize = 8192;
/// Files remembered by what `/proc` says of them; all are forgotten then.
const MAX_FILES: usize = 65_536;
/// Work that may be done at once, and which part of the time may be worked.
const BURST: Duration = Duration::from_millis(500);
const SHARE: u32 = 10;
/// Less than this is not worth waking up for.
const LEAST: Duration = Duration::from_millis(5);

/// Directories whose TLS libraries are attached to before anybody uses them.
const LIBRARY_FOLDERS: [&str; 7] = [
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
];
const LIBRARY_NAMES: [&str; 4] = ["libssl.so", "libgnutls.so", "libnspr4.so", "libssl3.so"];
/// Most files in such a directory that are looked at.
const MAX_FOLDER_FILES: usize = 20_000;

/// What made a process worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Exec(u32),
    Exit(u32),
    Socket(u32),
    /// Which executables are wanted was changed.
    Rescope,
}

/// Tells the discovery what happens to processes; never waits.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Noticing {
    sender: SyncSender<Notice>,
    census: Arc<Census>,
}

impl Noticing {
    /// Loses a notice, counted, when too many wait: the sweep makes up for it.
    fn send(&self, notice: Notice) {
        if self.sender.try_send(notice).is_err() {
            self.census.postpone();
        }
    }

    pub(in crate::capture) fn exec(&self, pid: u32) {
        self.send(Notice::Exec(pid));
    }

    pub(in crate::capture) fn exit(&self, pid: u32) {
        self.send(Notice::Exit(pid));
    }

    pub(in crate::capture) fn rescope(&self) {
        self.send(Notice::Rescope);
    }

    pub(in crate::capture) fn socket(&self, pid: u32) {
        self.send(Notice::Socket(pid));
    }
}

/// The running discovery; dropping it detaches from all files.
#[derive(Debug)]
pub(in crate::capture) struct DiscoveryHandle {
    thread: Option<std::thread::JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    sender: SyncSender<Notice>,
    census: Arc<Census>,
}

impl DiscoveryHandle {
    pub(in crate::capture) fn noticing(&self) -> Noticing {
        Noticing { sender: self.sender.clone(), census: Arc::clone(&self.census) }
    }

    /// Detaches everything and ends the thread. Idempotent.
    pub(in crate::capture) fn stop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Only wakes the thread; a full queue keeps it awake anyway.
        let _ = self.sender.try_send(Notice::Exit(0));
        if let Some(thread) = self.thread.take() {
            // A panic was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for DiscoveryHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread.
pub(in crate::capture) fn spawn(
    object: Arc<Object>,
    method: UprobeMethod,
    config: &CaptureConfig,
    census: Arc<Census>,
    executables: Arc<Executables>,
) -> Result<DiscoveryHandle, CaptureError> {
    let (sender, notices) = sync_channel(MAX_NOTICES);
    let stopping = Arc::new(AtomicBool::new(false));
    let mut discovery = Discovery {
        attachments: Attachments::new(object, method, config.tls_secrets),
        own_pid: config.own_pid,
        census: Arc::clone(&census),
        executables,
        files: HashMap::new(),
        looks: HashMap::new(),
        pending: BTreeSet::new(),
        budget: Budget::new(),
        stopping: Arc::clone(&stopping),
    };
    let thread = spawn_thread("capture-tls", move || discovery.run(&notices))
        .map_err(|error| CaptureError::Thread { error })?;
    Ok(DiscoveryHandle { thread: Some(thread), stopping, sender, census })
}

/// Time that may be spent: [`BURST`] at once, one [`SHARE`]th in the long run.
#[derive(Debug)]
struct Budget {
    left: Duration,
    at: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    /// How long to wait until work may go on; zero if it may now.
    fn wait(&mut self) -> Duration {
        let now = Instant::now();
        self.left = (self.left + (now - self.at) / SHARE).min(BURST);
        self.at = now;
        if self.left < LEAST { LEAST * SHARE } else { Duration::ZERO }
    }

    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

/// What is known of looking at a process.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    last: Option<Instant>,
    because_of_sockets: u32,
}

#[derive(Debug)]
struct Discovery {
    attachments: Attachments,
    own_pid: u32,
    census: Arc<Census>,
    executables: Arc<Executables>,
    /// Which file is behind what `/proc` says, or why it could not be opened.
    files: HashMap<MappedFile, Result<FileId, String>>,
    looks: HashMap<u32, Looks>,
    /// When to look at whom.
    pending: BTreeSet<(Instant, u32)>,
    budget: Budget,
    stopping: Arc<AtomicBool>,
}

impl Discovery {
    fn run(&mut self, notices: &Receiver<Notice>) {
        self.attach_usual_libraries();
        for pid in process_maps::all() {
            if self.is_stopping() {
                return;
            }
            self.look_at(pid);
        }
        self.census.set_attached(self.attachments.attached());
        self.census.settle();
        let mut next_sweep = Instant::now() + SWEEP;
        while !self.is_stopping() {
            let now = Instant::now();
            if now >= next_sweep {
                self.sweep();
                next_sweep = now + SWEEP;
            }
            let due = self.pending.first().map_or(next_sweep, |(at, _)| next_sweep.min(*at));
            let wait = due.saturating_duration_since(now).max(self.budget.wait());
            match notices.recv_timeout(wait) {
                Ok(notice) => {
                    self.take(notice);
                    while let Ok(notice) = notices.try_recv() {
                        self.take(notice);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_due();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn take(&mut self, notice: Notice) {
        let now = Instant::now();
        match notice {
            Notice::Exec(pid) => {
                self.looks.insert(pid, Looks::default());
                self.census.forget(pid);
                for delay in AFTER_EXEC {
                    self.plan(now + delay, pid);
                }
            }
            Notice::Rescope => self.sweep(),
            Notice::Exit(pid) => {
                // What is planned for it is left out when it is due.
                self.looks.remove(&pid);
                self.census.forget(pid);
            }
            Notice::Socket(pid) => {
                let looks = self.looks.entry(pid).or_default();
                let is_recent = looks.last.is_some_and(|last| now - last < BETWEEN_SOCKET_LOOKS);
                let is_worth_it = looks.because_of_sockets < MAX_SOCKET_LOOKS && !is_recent;
                if is_worth_it {
                    looks.because_of_sockets += 1;
                    self.plan(now, pid);
                }
            }
        }
    }

    fn plan(&mut self, at: Instant, pid: u32) {
        if self.pending.len() < MAX_PENDING {
            self.pending.insert((at, pid));
        } else {
            self.census.postpone();
        }
    }

    fn look_at_due(&mut self) {
        while let Some(&(at, pid)) = self.pending.first() {
            let lives = self.looks.contains_key(&pid);
            let must_wait = at > Instant::now() || (lives && !self.budget.wait().is_zero());
            if must_wait || self.is_stopping() {
                return;
            }
            self.pending.pop_first();
            if lives {
                self.look_at(pid);
            }
        }
    }

    fn sweep(&mut self) {
        let living = process_maps::all();
        self.looks.retain(|pid, _| living.contains(pid));
        self.census.retain(|pid| living.contains(&pid));
        let now = Instant::now();
        for pid in living {
            self.looks.entry(pid).or_default();
            self.plan(now, pid);
        }
        // Files are looked up anew, so that an inode number that came again is noticed.
        self.files.clear();
        self.attachments.drop_unused();
        self.census.set_attached(self.attachments.attached());
    }

    fn look_at(&mut self, pid: u32) {
        if pid == self.own_pid {
            return;
        }
        let begun = Instant::now();
        match process_maps::of(pid) {
            Ok(mappings) => self.report(pid, &mappings),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = format!("its mappings cannot be read: {error}; remorad needs CAP_SYS_PTRACE");
                self.put(pid, Vec::new(), why);
            }
            // A process that is gone by now needs nothing.
            Err(_) => {}
        }
        self.looks.entry(pid).or_default().last = Some(Instant::now());
        self.budget.spend(begun.elapsed());
    }

    fn report(&mut self, pid: u32, mappings: &[Mapping]) {
        let before = self.attachments.attached();
        let libraries: Vec<_> = mappings.iter().filter_map(|mapping| self.use_of(pid, mapping)).collect();
        let reason = match self.left_out(pid, mappings) {
            Some(why) if !libraries.is_empty() => why.to_owned(),
            _ => self.reasons(pid, mappings, !libraries.is_empty()),
        };
        if !libraries.is_empty() || !reason.is_empty() {
            self.put(pid, libraries, reason);
        }
        let attached = self.attachments.attached();
        if attached != before {
            self.census.set_attached(attached);
        }
    }

    /// Tells the kernel whose process it is, if the scope asks for executables; why nothing is taken of it.
    fn left_out(&self, pid: u32, mappings: &[Mapping]) -> Option<&'static str> {
        if !self.executables.is_set() {
            return None;
        }
        let path = process_maps::executable_of(pid);
        let file = &mappings.iter().find(|mapping| mapping.file.path == path)?.file;
        self.executables.seen(&path, &file.device, file.inode)
    }

    fn put(&self, pid: u32, libraries: Vec<TlsUse>, reason: String) {
        let name = process_maps::name_of(pid);
        self.census.put(TlsProcess { pid, name, libraries, reason, ..TlsProcess::default() });
    }

    /// What else a process encrypts with, or what hides it, and what to do; empty if nothing.
    fn reasons(&self, pid: u32, mappings: &[Mapping], has_libraries: bool) -> String {
        let mut reasons = own_tls(mappings).map(str::to_owned).into_iter().collect::<Vec<_>>();
        let executable = if has_libraries { String::new() } else { process_maps::executable_of(pid) };
        for mapping in mappings {
            let path = &mapping.file.path;
            let why = match self.files.get(&mapping.file) {
                Some(Ok(id)) => self.attachments.reason_of(id, *path == executable).map(str::to_owned),
                Some(Err(error)) if *path == executable || is_tls_library(path) => {
                    Some(format!("it cannot be opened: {error}"))
                }
                _ => None,
            };
            reasons.extend(why.map(|why| format!("{path}: {why}")));
        }
        reasons.join("; ")
    }

    fn use_of(&mut self, pid: u32, mapping: &Mapping) -> Option<TlsUse> {
        let path = mapping.file.path.as_str();
        if let Some(id) = self.files.get(&mapping.file) {
            let id = id.as_ref().ok()?;
            if self.attachments.is_known(id) {
                return self.attachments.use_of(id, path);
            }
        }
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        let opened = process_maps::open(pid, mapping).and_then(|file| Ok((FileId::of(&file)?, file)));
        match opened {
            Ok((id, file)) => {
                let found = self.attachments.visit(&id, file, path, false);
                if found.has_failed {
                    self.census.count_failure();
                }
                self.files.insert(mapping.file.clone(), Ok(id));
                found.used
            }
            Err(error) => {
                // One that ended meanwhile says nothing about its files.
                if Path::new(&format!("/proc/{pid}")).exists() {
                    self.files.insert(mapping.file.clone(), Err(error.to_string()));
                }
                None
            }
        }
    }

    /// The first process of its kind is often a short one.
    fn attach_usual_libraries(&mut self) {
        let mut seen = BTreeSet::new();
        for folder in LIBRARY_FOLDERS {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FOLDER_FILES) {
                let name = entry.file_name();
                if is_tls_library(&name.to_string_lossy())
                    && let Ok(path) = std::fs::canonicalize(entry.path())
                    && seen.insert(path.clone())
                {
                    self.attach_standing(&path);
                }
            }
        }
    }

    fn attach_standing(&mut self, path: &Path) {
        let opened = File::open(path).and_then(|file| Ok((FileId::of(&file)?, file)));
        let Ok((id, file)) = opened else { return };
        if self.attachments.visit(&id, file, &path.to_string_lossy(), true).has_failed {
            self.census.count_failure();
        }
    }
}

/// By the name of the file.
fn is_tls_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    LIBRARY_NAMES.iter().any(|library| name.starts_with(library))
}

/// Why nothing can be seen of a process that brings its own TLS.
fn own_tls(mappings: &[Mapping]) -> Option<&'static str> {
    let is_java = |mapping: &Mapping| mapping.file.path.ends_with("/libjvm.so");
    mappings.iter().any(is_java).then_some(
        "Java encrypts in Java code (JSSE), which has no place for probes; with a provider that uses the \
         system's OpenSSL it is seen",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_runs_out_and_fills_up_again() {
        let mut budget = Budget::new();
        assert!(budget.wait().is_zero());
        budget.spend(BURST * 2);
        assert!(!budget.wait().is_zero());
        budget.at -= BURST;
        assert!(budget.wait().is_zero());
        assert!(budget.left < BURST);
    }

    #[test]
    fn notices_that_do_not_fit_are_counted() {
        let census = Arc::new(Census::default());
        let (sender, _notices) = sync_channel(1);
        let noticing = Noticing { sender, census: Arc::clone(&census) };
        (1..=3).for_each(|pid| noticing.exec(pid));
        assert_eq!(census.postponed(), 2);
    }

    #[test]
    fn java_is_said_to_be_out_of_reach() {
        let file = |path: &str| Mapping {
            file: MappedFile { device: "0:1".to_owned(), inode: 1, path: path.to_owned() },
            range: String::new(),
        };
        let java = own_tls(&[file("/usr/lib/jvm/lib/server/libjvm.so")]);
        assert!(java.is_some_and(|why| why.contains("JSSE")));
        assert_eq!(own_tls(&[file("/usr/bin/cat")]), None);
        assert!(is_tls_library("/opt/x/libssl.so.1.1 (deleted)") && !is_tls_library("/opt/libssl.so/x"));
    }
}
