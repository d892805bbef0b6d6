//! Ports that tests, each in a process of its own, do not take from one another.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;

/// Ports that tests ask for lie here unless clients get theirs from here.
const USUAL: RangeInclusive<u16> = 20_000..=32_000;

/// Holds the claims of this process until it ends.
static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// A port that nothing uses now, over TCP or UDP, and that no other test gets while this process lives. The kernel
/// gives it to no client either: that would be a race with the server which is to have it.
pub(crate) fn free_port() -> u16 {
    let mut claims = CLAIMS.lock().expect("claims");
    let range = range();
    // Where it begins differs from process to process, so that a port is not used again soon.
    let first = std::process::id() as usize * 17;
    let count = range.len();
    let mut candidates = (0..count).map(|step| *range.start() + ((first + step) % count) as u16);
    let found = candidates.find_map(|port| Some((port, claim(port)?)));
    let (port, claim) = found.expect("a free port");
    claims.push(claim);
    port
}

/// What clients get no ports from.
fn range() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("range of ports");
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u16>().expect("a port"));
    let (low, high) = (numbers.next().expect("lowest"), numbers.next().expect("highest"));
    let room = USUAL.len() as u16;
    match (low, high) {
        (low, _) if low > room + 1024 => low - room..=low - 1,
        (_, high) if high < u16::MAX - room => high + 1..=high + room,
        _ => USUAL,
    }
}

/// Claims a port by a name that only one process can bind, and that is free again when it ends.
fn claim(port: u16) -> Option<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("remora-test-port-{port}")).expect("name");
    let claim = UnixDatagram::bind_addr(&name).ok()?;
    // Of both versions of IP.
    let address = (Ipv6Addr::UNSPECIFIED, port);
    let is_free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    is_free.then_some(claim)
}
