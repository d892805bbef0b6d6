//! Keeps the capabilities that the daemon needs and gives up the rest for good.

use caps::{CapSet, Capability, CapsHashSet};

/// What is kept, and what for. `systemd/remorad.service` names the same set; a test compares them.
pub const KEPT: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "load programs and maps (Linux 5.8 and later)"),
    (Capability::CAP_PERFMON, "tracing programs, kernel reads in programs, uprobes"),
    (Capability::CAP_NET_ADMIN, "attach programs to cgroups and sockets; sock_diag of all sockets"),
    (Capability::CAP_NET_RAW, "AF_PACKET where cgroup programs cannot see the traffic"),
    (
        Capability::CAP_SYS_ADMIN,
        "uprobes where perf_event_paranoid is 3 or more, enter network namespaces, mount cgroup2 privately, walk BPF object ids",
    ),
    (Capability::CAP_SYS_PTRACE, "read exe, root, fd and ns links of other users' processes in /proc"),
    (Capability::CAP_DAC_READ_SEARCH, "open libraries and executables inside containers for uprobes"),
    (Capability::CAP_SYS_RESOURCE, "raise RLIMIT_MEMLOCK before Linux 5.11, where it limits BPF maps"),
    (Capability::CAP_CHOWN, "give the unix socket to the access group outside systemd"),
    (Capability::CAP_NET_BIND_SERVICE, "listen on configured ports below 1024"),
];

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel refused to read or change a capability set.
    #[error("cannot change the {set} capability set: {source}; run as root or under remorad.service")]
    Capabilities {
        /// Which set.
        set: &'static str,
        /// What the kernel said.
        source: caps::errors::CapsError,
    },
    /// `prctl(PR_SET_NO_NEW_PRIVS)` failed.
    #[error("cannot forbid new privileges: {0}")]
    NoNewPrivileges(nix::Error),
}

/// What the process holds after [`restrict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Kept capabilities that the process really has, in the order of [`KEPT`].
    pub held: Vec<Capability>,
    /// Those of [`KEPT`] that it was started without; `remora doctor` says what that costs.
    pub missing: Vec<Capability>,
}

/// Gives up every capability outside [`KEPT`], in all sets, and forbids gaining any by execve.
///
/// Capabilities belong to threads and are inherited on creation, so this must run before any other
/// thread exists. No later step needs more: the daemon never executes a setuid program.
pub fn restrict() -> Result<Held, PrivilegeError> {
    let wanted: CapsHashSet = KEPT.iter().map(|(capability, _)| *capability).collect();
    // The bounding set first: shrinking it needs CAP_SETPCAP, which is then given up as well.
    if has(CapSet::Effective, "effective", Capability::CAP_SETPCAP)? {
        for capability in read(CapSet::Bounding, "bounding")?.difference(&wanted) {
            caps::drop(None, CapSet::Bounding, *capability)
                .map_err(|source| PrivilegeError::Capabilities { set: "bounding", source })?;
        }
    }
    caps::clear(None, CapSet::Ambient)
        .map_err(|source| PrivilegeError::Capabilities { set: "ambient", source })?;
    let permitted = read(CapSet::Permitted, "permitted")?;
    let kept: CapsHashSet = permitted.intersection(&wanted).copied().collect();
    write(CapSet::Inheritable, "inheritable", &CapsHashSet::new())?;
    // Effective may never hold what permitted does not, so it shrinks first.
    write(CapSet::Effective, "effective", &kept)?;
    write(CapSet::Permitted, "permitted", &kept)?;
    nix::sys::prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)?;
    Ok(sort_out(&kept))
}

/// Whether this kernel asks for the capability at all.
pub fn is_needed_here(capability: Capability) -> bool {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    capability != Capability::CAP_SYS_RESOURCE || limits_maps_by_memlock(&release.unwrap_or_default())
}

/// Linux 5.11 charges BPF maps to the cgroup instead.
fn limits_maps_by_memlock(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version < (5, 11)
}

fn sort_out(kept: &CapsHashSet) -> Held {
    let (held, missing) =
        KEPT.iter().map(|(capability, _)| *capability).partition(|capability| kept.contains(capability));
    Held { held, missing }
}

fn has(set: CapSet, name: &'static str, capability: Capability) -> Result<bool, PrivilegeError> {
    caps::has_cap(None, set, capability).map_err(|source| PrivilegeError::Capabilities { set: name, source })
}

fn read(set: CapSet, name: &'static str) -> Result<CapsHashSet, PrivilegeError> {
    caps::read(None, set).map_err(|source| PrivilegeError::Capabilities { set: name, source })
}

fn write(set: CapSet, name: &'static str, value: &CapsHashSet) -> Result<(), PrivilegeError> {
    caps::set(None, set, value).map_err(|source| PrivilegeError::Capabilities { set: name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_thread_holds_nothing_beyond_the_table() {
        // In a thread of its own: capabilities are per thread, and the test binary needs its own.
        let thread = std::thread::spawn(|| {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            let held = restrict().unwrap();
            let after = caps::read(None, CapSet::Permitted).unwrap();
            assert_eq!(held.held.len() + held.missing.len(), KEPT.len());
            for capability in &after {
                assert!(before.contains(capability) && held.held.contains(capability), "{capability}");
            }
            assert!(caps::read(None, CapSet::Inheritable).unwrap().is_empty());
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
        });
        thread.join().unwrap();
    }

    #[test]
    fn the_unit_grants_exactly_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/remorad.service");
        let unit = std::fs::read_to_string(path).unwrap();
        let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        let table: Vec<String> = KEPT.iter().map(|(capability, _)| capability.to_string()).collect();
        assert_eq!(line, table.join(" "));
    }

    #[test]
    fn only_old_kernels_need_the_memlock_limit_raised() {
        assert!(limits_maps_by_memlock("5.10.0-32-amd64"));
        assert!(!limits_maps_by_memlock("5.11.0") && !limits_maps_by_memlock("6.18.44-fc-v669"));
    }

    #[test]
    fn restricting_twice_changes_nothing() {
        let thread = std::thread::spawn(|| assert_eq!(restrict().unwrap(), restrict().unwrap()));
        thread.join().unwrap();
    }
}
