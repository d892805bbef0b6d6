//! Describes processes: from `/proc` while they live, from what the kernel said when they do not.

use std::path::PathBuf;
use std::sync::Arc;

use compact_str::CompactString;

use super::cgroup::CgroupFacts;
use super::process::{self, ProcFacts};
use super::recent::RecentMap;
use crate::engine::model::{Process, ProcessKey};

/// Executed programs remembered for processes that are gone when their socket is seen.
const MAX_EXECS: usize = 8192;
/// cgroups remembered for the same.
const MAX_CGROUPS: usize = 4096;
/// The id of a root cgroup: on hybrid hosts all processes have it, so it tells nothing.
const ROOT_CGROUP: u64 = 1;

/// What an event of the kernel said about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Which process.
    pub key: ProcessKey,
    /// Parent's pid, 0 if not known.
    pub ppid: u32,
    /// Real uid.
    pub uid: Option<u32>,
    /// `comm`.
    pub name: CompactString,
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// Network namespace, 0 if not known.
    pub netns: u32,
}

/// Describes processes; remembers what helps when one is gone. Blocks on `/proc`, some 50 us each.
#[derive(Debug)]
pub struct Inspector {
    proc: PathBuf,
    execs: RecentMap<ProcessKey, CompactString>,
    cgroups: RecentMap<u64, CgroupFacts>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Inspector {
    /// An inspector that reads below `proc`.
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), execs: RecentMap::new(MAX_EXECS), cgroups: RecentMap::new(MAX_CGROUPS) }
    }

    /// Remembers the program that a process runs now.
    pub fn executed(&mut self, key: ProcessKey, path: CompactString) {
        self.execs.insert(key, path);
    }

    /// Describes a process: by `/proc` if it still is the one that was seen, else by what was seen.
    pub fn inspect(&mut self, seen: &Sighting) -> Process {
        let alive = process::read(&self.proc, seen.key.pid);
        match alive.filter(|facts| process::same_start(facts.started, seen.key.started)) {
            Some(facts) => self.describe_living(seen, facts),
            None => self.describe_gone(seen),
        }
    }

    fn describe_living(&mut self, seen: &Sighting, facts: ProcFacts) -> Process {
        let cgroup = if facts.cgroup.path.is_empty() {
            // It ended while it was read.
            self.lost_cgroup(seen)
        } else {
            if seen.cgroup_id > ROOT_CGROUP {
                self.cgroups.insert(seen.cgroup_id, facts.cgroup.clone());
            }
            facts.cgroup
        };
        let exe = if facts.exe.is_empty() { self.executed_path(seen.key) } else { facts.exe.as_str().into() };
        Process {
            pid: seen.key.pid,
            ppid: facts.ppid,
            uid: facts.uid.or(seen.uid),
            name: facts.name,
            exe,
            cgroup_id: seen.cgroup_id,
            cgroup: cgroup.path.as_str().into(),
            container_id: cgroup.container_id,
            unit: cgroup.unit,
            netns: seen.netns,
        }
    }

    fn describe_gone(&mut self, seen: &Sighting) -> Process {
        let cgroup = self.lost_cgroup(seen);
        Process {
            pid: seen.key.pid,
            ppid: seen.ppid,
            uid: seen.uid,
            name: seen.name.clone(),
            exe: self.executed_path(seen.key),
            cgroup_id: seen.cgroup_id,
            cgroup: cgroup.path.as_str().into(),
            container_id: cgroup.container_id,
            unit: cgroup.unit,
            netns: seen.netns,
        }
    }

    fn executed_path(&mut self, key: ProcessKey) -> Arc<str> {
        self.execs.get(&key).map_or_else(|| Arc::from(""), |path| Arc::from(path.as_str()))
    }

    /// The cgroup of a process that is gone: known by id, or its parent's, which children start in.
    fn lost_cgroup(&mut self, seen: &Sighting) -> CgroupFacts {
        if seen.cgroup_id > ROOT_CGROUP
            && let Some(known) = self.cgroups.get(&seen.cgroup_id)
        {
            return known.clone();
        }
        let parent = (seen.ppid > 1).then(|| process::read_cgroup(&self.proc, seen.ppid)).flatten();
        parent.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn add(proc: &std::path::Path, pid: u32, ticks: u64, unit: &str) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(&dir).expect("makes it");
        let stat = format!("{pid} (name{pid}) S 7 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 1000 10");
        fs::write(dir.join("stat"), stat).expect("writes");
        fs::write(dir.join("cgroup"), format!("0::/system.slice/{unit}\n")).expect("writes");
    }

    fn sighting(pid: u32, started: u64) -> Sighting {
        let key = ProcessKey { pid, started };
        Sighting { key, ppid: 7, uid: Some(33), name: "seen".into(), cgroup_id: 99, netns: 5 }
    }

    #[test]
    fn a_living_process_is_described_by_proc() {
        let proc = tempfile::tempdir().expect("temporary directory");
        add(proc.path(), 42, 100, "web.service");
        let process = Inspector::new(proc.path()).inspect(&sighting(42, 1_000_000_123));
        assert_eq!(
            (process.name.as_str(), process.unit.as_str(), process.netns),
            ("name42", "web.service", 5)
        );
        assert_eq!(process.uid, Some(33), "what /proc does not say comes from the event");
    }

    #[test]
    fn a_reused_pid_is_not_taken_for_the_process() {
        let proc = tempfile::tempdir().expect("temporary directory");
        add(proc.path(), 42, 900, "other.service");
        let mut inspector = Inspector::new(proc.path());
        inspector.executed(ProcessKey { pid: 42, started: 1_000_000_123 }, "/usr/bin/curl".into());
        let process = inspector.inspect(&sighting(42, 1_000_000_123));
        assert_eq!(
            (process.name.as_str(), process.exe.as_ref(), process.unit.as_str()),
            ("seen", "/usr/bin/curl", "")
        );
    }

    #[test]
    fn a_process_that_ends_while_it_is_read_has_the_unit_of_its_cgroup() {
        let proc = tempfile::tempdir().expect("temporary directory");
        add(proc.path(), 42, 100, "web.service");
        add(proc.path(), 43, 100, "web.service");
        fs::remove_file(proc.path().join("43/cgroup")).expect("removes");
        let mut inspector = Inspector::new(proc.path());
        for pid in [42, 43, 42] {
            let process = inspector.inspect(&sighting(pid, 1_000_000_123));
            assert_eq!((process.name, process.unit.as_str()), (format!("name{pid}").into(), "web.service"));
        }
        assert_eq!(
            inspector.inspect(&sighting(50, 1)).unit,
            "web.service",
            "and leaves what is known of others"
        );
    }

    #[test]
    fn a_process_that_is_gone_has_the_unit_of_its_cgroup_or_parent() {
        let proc = tempfile::tempdir().expect("temporary directory");
        add(proc.path(), 42, 100, "web.service");
        add(proc.path(), 7, 1, "parent.service");
        let mut inspector = Inspector::new(proc.path());
        assert_eq!(inspector.inspect(&sighting(50, 1)).unit, "parent.service");
        inspector.inspect(&sighting(42, 1_000_000_123));
        assert_eq!(inspector.inspect(&sighting(50, 1)).unit, "web.service");
        let on_hybrid = Sighting { cgroup_id: ROOT_CGROUP, ppid: 0, ..sighting(51, 1) };
        assert_eq!(inspector.inspect(&on_hybrid).unit, "");
    }
}
