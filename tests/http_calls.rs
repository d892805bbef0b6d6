//! Issue 2, points 2 and 4: each real call is one entry, whatever its framing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, Feed, Netns, Nginx, Options, PythonServer, client, curl, free_port, until};

/// How long to watch for an entry that must not come.
const QUIET: Duration = Duration::from_millis(400);

fn to_port(port: u16) -> String {
    format!("http and dst.port == {port}")
}

fn path_of(entry: &Value) -> &str {
    entry["request"]["path"].as_str().unwrap_or_default()
}

fn status_of(entry: &Value) -> i64 {
    entry["response"]["status"].as_i64().unwrap_or_default()
}

fn body_of(entry: &Value) -> Vec<u8> {
    use base64::Engine;
    let text = entry["response"]["content"]["text"].as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

fn has_event(entry: &Value, name: &str) -> bool {
    entry["events"].as_array().is_some_and(|events| events.iter().any(|event| event["type"] == name))
}

#[test]
fn root_a_curl_is_one_entry_within_fifty_milliseconds() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    let mut call = || {
        curl(&[&nginx.url("/index.html")]);
        let done = Instant::now();
        let entry = feed.next();
        assert_eq!(path_of(&entry), "/index.html");
        assert_eq!(status_of(&entry), 200);
        assert_eq!(body_of(&entry), b"hello from nginx\n");
        assert_eq!(entry["error"], Value::Null);
        done.elapsed()
    };
    // The median of several calls: one of them may meet a busy machine. So may all of them, for a while.
    until("a median delay below 50 ms", || {
        let mut delays: Vec<Duration> = (0..9).map(|_| call()).collect();
        delays.sort_unstable();
        (delays[4] < Duration::from_millis(50)).then_some(())
    });
    assert!(feed.is_quiet(QUIET), "one call gave more than one entry");
}

#[test]
fn root_base_entries_come_over_tcp_and_unix() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut over_tcp = Feed::open(client::tcp(daemon.tcp), "/api/ws", &to_port(nginx.port));
    let mut over_unix = Feed::open(client::unix(&daemon.socket()), "/api/ws", &to_port(nginx.port));
    curl(&[&nginx.url("/index.html?a=1")]);
    for feed in [&mut over_tcp, &mut over_unix] {
        let entry = feed.next();
        assert_eq!(entry["method"], "GET");
        assert_eq!(entry["summary"], "/index.html");
        assert_eq!(entry["status"], 200);
        assert_eq!(entry["methodQuery"], "request.method == \"GET\"");
        assert_eq!(entry["proto"]["abbr"], "HTTP");
        assert!(entry.get("request").is_none(), "base entries carry no payload");
    }
}

#[test]
fn root_keep_alive_calls_are_an_entry_each_in_order() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    let urls: Vec<String> = (0..20).map(|n| nginx.url(&format!("/index.html?n={n}"))).collect();
    curl(&urls.iter().map(String::as_str).collect::<Vec<_>>());
    let entries = feed.take(20);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry["request"]["queryString"]["n"], n.to_string());
        assert_eq!(entry["stream"], entries[0]["stream"], "one connection is one stream");
        assert_eq!(entry["index"], n);
    }
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_pipelined_requests_meet_their_own_answers() {
    let nginx = Nginx::start(
        "location = /a { return 201 aa; } location = /b { return 404 b; } location = /c { return 200 ccc; }",
    );
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all((one("/a") + &one("/b") + &one("/c")).as_bytes()).expect("write");
    let entries = feed.take(3);
    let seen: Vec<_> = entries.iter().map(|entry| (path_of(entry), status_of(entry))).collect();
    assert_eq!(seen, [("/a", 201), ("/b", 404), ("/c", 200)]);
}

#[test]
fn root_codings_are_undone() {
    let text = "remora ".repeat(2000);
    let server = PythonServer::start(&coding_server(&text));
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(server.port));
    for coding in ["gzip", "deflate"] {
        curl(&["-o", "/dev/null", &format!("http://127.0.0.1:{}/{coding}", server.port)]);
        let entry = feed.next();
        assert_eq!(entry["response"]["headers"]["Content-Encoding"], coding);
        assert_eq!(body_of(&entry), text.as_bytes(), "{coding}");
        assert!(entry["response"]["bodySize"].as_u64().expect("bodySize") < 1000);
    }
}

fn coding_server(text: &str) -> String {
    format!(
        "import gzip, zlib, http.server
body = {text:?}.encode()
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        coded = gzip.compress(body) if self.path == '/gzip' else zlib.compress(body)
        self.send_response(200)
        self.send_header('Content-Encoding', self.path[1:])
        self.send_header('Content-Length', str(len(coded)))
        self.end_headers()
        self.wfile.write(coded)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_port)
s.serve_forever()"
    )
}

#[test]
fn root_chunked_and_until_close_bodies_are_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || {
        let answers = [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).expect("read") > 0);
            stream.write_all(answer.as_bytes()).expect("write");
        }
    });
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(port));
    let url = format!("http://127.0.0.1:{port}/x");
    curl(&[&url]);
    assert_eq!(body_of(&feed.next()), b"hello world");
    curl(&["--http1.0", &url]);
    let entry = feed.next();
    assert_eq!(body_of(&entry), b"until the end");
    assert_eq!(entry["response"]["httpVersion"], "HTTP/1.0");
    server.join().expect("server");
}

#[test]
fn root_head_204_304_and_expect_continue_have_the_right_bodies() {
    let nginx = Nginx::start(
        "if_modified_since before; location = /none { return 204; } location = /up { client_max_body_size 8m; proxy_pass http://127.0.0.1:1; }",
    );
    nginx.file("page.txt", b"some page\n");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    curl(&["-I", &nginx.url("/page.txt")]);
    let head = feed.next();
    assert_eq!((head["request"]["method"].as_str(), status_of(&head)), (Some("HEAD"), 200));
    assert!(body_of(&head).is_empty());
    curl(&[&nginx.url("/none")]);
    assert_eq!(status_of(&feed.next()), 204);
    curl(&["-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", &nginx.url("/page.txt")]);
    assert_eq!(status_of(&feed.next()), 304);
    curl(&["-H", "Expect: 100-continue", "--data-binary", &"x".repeat(100_000), &nginx.url("/up")]);
    let entry = feed.next();
    assert_eq!(status_of(&entry), 502, "the 100 is not taken for the answer");
    assert_eq!(entry["request"]["bodySize"], 100_000);
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_upgrade_is_one_entry_and_its_bytes_are_no_http() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).expect("read") > 0);
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            .expect("write");
        let length = stream.read(&mut request).expect("read");
        stream.write_all(&request[..length]).expect("echo");
    });
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(port));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream
        .write_all(b"GET /up HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        .expect("write");
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).expect("read") > 0);
    stream.write_all(b"\x81\x05hello not http").expect("write");
    assert!(stream.read(&mut answer).expect("read") > 0);
    let entry = feed.next();
    assert_eq!(status_of(&entry), 101);
    drop(stream);
    server.join().expect("server");
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_requests_without_answer_are_entries_with_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let daemon = Daemon::start_with(Options {
        config: "dissection.answer-timeout = \"2s\"".to_string(),
        ..Options::default()
    });
    let mut feed = daemon.feed(&to_port(port));
    let request = b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n";

    // Never answered: shown while it waits, and again when it is given up.
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (_held, _) = listener.accept().expect("accept");
    waiting.write_all(request).expect("write");
    let open = feed.frame();
    assert_eq!((&open["state"], &open["error"]), (&"open".into(), &Value::Null));
    let entry = feed.frame();
    assert_eq!((&entry["id"], &entry["state"]), (&open["id"], &"ended".into()));
    assert_eq!(entry["error"]["type"], "timeout");
    assert_eq!(entry["response"], Value::Null);

    // Reset: the server closes with the request unread in its buffer.
    let mut reset = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    reset.write_all(b"GET /reset HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    let (peer, _) = listener.accept().expect("accept");
    until("the request to arrive", || peer.peek(&mut [0; 8]).ok().filter(|length| *length > 0));
    drop(peer);
    let entry = feed.next();
    assert_eq!(entry["error"]["type"], "connection");
    assert_eq!(path_of(&entry), "/reset");
    assert!(entry["error"]["msg"].as_str().expect("msg").contains("reset"), "{}", entry["error"]);

    // Closed in order, but without an answer.
    let mut closed = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (mut peer, _) = listener.accept().expect("accept");
    closed.write_all(b"GET /closed HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    assert!(peer.read(&mut [0; 512]).expect("read") > 0);
    peer.shutdown(Shutdown::Both).expect("shutdown");
    drop((peer, closed));
    let entry = feed.next();
    assert_eq!(entry["error"]["type"], "connection");
    assert_eq!(path_of(&entry), "/closed");
}

#[test]
fn root_calls_under_way_when_the_daemon_starts_are_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (mut peer, _) = listener.accept().expect("accept");
    stream.write_all(b"GET /before HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    assert!(peer.read(&mut [0; 512]).expect("read") > 0);

    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(port));
    peer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").expect("write");
    stream.read_exact(&mut [0; 40]).expect("read");
    let entry = feed.next();
    assert_eq!(status_of(&entry), 202, "{entry}");
    assert_eq!(entry["request"], Value::Null);

    stream.write_all(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    assert!(peer.read(&mut [0; 512]).expect("read") > 0);
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("write");
    let entry = feed.next();
    assert_eq!((path_of(&entry), status_of(&entry)), ("/after", 200));
    assert_eq!(entry["dst"]["port"], port.to_string());
}

#[test]
fn root_ipv6_calls_are_seen_once() {
    let nginx = Nginx::start_in(None, "[::1]", free_port(), "");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    curl(&[&format!("http://[::1]:{}/index.html", nginx.port)]);
    let entry = feed.next();
    assert_eq!(entry["src"]["ip"], "::1");
    assert_eq!(entry["dst"]["ip"], "::1");
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_namespaces_joined_by_veth_give_one_entry_with_both_processes() {
    let (left, right) = (Netns::new(), Netns::new());
    let (_, server_ip) = Netns::join(&left, &right, "10.83.7");
    let nginx = Nginx::start_in(Some(&right), &server_ip, 8081, "");
    let daemon = Daemon::start();
    let mut feed = daemon.feed("http and dst.ip == \"10.83.7.2\"");
    left.run(
        "curl",
        &["-sS", "--retry", "5", "--retry-connrefused", &format!("http://{server_ip}:8081/index.html")],
    );
    let entry = feed.next();
    assert_eq!(status_of(&entry), 200);
    assert_eq!(entry["src"]["processName"], "curl");
    assert_eq!(entry["dst"]["processName"], "nginx");
    assert_eq!(entry["src"]["ip"], "10.83.7.1");
    assert!(feed.is_quiet(QUIET), "seen at both ends, shown once");
    drop(nginx);
}

#[test]
fn root_the_same_tuple_in_two_namespaces_is_two_calls() {
    let spaces = [Netns::new(), Netns::new()];
    let servers: Vec<Nginx> = spaces
        .iter()
        .enumerate()
        .map(|(n, space)| {
            Nginx::start_in(
                Some(space),
                "127.0.0.1",
                8082,
                &format!("location = /who {{ return 200 space{n}; }}"),
            )
        })
        .collect();
    let daemon = Daemon::start();
    let mut feed = daemon.feed("http and dst.port == 8082");
    for space in &spaces {
        space.run(
            "curl",
            &[
                "-sS",
                "--retry",
                "5",
                "--retry-connrefused",
                "--local-port",
                "45678",
                "http://127.0.0.1:8082/who",
            ],
        );
    }
    let bodies: Vec<Vec<u8>> = feed.take(2).iter().map(body_of).collect();
    assert!(bodies.contains(&b"space0".to_vec()) && bodies.contains(&b"space1".to_vec()));
    assert!(feed.is_quiet(QUIET));
    drop(servers);
}

#[test]
fn root_a_server_behind_nat_is_one_entry_with_both_addresses() {
    let space = Netns::new();
    space.run("nft", &["add", "table", "ip", "nat"]);
    space.run("nft", &["add chain ip nat output { type nat hook output priority -100 ; }"]);
    space.run("nft", &["add rule ip nat output tcp dport 7031 dnat to 127.0.0.1:7001"]);
    let nginx = Nginx::start_in(Some(&space), "127.0.0.1", 7001, "");
    let daemon = Daemon::start();
    // Tests run side by side, so the filter is for this call; both ports, so that a second entry shows.
    let ports = "(dst.port == 7031 or dst.port == 7001)";
    let mut feed = daemon.feed(&format!("http and src.process.name == \"curl\" and {ports}"));
    space.run("curl", &["-sS", "--retry", "5", "--retry-connrefused", "http://127.0.0.1:7031/index.html"]);
    let entry = feed.next();
    assert_eq!(status_of(&entry), 200);
    assert_eq!(entry["dst"]["port"], "7031", "the address that the client named");
    assert_eq!(entry["dst"]["translated"]["port"], "7001", "the address that was reached");
    assert_eq!(entry["dst"]["processName"], "nginx");
    assert!(feed.is_quiet(QUIET));
    drop(nginx);
}

#[test]
fn root_large_bodies_are_cut_visibly_at_the_limit() {
    let nginx = Nginx::start("");
    nginx.file("big.bin", &vec![b'x'; 10 << 20]);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(nginx.port));
    // A second's worth for a reader that waits for its turn at a processor fits into the ring.
    curl(&["--limit-rate", "10M", "-o", "/dev/null", &nginx.url("/big.bin")]);
    let entry = feed.next();
    assert_eq!(status_of(&entry), 200);
    assert_eq!(entry["response"]["bodySize"], 10 << 20);
    assert_eq!(body_of(&entry).len(), 1 << 20);
    assert!(has_event(&entry, "response_truncated"), "{}", entry["events"]);
    assert!(!has_event(&entry, "gap_in_response"), "nothing may be lost at this rate: {}", entry["events"]);
}

#[test]
fn root_ten_thousand_connections_at_once_give_ten_thousand_entries() {
    const COUNT: usize = 10_000;
    let server = PythonServer::start(MANY_SERVER);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&to_port(server.port));
    let port = server.port.to_string();
    let mut client = std::process::Command::new("/usr/bin/python3")
        .args(["-c", MANY_CLIENT, &port, &COUNT.to_string()])
        .spawn()
        .expect("client");
    let mut seen = std::collections::HashSet::new();
    for n in 0..COUNT {
        let entry = feed.next_within(Duration::from_secs(20)).unwrap_or_else(|| {
            panic!("{n} of {COUNT} entries came: {}", daemon.get("/api/v1/status").text());
        });
        assert_eq!(status_of(&entry), 200, "{entry}");
        let path = path_of(&entry).to_string();
        let echoed = String::from_utf8(body_of(&entry)).expect("text");
        assert_eq!(path, echoed, "a request met another connection's answer");
        assert!(seen.insert(path), "a call came twice");
    }
    assert!(feed.is_quiet(QUIET));
    assert!(client.wait().expect("client").success());
}

/// Answers each request with its path, on any number of connections.
const MANY_SERVER: &str = "
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b'\\r\\n\\r\\n')
            path = head.split(b' ')[1]
            writer.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(path) + path)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', 0, backlog=16384)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
";

/// Opens all connections first, then sends one request on each and reads all answers.
const MANY_CLIENT: &str = "
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
port, count = int(sys.argv[1]), int(sys.argv[2])
async def main():
    gate = asyncio.Semaphore(200)
    async def open_one():
        async with gate:
            return await asyncio.open_connection('127.0.0.1', port)
    pairs = await asyncio.gather(*[open_one() for _ in range(count)])
    for n, (reader, writer) in enumerate(pairs):
        writer.write(b'GET /call/%d HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' % n)
        if n % 200 == 0:
            await asyncio.sleep(0)
    for n, (reader, writer) in enumerate(pairs):
        await reader.readuntil(b'\\r\\n\\r\\n')
    for reader, writer in pairs:
        writer.close()
asyncio.run(main())
";
