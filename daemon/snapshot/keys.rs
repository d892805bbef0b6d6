//! Key material in an export: only that of the connections which are exported.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::engine::model::{Packet, TlsSecret};
use crate::engine::pcap::write_secret;
use crate::engine::wire::Headers;

/// Secrets that wait for their connection's first packet; the oldest are forgotten beyond. A TLS 1.3
/// handshake makes four, and a connection on one host shows each at both ends.
const MAX_WAITING: usize = 65_536;
/// Connections whose secrets may still come; those met later get what is known at their first packet.
const MAX_OPEN: usize = 65_536;

type ClientRandom = [u8; 32];

/// Secrets and the connections that they belong to.
#[derive(Debug, Default)]
pub(super) struct Keys {
    waiting: HashMap<ClientRandom, Vec<TlsSecret>>,
    order: VecDeque<ClientRandom>,
    open: HashSet<ClientRandom>,
}

impl Keys {
    /// Takes a secret, and appends it if its connection is exported.
    pub(super) fn learn(&mut self, secret: TlsSecret, out: &mut Vec<u8>) {
        if self.open.contains(&secret.client_random) {
            write_secret(out, &secret);
            return;
        }
        self.order.push_back(secret.client_random);
        self.waiting.entry(secret.client_random).or_default().push(secret);
        if self.order.len() > MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
    }

    /// Before a packet is exported: appends the secrets of the connection that it opens.
    pub(super) fn write_of(&mut self, packet: &Packet, out: &mut Vec<u8>) {
        let Some(random) = client_random(packet) else { return };
        for secret in self.waiting.remove(&random).unwrap_or_default() {
            write_secret(out, &secret);
        }
        if self.open.len() < MAX_OPEN {
            self.open.insert(random);
        }
    }
}

/// The random of a client's hello at the beginning of a packet's payload (RFC 8446, 4.1.2 and 5.1).
fn client_random(packet: &Packet) -> Option<ClientRandom> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let headers = Headers::of(packet).ok()?;
    let payload = headers.payload(&packet.data);
    // Record: type, version, length. Handshake: type, length, version.
    let is_hello = payload.first() == Some(&HANDSHAKE) && payload.get(5) == Some(&CLIENT_HELLO);
    is_hello.then(|| payload.get(11..43)?.try_into().ok()).flatten()
}
