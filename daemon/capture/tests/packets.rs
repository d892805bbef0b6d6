//! Packets: both hooks, cookies, sizes, counting, and the end of capture.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::support::*;
use crate::capture::clock::Clock;
use crate::capture::{CaptureConfig, host_support};
use crate::engine::model::{Hook, Packet, Timestamp};

#[test]
fn root_tcp_is_seen_at_both_hooks_with_cookies_and_tuples() {
    let running = start_all();
    let (listener, port) = listener();
    let (client, _server) = exchange(&listener, b"question", b"answer");
    let client_addr = client.local_addr().expect("connected");

    let sent = wait_payload(&running.packets, port, Hook::Egress, b"question");
    let got = wait_payload(&running.packets, port, Hook::Ingress, b"question");
    let answered = wait_payload(&running.packets, port, Hook::Egress, b"answer");
    let socket = sent.socket.expect("has a socket");
    assert_eq!((socket.local.port, socket.remote.port), (client_addr.port(), port));
    let socket = got.socket.expect("has a socket");
    assert_eq!((socket.local.port, socket.remote.port), (port, client_addr.port()));
    assert_eq!(socket.local.ip, client_addr.ip());
    assert!(sent.cookie.is_known() && got.cookie.is_known() && sent.cookie != got.cookie);
    assert_eq!(answered.cookie, got.cookie, "the server's socket keeps its cookie");
    assert_eq!(sent.data.len(), sent.wire_len as usize);
    assert!(Timestamp(Clock::new().tick().nanos()).since(sent.at) < PATIENCE.as_nanos() as u64);
}

#[test]
fn root_ipv6_and_udp_are_seen() {
    let running = start_all();
    let listener = TcpListener::bind("[::1]:0").expect("IPv6 loopback");
    let port = listener.local_addr().expect("bound").port();
    let _ends = exchange(&listener, b"six", b"6");
    let packet = wait_payload(&running.packets, port, Hook::Ingress, b"six");
    assert_eq!(packet.socket.expect("has a socket").local.ip, "::1".parse::<IpAddr>().expect("ip"));

    let (from, to) =
        (UdpSocket::bind("127.0.0.1:0").expect("binds"), UdpSocket::bind("127.0.0.1:0").expect("binds"));
    let port = to.local_addr().expect("bound").port();
    from.send_to(b"datagram", to.local_addr().expect("bound")).expect("sends");
    running.packets.wait("datagram", |records| {
        records
            .iter()
            .filter_map(|record| packet_of(record, port))
            .find(|packet| packet.data.ends_with(b"datagram"))
            .map(drop)
    });
}

#[test]
fn root_super_packets_are_whole() {
    let running = start_all();
    let (listener, port) = listener();
    let data: Vec<u8> = (0..8_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let _ends = exchange(&listener, &data, b"ok");
    wait_payload(&running.packets, port, Hook::Ingress, b"ok");

    let packets = running.packets.packets_of(port);
    for hook in [Hook::Egress, Hook::Ingress] {
        let is_to_server =
            |packet: &&Packet| packet.hook == hook && ports(&packet.data).is_some_and(|(_, dst)| dst == port);
        assert!(stream(packets.iter().filter(is_to_server)) == data, "{hook:?}");
    }
    let largest = packets.iter().map(|packet| packet.data.len()).max().expect("some");
    // IPv4 packets beyond 64 KiB exist since Linux 6.3.
    let expected = if host_support::probe().kernel >= (6, 3) { 65_536 } else { 60_000 };
    assert!(largest > expected, "the largest packet has {largest} bytes");
    assert_eq!(running.capture.counters().expect("counters").truncated, 0);
}

/// What the packets of one direction carry, by sequence number: retransmissions come twice.
fn stream<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut first = None;
    for packet in packets {
        let tcp = usize::from(packet.data[0] & 15) * 4;
        let seq = u32::from_be_bytes(*packet.data[tcp + 4..].first_chunk().expect("a TCP header"));
        // The SYN comes first and takes one number.
        let start = seq.wrapping_sub(*first.get_or_insert(seq.wrapping_add(1)));
        let data = payload(packet);
        if !data.is_empty() {
            let start = start as usize;
            bytes.resize(bytes.len().max(start + data.len()), 0);
            bytes[start..start + data.len()].copy_from_slice(data);
        }
    }
    bytes
}

#[test]
fn root_every_packet_is_accounted_for() {
    let mut running = start(&CaptureConfig { ring_bytes: 1, ..CaptureConfig::default() });
    let (listener, _) = listener();
    let data = vec![7_u8; 16_000_000];
    drop(exchange(&listener, &data, &data));
    running.capture.stop();

    let counters = running.capture.counters().expect("counters");
    assert!(counters.seen > 100 && counters.captured > 0, "{counters:?}");
    assert_eq!(counters.seen, counters.accounted(), "{counters:?}");
    let delivered = running.packets.0.0.lock().expect("no panic").len() as u64;
    assert_eq!(delivered, counters.captured + counters.truncated, "{counters:?}");
}

#[test]
fn root_stop_leaves_nothing_attached() {
    let before = loaded_programs();
    let mut running = start_all();
    assert!(loaded_programs() > before);
    running.capture.stop();
    drop(running);
    // The kernel frees programs after a grace period.
    let deadline = Instant::now() + PATIENCE;
    while loaded_programs() > before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(loaded_programs(), before);
}

#[test]
fn root_all_jobs_are_attached_here() {
    let running = start_all();
    let jobs = running.capture.jobs();
    let names: Vec<_> = jobs.iter().map(|job| job.job).collect();
    assert_eq!(names, ["packets", "own_traffic", "attribution", "existing_sockets", "tls"]);
    for job in jobs {
        assert!(job.attached && job.missing.is_empty(), "{job:?}");
    }
}

#[test]
fn root_idle_reader_sleeps_and_a_lone_packet_is_prompt() {
    let running = start_all();
    let (listener, port) = listener();
    let (mut client, mut server) = exchange(&listener, b"first", b"first");
    let mut median = |round: u8| {
        let mut delays: Vec<u64> = (0..20_u8)
            .map(|n| {
                // Longer than a reader stays awake.
                std::thread::park_timeout(Duration::from_millis(15));
                let data = [b'n', round, n];
                send(&mut client, &mut server, &data);
                let packet = wait_payload(&running.packets, port, Hook::Ingress, &data);
                Clock::new().tick().since(packet.at)
            })
            .collect();
        delays.sort_unstable();
        delays[delays.len() / 2]
    };
    // What others do on this machine may hold up a round or two, but a reader that oversleeps every one.
    let medians: Vec<u64> = (0..50).map(&mut median).take_while(|delay| *delay >= 5_000_000).collect();
    assert!(medians.len() < 50, "median delays of lone packets: {medians:?}");
}

/// Programs loaded by this process.
fn loaded_programs() -> usize {
    let mine = std::process::id();
    let held = std::fs::read_dir(format!("/proc/{mine}/fd")).expect("proc").flatten();
    held.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf")))
        .count()
}
