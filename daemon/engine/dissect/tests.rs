//! The session under hostile, late, lost and random input.

use proptest::prelude::*;

use super::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp};

use Direction::{ToClient, ToServer};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A session with its surroundings.
struct Rig {
    session: Session,
    limits: Limits,
    out: Vec<Transaction>,
}

impl Rig {
    fn new(from_start: bool) -> Self {
        let session = Session::new(Carrier::Stream, 80, from_start);
        Self { session, limits: Limits::default(), out: Vec::new() }
    }

    fn feed(&mut self, direction: Direction, bytes: &[u8], at: u64) {
        self.session.feed(direction, Input::Bytes(bytes), Timestamp(at), &self.limits, &mut self.out);
        let most = self.limits.max_head + bytes.len() + self.limits.max_detect;
        assert!(self.session.buffered() <= 2 * most, "{} bytes are held", self.session.buffered());
    }

    fn gap(&mut self, direction: Direction, bytes: u64, at: u64) {
        self.session.feed(direction, Input::Gap(bytes), Timestamp(at), &self.limits, &mut self.out);
    }

    fn close(&mut self, end: End, at: u64) {
        self.session.close(end, Timestamp(at), &self.limits, &mut self.out);
        assert_eq!(self.session.buffered(), 0);
        assert!(self.session.is_done());
    }

    fn limits_reached(&self) -> Vec<&str> {
        let events = self.out.iter().flat_map(|transaction| &transaction.events);
        events
            .filter_map(|event| match event {
                EntryEvent::LimitExceeded { limit } => Some(limit.as_str()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn an_endless_head_is_bounded_and_shown_with_its_limit() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, b"GET /long HTTP/1.1\r\nHost: a\r\nX: ", 1);
    for at in 2..80 {
        rig.feed(ToServer, &[b'x'; 16 << 10], at);
    }
    rig.close(End::Closed, 99);
    assert_eq!(rig.limits_reached(), ["max_head"]);
    assert_eq!(rig.out[0].summary, "/long");
}

#[test]
fn too_many_headers_are_shown_with_their_limit() {
    let mut rig = Rig::new(true);
    let head = ["GET /many HTTP/1.1\r\n", &"A: b\r\n".repeat(600), "\r\n"].concat();
    rig.feed(ToServer, head.as_bytes(), 1);
    rig.close(End::Closed, 2);
    assert_eq!(rig.limits_reached(), ["max_headers"]);
}

#[test]
fn five_hundred_headers_are_read() {
    let mut rig = Rig::new(true);
    let lines = (0..500).map(|number| format!("H{number}: {number}\r\n")).collect::<Vec<_>>().concat();
    rig.feed(ToServer, format!("GET /many HTTP/1.1\r\n{lines}\r\n").as_bytes(), 1);
    rig.feed(ToClient, OK, 2);
    assert_eq!(rig.out.len(), 1);
    let headers = rig.out[0].request.get("headers").and_then(|headers| headers.get("H499"));
    assert_eq!(headers.and_then(crate::model::Value::as_str), Some("499"));
}

#[test]
fn single_bytes_of_a_large_exchange_take_linear_time() {
    let mut rig = Rig::new(true);
    let cookie = "c=1; ".repeat(40_000);
    let request = format!("POST /up HTTP/1.1\r\nCookie: {cookie}\r\nContent-Length: 600000\r\n\r\n");
    let body = vec![b'b'; 600_000];
    for byte in request.as_bytes().iter().chain(&body) {
        rig.feed(ToServer, std::slice::from_ref(byte), 1);
    }
    for byte in
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".iter().chain(&b"1\r\nx\r\n".repeat(50_000))
    {
        rig.feed(ToClient, std::slice::from_ref(byte), 2);
    }
    rig.feed(ToClient, b"0\r\n\r\n", 3);
    assert_eq!(rig.out.len(), 1);
    assert_eq!(rig.out[0].response_size, 47 + 6 * 50_000 + 5);
}

#[test]
fn a_flood_of_pipelined_requests_is_bounded_and_each_is_shown_once() {
    let mut rig = Rig::new(true);
    let flood = GET.repeat(100_000);
    for piece in flood.chunks(64 << 10) {
        rig.feed(ToServer, piece, 1);
    }
    assert_eq!(rig.out.len(), 100_000 - rig.limits.max_pending);
    assert!(rig.limits_reached().iter().all(|limit| *limit == "max_pending"));
    rig.close(End::Closed, 2);
    assert_eq!(rig.out.len(), 100_000);
    assert!(rig.out.iter().all(|transaction| transaction.error.is_some()));
}

#[test]
fn deeply_nested_tunnels_need_no_stack() {
    let mut rig = Rig::new(true);
    let asks = b"CONNECT a:80 HTTP/1.1\r\n\r\n".repeat(5_000);
    for piece in asks.chunks(32 << 10) {
        rig.feed(ToServer, piece, 1);
    }
    for piece in b"HTTP/1.1 200 OK\r\n\r\n".repeat(5_000).chunks(32 << 10) {
        rig.feed(ToClient, piece, 2);
    }
    assert_eq!(rig.out.len(), 5_000);
    assert!(rig.out.iter().all(|transaction| transaction.error.is_none()));
}

#[test]
fn a_chunk_size_that_overflows_ends_the_message_with_an_error() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, GET, 1);
    rig.feed(ToClient, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 2);
    assert_eq!(rig.out.len(), 1);
    assert_eq!(rig.out[0].error.as_ref().map(|error| error.kind), Some(ErrorKind::Dissection));
}

#[test]
fn bytes_that_only_claim_to_be_brotli_stay_as_they_were_sent() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, GET, 1);
    let body: Vec<u8> =
        (0..60_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: {}\r\n\r\n", body.len());
    rig.feed(ToClient, head.as_bytes(), 2);
    rig.feed(ToClient, &body, 3);
    assert_eq!(rig.out.len(), 1);
    assert!(matches!(rig.out[0].events[..], [EntryEvent::ContentNotDecoded { .. }]));
}

#[test]
fn a_response_waits_for_a_request_that_comes_late() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, GET, 10);
    rig.feed(ToClient, OK, 20);
    // The second request is held up by reassembly; its packets' time is earlier than the response's.
    rig.feed(ToClient, OK, 40);
    assert_eq!(rig.out.len(), 1);
    rig.feed(ToServer, GET, 30);
    assert_eq!(rig.out.len(), 2);
    assert!(rig.out.iter().all(|transaction| transaction.error.is_none()));
}

#[test]
fn a_response_to_a_lost_request_is_not_given_to_the_next_one() {
    let mut rig = Rig::new(true);
    for at in [1, 10] {
        rig.feed(ToServer, GET, at);
        rig.feed(ToClient, OK, at + 1);
    }
    rig.feed(ToClient, OK, 40);
    rig.feed(ToClient, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 60);
    rig.gap(ToServer, GET.len() as u64, 50);
    rig.feed(ToServer, GET, 50);
    assert_eq!(rig.out.len(), 4);
    assert_eq!(rig.out[2].error.as_ref().map(|error| error.kind), Some(ErrorKind::PairNotFound));
    assert_eq!(rig.out[2].events, [EntryEvent::GapInRequest { bytes: GET.len() as u64 }]);
    assert_eq!((rig.out[3].status, &rig.out[3].error), (404, &None));
}

#[test]
fn a_response_without_a_request_waits_only_so_long_and_only_so_much() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, GET, 10);
    rig.feed(ToClient, OK, 20);
    rig.feed(ToClient, OK, 1_000_000_000);
    let deadline = rig.session.next_deadline().expect("it waits");
    rig.session.expire(deadline, &rig.limits, &mut rig.out);
    assert_eq!(rig.out.len(), 2);
    rig.feed(ToClient, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", 2_000_000_000);
    for _ in 0..1000 {
        rig.feed(ToClient, &[b'x'; 10_000], 2_000_000_001);
    }
    assert_eq!(rig.out.len(), 3);
}

#[test]
fn unknown_bytes_at_the_start_end_the_search_early() {
    let mut rig = Rig::new(true);
    rig.feed(ToServer, b"\xff\x03\x01\x02\x00", 1);
    assert!(rig.session.is_done());
}

#[test]
fn a_stream_joined_in_a_long_body_is_found_at_the_next_message() {
    let mut rig = Rig::new(false);
    for at in 0..2_000 {
        rig.feed(ToClient, &[b'z'; 1448], at);
    }
    rig.feed(ToServer, GET, 3_000);
    rig.feed(ToClient, OK, 3_001);
    assert_eq!(rig.out.len(), 1);
    assert_eq!(rig.session.protocol().map(|info| info.key), Some("http"));
}

#[test]
fn a_stream_of_unknown_bytes_is_not_searched_for_ever() {
    let mut rig = Rig::new(false);
    for at in 0..9_000 {
        rig.feed(ToClient, &[b'z'; 1448], at);
    }
    assert!(rig.session.is_done());
}

/// One step of random input.
#[derive(Clone, Debug)]
enum Step {
    Feed(bool, Vec<u8>),
    Gap(bool, u64),
    Eof(bool),
    Expire(u64),
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let parts: &[&[u8]] = &[
        GET,
        OK,
        b"HTTP/1.1 ",
        b"200 OK\r\n",
        b"POST / HTTP/1.1\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Upgrade: websocket\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"\n",
        b"hello",
    ];
    prop_oneof![
        6 => prop::sample::select(parts).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<bool>(), fragment()).prop_map(|(dir, bytes)| Step::Feed(dir, bytes)),
        1 => (any::<bool>(), 0_u64..3000).prop_map(|(dir, bytes)| Step::Gap(dir, bytes)),
        1 => any::<bool>().prop_map(Step::Eof),
        1 => (0_u64..100_000_000_000).prop_map(Step::Expire),
    ]
}

fn direction(to_client: bool) -> Direction {
    if to_client { ToClient } else { ToServer }
}

fn conversation(bodies: &[Vec<u8>]) -> Vec<(Direction, Vec<u8>)> {
    let exchange = |(index, body): (usize, &Vec<u8>)| {
        let ask = format!("POST /{index} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\nX-Id: {index}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = if body.is_empty() {
            Vec::new()
        } else {
            [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
        };
        [
            (ToServer, [ask.as_bytes(), body].concat()),
            (ToClient, [answer.as_bytes(), &chunk, b"0\r\n\r\n"].concat()),
        ]
    };
    bodies.iter().enumerate().flat_map(exchange).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_input_is_survived_within_bounds(steps in prop::collection::vec(step(), 0..60), from_start: bool) {
        let mut rig = Rig::new(from_start);
        let mut now = 0;
        for step in steps {
            now += 1;
            match step {
                Step::Feed(dir, bytes) => rig.feed(direction(dir), &bytes, now),
                Step::Gap(dir, bytes) => rig.gap(direction(dir), bytes, now),
                Step::Eof(dir) => {
                    rig.session.feed(direction(dir), Input::Eof, Timestamp(now), &rig.limits, &mut rig.out);
                }
                Step::Expire(by) => {
                    now += by;
                    rig.session.expire(Timestamp(now), &rig.limits, &mut rig.out);
                    prop_assert!(rig.session.next_deadline().is_none_or(|deadline| deadline.0 > now));
                }
            }
        }
        rig.close(End::Closed, now + 1);
    }

    #[test]
    fn every_exchange_is_paired_under_any_split(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..8),
        splits in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let mut rig = Rig::new(true);
        let mut splits = splits.into_iter().cycle();
        for (at, (dir, bytes)) in conversation(&bodies).into_iter().enumerate() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let count = splits.next().unwrap_or(1).min(rest.len());
                rig.feed(dir, &rest[..count], at as u64 + 1);
                rest = &rest[count..];
            }
        }
        prop_assert_eq!(rig.out.len(), bodies.len());
        for (index, (transaction, body)) in rig.out.iter().zip(&bodies).enumerate() {
            prop_assert_eq!(&transaction.summary, &format!("/{index}"));
            prop_assert!(transaction.error.is_none() && transaction.events.is_empty());
            let text = transaction.response.get("content").and_then(|content| content.get("text"));
            prop_assert_eq!(text, Some(&crate::model::Value::Bytes(body.clone().into())));
        }
    }
}
