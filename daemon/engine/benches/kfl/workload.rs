//! What KFL is measured with: calls that came out of the dissector, and ten typical filters.

use std::sync::Arc;

use remora_engine::dissect::{Carrier, End, Input, Session, Transaction};
use remora_engine::limits::Limits;
use remora_engine::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Direction, Entry, EntryId, NodeInfo, Peer, Process,
    SocketCookie, Timestamp,
};

/// A filter in KFL and, for the comparison, in CEL and jq over the full entry's JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) kfl: &'static str,
    /// `None` where the language has no such function.
    #[allow(dead_code, reason = "only the comparison reads it")]
    pub(crate) cel: Option<&'static str>,
    #[allow(dead_code, reason = "only the comparison reads it")]
    pub(crate) jq: &'static str,
}

/// The ten filters.
pub(crate) const CASES: [Case; 10] = [
    Case {
        kfl: "http && status_code >= 500",
        cel: Some(r#"protocol["macro"] == "http" && response.status >= 500"#),
        jq: r#".protocol.macro == "http" and .response.status >= 500"#,
    },
    Case {
        kfl: r#"http && method == "POST" && path.startsWith("/api/")"#,
        cel: Some(
            r#"protocol["macro"] == "http" && request.method == "POST" && request.path.startsWith("/api/")"#,
        ),
        jq: r#".protocol.macro == "http" and .request.method == "POST" and (.request.path | startswith("/api/"))"#,
    },
    Case {
        kfl: "dst.port == 80 || dst.port == 443 || dst.port == 8080",
        cel: Some(r#"dst.port == "80" || dst.port == "443" || dst.port == "8080""#),
        jq: r#".dst.port == "80" or .dst.port == "443" or .dst.port == "8080""#,
    },
    Case {
        kfl: r#"src.ip.startsWith("192.168.")"#,
        cel: Some(r#"src.ip.startsWith("192.168.")"#),
        jq: r#".src.ip | startswith("192.168.")"#,
    },
    Case {
        kfl: r#"request.headers["content-type"] == "application/json""#,
        cel: Some(
            r#""Content-Type" in request.headers && request.headers["Content-Type"] == "application/json""#,
        ),
        jq: r#".request.headers["Content-Type"] == "application/json""#,
    },
    Case {
        kfl: r#"src.processName in ["curl", "wget"] && elapsedTime > 20"#,
        cel: Some(r#"src.processName in ["curl", "wget"] && elapsedTime > 20"#),
        jq: r#"((.src.processName == "curl") or (.src.processName == "wget")) and .elapsedTime > 20"#,
    },
    Case {
        kfl: r#"http && path.contains("/users") && !path.contains("/health")"#,
        cel: Some(
            r#"protocol["macro"] == "http" && request.path.contains("/users") && !request.path.contains("/health")"#,
        ),
        jq: r#".protocol.macro == "http" and (.request.path | contains("/users")) and (.request.path | contains("/health") | not)"#,
    },
    Case {
        kfl: r#"http && url.matches("/api/v[0-9]+/users")"#,
        cel: Some(r#"protocol["macro"] == "http" && request.url.matches("/api/v[0-9]+/users")"#),
        jq: r#".protocol.macro == "http" and (.request.url | test("/api/v[0-9]+/users"))"#,
    },
    Case {
        kfl: r#"response.body.contains("out of stock")"#,
        cel: Some(r#"response.content.text.contains("out of stock")"#),
        jq: r#".response.content.text | contains("out of stock")"#,
    },
    Case {
        kfl: r"response.body.json().user.id == 7",
        cel: None,
        jq: r".response.content.text | try fromjson catch null | .user?.id? == 7",
    },
];

/// Calls as a small shop has them: eight, all answered.
pub(crate) fn entries() -> Vec<Entry> {
    let filler = "\"note\":\"lorem ipsum dolor sit amet\",".repeat(25);
    let user = format!("{{{filler}\"user\":{{\"id\":7,\"name\":\"ann\"}}}}");
    let stock = format!("{{{filler}\"error\":\"out of stock\"}}");
    let json = "Content-Type: application/json\r\n";
    vec![
        entry(0, "GET", "/api/v1/users/7?verbose=1", "", 200, &user, 36),
        entry(1, "POST", "/api/v2/orders", json, 500, &stock, 120),
        entry(2, "GET", "/health", "", 200, "ok", 1),
        entry(3, "GET", "/static/app.js", "", 304, "", 3),
        entry(4, "POST", "/api/v1/users", json, 201, &user, 51),
        entry(5, "DELETE", "/api/v1/carts/3", "", 204, "", 9),
        entry(6, "GET", "/catalogue?page=2&size=20", "", 200, &stock, 77),
        entry(7, "PUT", "/api/v1/users/9", json, 409, "{\"user\":{\"id\":9}}", 22),
    ]
}

fn entry(number: u8, method: &str, url: &str, headers: &str, status: u16, body: &str, millis: u64) -> Entry {
    let sent = if method.starts_with('P') { "{\"a\":{\"b\":5}}" } else { "" };
    let request = format!(
        "{method} {url} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: */*\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef; theme=dark\r\n{headers}\
         Content-Length: {}\r\n\r\n{sent}",
        sent.len()
    );
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let response = format!(
        "HTTP/1.1 {status} X\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\n\
         Content-Type: application/json\r\n{length}\r\n{body}"
    );
    let call = exchange(request.as_bytes(), response.as_bytes(), millis);
    let host = if number.is_multiple_of(2) { [192, 168, 1, 5] } else { [10, 1, 2, number] };
    let peer = |ip: [u8; 4], port, name: &str, pid| Peer {
        addr: AddrPort::new(ip.into(), port),
        socket: SocketCookie(u64::from(number) + 1),
        name: name.into(),
        process: Some(Arc::new(Process {
            pid,
            ppid: 1,
            name: name.into(),
            exe: "/usr/bin/x".into(),
            ..Process::default()
        })),
        ..Peer::default()
    };
    Entry {
        id: EntryId { node: "web-1".into(), stream: "1f-3".into(), index: u64::from(number) },
        seq: 900,
        protocol: call.protocol,
        node: Arc::new(NodeInfo { name: "web-1".into(), ip: [10, 0, 25, 170].into() }),
        src: peer(host, 36848, if number < 4 { "curl" } else { "front-end" }, 4711),
        dst: peer([10, 0, 0, 7], if number < 6 { 8080 } else { 9000 }, "payment", 80),
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
        connection: ConnectionId(42),
        capture: CaptureInfo { source: CaptureSource::Ebpf, seen_at: "both".into() },
    }
}

fn exchange(request: &[u8], response: &[u8], millis: u64) -> Transaction {
    let limits = Limits::default();
    let mut session = Session::new(Carrier::Stream, 80, true);
    let mut out = Vec::new();
    let start = 1_773_526_500_000_000_000;
    let end = Timestamp(start + millis * 1_000_000);
    session.feed(Direction::ToServer, Input::Bytes(request), Timestamp(start), &limits, &mut out);
    session.feed(Direction::ToClient, Input::Bytes(response), end, &limits, &mut out);
    session.close(End::Closed, end, &limits, &mut out);
    assert_eq!(out.len(), 1, "one call");
    out.remove(0)
}
