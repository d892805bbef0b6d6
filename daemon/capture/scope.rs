//! Which packets capture looks at: lists that the kernel checks, changeable at run time.

use std::collections::BTreeMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use serde::{Deserialize, Serialize};

use super::CaptureError;
use super::bpf::{Loaded, scope_bits, scope_network_key};
use crate::config::Network;

/// Which packets are captured.
///
/// A packet is captured if each kind of list in `include` that is not empty has an entry for it, and
/// no list in `exclude` has one. Of two networks that hold the same address the smaller decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Only these.
    pub include: ScopeLists,
    /// Not these.
    pub exclude: ScopeLists,
}

/// What a packet can be recognised by. At most 4096 cgroups and 4096 networks of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeLists {
    /// cgroup v2 ids (inode numbers) of the socket's cgroup or of one that it is in.
    pub cgroups: Vec<u64>,
    /// Ports of either end, of the socket or of the packet.
    pub ports: Vec<u16>,
    /// Networks of either address of the packet.
    pub networks: Vec<Network>,
}

/// Key and verdict of each entry of one map.
type Entries = BTreeMap<Vec<u8>, u32>;

impl Scope {
    fn entries<T>(
        &self,
        of: impl Fn(&ScopeLists) -> &Vec<T>,
        key: impl Fn(&T) -> Option<Vec<u8>>,
    ) -> Entries {
        let mut entries = Entries::new();
        for (lists, verdict) in [(&self.include, scope_bits::INCLUDE), (&self.exclude, scope_bits::EXCLUDE)] {
            for key in of(lists).iter().filter_map(&key) {
                *entries.entry(key).or_default() |= verdict;
            }
        }
        entries
    }

    fn networks(&self, v4: bool) -> Entries {
        self.entries(
            |lists| &lists.networks,
            |network| (network.ip.is_ipv4() == v4).then(|| scope_network_key(network.ip, network.prefix)),
        )
    }

    /// Which lists hold anything.
    fn lists(&self) -> u32 {
        let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        bit(!self.include.cgroups.is_empty(), scope_bits::INCLUDE_CGROUPS)
            | bit(!self.include.ports.is_empty(), scope_bits::INCLUDE_PORTS)
            | bit(!self.include.networks.is_empty(), scope_bits::INCLUDE_NETWORKS)
            | bit(!self.exclude.cgroups.is_empty(), scope_bits::EXCLUDE_CGROUPS)
            | bit(!self.exclude.ports.is_empty(), scope_bits::EXCLUDE_PORTS)
            | bit(!self.exclude.networks.is_empty(), scope_bits::EXCLUDE_NETWORKS)
    }
}

/// The maps by which the kernel knows the scope.
#[derive(Debug)]
pub(super) struct ScopeMaps {
    state: MapHandle,
    cgroups: MapHandle,
    ports: MapHandle,
    networks4: MapHandle,
    networks6: MapHandle,
}

impl ScopeMaps {
    pub(super) fn of(loaded: &Loaded) -> Result<Self, CaptureError> {
        Ok(Self {
            state: loaded.map("scope_state")?,
            cgroups: loaded.map("scope_cgroups")?,
            ports: loaded.map("scope_ports")?,
            networks4: loaded.map("scope_networks4")?,
            networks6: loaded.map("scope_networks6")?,
        })
    }

    /// Replaces the scope: what is new comes first and what is old goes last, so that a packet in
    /// both scopes is captured all the time.
    pub(super) fn set(&self, scope: &Scope) -> Result<(), CaptureError> {
        let wanted = [
            (&self.cgroups, scope.entries(|lists| &lists.cgroups, |id| Some(id.to_ne_bytes().to_vec()))),
            (&self.ports, scope.entries(|lists| &lists.ports, |port| Some(port.to_ne_bytes().to_vec()))),
            (&self.networks4, scope.networks(true)),
            (&self.networks6, scope.networks(false)),
        ];
        replace(&self.state, &wanted, scope.lists())
    }
}

/// The maps by which the programs at TLS libraries know the scope: they see no port and no network.
#[derive(Debug)]
pub(super) struct TlsScopeMaps {
    state: MapHandle,
    cgroups: MapHandle,
}

impl TlsScopeMaps {
    pub(super) fn of(loaded: &Loaded) -> Result<Self, CaptureError> {
        Ok(Self { state: loaded.map("scope_state")?, cgroups: loaded.map("scope_cgroups")? })
    }

    /// As [`ScopeMaps::set`].
    pub(super) fn set(&self, scope: &Scope) -> Result<(), CaptureError> {
        let cgroups = scope.entries(|lists| &lists.cgroups, |id| Some(id.to_ne_bytes().to_vec()));
        replace(&self.state, &[(&self.cgroups, cgroups)], scope.lists())
    }
}

fn replace(state: &MapHandle, wanted: &[(&MapHandle, Entries)], lists: u32) -> Result<(), CaptureError> {
    let failed = |error| CaptureError::Scope { error };
    for (map, entries) in wanted {
        for (key, verdict) in entries {
            map.update(key, &verdict.to_ne_bytes(), MapFlags::ANY).map_err(failed)?;
        }
    }
    state.update(&0_u32.to_ne_bytes(), &lists.to_ne_bytes(), MapFlags::ANY).map_err(failed)?;
    for (map, entries) in wanted {
        let old: Vec<_> = map.keys().filter(|key| !entries.contains_key(key)).collect();
        for key in old {
            map.delete(&key).map_err(failed)?;
        }
    }
    Ok(())
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

    #[test]
    fn an_entry_that_is_included_and_excluded_carries_both_verdicts() {
        let lists = ScopeLists { ports: vec![80], ..ScopeLists::default() };
        let scope = Scope { include: lists.clone(), exclude: lists };
        let entries = scope.entries(|lists| &lists.ports, |port| Some(port.to_ne_bytes().to_vec()));
        assert_eq!(
            entries.values().copied().collect::<Vec<_>>(),
            [scope_bits::INCLUDE | scope_bits::EXCLUDE]
        );
        assert_eq!(scope.lists(), scope_bits::INCLUDE_PORTS | scope_bits::EXCLUDE_PORTS);
        assert_eq!(Scope::default().lists(), 0);
    }
}
