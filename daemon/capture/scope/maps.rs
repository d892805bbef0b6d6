//! The maps by which the kernel knows the scope.

use std::collections::BTreeMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::{Scope, ScopeLists, Verdicts};
use crate::capture::CaptureError;
use crate::capture::bpf::{Loaded, scope_bits, scope_network_key};

/// Key and verdict of each entry of one map.
type Entries = BTreeMap<Vec<u8>, u32>;

fn entries<T>(
    scope: &Scope,
    of: impl Fn(&ScopeLists) -> &Vec<T>,
    key: impl Fn(&T) -> Option<Vec<u8>>,
) -> Entries {
    let mut entries = Entries::new();
    for (lists, verdict) in [(&scope.include, scope_bits::INCLUDE), (&scope.exclude, scope_bits::EXCLUDE)] {
        for key in of(lists).iter().filter_map(&key) {
            *entries.entry(key).or_default() |= verdict;
        }
    }
    entries
}

fn networks(scope: &Scope, v4: bool) -> Entries {
    entries(
        scope,
        |lists| &lists.networks,
        |network| (network.ip.is_ipv4() == v4).then(|| scope_network_key(network.ip, network.prefix)),
    )
}

fn cgroups(verdicts: &Verdicts) -> Entries {
    verdicts.of.iter().map(|(id, verdict)| (id.to_ne_bytes().to_vec(), *verdict)).collect()
}

const fn bit(is_set: bool, bit: u32) -> u32 {
    if is_set { bit } else { 0 }
}

/// Which lists that packets are checked against hold anything.
fn packet_lists(scope: &Scope) -> u32 {
    bit(!scope.include.cgroups.is_empty(), scope_bits::INCLUDE_CGROUPS)
        | bit(!scope.include.ports.is_empty(), scope_bits::INCLUDE_PORTS)
        | bit(!scope.include.networks.is_empty(), scope_bits::INCLUDE_NETWORKS)
        | bit(!scope.exclude.cgroups.is_empty(), scope_bits::EXCLUDE_CGROUPS)
        | bit(!scope.exclude.ports.is_empty(), scope_bits::EXCLUDE_PORTS)
        | bit(!scope.exclude.networks.is_empty(), scope_bits::EXCLUDE_NETWORKS)
}

/// Which lists that calls of TLS libraries are checked against hold anything: they see no port and no
/// network.
fn tls_lists(scope: &Scope) -> u32 {
    bit(!scope.include.cgroups.is_empty(), scope_bits::INCLUDE_CGROUPS)
        | bit(!scope.exclude.cgroups.is_empty(), scope_bits::EXCLUDE_CGROUPS)
        | bit(!scope.include.users.is_empty(), scope_bits::INCLUDE_USERS)
        | bit(!scope.exclude.users.is_empty(), scope_bits::EXCLUDE_USERS)
        | bit(!scope.include.executables.is_empty(), scope_bits::INCLUDE_EXECUTABLES)
        | bit(!scope.exclude.executables.is_empty(), scope_bits::EXCLUDE_EXECUTABLES)
}

/// The maps of the programs at sockets.
#[derive(Debug)]
pub(in crate::capture) struct ScopeMaps {
    state: MapHandle,
    cgroups: MapHandle,
    ports: MapHandle,
    networks4: MapHandle,
    networks6: MapHandle,
}

impl ScopeMaps {
    pub(in crate::capture) fn of(loaded: &Loaded) -> Result<Self, CaptureError> {
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
    pub(in crate::capture) fn set(&self, scope: &Scope, found: &Verdicts) -> Result<(), CaptureError> {
        let ports = entries(scope, |lists| &lists.ports, |port| Some(port.to_ne_bytes().to_vec()));
        let wanted = [
            (&self.cgroups, cgroups(found)),
            (&self.ports, ports),
            (&self.networks4, networks(scope, true)),
            (&self.networks6, networks(scope, false)),
        ];
        replace(&self.state, &wanted, packet_lists(scope))
    }
}

/// The maps of the programs at TLS libraries.
#[derive(Debug)]
pub(in crate::capture) struct TlsScopeMaps {
    state: MapHandle,
    cgroups: MapHandle,
    users: MapHandle,
}

impl TlsScopeMaps {
    pub(in crate::capture) fn of(loaded: &Loaded) -> Result<Self, CaptureError> {
        Ok(Self {
            state: loaded.map("scope_state")?,
            cgroups: loaded.map("scope_cgroups")?,
            users: loaded.map("scope_users")?,
        })
    }

    /// As [`ScopeMaps::set`].
    pub(in crate::capture) fn set(&self, scope: &Scope, found: &Verdicts) -> Result<(), CaptureError> {
        let users = entries(scope, |lists| &lists.users, |uid| Some(uid.to_ne_bytes().to_vec()));
        let wanted = [(&self.cgroups, cgroups(found)), (&self.users, users)];
        replace(&self.state, &wanted, tls_lists(scope))
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
    fn an_entry_that_is_included_and_excluded_carries_both_verdicts() {
        let lists = ScopeLists { ports: vec![80], users: vec![7], ..ScopeLists::default() };
        let scope = Scope { include: lists.clone(), exclude: lists };
        let found = entries(&scope, |lists| &lists.ports, |port| Some(port.to_ne_bytes().to_vec()));
        let both = scope_bits::INCLUDE | scope_bits::EXCLUDE;
        assert_eq!(found.values().copied().collect::<Vec<_>>(), [both]);
        assert_eq!(packet_lists(&scope), scope_bits::INCLUDE_PORTS | scope_bits::EXCLUDE_PORTS);
        assert_eq!(tls_lists(&scope), scope_bits::INCLUDE_USERS | scope_bits::EXCLUDE_USERS);
        assert_eq!(packet_lists(&Scope::default()) | tls_lists(&Scope::default()), 0);
    }
}
