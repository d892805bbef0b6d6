//! HTTP/2 from recorded peers and made up by hand: every split, losses, late joins, attacks.

use std::path::PathBuf;

use compact_str::CompactString;
use proptest::prelude::*;

use crate::dissect::conversation::{self, Action, Script, shown_all};
use crate::dissect::{Carrier, End, Input, Session, Stage, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp, Value};

use Direction::{ToClient, ToServer};

const MS: u64 = 1_000_000;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// GET / over http, in indices of the static table.
const GET: &[u8] = b"\x82\x86\x84";
/// 200.
const OK: &[u8] = b"\x88";

fn recorded() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/pcaps/http2")
}

fn scripts() -> Vec<(String, Script)> {
    let scripts = conversation::scripts(&recorded());
    assert!(scripts.len() >= 7, "recordings are missing");
    scripts
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(1, flags | END_HEADERS, stream, block)
}

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, bytes)
}

/// A literal header that does not join the table.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
    out
}

/// A GET of a path of its own.
fn get(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &[b"\x82\x86".as_slice(), &literal(":path", &format!("/{stream}"))].concat())
}

/// A session that has seen the prefaces.
struct Rig {
    session: Session,
    limits: Limits,
    out: Vec<Transaction>,
    now: u64,
}

impl Rig {
    fn silent(limits: Limits, from_start: bool) -> Self {
        let session = Session::new(Carrier::Stream, 80, from_start);
        Self { session, limits, out: Vec::new(), now: 1000 * MS }
    }

    fn with(limits: Limits) -> Self {
        let mut rig = Self::silent(limits, true);
        rig.up(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        rig.up(&frame(4, 0, 0, &[]));
        rig.down(&frame(4, 0, 0, &[]));
        rig
    }

    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn up(&mut self, bytes: &[u8]) {
        self.feed(ToServer, Input::Bytes(bytes));
    }

    fn down(&mut self, bytes: &[u8]) {
        self.feed(ToClient, Input::Bytes(bytes));
    }

    fn feed(&mut self, direction: Direction, input: Input<'_>) {
        self.now += MS;
        self.session.feed(direction, input, Timestamp(self.now), &self.limits, &mut self.out);
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms * MS;
        self.session.expire(Timestamp(self.now), &self.limits, &mut self.out);
    }

    fn close(&mut self, end: End) {
        self.session.close(end, Timestamp(self.now), &self.limits, &mut self.out);
    }

    fn only(&mut self) -> Transaction {
        assert_eq!(self.out.len(), 1, "{:#?}", shown_all(&self.out));
        self.out.remove(0)
    }
}

fn body(transaction: &Transaction) -> Vec<u8> {
    match transaction.response.get("content").and_then(|content| content.get("text")) {
        Some(Value::Bytes(bytes)) => bytes.to_vec(),
        Some(Value::Str(text)) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

fn message(transaction: &Transaction) -> CompactString {
    transaction.error.as_ref().map(|error| error.message.clone()).unwrap_or_default()
}

#[test]
fn a_thousand_interleaved_streams_are_a_thousand_calls() {
    let mut rig = Rig::new();
    let ids: Vec<u32> = (0..1000).map(|n| n * 2 + 1).collect();
    rig.up(&ids.iter().flat_map(|id| get(*id)).collect::<Vec<_>>());
    rig.down(&ids.iter().rev().flat_map(|id| headers(*id, 0, OK)).collect::<Vec<_>>());
    for round in 0..4 {
        let flags = if round == 3 { END_STREAM } else { 0 };
        let part = |id: &u32| data(*id, flags, format!("{id}-{round};").as_bytes());
        rig.down(&ids.iter().flat_map(part).collect::<Vec<_>>());
    }
    assert_eq!(rig.out.len(), 1000);
    for transaction in &rig.out {
        let id = &transaction.summary[1..];
        assert_eq!(body(transaction), format!("{id}-0;{id}-1;{id}-2;{id}-3;").as_bytes());
        assert_eq!(transaction.error, None);
        assert!(transaction.events.is_empty());
    }
}

#[test]
fn padding_priority_and_continuation_are_taken_off() {
    let mut rig = Rig::new();
    let padded = [b"\x03\x00\x00\x00\x00\x10".as_slice(), GET, b"\0\0\0"].concat();
    rig.up(&frame(1, 0x8 | 0x20, 1, &padded));
    rig.up(&frame(9, 0, 1, &literal("x-a", "1")));
    rig.up(&frame(9, 0, 1, b""));
    rig.up(&frame(9, END_HEADERS, 1, &literal("x-b", "2")));
    rig.up(&frame(0, 0x8 | END_STREAM, 1, b"\x04body\0\0\0\0"));
    rig.down(&headers(1, END_STREAM, OK));
    let transaction = rig.only();
    let headers = transaction.request.get("headers").expect("headers");
    assert_eq!((headers.get("x-a"), headers.get("x-b")), (Some(&"1".into()), Some(&"2".into())));
    let post = transaction.request.get("postData").and_then(|post| post.get("text"));
    assert_eq!(post, Some(&"body".into()));
    assert_eq!(transaction.request.get("bodySize"), Some(&Value::Int(4)));
}

#[test]
fn interim_responses_and_trailers_belong_to_their_call() {
    let mut rig = Rig::new();
    rig.up(&get(1));
    rig.down(&headers(1, 0, &literal(":status", "103")));
    rig.down(&headers(1, 0, OK));
    rig.down(&data(1, 0, b"x"));
    rig.down(&headers(1, END_STREAM, &literal("x-sum", "1")));
    let transaction = rig.only();
    assert_eq!(transaction.status, 200);
    assert_eq!(transaction.response.get("headers").and_then(|all| all.get("x-sum")), Some(&"1".into()));
}

#[test]
fn resets_and_goodbyes_are_errors_with_their_reason() {
    let mut rig = Rig::new();
    rig.up(&[get(1), get(3), get(5), get(7)].concat());
    rig.up(&frame(3, 0, 1, &8_u32.to_be_bytes()));
    rig.down(&frame(3, 0, 3, &7_u32.to_be_bytes()));
    rig.down(&[headers(1, 0, OK), data(1, END_STREAM, b"late")].concat());
    rig.down(&frame(7, 0, 0, b"\0\0\0\x05\0\0\0\x0bslow down"));
    rig.down(&headers(5, END_STREAM, OK));
    let seen: Vec<_> =
        rig.out.iter().map(|call| (call.summary.to_string(), message(call).to_string())).collect();
    let expected = [
        ("/1", "stream reset by the client: CANCEL"),
        ("/3", "stream reset by the server: REFUSED_STREAM"),
        ("/7", "the server said goodbye: ENHANCE_YOUR_CALM (slow down)"),
        ("/5", ""),
    ];
    assert_eq!(seen, expected.map(|(path, why)| (path.to_owned(), why.to_owned())));
}

#[test]
fn a_push_is_a_call_of_its_own() {
    let mut rig = Rig::new();
    rig.up(&get(1));
    rig.down(&frame(5, END_HEADERS, 1, &[&2_u32.to_be_bytes()[..], GET].concat()));
    rig.down(&[headers(1, END_STREAM, OK), headers(2, 0, OK), data(2, END_STREAM, b"pushed")].concat());
    assert_eq!(rig.out.len(), 2);
    assert_eq!(rig.out[1].events, [EntryEvent::Pushed]);
    assert_eq!((rig.out[1].summary.as_str(), body(&rig.out[1])), ("/", b"pushed".to_vec()));
}

#[test]
fn waiting_for_flow_control_is_timed() {
    let mut rig = Rig::new();
    rig.up(&get(1));
    rig.down(&headers(1, 0, OK));
    for _ in 0..4 {
        rig.down(&data(1, 0, &[b'x'; 16_000]));
    }
    rig.down(&data(1, 0, &[b'x'; 1535]));
    rig.wait(300);
    rig.up(&frame(8, 0, 1, &100_u32.to_be_bytes()));
    rig.wait(500);
    rig.up(&frame(8, 0, 0, &100_u32.to_be_bytes()));
    rig.down(&data(1, END_STREAM, b"end"));
    // Two steps of one millisecond each lie between the waits.
    assert_eq!(rig.only().events, [EntryEvent::ResponseStalled { ns: 802 * MS }]);
}

#[test]
fn settings_of_an_upgrade_request_hold_from_the_start() {
    let mut rig = Rig::silent(Limits::default(), true);
    // SETTINGS_INITIAL_WINDOW_SIZE = 10
    rig.up(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAK\r\n\r\n");
    rig.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    rig.down(&[frame(4, 0, 0, &[]), headers(1, 0, OK), data(1, 0, &[b'x'; 10])].concat());
    rig.wait(300);
    rig.up(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat());
    rig.up(&frame(8, 0, 1, &100_u32.to_be_bytes()));
    rig.down(&data(1, END_STREAM, b"end"));
    rig.close(End::Closed);
    assert_eq!(rig.out.len(), 2);
    let stalled = |event: &EntryEvent| matches!(event, EntryEvent::ResponseStalled { ns } if *ns >= 300 * MS);
    assert!(rig.out[1].events.iter().any(stalled), "{:?}", rig.out[1].events);
}

#[test]
fn a_gap_in_data_keeps_the_framing_and_every_other_stream() {
    let mut rig = Rig::new();
    rig.up(&[get(1), get(3)].concat());
    rig.down(&[headers(1, 0, OK), headers(3, 0, OK)].concat());
    let long = data(1, 0, &[b'x'; 1000]);
    rig.down(&long[..100]);
    rig.feed(ToClient, Input::Gap(500));
    rig.down(&long[600..]);
    rig.down(&[data(3, END_STREAM, b"whole"), data(1, END_STREAM, b"end")].concat());
    assert_eq!(body(&rig.out[0]), b"whole");
    assert!(rig.out[0].events.is_empty());
    assert_eq!(rig.out[1].events[0], EntryEvent::GapInResponse { bytes: 500 });
    assert_eq!(rig.out[1].response.get("bodySize"), Some(&Value::Int(1003)));
}

#[test]
fn a_gap_over_frames_is_declared_and_what_follows_is_found() {
    let mut rig = Rig::new();
    rig.up(&[get(1), get(3)].concat());
    rig.feed(ToClient, Input::Gap(40));
    rig.down(&[data(3, END_STREAM, b"tail").as_slice(), &frame(6, 0, 0, &[0; 8])].concat());
    rig.up(&get(5));
    rig.down(&headers(5, END_STREAM, OK));
    rig.close(End::Closed);
    let error = |call: &Transaction| call.error.as_ref().map(|error| error.kind);
    let seen: Vec<_> = rig.out.iter().map(|call| (call.summary.as_str(), error(call))).collect();
    assert_eq!(
        seen,
        [("/3", Some(ErrorKind::PairNotFound)), ("/5", None), ("/1", Some(ErrorKind::Connection))]
    );
    for call in [&rig.out[0], &rig.out[2]] {
        assert!(call.events.contains(&EntryEvent::GapInResponse { bytes: 40 }), "{:?}", call.events);
    }
}

#[test]
fn an_answer_waits_a_moment_for_its_request() {
    let mut rig = Rig::new();
    rig.down(&headers(1, END_STREAM, OK));
    rig.wait(100);
    rig.up(&get(1));
    assert_eq!(rig.only().error, None);
    rig.down(&headers(3, END_STREAM, OK));
    rig.wait(500);
    assert_eq!(message(&rig.only()), "its request was not seen");
}

#[test]
fn a_request_without_an_answer_times_out_and_its_late_answer_is_shown() {
    let mut rig = Rig::new();
    rig.up(&get(1));
    rig.wait(61_000);
    assert_eq!(rig.out.remove(0).stage, Stage::Open(1));
    assert_eq!(rig.only().error.expect("a timeout").kind, ErrorKind::Timeout);
    rig.down(&headers(1, END_STREAM, OK));
    assert_eq!(message(&rig.only()), "its request was given up before it came");
}

#[test]
fn a_call_that_goes_on_is_shown_open_once_and_again_at_its_end() {
    let mut rig = Rig::new();
    rig.up(&get(1));
    rig.down(&[headers(1, 0, OK), data(1, 0, b"part")].concat());
    rig.wait(900);
    assert!(rig.out.is_empty(), "too early");
    rig.wait(200);
    let open = rig.only();
    assert_eq!((open.stage, open.status, body(&open)), (Stage::Open(1), 200, b"part".to_vec()));
    assert_eq!((open.error, &open.events[..]), (None, &[EntryEvent::Open][..]));
    rig.wait(5000);
    assert!(rig.out.is_empty(), "shown open more than once");
    rig.down(&data(1, END_STREAM, b"end"));
    let whole = rig.only();
    assert_eq!((whole.stage, body(&whole)), (Stage::Ended(1), b"partend".to_vec()));
    assert!(whole.events.is_empty());
}

/// An extended CONNECT (RFC 8441).
fn connect(stream: u32) -> Vec<u8> {
    let fields = [(":method", "CONNECT"), (":protocol", "WebSocket"), (":scheme", "http"), (":path", "/w")];
    headers(stream, 0, &fields.map(|(name, value)| literal(name, value)).concat())
}

#[test]
fn a_granted_extended_connect_goes_on_as_the_protocol_it_names() {
    let mut rig = Rig::new();
    rig.up(&connect(1));
    rig.down(&headers(1, 0, OK));
    assert_eq!((rig.out[0].method.as_str(), rig.out[0].status), ("CONNECT", 200));
    rig.out.clear();
    rig.down(&data(1, 0, b"\x81\x02hi"));
    let said = rig.only();
    assert_eq!((said.protocol.as_str(), said.summary.as_str()), ("ws", "/w"));
    rig.down(&data(1, 0, b"\x81\x05hal"));
    rig.down(&frame(3, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(message(&rig.only()), "reset by the server");
    rig.down(&data(1, 0, b"\x81\x02no"));
    assert!(rig.out.is_empty(), "after the reset");
}

#[test]
fn a_refused_extended_connect_stays_a_call() {
    let mut rig = Rig::new();
    rig.up(&connect(1));
    rig.down(&headers(1, END_STREAM, &literal(":status", "403")));
    rig.up(&data(1, END_STREAM, b"\x81\x02hi"));
    assert_eq!(rig.only().status, 403);
}

#[test]
fn tunnels_beyond_the_limit_stay_calls_and_say_so() {
    let mut rig = Rig::new();
    let most = crate::limits::http2::TUNNELS as u32;
    for stream in (0..=most).map(|number| 2 * number + 1) {
        rig.up(&connect(stream));
        rig.down(&headers(stream, 0, OK));
    }
    assert_eq!(rig.out.len() as u32, most);
    rig.out.clear();
    let last = 2 * most + 1;
    rig.down(&data(last, END_STREAM, b"\x81\x02hi"));
    rig.up(&data(last, END_STREAM, b""));
    assert_eq!(rig.only().events, [EntryEvent::LimitExceeded { limit: "tunnels".into() }]);
}

#[test]
fn a_late_join_finds_either_side_and_shows_what_is_unknown() {
    for swapped in [false, true] {
        let mut rig = Rig::silent(Limits::default(), false);
        let (up, down) = if swapped { (ToClient, ToServer) } else { (ToServer, ToClient) };
        rig.feed(up, Input::Bytes(&headers(101, END_STREAM, b"\x82\x86\x84\xbe")));
        rig.feed(down, Input::Bytes(&headers(101, END_STREAM, b"\x88\xbf")));
        assert_eq!(rig.session.is_swapped(), swapped);
        let call = rig.only();
        assert_eq!((call.method.as_str(), call.summary.as_str(), call.status), ("GET", "/", 200));
        let headers = call.request.get("headers").expect("headers");
        assert_eq!(headers.get("[unknown 1]"), Some(&"[unknown 1]".into()));
        assert_eq!(call.events, [EntryEvent::UnknownHeaders { count: 2 }]);
    }
}

#[test]
fn an_upgrade_from_http1_answers_on_stream_1() {
    let mut rig = Rig::silent(Limits::default(), true);
    rig.up(b"POST /up HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 2\r\n\r\nhi");
    rig.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    rig.down(&frame(4, 0, 0, &[]));
    rig.up(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    rig.up(&[frame(4, 0, 0, &[]), get(3)].concat());
    rig.down(&[headers(3, END_STREAM, OK), headers(1, 0, OK), data(1, END_STREAM, b"one")].concat());
    let seen: Vec<_> =
        rig.out.iter().map(|call| (call.protocol.as_str(), call.summary.as_str(), call.status)).collect();
    assert_eq!(seen, [("http", "/up", 101), ("http2", "/3", 200), ("http2", "/up", 200)]);
    assert_eq!((rig.out[2].method.as_str(), body(&rig.out[2])), ("POST", b"one".to_vec()));
    assert_eq!(rig.out[2].error, None);
}

#[test]
fn rapid_resets_are_a_call_each_and_leave_nothing() {
    let mut rig = Rig::new();
    for id in (1..40_001).step_by(2) {
        rig.up(&[get(id), frame(3, 0, id, &8_u32.to_be_bytes())].concat());
    }
    assert_eq!(rig.out.len(), 20_000);
    rig.close(End::Closed);
    assert_eq!(rig.out.len(), 20_000);
}

#[test]
fn open_streams_are_bounded_and_each_is_shown_once() {
    let mut rig = Rig::with(Limits { max_streams: 10, ..Limits::default() });
    rig.up(&(0..100).flat_map(|n| get(2 * n + 1)).collect::<Vec<_>>());
    assert_eq!(rig.out.len(), 90);
    assert!(rig.out[0].events.contains(&EntryEvent::LimitExceeded { limit: "max_streams".into() }));
    rig.close(End::Closed);
    assert_eq!(rig.out.len(), 100);
}

#[test]
fn a_flood_of_continuations_costs_no_more_than_the_limit() {
    let mut rig = Rig::new();
    rig.up(&frame(1, END_STREAM, 1, GET));
    let part = frame(9, 0, 1, &literal("x", &"y".repeat(100)).repeat(100));
    for _ in 0..1000 {
        rig.up(&part);
        rig.up(&frame(9, 0, 1, b""));
    }
    rig.up(&frame(9, END_HEADERS, 1, b""));
    rig.down(&headers(1, END_STREAM, OK));
    let call = rig.only();
    let limit = EntryEvent::LimitExceeded { limit: "max_head".into() };
    assert!(call.events.contains(&limit), "{:?}", call.events);
    assert!(call.request.get("headersSize").and_then(Value::as_int).expect("a size") <= 256 << 10);
}

#[test]
fn small_blocks_that_stand_for_huge_headers_are_bounded() {
    let mut rig = Rig::new();
    // 4,000 bytes under index 62, then as often as fits.
    let mut block = b"\x82\x86\x84\x40\x01a\x7f\xa1\x1e".to_vec();
    block.extend([b'v'; 4000]);
    block.extend([0xbe; 12_000]);
    rig.up(&headers(1, END_STREAM, &block));
    rig.down(&headers(1, END_STREAM, OK));
    let call = rig.only();
    assert!(call.events.contains(&EntryEvent::LimitExceeded { limit: "max_head".into() }));
    let value = call.request.get("headers").and_then(|all| all.get("a")).and_then(Value::as_str);
    assert!(value.expect("the header").len() <= 256 << 10);
}

#[test]
fn bodies_of_all_streams_together_are_bounded() {
    let mut rig = Rig::with(Limits { max_stream_bytes: 10_000, ..Limits::default() });
    rig.up(&(0..50).flat_map(|n| get(2 * n + 1)).collect::<Vec<_>>());
    for id in (1..100).step_by(2) {
        rig.down(&[headers(id, 0, OK), data(id, 0, &[b'x'; 1000])].concat());
    }
    rig.down(&(0..50).flat_map(|n| data(2 * n + 1, END_STREAM, b"")).collect::<Vec<_>>());
    assert_eq!(rig.out.len(), 50);
    let kept: usize = rig.out.iter().map(|call| body(call).len()).sum();
    let cut: u64 = rig
        .out
        .iter()
        .flat_map(|call| &call.events)
        .map(|event| match event {
            EntryEvent::ResponseTruncated { bytes } => *bytes,
            _ => 0,
        })
        .sum();
    assert!(kept <= 10_000 && kept as u64 + cut == 50_000, "{kept} kept, {cut} cut");
}

#[test]
fn garbage_after_the_preface_ends_in_a_bounded_search() {
    let mut rig = Rig::with(Limits { max_resync: 4096, max_redetect: 2, ..Limits::default() });
    for _ in 0..100 {
        rig.up(&[0x55; 1000]);
    }
    assert!(rig.session.is_done());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_input_is_survived_within_bounds(
        from_start: bool,
        steps in prop::collection::vec(
            (any::<bool>(), 0_u8..12, any::<u8>(), 0_u32..6, prop::collection::vec(any::<u8>(), 0..60), 0_u8..10),
            0..60,
        ),
    ) {
        let limits = Limits { max_streams: 3, max_stream_bytes: 300, max_head: 2048, max_resync: 4096, ..Limits::default() };
        let mut rig = if from_start { Rig::with(limits) } else { Rig::silent(limits, false) };
        for (up, kind, flags, stream, payload, luck) in steps {
            let direction = if up { ToServer } else { ToClient };
            match luck {
                0 => rig.feed(direction, Input::Gap(u64::from(flags))),
                1 => rig.feed(direction, Input::Bytes(&payload)),
                2 => rig.wait(u64::from(flags) * 1000),
                _ => rig.feed(direction, Input::Bytes(&frame(kind, flags, stream, &payload))),
            }
            prop_assert!(rig.session.buffered() <= 8192);
        }
        rig.close(End::Closed);
        prop_assert!(rig.session.is_done() && rig.session.buffered() == 0);
    }

    #[test]
    fn frames_cut_anywhere_give_the_same_calls(cuts in prop::collection::vec(1_usize..40, 1..40)) {
        let (_, script) = scripts().swap_remove(2);
        let whole = shown_all(&script.play(|len| len));
        let mut next = cuts.iter().cycle();
        prop_assert_eq!(shown_all(&script.play(|_| *next.next().expect("endless"))), whole);
    }
}

#[test]
fn a_call_lost_in_the_middle_of_many_leaves_the_others_right() {
    let (_, script) = scripts().into_iter().find(|(name, _)| name == "h2load").expect("recorded");
    let whole = script.play(|len| len);
    assert_eq!(whole.len(), 30);
    let answers = script.actions.iter().filter(|action| matches!(action, Action::Bytes(ToClient, _))).count();
    assert!(answers > 3, "the recording has too few pieces to lose one");
    assert!(whole.iter().all(|call| call.error.is_none() && call.status == 200));
}
