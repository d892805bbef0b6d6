//! Entries per second of one pipeline shard on generated HTTP/1.1 keep-alive traffic.
//!
//! Packets are made beforehand; what is timed is what a shard thread and the router do with them:
//! headers, flow table, reassembly, dissection, matching, the entry. Beside it, as a yardstick in the
//! same run, the time that `httparse` alone needs for the same heads.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use remora_engine::flow::{Routed, Router, RouterConfig};
use remora_engine::limits::Limits;
use remora_engine::model::{
    AddrPort, CaptureSource, DropReason, Entry, Hook, NodeInfo, Packet, SocketCookie, SocketTuple, Timestamp,
};
use remora_engine::shard::{Shard, ShardContext, Sink};

const CONNECTIONS: usize = 64;
const CALLS_PER_CONNECTION: usize = 1000;
const ROUNDS: usize = 5;

const REQUEST: &str = "GET /api/v1/items/42?verbose=true&lang=en HTTP/1.1\r\nHost: shop.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\nAccept: application/json\r\nAccept-Language: en-US,en\r\n\
Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef; theme=dark\r\n\
X-Request-Id: 7f3c1a52-58d3-4e0a-9a53-0f2b6c1d7e88\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n\r\n";

const RESPONSE_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 512\r\nConnection: keep-alive\r\nETag: \"65f1c0de-200\"\r\n\
Cache-Control: no-store\r\nVary: Accept-Encoding\r\n\r\n";

struct Count(u64);

impl Sink for Count {
    fn entry(&mut self, entry: Entry) {
        black_box(&entry);
        self.0 += 1;
    }

    fn loss(&mut self, reason: DropReason, count: u64) {
        panic!("{count} lost: {}", reason.name());
    }
}

fn main() {
    let response = format!("{RESPONSE_HEAD}{}", "x".repeat(512));
    // Both ends are on this host, as with a local reverse proxy: each packet is seen twice.
    for (name, both_ends) in [("one end seen", false), ("both ends seen", true)] {
        let packets = traffic(REQUEST.as_bytes(), response.as_bytes(), both_ends);
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| run(&packets)).collect();
        rates.sort_by(f64::total_cmp);
        println!(
            "engine, {name}: {:.0} entries/s (min {:.0}, max {:.0}), {} packets a run",
            rates[ROUNDS / 2],
            rates[0],
            rates[ROUNDS - 1],
            packets.len()
        );
    }
    println!("httparse alone on the same heads: {:.0} calls/s", heads_only(response.as_bytes()));
}

fn run(packets: &[Packet]) -> f64 {
    let limits = Limits::default();
    let mut router = Router::new(RouterConfig::new(1, &limits));
    let node = Arc::new(NodeInfo { name: "bench".into(), ip: [127, 0, 0, 1].into() });
    let mut shard =
        Shard::new(Arc::new(limits), ShardContext { node, run: "bench".into(), source: CaptureSource::Ebpf });
    let mut count = Count(0);
    let start = Instant::now();
    for packet in packets {
        if let Routed::To { packet, .. } = router.route(packet.clone()) {
            shard.packet(packet, &mut count);
        }
    }
    let took = start.elapsed().as_secs_f64();
    assert_eq!(count.0, (CONNECTIONS * CALLS_PER_CONNECTION) as u64, "each call is one entry");
    count.0 as f64 / took
}

fn heads_only(response: &[u8]) -> f64 {
    let calls = 200_000;
    let start = Instant::now();
    for _ in 0..calls {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        black_box(request.parse(black_box(REQUEST.as_bytes())).expect("request"));
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        black_box(parsed.parse(black_box(response)).expect("response"));
    }
    f64::from(calls) / start.elapsed().as_secs_f64()
}

/// One end of a generated connection.
struct Side {
    addr: AddrPort,
    cookie: SocketCookie,
    seq: u32,
}

fn traffic(request: &[u8], response: &[u8], both_ends: bool) -> Vec<Packet> {
    let mut sides: Vec<(Side, Side)> = (0..CONNECTIONS)
        .map(|n| {
            let n = n as u32;
            (
                Side {
                    addr: AddrPort::new([10, 0, 0, 1].into(), 40_000 + n as u16),
                    cookie: SocketCookie(u64::from(2 * n + 1)),
                    seq: 1000 + n,
                },
                Side {
                    addr: AddrPort::new([10, 0, 0, 2].into(), 80),
                    cookie: SocketCookie(u64::from(2 * n + 2)),
                    seq: 9000 + n,
                },
            )
        })
        .collect();
    let mut out = Vec::new();
    let mut clock = 1_700_000_000_000_000_000u64;
    let mut emit = |from: &mut Side, to: &Side, flags: u8, payload: &[u8]| {
        clock += 1000;
        let data = tcp_packet(from.addr, to.addr, from.seq, to.seq, flags, payload);
        let wire_len = data.len() as u32;
        let packet = |hook, cookie, local, remote| Packet {
            at: Timestamp(clock),
            cookie,
            hook,
            ifindex: 1,
            socket: Some(SocketTuple { local, remote }),
            wire_len,
            data: data.clone(),
        };
        out.push(packet(Hook::Egress, from.cookie, from.addr, to.addr));
        if both_ends {
            out.push(packet(Hook::Ingress, to.cookie, to.addr, from.addr));
        }
        from.seq = from.seq.wrapping_add(payload.len() as u32 + u32::from(flags & 2 != 0));
    };
    if !both_ends {
        // The server is elsewhere: its packets arrive at the client's socket.
        return one_sided(request, response);
    }
    for (client, server) in &mut sides {
        emit(client, server, 0x02, b"");
        emit(server, client, 0x12, b"");
        emit(client, server, 0x10, b"");
    }
    for _ in 0..CALLS_PER_CONNECTION {
        for (client, server) in &mut sides {
            emit(client, server, 0x18, request);
            emit(server, client, 0x18, response);
        }
    }
    out
}

fn one_sided(request: &[u8], response: &[u8]) -> Vec<Packet> {
    traffic(request, response, true)
        .into_iter()
        .filter_map(|packet| {
            let client = SocketCookie(packet.cookie.0 | 1) == packet.cookie;
            client.then_some(packet)
        })
        .collect()
}

fn tcp_packet(src: AddrPort, dst: AddrPort, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Bytes {
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) = (src.ip, dst.ip) else {
        unreachable!("IPv4 only")
    };
    let mut data = Vec::with_capacity(40 + payload.len());
    data.extend_from_slice(&[0x45, 0]);
    data.extend_from_slice(&(40 + payload.len() as u16).to_be_bytes());
    data.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    data.extend_from_slice(&from.octets());
    data.extend_from_slice(&to.octets());
    data.extend_from_slice(&src.port.to_be_bytes());
    data.extend_from_slice(&dst.port.to_be_bytes());
    data.extend_from_slice(&seq.to_be_bytes());
    data.extend_from_slice(&ack.to_be_bytes());
    data.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    data.extend_from_slice(payload);
    Bytes::from(data)
}
