//! Shapes, units and hiding, on entries that came out of the real dissector.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::Value as Json;

use super::{REDACTED, Redaction, View, base_json, detail_json, full_json};
use crate::dissect::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Direction, Entry, EntryId, NodeInfo, Peer, Process,
    SocketCookie, Timestamp, TlsHandshake, TlsInfo, TlsLibrary, TlsWitness,
};

const OPEN: View = View { redact: Redaction::None };
const CLOSED: View = View { redact: Redaction::Secrets };

fn exchange(request: &[u8], response: &[u8]) -> Transaction {
    let mut calls = exchanges(request, response);
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn exchanges(request: &[u8], response: &[u8]) -> Vec<Transaction> {
    let limits = Limits::default();
    let mut session = Session::new(Carrier::Stream, 80, true);
    let mut out = Vec::new();
    let at = |ms: u64| Timestamp(1_678_675_066_172_360_504 + ms * 1_000_000);
    session.feed(Direction::ToServer, Input::Bytes(request), at(0), &limits, &mut out);
    if !response.is_empty() {
        session.feed(Direction::ToClient, Input::Bytes(response), at(23), &limits, &mut out);
    }
    session.close(End::Closed, at(30), &limits, &mut out);
    out
}

fn entry(request: &[u8], response: &[u8]) -> Entry {
    around(exchange(request, response))
}

/// An entry around what a dissector found.
pub(crate) fn around(call: Transaction) -> Entry {
    let peer = |port| Peer { addr: AddrPort::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port), ..Peer::default() };
    let process = Process {
        pid: 7,
        ppid: 1,
        uid: Some(33),
        name: "nginx".into(),
        exe: "/usr/sbin/nginx".into(),
        ..Process::default()
    };
    Entry {
        id: EntryId { node: "host-1".into(), stream: "000000019561.pcap".into(), index: 3 },
        seq: 12,
        protocol: call.protocol,
        node: Arc::new(NodeInfo { name: "host-1".into(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST) }),
        src: peer(36848),
        dst: Peer {
            process: Some(Arc::new(process)),
            socket: SocketCookie(99),
            translated: Some(AddrPort::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 8080)),
            ..peer(80)
        },
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: call.timing,
        method: call.method,
        summary: call.summary,
        status: call.status,
        request: call.request,
        response: call.response,
        request_size: call.request_size,
        response_size: call.response_size,
        error: call.error,
        events: call.events,
        connection: ConnectionId(5),
        capture: CaptureInfo { source: CaptureSource::Ebpf, seen_at: "both".into() },
    }
}

fn decrypted() -> Entry {
    let handshake = TlsHandshake {
        sni: "api.example.test".into(),
        version: 0x0304,
        cipher_suite: Some(0x1302),
        ..TlsHandshake::default()
    };
    let (library, witness) = (Some(TlsLibrary::Go), Some(TlsWitness::Descriptor));
    let info = TlsInfo { handshake, alpn: "http/1.1".into(), library, witness };
    Entry { tls: true, tls_info: Some(Arc::new(info)), ..plain() }
}

#[test]
fn decrypted_calls_tell_their_tls() {
    let entry = decrypted();
    let json = parse(&full_json(&entry, &OPEN));
    assert_eq!(json["tlsInfo"]["sni"], "api.example.test");
    assert_eq!(
        (&json["tlsInfo"]["version"], &json["tlsInfo"]["versionCode"]),
        (&"TLS 1.3".into(), &772.into())
    );
    assert_eq!(json["tlsInfo"]["cipherSuite"], "TLS_AES_256_GCM_SHA384");
    assert_eq!(
        (&json["tlsInfo"]["library"], &json["capture"]["witness"]),
        (&"go".into(), &"descriptor".into())
    );
    assert_eq!(parse(&full_json(&plain(), &OPEN))["tlsInfo"], Json::Null);
    let matches = |filter: &str| {
        let filter = crate::kfl::Filter::parse(filter, &crate::kfl::Context::new(Timestamp(1)));
        filter.unwrap().matches(&entry)
    };
    assert!(matches(r#"tls and tls.sni == "api.example.test" and tls.version == "TLS 1.3""#));
    assert!(matches(
        r#"tls.witness == "descriptor" and tlsx_cipher_suite == 4866 and tls_info.contains("AES")"#
    ));
    assert!(!matches(r#"tls.library == "openssl""#));
}

fn plain() -> Entry {
    entry(
        b"POST /login?user=x&token=abc123 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hunter2\r\nCookie: sid=s3cr3t\r\nReferer: http://u:pw0@b/?code=c0de\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\npassword=p1",
        b"HTTP/1.1 302 Found\r\nSet-Cookie: sid=n3w; Path=/\r\nLocation: /home?access_token=t0k\r\nContent-Length: 5\r\n\r\nhello",
    )
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).expect("valid JSON")
}

fn schema() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/entry.schema.json");
    parse(&std::fs::read_to_string(path).expect("the schema"))
}

/// Checks the subset of JSON Schema that the file uses: type, enum, const, properties, required, additional.
fn assert_follows(schema: &Json, value: &Json, at: &str) {
    let kind = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let is = |name: &Json| name == kind || (name == "number" && kind == "integer");
    let fits = match &schema["type"] {
        Json::Null => true,
        Json::Array(kinds) => kinds.iter().any(is),
        name => is(name),
    };
    assert!(fits, "{at}: {value} is not {}", schema["type"]);
    if let Json::Array(allowed) = &schema["enum"] {
        assert!(allowed.contains(value), "{at}: {value} is not one of {allowed:?}");
    }
    let (Json::Object(map), Json::Object(properties)) = (value, &schema["properties"]) else { return };
    let found: BTreeSet<&str> = map.keys().map(String::as_str).collect();
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    if schema["additionalProperties"] == false {
        assert_eq!(found, required.collect(), "{at}: keys");
    }
    for (key, value) in map {
        assert_follows(properties.get(key).unwrap_or(&Json::Null), value, &format!("{at}.{key}"));
    }
}

#[test]
fn full_entries_have_exactly_the_keys_and_types_of_the_schema() {
    let schema = schema();
    let unanswered = entry(b"GET / HTTP/1.0\r\n\r\n", b"");
    for (entry, view) in [(plain(), OPEN), (plain(), CLOSED), (unanswered, OPEN), (decrypted(), OPEN)] {
        let json = parse(&full_json(&entry, &view));
        assert_follows(&schema, &json, "entry");
        assert_follows(&schema["$defs"]["httpRequest"], &json["request"], "request");
        if !json["response"].is_null() {
            assert_follows(&schema["$defs"]["httpResponse"], &json["response"], "response");
        }
    }
}

#[test]
fn units_and_texts_are_those_of_kubeshark() {
    let json = parse(&full_json(&plain(), &OPEN));
    assert_eq!(json["id"], "host-1/000000019561.pcap-3");
    assert_eq!(json["entryFile"], "000000019561_pcap-3_entry.json");
    assert_eq!(json["timestamp"], 1_678_675_066_172_u64);
    assert_eq!(json["startTime"], "2023-03-13T02:37:46.172360504Z");
    assert_eq!(json["elapsedTime"], 23);
    assert_eq!(json["src"]["port"], "36848");
    assert_eq!(json["dst"]["translated"]["port"], "8080");
    assert_eq!(json["dst"]["processId"], 7);
    assert_eq!(json["protocol"]["ports"][1], "443");
    assert_eq!(json["response"]["content"]["text"], "aGVsbG8=");
    assert_eq!(json["request"]["postData"]["params"][0]["value"], "p1");
    assert_eq!(json["error"], Json::Null);
}

#[test]
fn an_unanswered_call_says_why() {
    let json = parse(&full_json(&entry(b"GET / HTTP/1.1\r\n\r\n", b""), &OPEN));
    assert_eq!(json["error"]["type"], "connection");
    assert_eq!(json["elapsedTime"], 0);
    assert_eq!(json["response"], Json::Null);
}

#[test]
fn list_rows_carry_the_filters_that_select_their_like() {
    let json = parse(&base_json(&plain(), &OPEN));
    assert_eq!(json["summaryQuery"], "request.path == \"/login\"");
    assert_eq!(json["methodQuery"], "request.method == \"POST\"");
    assert_eq!(json["statusQuery"], "response.status == 302");
    assert_eq!(json["src"]["processPath"], Json::Null);
    let odd = parse(&base_json(&entry(b"GET /a\"b\\c HTTP/1.1\r\n\r\n", b""), &OPEN));
    assert_eq!(odd["summaryQuery"], r#"request.path == "/a\"b\\c""#);
    assert_eq!(odd["statusQuery"], "");
}

#[test]
fn no_form_shows_a_secret_to_a_viewer() {
    let entry = plain();
    for text in [full_json(&entry, &CLOSED), base_json(&entry, &CLOSED), detail_json(&entry, &CLOSED)] {
        for secret in ["hunter2", "s3cr3t", "abc123", "pw0", "c0de", "n3w", "t0k", "p1", "aGVsbG8="] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let json = parse(&full_json(&entry, &CLOSED));
    assert_eq!(json["request"]["headers"]["Authorization"], REDACTED);
    assert_eq!(json["request"]["cookies"]["sid"], REDACTED);
    assert_eq!(json["request"]["queryString"]["token"], REDACTED);
    assert_eq!(json["request"]["queryString"]["user"], "x");
    assert_eq!(json["request"]["url"], "/login?user=x&token=[REDACTED]");
    assert_eq!(json["request"]["headers"]["Host"], "a");
    assert_eq!(json["response"]["content"]["size"], 5);
    assert_eq!(json["redacted"], true);
}

#[test]
fn details_have_sections_with_selectors() {
    let json = parse(&detail_json(&plain(), &OPEN));
    let titles = |side: &str| -> Vec<String> {
        let sections = json["representation"][side].as_array().expect("a list");
        sections.iter().map(|section| section["title"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(
        titles("request"),
        [
            "Details",
            "Path Segments",
            "Headers",
            "Cookies",
            "Query String",
            "POST Data (parameters)",
            "POST Data"
        ]
    );
    assert_eq!(titles("response"), ["Details", "Headers", "Cookies", "Body"]);
    let headers = &json["representation"]["request"][2]["tableData"];
    assert!(headers.as_array().expect("a list").iter().any(|row| {
        row["name"] == "Host" && row["value"] == "a" && row["selector"] == "request.headers[\"Host\"]"
    }));
    assert_eq!(json["representation"]["response"][3]["encoding"], "base64");
    assert_eq!(json["base"]["id"], json["data"]["id"]);
}

/// What a viewer sees of an entry, in every form.
fn seen_by_a_viewer(entry: &Entry) -> [String; 3] {
    [full_json(entry, &CLOSED), base_json(entry, &CLOSED), detail_json(entry, &CLOSED)]
}

fn assert_hidden(entry: &Entry, secrets: &[&str]) {
    let open = full_json(entry, &OPEN);
    for secret in secrets {
        assert!(open.contains(secret), "{secret} is not even there: {open}");
        for text in seen_by_a_viewer(entry) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn documents_and_variables_of_graphql_are_hidden_in_bodies_and_urls() {
    let body = r#"{"query":"mutation Login($p: String!) { login(name: \"docname1\", password: $p) { id } }","variables":{"p":"varsec1"}}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nAuthorization: Bearer headsec1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = r#"{"data":null,"errors":[{"message":"errsec1 is no password"}]}"#;
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    let posted = entry(request.as_bytes(), response.as_bytes());
    assert_eq!(posted.protocol.as_str(), "gqlv1");
    assert_hidden(&posted, &["docname1", "varsec1", "headsec1", "errsec1"]);
    let json = parse(&full_json(&posted, &CLOSED));
    assert_eq!(json["request"]["graphql"]["operationName"], "Login");
    assert_eq!(json["response"]["graphql"]["errorCount"], 1);

    let asked = entry(
        b"GET /graphql?query=query%20Q%7Bu(n:%22docname2%22)%7Bid%7D%7D&variables=%7B%22p%22:%22varsec2%22%7D HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert_hidden(&asked, &["docname2", "varsec2"]);
    let json = parse(&full_json(&asked, &CLOSED));
    assert_eq!(json["request"]["url"], "/graphql?[REDACTED]");
    assert_eq!(json["request"]["path"], "/graphql");
    // Another site's page may link to it.
    let linked = entry(b"GET /x HTTP/1.1\r\nReferer: /graphql?variables=varsec3\r\n\r\n", b"");
    assert_hidden(&linked, &["varsec3"]);
}

#[test]
fn payloads_of_websocket_and_credentials_of_its_handshake_are_hidden() {
    let request = b"GET /chat?token=urlsec1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: sid=cooksec1\r\n\r\n\x81\x87\0\0\0\0paysec1\x88\x89\0\0\0\0\x03\xe8whysec1";
    let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x07anssec1";
    let calls = exchanges(request, response);
    assert_eq!(calls.len(), 4, "{calls:?}");
    let entries: Vec<Entry> = calls.into_iter().map(around).collect();
    for (entry, secrets) in
        entries.iter().zip([["urlsec1", "cooksec1"], ["urlsec1", "paysec1"], ["urlsec1", "whysec1"]])
    {
        assert_hidden(entry, &secrets);
    }
    assert_hidden(&entries[3], &["anssec1"]);
    let json = parse(&full_json(&entries[1], &CLOSED));
    assert_eq!((&json["request"]["opcode"], &json["request"]["path"]), (&"text".into(), &"/chat".into()));
}

#[test]
fn metadata_and_messages_of_grpc_are_hidden() {
    let body = b"\0\0\0\0\x09\x0a\x07msgsec1";
    let head = format!(
        "POST /shop.Cart/Add HTTP/1.1\r\nContent-Type: application/grpc-web+proto\r\nAuthorization: Bearer metasec1\r\nx-auth-token: metasec2\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = b"\0\0\0\0\x09\x0a\x07anssec1\x80\0\0\0\x21grpc-status:0\r\nx-token:trailsec1\r\n";
    let granted = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    let call = entry(&[head.as_bytes(), body].concat(), &[granted.as_bytes(), answer].concat());
    assert_eq!(call.protocol.as_str(), "grpcweb1");
    assert_hidden(&call, &["msgsec1", "metasec1", "metasec2", "anssec1", "trailsec1"]);
    let json = parse(&full_json(&call, &CLOSED));
    assert_eq!(json["request"]["grpc"]["method"], "Add");
    assert_eq!(json["response"]["grpc"]["statusName"], "OK");
}
