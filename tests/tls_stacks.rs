//! Issue 6: the TLS stacks that people run, each at both ends of real calls; what is seen makes up the
//! coverage table of docs/tls.md.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::tls::{Client, Keys, Program, Server, first_line, nginx_tls, source};
use crate::support::wait::until_within;
use crate::support::{Daemon, Feed, free_port, until};
use crate::tls::{body_of, path_of};

/// How long to watch for an entry that must not come.
const QUIET: Duration = Duration::from_millis(1500);

/// How long the daemon may take to find a process's TLS: a program that needs more than its first 700 ms to load
/// its libraries, and uses no socket then, is found when all processes are looked at, every 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A TLS stack as the coverage table has it.
struct Stack {
    /// First cell of its row.
    name: &'static str,
    /// Says the version of what is tested.
    version: &'static [&'static str],
    start: fn(&Keys) -> Server,
    asker: Asker,
    /// HTTP versions that its peers speak.
    speaks: &'static [u8],
    status: u64,
    library: &'static str,
    /// Names of the client's and the server's process.
    names: (&'static str, &'static str),
}

#[derive(Clone, Copy)]
enum Asker {
    /// A client that lives on.
    Told(fn(&Keys) -> Program),
    /// A program per call; gives the body that it got.
    Tool(fn(u16, u8, &str) -> String),
}

impl Stack {
    /// Of the client, if it lives on, else of the server.
    fn main_library(&self) -> &'static str {
        self.library.split(" or ").next().unwrap_or(self.library)
    }
}

const STACKS: &[Stack] = &[
    Stack {
        name: "curl and nginx (OpenSSL, shared)",
        version: &["openssl", "version"],
        start: nginx,
        asker: Asker::Tool(curl),
        speaks: &[1, 2],
        status: 203,
        library: "openssl",
        names: ("curl", "nginx"),
    },
    Stack {
        name: "Python `http.client` and `http.server` (OpenSSL, shared)",
        version: &["/usr/bin/python3", "--version"],
        start: |keys| Program::python().serve(keys),
        asker: Asker::Told(|_| Program::python()),
        speaks: &[1],
        status: 203,
        library: "openssl",
        names: ("python3", "python3"),
    },
    Stack {
        name: "Python `asyncio` (OpenSSL, shared, through memory)",
        version: &["/usr/bin/python3", "--version"],
        start: |keys| Program::asyncio().serve(keys),
        asker: Asker::Told(|_| Program::asyncio()),
        speaks: &[1],
        status: 203,
        library: "openssl",
        names: ("python3", "python3"),
    },
    Stack {
        name: "Node.js `https` and `http2` (OpenSSL in the executable)",
        version: &["node", "--version"],
        start: |keys| Program::node().serve(keys),
        asker: Asker::Told(|_| Program::node()),
        speaks: &[1, 2],
        status: 203,
        library: "openssl",
        names: ("node", "node"),
    },
    Stack {
        name: "wget and gnutls-serv (GnuTLS)",
        version: &["gnutls-serv", "--version"],
        start: gnutls_serv,
        asker: Asker::Tool(wget),
        speaks: &[1],
        status: 200,
        library: "gnutls",
        names: ("wget", "gnutls-serv"),
    },
    Stack {
        name: "gnutls-cli and gnutls-serv (GnuTLS)",
        version: &["gnutls-cli", "--version"],
        start: gnutls_serv,
        asker: Asker::Tool(gnutls_cli),
        speaks: &[1],
        status: 200,
        library: "gnutls",
        names: ("gnutls-cli", "gnutls-serv"),
    },
    c("OpenSSL in a stripped executable", |keys| Program::c(keys, &[])),
    c("OpenSSL in a stripped executable, `-static-pie`", |keys| Program::c(keys, &["-static-pie"])),
    boringssl("`curl_cffi` and `http.server` (BoringSSL in a library)", |keys| Program::cffi(keys, false)),
    boringssl("`curl_cffi` and `http.server` (BoringSSL in a stripped library)", |keys| {
        Program::cffi(keys, true)
    }),
    rustls("rustls on blocking sockets", |_| Program::rustls("threads")),
    rustls("rustls with tokio", |_| Program::rustls("tasks")),
    Stack {
        name: "tstclnt and selfserv (NSS)",
        version: &["dpkg-query", "-W", "-f", "${Version}", "libnss3"],
        start: selfserv,
        asker: Asker::Tool(tstclnt),
        speaks: &[1],
        status: 200,
        library: "nss",
        names: ("tstclnt", "selfserv"),
    },
    go("Go `net/http`", |keys| Program::go(keys, &[])),
    go("Go, stripped", |keys| Program::go(keys, &["-ldflags=-s -w"])),
    go("Go, `-buildmode=pie`", |keys| Program::go(keys, &["-buildmode=pie"])),
    go("Go, stripped and `-buildmode=pie`", |keys| Program::go(keys, &["-ldflags=-s -w", "-buildmode=pie"])),
    go_of(&GO_1_21, "Go 1.21", |keys| Program::go_of(GO_1_21[0], keys, &[])),
    go_of(&GO_1_21, "Go 1.21, stripped", |keys| Program::go_of(GO_1_21[0], keys, STRIPPED)),
    go_of(&GO_1_21, "Go 1.21, `-buildmode=pie`", |keys| Program::go_of(GO_1_21[0], keys, PIE)),
    go_of(&GO_1_24, "Go 1.24", |keys| Program::go_of(GO_1_24[0], keys, &[])),
    go_of(&GO_1_24, "Go 1.24, stripped", |keys| Program::go_of(GO_1_24[0], keys, STRIPPED)),
    go_of(&GO_1_24, "Go 1.24, `-buildmode=pie`", |keys| Program::go_of(GO_1_24[0], keys, PIE)),
    go_of(&GO_1_27, "Go 1.27", |keys| Program::go_of(GO_1_27[0], keys, &[])),
    go_of(&GO_1_27, "Go 1.27, stripped", |keys| Program::go_of(GO_1_27[0], keys, STRIPPED)),
    go_of(&GO_1_27, "Go 1.27, `-buildmode=pie`", |keys| Program::go_of(GO_1_27[0], keys, PIE)),
];

const fn c(name: &'static str, program: fn(&Keys) -> Program) -> Stack {
    Stack {
        name,
        version: &["openssl", "version"],
        start: |_| unreachable!("the program serves as well"),
        asker: Asker::Told(program),
        speaks: &[1],
        status: 203,
        library: "openssl",
        names: ("cpeer", "cpeer"),
    }
}

const fn boringssl(name: &'static str, program: fn(&Keys) -> Program) -> Stack {
    Stack {
        name,
        version: &[
            "/usr/bin/python3",
            "-c",
            "import sys; sys.path[:0] = ['/var/cache/remora-test/curl_cffi']; \
             from importlib.metadata import version; print(version('curl_cffi'))",
        ],
        start: |_| unreachable!("the program serves as well"),
        asker: Asker::Told(program),
        speaks: &[1],
        status: 203,
        // Whichever end is seen first names it.
        library: "boringssl or openssl",
        names: ("python3", "python3"),
    }
}

const fn rustls(name: &'static str, program: fn(&Keys) -> Program) -> Stack {
    Stack {
        name,
        version: &[
            "cargo",
            "pkgid",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls_peers/rustls/Cargo.toml"),
            "rustls",
        ],
        start: |_| unreachable!("the program serves as well"),
        asker: Asker::Told(program),
        speaks: &[1],
        status: 203,
        library: "rustls",
        names: ("rustls-peer", "rustls-peer"),
    }
}

/// How `scripts/setup test` leaves other Go versions than the distribution's, and how they say which.
const GO_1_21: [&str; 2] = ["/var/cache/remora-test/go1.21.13/go/bin/go", "version"];
const GO_1_24: [&str; 2] = ["/var/cache/remora-test/go1.24.11/go/bin/go", "version"];
const GO_1_27: [&str; 2] = ["/var/cache/remora-test/go1.27.3/go/bin/go", "version"];
const STRIPPED: &[&str] = &["-ldflags=-s -w"];
const PIE: &[&str] = &["-buildmode=pie"];

const fn go(name: &'static str, program: fn(&Keys) -> Program) -> Stack {
    go_of(&["go", "version"], name, program)
}

const fn go_of(version: &'static [&'static str], name: &'static str, program: fn(&Keys) -> Program) -> Stack {
    Stack {
        name,
        version,
        start: |_| unreachable!("the program serves as well"),
        asker: Asker::Told(program),
        speaks: &[1, 2],
        status: 203,
        library: "go",
        names: ("gopeer", "gopeer"),
    }
}

pub(crate) fn nginx(keys: &Keys) -> Server {
    let port = free_port();
    let config = keys.text("nginx.conf");
    let text = format!(
        "daemon off; master_process off; user root; pid {0}/pid; error_log {0}/errors; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;\n\
         uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5; server {{ {1} }} }}",
        keys.path().display(),
        nginx_tls(keys, port)
    );
    std::fs::write(&config, text).expect("nginx.conf");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(keys.path()).args(["-c", &config]);
    Server::at(command, port)
}

pub(crate) fn gnutls_serv(keys: &Keys) -> Server {
    let port = free_port();
    let mut command = Command::new("gnutls-serv");
    command.args(["--http", "--quiet", "--port", &port.to_string()]).args([
        "--x509certfile",
        &keys.text("cert.pem"),
        "--x509keyfile",
        &keys.text("key.pem"),
    ]);
    Server::at(command, port)
}

/// NSS keeps keys in a database.
fn selfserv(keys: &Keys) -> Server {
    let port = free_port();
    let path = |name: &str| keys.text(name);
    let database = format!("sql:{}", keys.path().display());
    output("certutil", &["-N", "-d", &database, "--empty-password"]);
    let (cert, key, bundle) = (path("cert.pem"), path("key.pem"), path("key.p12"));
    let files = ["-in", &cert, "-inkey", &key, "-name", "peer", "-passout", "pass:", "-out", &bundle];
    output("openssl", &[&["pkcs12", "-export"], &files[..]].concat());
    output("pk12util", &["-i", &bundle, "-d", &database, "-W", ""]);
    let mut command = Command::new("selfserv");
    command.args(["-n", "peer", "-w", "", "-d", &database, "-p", &port.to_string()]);
    Server::at(command, port)
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("run a client");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl(port: u16, http: u8, path: &str) -> String {
    let http = if http == 2 { "--http2" } else { "--http1.1" };
    let url = format!("https://127.0.0.1:{port}{path}");
    output("curl", &["-sSk", "--max-time", "20", "--noproxy", "*", http, "-d", "sent", &url])
}

fn wget(port: u16, _: u8, path: &str) -> String {
    let url = format!("https://127.0.0.1:{port}{path}");
    output("wget", &["-q", "-O", "-", "--no-proxy", "--no-check-certificate", "--timeout=20", &url])
}

fn gnutls_cli(port: u16, _: u8, path: &str) -> String {
    let mut child = Command::new("gnutls-cli")
        .args(["--insecure", "--no-ca-verification", "--logfile=/dev/null", "-p", &port.to_string()])
        .arg("127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start gnutls-cli");
    // It ends with its input.
    let mut input = child.stdin.take().expect("stdin");
    write!(input, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("tell gnutls-cli");
    let mut text = String::new();
    child.stdout.take().expect("stdout").read_to_string(&mut text).expect("what gnutls-cli got");
    drop(input);
    child.wait().expect("gnutls-cli ends");
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer");
    body.to_owned()
}

/// The client never ends by itself: it is ended when it has taken the server's farewell, because else
/// its kernel resets the connection.
fn tstclnt(port: u16, _: u8, path: &str) -> String {
    const END: &[u8] = b"EOF\r\n\r\n\r\n";
    let mut child = Command::new("tstclnt")
        .args(["-D", "-o", "-h", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start tstclnt (package libnss3-tools)");
    let mut input = child.stdin.take().expect("stdin");
    write!(input, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("tell tstclnt");
    let (mut got, mut part) = (Vec::new(), [0; 4096]);
    let mut output = child.stdout.take().expect("stdout");
    while !got.ends_with(END) {
        let len = output.read(&mut part).expect("what tstclnt got");
        assert!(len > 0, "tstclnt ended after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&part[..len]);
    }
    let server = format!(":{port}");
    until("the server's end of the connection", || {
        let waiting = self::output("ss", &["-Htn", "state", "close-wait", "dport", "=", &server]);
        // What is counted as unread is the end itself.
        waiting.starts_with("1 ").then_some(())
    });
    child.kill().expect("kill tstclnt");
    child.wait().expect("tstclnt ends");
    let text = String::from_utf8(got).expect("text");
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer");
    body.to_owned()
}

/// What the doctor says of a process, once its library is attached to.
pub(crate) fn attached(daemon: &Daemon, pid: u32) -> Value {
    until_within(PATIENCE, &format!("probes in {pid}"), || {
        let doctor = daemon.data("/api/v1/doctor/tls");
        let process = doctor["processes"].as_array()?.iter().find(|process| process["pid"] == pid)?.clone();
        let used = process["libraries"].as_array()?;
        used.iter().any(|used| used["attached"] == true).then_some(process)
    })
}

/// What the doctor says of a library in a process, once it is attached to.
fn attached_to(daemon: &Daemon, pid: u32, library: &str) -> Value {
    until_within(PATIENCE, &format!("probes in {library} of {pid}"), || {
        let process = attached(daemon, pid);
        let mut used = process["libraries"].as_array()?.iter();
        used.find(|used| used["attached"] == true && used["library"] == library).cloned()
    })
}

/// Waits until every process that lived at the daemon's start has been looked at.
pub(crate) fn settled(daemon: &Daemon) {
    until_within(PATIENCE, "the discovery", || {
        (daemon.data("/api/v1/doctor/tls")["settled"] == true).then_some(())
    });
}

/// Peers of a stack under way.
struct Bench {
    stack: &'static Stack,
    server: Server,
    client: Option<Client>,
}

impl Bench {
    fn start(stack: &'static Stack, keys: &Keys, daemon: &Daemon) -> Self {
        let program = match stack.asker {
            Asker::Told(program) => Some(program(keys)),
            Asker::Tool(_) => None,
        };
        let server = match &program {
            Some(program) => program.serve(keys),
            None => (stack.start)(keys),
        };
        attached(daemon, server.pid());
        let client = program.map(|program| program.ask(keys, server.port));
        if let Some(client) = &client {
            attached_to(daemon, client.pid(), stack.main_library());
        }
        Self { stack, server, client }
    }

    /// Makes a call; gives the body that the client got.
    fn call(&mut self, http: u8, path: &str) -> String {
        match (&mut self.client, self.stack.asker) {
            (Some(client), _) => {
                let said = client.tell(&format!("{http} {path} sent"));
                said.strip_prefix("203 ").expect("status").to_owned()
            }
            (None, Asker::Tool(ask)) => ask(self.server.port, http, path),
            (None, Asker::Told(_)) => unreachable!("told clients are started"),
        }
    }

    fn assert_entry(&self, entry: &Value, http: u8, path: &str, got: &str) {
        let stack = self.stack;
        let protocol = if http == 2 { "HTTP/2" } else { "HTTP" };
        assert_eq!((path_of(entry), &entry["error"]), (path, &Value::Null), "{entry:#}");
        assert_eq!(entry["response"]["status"].as_u64(), Some(stack.status), "{path}");
        assert_eq!(body_of(entry), got, "{path}");
        assert_eq!(entry["protocol"]["abbr"], protocol, "{path}");
        assert_eq!(entry["tls"], true, "{path}");
        assert_eq!(entry["capture"]["source"], "ebpf_tls", "{path}");
        let mut libraries = stack.library.split(" or ");
        assert!(libraries.any(|library| entry["tlsInfo"]["library"] == library), "{path}");
        assert_eq!(entry["events"], Value::Array(Vec::new()), "{path}");
        let names = (&entry["src"]["processName"], &entry["dst"]["processName"]);
        assert_eq!(names, (&stack.names.0.into(), &stack.names.1.into()), "{path}");
        assert_eq!(entry["dst"]["processId"], self.server.pid(), "{path}");
        if let Some(client) = &self.client {
            assert_eq!(entry["src"]["processId"], client.pid(), "{path}");
        }
    }

    /// Makes calls over one HTTP version; gives the witnesses of their entries.
    fn assert_calls(&mut self, feed: &mut Feed, http: u8) -> BTreeSet<String> {
        let mut witnesses = BTreeSet::new();
        for number in 0..3 {
            let path = format!("/{http}/{number}");
            let got = self.call(http, &path);
            let entry = feed.next();
            self.assert_entry(&entry, http, &path, &got);
            witnesses.insert(entry["capture"]["witness"].as_str().expect("a witness").to_owned());
        }
        assert!(feed.is_quiet(QUIET), "a call of HTTP/{http} came twice");
        witnesses
    }
}

fn stack(name: &str) -> &'static Stack {
    STACKS.iter().find(|stack| stack.name == name).unwrap_or_else(|| panic!("no stack {name}"))
}

/// Runs a stack, and compares what was seen with its row in the documentation.
fn check(name: &str) {
    check_each(&[name]);
}

/// Runs stacks one after the other, all before one daemon.
fn check_each(names: &[&str]) {
    let daemon = Daemon::start();
    settled(&daemon);
    names.iter().for_each(|name| check_before(&daemon, stack(name)));
}

fn check_before(daemon: &Daemon, stack: &'static Stack) {
    let keys = Keys::new();
    let mut bench = Bench::start(stack, &keys, daemon);
    // An answer whose end is the connection's is shown while that is open, and again when it is over.
    let filter = format!("tls and http and dst.port == {} and state == \"ended\"", bench.server.port);
    let mut feed = daemon.feed(&filter);
    let mut witnesses = BTreeSet::new();
    for &http in stack.speaks {
        witnesses.extend(bench.assert_calls(&mut feed, http));
    }
    for pid in [Some(bench.server.pid()), bench.client.as_ref().map(Client::pid)].into_iter().flatten() {
        let process = attached(daemon, pid);
        for bytes in ["bytesRead", "bytesWritten"] {
            assert!(
                process[bytes].as_u64().is_some_and(|count| count > 0),
                "one end was not read: {process}"
            );
        }
    }
    let end = bench.client.as_ref().map_or(bench.server.pid(), Client::pid);
    let used = attached_to(daemon, end, stack.main_library());
    let found_by = used["foundBy"].as_str().expect("how it was found").to_owned();
    compare(&row(stack, &found_by, &witnesses));
}

fn row(stack: &Stack, found_by: &str, witnesses: &BTreeSet<String>) -> String {
    let speaks = |http: u8| if stack.speaks.contains(&http) { "yes" } else { "" };
    let version = first_line(stack.version);
    let version =
        version.split([' ', ',', '@']).map(|word| word.trim_start_matches("go").trim_start_matches('v'));
    let version = version.into_iter().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        stack.name,
        version.expect("a version"),
        speaks(1),
        speaks(2),
        found_by.replace('_', " "),
        witnesses.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    )
}

/// Cells of a row but for the version, which differs between machines.
fn essence(row: &str) -> Vec<&str> {
    let cells = row.split('|').map(str::trim).enumerate();
    cells.filter(|(index, _)| *index != 2).map(|(_, cell)| cell).collect()
}

/// Rows of the coverage table in the documentation.
fn documented(text: &str) -> Vec<&str> {
    let (_, rest) = text.split_once("<!-- stacks: begin -->\n").expect("begin mark");
    let (table, _) = rest.split_once("<!-- stacks: end -->").expect("end mark");
    table.lines().skip(2).filter(|line| !line.is_empty()).collect()
}

/// Fails unless the documentation has this row; with `BLESS=1` it gets it.
fn compare(row: &str) {
    let path = source("docs/tls.md");
    let lock = std::fs::File::open(&path).expect("docs/tls.md");
    lock.lock().expect("lock docs/tls.md");
    let text = std::fs::read_to_string(&path).expect("docs/tls.md");
    let found = documented(&text).into_iter().find(|line| essence(line)[1] == essence(row)[1]);
    let found = found.unwrap_or_else(|| panic!("docs/tls.md has no row for {row}"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text.replace(found, row)).expect("docs/tls.md");
    } else {
        assert_eq!(essence(found), essence(row), "docs/tls.md is old: run this test with BLESS=1");
    }
}

#[test]
fn the_coverage_table_has_the_tested_stacks_and_no_others() {
    let text = std::fs::read_to_string(source("docs/tls.md")).expect("docs/tls.md");
    let rows: Vec<&str> = documented(&text).into_iter().map(|line| essence(line)[1]).collect();
    let tested: Vec<&str> = STACKS.iter().map(|stack| stack.name).collect();
    assert_eq!(rows, tested);
}

#[test]
fn root_openssl_shared_by_curl_and_nginx_is_covered() {
    check("curl and nginx (OpenSSL, shared)");
}

#[test]
fn root_python_with_blocking_sockets_is_covered() {
    check("Python `http.client` and `http.server` (OpenSSL, shared)");
}

#[test]
fn root_python_asyncio_is_covered() {
    check("Python `asyncio` (OpenSSL, shared, through memory)");
}

#[test]
fn root_node_is_covered() {
    check("Node.js `https` and `http2` (OpenSSL in the executable)");
}

#[test]
fn root_wget_and_a_gnutls_server_are_covered() {
    check("wget and gnutls-serv (GnuTLS)");
}

#[test]
fn root_gnutls_client_and_server_are_covered() {
    check("gnutls-cli and gnutls-serv (GnuTLS)");
}

#[test]
fn root_openssl_in_a_stripped_executable_is_covered() {
    check("OpenSSL in a stripped executable");
}

#[test]
fn root_openssl_in_a_stripped_static_executable_is_covered() {
    check("OpenSSL in a stripped executable, `-static-pie`");
}

#[test]
fn root_boringssl_in_a_library_is_covered() {
    check("`curl_cffi` and `http.server` (BoringSSL in a library)");
}

#[test]
fn root_boringssl_in_a_stripped_library_is_covered() {
    check("`curl_cffi` and `http.server` (BoringSSL in a stripped library)");
}

#[test]
fn root_rustls_with_blocking_sockets_is_covered() {
    check("rustls on blocking sockets");
}

#[test]
fn root_rustls_with_tokio_is_covered() {
    check("rustls with tokio");
}

#[test]
fn root_nss_client_and_server_are_covered() {
    check("tstclnt and selfserv (NSS)");
}

#[test]
fn root_go_is_covered() {
    check("Go `net/http`");
}

#[test]
fn root_stripped_go_is_covered() {
    check("Go, stripped");
}

#[test]
fn root_position_independent_go_is_covered() {
    check("Go, `-buildmode=pie`");
}

#[test]
fn root_stripped_position_independent_go_is_covered() {
    check("Go, stripped and `-buildmode=pie`");
}

#[test]
fn root_go_1_21_is_covered() {
    check_each(&["Go 1.21", "Go 1.21, stripped", "Go 1.21, `-buildmode=pie`"]);
}

#[test]
fn root_go_1_24_is_covered() {
    check_each(&["Go 1.24", "Go 1.24, stripped", "Go 1.24, `-buildmode=pie`"]);
}

#[test]
fn root_go_1_27_is_covered() {
    check_each(&["Go 1.27", "Go 1.27, stripped", "Go 1.27, `-buildmode=pie`"]);
}
