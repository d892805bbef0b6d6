//! What capture looks at: lists that the kernel checks, changeable at run time.
//!
//! `cgroups` finds which cgroups the rules mean, `maps` tells the kernel, and `keeper` does both again
//! when a unit or a container starts.

mod cgroups;
mod executables;
mod keeper;
mod maps;

use crate::config::Network;

pub use cgroups::{CgroupRule, ContainerOf};
pub(super) use cgroups::{Verdicts, resolve};
pub(super) use executables::Executables;
pub(super) use keeper::{CgroupNotice, ScopeKeeper, notices};
pub(super) use maps::{ScopeMaps, TlsScopeMaps};

/// What is captured.
///
/// A packet or a piece of plaintext is captured if each kind of list in `include` that is not empty has
/// an entry for it, and no list in `exclude` does. Of two networks that hold the same address the smaller
/// decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these.
    pub include: ScopeLists,
    /// Not these.
    pub exclude: ScopeLists,
}

/// What packets and plaintext can be recognised by. The kernel holds at most 4096 of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeLists {
    /// The socket's cgroup or one that it is in.
    pub cgroups: Vec<CgroupRule>,
    /// Ports of either end, of the socket or of the packet.
    pub ports: Vec<u16>,
    /// Networks of either address of the packet.
    pub networks: Vec<Network>,
    /// Real users of processes whose plaintext is meant.
    pub users: Vec<u32>,
    /// Executables of such processes: paths, or names without one.
    pub executables: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().expect("valid").to_string(), text);
        }
        assert_eq!("::1".parse::<Network>().expect("valid").to_string(), "::1/128");
        for text in ["10.0.0.0/33", "fd00::/129", "10.0.0.0/", "host/8", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
