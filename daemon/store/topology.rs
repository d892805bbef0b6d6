//! Who calls whom: nodes and edges of a service map.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::statistics::Tally;
use crate::engine::model::{Entry, Peer, ProtocolKey};

/// Edges that are counted apart at a time; calls of further ones are counted together.
pub(super) const MAX_EDGES: usize = 10_000;
/// Addresses that a node keeps.
pub(super) const MAX_IPS: usize = 16;

/// What a node of the map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// A container on this host.
    Container,
    /// A systemd unit on this host.
    Unit,
    /// A process on this host that is in neither.
    Process,
    /// An address elsewhere, or whose process is not known.
    Address,
}

impl NodeKind {
    /// Text in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Process => "process",
            Self::Address => "address",
        }
    }
}

/// Which node; what it is and what identifies it.
pub type NodeKey = (NodeKind, CompactString);

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// For people.
    pub name: CompactString,
    /// Its addresses, the first [`MAX_IPS`] of them.
    pub ips: BTreeSet<IpAddr>,
}

/// All that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Nodes that an edge touches.
    pub nodes: HashMap<NodeKey, Node>,
    /// By who asks, who is asked, and the protocol.
    pub edges: HashMap<(NodeKey, NodeKey, ProtocolKey), Tally>,
    /// Calls of edges beyond [`MAX_EDGES`].
    pub other: Tally,
}

impl Topology {
    /// Counts calls of one block.
    pub fn of(entries: &[Arc<Entry>]) -> Self {
        let mut topology = Self::default();
        for entry in entries {
            let ends = [&entry.src, &entry.dst].map(|peer| {
                let (key, name) = identify(peer);
                let node = topology.nodes.entry(key.clone()).or_default();
                if node.name.is_empty() {
                    node.name = name;
                }
                if node.ips.len() < MAX_IPS {
                    node.ips.insert(peer.addr.ip);
                }
                key
            });
            let [src, dst] = ends;
            topology.edges.entry((src, dst, entry.protocol.clone())).or_default().add(entry);
        }
        topology
    }

    /// Counts what another counted, within the bounds.
    pub fn absorb(&mut self, other: Self) {
        self.other.absorb(&other.other);
        let mut touched = BTreeSet::new();
        for (key, tally) in other.edges {
            if self.edges.len() < MAX_EDGES || self.edges.contains_key(&key) {
                touched.extend([key.0.clone(), key.1.clone()]);
                self.edges.entry(key).or_default().absorb(&tally);
            } else {
                self.other.absorb(&tally);
            }
        }
        for (key, node) in other.nodes {
            if !touched.contains(&key) {
                continue;
            }
            let own = self.nodes.entry(key).or_default();
            if own.name.is_empty() {
                own.name = node.name;
            }
            own.ips.extend(node.ips);
            while own.ips.len() > MAX_IPS {
                own.ips.pop_last();
            }
        }
    }
}

/// The node that an end of a call belongs to, and its name.
fn identify(peer: &Peer) -> (NodeKey, CompactString) {
    let Some(process) = peer.process.as_deref() else {
        let ip = format_compact!("{}", peer.addr.ip);
        let known = [&peer.name, &peer.dns].into_iter().find(|name| !name.is_empty());
        return ((NodeKind::Address, ip.clone()), known.cloned().unwrap_or(ip));
    };
    if !process.container_id.is_empty() {
        let short = process.container_id.get(..12).unwrap_or(&process.container_id).into();
        let name = if peer.name.is_empty() { short } else { peer.name.clone() };
        return ((NodeKind::Container, process.container_id.clone()), name);
    }
    // A session's scope is where somebody is logged in, and no service.
    if !process.unit.is_empty() && !process.unit.ends_with(".scope") {
        return ((NodeKind::Unit, process.unit.clone()), process.unit.clone());
    }
    if process.name.is_empty() {
        let pid = format_compact!("pid {}", process.pid);
        return ((NodeKind::Process, pid.clone()), pid);
    }
    ((NodeKind::Process, process.name.clone()), process.name.clone())
}
