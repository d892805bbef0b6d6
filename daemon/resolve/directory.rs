//! The directory: sockets to processes to names, shared by the threads that fill and ask it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;

use super::names::Names;
use super::sockets::Sockets;
use crate::engine::dissect::registry;
use crate::engine::model::{
    AddrPort, Entry, Peer, Process, ProcessEvent, ProcessKey, Record, SocketCookie, SocketEvent, SocketTuple,
    TcpState, Timestamp,
};
use crate::host::{Inspector, RecentMap, Sighting};

/// Processes remembered; a host has a few thousand with sockets.
const MAX_PROCESSES: usize = 16_384;
/// Digits of a container id that people use.
const SHORT_CONTAINER_ID: usize = 12;

/// Which process is at which socket. Filled by the socket thread, asked by the entry thread.
#[derive(Debug)]
pub struct Directory {
    /// Only the socket thread takes this one; it is held while `/proc` is read. `None`: the records are of
    /// another time or host, and say themselves what is known.
    inspector: Option<Mutex<Inspector>>,
    known: Mutex<Known>,
    names: Names,
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
        Self { inspector: Some(Mutex::new(inspector)), known: Mutex::default(), names: Names::default() }
    }

    /// An empty directory for recorded events: processes are what [`ProcessEvent::Described`] says.
    pub fn recorded() -> Self {
        Self { inspector: None, known: Mutex::default(), names: Names::default() }
    }

    /// Takes in an event. May read `/proc`; packets and losses are nothing to it. Returns what was found
    /// out about a process by that, for whoever records events.
    pub fn apply(&self, record: &Record) -> Option<ProcessEvent> {
        let learned = match record {
            Record::Socket(event) => self.apply_socket(event),
            Record::Process(event) => self.apply_process(event),
            Record::Packet(_) | Record::Tls(_) | Record::Secret(_) | Record::Loss(_) => None,
        };
        let (process, description) = learned?;
        Some(ProcessEvent::Described { at: record.at(), process, description })
    }

    fn apply_socket(&self, event: &SocketEvent) -> Option<(ProcessKey, Arc<Process>)> {
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
                let learned = self.learn(&seen);
                lock(&self.known).sockets.seen_owner(*cookie, *process, *evidence);
                return learned;
            }
            SocketEvent::State { cookie, tuple, netns, state, .. } => {
                lock(&self.known).sockets.changed_state(*cookie, *tuple, *netns, *state);
            }
            SocketEvent::Destroyed { at, cookie } => lock(&self.known).sockets.destroyed(*cookie, *at),
        }
        None
    }

    fn apply_process(&self, event: &ProcessEvent) -> Option<(ProcessKey, Arc<Process>)> {
        if let ProcessEvent::Described { process, description, .. } = event {
            lock(&self.known).processes.insert(*process, Arc::clone(description));
        }
        // The end of a process is no reason to forget it: entries about it are still to come.
        let ProcessEvent::Exec { process, ppid, uid, name, cgroup_id, path, .. } = event else { return None };
        if let Some(inspector) = &self.inspector {
            lock(inspector).executed(*process, path.clone());
        }
        // Only processes with sockets are described; this one has become another program.
        let before = lock(&self.known).processes.remove(process)?;
        self.learn(&Sighting {
            key: *process,
            ppid: *ppid,
            uid: *uid,
            name: name.clone(),
            cgroup_id: *cgroup_id,
            netns: before.netns,
        })
    }

    /// Describes a process, once.
    fn learn(&self, seen: &Sighting) -> Option<(ProcessKey, Arc<Process>)> {
        if lock(&self.known).processes.get(&seen.key).is_some() {
            return None;
        }
        let process = match &self.inspector {
            Some(inspector) => lock(inspector).inspect(seen),
            None => as_seen(seen),
        };
        let process = Arc::new(process);
        lock(&self.known).processes.insert(seen.key, Arc::clone(&process));
        Some((seen.key, process))
    }

    /// Everything known, as the events that a new directory learns it from: who owns the sockets that
    /// live, what listens, and what is known of the owners.
    pub fn identities(&self, now: Timestamp) -> Vec<Record> {
        let known = lock(&self.known);
        let mut described = HashSet::new();
        let mut records: Vec<Record> = known
            .sockets
            .listeners()
            .map(|(netns, local, cookie)| listening(now, netns, local, cookie))
            .collect();
        for (cookie, evidence, key) in known.sockets.owners() {
            let Some(process) = known.processes.peek(&key) else { continue };
            if described.insert(key) {
                let description = Arc::clone(process);
                let event = ProcessEvent::Described { at: now, process: key, description };
                records.push(Record::Process(event));
            }
            records.push(Record::Socket(SocketEvent::Owner {
                at: now,
                cookie,
                process: key,
                ppid: process.ppid,
                uid: process.uid,
                name: process.name.clone(),
                cgroup_id: process.cgroup_id,
                netns: process.netns,
                evidence,
            }));
        }
        records
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

    /// Fills in process, DNS name and name of both ends; what a peer already has stays. What the entry
    /// itself teaches about names is known from then on.
    pub fn name_entry(&self, entry: &mut Entry) {
        registry::names(entry, &mut |fact| self.names.learn(fact));
        let at = entry.timing.began();
        for peer in [&mut entry.src, &mut entry.dst] {
            self.name_peer(peer, at);
        }
    }

    fn name_peer(&self, peer: &mut Peer, at: Timestamp) {
        if peer.dns.is_empty() {
            peer.dns = self.names.of(peer.addr.ip, at);
        }
        if peer.dns.is_empty()
            && let Some(translated) = peer.translated
        {
            peer.dns = self.names.of(translated.ip, at);
        }
        if peer.process.is_none() && peer.socket.is_known() {
            peer.process = self.process_of(peer.socket);
        }
        if peer.name.is_empty() {
            peer.name.clone_from(&peer.dns);
        }
        if peer.name.is_empty()
            && let Some(process) = &peer.process
        {
            peer.name = name_of(process);
        }
    }

    /// The DNS name of an address at a moment; empty when none is known.
    pub fn dns_name(&self, ip: IpAddr, at: Timestamp) -> CompactString {
        self.names.of(ip, at)
    }

    /// Forgets sockets that ended long ago. Called now and then with the present time.
    pub fn expire(&self, now: Timestamp) {
        lock(&self.known).sockets.expire(now);
    }
}

/// All that an event alone tells of a process.
fn as_seen(seen: &Sighting) -> Process {
    Process {
        pid: seen.key.pid,
        ppid: seen.ppid,
        uid: seen.uid,
        name: seen.name.clone(),
        cgroup_id: seen.cgroup_id,
        netns: seen.netns,
        ..Process::default()
    }
}

fn listening(at: Timestamp, netns: u32, local: AddrPort, cookie: SocketCookie) -> Record {
    let tuple = SocketTuple { local, remote: AddrPort::default() };
    Record::Socket(SocketEvent::State { at, cookie, tuple, netns, state: TcpState::LISTEN })
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
    fn what_is_known_survives_as_records() {
        let before = empty();
        before.apply(&owner(1, 100, OwnerEvidence::DataTransfer));
        before.apply(&listening(Timestamp(1), 4, AddrPort::default(), SocketCookie(9)));
        before.apply(&owner(9, 200, OwnerEvidence::Create));
        let after = Directory::recorded();
        for record in before.identities(Timestamp(5)) {
            after.apply(&record);
        }
        assert!(after.is_settled(SocketCookie(1)));
        for cookie in [1, 9].map(SocketCookie) {
            assert_eq!(after.process_of(cookie), before.process_of(cookie));
        }
        let mut known = after.identities(Timestamp(5));
        let mut expected = before.identities(Timestamp(5));
        known.sort_by_key(|record| format!("{record:?}"));
        expected.sort_by_key(|record| format!("{record:?}"));
        assert_eq!(known, expected);
    }

    #[test]
    fn a_recorded_process_is_what_was_written_down() {
        let live = empty();
        let event = owner(1, 100, OwnerEvidence::Connect);
        let described = live.apply(&event).expect("a new process");
        let recorded = Directory::recorded();
        recorded.apply(&event);
        let mut description = Process::clone(&live.process_of(SocketCookie(1)).expect("known"));
        assert_eq!(live.apply(&event), None, "once");
        description.unit = "web.service".into();
        let ProcessEvent::Described { at, process, .. } = described else { panic!("{described:?}") };
        let description = Arc::new(description);
        recorded.apply(&Record::Process(ProcessEvent::Described {
            at,
            process,
            description: Arc::clone(&description),
        }));
        assert_eq!(recorded.process_of(SocketCookie(1)), Some(description));
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
        empty().name_peer(&mut peer, Timestamp(1));
        assert_eq!(peer, Peer::default());
    }
}
