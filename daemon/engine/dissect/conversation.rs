//! Scripted and recorded conversations for the tests of dissectors: replayed whole, in every split, with
//! losses, and from the middle, against golden transactions.
//!
//! A conversation is a text. Lines: `> ` or `< ` and bytes to the server or to the client (with `\r`, `\n`,
//! `\xNN` and `{{name|argument}}` generators), `>x ` or `<x ` and bytes in hex, `! ` and a directive
//! (`midstream`, `eof server`, `eof client`, `reset server`, `wait MS`, `close`), `#` and a remark. Each
//! step takes a millisecond.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Carrier, End, Input, Session, Stage, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, Timestamp, Value};

/// One step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
    Eof(Direction),
    Wait(u64),
    Close(End),
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) from_start: bool,
    pub(crate) actions: Vec<Action>,
}

const MS: u64 = 1_000_000;

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
        let mut script = Self { from_start: true, actions: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (mark, rest) = line.split_at(2);
            match mark {
                "> " => script.actions.push(Action::Bytes(Direction::ToServer, unescape(rest))),
                "< " => script.actions.push(Action::Bytes(Direction::ToClient, unescape(rest))),
                ">x" => script.actions.push(Action::Bytes(Direction::ToServer, hex(rest))),
                "<x" => script.actions.push(Action::Bytes(Direction::ToClient, hex(rest))),
                "! " => match rest.split(' ').collect::<Vec<_>>()[..] {
                    ["midstream"] => script.from_start = false,
                    ["eof", "server"] => script.actions.push(Action::Eof(Direction::ToClient)),
                    ["eof", "client"] => script.actions.push(Action::Eof(Direction::ToServer)),
                    ["reset", "server"] => {
                        script.actions.push(Action::Close(End::Reset(Direction::ToClient)));
                    }
                    ["close"] => script.actions.push(Action::Close(End::Closed)),
                    ["wait", ms] => script.actions.push(Action::Wait(ms.parse().expect("a number"))),
                    ref other => panic!("unknown directive {other:?}"),
                },
                other => panic!("unknown mark {other:?}"),
            }
        }
        script
    }

    /// Replays the script; bytes are cut by `split` into pieces of the same moment.
    pub(crate) fn play(&self, split: impl FnMut(usize) -> usize) -> Vec<Transaction> {
        self.play_with(&Limits::default(), split)
    }

    /// The same under other limits.
    pub(crate) fn play_with(
        &self,
        limits: &Limits,
        mut split: impl FnMut(usize) -> usize,
    ) -> Vec<Transaction> {
        let mut session = Session::new(Carrier::Stream, 80, self.from_start);
        let mut out = Vec::new();
        let mut now = 1_000 * MS;
        for action in &self.actions {
            now += MS;
            let at = Timestamp(now);
            match action {
                Action::Bytes(direction, bytes) => {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let (piece, more) = rest.split_at(split(rest.len()).clamp(1, rest.len()));
                        session.feed(*direction, Input::Bytes(piece), at, limits, &mut out);
                        rest = more;
                    }
                }
                Action::Gap(direction, bytes) => {
                    session.feed(*direction, Input::Gap(*bytes), at, limits, &mut out);
                }
                Action::Eof(direction) => session.feed(*direction, Input::Eof, at, limits, &mut out),
                Action::Wait(ms) => {
                    now += ms * MS;
                    session.expire(Timestamp(now), limits, &mut out);
                }
                Action::Close(end) => session.close(*end, at, limits, &mut out),
            }
        }
        assert_eq!(session.buffered(), 0, "a closed session holds nothing");
        out
    }

    pub(crate) fn with(&self, index: usize, action: Action) -> Self {
        let mut changed = self.clone();
        changed.actions[index] = action;
        changed
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect()
}

/// `\r \n \xNN`, and `{{name|argument}}` generators from the inside out.
fn unescape(text: &str) -> Vec<u8> {
    let mut stack: Vec<Vec<u8>> = vec![Vec::new()];
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let depth = stack.len();
        let top = stack.last_mut().expect("never empty");
        match &bytes[at..] {
            [b'{', b'{', ..] => {
                stack.push(Vec::new());
                at += 2;
            }
            [b'}', b'}', ..] if depth > 1 => {
                let argument = stack.pop().expect("opened");
                let made = generate(&argument);
                stack.last_mut().expect("never empty").extend(made);
                at += 2;
            }
            [b'\\', b'r', ..] => {
                top.push(b'\r');
                at += 2;
            }
            [b'\\', b'n', ..] => {
                top.push(b'\n');
                at += 2;
            }
            [b'\\', b'x', ..] => {
                top.push(u8::from_str_radix(&text[at + 2..at + 4], 16).expect("hex"));
                at += 4;
            }
            _ => {
                top.push(bytes[at]);
                at += 1;
            }
        }
    }
    stack.pop().expect("never empty")
}

fn generate(call: &[u8]) -> Vec<u8> {
    let bar = call.iter().position(|byte| *byte == b'|').expect("a name and an argument");
    let (name, argument) = (&call[..bar], &call[bar + 1..]);
    match name {
        b"gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(argument).expect("in memory");
            encoder.finish().expect("in memory")
        }
        b"zlib" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(argument).expect("in memory");
            encoder.finish().expect("in memory")
        }
        b"zstd" => zstd::encode_all(argument, 3).expect("in memory"),
        b"length" => [format!("Content-Length: {}\r\n\r\n", argument.len()).as_bytes(), argument].concat(),
        b"chunk" => [format!("{:x}\r\n", argument.len()).as_bytes(), argument, b"\r\n"].concat(),
        b"repeat" => {
            let text = std::str::from_utf8(argument).expect("text");
            let (unit, count) = text.split_once('|').expect("a unit and a count");
            unit.repeat(count.parse().expect("a number")).into_bytes()
        }
        other => panic!("unknown generator {other:?}"),
    }
}

pub(crate) fn tree(value: &Value) -> Json {
    let text =
        |text: String| if text.len() > 200 { json!(format!("<{} bytes>", text.len())) } else { json!(text) };
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Str(string) => text(string.to_string()),
        Value::Bytes(bytes) => text(String::from_utf8_lossy(bytes).into_owned()),
        Value::List(values) => values.iter().map(tree).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.to_owned(), tree(value))).collect(),
    }
}

pub(crate) fn shown(transaction: &Transaction) -> Json {
    let timing = transaction.timing;
    let times = [timing.request_start, timing.request_end, timing.response_start, timing.response_end];
    json!({
        "protocol": transaction.protocol.as_str(),
        "method": transaction.method.as_str(),
        "summary": transaction.summary.as_str(),
        "status": transaction.status,
        "request": tree(&transaction.request),
        "response": tree(&transaction.response),
        "sizes": [transaction.request_size, transaction.response_size],
        "times_ms": times.map(Timestamp::millis),
        "error": transaction.error.as_ref().map(|error| format!("{}: {}", error.kind.name(), error.message)),
        "events": transaction.events,
    })
}

pub(crate) fn shown_all(transactions: &[Transaction]) -> Vec<Json> {
    transactions.iter().map(shown).collect()
}

/// Small repeatable pseudo-random numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

/// The halves of a pair that must belong together: request line, and the response's head.
pub(crate) fn halves(transaction: &Transaction) -> Option<(Json, Json)> {
    // What could not be read is no claim: its entry says so in its events.
    let asked = transaction.request.get("url").and_then(Value::as_str).is_some_and(|url| !url.is_empty());
    let both = asked && transaction.status != 0;
    both.then(|| {
        let url = tree(transaction.request.get("url").expect("always there"));
        let head =
            ["status", "statusText"].map(|key| tree(transaction.response.get(key).expect("always there")));
        let id = match transaction.response.get("headers") {
            Some(Value::Map(headers)) => headers.get_ignore_case("X-Id").map(tree),
            _ => None,
        };
        (url, json!([head, id]))
    })
}

/// Each transaction is one of `whole`, or it declares what it lacks; and no pair is made up.
pub(crate) fn assert_same_or_declared(found: &[Transaction], whole: &[Transaction], what: &str) {
    let pairs: Vec<_> = whole.iter().filter_map(halves).collect();
    let timeless = |transaction: &Transaction| {
        let mut json = shown(transaction);
        json["times_ms"].take();
        // Waits are times too.
        let waits = |event: &Json| event["ns"].is_number();
        json["events"].as_array_mut().expect("a list").retain(|event| !waits(event));
        json
    };
    let known: Vec<_> = whole.iter().map(timeless).collect();
    // What is shown while it is open comes again.
    for transaction in found.iter().filter(|call| !matches!(call.stage, Stage::Open(_))) {
        if let Some(pair) = halves(transaction) {
            assert!(pairs.contains(&pair), "{what}: paired wrongly: {pair:?}");
        }
        let gap = transaction.events.iter().any(|event| {
            matches!(
                event,
                EntryEvent::GapInRequest { .. }
                    | EntryEvent::GapInResponse { .. }
                    | EntryEvent::UnknownHeaders { .. }
                    | EntryEvent::MidStream
                    // Of a WebSocket: bytes that refer to lost ones are counted and shown as `?`.
                    | EntryEvent::ContentNotDecoded { .. }
            )
        });
        let declared = gap || transaction.error.is_some();
        assert!(declared || known.contains(&timeless(transaction)), "{what}: {:#}", shown(transaction));
    }
}

/// The conversations of a folder, by name.
pub(crate) fn scripts(folder: &Path) -> Vec<(String, Script)> {
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("the golden folder")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conv"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, Script::parse(&std::fs::read_to_string(path).expect("text")))
        })
        .collect();
    scripts.sort_by(|one, other| one.0.cmp(&other.0));
    scripts
}

/// Every conversation gives what its golden file says; `BLESS=1` writes the file.
pub(crate) fn assert_golden(folder: &Path) {
    let mut wrong = String::new();
    for (name, script) in scripts(folder) {
        let path = folder.join(format!("{name}.entries.json"));
        let found = serde_json::to_string_pretty(&shown_all(&script.play(|len| len))).expect("json") + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &found).expect("written");
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != found {
            writeln!(wrong, "{name}: differs from {}: {found}", path.display()).expect("in memory");
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n(BLESS=1 accepts)");
}

/// However the bytes are cut, the transactions are the same.
pub(crate) fn assert_same_in_any_split(scripts: &[(String, Script)], seeds: u64) {
    for (name, script) in scripts {
        let whole = shown_all(&script.play(|len| len));
        assert_eq!(shown_all(&script.play(|_| 1)), whole, "{name} byte by byte");
        for seed in 0..seeds {
            let mut dice = Dice(seed);
            let sides = 1 + dice.roll(60);
            assert_eq!(shown_all(&script.play(|_| 1 + dice.roll(sides))), whole, "{name} seed {seed}");
        }
    }
}

/// One lost piece of a conversation never makes a wrong pair and is declared.
pub(crate) fn assert_lost_pieces_are_declared(scripts: &[(String, Script)]) {
    for (name, script) in scripts {
        let whole = script.play(|len| len);
        for (index, action) in script.actions.iter().enumerate() {
            let Action::Bytes(direction, bytes) = action else { continue };
            let lossy = script.with(index, Action::Gap(*direction, bytes.len() as u64));
            assert_same_or_declared(&lossy.play(|len| len), &whole, &format!("{name} without piece {index}"));
            assert_same_or_declared(
                &lossy.play(|_| 1),
                &whole,
                &format!("{name} bytewise without piece {index}"),
            );
        }
    }
}

/// The same for a range within a piece.
pub(crate) fn assert_lost_ranges_are_declared(scripts: &[(String, Script)], rounds: usize) {
    let mut dice = Dice(7);
    for (name, script) in scripts {
        let whole = script.play(|len| len);
        for (index, action) in script.actions.iter().enumerate() {
            let Action::Bytes(direction, bytes) = action else { continue };
            for _ in 0..rounds {
                let from = dice.roll(bytes.len());
                let to = from + 1 + dice.roll(bytes.len() - from);
                let mut lossy = script.clone();
                let pieces = [
                    Action::Bytes(*direction, bytes[..from].to_vec()),
                    Action::Gap(*direction, (to - from) as u64),
                    Action::Bytes(*direction, bytes[to..].to_vec()),
                ];
                lossy.actions.splice(index..=index, pieces);
                let what = format!("{name} without {from}..{to} of piece {index}");
                assert_same_or_declared(&lossy.play(|len| len), &whole, &what);
            }
        }
    }
}

/// Joining at any step never makes a wrong pair and is declared.
pub(crate) fn assert_joining_is_declared(scripts: &[(String, Script)]) {
    for (name, script) in scripts {
        let whole = script.play(|len| len);
        for from in 1..script.actions.len() {
            let mut late = script.clone();
            late.from_start = false;
            late.actions.drain(..from);
            assert_same_or_declared(&late.play(|len| len), &whole, &format!("{name} from {from}"));
        }
    }
}
