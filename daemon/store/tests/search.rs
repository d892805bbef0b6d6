//! A search finds exactly what looking at every entry finds, whatever it passes over.

use bytes::Bytes;

use super::super::bytes::Dictionary;
use super::super::codec::{self, Messages, Rows, Sections};
use super::*;
use crate::engine::kfl::{Context, FieldReader, Filter};
use crate::engine::model::{AddrPort, EntryError, EntryEvent, ErrorKind, Map, Process, SocketCookie};
use crate::store::Search;

fn map(items: &[(&str, Value)]) -> Value {
    Value::Map(Map(items.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()))
}

const SECOND: u64 = 1_000_000_000;

/// Entries of all shapes: every field is filled in some.
fn varied(seq: u64) -> Arc<Entry> {
    let mut entry = Arc::unwrap_or_clone(entry_with(seq, "http", Timestamp(1_000_000_000 * seq), 0));
    let path = format!("/users/{}", seq % 50);
    entry.summary = path.as_str().into();
    entry.method = ["GET", "POST", "PUT"][seq as usize % 3].into();
    entry.status = if seq.is_multiple_of(97) { 503 } else { 200 };
    entry.timing.request_end = Timestamp(1_000_000_000 * seq + 5);
    entry.timing.response_end = Timestamp(1_000_000_000 * seq + seq * 1000);
    entry.dst.addr = AddrPort::new([10, 0, 0, (seq % 5) as u8].into(), 8000 + (seq / 1000) as u16);
    entry.dst.translated = seq.is_multiple_of(2).then(|| AddrPort::new([127, 0, 0, 1].into(), 80));
    entry.src.socket = SocketCookie(seq);
    entry.src.process = (!seq.is_multiple_of(4)).then(|| {
        Arc::new(Process {
            pid: 7,
            uid: Some(0),
            name: "curl".into(),
            exe: "/bin/curl".into(),
            ..Process::default()
        })
    });
    let body = format!(
        "{{\"order\":{seq},\"pad\":\"{}\"}}",
        "x".repeat(if seq.is_multiple_of(3) { 600 } else { 5 })
    );
    entry.request = map(&[
        ("method", entry.method.clone().into()),
        (
            "path",
            if seq.is_multiple_of(10) { "/elsewhere".into() } else { Value::Str(entry.summary.clone()) },
        ),
        ("headers", map(&[("Host", "shop".into()), ("X-Id", Value::Str(format!("id-{seq}").into()))])),
        ("postData", map(&[("text", Value::Str(body.as_str().into()))])),
    ]);
    entry.response = map(&[
        ("status", Value::Int(entry.status)),
        ("content", map(&[("text", Value::Bytes(Bytes::from(body.into_bytes())))])),
        ("odd", Value::List(vec![Value::Float(0.5), Value::Null, true.into(), false.into(), Value::Int(-3)])),
        ("raw", Value::Bytes(Bytes::from_static(&[0xff, 0, 0xfe]))),
    ]);
    if seq % 100 == 3 {
        entry.protocol = ProtocolKey::new("redis");
        entry.request = Value::Null;
        entry.error = Some(EntryError { kind: ErrorKind::Timeout, message: "no answer".into() });
        entry.events = vec![EntryEvent::MidStream, EntryEvent::GapInResponse { bytes: 9 }];
        entry.tls = true;
        entry.outgoing = false;
        entry.timing.request_start = Timestamp::ZERO;
    }
    Arc::new(entry)
}

const FILTERS: &[&str] = &[
    "",
    "http",
    "redis",
    "!redis",
    "tls",
    "error",
    "status_code == 503",
    "response.status == 503",
    "http and response.status >= 500",
    "seq < 700",
    "seq > 100000",
    "request.path == \"/users/7\"",
    "request.path == \"/elsewhere\"",
    "path.startsWith(\"/users/4\")",
    "path.contains(\"nowhere\")",
    "request.method == \"PUT\" and seq < 2000",
    "method in [\"PUT\", \"GET\"]",
    "method == \"PATCH\"",
    "request.headers[\"X-Id\"] == \"id-1234\"",
    "request.headers[\"x-id\"] == \"id-99999\"",
    "request.body.contains(\"order\\\":1503,\")",
    "response.body.contains(\"\\\"order\\\":2001,\")",
    "response.body.contains(\"never\")",
    "src.process.name == \"curl\" and dst.port == 8002",
    "src.process.name == \"nginx\"",
    "dst.ip == \"10.0.0.3\"",
    "dst.port in [8001, 8002]",
    "error_type == \"timeout\"",
    "elapsed_time > 2900",
    "timestamp > timestamp(\"1970-01-01T00:40:00Z\")",
    "request.path == r\"/users/4.*\"",
    "!(request.path == \"/users/7\")",
    "http and not request.body.contains(\"xxxxxxxx\")",
    "mid_stream",
    "response.odd[4] == -3 and seq == 11",
    "redis or request.path == \"/users/9\"",
];

fn found(reader: &Reader, text: &str, change: impl FnOnce(&mut Search)) -> Vec<Arc<Entry>> {
    let filter = Filter::parse(text, &Context::new(Timestamp(1))).unwrap();
    let mut search = Search::new(filter);
    change(&mut search);
    let mut all = Vec::new();
    let next = reader
        .search(
            &Arc::new(search),
            |entries| entries,
            |found| {
                all.extend(found.value);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!(next, None);
    all
}

fn filled() -> (tempfile::TempDir, Store, Vec<Arc<Entry>>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreConfig::default()).unwrap();
    let mut writer = store.writer(metrics()).unwrap();
    let mut entries: Vec<_> = (1..=4_500).map(varied).collect();
    writer.append(&entries[..4_200]).unwrap();
    writer.flush().unwrap();
    // These stay in the tail.
    writer.append(&entries[4_200..]).unwrap();
    entries.reverse();
    (directory, store, entries)
}

#[test]
fn a_search_finds_what_looking_at_every_entry_finds() {
    let (_directory, store, entries) = filled();
    let reader = store.reader();
    for text in FILTERS {
        let filter = Filter::parse(text, &Context::new(Timestamp(1))).unwrap();
        let expected: Vec<_> = entries.iter().filter(|entry| filter.matches(entry)).cloned().collect();
        let whole = found(&reader, text, |_| {});
        assert_eq!(whole.len(), expected.len(), "{text}");
        assert_eq!(whole, expected, "{text}");
        let seqs = |entries: &[Arc<Entry>]| entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
        let partial = found(&reader, text, |search| search.whole = false);
        assert_eq!(seqs(&partial), seqs(&expected), "{text}");
    }
    assert_eq!(store.stats().damaged_blocks, 0);
}

#[test]
fn a_window_and_a_cursor_bound_a_search() {
    let (_directory, store, _entries) = filled();
    let seqs = |change: fn(&mut Search)| {
        found(&store.reader(), "http and not redis", change).iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    let window = seqs(|search| {
        search.from = Timestamp(1_500 * SECOND);
        search.to = Timestamp(1_502 * SECOND);
    });
    assert_eq!(window, [1501, 1500]);
    assert_eq!(seqs(|search| search.before = 3), [2, 1]);
    let first_of_each_block = seqs(|search| search.at_most = 1);
    assert!(first_of_each_block.len() < 20 && first_of_each_block[0] == 4500, "{first_of_each_block:?}");
}

#[test]
fn a_reader_of_fields_gets_them_without_whole_entries() {
    let (_directory, store, entries) = filled();
    for name in ["path", "status_code", "request.headers[\"X-Id\"]", "src.process.name", "response.status"] {
        let reader = FieldReader::parse(name, &Context::new(Timestamp(1))).unwrap();
        let partial = found(&store.reader(), "", |search| {
            search.whole = false;
            search.readers = vec![reader.clone()];
        });
        assert_eq!(partial.len(), entries.len());
        for (partial, whole) in partial.iter().zip(&entries) {
            assert_eq!(reader.read(partial), reader.read(whole), "{name}");
        }
    }
}

#[test]
fn a_search_past_its_deadline_says_where_to_go_on() {
    let (_directory, store, _entries) = filled();
    let mut search = Search::new(Filter::parse("", &Context::new(Timestamp(1))).unwrap());
    search.deadline = Some(std::time::Instant::now());
    let mut lowest = 0;
    let next = store.reader().search(
        &Arc::new(search),
        |entries| entries.len(),
        |found| {
            lowest = found.lowest;
            ControlFlow::Continue(())
        },
    );
    assert_eq!((next.unwrap(), lowest), (Some(4_201), 4_201));
}

#[test]
fn damaged_sections_are_errors_and_never_panics() {
    let entries: Vec<_> = (95..=105).map(varied).collect();
    let sections = codec::write(&entries).unwrap();
    let read = |sections: &Sections| -> Result<Vec<Entry>, &'static str> {
        let texts = Dictionary::read(sections.texts.clone())?;
        let rows = Rows::read(&sections.light, &texts, entries.len() as u64, true)?;
        let messages = Messages { texts: &texts, heads: &sections.heads, bodies: &sections.bodies };
        rows.into_iter().map(|light| messages.complete(light)).collect()
    };
    let whole: Vec<_> = read(&sections).unwrap().into_iter().map(Arc::new).collect();
    assert_eq!(whole, entries);
    let part = |sections: &mut Sections, which: usize| match which {
        0 => std::mem::take(&mut sections.texts),
        1 => std::mem::take(&mut sections.light),
        _ => std::mem::take(&mut sections.heads),
    };
    let with = |which: usize, bytes: Vec<u8>| {
        let mut changed = codec::write(&entries).unwrap();
        match which {
            0 => changed.texts = bytes,
            1 => changed.light = bytes,
            _ => changed.heads = bytes,
        }
        changed
    };
    let mut refused = 0;
    for which in 0..3 {
        let bytes = part(&mut codec::write(&entries).unwrap(), which);
        for at in (0..bytes.len()).step_by(7) {
            for byte in [0xff, bytes[at] ^ 1] {
                let mut flipped = bytes.clone();
                flipped[at] = byte;
                refused += usize::from(read(&with(which, flipped)).is_err());
            }
            assert!(read(&with(which, bytes[..at].to_vec())).is_err(), "{which} cut at {at}");
        }
    }
    assert!(refused > 100, "{refused}");
}
