//! One call, its connection, or all between its two ends: what a single export is about.

use std::time::Duration;

use crate::engine::model::{AddrPort, Entry, SocketCookie, Timestamp};

/// Packets around a call that belong to it: its last acknowledgements.
const AROUND: Duration = Duration::from_millis(100);

/// How much of what a call belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The packets of its connection while it lasted.
    #[default]
    Call,
    /// Its connection.
    Connection,
    /// All connections of its client's address to its server.
    Flow,
}

/// Whose packets are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    scope: Scope,
    ends: (AddrPort, AddrPort),
    translated: Option<(AddrPort, AddrPort)>,
    sockets: Vec<SocketCookie>,
    window: Option<(Timestamp, Timestamp)>,
}

impl About {
    /// What an entry belongs to.
    pub fn entry(entry: &Entry, scope: Scope) -> Self {
        let ends = [&entry.src, &entry.dst];
        let is_translated = ends.iter().any(|end| end.translated.is_some());
        let [src, dst] = ends.map(|end| end.translated.unwrap_or(end.addr));
        let seen = entry.timing.moments().into_iter().filter(|at| *at != Timestamp::ZERO);
        let first = seen.clone().min().unwrap_or(Timestamp::ZERO);
        let last = seen.max().unwrap_or(Timestamp(u64::MAX));
        let before = Timestamp(first.0.saturating_sub(AROUND.as_nanos() as u64));
        let sockets = ends.iter().map(|end| end.socket).filter(|cookie| cookie.is_known());
        Self {
            scope,
            ends: (entry.src.addr, entry.dst.addr),
            translated: is_translated.then_some((src, dst)),
            sockets: if scope == Scope::Flow { Vec::new() } else { sockets.collect() },
            window: (scope == Scope::Call).then_some((before, last.plus(AROUND))),
        }
    }

    /// The connection between two ends.
    pub fn connection(client: AddrPort, server: AddrPort) -> Self {
        Self {
            scope: Scope::Connection,
            ends: (client, server),
            translated: None,
            sockets: Vec::new(),
            window: None,
        }
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// Client and server.
    pub(super) fn ends(&self) -> (AddrPort, AddrPort) {
        self.ends
    }

    /// The same as packets behind NAT have them, where they differ.
    pub(super) fn translated(&self) -> Option<(AddrPort, AddrPort)> {
        self.translated
    }

    pub(super) fn cookies(&self) -> impl Iterator<Item = SocketCookie> {
        self.sockets.iter().copied()
    }

    pub(super) fn window(&self) -> Option<(Timestamp, Timestamp)> {
        self.window
    }
}
