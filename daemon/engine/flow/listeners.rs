//! Ports that somebody on this host listens on: tells servers apart where no handshake was seen.

use hashbrown::HashMap;

use crate::model::SocketCookie;

/// Listening sockets remembered; only guesses about connections older than capture depend on them.
const MAX_LISTENERS: usize = 65_536;

/// Listening sockets by port. A packet does not tell its network namespace, so a port is a hint.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    sockets: HashMap<SocketCookie, u16>,
    ports: HashMap<u16, u32>,
}

impl Listeners {
    pub(super) fn add(&mut self, cookie: SocketCookie, port: u16) {
        if self.sockets.len() < MAX_LISTENERS && self.sockets.insert(cookie, port).is_none() {
            *self.ports.entry(port).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, cookie: SocketCookie) {
        let Some(port) = self.sockets.remove(&cookie) else { return };
        if let Some(count) = self.ports.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&port);
            }
        }
    }

    pub(super) fn has(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_while_any_socket_listens_on_it() {
        let mut listeners = Listeners::default();
        listeners.add(SocketCookie(1), 80);
        listeners.add(SocketCookie(2), 80);
        listeners.add(SocketCookie(2), 80);
        listeners.remove(SocketCookie(1));
        assert!(listeners.has(80));
        listeners.remove(SocketCookie(2));
        listeners.remove(SocketCookie(2));
        assert!(!listeners.has(80) && listeners.sockets.is_empty());
    }
}
