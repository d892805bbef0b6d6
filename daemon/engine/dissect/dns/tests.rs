//! Exchanges over datagrams and streams: matching, retries, timeouts, records, hostile bytes.

use std::time::Duration;

use proptest::prelude::*;

use super::PROTOCOL;
use super::message::is_message;
use crate::dissect::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp, Value};

const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

/// A message in the making.
#[derive(Clone, Debug)]
struct Wire {
    bytes: Vec<u8>,
}

/// `www.a` as labels.
fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

impl Wire {
    fn new(id: u16, flags: u16) -> Self {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0; 8]);
        Self { bytes }
    }

    fn query(id: u16, host: &str, kind: u16) -> Self {
        Self::new(id, 0x0100).question(host, kind)
    }

    fn answer(id: u16, host: &str, kind: u16) -> Self {
        Self::new(id, 0x8180).question(host, kind)
    }

    fn count(&mut self, section: usize) {
        self.bytes[5 + section * 2] += 1;
    }

    fn question(mut self, host: &str, kind: u16) -> Self {
        self.count(0);
        self.bytes.extend(name(host));
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend([0, 1]);
        self
    }

    /// A record; its owner is the first question where `owner` is empty.
    fn record(mut self, section: usize, owner: &str, kind: u16, data: &[u8]) -> Self {
        self.count(section);
        if owner.is_empty() {
            self.bytes.extend([0xc0, 12]);
        } else {
            self.bytes.extend(name(owner));
        }
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend([0, 1, 0, 0, 0, 60]);
        self.bytes.extend((data.len() as u16).to_be_bytes());
        self.bytes.extend(data);
        self
    }

    fn opt(mut self, size: u16, flags: u32, data: &[u8]) -> Self {
        self.count(3);
        self.bytes.extend([0, 0, 41]);
        self.bytes.extend(size.to_be_bytes());
        self.bytes.extend(flags.to_be_bytes());
        self.bytes.extend((data.len() as u16).to_be_bytes());
        self.bytes.extend(data);
        self
    }

    /// With its length in front.
    fn framed(&self) -> Vec<u8> {
        [&(self.bytes.len() as u16).to_be_bytes()[..], &self.bytes].concat()
    }
}

const MS: u64 = 1_000_000;

struct Rig {
    session: Session,
    limits: Limits,
    out: Vec<Transaction>,
    now: u64,
}

impl Rig {
    fn new(carrier: Carrier, port: u16, from_start: bool) -> Self {
        Self {
            session: Session::new(carrier, port, from_start),
            limits: Limits::default(),
            out: Vec::new(),
            now: MS,
        }
    }

    fn udp() -> Self {
        Self::new(Carrier::Datagram, 53, true)
    }

    fn feed(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        self.now += MS;
        self.session.feed(direction, Input::Bytes(bytes), Timestamp(self.now), &self.limits, &mut self.out);
        self
    }

    fn wait(&mut self, by: Duration) -> &mut Self {
        self.now += by.as_nanos() as u64;
        self.session.expire(Timestamp(self.now), &self.limits, &mut self.out);
        self
    }

    fn close(mut self) -> Vec<Transaction> {
        self.session.close(End::Closed, Timestamp(self.now), &self.limits, &mut self.out);
        self.out
    }
}

fn error_of(transaction: &Transaction) -> Option<(ErrorKind, &str)> {
    transaction.error.as_ref().map(|error| (error.kind, error.message.as_str()))
}

fn list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::List(items)) => {
            items.iter().map(|item| item.as_str().unwrap_or("?").to_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn values(transaction: &Transaction) -> Vec<String> {
    list(transaction.response.get("values"))
}

/// Entries for tests of what comes after dissection.
pub(crate) fn golden_transactions() -> Vec<Transaction> {
    let mut rig = Rig::udp();
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let error = [0, 15, 0, 6, 0, 6, b'o', b'o', b'p', b's'];
    rig.feed(
        UP,
        &Wire::query(1, "www.example.com", 1).opt(1232, 0x8000, &[&cookie[..], &subnet].concat()).bytes,
    );
    rig.feed(
        DOWN,
        &Wire::answer(1, "www.example.com", 1)
            .record(1, "", 5, &name("cdn.example.net"))
            .record(1, "cdn.example.net", 1, &[192, 0, 2, 7])
            .record(2, "example.net", 2, &name("ns.example.net"))
            .record(3, "ns.example.net", 28, &[0; 16])
            .opt(1232, 0, &error)
            .bytes,
    );
    rig.feed(UP, &Wire::query(2, "no.example.com", 28).bytes);
    rig.feed(DOWN, &Wire::new(2, 0x8183).question("no.example.com", 28).bytes);
    rig.feed(UP, &Wire::query(3, "lost.example.com", 15).bytes);
    rig.feed(UP, &Wire::query(3, "lost.example.com", 15).bytes);
    rig.feed(DOWN, &Wire::answer(9, "who.example.com", 16).bytes);
    let mut found = rig.close();
    let mut multicast = Rig::new(Carrier::Datagram, 5353, true);
    multicast.feed(UP, &Wire::new(0, 0x8400).record(1, "printer.local", 1, &[10, 0, 0, 9]).bytes);
    found.extend(multicast.close());
    found
}

#[test]
fn an_answer_meets_its_query_with_real_latency() {
    let found = golden_transactions();
    let first = &found[0];
    assert_eq!(
        (first.protocol.as_str(), first.method.as_str(), first.summary.as_str()),
        ("dns", "Query", "www.example.com")
    );
    assert_eq!((first.status, error_of(first), first.timing.elapsed()), (0, None, MS));
    assert_eq!(values(first), ["cdn.example.net", "192.0.2.7"]);
    assert_eq!(list(first.request.get("names")), ["www.example.com"]);
    assert_eq!(list(first.request.get("types")), ["A"]);
    let Some(Value::List(answers)) = first.response.get("answers") else { panic!("{first:?}") };
    assert_eq!(answers[1].get("ip").and_then(Value::as_str), Some("192.0.2.7"));
    assert_eq!(answers[0].get("name").and_then(Value::as_str), Some("www.example.com"));
    assert_eq!(answers[0].get("ttl").and_then(Value::as_int), Some(60));
    assert_eq!(first.response.get("code").and_then(Value::as_str), Some("No Error"));
    let edns = |side: &Value, key: &str| side.get("edns").and_then(|edns| edns.get(key)).cloned();
    assert_eq!(edns(&first.request, "clientSubnet"), Some(Value::from("192.0.2.0/24/0")));
    assert_eq!(edns(&first.request, "dnssecOk"), Some(Value::Bool(true)));
    let Some(Value::List(errors)) = edns(&first.response, "extendedErrors") else { panic!("{first:?}") };
    assert_eq!(errors[0].get("name").and_then(Value::as_str), Some("DNSSEC Bogus"));
    assert_eq!(
        (found[1].status, found[1].response.get("rcode").and_then(Value::as_str)),
        (3, Some("NXDOMAIN"))
    );
}

#[test]
fn what_has_no_pair_says_why() {
    let found = golden_transactions();
    assert_eq!(error_of(&found[2]), Some((ErrorKind::Timeout, "sent again before it was answered")));
    assert_eq!(error_of(&found[3]), Some((ErrorKind::PairNotFound, "its query was not captured")));
    assert!(found[3].request.is_null());
    assert_eq!(found[3].summary, "who.example.com");
    assert_eq!(error_of(&found[4]), Some((ErrorKind::Connection, "closed before it was answered")));
    assert_eq!(found[4].request.get("retries").and_then(Value::as_int), Some(1));
    assert_eq!(
        (found[5].protocol.as_str(), error_of(&found[5]), found[5].summary.as_str()),
        ("mdns", None, "printer.local")
    );
    assert_eq!(found.len(), 6);
}

#[test]
fn answers_in_any_order_meet_their_own_queries() {
    let mut rig = Rig::udp();
    // The same id twice, as two programs behind one forwarder may choose; case is the server's choice.
    for (id, kind) in [(7, 1), (8, 28), (7, 28)] {
        rig.feed(UP, &Wire::query(id, "Host.Example", kind).bytes);
    }
    for (id, kind, last) in [(7, 28, 1), (8, 28, 2), (7, 1, 3)] {
        let data: &[u8] =
            if kind == 1 { &[10, 0, 0, 3] } else { &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last] };
        rig.feed(DOWN, &Wire::answer(id, "hOST.example", kind).record(1, "", kind, data).bytes);
    }
    let found = rig.close();
    let rows: Vec<_> =
        found.iter().map(|it| (list(it.request.get("types")).concat(), values(it).concat())).collect();
    assert_eq!(
        rows,
        [("AAAA".into(), "::1".into()), ("AAAA".into(), "::2".into()), ("A".into(), "10.0.0.3".into())]
    );
    assert!(found.iter().all(|it| it.error.is_none()));
}

#[test]
fn a_query_waits_only_so_long_and_a_repeated_answer_is_told() {
    let mut rig = Rig::udp();
    let query = Wire::query(1, "a.b", 1).bytes;
    rig.feed(UP, &query);
    assert_eq!(rig.session.next_deadline(), Some(Timestamp(rig.now).plus(rig.limits.lookup_timeout)));
    rig.wait(Duration::from_secs(60));
    rig.feed(UP, &query);
    rig.feed(DOWN, &Wire::answer(1, "a.b", 1).bytes).feed(DOWN, &Wire::answer(1, "a.b", 1).bytes);
    let found = rig.close();
    assert_eq!(error_of(&found[0]), Some((ErrorKind::Timeout, "no answer in time")));
    assert_eq!(error_of(&found[1]), None);
    assert_eq!(error_of(&found[2]), Some((ErrorKind::PairNotFound, "the answer came before")));
}

fn record_text(kind: u16, data: &[u8]) -> String {
    let mut rig = Rig::udp();
    rig.feed(UP, &Wire::query(1, "x.y", kind).bytes);
    rig.feed(DOWN, &Wire::answer(1, "x.y", kind).record(1, "", kind, data).bytes);
    let found = rig.close();
    assert!(found[0].events.is_empty(), "{:?}", found[0].events);
    values(&found[0]).concat()
}

#[test]
fn records_are_written_as_in_zone_files() {
    let joined = |parts: &[&[u8]]| parts.concat();
    let host = name("h.x");
    let cases: &[(u16, Vec<u8>, &str)] = &[
        (2, host.clone(), "h.x"),
        (
            6,
            joined(&[&host, &name("m.x"), &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]]),
            "h.x m.x 1 2 3 4 5",
        ),
        (12, host.clone(), "h.x"),
        (13, b"\x01a\x02bc".to_vec(), "\"a\" \"bc\""),
        (15, joined(&[&[0, 10], &host]), "10 h.x"),
        (16, b"\x03v=1\x02\"\xff".to_vec(), "\"v=1\" \"\\\"\\255\""),
        (33, joined(&[&[0, 1, 0, 2, 0x1f, 0x90], &host]), "1 2 8080 h.x"),
        (35, joined(&[b"\x00\x01\x00\x02\x01u\x07E2U+sip\x00", &name("")]), "1 2 \"u\" \"E2U+sip\" \"\" ."),
        (43, vec![0x12, 0x34, 8, 2, 0xab, 0xcd], "4660 8 2 abcd"),
        (
            46,
            joined(&[&[0, 1, 8, 2, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 1, 0, 9], &host, b"sig"]),
            "A 8 2 60 2 1 9 h.x c2ln",
        ),
        (47, joined(&[&host, &[0, 1, 0x40]]), "h.x A"),
        (48, joined(&[&[1, 0, 3, 8], b"key"]), "256 3 8 a2V5"),
        (50, vec![1, 0, 0, 5, 0, 5, 1, 2, 3, 4, 5, 0, 1, 0x40], "1 0 5 - 04106105 A"),
        (52, vec![3, 1, 1, 0xaa], "3 1 1 aa"),
        (64, joined(&[&[0, 0], &host]), "0 h.x"),
        (
            65,
            joined(&[
                &[0, 1, 0],
                &[0, 1, 0, 6],
                b"\x02h2\x02h3",
                &[0, 3, 0, 2, 1, 0xbb],
                &[0, 4, 0, 4, 10, 0, 0, 1],
            ]),
            "1 . alpn=h2,h3 port=443 ipv4hint=10.0.0.1",
        ),
        (99, b"\x01x".to_vec(), "\"x\""),
        (256, joined(&[&[0, 1, 0, 2], b"http://x"]), "1 2 \"http://x\""),
        (257, joined(&[&[0, 5], b"issueca.x"]), "0 issue \"ca.x\""),
        (1234, vec![1, 2], "\\# 2 0102"),
    ];
    for (kind, data, text) in cases {
        assert_eq!(record_text(*kind, data), *text, "type {kind}");
    }
}

#[test]
fn a_truncated_answer_is_followed_by_a_call_over_tcp() {
    let mut rig = Rig::udp();
    rig.feed(UP, &Wire::query(1, "big.x", 16).bytes)
        .feed(DOWN, &Wire::new(1, 0x8380).question("big.x", 16).bytes);
    let found = rig.close();
    assert_eq!(found[0].response.get("truncated"), Some(&Value::Bool(true)));
    let mut rig = Rig::new(Carrier::Stream, 53, true);
    let long = [&[250][..], &[b'x'; 250]].concat().repeat(100);
    rig.feed(UP, &Wire::query(2, "big.x", 16).framed());
    rig.feed(DOWN, &Wire::answer(2, "big.x", 16).record(1, "", 16, &long).framed());
    let found = rig.close();
    assert_eq!((found.len(), error_of(&found[0])), (1, None));
    assert_eq!(found[0].request.get("transport").and_then(Value::as_str), Some("tcp"));
    assert_eq!(found[0].response_size, 25_100 + 12 + 11 + 12 + 2);
}

fn tcp_script() -> Vec<(Direction, Vec<u8>)> {
    let mut steps = Vec::new();
    for id in 1..6 {
        let host = format!("host{id}.example");
        steps.push((
            UP,
            [Wire::query(id, &host, 1).framed(), Wire::query(id + 50, &host, 28).framed()].concat(),
        ));
        steps.push((DOWN, Wire::answer(id + 50, &host, 28).record(1, "", 28, &[id as u8; 16]).framed()));
        steps.push((DOWN, Wire::answer(id, &host, 1).record(1, "", 1, &[id as u8; 4]).framed()));
    }
    steps
}

fn play(
    steps: &[(Direction, Vec<u8>)],
    from_start: bool,
    mut split: impl FnMut() -> usize,
) -> Vec<Transaction> {
    let mut rig = Rig::new(Carrier::Stream, 53, from_start);
    for (direction, bytes) in steps {
        rig.now += MS;
        for piece in bytes.chunks(split().max(1)) {
            rig.session.feed(*direction, Input::Bytes(piece), Timestamp(rig.now), &rig.limits, &mut rig.out);
        }
    }
    rig.close()
}

#[test]
fn any_split_of_a_stream_gives_the_same_entries() {
    let steps = tcp_script();
    let whole = play(&steps, true, || usize::MAX);
    assert_eq!(whole.len(), 10);
    assert!(whole.iter().all(|it| it.error.is_none()));
    for size in [1, 2, 3, 5, 13, 40] {
        assert_eq!(play(&steps, true, || size), whole, "pieces of {size}");
    }
    // From the middle: each entry is one of these, or says what it lacks.
    for from in 1..steps.len() {
        for found in play(&steps[from..], false, || usize::MAX) {
            let same = |it: &Transaction| it.request == found.request && it.response == found.response;
            assert!(found.error.is_some() || whole.iter().any(same), "from {from}: {found:?}");
        }
    }
}

#[test]
fn a_lost_segment_is_declared_and_the_stream_goes_on() {
    let steps = tcp_script();
    let whole = play(&steps, true, || usize::MAX);
    for lost in 2..steps.len() - 2 {
        let mut rig = Rig::new(Carrier::Stream, 53, true);
        for (index, (direction, bytes)) in steps.iter().enumerate() {
            if index == lost {
                let gap = Input::Gap(bytes.len() as u64);
                rig.session.feed(*direction, gap, Timestamp(rig.now), &rig.limits, &mut rig.out);
            } else {
                rig.feed(*direction, bytes);
            }
        }
        let found = rig.close();
        for it in &found {
            let known =
                whole.iter().any(|whole| whole.request == it.request && whole.response == it.response);
            assert!(known || it.error.is_some(), "without {lost}: {it:?}");
        }
        assert!(found.iter().filter(|it| it.error.is_none()).count() >= 8, "without {lost}: {found:#?}");
    }
}

#[test]
fn a_zone_transfer_is_one_entry() {
    let soa = [name("ns.x"), name("m.x"), vec![0; 20]].concat();
    let mut rig = Rig::new(Carrier::Stream, 53, true);
    rig.feed(UP, &Wire::query(1, "x", 252).framed());
    rig.feed(
        DOWN,
        &Wire::answer(1, "x", 252).record(1, "", 6, &soa).record(1, "a.x", 1, &[1, 1, 1, 1]).framed(),
    );
    rig.feed(DOWN, &Wire::answer(1, "x", 252).record(1, "b.x", 1, &[2, 2, 2, 2]).framed());
    assert!(rig.out.is_empty());
    rig.feed(DOWN, &Wire::answer(1, "x", 252).record(1, "", 6, &soa).framed());
    assert_eq!(rig.out.len(), 1);
    let found = rig.close();
    assert_eq!(values(&found[0]).len(), 4);
}

#[test]
fn a_zone_transfer_under_way_does_not_hold_up_what_waits_behind_it() {
    let soa = [name("ns.x"), name("m.x"), vec![0; 20]].concat();
    let mut rig = Rig::new(Carrier::Stream, 53, true);
    let patience = rig.limits.lookup_timeout;
    rig.feed(UP, &Wire::query(1, "x", 252).framed());
    rig.feed(UP, &Wire::query(2, "silent.x", 1).framed());
    rig.wait(patience / 2);
    rig.feed(DOWN, &Wire::answer(1, "x", 252).record(1, "", 6, &soa).framed());
    rig.wait(patience * 3 / 4);
    let errors: Vec<_> = rig.out.iter().map(error_of).collect();
    assert_eq!(errors, [Some((ErrorKind::Timeout, "no answer in time"))]);
    assert_eq!(rig.out[0].summary, "silent.x");
    rig.feed(DOWN, &Wire::answer(1, "x", 252).record(1, "", 6, &soa).framed());
    assert_eq!((rig.out.len(), error_of(&rig.out[1])), (2, None));
}

#[test]
fn broken_messages_are_shown_as_far_as_they_go() {
    let mut rig = Rig::udp();
    let answer = Wire::answer(1, "a.b", 1).record(1, "", 1, &[1, 2, 3, 4]).record(1, "", 1, &[1, 2]).bytes;
    rig.feed(UP, &Wire::query(1, "a.b", 1).bytes).feed(DOWN, &answer);
    let found = rig.close();
    assert_eq!(values(&found[0]), ["1.2.3.4"]);
    assert!(
        matches!(&found[0].events[..], [EntryEvent::Anomaly { what }] if what == "the message is cut short")
    );
}

#[test]
fn other_protocols_are_not_taken_for_dns() {
    let ntp = [vec![0x23, 2, 6, 0xec], vec![0; 44]].concat();
    for bytes in [&ntp[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0; 12], &[0; 64], b"hello"] {
        assert!(!is_message(bytes, false), "{bytes:?}");
    }
    assert!(is_message(&Wire::query(1, "a.b", 1).bytes, false));
    assert!(!is_message(&Wire::query(1, "a.b", 77).bytes, false));
    assert!(is_message(&Wire::query(1, "a.b", 77).bytes, true));
    let mut rig = Rig::new(Carrier::Datagram, 40_000, true);
    rig.feed(UP, &Wire::answer(1, "late.x", 1).bytes);
    assert!(rig.session.is_swapped());
}

#[test]
fn every_name_of_an_answer_is_learned_under_the_name_that_was_asked() {
    let learn = PROTOCOL.names.expect("DNS teaches names");
    let mut facts = Vec::new();
    for transaction in golden_transactions() {
        let entry = crate::present::tests::around(transaction);
        learn(&entry, &mut |fact| {
            facts.push((fact.ip.to_string(), fact.name.to_string(), fact.ttl.as_secs()));
        });
    }
    assert_eq!(
        facts,
        [
            ("192.0.2.7".to_owned(), "www.example.com".to_owned(), 60),
            ("10.0.0.9".to_owned(), "printer.local".to_owned(), 60)
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..120)), 1..10),
        datagram in any::<bool>(),
        from_start in any::<bool>(),
    ) {
        let carrier = if datagram { Carrier::Datagram } else { Carrier::Stream };
        let mut rig = Rig::new(carrier, 53, from_start);
        rig.feed(UP, &if datagram { Wire::query(1, "a.b", 1).bytes } else { Wire::query(1, "a.b", 1).framed() });
        for (up, bytes) in pieces {
            rig.feed(if up { UP } else { DOWN }, &bytes);
        }
        rig.close();
    }

    #[test]
    fn changed_messages_never_panic(at in 0..90_usize, byte in any::<u8>(), kind in 0..260_u16) {
        let data = [name("a.b"), vec![0; 24]].concat();
        let mut bytes = Wire::answer(1, "x.y", kind).record(1, "", kind, &data).opt(1, 2, &[0, 8, 0, 4, 0, 1, 9, 9]).bytes;
        let at = at % bytes.len();
        bytes[at] = byte;
        Rig::udp().feed(DOWN, &bytes);
        is_message(&bytes, false);
    }
}
