//! HTTP/2, HPACK and gRPC under any frames, splits, gaps and waits: no panic, bounded memory, nothing left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session, Stage};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    Limits {
        max_body: 64,
        max_decoded_body: 256,
        max_head: 512,
        max_headers: 8,
        max_streams: 3,
        max_stream_bytes: 512,
        max_header_table: 128,
        max_detect: 64,
        max_resync: 2048,
        ..Limits::default()
    }
}

// The input is a list of steps: a byte that says what, one that says how much, then the bytes themselves. A
// step may put a frame's header around its bytes, so that the fuzzer need not find lengths.
fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let limits = limits();
    let mut session = Session::new(Carrier::Stream, 80, first & 1 == 0);
    let mut out = Vec::new();
    let mut now = 0;
    let mut open = std::collections::HashSet::new();
    if first & 2 == 0 {
        let preface = Input::Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        session.feed(Direction::ToServer, preface, Timestamp(now), &limits, &mut out);
    }
    while let [step, size, more @ ..] = rest {
        now += 1_000_000;
        let at = Timestamp(now);
        let direction = if step & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let (piece, more) = more.split_at(usize::from(*size).min(more.len()));
        rest = more;
        match step >> 1 & 7 {
            0 => session.feed(direction, Input::Bytes(piece), at, &limits, &mut out),
            1 if *size == 255 => session.feed(direction, Input::Eof, at, &limits, &mut out),
            1 => session.feed(direction, Input::Gap(u64::from(*size)), at, &limits, &mut out),
            2 => {
                now += u64::from(*size) * 500_000_000;
                session.expire(Timestamp(now), &limits, &mut out);
            }
            _ => {
                let [kind, flags, stream, payload @ ..] = piece else { continue };
                let mut frame = vec![0, 0, payload.len() as u8, kind % 12, *flags, 0, 0, 0, stream % 8];
                frame.extend(payload);
                session.feed(direction, Input::Bytes(&frame), at, &limits, &mut out);
            }
        }
        assert!(session.buffered() <= 8 * 1024, "{} bytes are held", session.buffered());
        check(&mut out, &mut open);
    }
    session.close(End::Closed, Timestamp(now), &limits, &mut out);
    check(&mut out, &mut open);
    assert!(session.is_done() && session.buffered() == 0 && open.is_empty());
});

/// A call that was shown open ends exactly once.
fn check(out: &mut Vec<remora_engine::dissect::Transaction>, open: &mut std::collections::HashSet<u64>) {
    for transaction in out.drain(..) {
        match transaction.stage {
            Stage::Whole => {}
            Stage::Open(call) => assert!(open.insert(call), "call {call} was opened twice"),
            Stage::Ended(call) => assert!(open.remove(&call), "call {call} ended and was not open"),
        }
    }
}
