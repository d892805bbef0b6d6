//! Encrypted packets and plaintext of the same connections, from records to entries.

use std::time::Duration;

use super::*;
use crate::dissect::tls::tests::{TLS12, TLS13, segments};
use crate::flow::{Binder, Bound, Routed, Router, RouterConfig};
use crate::model::{CaptureSource, Entry, EntryEvent, ErrorKind, NodeInfo, Packet, SocketCookie, TlsEvent};
use crate::shard::{FlowState, Shard, ShardContext};
use crate::testing::{ACK, RST, Socket, Talk, Tls, ms};

const C: &str = "10.0.0.1:40000";
const S: &str = "10.0.0.2:443";
const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[derive(Debug, Default)]
struct Seen {
    entries: Vec<Entry>,
    losses: Vec<(DropReason, u64)>,
}

impl Sink for Seen {
    fn entry(&mut self, entry: Entry) {
        // What is shown while it is open comes again.
        if !entry.is_open() {
            self.entries.push(entry);
        }
    }

    fn loss(&mut self, reason: DropReason, count: u64) {
        self.losses.push((reason, count));
    }
}

struct Rig {
    router: Router,
    binder: Binder,
    bound: Bound,
    shard: Shard,
    seen: Seen,
}

impl Rig {
    fn new() -> Self {
        let node = Arc::new(NodeInfo { name: "node".into(), ip: "10.0.0.1".parse().unwrap() });
        let context = ShardContext { node, run: "run".into(), source: CaptureSource::Ebpf };
        let limits = Limits::default();
        Self {
            router: Router::new(RouterConfig::new(1, &limits)),
            binder: Binder::default(),
            bound: Bound::default(),
            shard: Shard::new(Arc::new(limits), context),
            seen: Seen::default(),
        }
    }

    fn packets(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            let Routed::To { packet, .. } = self.router.route(packet) else { panic!("dropped") };
            self.shard.packet(packet, &mut self.seen);
        }
    }

    fn tls(&mut self, event: TlsEvent) {
        self.binder.event(event, ms(0), &self.router, &mut self.bound);
        self.deliver();
    }

    fn advance(&mut self, at: Timestamp) {
        self.router.expire(at);
        self.binder.retry(at, &self.router, &mut self.bound);
        self.deliver();
        self.shard.advance(at, &mut self.seen);
    }

    fn deliver(&mut self) {
        for (_, routed) in self.bound.routed.drain(..) {
            self.shard.tls(routed, &mut self.seen);
        }
        self.seen.losses.append(&mut self.bound.losses);
    }

    /// One call, as the client's library shows it.
    fn call(&mut self, tls: &mut Tls, ask: &[u8], answer: &[u8], at: Timestamp) {
        let event = tls.writes(at, ask);
        self.tls(event);
        let event = tls.reads(Timestamp(at.0 + 1_000_000), answer);
        self.tls(event);
    }

    /// The same, as the server's library shows it.
    fn serve(&mut self, tls: &mut Tls, ask: &[u8], answer: &[u8], at: Timestamp) {
        let event = tls.reads(at, ask);
        self.tls(event);
        let event = tls.writes(Timestamp(at.0 + 500_000), answer);
        self.tls(event);
    }

    fn only(&self) -> &Entry {
        assert_eq!(self.seen.entries.len(), 1, "{:#?}", self.seen.entries);
        &self.seen.entries[0]
    }

    fn lost(&self, reason: DropReason) -> u64 {
        self.seen.losses.iter().filter(|(lost, _)| *lost == reason).map(|(_, count)| count).sum()
    }
}

/// Opens a connection and plays the encrypted segments of a recording.
fn recorded(rig: &mut Rig, talk: &mut Talk, recording: &str) {
    rig.packets(talk.open());
    for (direction, bytes) in segments(recording) {
        rig.packets(talk.say(direction == Direction::ToServer, &bytes));
    }
}

fn summaries(rig: &Rig) -> Vec<&str> {
    rig.seen.entries.iter().map(|entry| entry.summary.as_str()).collect()
}

#[test]
fn a_call_in_tls_is_one_entry_with_the_facts_of_its_handshake() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    recorded(&mut rig, &mut talk, TLS13);
    let mut tls = Tls::new(0xa0, 1);
    rig.call(&mut tls, ASK, ANSWER, ms(5));
    rig.packets(talk.close());
    rig.tls(tls.closed(ms(7)));
    rig.advance(ms(20_000));
    let entry = rig.only();
    assert!(entry.tls);
    assert_eq!((entry.summary.as_str(), entry.status), ("/x", 200));
    assert_eq!((entry.src.socket.0, entry.dst.socket.0), (1, 2));
    assert_eq!((entry.timing.request_start, entry.timing.response_end), (ms(5), ms(6)));
    assert_eq!((entry.capture.source, entry.capture.seen_at.as_str()), (CaptureSource::EbpfTls, "both"));
    let info = entry.tls_info.as_ref().unwrap();
    assert_eq!((info.handshake.sni.as_str(), info.handshake.version), ("api.example.test", 0x0304));
    // Hidden by the handshake; offered and spoken.
    assert_eq!(info.alpn, "http/1.1");
    assert_eq!((info.library, info.witness), (Some(TlsLibrary::OpenSsl), Some(TlsWitness::InCall)));
    assert!(rig.seen.losses.is_empty(), "{:?}", rig.seen.losses);
    assert_eq!(rig.shard.connections(), 0);
}

#[test]
fn encrypted_packets_alone_are_a_flow_with_facts_and_no_entries() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    recorded(&mut rig, &mut talk, TLS12);
    let flows = rig.shard.flows();
    let tls = flows[0].tls.as_ref().unwrap();
    assert_eq!((flows[0].application, flows[0].entries), (Some("tlsx"), 0));
    assert_eq!(
        (tls.sni.as_str(), tls.version.as_str(), tls.alpn.as_str()),
        ("api.example.test", "TLS 1.2", "http/1.1")
    );
    assert!(!tls.decrypted && tls.library.is_none());
    rig.packets(talk.close());
    assert_eq!(rig.shard.flows()[0].state, FlowState::Closed);
    rig.advance(ms(20_000));
    assert!(rig.seen.entries.is_empty() && rig.seen.losses.is_empty());
}

#[test]
fn both_ends_that_show_the_same_plaintext_give_one_entry() {
    for server_first in [false, true] {
        let mut rig = Rig::new();
        let mut talk = Talk::local(C, S, 1);
        recorded(&mut rig, &mut talk, TLS13);
        let (mut client, mut server) = (Tls::new(0xa0, 1), Tls::new(0xb0, 2));
        for n in 0..3 {
            let ask = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
            if server_first {
                rig.serve(&mut server, ask.as_bytes(), ANSWER, ms(10 * n));
                rig.call(&mut client, ask.as_bytes(), ANSWER, ms(10 * n));
            } else {
                rig.call(&mut client, ask.as_bytes(), ANSWER, ms(10 * n));
                rig.serve(&mut server, ask.as_bytes(), ANSWER, ms(10 * n));
            }
        }
        rig.packets(talk.close());
        rig.advance(ms(30_000));
        assert_eq!(summaries(&rig), ["/0", "/1", "/2"]);
        assert!(rig.seen.entries.iter().all(|entry| entry.status == 200 && entry.events.is_empty()));
        assert!(rig.seen.losses.is_empty(), "{:?}", rig.seen.losses);
    }
}

#[test]
fn the_other_end_fills_in_what_one_end_lost() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    recorded(&mut rig, &mut talk, TLS13);
    let (mut client, mut server) = (Tls::new(0xa0, 1), Tls::new(0xb0, 2));
    let events = [
        client.writes(ms(1), &ASK[..10]),
        client.writes(ms(1), &ASK[10..20]),
        client.writes(ms(1), &ASK[20..]),
    ];
    let [first, _lost, third] = events;
    rig.tls(first);
    rig.tls(third);
    rig.serve(&mut server, ASK, ANSWER, ms(2));
    assert_eq!(rig.only().summary, "/x");
    assert!(rig.seen.losses.is_empty());
}

#[test]
fn a_lost_piece_is_a_gap_that_the_entry_tells() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    talk.server = None;
    recorded(&mut rig, &mut talk, TLS13);
    let mut tls = Tls::new(0xa0, 1);
    let event = tls.writes(ms(1), ASK);
    rig.tls(event);
    let event = tls.reads(ms(2), b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
    rig.tls(event);
    let body = [b'b'; 100];
    let pieces = [tls.reads(ms(3), &body), tls.reads(ms(3), &body), tls.reads(ms(3), &body)];
    let [first, _lost, third] = pieces;
    rig.tls(first);
    rig.tls(third);
    assert!(rig.only().events.contains(&EntryEvent::GapInResponse { bytes: 100 }));
    assert_eq!(rig.lost(DropReason::TlsHole), 100);
}

#[test]
fn plaintext_before_and_after_all_packets_of_its_connection() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    let mut tls = Tls::new(0xa0, 1);
    rig.call(&mut tls, ASK, ANSWER, ms(1));
    recorded(&mut rig, &mut talk, TLS13);
    rig.advance(ms(2));
    assert_eq!(rig.only().tls_info.as_ref().unwrap().handshake.sni, "api.example.test");

    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    let mut tls = Tls::new(0xa0, 1);
    recorded(&mut rig, &mut talk, TLS13);
    rig.packets(talk.close());
    rig.advance(talk.at.plus(Duration::from_millis(900)));
    rig.call(&mut tls, ASK, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", talk.at);
    assert!(rig.seen.entries.is_empty());
    rig.tls(tls.closed(talk.at));
    // The end of the connection is the end of the body.
    assert_eq!((rig.only().response_size, rig.only().error.is_none()), (32, true));
    rig.advance(talk.at.plus(Duration::from_secs(9)));
    assert_eq!((rig.seen.entries.len(), rig.shard.connections()), (1, 0));
}

#[test]
fn an_end_without_plaintext_of_it_is_waited_for_no_longer_than_a_second() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    recorded(&mut rig, &mut talk, TLS13);
    let mut tls = Tls::new(0xa0, 1);
    let event = tls.writes(talk.at, ASK);
    rig.tls(event);
    rig.packets(talk.segment(false, RST, b""));
    rig.advance(talk.at.plus(Duration::from_millis(999)));
    assert!(rig.seen.entries.is_empty());
    rig.advance(talk.at.plus(Duration::from_millis(1001)));
    let error = rig.only().error.as_ref().unwrap();
    assert_eq!(error.kind, ErrorKind::Connection);
    // What comes later is a loss and not silence.
    let event = tls.reads(talk.at, ANSWER);
    rig.tls(event);
    assert_eq!((rig.seen.entries.len(), rig.lost(DropReason::TlsUnrouted)), (1, 1));
}

#[test]
fn a_connection_that_existed_before_capture_is_joined_in_its_middle() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    let encrypted = &segments(TLS13)[8].1;
    rig.packets(talk.say(true, encrypted));
    let mut tls = Tls { from_start: false, offsets: [700, 900], ..Tls::new(0xa0, 1) };
    rig.call(&mut tls, b"-8\r\n\r\nrest of something", b"more of it", ms(1));
    rig.call(&mut tls, ASK, ANSWER, ms(2));
    rig.packets(talk.say(true, encrypted));
    rig.call(&mut tls, ASK, ANSWER, ms(3));
    rig.packets(talk.close());
    rig.advance(ms(30_000));
    let whole = rig.seen.entries.iter().filter(|entry| entry.status == 200 && entry.error.is_none());
    assert_eq!(whole.count(), 2, "{:#?}", rig.seen.entries);
    assert!(rig.seen.entries.iter().all(|entry| entry.tls));
}

#[test]
fn of_two_ends_that_were_joined_late_one_counts_in_both_directions() {
    for server_first in [false, true] {
        let mut rig = Rig::new();
        let mut talk = Talk::local(C, S, 1);
        rig.packets(talk.say(true, &segments(TLS13)[8].1));
        let late = |handle, cookie| Tls { from_start: false, ..Tls::new(handle, cookie) };
        let (mut client, mut server) = (late(0xa0, 1), late(0xb0, 2));
        // Reads that waited when the probes came are not seen. The client's write returns after the answer.
        let mut first = [client.writes(ms(2), ASK), server.writes(ms(1), ANSWER)];
        if server_first {
            first.reverse();
        }
        first.into_iter().for_each(|event| rig.tls(event));
        for n in 1..6 {
            let ask = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
            rig.serve(&mut server, ask.as_bytes(), ANSWER, ms(10 * n));
            rig.call(&mut client, ask.as_bytes(), ANSWER, ms(10 * n + 5));
        }
        rig.packets(talk.close());
        rig.advance(ms(30_000));
        let whole = rig.seen.entries.iter().filter(|entry| entry.status == 200 && entry.error.is_none());
        let whole: Vec<&str> = whole.map(|entry| entry.summary.as_str()).collect();
        assert_eq!(whole[whole.len() - 3..], ["/3", "/4", "/5"], "{:#?}", rig.seen.entries);
    }
}

#[test]
fn plaintext_tells_who_is_the_client_where_the_handshake_was_not_seen() {
    let mut rig = Rig::new();
    // By its ports the server looks like a client.
    let mut talk = Talk::local("10.0.0.1:4000", "10.0.0.2:50000", 1);
    let encrypted = &segments(TLS13)[8].1;
    rig.packets(talk.say(true, encrypted));
    let mut tls = Tls { from_start: false, ..Tls::new(0xa0, 1) };
    rig.call(&mut tls, ASK, ANSWER, ms(1));
    rig.packets(talk.say(false, encrypted));
    rig.call(&mut tls, ASK, ANSWER, ms(2));
    assert_eq!(summaries(&rig), ["/x", "/x"]);
    for entry in &rig.seen.entries {
        assert_eq!((entry.src.socket.0, entry.dst.socket.0), (1, 2));
    }
    assert_eq!(rig.shard.flows()[0].client.socket.0, 1);
}

#[test]
fn a_tunnel_that_begins_in_clear_text_goes_on_in_tls() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, "10.0.0.2:3128", 1);
    rig.packets(talk.open());
    rig.packets(talk.say(true, b"CONNECT api.example.test:443 HTTP/1.1\r\nHost: a\r\n\r\n"));
    rig.packets(talk.say(false, b"HTTP/1.1 200 OK\r\n\r\n"));
    for (direction, bytes) in segments(TLS13) {
        rig.packets(talk.say(direction == Direction::ToServer, &bytes));
    }
    let mut tls = Tls::new(0xa0, 1);
    rig.call(&mut tls, ASK, ANSWER, ms(1));
    let [tunnel, call] = &rig.seen.entries[..] else { panic!("{:#?}", rig.seen.entries) };
    assert_eq!((tunnel.method.as_str(), tunnel.tls), ("CONNECT", false));
    assert_eq!((call.summary.as_str(), call.tls, call.connection), ("/x", true, tunnel.connection));
    assert_eq!(call.tls_info.as_ref().unwrap().handshake.sni, "api.example.test");
}

#[test]
fn starttls_after_a_protocol_that_nobody_dissects() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, "10.0.0.2:5432", 1);
    rig.packets(talk.open());
    rig.packets(talk.say(true, b"\x00\x00\x00\x08\x04\xd2\x16\x2f"));
    rig.packets(talk.say(false, b"S"));
    for (direction, bytes) in segments(TLS13) {
        rig.packets(talk.say(direction == Direction::ToServer, &bytes));
    }
    let mut tls = Tls::new(0xa0, 1);
    rig.call(&mut tls, ASK, ANSWER, ms(1));
    assert_eq!(rig.only().tls_info.as_ref().unwrap().handshake.sni, "api.example.test");
    rig.packets(talk.close());
    assert_eq!(rig.shard.flows()[0].state, FlowState::Closed);
}

#[test]
fn calls_of_a_wrong_guess_do_not_stay_under_way() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    let mut other = Talk::local("10.0.0.1:40002", S, 11);
    recorded(&mut rig, &mut talk, TLS13);
    recorded(&mut rig, &mut other, TLS13);
    let mut tls = Tls::new(0xa0, 1);
    tls.socket = Some((SocketCookie(1), TlsWitness::Process));
    let event = tls.writes(ms(1), b"GET /mine HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.tls(event);
    tls.socket = Some((SocketCookie(11), TlsWitness::InCall));
    let event = tls.reads(ms(2), ANSWER);
    rig.tls(event);
    rig.call(&mut tls, ASK, ANSWER, ms(3));
    let mut own = Tls::new(0xb0, 1);
    rig.call(&mut own, b"GET /yours HTTP/1.1\r\nHost: a\r\n\r\n", ANSWER, ms(4));
    rig.packets(talk.close());
    rig.packets(other.close());
    rig.advance(ms(30_000));
    let find = |summary: &str| rig.seen.entries.iter().find(|entry| entry.summary == summary);
    assert!(find("/mine").is_none(), "{:#?}", rig.seen.entries);
    assert_eq!(find("/yours").unwrap().src.socket.0, 1);
    assert_eq!(find("/x").unwrap().src.socket.0, 11);
    assert_eq!(rig.bound.disagreements, 1);
}

#[test]
fn the_session_inside_a_session_is_what_counts() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, "10.0.0.2:3128", 1);
    recorded(&mut rig, &mut talk, TLS13);
    let (mut outer, mut inner) = (Tls::new(0xa0, 1), Tls::new(0xb0, 1));
    rig.call(&mut outer, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", ms(1));
    let hello = &segments(TLS13)[0].1;
    rig.call(&mut outer, hello, hello, ms(2));
    rig.call(&mut inner, ASK, ANSWER, ms(3));
    let event = outer.writes(ms(4), b"ciphertext of the inner session");
    rig.tls(event);
    rig.call(&mut inner, ASK, ANSWER, ms(5));
    assert_eq!(summaries(&rig), ["a:443", "/x", "/x"]);
    assert!(rig.seen.losses.is_empty());
}

#[test]
fn pausing_gives_up_what_is_under_way_and_resuming_finds_the_stream_again() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    recorded(&mut rig, &mut talk, TLS13);
    let mut tls = Tls::new(0xa0, 1);
    let event = tls.writes(ms(1), ASK);
    rig.tls(event);
    rig.shard.set_dissecting(false);
    let event = tls.reads(ms(2), ANSWER);
    rig.tls(event);
    rig.call(&mut tls, ASK, ANSWER, ms(3));
    rig.shard.set_dissecting(true);
    rig.call(&mut tls, ASK, ANSWER, ms(4));
    assert_eq!(rig.seen.entries.len(), 2);
    assert!(rig.seen.entries[0].response.is_null());
    assert_eq!(rig.seen.entries[1].status, 200);
}

#[test]
fn a_thousand_connections_at_once_never_mix() {
    const COUNT: usize = 1000;
    let mut rig = Rig::new();
    let addresses: Vec<String> =
        (0..COUNT).map(|n| format!("10.0.{}.{}:40000", n / 250 + 1, n % 250 + 1)).collect();
    let mut ends = Vec::new();
    for (n, address) in addresses.iter().enumerate() {
        let cookie = 2 * n as u64 + 1;
        let sockets = (Socket::connected(cookie, address, S), Socket::connected(cookie + 1, S, address));
        let syn = crate::testing::Tcp::new(address, S, n as u32 * 1000, 0, crate::testing::SYN, b"").bytes();
        rig.packets([sockets.0.out(ms(0), syn.clone()), sockets.1.arrive(ms(0), syn)]);
        // Handles are used again by other processes and later sessions.
        let mut pair = [Tls::new(n as u64 % 10, cookie), Tls::new(n as u64 % 7, cookie + 1)];
        pair[0].session.generation = n as u64;
        pair[1].session.process.pid = n as u32 + 100;
        ends.push(pair);
    }
    let text = |n: usize, round: usize| {
        let ask = format!("POST /{n}/{round} HTTP/1.1\r\nHost: h{n}\r\nContent-Length: 4\r\n\r\n{n:04}");
        let body = format!("{n}:{round}").repeat(20);
        (ask, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    for round in 0..3 {
        for step in 0..8 {
            for (n, [client, server]) in ends.iter_mut().enumerate() {
                // Every connection is at another step, and only some of them show both ends.
                let (ask, answer) = text(n, round);
                let half = |text: &str, second: bool| {
                    let (front, back) = text.as_bytes().split_at(text.len() / 2);
                    if second { back.to_vec() } else { front.to_vec() }
                };
                let at = ms((round * 8 + step) as u64);
                let event = match (step, n % 3) {
                    (0 | 1, 0 | 1) => client.writes(at, &half(&ask, step == 1)),
                    (2 | 3, 1 | 2) => server.reads(at, &half(&ask, step == 3)),
                    (4 | 5, 1 | 2) => server.writes(at, &half(&answer, step == 5)),
                    (6 | 7, 0 | 1) => client.reads(at, &half(&answer, step == 7)),
                    _ => continue,
                };
                rig.tls(event);
            }
        }
    }
    assert_eq!(rig.seen.entries.len(), COUNT * 3);
    assert!(rig.seen.losses.is_empty());
    for entry in &rig.seen.entries {
        let (n, round) = entry.summary.trim_start_matches('/').split_once('/').unwrap();
        let (n, round): (usize, usize) = (n.parse().unwrap(), round.parse().unwrap());
        assert_eq!(entry.src.addr.to_string(), addresses[n]);
        let body = format!("{n}:{round}").repeat(20);
        assert!(format!("{:?}", entry.response).contains(&format!("\"{body}\"")), "{entry:#?}");
    }
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Two lossy ends in any interleaving with packets: calls come out once and say what is wrong.
        #[test]
        fn calls_come_out_once_whatever_is_lost(
            steps in proptest::collection::vec((any::<bool>(), 0..8_u8, 1..40_usize), 0..160),
            late in any::<bool>(),
        ) {
            let mut rig = Rig::new();
            let mut talk = Talk::local(C, S, 1);
            rig.packets(talk.open());
            let mut ends = [Tls::new(0xa0, 1), Tls::new(0xb0, 2)];
            for tls in &mut ends {
                tls.from_start = !late;
            }
            let calls = 5;
            let up: Vec<u8> = (0..calls).flat_map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()).collect();
            let down: Vec<u8> =
                (0..calls).flat_map(|n| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}").into_bytes()).collect();
            let mut at = 0;
            for (server, what, len) in steps {
                at += 30;
                let tls = &mut ends[usize::from(server)];
                let to_server = what % 2 == 0;
                let (stream, own) = if to_server { (&up, server) } else { (&down, !server) };
                let offset = tls.offsets[usize::from(own)] as usize;
                let text = &stream[offset..(offset + len).min(stream.len())];
                let event = if own { tls.reads(ms(at), text) } else { tls.writes(ms(at), text) };
                match what {
                    6 | 7 => {}
                    _ => rig.tls(event),
                }
                rig.advance(ms(at));
            }
            rig.packets(talk.segment(true, ACK, b"\xff\xff"));
            rig.shard.finish(ms(at + 1000), &mut rig.seen);
            let asked: Vec<&str> = rig.seen.entries.iter().filter(|entry| !entry.request.is_null()).map(|entry| entry.summary.as_str()).collect();
            let mut once = asked.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), asked.len());
            prop_assert!(rig.seen.entries.iter().all(|entry| entry.tls));
            prop_assert_eq!(rig.shard.connections(), 0);
        }
    }
}
