//! Any body as a GraphQL request and answer: no panic, and the call still comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};

// A byte splits the input into the document (or body) of the request and the body of the answer.
fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let (body, answer) = rest.split_at(rest.len() * usize::from(first >> 1) / 128);
    let (kind, body) = if first & 1 == 0 {
        ("application/json", body.to_vec())
    } else {
        let text = serde_json::to_string(&String::from_utf8_lossy(body)).expect("a text");
        ("application/json", format!("{{\"query\":{text}}}").into_bytes())
    };
    let ask = format!("POST /g HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    let grant = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
    let limits = Limits::default();
    let mut session = Session::new(Carrier::Stream, 80, true);
    let mut out = Vec::new();
    let steps =
        [(Direction::ToServer, [ask.as_bytes(), &body].concat()), (Direction::ToClient, [grant.as_bytes(), answer].concat())];
    for (direction, bytes) in steps {
        session.feed(direction, Input::Bytes(&bytes), Timestamp(1), &limits, &mut out);
    }
    session.close(End::Closed, Timestamp(2), &limits, &mut out);
    assert_eq!(out.len(), 1);
});
