//! The directory: sockets to processes to names, shared by the threads that fill and ask it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;

use super::sockets::Sockets;
use crate::engine::model::{
    Entry, Peer, Process, ProcessEvent, ProcessKey, Record, SocketCookie, SocketEvent, Timestamp,
};
use crate::host::{Inspector, RecentMap, Sighting};

/// Processes remembered; a host has a few thousand with sockets.
const MAX_PROCESSES: usize = 16_384;
/// Digits of a container id that people use.
const SHORT_CONTAINER_ID: usize = 12;

/// Which process is at which socket. Filled by the socket thread, asked by the entry thread.
#[derive(Debug, Default)]
pub struct Directory {
    /// Only the socket thread takes this one; it is held while `/proc` is read.
    inspector: Mutex<Inspector>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    sockets: Sockets,
    processes: RecentMap<ProcessKey, Arc<Process>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { sockets: Sockets::default(), processes: RecentMap::new(MAX_PROCESSES) }
    }
}

/// A panic while a lock was held left the maps usable: every change to them is a single call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Directory {
    /// An empty directory that describes processes by `inspector`.
    pub fn new(inspector: Inspector) -> Self {
        Self { inspector: Mutex::new(inspector), known: Mutex::default() }
    }

    /// Takes in an event. May read `/proc`; packets and losses are nothing to it.
    pub fn apply(&self, record: &Record) {
        match record {
            Record::Socket(event) => self.apply_socket(event),
            Record::Process(event) => self.apply_process(event),
            Record::Packet(_) | Record::Tls(_) | Record::Loss(_) => {}
        }
    }

    fn apply_socket(&self, event: &SocketEvent) {
        match event {
            SocketEvent::Owner { cookie, process, ppid, uid, name, cgroup_id, netns, evidence, .. } => {
                let seen = Sighting {
                    key: *process,
                    ppid: *ppid,
                    uid: *uid,
                    name: name.clone(),
                    cgroup_id: *cgroup_id,
                    netns: *netns,
                };
                self.learn(&seen);
                lock(&self.known).sockets.seen_owner(*cookie, *process, *evidence);
            }
            SocketEvent::State { cookie, tuple, netns, state, .. } => {
                lock(&self.known).sockets.changed_state(*cookie, *tuple, *netns, *state);
            }
            SocketEvent::Destroyed { at, cookie } => lock(&self.known).sockets.destroyed(*cookie, *at),
        }
    }

    fn apply_process(&self, event: &ProcessEvent) {
        // The end of a process is no reason to forget it: entries about it are still to come.
        let ProcessEvent::Exec { process, ppid, uid, name, cgroup_id, path, .. } = event else { return };
        lock(&self.inspector).executed(*process, path.clone());
        // Only processes with sockets are described; this one has become another program.
        let Some(before) = lock(&self.known).processes.remove(process) else { return };
        self.learn(&Sighting {
            key: *process,
            ppid: *ppid,
            uid: *uid,
            name: name.clone(),
            cgroup_id: *cgroup_id,
            netns: before.netns,
        });
    }

    /// Describes a process, once.
    fn learn(&self, seen: &Sighting) {
        if lock(&self.known).processes.get(&seen.key).is_some() {
            return;
        }
        let process = Arc::new(lock(&self.inspector).inspect(seen));
        lock(&self.known).processes.insert(seen.key, process);
    }

    /// The process at a socket, by the best evidence so far.
    pub fn process_of(&self, cookie: SocketCookie) -> Option<Arc<Process>> {
        let mut known = lock(&self.known);
        let key = known.sockets.owner(cookie)?;
        known.processes.get(&key).cloned()
    }

    /// Whether waiting for better evidence about a socket is pointless.
    pub fn is_settled(&self, cookie: SocketCookie) -> bool {
        lock(&self.known).sockets.is_settled(cookie)
    }

    /// Fills in process and name of both ends; what a peer already has stays.
    pub fn name_entry(&self, entry: &mut Entry) {
        for peer in [&mut entry.src, &mut entry.dst] {
            self.name_peer(peer);
        }
    }

    fn name_peer(&self, peer: &mut Peer) {
        if peer.process.is_none() && peer.socket.is_known() {
            peer.process = self.process_of(peer.socket);
        }
        if peer.name.is_empty()
            && let Some(process) = &peer.process
        {
            peer.name = name_of(process);
        }
    }

    /// Forgets sockets that ended long ago. Called now and then with the present time.
    pub fn expire(&self, now: Timestamp) {
        lock(&self.known).sockets.expire(now);
    }
}

/// What people call a process: its service, its container, its own name. Scopes are no names: the
/// sessions of users are scopes.
fn name_of(process: &Process) -> CompactString {
    if process.unit.ends_with(".service") {
        return process.unit.clone();
    }
    if let Some(short) = process.container_id.get(..SHORT_CONTAINER_ID.min(process.container_id.len()))
        && !short.is_empty()
    {
        return short.into();
    }
    process.name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::OwnerEvidence;

    fn owner(cookie: u64, pid: u32, evidence: OwnerEvidence) -> Record {
        Record::Socket(SocketEvent::Owner {
            at: Timestamp(1),
            cookie: SocketCookie(cookie),
            process: ProcessKey { pid, started: 5 },
            ppid: 1,
            uid: Some(33),
            name: "worker".into(),
            cgroup_id: 1,
            netns: 4,
            evidence,
        })
    }

    fn empty() -> Directory {
        Directory::new(Inspector::new("/nonexistent"))
    }

    #[test]
    fn a_socket_gets_the_process_that_used_it() {
        let directory = empty();
        assert!(!directory.is_settled(SocketCookie(1)));
        directory.apply(&owner(1, 100, OwnerEvidence::Create));
        assert!(!directory.is_settled(SocketCookie(1)));
        directory.apply(&owner(1, 200, OwnerEvidence::DataTransfer));
        assert!(directory.is_settled(SocketCookie(1)));
        let process = directory.process_of(SocketCookie(1)).expect("known");
        assert_eq!(
            (process.pid, process.uid, process.name.as_str(), process.netns),
            (200, Some(33), "worker", 4)
        );
    }

    #[test]
    fn an_exec_makes_the_owner_another_program() {
        let directory = empty();
        directory.apply(&owner(1, 100, OwnerEvidence::Connect));
        directory.apply(&Record::Process(ProcessEvent::Exec {
            at: Timestamp(2),
            process: ProcessKey { pid: 100, started: 5 },
            ppid: 1,
            uid: Some(0),
            name: "curl".into(),
            cgroup_id: 1,
            path: "/usr/bin/curl".into(),
        }));
        let process = directory.process_of(SocketCookie(1)).expect("known");
        assert_eq!(
            (process.name.as_str(), process.exe.as_ref(), process.netns),
            ("curl", "/usr/bin/curl", 4)
        );
    }

    #[test]
    fn a_name_is_the_service_the_container_or_the_program() {
        let name = |unit: &str, container: &str| {
            name_of(&Process {
                unit: unit.into(),
                container_id: container.into(),
                name: "nginx".into(),
                ..Process::default()
            })
        };
        assert_eq!(name("web.service", "0123456789abcdef"), "web.service");
        assert_eq!(name("session-1.scope", "0123456789abcdef"), "0123456789ab");
        assert_eq!(name("session-1.scope", "web"), "web");
        assert_eq!(name("session-1.scope", ""), "nginx");
    }

    #[test]
    fn a_peer_without_a_socket_here_stays_as_it_is() {
        let mut peer = Peer::default();
        empty().name_peer(&mut peer);
        assert_eq!(peer, Peer::default());
    }
}
