//! Issue 6: calls in TLS are seen in clear text, on the right connection, once.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Daemon, Nginx, curl, free_port, until};
use crate::tls_stacks::settled;

/// How long to watch for an entry that must not come.
const QUIET: Duration = Duration::from_millis(1500);

const NAME: &str = "api.example.test";

/// What is asked for until it is seen.
const READY: &str = "/echo/ready";

/// An nginx that serves TLS as [`NAME`], with a certificate that nobody trusts.
pub(crate) struct Https {
    nginx: Nginx,
    pub(crate) port: u16,
    _keys: TempDir,
}

impl Https {
    pub(crate) fn start() -> Self {
        let keys = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| keys.path().join(name).display().to_string();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", &format!("/CN={NAME}"), "-keyout", &key, "-out", &certificate])
            .output()
            .expect("run openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let nginx = Nginx::start(&format!(
            "listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};
             ssl_protocols TLSv1.2 TLSv1.3;
             location /echo/ {{ default_type text/plain; return 200 \"$request_uri from $http_x_port\"; }}"
        ));
        Self { nginx, port, _keys: keys }
    }

    pub(crate) fn curl(&self, options: &[&str], path: &str) {
        let resolve = format!("{NAME}:{}:127.0.0.1", self.port);
        let url = format!("https://{NAME}:{}{path}", self.port);
        let base = ["-k", "--noproxy", "*", "--http1.1", "--resolve", resolve.as_str()];
        curl(&[&base, options, &[url.as_str()]].concat());
    }

    /// Calls until the daemon shows one whole: its probes are where they must be.
    pub(crate) fn await_probes(&self, daemon: &Daemon) {
        settled(daemon);
        await_call(daemon, &format!("{} and path == \"{READY}\"", self.all()), || self.curl(&[], READY));
    }

    /// All calls but those of [`Https::await_probes`], of which some may be shown late.
    pub(crate) fn calls(&self) -> String {
        format!("{} and not (path == \"{READY}\")", self.all())
    }

    fn all(&self) -> String {
        format!("tls and http and dst.port == {} and state == \"ended\"", self.port)
    }
}

/// Calls until one that fits the filter is shown whole.
fn await_call(daemon: &Daemon, filter: &str, mut call: impl FnMut()) {
    let mut feed = daemon.feed(filter);
    until("a call that is seen whole", || {
        call();
        let entry = feed.next_within(Duration::from_millis(500))?;
        (entry["error"].is_null() && entry["response"]["status"] == 200).then_some(())
    });
}

pub(crate) fn path_of(entry: &Value) -> &str {
    entry["request"]["path"].as_str().unwrap_or_default()
}

pub(crate) fn body_of(entry: &Value) -> String {
    use base64::Engine;
    let text = entry["response"]["content"]["text"].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A Python program that is told what to do line by line, and says when it has done it.
struct Python {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Python {
    fn start(program: &str, port: u16) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-u", "-c", program, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let answers = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, answers }
    }

    /// Gives it a line and waits for its answer.
    fn tell(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("stdin"), "{line}").expect("tell python");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("python's answer");
        answer.trim().to_owned()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn root_encrypted_connections_show_what_their_handshake_tells() {
    let https = Https::start();
    let daemon = Daemon::start();
    // The server's half of the handshake is read after the client's.
    let is_whole = |flow: &&Value| flow["tls"]["cipherSuite"].as_str().is_some_and(|suite| !suite.is_empty());
    let flow = until("the flow", || {
        // What is over is forgotten some seconds later.
        https.curl(&["--tls-max", "1.2"], "/echo/a");
        let flows = daemon.data(&format!("/api/v1/flows?port={}", https.port));
        flows["flows"].as_array()?.iter().find(is_whole).cloned()
    });
    let tls = &flow["tls"];
    assert_eq!((&tls["sni"], &tls["version"]), (&NAME.into(), &"TLS 1.2".into()));
    assert_eq!(
        (&tls["alpn"], tls["cipherSuite"].as_str().map(|suite| &suite[..10])),
        (&"http/1.1".into(), Some("TLS_ECDHE_"))
    );
    assert!(tls["ja4"].as_str().is_some_and(|ja4| ja4.starts_with("t12d")), "{tls}");
}

#[test]
fn root_a_call_over_https_is_one_entry_that_names_its_tls() {
    let https = Https::start();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&https.calls());
    https.await_probes(&daemon);
    https.curl(&["-H", "X-Port: 7", "-d", "sent=1"], "/echo/one?a=1");
    let entry = feed.next();
    assert_eq!((path_of(&entry), &entry["request"]["method"]), ("/echo/one", &"POST".into()));
    assert_eq!(body_of(&entry), "/echo/one?a=1 from 7");
    assert_eq!((&entry["tls"], &entry["error"]), (&true.into(), &Value::Null));
    assert_eq!(
        (&entry["capture"]["source"], &entry["capture"]["witness"]),
        (&"ebpf_tls".into(), &"in_call".into())
    );
    let tls = &entry["tlsInfo"];
    assert_eq!(
        (&tls["sni"], &tls["version"], &tls["alpn"]),
        (&NAME.into(), &"TLS 1.3".into(), &"http/1.1".into())
    );
    assert_eq!(tls["library"], "openssl");
    assert_eq!(
        (&entry["src"]["processName"], &entry["dst"]["processName"]),
        (&"curl".into(), &"nginx".into())
    );
    assert!(feed.is_quiet(QUIET), "both ends are read, and the call came twice");
}

#[test]
fn root_http2_inside_tls_is_an_entry_per_call() {
    let https = Https::start();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&https.calls());
    https.await_probes(&daemon);
    https.curl(&["--http2"], "/echo/two");
    let entry = feed.next();
    assert_eq!((path_of(&entry), entry["response"]["status"].as_i64()), ("/echo/two", Some(200)));
    assert_eq!((&entry["protocol"]["abbr"], &entry["tls"]), (&"HTTP/2".into(), &true.into()));
    assert_eq!((&entry["tlsInfo"]["alpn"], &entry["tlsInfo"]["sni"]), (&"h2".into(), &NAME.into()));
    assert!(feed.is_quiet(QUIET), "both ends are read, and the call came twice");
}

#[test]
fn root_large_bodies_over_https_come_whole() {
    let https = Https::start();
    let body: Vec<u8> = (0..700_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    https.nginx.file("large.txt", &body);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&https.calls());
    https.await_probes(&daemon);
    https.curl(&["-o", "/dev/null"], "/large.txt");
    let entry = feed.next();
    assert_eq!(path_of(&entry), "/large.txt");
    assert_eq!(body_of(&entry).as_bytes(), body, "events: {}", entry["events"]);
}

/// Connections at the same time, each with a path of its own and its port in a header.
const THREADS: &str = r#"
import socket, ssl, sys, threading
port = int(sys.argv[1])
context = ssl._create_unverified_context()
def call(n):
    plain = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="api.example.test") as tls:
        own = plain.getsockname()[1] if plain.fileno() >= 0 else tls.getsockname()[1]
        for half in ("a", "b"):
            tls.sendall(b"GET /echo/%d-%s HTTP/1.1\r\nHost: x\r\nX-Port: %d\r\n\r\n" % (n, half.encode(), own))
            tls.recv(65536)
            if half == "a":
                gate.wait()
gate = None
for line in sys.stdin:
    first, count = map(int, line.split())
    gate = threading.Barrier(count)
    threads = [threading.Thread(target=call, args=(n,)) for n in range(first, first + count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print("done")
"#;

/// The same with asyncio, which reads and writes sockets apart from the TLS library (memory BIOs).
const ASYNCIO: &str = r#"
import asyncio, ssl, sys
port = int(sys.argv[1])
context = ssl._create_unverified_context()
async def call(n):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="api.example.test")
    own = writer.get_extra_info("sockname")[1]
    for half in ("a", "b"):
        writer.write(b"GET /echo/%d-%s HTTP/1.1\r\nHost: x\r\nX-Port: %d\r\n\r\n" % (n, half.encode(), own))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
async def all(first, count):
    await asyncio.gather(*(call(n) for n in range(first, first + count)))
for line in sys.stdin:
    first, count = map(int, line.split())
    asyncio.run(all(first, count))
    print("done")
"#;

/// Every call came out once, with the answer to it, on the connection that it was made on.
fn assert_not_mixed(entries: &[Value], calls: usize) {
    let mut ports: HashMap<String, u64> = HashMap::new();
    let mut seen = HashMap::new();
    for entry in entries {
        let path = path_of(entry);
        *seen.entry(path.to_owned()).or_insert(0) += 1;
        let port = entry["src"]["port"].as_str().expect("a port");
        assert_eq!(entry["request"]["headers"]["X-Port"], port, "{path} is on another connection");
        assert_eq!(body_of(entry), format!("{path} from {port}"), "{path} has another answer");
        let (connection, _) = path.rsplit_once('-').expect("a path");
        let id = entry["connection"].as_u64().expect("a connection");
        assert_eq!(*ports.entry(connection.to_owned()).or_insert(id), id, "{path} is on two connections");
    }
    assert!(seen.values().all(|count| *count == 1), "doubled");
    assert_eq!(seen.len(), calls);
}

fn many_connections(program: &str, batch: usize, total: usize) {
    let https = Https::start();
    let daemon = Daemon::start();
    https.await_probes(&daemon);
    let mut python = Python::start(program, https.port);
    // The process must be found before its calls count; of those before that, some may be shown late.
    let before = "path.startsWith(\"/echo/0-\")";
    await_call(&daemon, &format!("{} and {before}", https.calls()), || {
        assert_eq!(python.tell("0 1"), "done");
    });
    let mut feed = daemon.feed(&format!("{} and not ({before})", https.calls()));
    let mut entries = Vec::new();
    for first in (0..total).step_by(batch) {
        assert_eq!(python.tell(&format!("{} {batch}", first + 1)), "done");
        entries.extend(feed.take(2 * batch));
    }
    assert_not_mixed(&entries, 2 * total);
    assert!(feed.is_quiet(QUIET), "more calls than were made");
}

#[test]
fn root_a_thousand_https_connections_of_one_process_never_mix() {
    many_connections(THREADS, 200, 1000);
}

#[test]
fn root_connections_through_memory_buffers_never_mix() {
    many_connections(ASYNCIO, 100, 500);
}

#[test]
fn root_a_connection_that_is_older_than_the_daemon_is_read() {
    const CLIENT: &str = r#"
import socket, ssl, sys
tls = ssl._create_unverified_context().wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
for line in sys.stdin:
    tls.sendall(b"GET /echo/%s HTTP/1.1\r\nHost: x\r\n\r\n" % line.strip().encode())
    tls.recv(65536)
    print("done")
"#;
    let https = Https::start();
    let mut python = Python::start(CLIENT, https.port);
    assert_eq!(python.tell("before"), "done");
    let daemon = Daemon::start();
    settled(&daemon);
    let mut feed = daemon.feed(&https.calls());
    // A read that waited when the probes came is not seen: what it gets may be missing from one call.
    let entry = until("a call on the old connection", || {
        assert_eq!(python.tell("later"), "done");
        feed.next_within(Duration::from_millis(500)).filter(|entry| entry["error"].is_null())
    });
    assert_eq!((path_of(&entry), entry["response"]["status"].as_i64()), ("/echo/later", Some(200)));
    assert_eq!((&entry["tls"], &entry["tlsInfo"]["sni"]), (&true.into(), &"".into()));
}
