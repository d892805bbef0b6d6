//! Which process owns which socket, by rank of evidence; sockets, listeners, and their ends.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::engine::model::{
    AddrPort, OwnerEvidence, ProcessKey, SocketCookie, SocketTuple, TcpState, Timestamp,
};
use crate::host::RecentMap;

/// Sockets remembered: both ends of the 65,536 connections of a shard.
const MAX_SOCKETS: usize = 131_072;
/// Listening addresses remembered.
const MAX_LISTENERS: usize = 16_384;
/// How long a socket is known after its end: entries of a connection come later than its end.
const KEEP_DESTROYED: Duration = Duration::from_secs(30);
/// Ended sockets that wait to be forgotten; beyond it the oldest goes at once.
const MAX_DESTROYED: usize = 65_536;

/// What is known of a socket.
#[derive(Clone, Copy, Debug, Default)]
struct Socket {
    owner: Option<(OwnerEvidence, ProcessKey)>,
    /// The listener that it was accepted from.
    listener: Option<SocketCookie>,
    is_destroyed: bool,
}

/// Sockets and their owners.
#[derive(Debug)]
pub(super) struct Sockets {
    known: RecentMap<SocketCookie, Socket>,
    /// By network namespace and local address.
    listeners: RecentMap<(u32, AddrPort), SocketCookie>,
    destroyed: VecDeque<(Timestamp, SocketCookie)>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            known: RecentMap::new(MAX_SOCKETS),
            listeners: RecentMap::new(MAX_LISTENERS),
            destroyed: VecDeque::new(),
        }
    }
}

impl Sockets {
    /// Someone was seen using a socket. Better evidence replaces worse; of two that both act on the
    /// socket the later one has it; of two that only hold it the first one does.
    pub(super) fn seen_owner(&mut self, cookie: SocketCookie, process: ProcessKey, evidence: OwnerEvidence) {
        let socket = self.known.get_or_insert_with(cookie, Socket::default);
        let replaces = socket.owner.is_none_or(|(before, _)| {
            evidence > before || evidence == before && evidence >= OwnerEvidence::Connect
        });
        if replaces {
            socket.owner = Some((evidence, process));
        }
    }

    /// A TCP socket changed its state.
    pub(super) fn changed_state(
        &mut self,
        cookie: SocketCookie,
        tuple: SocketTuple,
        netns: u32,
        state: TcpState,
    ) {
        match state {
            TcpState::LISTEN => self.listeners.insert((netns, tuple.local), cookie),
            TcpState::ESTABLISHED => {
                let listener = self.listener_of(netns, tuple.local);
                let socket = self.known.get_or_insert_with(cookie, Socket::default);
                socket.listener = listener.filter(|listener| *listener != cookie);
            }
            TcpState::CLOSE => {
                let key = (netns, tuple.local);
                if self.listeners.peek(&key) == Some(&cookie) {
                    self.listeners.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// The listener at an address: bound to it, or to all addresses.
    fn listener_of(&mut self, netns: u32, local: AddrPort) -> Option<SocketCookie> {
        let any4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        [local.ip, any4, any6]
            .into_iter()
            .find_map(|ip| self.listeners.get(&(netns, AddrPort { ip, port: local.port })).copied())
    }

    /// A socket ended. Its owner stays known for a while.
    pub(super) fn destroyed(&mut self, cookie: SocketCookie, at: Timestamp) {
        let Some(socket) = self.known.get(&cookie) else { return };
        if std::mem::replace(&mut socket.is_destroyed, true) {
            return;
        }
        self.destroyed.push_back((at, cookie));
        if self.destroyed.len() > MAX_DESTROYED
            && let Some((_, oldest)) = self.destroyed.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Forgets sockets that ended long ago.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((at, cookie)) = self.destroyed.front().copied()
            && now.since(at) > KEEP_DESTROYED.as_nanos() as u64
        {
            self.destroyed.pop_front();
            self.known.remove(&cookie);
        }
    }

    /// The owner by the best evidence; until there is any, that of the listener.
    pub(super) fn owner(&mut self, cookie: SocketCookie) -> Option<ProcessKey> {
        let socket = *self.known.get(&cookie)?;
        let inherited = |listener| self.known.peek(&listener)?.owner;
        let owner = socket.owner.or_else(|| socket.listener.and_then(inherited));
        owner.map(|(_, process)| process)
    }

    /// The owners of all sockets that live, with what says so. A socket without its own has its listener's.
    pub(super) fn owners(&self) -> impl Iterator<Item = (SocketCookie, OwnerEvidence, ProcessKey)> {
        self.known.iter().filter(|(_, socket)| !socket.is_destroyed).filter_map(|(cookie, socket)| {
            let inherited =
                || self.known.peek(&socket.listener?)?.owner.map(|(_, key)| (OwnerEvidence::Create, key));
            let (evidence, key) = socket.owner.or_else(inherited)?;
            Some((*cookie, evidence, key))
        })
    }

    /// What listens: network namespace, address, socket.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (u32, AddrPort, SocketCookie)> {
        self.listeners.iter().map(|((netns, local), cookie)| (*netns, *local, *cookie))
    }

    /// Whether nothing better is to be expected soon: someone was seen transferring data on the socket,
    /// or it has ended. Who accepted it may have handed it on, so that is not enough.
    pub(super) fn is_settled(&self, cookie: SocketCookie) -> bool {
        self.known.peek(&cookie).is_some_and(|socket| {
            socket.is_destroyed
                || socket.owner.is_some_and(|(evidence, _)| evidence == OwnerEvidence::DataTransfer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: ProcessKey = ProcessKey { pid: 1, started: 1 };
    const WORKER: ProcessKey = ProcessKey { pid: 2, started: 2 };
    const LISTENER: SocketCookie = SocketCookie(10);
    const CHILD: SocketCookie = SocketCookie(11);

    fn tuple(local: &str, remote: &str) -> SocketTuple {
        let addr = |text: &str| {
            let addr: std::net::SocketAddr = text.parse().expect("address");
            AddrPort::new(addr.ip(), addr.port())
        };
        SocketTuple { local: addr(local), remote: addr(remote) }
    }

    #[test]
    fn better_evidence_replaces_worse_and_not_the_other_way() {
        use OwnerEvidence::{Accept, Connect, Create, DataTransfer, FileTable};
        let mut sockets = Sockets::default();
        for (process, evidence, owner) in [
            (MASTER, Create, MASTER),
            (WORKER, Create, MASTER),
            (WORKER, FileTable, WORKER),
            (MASTER, FileTable, WORKER),
            (MASTER, Connect, MASTER),
            (WORKER, Accept, WORKER),
            (MASTER, Connect, WORKER),
            (MASTER, DataTransfer, MASTER),
            (WORKER, DataTransfer, WORKER),
            (MASTER, Accept, WORKER),
        ] {
            sockets.seen_owner(CHILD, process, evidence);
            assert_eq!(sockets.owner(CHILD), Some(owner), "{evidence:?} of {process:?}");
        }
    }

    #[test]
    fn an_accepted_socket_belongs_to_the_listeners_owner_until_it_is_used() {
        let mut sockets = Sockets::default();
        sockets.seen_owner(LISTENER, MASTER, OwnerEvidence::Create);
        sockets.changed_state(LISTENER, tuple("[::]:80", "[::]:0"), 4, TcpState::LISTEN);
        sockets.changed_state(CHILD, tuple("10.0.0.1:80", "10.0.0.2:999"), 4, TcpState::ESTABLISHED);
        assert_eq!(sockets.owner(CHILD), Some(MASTER));
        assert!(!sockets.is_settled(CHILD));
        sockets.seen_owner(CHILD, WORKER, OwnerEvidence::DataTransfer);
        assert_eq!(sockets.owner(CHILD), Some(WORKER));
        assert!(sockets.is_settled(CHILD));
    }

    #[test]
    fn a_listener_in_another_network_namespace_is_not_the_listener() {
        let mut sockets = Sockets::default();
        sockets.seen_owner(LISTENER, MASTER, OwnerEvidence::Create);
        sockets.changed_state(LISTENER, tuple("0.0.0.0:80", "0.0.0.0:0"), 4, TcpState::LISTEN);
        sockets.changed_state(CHILD, tuple("10.0.0.1:80", "10.0.0.2:999"), 5, TcpState::ESTABLISHED);
        assert_eq!(sockets.owner(CHILD), None);
        sockets.changed_state(LISTENER, tuple("0.0.0.0:80", "0.0.0.0:0"), 4, TcpState::CLOSE);
        sockets.changed_state(
            SocketCookie(12),
            tuple("10.0.0.1:80", "10.0.0.2:999"),
            4,
            TcpState::ESTABLISHED,
        );
        assert_eq!(sockets.owner(SocketCookie(12)), None, "a closed listener accepts nothing");
    }

    #[test]
    fn a_socket_is_known_for_a_while_after_its_end() {
        let mut sockets = Sockets::default();
        sockets.seen_owner(CHILD, WORKER, OwnerEvidence::Create);
        sockets.destroyed(CHILD, Timestamp(1));
        assert!(sockets.is_settled(CHILD), "no more evidence can come");
        sockets.expire(Timestamp(1).plus(KEEP_DESTROYED));
        assert_eq!(sockets.owner(CHILD), Some(WORKER));
        sockets.expire(Timestamp(2).plus(KEEP_DESTROYED));
        assert_eq!(sockets.owner(CHILD), None);
    }

    #[test]
    fn a_flood_of_sockets_is_bounded() {
        let mut sockets = Sockets::default();
        for cookie in 0..1_000_000 {
            sockets.seen_owner(SocketCookie(cookie), WORKER, OwnerEvidence::Connect);
            sockets.destroyed(SocketCookie(cookie), Timestamp(1));
        }
        assert!(sockets.known.len() <= 2 * MAX_SOCKETS && sockets.destroyed.len() <= MAX_DESTROYED);
        assert_eq!(sockets.owner(SocketCookie(999_999)), Some(WORKER));
    }
}
