//! From packets to entries, flows and losses.

use std::time::Duration;

use super::*;
use crate::flow::{Routed, Router, RouterConfig};
use crate::model::{CaptureSource, ErrorKind, Packet, Value};
use crate::testing::{ACK, FIN_ACK, RST, Socket, Talk, addr, ms, udp};

const C: &str = "10.0.0.1:40000";
const S: &str = "10.0.0.2:80";
const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[derive(Debug, Default)]
struct Seen {
    entries: Vec<Entry>,
    losses: Vec<(DropReason, u64)>,
}

impl Sink for Seen {
    fn entry(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    fn loss(&mut self, reason: DropReason, count: u64) {
        self.losses.push((reason, count));
    }
}

struct Rig {
    router: Router,
    shard: Shard,
    seen: Seen,
}

impl Rig {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    /// What is over; calls that are shown open come again.
    fn ended(&self) -> Vec<&Entry> {
        self.seen.entries.iter().filter(|entry| !entry.is_open()).collect()
    }

    fn with(limits: Limits) -> Self {
        let node = Arc::new(NodeInfo { name: "node".into(), ip: "10.0.0.1".parse().unwrap() });
        let context = ShardContext { node, run: "run".into(), source: CaptureSource::Ebpf };
        let router = Router::new(RouterConfig::new(1, &limits));
        Self { router, shard: Shard::new(Arc::new(limits), context), seen: Seen::default() }
    }

    fn feed(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            let Routed::To { packet, .. } = self.router.route(packet) else { panic!("dropped") };
            self.shard.packet(packet, &mut self.seen);
        }
    }

    fn advance(&mut self, at: Timestamp) {
        self.router.expire(at);
        self.shard.advance(at, &mut self.seen);
    }

    fn flow(&self) -> FlowInfo {
        let flows = self.shard.flows();
        assert_eq!(flows.len(), 1, "{flows:?}");
        flows.into_iter().next().unwrap()
    }

    fn lost(&self, reason: DropReason) -> u64 {
        self.seen.losses.iter().filter(|(lost, _)| *lost == reason).map(|(_, count)| count).sum()
    }
}

fn later(talk: &Talk, by: Duration) -> Timestamp {
    talk.at.plus(by)
}

/// Client behind OUTPUT DNAT: egress headers and the server's socket show the real address.
fn behind_dnat() -> Talk {
    let mut talk = Talk::local(C, "10.1.0.9:8080", 1);
    talk.client = Some(Socket::connected(1, C, S));
    talk
}

#[test]
fn a_local_call_is_one_entry_that_names_both_ends() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    assert!(rig.seen.entries.is_empty());
    rig.feed(talk.segment(false, ACK, ANSWER));
    assert_eq!(rig.seen.entries.len(), 1);
    rig.feed(talk.close());
    rig.advance(later(&talk, Duration::from_secs(10)));
    assert_eq!(rig.seen.entries.len(), 1);
    let entry = &rig.seen.entries[0];
    assert_eq!(entry.id.to_string(), "node/run-1-0");
    assert_eq!((entry.method.as_str(), entry.summary.as_str(), entry.status), ("GET", "/x", 200));
    assert_eq!((entry.src.addr, entry.src.socket.0), (addr(C), 1));
    assert_eq!((entry.dst.addr, entry.dst.socket.0), (addr(S), 2));
    assert_eq!((entry.src.translated, entry.dst.translated), (None, None));
    assert!(entry.outgoing && entry.error.is_none());
    assert_eq!(entry.capture.seen_at, "both");
    assert_eq!(rig.shard.connections(), 0);
    assert!(rig.seen.losses.is_empty());
}

#[test]
fn keep_alive_calls_are_numbered_in_their_stream() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    for _ in 0..3 {
        rig.feed(talk.say(true, ASK));
        rig.feed(talk.say(false, ANSWER));
    }
    let ids: Vec<u64> = rig.seen.entries.iter().map(|entry| entry.id.index).collect();
    assert_eq!(ids, [0, 1, 2]);
    assert_eq!((rig.flow().application, rig.flow().entries), (Some("http"), 3));
}

#[test]
fn server_behind_nat_has_both_addresses() {
    let mut rig = Rig::new();
    let mut talk = behind_dnat();
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    let dst = &rig.seen.entries[0].dst;
    assert_eq!((dst.addr, dst.translated), (addr(S), Some(addr("10.1.0.9:8080"))));
    let flow = rig.flow();
    assert_eq!((flow.server.addr, flow.server.translated), (addr(S), Some(addr("10.1.0.9:8080"))));
}

#[test]
fn one_sided_and_socketless_connections_say_where_they_were_seen() {
    for (client, server, seen_at, outgoing) in
        [(true, false, "client", true), (false, true, "server", false), (false, false, "", false)]
    {
        let mut rig = Rig::new();
        let mut talk = Talk::local(C, S, 1);
        talk.client = talk.client.filter(|_| client);
        talk.server = talk.server.filter(|_| server);
        rig.feed(talk.open());
        rig.feed(talk.say(true, ASK));
        rig.feed(talk.say(false, ANSWER));
        assert_eq!(rig.seen.entries.len(), 1);
        let entry = &rig.seen.entries[0];
        assert_eq!((entry.capture.seen_at.as_str(), entry.outgoing), (seen_at, outgoing));
        assert_eq!((entry.src.addr, entry.dst.addr), (addr(C), addr(S)));
    }
}

#[test]
fn losses_at_one_vantage_are_healed_by_the_other() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    talk.mss = 10;
    rig.feed(talk.open());
    let mut packets = talk.say(true, ASK);
    packets.extend(talk.say(false, ANSWER));
    // Every packet with payload is missing at one of its two sockets, in turn.
    // `say` gives four packets per segment: payload out and in, acknowledgement out and in.
    let kept = packets.into_iter().enumerate().filter(|(n, _)| n % 4 != n / 4 % 2).map(|(_, packet)| packet);
    rig.feed(kept);
    assert_eq!(rig.seen.entries.len(), 1);
    assert!(rig.seen.losses.is_empty(), "{:?}", rig.seen.losses);
}

#[test]
fn missing_bytes_of_a_body_are_counted_once() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.segment(false, ACK, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"));
    drop(talk.segment(false, ACK, b"01234"));
    rig.feed(talk.segment(false, ACK, b"56789"));
    rig.advance(later(&talk, Duration::from_millis(200)));
    assert_eq!(rig.lost(DropReason::SequenceHole), 5);
    assert_eq!(rig.seen.entries.len(), 1);
    assert!(!rig.seen.entries[0].events.is_empty());
}

#[test]
fn reset_and_silence_become_entries_with_errors() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.segment(false, RST, b""));
    assert_eq!(rig.seen.entries.len(), 1);
    assert_eq!(rig.seen.entries[0].error.as_ref().unwrap().kind, ErrorKind::Connection);
    assert_eq!(rig.flow().state, FlowState::Closed);

    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.advance(later(&talk, Duration::from_secs(59)));
    assert!(rig.ended().is_empty());
    rig.advance(later(&talk, Duration::from_secs(61)));
    assert_eq!(rig.ended()[0].error.as_ref().unwrap().kind, ErrorKind::Timeout);
}

#[test]
fn a_long_download_is_shown_open_and_again_under_the_same_id() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"));
    rig.advance(later(&talk, Duration::from_millis(900)));
    assert!(rig.seen.entries.is_empty());
    rig.advance(later(&talk, Duration::from_millis(1100)));
    rig.advance(later(&talk, Duration::from_millis(2500)));
    assert_eq!(rig.seen.entries.len(), 1);
    rig.feed(talk.say(false, b"cd"));
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    let seen: Vec<_> =
        rig.seen.entries.iter().map(|entry| (entry.id.index, entry.is_open(), entry.status)).collect();
    assert_eq!(seen, [(0, true, 200), (0, false, 200), (1, false, 200)]);
    let size = rig.seen.entries[1].response.get("bodySize");
    assert_eq!(size, Some(&Value::Int(4)));
}

#[test]
fn finish_empties_the_shard_and_shows_what_was_under_way() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.shard.finish(talk.at, &mut rig.seen);
    assert_eq!(rig.seen.entries.len(), 1);
    assert!(rig.seen.entries[0].error.is_some());
    assert_eq!((rig.shard.connections(), rig.shard.next_deadline()), (0, None));
}

#[test]
fn calls_under_way_at_the_start_have_the_right_ends() {
    let mut rig = Rig::new();
    // By its ports the server looks like a client.
    let mut talk = Talk::local("10.0.0.1:4000", "10.0.0.2:50000", 1);
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    let entry = &rig.seen.entries[0];
    assert_eq!((entry.src.addr, entry.src.socket.0), (addr("10.0.0.1:4000"), 1));
    assert_eq!((entry.dst.addr, entry.dst.socket.0), (addr("10.0.0.2:50000"), 2));
    assert_eq!(rig.flow().client.addr, addr("10.0.0.1:4000"));
}

#[test]
fn pausing_keeps_accounts_and_resuming_finds_the_stream_again() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.shard.set_dissecting(false);
    rig.feed(talk.say(false, ANSWER));
    // The request that was under way is shown, without its answer.
    assert_eq!(rig.seen.entries.len(), 1);
    assert!(rig.seen.entries[0].response.is_null());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    assert_eq!(rig.seen.entries.len(), 1);
    assert_eq!(rig.lost(DropReason::Paused), 6);
    let packets = rig.flow().to_server.packets;
    assert_eq!(packets, 6);
    rig.shard.set_dissecting(true);
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    assert_eq!(rig.seen.entries.len(), 2);
    assert_eq!(rig.seen.entries[1].status, 200);
    rig.feed(talk.close());
    assert_eq!(rig.flow().state, FlowState::Closed);
}

#[test]
fn traffic_is_counted_once_for_both_vantages() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, &[b'x'; 100]));
    rig.feed(talk.segment(true, FIN_ACK, b""));
    let flow = rig.flow();
    assert_eq!((flow.protocol, flow.state), ("tcp", FlowState::Closing));
    assert_eq!((flow.client.socket.0, flow.server.socket.0), (1, 2));
    assert_eq!((flow.to_server.packets, flow.to_client.packets), (4, 2));
    assert_eq!(flow.to_server.bytes, 52 + 40 + 140 + 40);
    let tcp = flow.tcp.unwrap();
    assert_eq!((tcp.retransmissions, tcp.goodput_bytes, tcp.fin_count), (0, 100, 1));
    assert_eq!(tcp.connection_completeness, 31);
    assert_eq!((tcp.handshake_time_us, tcp.initial_rtt_us, tcp.window_scale), (40, 30, 7));
}

#[test]
fn retransmissions_are_counted_once_for_both_vantages() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    let packets = talk.segment(true, ACK, &[b'x'; 100]);
    rig.feed(packets.clone());
    rig.feed(packets);
    rig.feed(talk.segment(false, ACK, b""));
    let tcp = rig.flow().tcp.unwrap();
    assert_eq!((tcp.retransmissions, tcp.out_of_order, tcp.missing_segments), (1, 0, 0));
    assert_eq!((tcp.goodput_bytes, tcp.connection_completeness), (100, 15));
}

#[test]
fn unknown_protocols_are_flows_without_entries() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    for _ in 0..20 {
        rig.feed(talk.say(true, &[0xff; 1000]));
    }
    rig.feed(talk.close());
    let flow = rig.flow();
    assert_eq!((flow.state, flow.application, flow.entries), (FlowState::Closed, None, 0));
    rig.advance(later(&talk, Duration::from_secs(10)));
    assert!(rig.shard.flows().is_empty() && rig.seen.entries.is_empty() && rig.seen.losses.is_empty());
}

#[test]
fn datagrams_are_accounted_and_forgotten_when_idle() {
    let mut rig = Rig::new();
    let (client, server) = (Socket::connected(1, C, "10.0.0.2:53"), Socket::listener(2, "10.0.0.2:53"));
    rig.feed([client.out(ms(0), udp(C, "10.0.0.2:53", b"query"))]);
    rig.feed([server.arrive(ms(0), udp(C, "10.0.0.2:53", b"query"))]);
    rig.feed([server.out(ms(1), udp("10.0.0.2:53", C, b"answer"))]);
    rig.feed([client.arrive(ms(1), udp("10.0.0.2:53", C, b"answer"))]);
    let flow = rig.flow();
    assert_eq!((flow.protocol, flow.to_server.packets, flow.to_client.packets), ("udp", 1, 1));
    assert_eq!((flow.client.socket.0, flow.server.socket.0), (1, 2));
    assert!(flow.tcp.is_none());
    rig.advance(ms(59_000));
    assert_eq!(rig.shard.connections(), 1);
    rig.advance(ms(61_001));
    assert_eq!(rig.shard.connections(), 0);
}

#[test]
fn full_table_evicts_counts_and_goes_on() {
    let mut rig = Rig::with(Limits { max_connections: 8, ..Limits::default() });
    for n in 0..100_u64 {
        let mut talk = Talk::local(C, S, 10 + n * 2);
        talk.seq = [n as u32 * 100_000, n as u32 * 100_000 + 7];
        talk.at = Timestamp(ms(0).0 + n * 2_000_000_000);
        rig.feed(talk.open());
        rig.feed(talk.say(true, ASK));
        assert!(rig.shard.connections() <= 8);
        assert!(rig.router.connections() <= 8);
    }
    assert_eq!(rig.lost(DropReason::ConnectionLimit), 92);
    // What the evicted ones were asked is shown, without an answer.
    assert_eq!(rig.seen.entries.len(), 92);
}

#[test]
fn a_forgotten_connection_that_goes_on_is_another_stream() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    rig.shard.finish(talk.at, &mut rig.seen);
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    let streams: Vec<&str> = rig.seen.entries.iter().map(|entry| entry.id.stream.as_str()).collect();
    assert_eq!(streams[0], "run-1");
    assert!(streams[1].starts_with("run-1."), "{streams:?}");
}

#[test]
fn forged_segments_neither_end_a_connection_nor_make_gaps() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    talk.server = None;
    rig.feed(talk.open());
    rig.feed(talk.say(true, ASK));
    let (client, at) = (talk.client.unwrap(), talk.at);
    let [sent, arrived] = talk.seq;
    let mut forge = |seq: u32, ack: u32, flags, payload: &[u8]| {
        rig.feed([client.arrive(at, crate::testing::Tcp::new(S, C, seq, ack, flags, payload).bytes())]);
    };
    for (seq, flags) in [(arrived + 5000, RST), (arrived - 2, RST), (arrived + 10_000_000, FIN_ACK)] {
        forge(seq, sent, flags, b"");
    }
    forge(arrived + 10_000_000, sent, ACK, b"far ahead");
    forge(arrived + 77, 0, crate::testing::SYN, b"");
    // Taken by the kernel, but it acknowledges what was never sent.
    forge(arrived, sent + 500_000, ACK, b"");
    rig.advance(later(&talk, Duration::from_secs(1)));
    assert!(rig.ended().is_empty());
    assert_eq!(rig.lost(DropReason::SequenceHole), 0);
    assert_eq!(rig.lost(DropReason::OutOfWindow), 5);
    rig.advance(later(&talk, Duration::from_secs(10)));
    rig.feed(talk.say(false, ANSWER));
    rig.feed(talk.say(true, ASK));
    rig.feed(talk.say(false, ANSWER));
    assert_eq!(rig.ended().len(), 2);
    assert!(rig.ended().iter().all(|entry| entry.status == 200 && entry.events.is_empty()));
    assert_eq!(rig.flow().state, FlowState::Open);
    // The real one counts.
    rig.feed(talk.segment(false, RST, b""));
    assert_eq!(rig.flow().state, FlowState::Closed);
}

#[test]
fn ends_of_a_nat_that_meet_late_are_one_connection_with_one_entry_per_call() {
    let (service, real, masked) = ("10.96.0.1:80", "10.1.0.9:8080", "10.1.0.1:55555");
    for near_shows_more in [false, true] {
        let mut rig = Rig::new();
        let mut near = Talk::local(C, service, 1);
        near.server = None;
        let mut far = Talk::local(masked, real, 2);
        far.client = None;
        if near_shows_more {
            // Whichever end shows more goes on.
            rig.feed(near.segment(true, ACK, b"POST /y HTTP/1.1\r\nContent-Length: 2\r\n\r\n"));
            far.segment(true, ACK, b"POST /y HTTP/1.1\r\nContent-Length: 2\r\n\r\n");
            rig.feed(far.segment(true, ACK, b""));
            rig.feed(near.segment(true, ACK, b"ab"));
            rig.feed(far.segment(true, ACK, b"ab"));
        } else {
            rig.feed(near.segment(true, ACK, b""));
            rig.feed(far.segment(true, ACK, b""));
            // Segmented on the way: the pieces do not look alike.
            rig.feed(near.segment(true, ACK, ASK));
            rig.feed(far.segment(true, ACK, &ASK[..10]));
            rig.feed(far.segment(true, ACK, &ASK[10..]));
            assert_eq!(rig.shard.connections(), 2);
        }
        rig.feed(far.segment(false, ACK, ANSWER));
        rig.feed(near.segment(false, ACK, ANSWER));
        assert_eq!(rig.seen.entries.len(), 1, "{:#?}", rig.seen.entries);
        assert_eq!(rig.seen.entries[0].status, 200);
        rig.feed(near.segment(true, ACK, ASK));
        rig.feed(far.segment(true, ACK, ASK));
        rig.feed(far.segment(false, ACK, ANSWER));
        rig.feed(near.segment(false, ACK, ANSWER));
        assert_eq!(rig.flow().state, FlowState::Open);
        rig.shard.finish(near.at, &mut rig.seen);
        assert_eq!(rig.seen.entries.len(), 2);
        let last = &rig.seen.entries[1];
        assert_eq!((last.src.socket.0, last.dst.socket.0), (1, 3));
        assert_eq!(rig.router.connections(), 1);
    }
}

#[test]
fn flows_serialize() {
    let mut rig = Rig::new();
    let mut talk = Talk::local(C, S, 1);
    rig.feed(talk.open());
    let json = serde_json::to_value(rig.shard.flows()).unwrap();
    assert_eq!(json[0]["protocol"], "tcp");
    assert_eq!(json[0]["tcp"]["connection_completeness"], 7);
}

mod hostile {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Hook, SocketCookie};
    use crate::testing::{Tcp, from_file};

    /// A segment of few possible places and flags, so that segments interact.
    fn segment() -> impl Strategy<Value = Packet> {
        let text =
            prop_oneof![Just(ASK), Just(ANSWER), Just(&ASK[..7]), Just(&b"\xff\xfe"[..]), Just(&b""[..])];
        let places = (prop_oneof![0..400_u32, any::<u32>()], prop_oneof![0..400_u32, any::<u32>()]);
        (any::<bool>(), places, any::<u8>(), text, 0..3_u64, any::<bool>(), any::<bool>(), 0..400_u64)
            .prop_map(|(up, (seq, ack), flags, text, cookie, out, listener, at)| {
                let (from, to) = if up { (C, S) } else { (S, C) };
                let data = Tcp::new(from, to, seq, ack, crate::wire::TcpFlags(flags & 0x17), text).bytes();
                let socket =
                    if listener { Socket::listener(cookie, S) } else { Socket::connected(cookie, S, C) };
                let hook = if out { Hook::Egress } else { Hook::Ingress };
                let known = (cookie != 0).then_some(socket.tuple);
                Packet { cookie: SocketCookie(cookie), socket: known, hook, ..from_file(ms(at), data) }
            })
    }

    proptest! {
        #[test]
        fn any_order_of_any_segments_stays_within_bounds(packets in proptest::collection::vec(segment(), 0..200)) {
            let mut rig = Rig::with(Limits { max_connections: 4, max_out_of_order: 256, ..Limits::default() });
            for packet in packets {
                let at = packet.at;
                rig.feed([packet]);
                rig.advance(at);
                prop_assert!(rig.shard.connections() <= 5);
            }
            rig.shard.finish(ms(1000), &mut rig.seen);
            prop_assert_eq!(rig.shard.connections(), 0);
            prop_assert_eq!(rig.shard.next_deadline(), None);
            let mut ids: Vec<String> = rig.seen.entries.iter().map(|entry| entry.id.to_string()).collect();
            let all = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), all);
        }

        /// Both vantages in one stream of records, some records lost, order kept per vantage: each call comes
        /// out whole, or a hole is counted and every entry of it says what is wrong with it.
        #[test]
        fn calls_come_out_once_or_a_hole_is_counted(
            lost in proptest::collection::vec(0..5_u8, 400),
            mss in 8..200_usize,
            calls in 1..6_usize,
        ) {
            let mut rig = Rig::new();
            let mut talk = Talk::local(C, S, 1);
            talk.mss = mss;
            rig.feed(talk.open());
            let mut gone = 0;
            for n in 0..calls {
                let ask = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Call: {n}\r\n\r\nhello");
                let said = talk.say(true, ask.as_bytes()).into_iter().chain(talk.say(false, answer.as_bytes()));
                for (index, packet) in said.enumerate() {
                    if lost[(n * 67 + index) % 400] == 0 {
                        gone += 1;
                    } else {
                        rig.feed([packet]);
                    }
                }
                talk.at = talk.at.plus(Duration::from_secs(1));
                rig.advance(talk.at);
            }
            // Shows how much was said, whatever was lost at the end.
            rig.feed(talk.close());
            rig.shard.finish(later(&talk, Duration::from_secs(1)), &mut rig.seen);
            let entries = rig.ended();
            let mut whole = 0;
            for entry in &entries {
                let both = !entry.request.is_null() && !entry.response.is_null();
                if entry.events.is_empty() && entry.error.is_none() {
                    prop_assert!(both && entry.status == 200, "unexplained: {:#?}", entry);
                    whole += 1;
                }
                if both && entry.events.is_empty() {
                    let answered = format!("{:?}", entry.response);
                    let call = entry.summary.trim_start_matches('/');
                    let named = answered.contains(&format!("\"X-Call\", Str(\"{call}\")"));
                    prop_assert!(named, "{} met {}", entry.summary, answered);
                }
            }
            let requests = entries.iter().filter(|entry| !entry.request.is_null()).count();
            let responses = entries.iter().filter(|entry| !entry.response.is_null()).count();
            prop_assert!(requests <= calls && responses <= calls, "{:#?}", entries);
            if rig.lost(DropReason::SequenceHole) == 0 {
                prop_assert_eq!(whole, calls, "{} records lost", gone);
            } else {
                prop_assert!(gone >= 2);
            }
        }
    }
}

/// `who.test A` with the given flags.
fn lookup(flags: u16) -> Vec<u8> {
    let mut message = vec![0, 9];
    message.extend(flags.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(b"\x03who\x04test\x00\x00\x01\x00\x01");
    message
}

#[test]
fn a_datagram_seen_at_both_ends_is_one_message() {
    let mut rig = Rig::new();
    let client = Socket::listener(1, "0.0.0.0:40000");
    let server = Socket::listener(2, "10.0.0.2:53");
    let (ask, answer) = (udp(C, "10.0.0.2:53", &lookup(0x0100)), udp("10.0.0.2:53", C, &lookup(0x8183)));
    rig.feed([client.out(ms(0), ask.clone()), server.arrive(ms(1), ask)]);
    rig.feed([server.out(ms(5), answer.clone()), client.arrive(ms(6), answer)]);
    assert_eq!(rig.seen.entries.len(), 1);
    let entry = &rig.seen.entries[0];
    assert_eq!((entry.protocol.as_str(), entry.summary.as_str(), entry.status), ("dns", "who.test", 3));
    assert_eq!((entry.src.addr, entry.dst.addr), (addr(C), addr("10.0.0.2:53")));
    assert_eq!(entry.capture.seen_at, "both");
    assert_eq!(entry.timing.elapsed(), 6_000_000);
    assert_eq!(rig.flow().application, Some("dns"));
}

#[test]
fn a_question_that_nobody_answers_is_given_up_and_paused_datagrams_are_counted() {
    let mut rig = Rig::new();
    let client = Socket::listener(1, "10.0.0.1:40000");
    rig.feed([client.out(ms(0), udp(C, "10.0.0.2:53", &lookup(0x0100)))]);
    rig.advance(ms(9_000));
    assert!(rig.seen.entries.is_empty());
    rig.advance(ms(10_100));
    assert_eq!(rig.seen.entries[0].error.as_ref().map(|error| error.kind), Some(ErrorKind::Timeout));
    rig.shard.set_dissecting(false);
    rig.feed([client.out(ms(10_200), udp(C, "10.0.0.2:53", &lookup(0x0100)))]);
    assert_eq!((rig.lost(DropReason::Paused), rig.seen.entries.len()), (1, 1));
}

#[test]
fn who_answers_from_a_known_port_is_the_server() {
    for (from, to) in [("10.0.0.2:53", C), ("10.0.0.2:5355", C), ("10.0.0.2:9999", C)] {
        let mut rig = Rig::new();
        rig.feed([crate::testing::from_file(ms(0), udp(from, to, &lookup(0x8180)))]);
        let entry = &rig.seen.entries[0];
        assert_eq!((entry.src.addr, entry.dst.addr), (addr(C), addr(from)), "{from}");
        assert!(entry.request.is_null());
        assert_eq!(entry.error.is_none(), from.ends_with("5355"));
    }
}
