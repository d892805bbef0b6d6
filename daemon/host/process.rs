//! Reads one process out of `/proc`. Any file may be gone; what is there counts.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use compact_str::CompactString;

use super::cgroup::CgroupFacts;

/// Clock ticks of `/proc` in ns: `USER_HZ` is 100 on every architecture that eBPF runs on.
const TICK_NS: u64 = 10_000_000;

/// Largest file read: stat, status and cgroup of a process are below 8 KiB; a path is below 4 KiB.
const MAX_FILE: u64 = 64 << 10;

/// What `/proc/PID` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcFacts {
    /// `comm` of the thread group leader.
    pub(super) name: CompactString,
    /// Parent's pid.
    pub(super) ppid: u32,
    /// Start in ns since boot, rounded down to 10 ms; 0 when not read.
    pub(super) started: u64,
    /// Real uid.
    pub(super) uid: Option<u32>,
    /// Executable; empty for kernel threads and when not permitted. `(deleted)` is cut off.
    pub(super) exe: String,
    /// Container and unit.
    pub(super) cgroup: CgroupFacts,
}

/// Reads a process; `None` if it is gone.
pub(super) fn read(proc: &Path, pid: u32) -> Option<ProcFacts> {
    let dir = proc.join(pid.to_string());
    let mut facts = parse_stat(&read_text(&dir.join("stat"))?)?;
    facts.uid = read_text(&dir.join("status")).and_then(|status| parse_uid(&status));
    facts.exe = read_exe(&dir);
    facts.cgroup = read_text(&dir.join("cgroup")).map(|text| CgroupFacts::parse(&text)).unwrap_or_default();
    Some(facts)
}

/// The cgroup of a process, if it is alive.
pub(super) fn read_cgroup(proc: &Path, pid: u32) -> Option<CgroupFacts> {
    read_text(&proc.join(pid.to_string()).join("cgroup")).map(|text| CgroupFacts::parse(&text))
}

/// Whether two start times of a process are the same one: `/proc` knows 10 ms, the kernel 1 ns.
pub(super) fn same_start(from_proc: u64, exact: u64) -> bool {
    from_proc == 0 || exact == 0 || from_proc.abs_diff(exact) < 2 * TICK_NS
}

fn read_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_exe(dir: &Path) -> String {
    let exe =
        fs::read_link(dir.join("exe")).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    exe.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(exe)
}

/// Reads `PID (COMM) STATE PPID …`; a name may hold blanks and brackets, so the last bracket counts.
fn parse_stat(stat: &str) -> Option<ProcFacts> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    // Field 22 of the file; state is field 3 and ppid was field 4.
    let ticks: u64 = fields.nth(17)?.parse().ok()?;
    Some(ProcFacts {
        name: name.into(),
        ppid,
        started: ticks.saturating_mul(TICK_NS),
        ..ProcFacts::default()
    })
}

fn parse_uid(status: &str) -> Option<u32> {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_brackets_are_read() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 10";
        let facts = parse_stat(stat).expect("well formed");
        assert_eq!((facts.name.as_str(), facts.ppid, facts.started), ("a) b (c)", 7, 123_450_000_000));
    }

    #[test]
    fn every_cut_of_stat_is_refused_or_read() {
        let stat = "42 (nginx) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 10";
        for end in 0..stat.len() {
            // Only that it does not panic.
            let _ = parse_stat(&stat[..end]);
        }
        assert_eq!(parse_uid("Name:\tx\nUid:\t33\t0\t0\t0\n"), Some(33));
        assert_eq!(parse_uid("Uid:\n"), None);
    }

    #[test]
    fn this_process_is_read() {
        let facts = read(Path::new("/proc"), std::process::id()).expect("alive");
        assert_eq!(facts.ppid, std::os::unix::process::parent_id());
        assert_eq!(Path::new(&facts.exe), std::env::current_exe().expect("known"));
        assert!(facts.started > 0 && facts.uid.is_some() && facts.cgroup.path.starts_with('/'));
    }

    #[test]
    fn a_process_with_files_missing_is_read_as_far_as_possible() {
        let proc = tempfile::tempdir().expect("temporary directory");
        assert_eq!(read(proc.path(), 42), None);
        let dir = proc.path().join("42");
        fs::create_dir(&dir).expect("makes it");
        assert_eq!(read(proc.path(), 42), None);
        fs::write(dir.join("stat"), "42 (x) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1 1000 10")
            .expect("writes");
        let facts = read(proc.path(), 42).expect("has stat");
        assert_eq!((facts.ppid, facts.uid, facts.exe.as_str()), (7, None, ""));
    }
}
