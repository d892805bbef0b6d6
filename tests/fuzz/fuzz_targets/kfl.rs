//! Any text is a filter or an error with a place in it; any filter can be evaluated and completed.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use remora_engine::kfl::{Context, Filter, complete, redact_json};
use remora_engine::model::{Entry, Map, Timestamp, Value};

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::new(Timestamp(1_773_527_400_000_000_000)));

fn map(items: &[(&str, Value)]) -> Value {
    Value::Map(Map(items.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()))
}

/// Entries with and without messages, of which one holds JSON and another one XML.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let json = serde_json::json!({
        "id": {"node": "n", "stream": "s", "index": 0}, "seq": 1, "protocol": "http",
        "node": {"name": "n", "ip": "10.0.0.1"}, "src": {}, "dst": {}, "outgoing": true, "tls": false,
        "timing": {}, "method": "GET", "summary": "/a", "status": 200, "request": "Null", "response": "Null",
        "request_size": 1, "response_size": 2, "error": null, "events": [], "connection": 1, "capture": {},
    });
    let bare: Entry = serde_json::from_value(json).expect("the entry above has all fields");
    let body = |text: &'static [u8]| Value::Bytes(text.into());
    let mut all = vec![bare.clone()];
    let bodies: [&'static [u8]; 3] = [
        b"{\"a\":{\"b\":[1,2,{\"a\":\"x\"}]}}",
        b"<a x=\"1\"><b>1</b><b>2</b><c/></a>",
        b"eyJhIjp7ImIiOjF9fQ==",
    ];
    for text in bodies {
        let request = map(&[
            ("method", Value::from("GET")),
            ("path", Value::from("/a/b")),
            ("pathSegments", Value::List(vec![Value::from("a"), Value::from("b")])),
            ("headers", map(&[("Content-Type", Value::from("a")), ("x", Value::from("5"))])),
            ("queryString", map(&[("a", Value::List(vec![Value::Int(1), Value::from("2")]))])),
        ]);
        let response = map(&[("status", Value::Int(200)), ("content", map(&[("text", body(text))]))]);
        all.push(Entry { request, response, ..bare.clone() });
    }
    all
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match Filter::parse(&text, &CONTEXT) {
        Ok(filter) => {
            let before = Instant::now();
            for entry in ENTRIES.iter() {
                filter.matches(entry);
            }
            assert!(before.elapsed() < Duration::from_secs(2), "slow: {text}");
            let mut json = serde_json::json!({"request": {"path": "/a"}, "response": {"content": {"text": "{\"a\":1}"}}});
            redact_json(&mut json, filter.redactions());
            let again = Filter::parse(filter.key().split('\n').next().unwrap_or_default(), &CONTEXT);
            assert!(again.is_ok(), "the canonical text does not parse: {}", filter.key());
        }
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some());
            assert!(error.short().len() <= 120);
        }
    }
    complete(&text, data.first().map_or(0, |byte| usize::from(*byte)));
});
