//! Any bytes, splits, gaps and ends in both directions: no panic, bounded memory, nothing left after the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    Limits {
        max_body: 64,
        max_decoded_body: 256,
        max_head: 512,
        max_headers: 8,
        max_params: 4,
        max_param_value: 8,
        max_pending: 3,
        max_detect: 64,
        max_resync: 2048,
        ..Limits::default()
    }
}

// The input is a list of steps: a byte that says what and how much, then the bytes themselves.
fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let limits = limits();
    let mut session = Session::new(Carrier::Stream, 80, first & 1 == 0);
    let mut out = Vec::new();
    let mut now = 0;
    while let Some((step, more)) = rest.split_first() {
        now += 1_000_000;
        let at = Timestamp(now);
        let direction = if step & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let count = usize::from(step >> 3).min(more.len());
        rest = more;
        match step >> 1 & 3 {
            0 | 1 => {
                let (piece, more) = rest.split_at(count * if step & 2 == 0 { 1 } else { 8 }.min(rest.len() / count.max(1)));
                session.feed(direction, Input::Bytes(piece), at, &limits, &mut out);
                rest = more;
                let most = 4 * (limits.max_head + piece.len()) + limits.max_detect;
                assert!(session.buffered() <= most, "{} bytes are held", session.buffered());
            }
            2 if step >> 3 == 31 => session.feed(direction, Input::Eof, at, &limits, &mut out),
            2 => session.feed(direction, Input::Gap(u64::from(step >> 3)), at, &limits, &mut out),
            _ => {
                now += u64::from(step >> 3) * 3_000_000_000;
                session.expire(Timestamp(now), &limits, &mut out);
            }
        }
        for transaction in out.drain(..) {
            // One-sided calls exist: messages of WebSocket, which detection knows too.
            let seen = !transaction.request.is_null() || !transaction.response.is_null();
            assert!(seen || transaction.error.is_some());
        }
    }
    session.close(End::Closed, Timestamp(now), &limits, &mut out);
    assert!(session.is_done() && session.buffered() == 0);
});
