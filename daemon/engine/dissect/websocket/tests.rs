//! Whole connections from the HTTP upgrade on: splits, losses, joins, limits, hostile bytes.

use proptest::prelude::*;

use super::frame::{Opcode, unmask};
use super::inflate::tests::Deflater;
use crate::dissect::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp, Value};

const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

/// A frame of `direction`; the client's are masked.
fn frame(direction: Direction, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = if direction == UP { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(masked | len as u8),
        len @ 126..0x1_0000 => {
            out.push(masked | 0x7e);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 0x7f);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let start = out.len();
    if masked != 0 {
        out.extend([1, 2, 3, 4]);
        out.extend(payload);
        unmask(&mut out[start + 4..], [1, 2, 3, 4], 0);
    } else {
        out.extend(payload);
    }
    out
}

fn text(direction: Direction, payload: &str) -> Vec<u8> {
    frame(direction, 0x81, payload.as_bytes())
}

fn handshake(extensions: &str) -> [(Direction, Vec<u8>); 2] {
    let ask =
        "GET /chat?room=1 HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let grant = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: soap\r\n{extensions}\r\n"
    );
    [(UP, ask.into()), (DOWN, grant.into_bytes())]
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15\r\n";

#[derive(Clone, Debug)]
enum Step {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
}

fn script(extensions: &str, rest: Vec<(Direction, Vec<u8>)>) -> Vec<Step> {
    handshake(extensions)
        .into_iter()
        .chain(rest)
        .map(|(direction, bytes)| Step::Bytes(direction, bytes))
        .collect()
}

fn play_with(
    limits: &Limits,
    from_start: bool,
    steps: &[Step],
    mut split: impl FnMut() -> usize,
) -> Vec<Transaction> {
    let mut session = Session::new(Carrier::Stream, 80, from_start);
    let mut out = Vec::new();
    let mut at = Timestamp(1);
    for step in steps {
        at = Timestamp(at.0 + 1_000_000);
        match step {
            Step::Bytes(direction, bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, more) = rest.split_at(split().clamp(1, rest.len()));
                    session.feed(*direction, Input::Bytes(piece), at, limits, &mut out);
                    rest = more;
                }
            }
            Step::Gap(direction, bytes) => session.feed(*direction, Input::Gap(*bytes), at, limits, &mut out),
        }
    }
    session.close(End::Closed, Timestamp(at.0 + 1), limits, &mut out);
    out.retain(|transaction| transaction.protocol.as_str() == "ws");
    out
}

fn play(steps: &[Step]) -> Vec<Transaction> {
    play_with(&Limits::default(), true, steps, || usize::MAX)
}

fn side(transaction: &Transaction) -> &Value {
    if transaction.request.is_null() { &transaction.response } else { &transaction.request }
}

fn payload(transaction: &Transaction) -> String {
    match side(transaction).get("payload") {
        Some(Value::Str(text)) => text.to_string(),
        Some(Value::Bytes(bytes)) => format!("{bytes:?}"),
        other => panic!("{other:?}"),
    }
}

fn shown(transactions: &[Transaction]) -> Vec<(String, bool, String)> {
    let one = |it: &Transaction| (it.method.to_string(), it.response.is_null(), payload(it));
    transactions.iter().map(one).collect()
}

fn row(opcode: Opcode, up: bool, payload: &str) -> (String, bool, String) {
    (opcode.name().into(), up, payload.into())
}

/// Both directions, fragments, control frames in between, lengths of all three forms.
fn conversation() -> Vec<Step> {
    script(
        "",
        vec![
            (UP, text(UP, "hello")),
            (DOWN, text(DOWN, "welcome")),
            (
                UP,
                [
                    frame(UP, 0x01, b"one "),
                    frame(UP, 0x89, b"p"),
                    frame(UP, 0x00, b"two "),
                    frame(UP, 0x80, b"three"),
                ]
                .concat(),
            ),
            (DOWN, frame(DOWN, 0x8a, b"p")),
            (DOWN, frame(DOWN, 0x82, &[0xfe; 300])),
            (DOWN, text(DOWN, &"long ".repeat(20_000))),
            (UP, text(UP, "")),
            (UP, frame(UP, 0x88, b"\x03\xe8done")),
            (DOWN, frame(DOWN, 0x88, b"\x03\xe8")),
        ],
    )
}

/// Entries for tests of what comes after dissection.
pub(crate) fn golden_transactions() -> Vec<Transaction> {
    [play(&conversation()), play(&compressed_conversation().0)].concat()
}

#[test]
fn each_message_is_an_entry_with_the_path_of_its_handshake() {
    let found = play(&conversation());
    let rows = shown(&found);
    let expected = [
        row(Opcode::Text, true, "hello"),
        row(Opcode::Text, false, "welcome"),
        row(Opcode::Ping, true, "p"),
        row(Opcode::Text, true, "one two three"),
        row(Opcode::Pong, false, "p"),
    ];
    assert_eq!(&rows[..5], &expected);
    assert_eq!((rows[5].0.as_str(), rows[6].2.len(), rows[7].2.as_str()), ("binary", 100_000, ""));
    for transaction in &found {
        assert_eq!((transaction.summary.as_str(), &transaction.error), ("/chat", &None));
        let tree = side(transaction);
        assert_eq!(tree.get("url").and_then(Value::as_str), Some("/chat?room=1"));
        assert_eq!(tree.get("host").and_then(Value::as_str), Some("a.example"));
        assert_eq!(tree.get("subprotocol").and_then(Value::as_str), Some("soap"));
        assert!(transaction.events.is_empty(), "{:?}", transaction.events);
    }
    let close = side(&found[8]);
    assert_eq!(close.get("closeCode").and_then(Value::as_int), Some(1000));
    assert_eq!(close.get("closeReason").and_then(Value::as_str), Some("done"));
    assert_eq!(side(&found[3]).get("frames").and_then(Value::as_int), Some(3));
    assert_eq!(found[0].request_size, 11);
    assert_eq!(found.len(), 10);
}

fn compressed_conversation() -> (Vec<Step>, Vec<String>) {
    let (mut client, mut server) = (Deflater::new(), Deflater::new());
    let mut steps = Vec::new();
    let mut texts = Vec::new();
    for number in 0..6 {
        let ask = format!("{{\"request\":\"price of item {number}\"}}");
        let answer = format!("{{\"request\":\"price of item {number}\",\"price\":{number}}}");
        let body = client.message(ask.as_bytes());
        let (front, back) = body.split_at(body.len() / 2);
        steps.push((UP, [frame(UP, 0x41, front), frame(UP, 0x80, back)].concat()));
        steps.push((DOWN, frame(DOWN, 0xc1, &server.message(answer.as_bytes()))));
        texts.extend([ask, answer]);
    }
    // A sender may leave a message as it is.
    steps.push((DOWN, text(DOWN, "plain")));
    texts.push("plain".into());
    (script(DEFLATE, steps), texts)
}

#[test]
fn compressed_messages_refer_to_earlier_ones_in_both_directions() {
    let (steps, texts) = compressed_conversation();
    let found = play(&steps);
    assert_eq!(found.iter().map(payload).collect::<Vec<_>>(), texts);
    assert_eq!(side(&found[3]).get("compressed"), Some(&Value::Bool(true)));
    assert_eq!(side(&found[12]).get("compressed"), Some(&Value::Bool(false)));
    assert!(found.iter().all(|it| it.events.is_empty() && it.error.is_none()));
}

#[test]
fn any_split_gives_the_same_messages() {
    for steps in [conversation(), compressed_conversation().0] {
        let whole = play(&steps);
        assert_eq!(play_with(&Limits::default(), true, &steps, || 1), whole);
        let mut seed = 1_u32;
        for _ in 0..20 {
            let split = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as usize
            };
            assert_eq!(play_with(&Limits::default(), true, &steps, split), whole);
        }
    }
}

#[test]
fn a_lost_piece_is_declared_and_what_is_shown_is_right() {
    for (steps, base) in [(conversation(), 2), (compressed_conversation().0, 2)] {
        let whole: Vec<_> = shown(&play(&steps));
        for index in base..steps.len() {
            let Step::Bytes(direction, bytes) = &steps[index] else { continue };
            let mut lossy = steps.clone();
            lossy[index] = Step::Gap(*direction, bytes.len() as u64);
            let found = play(&lossy);
            for (transaction, row) in found.iter().zip(shown(&found)) {
                let declared = !transaction.events.is_empty() || transaction.error.is_some();
                assert!(declared || whole.contains(&row), "without {index}: {transaction:?}");
                let partial = transaction
                    .events
                    .iter()
                    .any(|event| matches!(event, EntryEvent::ContentNotDecoded { .. }));
                assert!(whole.contains(&row) || partial, "without {index}: made up {row:?}");
            }
            assert!(found.len() >= whole.len() - 3, "without {index}: {} of {}", found.len(), whole.len());
            let gaps = |event: &EntryEvent| {
                matches!(event, EntryEvent::GapInRequest { .. } | EntryEvent::GapInResponse { .. })
            };
            let mut later = steps.iter().skip(index + 1);
            let is_last = !later.any(|step| matches!(step, Step::Bytes(later, _) if later == direction));
            assert!(is_last || found.iter().any(|it| it.events.iter().any(gaps)), "without {index}");
        }
    }
}

#[test]
fn a_hole_within_a_payload_keeps_the_framing() {
    let big = text(DOWN, &"abcdefghij".repeat(1000));
    let (front, rest) = big.split_at(1000);
    let steps = [
        script("", Vec::new()),
        vec![
            Step::Bytes(DOWN, front.to_vec()),
            Step::Gap(DOWN, 500),
            Step::Bytes(DOWN, rest[500..].to_vec()),
            Step::Bytes(DOWN, text(DOWN, "next")),
        ],
    ]
    .concat();
    let found = play(&steps);
    assert_eq!(found.len(), 2);
    assert_eq!(payload(&found[0]).len(), 1000 - 4);
    assert_eq!(found[0].events, [EntryEvent::GapInResponse { bytes: 500 }]);
    assert_eq!(side(&found[0]).get("payloadLength").and_then(Value::as_int), Some(10_000));
    assert_eq!((payload(&found[1]).as_str(), found[1].events.len()), ("next", 0));
}

#[test]
fn a_connection_joined_later_is_recognised_by_its_texts() {
    let steps = vec![
        Step::Bytes(UP, text(UP, "{\"late\":true}")),
        Step::Bytes(DOWN, text(DOWN, "{\"yes\":1}")),
        Step::Bytes(DOWN, frame(DOWN, 0x89, b"")),
    ];
    let found = play_with(&Limits::default(), false, &steps, || usize::MAX);
    assert_eq!(
        shown(&found)[..2],
        [row(Opcode::Text, true, "{\"late\":true}"), row(Opcode::Text, false, "{\"yes\":1}")]
    );
    assert_eq!(found[0].events, [EntryEvent::MidStream]);
    let swapped = vec![Step::Bytes(DOWN, text(UP, "from the client"))];
    assert_eq!(shown(&play_with(&Limits::default(), false, &swapped, || usize::MAX)).len(), 1);
    assert!(play_with(&Limits::default(), true, &steps, || usize::MAX).is_empty());
}

#[test]
fn long_messages_are_cut_and_bombs_stop() {
    let limits = Limits { max_body: 100, max_decoded_body: 1000, ..Limits::default() };
    let steps = script(
        DEFLATE,
        vec![
            (UP, text(UP, &"x".repeat(5000))),
            (DOWN, frame(DOWN, 0xc2, &Deflater::new().message(&vec![0; 1 << 20]))),
            (DOWN, text(DOWN, "after")),
        ],
    );
    let found = play_with(&limits, true, &steps, || 50);
    assert_eq!(payload(&found[0]).len(), 100);
    assert_eq!(found[0].events, [EntryEvent::RequestTruncated { bytes: 4900 }]);
    assert!(
        matches!(&found[1].events[..], [EntryEvent::ResponseTruncated { .. }, EntryEvent::ContentNotDecoded { reason, .. }] if reason.contains("grows beyond"))
    );
    assert_eq!(payload(&found[2]), "after");
}

#[test]
fn an_unfinished_message_says_why() {
    let steps = script("", vec![(UP, frame(UP, 0x01, b"half"))]);
    let found = play(&steps);
    assert_eq!(found[0].error.as_ref().map(|error| error.kind), Some(ErrorKind::Connection));
    assert_eq!(payload(&found[0]), "half");
}

#[test]
fn a_text_that_ends_within_a_character_is_shown_as_text_only_if_it_was_cut() {
    let half = b"caf\xc3";
    let whole = script("", vec![(UP, frame(UP, 0x81, half))]);
    assert_eq!(side(&play(&whole)[0]).get("encoding").and_then(Value::as_str), Some("base64"));
    let unfinished = script("", vec![(UP, frame(UP, 0x01, half))]);
    assert_eq!(payload(&play(&unfinished)[0]), "caf");
    let limits = Limits { max_body: 4, ..Limits::default() };
    let long = script("", vec![(UP, text(UP, "caf\u{e9}s"))]);
    assert_eq!(payload(&play_with(&limits, true, &long, || usize::MAX)[0]), "caf");
}

#[test]
fn holes_in_a_row_are_declared_as_one_with_all_their_bytes() {
    let holes = (0..20).map(|_| Step::Gap(DOWN, 10)).chain([
        Step::Bytes(DOWN, text(DOWN, "{\"after\":1}")),
        Step::Bytes(DOWN, text(DOWN, "{\"more\":1}")),
    ]);
    let steps: Vec<Step> = script("", vec![(DOWN, text(DOWN, "before"))]).into_iter().chain(holes).collect();
    let found = play(&steps);
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].events, [EntryEvent::GapInResponse { bytes: 200 }]);
    assert!(found[2].events.is_empty());
}

#[test]
fn bytes_that_are_no_frames_are_passed_over_and_told() {
    let steps =
        script("", vec![(DOWN, text(DOWN, "good")), (DOWN, vec![0x77; 40]), (DOWN, text(DOWN, "again"))]);
    let found = play(&steps);
    assert_eq!(shown(&found), [row(Opcode::Text, false, "good"), row(Opcode::Text, false, "again")]);
    assert!(matches!(&found[1].events[..], [EntryEvent::Anomaly { .. }]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_never_panic(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..200), 0..20_u64), 1..20),
        deflate in any::<bool>(),
        from_start in any::<bool>(),
    ) {
        let mut steps = script(if deflate { DEFLATE } else { "" }, Vec::new());
        for (up, bytes, gap) in pieces {
            let direction = if up { UP } else { DOWN };
            if gap > 15 {
                steps.push(Step::Gap(direction, gap));
            }
            steps.push(Step::Bytes(direction, bytes));
        }
        play_with(&Limits { max_resync: 4096, ..Limits::default() }, from_start, &steps, || 7);
    }
}
