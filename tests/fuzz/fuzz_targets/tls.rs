//! Any bytes, splits and gaps in both directions as TLS on the wire: no panic, bounded memory, no transactions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::{self, Limits};
use remora_engine::model::{Direction, Timestamp};

/// A client's hello begins so; saves the fuzzer the search for what detection lets pass.
const START: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

// The input is a list of steps: a byte that says what and how much, then the bytes themselves.
fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let limits = Limits::default();
    let mut session = Session::new(Carrier::Stream, 443, first & 1 == 0);
    let mut out = Vec::new();
    if first & 2 == 0 {
        session.feed(Direction::ToServer, Input::Bytes(START), Timestamp(1), &limits, &mut out);
    }
    while let Some((step, more)) = rest.split_first() {
        let direction = if step & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let (piece, more) = more.split_at(usize::from(step >> 2).min(more.len()));
        rest = more;
        let input = if step & 2 == 0 { Input::Bytes(piece) } else { Input::Gap(piece.len() as u64) };
        session.feed(direction, input, Timestamp(1), &limits, &mut out);
        if session.protocol().is_some_and(|info| info.key == "tlsx") {
            assert!(session.buffered() <= limits::tls::HELLO);
        }
        if let Some((facts, _)) = session.handshake() {
            assert!(facts.offered_suites.len() <= limits::tls::OFFERED_SUITES);
            assert!(facts.offered_alpn.len() <= limits::tls::PROTOCOLS);
        }
    }
    session.close(End::Closed, Timestamp(2), &limits, &mut out);
});
