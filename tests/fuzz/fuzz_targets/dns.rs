//! Any datagrams and any stream as DNS: no panic, bounded memory, every question comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};

const QUERY: &[u8] = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";

// The first byte says what it rides on; then steps: direction and length in one byte, and bytes.
fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let limits = Limits { max_pending: 4, max_resync: 4096, ..Limits::default() };
    let carrier = if first & 1 == 0 { Carrier::Datagram } else { Carrier::Stream };
    let port = [53, 5353, 5355, 4000][usize::from(first >> 1 & 3)];
    let mut session = Session::new(carrier, port, first & 8 == 0);
    let mut out = Vec::new();
    if first & 16 == 0 {
        let framed = [&[0, QUERY.len() as u8], QUERY].concat();
        let start = if carrier == Carrier::Datagram { QUERY } else { &framed };
        session.feed(Direction::ToServer, Input::Bytes(start), Timestamp(1), &limits, &mut out);
    }
    let mut now = 1;
    while let Some((step, more)) = rest.split_first() {
        now += 1_000_000_000;
        let direction = if step & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let (piece, more) = more.split_at(usize::from(step >> 1).min(more.len()));
        let input = if piece.is_empty() { Input::Gap(3) } else { Input::Bytes(piece) };
        session.feed(direction, input, Timestamp(now), &limits, &mut out);
        session.expire(Timestamp(now), &limits, &mut out);
        rest = more;
        out.clear();
    }
    session.close(End::Closed, Timestamp(now), &limits, &mut out);
    assert!(session.is_done() && session.buffered() == 0);
});
