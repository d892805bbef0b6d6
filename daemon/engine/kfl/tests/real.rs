//! Filters that users type, on the calls of the dissector's golden conversations.

use super::sample::{golden, http};
use super::{assert_differs, assert_matches, examples, filter, refused};
use crate::limits::kfl as limits;

/// Filters and the golden calls (conversation and summary) that are all that match.
const GOLDEN: &[(&str, &[&str])] = &[
    ("status_code == 500", &[]),
    (
        "http && status_code >= 400",
        &["connect db.example:80", "continue_100 /after", "early_answer /up", "unsolicited "],
    ),
    ("response.status > 300 and response.status < 400", &["keep_alive /two", "without_body /c"]),
    (r#"http && method == "PUT""#, &["keep_alive /three"]),
    (r#"request.method == "DELETE" or request.method == "HEAD""#, &["without_body /h", "without_body /d"]),
    (
        r#"http && path.startsWith("/p") && url.matches("/p[0-9]$")"#,
        &["pipelining /p1", "pipelining /p2", "pipelining /p3", "pipelining /p4"],
    ),
    (r#"request.headers["upgrade"] == "websocket""#, &["upgrade /chat"]),
    (r#"map_get(request.headers, "UPGRADE", "") != """#, &["upgrade /chat", "upgrade_refused /h2c"]),
    (r#""proxy-authorization" in request.headers"#, &["connect db.example:80"]),
    (r#""accept" in request.headers and size(request.cookies) > 0"#, &["keep_alive /one"]),
    (r#"request.method == "CONNECT" and response.status == 407"#, &["connect db.example:80"]),
    (r#"http_version == "HTTP/1.0""#, &["until_close /old"]),
    (
        r#"response.body.contains("hello")"#,
        &["codings /gzip", "codings /deflate", "codings /br", "codings /zstd", "codings /stacked"],
    ),
    (r#"response.content.text == r"^hello (gzip|both)$""#, &["codings /gzip", "codings /stacked"]),
    (r#"lower(response.body) == "inside" or response.body == "abcdef""#, &["chunked /in", "connect /inside"]),
    ("request_body_size > 1000000", &["large_body /up"]),
    ("truncated", &["large_body /up"]),
    (r#"response.headers["location"] != """#, &["keep_alive /two"]),
    (r#"error and error_type == "timeout""#, &["timeout /slow"]),
    (r#"error.type == "connection" and error.msg.contains("reset")"#, &["reset /one", "reset /two"]),
    (r#"http and error and !(request.method == "GET")"#, &["answer_only ", "timeout ", "unsolicited "]),
    (r#"request.postData.mimeType.startsWith("multipart/form-data")"#, &["forms /upload"]),
];

#[test]
fn filters_find_their_golden_calls() {
    let entries = golden();
    let mut wrong = Vec::new();
    for (text, expected) in GOLDEN {
        let filter = filter(text);
        let found = entries.iter().filter(|(_, entry)| filter.matches(entry));
        let mut found: Vec<String> = found.map(|(name, entry)| format!("{name} {}", entry.summary)).collect();
        found.dedup();
        if found != *expected {
            wrong.push(format!("{text}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_dialects_agree_on_golden_calls() {
    let pairs = [
        ("http && status_code >= 300", "http and response.status >= 300"),
        (r#"method == "GET""#, r#"request.method == "GET""#),
        (r#"path.contains("/o")"#, r#"request.path == r"/o""#),
        (r#""cookie" in request.headers"#, "has(request.headers.Cookie)"),
        (r#"map_get(request.headers, "host", "").contains("a")"#, r#"request.headers["Host"].contains("a")"#),
        ("response_body_size > 3", "response.bodySize > 3"),
        ("elapsed_time > 2000", "elapsedTime > 2"),
        ("error_type != \"\"", "error"),
        (r#"!path.contains("/n")"#, r#"not request.path.contains("/n")"#),
        ("tls || outgoing", "(tls or outgoing)"),
    ];
    for (one, other) in pairs {
        for (name, entry) in golden() {
            let answers = [one, other].map(|text| filter(text).matches(&entry));
            assert_eq!(answers[0], answers[1], "{one} and {other} on {name} {}", entry.summary);
        }
    }
}

#[test]
fn every_documented_filter_ends_on_every_golden_call() {
    for text in examples::KFL2 {
        let filter = filter(text);
        for (name, entry) in golden() {
            let flagged = text.starts_with("http") && !text.contains("||");
            let other = ["grpc", "gql", "dns", "tlsx", "redis", "kafka", "amqp", "conn", "flow", "udp"];
            if other.iter().any(|flag| text.starts_with(flag)) {
                assert!(!filter.matches(&entry), "{text} on {name}");
            } else if flagged {
                filter.matches(&entry);
            }
        }
        assert_eq!(filter.gave_up(), 0, "{text}");
    }
}

#[test]
fn filters_as_people_type_them_work() {
    let mut entry =
        http("POST", "/a/b?id=7&flag", 201, serde_json::json!({"Content-Type": "Application/JSON"}));
    entry.src.addr.ip = [127, 0, 0, 1].into();
    entry.src.name = "curl".into();
    for text in [
        r#"request.body.contains("a")"#,
        "response.body.json().n == 1.5",
        "response.body.json().user.id == 7 and response.body.json().user.tags[1] == \"y\"",
        r#"lower(request.headers["content-type"]) == "application/json""#,
        r#"cidr(src.ip, "127.0.0.0/8")"#,
        "// calls that succeeded\nhttp and not error # of any kind\n  and (\n    status_code < 400\n  )\n",
        "http and not error",
        r#"src.name in ["curl", "wget"]"#,
        r#"elapsed_time < duration("5m") and elapsedTime < duration("1h30m") and latency < duration("10s")"#,
        r#"timestamp > now() - duration("1d") and timestamp < now()"#,
        r#"src.ip.startsWith("127.") and src.ip.startsWith("127.0.0.1") and src.ip.startsWith("12") and src.ip.startsWith("")"#,
        r#"src.ip == "127.0.0.1" and src.ip in ["127.0.0.1"] and src.ip.endsWith(".1") and src.ip.contains("0.0")"#,
        "request.query.id == 7 and request.query.id > 6 and \"flag\" in query_string",
        r#"request.headers.content-type == "Application/JSON" or true"#,
        r#"method in ["POST", "PUT"] and status_code in [200, 201]"#,
        r#"url == "/a/b?id=7&flag" and path == "/a/b" and request.pathSegments == ["a", "b"]"#,
        r#"!path.startsWith("/health") AND http"#,
    ] {
        if text.contains("-type ==") || text.contains("AND") {
            // A dash and a capital word are not names here; the error says how to write it.
            let error = refused(text);
            assert!(!error.hints.is_empty(), "{text}: {error}");
            continue;
        }
        assert_matches(text, &entry);
    }
    for text in [
        r#"src.ip.startsWith("127.1.")"#,
        r#"src.ip.startsWith("127.00")"#,
        r#"src.ip.startsWith("27.")"#,
        r#"src.ip.startsWith("127.0.0.1.")"#,
        r#"cidr(src.ip, "10.0.0.0/8", "::/0")"#,
        r"response.body.json().nothing == 1",
        r#"elapsed_time > duration("5m")"#,
    ] {
        assert_differs(text, &entry);
    }
}

/// Mistakes, and what the way out must name.
const MISTAKES: &[(&str, &str)] = &[
    ("status_code = 500", "=="),
    ("http AND status_code == 500", "and"),
    ("statusCode == 500", "status_code"),
    ("respons.status == 500", "response"),
    ("request.headers.content-type == \"a\"", "[\"content-type\"]"),
    ("elapsed_time > 5s", "duration("),
    ("elapsed_time > \"5s\"", "duration(\"5s\")"),
    ("status_code == \"500\"", "without quotes"),
    ("status_code.contains(\"5\")", "string("),
    ("path.contains(5)", "\"5\""),
    ("src.ip in \"10.0.0.0/8\"", "cidr("),
    ("cidr(src.ip, \"10.0.0.0/99\")", "cidr(src.ip, \"10.0.0.0/8\")"),
    ("http and", "a value"),
    ("(http", ")"),
    ("path.startswith(\"/a\")", "startsWith"),
    ("path like \"/a\"", ".matches("),
    ("http == true", "condition by itself"),
    ("status_code", "compare it"),
    ("dns_questions == \"a\"", "in"),
    ("method == GET", "\"GET\""),
    ("http.status == 500", "and status"),
    ("request.headers[\"a\"", "]"),
    ("path == '/a", "'"),
    ("path.matches(\"[\")", "regular expression"),
    ("body.contains(\"x\")", "request.body"),
];

#[test]
fn mistakes_are_told_with_a_way_out() {
    let mut wrong = Vec::new();
    for (text, way_out) in MISTAKES {
        if *text == "http == true" {
            filter(text);
            continue;
        }
        let error = refused(text);
        let shown = format!("{error} {}", error.expected.join(" "));
        let named = error.hints.join(" ") + " " + &error.expected.join(" ") + " " + &error.message;
        if !named.contains(way_out) || error.short().len() > limits::SHORT_ERROR {
            wrong.push(format!("{text}  ->  {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
