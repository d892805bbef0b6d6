//! Finds out what this host offers to capture. Reads, never changes; deciding is `plan`'s job.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libbpf_rs::btf::{Btf, types::Struct, types::Typedef};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::CaptureError;
use super::plan::TRACEPOINTS;

/// What was found out about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Major and minor version of the kernel; only for helpers that nothing else announces.
    pub(super) kernel: (u32, u32),
    /// Where a cgroup2 hierarchy is mounted.
    pub(super) cgroup2: Option<PathBuf>,
    /// The kernel describes its own types.
    pub(super) has_btf: bool,
    /// Those of [`TRACEPOINTS`] that the kernel has.
    pub(super) tracepoints: BTreeSet<&'static str>,
    /// The iterator over the files of all processes exists.
    pub(super) has_file_iterator: bool,
    /// One link can hold many uprobes.
    pub(super) has_uprobe_multi: bool,
    /// The mode of kernel lockdown: `none`, `integrity`, `confidentiality`; empty without one.
    pub(super) lockdown: String,
    /// Effective capabilities of this process, as in `CapEff`.
    pub(super) capabilities: u64,
}

/// Probes the host.
pub(super) fn probe() -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let btf = Btf::from_vmlinux().ok();
    let knows = |name: &str| btf.as_ref().is_some_and(|btf| btf.type_by_name::<Typedef<'_>>(name).is_some());
    let iterates =
        |btf: &Btf<'_>| btf.type_by_name::<libbpf_rs::btf::types::Func<'_>>("bpf_iter_task_file").is_some();
    Facts {
        kernel: kernel_version(&read("/proc/sys/kernel/osrelease")),
        cgroup2: mounted_cgroup2(),
        has_btf: btf.is_some(),
        tracepoints: TRACEPOINTS.into_iter().filter(|name| knows(&format!("btf_trace_{name}"))).collect(),
        has_file_iterator: btf.as_ref().is_some_and(iterates),
        has_uprobe_multi: btf
            .as_ref()
            .is_some_and(|btf| btf.type_by_name::<Struct<'_>>("bpf_uprobe_multi_link").is_some()),
        lockdown: lockdown_mode(&read("/sys/kernel/security/lockdown")),
        capabilities: effective_capabilities(&read("/proc/self/status")),
    }
}

/// `6.18.44-generic` -> (6, 18); zeros for what is no number.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Where a whole cgroup2 hierarchy is mounted.
pub(super) fn mounted_cgroup2() -> Option<PathBuf> {
    cgroup2_mount(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// The shortest mount point of a whole cgroup2 hierarchy: on hybrid hosts it is below the v1 ones.
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (after.starts_with("cgroup2 ") && root == "/").then(|| unescape(point))
    });
    mounts.min_by_key(String::len).map(PathBuf::from)
}

/// Undoes `\040` and its like, which mountinfo uses for blanks.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `none [integrity] confidentiality` -> `integrity`.
fn lockdown_mode(text: &str) -> String {
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mode, _)| mode);
    mode.unwrap_or_default().to_owned()
}

fn effective_capabilities(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Opens the cgroup2 root that programs are attached to.
///
/// A host without any gets one for a moment: the hierarchy is mounted, opened and unmounted, so that
/// only the file descriptor keeps it.
pub(super) fn open_cgroup2(mounted: Option<&Path>) -> Result<OwnedFd, CaptureError> {
    let open = |path: &Path| {
        File::open(path)
            .map(OwnedFd::from)
            .map_err(|error| CaptureError::Cgroup { path: path.to_owned(), error })
    };
    let Some(path) = mounted else {
        let path = std::env::temp_dir().join(format!("remora-cgroup2-{}", std::process::id()));
        let failed = |error| CaptureError::Cgroup { path: path.clone(), error };
        fs::create_dir(&path).map_err(failed)?;
        let mounted = mount(Some("none"), &path, Some("cgroup2"), MsFlags::empty(), None::<&str>);
        let result = mounted.map_err(|error| failed(error.into())).and_then(|()| open(&path));
        // Nothing was mounted if mount failed; a directory left behind in /tmp harms nobody.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&path);
        return result;
    };
    open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_mount_of_a_hybrid_host_is_found() {
        let mountinfo = "\
25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
27 25 0:24 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
28 25 0:24 /docker/1 /some/where rw - cgroup2 cgroup2 rw
29 25 0:24 / /very/long/path/to/another/mount rw - cgroup2 none rw";
        assert_eq!(cgroup2_mount(mountinfo), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("26 25 0:23 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu"), None);
    }

    #[test]
    fn versions_and_masks_are_read_and_rubbish_gives_zero() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(kernel_version("5.10.0-32-amd64\n"), (5, 10));
        assert_eq!(kernel_version(""), (0, 0));
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(effective_capabilities("CapEff:\tzz"), 0);
        assert_eq!(lockdown_mode("none [integrity] confidentiality\n"), "integrity");
        assert_eq!(lockdown_mode(""), "");
    }
}
