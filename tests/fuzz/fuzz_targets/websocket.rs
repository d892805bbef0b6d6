//! Any bytes, splits and gaps after a WebSocket handshake, compressed or not: no panic, bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};

const ASK: &[u8] = b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const GRANT: &[u8] = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const DEFLATE: &[u8] = b"Sec-WebSocket-Extensions: permessage-deflate\r\n";

// The first byte says how the connection began; then steps: a byte that says what and how much, and bytes.
fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let limits = Limits { max_body: 256, max_decoded_body: 2048, max_resync: 4096, ..Limits::default() };
    let mut session = Session::new(Carrier::Stream, 80, first & 1 == 0);
    let mut out = Vec::new();
    if first & 2 == 0 {
        let grant = [GRANT, if first & 4 == 0 { DEFLATE } else { b"" }, b"\r\n"].concat();
        session.feed(Direction::ToServer, Input::Bytes(ASK), Timestamp(1), &limits, &mut out);
        session.feed(Direction::ToClient, Input::Bytes(&grant), Timestamp(2), &limits, &mut out);
    }
    let mut now = 2;
    while let Some((step, more)) = rest.split_first() {
        now += 1;
        let direction = if step & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        if step & 6 == 6 {
            session.feed(direction, Input::Gap(u64::from(step >> 3)), Timestamp(now), &limits, &mut out);
            rest = more;
            continue;
        }
        let (piece, more) = more.split_at(usize::from(step >> 1).min(more.len()));
        session.feed(direction, Input::Bytes(piece), Timestamp(now), &limits, &mut out);
        assert!(session.buffered() <= 4 * (limits.max_head + piece.len()));
        rest = more;
        out.clear();
    }
    session.close(End::Closed, Timestamp(now), &limits, &mut out);
    assert!(session.is_done() && session.buffered() == 0);
});
