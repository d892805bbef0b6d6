//! Loss identity: what an independent counter saw is delivered or counted under a reason.

use std::process::Command;

use crate::support::{Cgroup, Daemon, Netns, Options, until};

/// The sum of some of the namespace's own counters, which stand in two lines that begin alike: names and values.
fn kernel_sum(space: &Netns, file: &str, start: &str, wanted: &[&str]) -> u64 {
    let output = space.run("cat", &[file]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with(start));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .filter(|(name, _)| wanted.contains(name))
        .map(|(_, value)| value.parse::<u64>().expect("number"))
        .sum()
}

/// IP packets sent plus received.
fn ip_packets(space: &Netns) -> u64 {
    kernel_sum(space, "/proc/net/snmp", "Ip:", &["InDelivers", "OutRequests"])
}

/// Bytes of IP packets sent.
fn sent_bytes(space: &Netns) -> u64 {
    kernel_sum(space, "/proc/net/netstat", "IpExt:", &["OutOctets"])
}

/// What the daemon accounts for: (taken from the ring, lost before it, handed to shards or counted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    captured: u64,
    ring_full: u64,
    unreadable: u64,
    routed: u64,
}

impl Account {
    fn of(daemon: &Daemon) -> Self {
        let kernel = |name| daemon.counter("capture", name);
        Self {
            captured: kernel("captured") + kernel("truncated"),
            ring_full: kernel("ring_full"),
            unreadable: kernel("unreadable"),
            routed: daemon.counter("pipeline", "packets")
                + daemon.dropped("not_ip")
                + daemon.dropped("fragment")
                + daemon.dropped("shard_queue_full"),
        }
    }

    /// Reads until two readings agree and nothing is on its way between kernel and shards.
    fn settled(daemon: &Daemon) -> Self {
        until("the pipeline to settle", || {
            let (first, second) = (Self::of(daemon), Self::of(daemon));
            (first == second && first.captured == first.routed).then_some(second)
        })
    }
}

/// A small ring and a flood: packets must be lost, and every one of them must be accounted for.
#[test]
fn root_under_overload_every_packet_is_delivered_or_counted() {
    let space = Netns::new();
    let cgroup = Cgroup::new("loss", "flood");
    // Only the flood's own cgroup is in scope, so that other traffic of the machine does not count.
    let daemon = Daemon::start_with(Options {
        config: format!(
            "capture.ring-size = \"1MiB\"\ncapture.include.cgroups = [\"{}\"]",
            cgroup.path.display()
        ),
        ..Options::default()
    });
    let before = (ip_packets(&space), Account::settled(&daemon));
    // However fast the reader is: nobody reads until the flood has sent many times what the ring holds.
    daemon.signal("STOP");
    // Joined before `ip netns exec`, which replaces /sys and hides the cgroups.
    let mut flood = Command::new("sh")
        .args(["-c", "echo $$ > \"$0\" && exec ip netns exec \"$1\" /usr/bin/python3 -c \"$2\""])
        .args([&cgroup.procs(), &space.name, FLOOD])
        .spawn()
        .expect("flood");
    until("the ring to overflow", || (sent_bytes(&space) > 16 << 20).then_some(()));
    daemon.signal("CONT");
    assert!(flood.wait().expect("flood").success());
    let sent = ip_packets(&space) - before.0;
    let after = Account::settled(&daemon);
    let lost = after.ring_full - before.1.ring_full;
    let counted = after.captured - before.1.captured + lost + after.unreadable - before.1.unreadable;
    assert!(lost > 0, "the test must overload the ring to prove anything");
    // The namespace's own counters are independent of the BPF programs. A packet that no socket of
    // the cgroup owned (a SYN-ACK of a dying listener, a RST) is in theirs only.
    let missing = sent.abs_diff(counted);
    assert!(missing * 1000 <= sent, "kernel counted {sent} packets, the daemon accounts for {counted}");
}

/// Pushes many small TCP writes through loopback as fast as it can.
const FLOOD: &str = "
import socket, threading
server = socket.create_server(('127.0.0.1', 0))
def drain():
    peer, _ = server.accept()
    while peer.recv(1 << 20):
        pass
threads = []
for _ in range(4):
    t = threading.Thread(target=drain); t.start(); threads.append(t)
    s = socket.create_connection(server.getsockname())
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(20000):
        s.send(b'x' * 700)
    s.close()
for t in threads: t.join()
";

/// The flood's client and server must really have run as a command: a missing interpreter would pass.
#[test]
fn the_flood_program_is_valid_python() {
    let status = Command::new("/usr/bin/python3")
        .args(["-c", "import ast, sys; ast.parse(sys.argv[1])", FLOOD])
        .status()
        .expect("python3");
    assert!(status.success());
}
