//! Meaning of the language: precedence, types, missing values, time, errors, bounds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::sample::{bare, entry, http};
use super::{assert_differs, assert_matches, context, filter, refused};
use crate::kfl::{Context, Filter, Macros, complete, fields};
use crate::limits::kfl as limits;
use crate::model::{Entry, EntryEvent};

fn get(url: &str) -> Entry {
    http("GET", url, 200, json!({"Host": "shop", "X-Id": "7"}))
}

#[test]
fn and_binds_tighter_than_or() {
    let entry = get("/a");
    assert_matches("http or http and dns", &entry);
    assert_matches("http || http && dns", &entry);
    assert_differs("(http or http) and dns", &entry);
}

#[test]
fn operators_bind_from_product_to_choice() {
    let entry = get("/a");
    for text in [
        "1 + 2 * 3 == 7",
        "2 * 3 - 4 / 2 - 1 == 3",
        "10 % 4 + 1 == 3",
        "-2 + 3 == 1",
        "1 + 1 < 3 == true",
        "!dns and http",
        "not dns and http",
        "not status_code == 404",
        "not not http",
        "http ? status_code == 200 : dns",
        "dns ? 1 == 2 : http ? 1 == 1 : 1 == 2",
        "(dns ? 1 : 2) == 2",
        "0x10 == 16 and 7u == 7 and 1e3 == 1000.0",
    ] {
        assert_matches(text, &entry);
    }
    assert_differs("!http or dns", &entry);
}

#[test]
fn both_dialects_mix_in_one_filter() {
    let entry = get("/api?a=43");
    assert_matches(r#"http && request.query.a > 42 and path.startsWith("/api") || dns"#, &entry);
    assert_matches("http\n  // decrypted or not\n  and status_code == 200 # fine\n", &entry);
}

#[test]
fn texts_know_all_quotes_and_escapes() {
    let entry = get("/a");
    for text in [
        r#""a\x62\u0063\"" == 'abc"'"#,
        r#"'a\'b' == "a'b""#,
        "`a\\n` == \"a\\\\n\"",
        "\"\"\"two\nlines\"\"\" == 'two\\nlines'",
        r#""path \101" == "path A""#,
        r#"b"\xff\x00".size() == 2"#,
        r#"r"\d+" in ["\\d+"]"#,
    ] {
        assert_matches(text, &entry);
    }
}

#[test]
fn paths_compare_loosely() {
    let entry = get("/a?n=05&f=1.50&t=true");
    for text in [
        r#"response.status == "200""#,
        "response.status == 200.0",
        r#"dst.port == "8080" and dst.port == 8080 and dst.port > "8079""#,
        "request.query.n == \"05\" and request.query.n != 5 and request.query.n < 6",
        "request.query.f == 1.5",
        "request.query.t == true",
        r#"request.headers["x-id"] == 7 and request.headers.HOST == "shop""#,
        "src.processId == \"4711\"",
        "request.pathSegments == [\"a\"]",
        "response.content.text.json().n == 1.5",
        "request.body.json().a == {\"b\": 5}",
        "request.body.json()[\"a\"][\"b\"] == 5",
    ] {
        assert_matches(text, &entry);
    }
    assert_differs(r"request.path > 5", &entry);
    assert_differs(r"request.path <= 5", &entry);
}

#[test]
fn what_is_missing_makes_its_comparison_false() {
    let entry = get("/a");
    for text in [
        "request.no",
        "request.no == 1",
        "request.no != 1",
        "request.no < 1",
        "request.no in [1]",
        "1 in request.no",
    ] {
        assert_differs(text, &entry);
        assert_matches(&format!("!({text})"), &entry);
        assert_matches(&format!("{text} or http"), &entry);
    }
    assert_differs(r#"request.no.startsWith("")"#, &entry);
    assert_differs("1 / 0 == 1 or 9223372036854775807 + 1 == 0", &entry);
    assert_differs("has(request.no)", &entry);
    assert_matches("has(request.path) and has(request.headers.host)", &entry);
}

#[test]
fn typed_names_have_defaults() {
    let dns = bare("dns");
    for text in [
        "status_code < 400",
        r#"path == "" and url == """#,
        "size(request.headers) == 0",
        r#"!("x" in request.headers)"#,
        r#"map_get(request.headers, "x", "none") == "none""#,
        "grpc_status == -1",
        "namespaces.size() == 0",
        r#"tcp_payload == b"""#,
    ] {
        assert_matches(text, &dns);
    }
}

#[test]
fn lists_compare_by_any_item() {
    let entry = entry("x", json!({"a": ["x", "5"], "deep": [{"k": 1}, {"k": 2}], "n": [1, 9]}), json!({}));
    for text in [
        r#"request.a == "x""#,
        "request.a == 5",
        r#"request.a != "y""#,
        "request.deep.k == 2 and request.deep.*.k == 1 and request..k == 2",
        "request.deep[1].k == 2",
        "request.n > 8 and request.n < 2",
        r#"request.a.contains("x") and request.a == r"^5$""#,
        r#"request.a != r"^6$""#,
        "request.deep.exists(d, d.k == 2) and request.deep.all(d, d.k > 0) and request.deep.exists_one(d, d.k == 1)",
        "request.deep.map(d, d.k + 1) == [2, 3]",
        "request.n.filter(v, v > 1) == [9] and request.n.map(v, v > 1, v * 2) == [18]",
        "size(request.n + request.a) == 4",
        "request.exists(k, k == \"deep\")",
        r#"{"a": 1, "b": 2}["b"] == 2 and "a" in {"a": 1} and 3 in {1, 2, 3}"#,
        "[[1, 2], [3]][0][1] == 2",
        "[1, 2].exists(x, [3, 4].exists(y, x + y == 6))",
    ] {
        assert_matches(text, &entry);
    }
    assert_differs(r#"request.a != "x""#, &entry);
    assert_differs(r#"request.a != r"^5$""#, &entry);
}

#[test]
fn moments_compare_with_every_spelling() {
    // The call began at 2026-03-14T22:15:00Z, a quarter of an hour before now, and took 2.5 s.
    let entry = get("/a");
    for text in [
        "timestamp < now() and timestamp > now() - duration(\"16m\") and timestamp < now() - duration(\"14m\")",
        "timestamp > minutes(-16) and timestamp < minutes(-14)",
        "timestamp == 1773526500000 and timestamp > 1678675066172",
        "now() - timestamp == duration(\"15m\")",
        r#"timestamp == timestamp("2026-03-14T22:15:00Z")"#,
        r#"timestamp == timestamp("2026-03-14T23:15:00+01:00")"#,
        r#"timestamp == datetime("3/14/2026, 10:15:00.000 PM") and timestamp > datetime("10/19/2021, 6:29:02.593 PM")"#,
        r#"startTime >= "2026-03-14T22:00:00Z""#,
        "elapsed_time == 2500000 and elapsedTime == 2500 and latency == 2500",
        "elapsed_time > duration(\"2s\") and elapsedTime < duration(\"2.6s\")",
        "timestamp.getHours() == 22 and timestamp.getDayOfWeek() == 6 and duration(\"90m\").getHours() == 1",
        "timestamp > weeks(-1) and timestamp > months(-1) and timestamp > years(-1) and timestamp < seconds(0.5)",
        "int(timestamp) == 1773526500000 and timestamp(1773526500000) == timestamp",
        r#"string(timestamp) == "2026-03-14T22:15:00Z""#,
    ] {
        assert_matches(text, &entry);
    }
}

#[test]
fn additions_do_what_they_say() {
    let entry = get("/Admin/x?token=1");
    for text in [
        r#"cidr(src.ip, "192.168.0.0/16") and !cidr(src.ip, "10.0.0.0/8", "fd00::/8")"#,
        r#"cidr(dst.ip, ["172.16.0.0/12", "10.0.0.7"]) and cidr(src.ip, "0.0.0.0/0")"#,
        r#"path.lower() == "/admin/x" and upper(method) == "GET" and path.lower().startsWith("/admin")"#,
        r#"request.body.contains("\"b\":5") and response.body.contains("somevalue")"#,
        r#"response.body == r"some\w+" and response.content.text.matches("(?i)SOMEVALUE")"#,
        r"request.body.size() == 13 and size(response.body) > 40",
        r#"string(status_code).startsWith("2") and int("5") == 5 and double("1.5") == 1.5 and dyn(status_code) == "200""#,
        r#"src.process.name == "curl" and dst.process.exe == "/usr/bin/nginx" and dst.container.id == "3f2a9c""#,
        r#"dst.unit == "nginx.service" and src.process.uid == 1000 and dst.process.pid == 80"#,
        r#"node["name"] == "web-1" and map_get(node, "ip", "") == "10.0.25.170" and capture["source"] == "ebpf""#,
        r#"id == "web-1/1f-3-2" and index == 2 and stream == "1f-3" and seq == 900 and conn_id == 42"#,
        r#"protocol == "HTTP" and protocol.name == "http" and protocol.abbr == "HTTP""#,
        "dst.translated.port == 80 and outgoing and !tls and !has_gap and !truncated",
        "requestSize == 428 and responseSize == 114 and size == 542 and status == 200",
    ] {
        assert_matches(text, &entry);
    }
    let mut cut = entry.clone();
    cut.events = vec![EntryEvent::RequestTruncated { bytes: 1 }, EntryEvent::GapInResponse { bytes: 5 }];
    assert_matches("truncated and has_gap", &cut);
}

#[test]
fn limit_and_redact_are_reported_and_always_true() {
    let filter = filter(r#"http and limit(100) and redact("request.path", "src.name") and limit(7)"#);
    assert_eq!(filter.limit(), Some(7));
    let paths: Vec<&str> = filter.redactions().iter().map(super::super::RedactPath::text).collect();
    assert_eq!(paths, ["request.path", "src.name"]);
    assert!(filter.matches(&get("/a")));
}

#[test]
fn redaction_masks_members_headers_and_documents() {
    let text = r#"redact("request.headers.authorization", "path", "request.query.token", "response.body.json()..password",
        "request.postData.text.json().cards[*].number", "src.name", "request.cookies.*")"#;
    let encoded = "eyJ1c2VyIjp7InBhc3N3b3JkIjoieCIsImlkIjoxfX0=";
    let mut value = json!({
        "src": {"name": "a", "ip": "1.2.3.4"},
        "request": {"headers": {"Authorization": "Bearer x", "Accept": "*"}, "path": "/p", "queryString": {"token": "t", "a": "1"},
            "cookies": {"a": "1", "b": "2"}, "postData": {"text": "{\"cards\":[{\"number\":1},{\"number\":2,\"name\":\"n\"}]}"}},
        "response": {"content": {"text": encoded}},
    });
    crate::kfl::redact_json(&mut value, filter(text).redactions());
    let masked = "[REDACTED]";
    assert_eq!(value["request"]["headers"], json!({"Authorization": masked, "Accept": "*"}));
    assert_eq!(value["request"]["path"], masked);
    assert_eq!(value["request"]["queryString"], json!({"token": masked, "a": "1"}));
    assert_eq!(value["request"]["cookies"], json!({"a": masked, "b": masked}));
    assert_eq!(value["src"], json!({"name": masked, "ip": "1.2.3.4"}));
    let cards = value["request"]["postData"]["text"].as_str().expect("text");
    assert_eq!(cards, r#"{"cards":[{"number":"[REDACTED]"},{"name":"n","number":"[REDACTED]"}]}"#);
    let body = value["response"]["content"]["text"].as_str().expect("text");
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).expect("base64");
    assert_eq!(decoded, br#"{"user":{"id":1,"password":"[REDACTED]"}}"#);
}

#[test]
fn a_document_that_cannot_be_read_is_masked_as_a_whole() {
    let mut value = json!({"response": {"content": {"text": "{broken"}}});
    crate::kfl::redact_json(&mut value, filter(r#"redact("response.body.json().a")"#).redactions());
    assert_eq!(value["response"]["content"]["text"], "[REDACTED]");
}

#[test]
fn macros_are_parsed_and_not_pasted() {
    let mut tls = get("/a");
    tls.tls = true;
    assert_matches("https", &tls);
    assert_differs("https", &get("/a"));
    let macros = Macros::parse([
        ("bad", "status_code >= 400 or error"),
        ("web", "bad or http"),
        ("http", "http and tls"),
    ]);
    let context = Context { macros: macros.expect("macros"), ..context() };
    let matches = |text: &str, entry: &Entry| Filter::parse(text, &context).expect("filter").matches(entry);
    // Pasted, this would be `!status_code >= 400 or error and dns`.
    assert!(matches("!bad and status_code == 200", &get("/a")) && !matches("!web", &tls));
    assert!(matches("http", &tls) && !matches("http", &get("/a")));
    let error = Filter::parse(
        "oops",
        &Context { macros: Macros::parse([("oops", "nope == 1")]).expect("macros"), ..context.clone() },
    );
    assert!(error.expect_err("unknown name").message.starts_with("in the macro `oops`: unknown name `nope`"));
    assert!(Macros::parse([("a b", "http")]).is_err() && Macros::parse([("x", "((")]).is_err());
    let circle = Macros::parse([("a1", "b1"), ("b1", "a1")]).expect("macros");
    assert!(Filter::parse("a1", &Context { macros: circle, ..context }).is_err());
}

/// A filter that is refused, the text its error points at, and a part of the message with hints.
const REFUSED: &[(&str, &str, &str)] = &[
    ("http and", "", "the filter ends too early"),
    ("http and and dns", "and", "unexpected `and`"),
    ("(http", "", "expected `)`"),
    ("http)", ")", "unexpected `)`"),
    ("http dns", "dns", "join two conditions with and or or"),
    ("status_code = 200", "=", "write == to compare"),
    (
        "status_code == \"200\"",
        "status_code == \"200\"",
        "cannot compare int with string: `status_code` is int, `\"200\"` is string",
    ),
    ("method == 5", "method == 5", "string with int"),
    ("statuscode == 200", "statuscode", "did you mean status_code?"),
    ("status_cod == 200", "status_cod", "did you mean status_code"),
    ("src.prot == 1", "src.prot", "did you mean src.port?"),
    ("dst.pod.nam == \"x\"", "dst.pod.nam", "did you mean dst.pod.name"),
    ("src.ns == \"x\"", "src.ns", "unknown name `src.ns`"),
    ("http and request.path contains \"/api\"", "contains", "write it as a method"),
    ("path.contian(\"x\")", "contian", "did you mean contains?"),
    ("status_code.contains(\"2\")", "status_code", "contains needs a text, not int"),
    ("path.contains(5)", "5", "contains needs a text, `5` is int"),
    ("path.matches(\"a(b\")", "\"a(b\"", "bad regular expression"),
    ("request.path == r\"[\"", "r\"[\"", "bad regular expression"),
    ("status_code", "status_code", "`status_code` is int, a condition (bool) is needed"),
    ("status_code and http", "status_code", "a condition (bool) is needed"),
    ("method + 1 == \"a\"", "method + 1", "no string + int"),
    ("timestamp > \"2026-03-14T22:00:00Z\"", "timestamp > \"2026-03-14T22:00:00Z\"", "write timestamp("),
    ("timestamp(\"yesterday\") < now()", "\"yesterday\"", "not a moment"),
    ("timestamp > now() - 5m", "5m", "duration(\"5m\")"),
    ("duration(\"5 parsecs\") < duration(\"1s\")", "\"5 parsecs\"", "not a span of time"),
    ("datetime(\"2021\") < now()", "datetime(\"2021\")", "datetime needs"),
    ("\"abc", "\"abc", "does not end"),
    ("\"a\\qb\" == \"\"", "\\q", "unknown escape"),
    ("5 in dns_questions", "5 in dns_questions", "cannot look for int in list of string"),
    ("\"a\" in path", "\"a\" in path", "write text.contains"),
    ("dns_questions == \"a\"", "dns_questions == \"a\"", "write value in list"),
    ("local_labels == \"a\"", "local_labels == \"a\"", "map[\"key\"]"),
    ("http == 1", "http == 1", "cannot compare bool with int"),
    ("nope(1)", "nope", "unknown function `nope`"),
    ("contains(path, \"a\")", "contains", "for example path.contains"),
    ("now(5) > timestamp", "now(5)", "takes no arguments"),
    ("limit(0)", "0", "above 0"),
    ("limit(status_code)", "status_code", "above 0"),
    ("redact(\"nothing.here\")", "\"nothing.here\"", "nothing of the entry is called `nothing`"),
    ("redact(path)", "path", "literal texts"),
    ("cidr(src.ip, \"10.0.0.0/33\")", "\"10.0.0.0/33\"", "not a range of addresses"),
    ("cidr(src.ip)", "cidr(src.ip)", "at least one range"),
    ("status_code.x == 1", ".x", "an int has no member `x`"),
    ("dns_questions.exists(q, q.contains(5))", "5", "contains needs a text"),
    ("dns_questions.exists(5, true)", "5", "needs a variable first"),
    ("99999999999999999999 == 1", "99999999999999999999", "does not fit"),
    ("(http ? 1 : \"a\") == 1", "1 : \"a\"", "both sides of : must have one type"),
    ("size(5) == 1", "5", "size needs"),
    ("map_get(local_labels, \"a\", 5) == 5", "5", "the map holds string, the default is int"),
    ("{1: 2, 3} == 1", "", "either all items"),
];

#[test]
fn errors_point_at_the_text_and_teach() {
    let mut wrong = Vec::new();
    for (text, spot, message) in REFUSED {
        let error = refused(text);
        let found = &text[error.span.clone()];
        let points = found == *spot || spot.is_empty();
        if !points || !error.to_string().contains(message) || error.short().len() > limits::SHORT_ERROR {
            wrong.push(format!("{text}: points at {found:?}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_error_names_what_was_expected_or_a_way_out() {
    let silent: Vec<String> = REFUSED
        .iter()
        .map(|(text, ..)| (text, refused(text)))
        .filter(|(_, error)| {
            let inside = error.message.contains(": {") || !error.expected.is_empty();
            error.hints.is_empty() && !inside
        })
        .map(|(text, error)| format!("{text}: {error}"))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn errors_count_lines_and_columns() {
    let error = refused("http and\n  \u{e9} == 1");
    assert_eq!((error.line, error.column), (2, 3));
    let error = refused("http and\n  path == 1");
    assert_eq!((error.line, error.column, error.span.clone()), (2, 3, 11..20));
    assert_eq!(
        error.short(),
        "2:3: cannot compare string with int: `path` is string, `1` is int; write it in quotes: \"1\""
    );
}

#[test]
fn errors_are_one_line() {
    for text in ["r\"\"\"a\nb\"\"\" == status_code.x", "http '''a\nb'''", "status_code == r'''a\nb''' + 1"] {
        let error = refused(text);
        assert!(!format!("{error} {}", error.short()).contains('\n'), "{error}");
    }
}

#[test]
fn hostile_filters_are_refused_or_cheap() {
    let refusals = [
        "(".repeat(20_000),
        "(".repeat(16_000),
        "!".repeat(16_000),
        format!("{}http", "!".repeat(limits::PREFIXES + 1)),
        format!("{}http{}", "(".repeat(limits::DEPTH + 1), ")".repeat(limits::DEPTH + 1)),
        format!("path.matches(\"{}\")", "(a{1000}){1000}"),
        format!("path.matches(\"{}a{}\")", "(".repeat(200), ")".repeat(200)),
        vec!["http"; 5000].join(" or "),
        format!("http{}", " and path.matches(\"a\")".repeat(100)),
        "[".repeat(60) + &"]".repeat(61),
    ];
    for text in refusals {
        let before = Instant::now();
        refused(&text);
        assert!(before.elapsed() < Duration::from_secs(5), "slow: {}", &text[..20]);
    }
    let doubling = (0..40).map(|n| (format!("m{n}"), format!("m{} and m{}", n + 1, n + 1)));
    let doubling: Vec<(String, String)> = doubling.chain([("m40".to_owned(), "http".to_owned())]).collect();
    let macros =
        Macros::parse(doubling.iter().map(|(name, text)| (name.as_str(), text.as_str()))).expect("macros");
    assert!(Filter::parse("m0", &Context { macros, ..context() }).is_err());
}

#[test]
fn the_deepest_filter_fits_a_small_stack() {
    let text = format!("{}http{}", "(!".repeat(limits::DEPTH), ")".repeat(limits::DEPTH));
    let lists = format!("size({}1{}) == 1", "[".repeat(limits::DEPTH - 1), "]".repeat(limits::DEPTH - 1));
    let calls = format!("{}1{} == 1", "dyn(".repeat(limits::DEPTH), ")".repeat(limits::DEPTH));
    let run = move || {
        let entry = get("/a");
        assert!(filter(&text).matches(&entry));
        filter(&lists).matches(&entry);
        filter(&calls).matches(&entry);
        filter(&format!("request{}", ".a".repeat(4000))).matches(&entry);
        filter(&format!("1{} > 0", " + 1".repeat(2000))).matches(&entry);
    };
    #[expect(clippy::disallowed_methods, reason = "a test wants a stack of its own size")]
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).expect("thread");
    thread.join().expect("one mebibyte is enough");
}

#[test]
fn work_without_end_is_given_up_and_counted() {
    let numbers: Vec<i64> = (0..500).collect();
    let entry = entry("x", json!({"n": numbers}), json!({}));
    let filter = filter("request.n.all(a, request.n.all(b, request.n.all(c, a + b + c >= 0)))");
    let before = Instant::now();
    assert!(!filter.matches(&entry));
    assert_eq!(filter.gave_up(), 1);
    assert!(before.elapsed() < Duration::from_secs(5));
    let cheap = super::filter("request.n.all(a, a >= 0)");
    assert!(cheap.matches(&entry) && cheap.gave_up() == 0);
}

#[test]
fn cheap_tests_come_first() {
    let shown =
        format!("{:?}", super::filter("response.body.contains(\"x\") and path == \"/a\" and http").text());
    assert!(shown.contains("response.body"));
    let pred = super::predicate(r#"response.body.contains("x") and path == "/a" and http"#);
    let flag = pred.find("Flag").expect("flag");
    let text = pred.find("Text {").expect("text");
    let find = pred.find("Find {").expect("find");
    assert!(flag < text && text < find, "{pred}");
}

fn offered(text: &str) -> Vec<String> {
    complete(text, text.len()).into_iter().map(|candidate| candidate.text).collect()
}

#[test]
fn completion_offers_what_may_stand_there() {
    assert!(offered("").contains(&"http".to_owned()));
    assert!(offered("stat").contains(&"status_code".to_owned()));
    assert!(offered("http and src.po").contains(&"src.port".to_owned()));
    assert!(offered("http and request.").contains(&"request.path".to_owned()));
    assert!(offered("path.").contains(&"contains(".to_owned()));
    assert!(offered("path.sta").contains(&"startsWith(".to_owned()));
    assert_eq!(offered("http a"), ["and"]);
    assert!(offered("http ").contains(&"or".to_owned()));
    assert!(offered("path == \"/a").is_empty());
    assert!(offered("http // no").is_empty());
    let candidate = &complete("http and status_co == 1", 18)[0];
    assert_eq!((candidate.text.as_str(), candidate.replace.clone()), ("status_code", 9..18));
}

#[test]
fn names_of_fields_are_unique_and_documented() {
    let mut names: Vec<&str> = fields().map(|field| field.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 250, "{count}");
    assert!(fields().all(|field| field.doc.ends_with('.') || field.doc.ends_with(')')));
}

#[test]
fn the_documentation_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kfl.md");
    let (begin, end) = ("<!-- generated: begin -->\n", "<!-- generated: end -->");
    let text = std::fs::read_to_string(path).expect("docs/kfl.md");
    let (head, rest) = text.split_once(begin).expect("begin mark");
    let (_, tail) = rest.split_once(end).expect("end mark");
    let fresh = format!("{head}{begin}\n{}\n{end}{tail}", crate::kfl::reference_markdown());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &fresh).expect("docs/kfl.md");
    }
    assert!(
        fresh == text || std::env::var_os("BLESS").is_some(),
        "docs/kfl.md is old: run this test with BLESS=1"
    );
}

#[test]
fn filters_of_the_documentation_are_accepted() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kfl.md"))
        .expect("docs/kfl.md");
    let blocks = text.split("```kfl\n").skip(1).filter_map(|block| block.split("```").next());
    let filters: Vec<&str> = blocks.flat_map(|block| block.split("\n\n")).collect();
    assert!(filters.len() > 10);
    for text in filters {
        filter(text);
    }
}
