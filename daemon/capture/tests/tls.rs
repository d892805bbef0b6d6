//! Plaintext at TLS libraries of real programs: whole, in order, and bound to the right socket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::*;
use crate::engine::model::{
    Hook, Packet, Record, SocketCookie, TlsEvent, TlsLibrary, TlsSession, TlsWitness,
};

/// A directory with a certificate for localhost, and what else a test leaves there.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("directory");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("writes");
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("writes");
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// A server of ours that prints its port.
    pub(super) fn serve(&self, program: &str, args: &[&str]) -> Peer {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path());
        Peer::start(command)
    }

    pub(super) fn python(&self, kind: &str) -> Peer {
        self.serve("/usr/bin/python3", &["-c", include_str!("tls_peer.py"), kind])
    }

    pub(super) fn nginx(&self) -> Peer {
        let port = free_port();
        let config = format!(
            "daemon off; master_process off; error_log stderr; pid {0}/pid; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;\n\
             uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5; client_max_body_size 8m; client_body_buffer_size 4m;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
             root {0}; location /echo {{ return 200 \"hello from nginx\"; }} }} }}",
            self.folder.path().display()
        );
        std::fs::write(self.path("nginx.conf"), config).expect("writes");
        let child = Command::new("nginx")
            .args(["-p", &self.text(""), "-c", &self.text("nginx.conf")])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx");
        wait_for_port(port);
        Peer { child, port }
    }
}

fn free_port() -> u16 {
    listener().1
}

fn wait_for_port(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {port}");
        std::thread::yield_now();
    }
}

/// A process of a test.
pub(super) struct Peer {
    pub(super) child: Child,
    pub(super) port: u16,
}

impl Peer {
    pub(super) fn start(mut command: Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the server says its port");
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plaintext of one direction of a session, put together by offsets; a hole ends it.
fn plaintext(records: &[Record], session: TlsSession, hook: Hook) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        if let Record::Tls(TlsEvent::Data(chunk)) = record
            && chunk.session == session
            && chunk.hook == hook
            && chunk.offset == bytes.len() as u64
        {
            bytes.extend_from_slice(&chunk.data);
        }
    }
    bytes
}

fn sessions_of(records: &[Record], pid: u32) -> BTreeSet<(u64, u64)> {
    let chunks = records.iter().filter_map(|record| match record {
        Record::Tls(TlsEvent::Data(chunk)) => Some(chunk),
        _ => None,
    });
    let of_pid = chunks.filter(|chunk| chunk.session.process.pid == pid);
    of_pid.map(|chunk| (chunk.session.handle, chunk.session.generation)).collect()
}

/// What is known of a session after all its events.
#[derive(Debug, Clone)]
pub(super) struct Story {
    session: TlsSession,
    pub(super) library: TlsLibrary,
    pub(super) from_start: bool,
    pub(super) socket: Option<(SocketCookie, TlsWitness)>,
    pub(super) written: Vec<u8>,
    pub(super) read: Vec<u8>,
}

/// All sessions of a process.
fn stories(records: &[Record], pid: u32) -> Vec<Story> {
    let mut stories: BTreeMap<(u64, u64), Story> = BTreeMap::new();
    for record in records {
        let Record::Tls(TlsEvent::Data(chunk)) = record else { continue };
        if chunk.session.process.pid != pid {
            continue;
        }
        stories.entry((chunk.session.handle, chunk.session.generation)).or_insert_with(|| Story {
            session: chunk.session,
            library: chunk.library,
            from_start: chunk.from_start,
            socket: None,
            written: plaintext(records, chunk.session, Hook::Egress),
            read: plaintext(records, chunk.session, Hook::Ingress),
        });
    }
    for record in records {
        if let Record::Tls(TlsEvent::Bound { session, cookie, witness, .. }) = record
            && let Some(story) = stories.get_mut(&(session.handle, session.generation))
            && story.session == *session
        {
            story.socket = Some((*cookie, *witness));
        }
    }
    stories.into_values().collect()
}

/// Cookies of the sockets whose packets have these ports: local, then remote.
fn cookies(records: &[Record], local: impl Fn(u16) -> bool, remote: impl Fn(u16) -> bool) -> BTreeSet<u64> {
    let packets = records.iter().filter_map(|record| match record {
        Record::Packet(packet) => Some(packet),
        _ => None,
    });
    let fits = |packet: &&Packet| {
        packet.socket.is_some_and(|socket| local(socket.local.port) && remote(socket.remote.port))
    };
    packets.filter(fits).map(|packet| packet.cookie.0).collect()
}

/// Waits until every process that lives has been looked at.
pub(super) fn settle(running: &Running) {
    let deadline = Instant::now() + PATIENCE;
    while !running.capture.has_seen_tls_of_all() {
        assert!(Instant::now() < deadline, "the discovery did not settle");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process's TLS is attached to.
pub(super) fn wait_attached(running: &Running, pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let is_attached = || {
        let processes = running.capture.tls_processes();
        processes.iter().any(|process| process.pid == pid && process.libraries.iter().any(|one| one.attached))
    };
    while !is_attached() {
        let seen = running.capture.tls_processes();
        assert!(Instant::now() < deadline, "{pid} is not attached to: {seen:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn curl(args: &[&str]) -> (u32, Vec<u8>) {
    let child =
        Command::new("curl").args(["-sk", "-m", CURL_PATIENCE]).args(args).stdout(Stdio::piped()).spawn();
    let child = child.expect("curl");
    let pid = child.id();
    let output = child.wait_with_output().expect("curl");
    assert!(output.status.success(), "curl {args:?}: {}", output.status);
    (pid, output.stdout)
}

/// Waits until a process has a session that fits.
pub(super) fn wait_story(running: &Running, pid: u32, what: &str, fits: impl Fn(&Story) -> bool) -> Story {
    running.packets.wait(what, |records| {
        let stories = stories(records, pid);
        stories.into_iter().find(|story| fits(story))
    })
}

pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn root_every_program_for_tls_runs_here() {
    let running = start_all();
    let jobs = running.capture.jobs();
    let job = jobs.iter().find(|job| job.job == "tls").expect("a job");
    assert!(job.attached && job.missing.is_empty(), "{job:#?}");
    assert!(job.mechanism.starts_with("uprobe_multi"), "{job:#?}");
}

#[test]
fn root_curl_and_nginx_show_the_same_plaintext_at_their_own_sockets() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = bench.nginx();
    wait_attached(&running, server.child.id());
    let (curl, body) = curl(&["--http1.1", &server.url("/echo?a=1")]);
    assert_eq!(body, b"hello from nginx");

    let client =
        wait_story(&running, curl, "curl's session", |story| story.read.ends_with(b"hello from nginx"));
    assert!(
        client.written.starts_with(b"GET /echo?a=1 HTTP/1.1\r\n") && client.written.ends_with(b"\r\n\r\n")
    );
    assert!(client.read.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let nginx =
        wait_story(&running, server.child.id(), "nginx's session", |story| story.written == client.read);
    assert_eq!(nginx.read, client.written);
    assert_eq!((client.library, client.from_start), (TlsLibrary::OpenSsl, true));
    assert!(nginx.from_start);

    let port = server.port;
    let (cookie, witness) = client.socket.expect("bound");
    assert_eq!(witness, TlsWitness::InCall);
    running.packets.wait("packets of the client", |records| {
        cookies(records, |_| true, |remote| remote == port).contains(&cookie.0).then_some(())
    });
    let (cookie, witness) = nginx.socket.expect("bound");
    assert_eq!(witness, TlsWitness::InCall);
    running.packets.wait("packets of the server", |records| {
        cookies(records, |local| local == port, |remote| remote != 0).contains(&cookie.0).then_some(())
    });
    let is_closed = |session: TlsSession| {
        running.packets.wait("end of a session", |records| {
            let is_end = |record: &Record| matches!(record, Record::Tls(TlsEvent::Closed { session: gone, .. }) if *gone == session);
            records.iter().any(is_end).then_some(())
        });
    };
    is_closed(nginx.session);
    is_closed(client.session);
}

#[test]
fn root_a_body_of_a_mebibyte_is_whole_in_both_directions() {
    let bench = Bench::new();
    let body: Vec<u8> =
        (0..1_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(bench.path("large"), &body).expect("writes");
    let running = start_all();
    let server = bench.python("sync");
    wait_attached(&running, server.child.id());
    let upload = format!("@{}", bench.text("large"));
    let (curl, echo) = curl(&["--http1.1", "-H", "Expect:", "--data-binary", &upload, &server.url("/")]);
    assert_eq!(echo, body, "the server echoes");
    let client = wait_story(&running, curl, "curl's session", |story| story.read.ends_with(&body));
    assert!(client.written.ends_with(&body));
    let python = wait_story(&running, server.child.id(), "the server's session", |story| {
        story.written.ends_with(&body)
    });
    assert!(python.read.ends_with(&body));
}

#[test]
fn root_a_session_from_before_the_start_is_seen_from_then_on() {
    let bench = Bench::new();
    let server = bench.python("sync");
    let mut client = bench
        .serve("/usr/bin/python3", &["-c", include_str!("tls_peer.py"), "ask", &server.port.to_string()]);
    let running = start_all();
    settle(&running);
    wait_attached(&running, server.child.id());
    // The client asks again when it is told to.
    signal(&client.child, nix::sys::signal::Signal::SIGUSR1);
    let story = wait_story(&running, client.child.id(), "the client's session", |story| {
        contains(&story.read, "echo") && story.socket.is_some()
    });
    assert!(!story.from_start);
    assert_eq!(story.socket.map(|(_, witness)| witness), Some(TlsWitness::InCall));
    let _ = client.child.kill();
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).expect("lives");
}

/// Runs `count` concurrent connections of a server that answers with the port of its client, and
/// checks that each session is bound to the socket whose port is in its plaintext.
pub(super) fn check_binding(running: &Running, server: &Peer, library: TlsLibrary, count: usize) {
    wait_attached(running, server.child.id());
    let url = server.url("/[1-CNT]").replace("CNT", &count.to_string());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            Command::new("curl")
                .args([
                    "-sk",
                    "-m",
                    "20",
                    "--http1.1",
                    "--no-keepalive",
                    "-Z",
                    "--parallel-immediate",
                    "-H",
                    "Connection: close",
                    &url,
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("curl")
        })
        .collect();
    for mut client in clients {
        assert!(client.wait().expect("curl").success());
    }
    let pid = server.child.id();
    let found = running.packets.wait("all sessions of the server", |records| {
        let stories = stories(records, pid);
        let done =
            stories.iter().filter(|story| contains(&story.written, "client port") && story.socket.is_some());
        (done.count() >= count * 4).then_some(stories)
    });
    let ports: BTreeMap<u64, u16> = {
        let records = running.packets.0.0.lock().expect("no panic");
        let packets = records.iter().filter_map(|record| match record {
            Record::Packet(packet) => packet.socket.map(|socket| (packet.cookie.0, socket)),
            _ => None,
        });
        packets
            .filter(|(_, socket)| socket.local.port == server.port)
            .map(|(cookie, socket)| (cookie, socket.remote.port))
            .collect()
    };
    let mut right = 0;
    for story in found.iter().filter(|story| contains(&story.written, "client port")) {
        assert_eq!(story.library, library);
        let (cookie, witness) = story.socket.unwrap_or_else(|| panic!("not bound: {story:?}"));
        let port =
            ports.get(&cookie.0).unwrap_or_else(|| panic!("bound to a stranger by {witness:?}: {story:?}"));
        assert!(
            contains(&story.written, &format!("client port {port}.")),
            "{port} by {witness:?}: {story:?}"
        );
        right += 1;
    }
    assert!(right >= count * 4, "{right}");
}

#[test]
fn root_python_asyncio_with_memory_bios_is_bound_by_what_its_thread_transfers() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = bench.python("asyncio");
    check_binding(&running, &server, TlsLibrary::OpenSsl, 25);
}

#[test]
fn root_node_with_its_own_openssl_is_seen_and_bound() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = bench.serve("node", &["-e", include_str!("tls_peer.js")]);
    check_binding(&running, &server, TlsLibrary::OpenSsl, 25);
    let found = running.capture.tls_processes();
    let process = found.iter().find(|process| process.pid == server.child.id()).expect("found");
    assert!(process.libraries[0].version.starts_with("3."), "{process:?}");
    assert!(process.seen.nearby_transfer > 0 && process.seen.bytes_read > 0, "{process:?}");
}

#[test]
fn root_gnutls_client_is_seen() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = bench.nginx();
    let mut client = Command::new("gnutls-cli")
        .args(["--insecure", "--no-ca-verification", "-p", &server.port.to_string(), "127.0.0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("gnutls-cli");
    let request = b"GET /echo HTTP/1.0\r\n\r\n";
    // It wants its input after the handshake, and ends with its input.
    let mut input = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, request).expect("writes");
    let pid = client.id();
    let story =
        wait_story(&running, pid, "gnutls-cli's session", |story| story.read.ends_with(b"hello from nginx"));
    assert_eq!((story.library, story.written.as_slice()), (TlsLibrary::GnuTls, &request[..]));
    assert!(story.from_start);
    assert_eq!(story.socket.map(|(_, witness)| witness), Some(TlsWitness::InCall));
    drop(input);
    let _ = client.wait();
}

pub(super) fn go_server(bench: &Bench, flags: &[&str]) -> Peer {
    std::fs::write(bench.path("peer.go"), include_str!("tls_peer.go")).expect("writes");
    let built = Command::new("go")
        .arg("build")
        .args(flags)
        .args(["-o", "peer", "peer.go"])
        .current_dir(bench.folder.path())
        // As `scripts/setup test` leaves it: to compile the libraries first would take a minute or two.
        .env("GOCACHE", "/var/cache/remora-test/gocache")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .status();
    assert!(built.expect("go").success());
    bench.serve(&bench.text("peer"), &[])
}

#[test]
fn root_go_is_seen_and_bound_by_its_descriptors() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = go_server(&bench, &[]);
    check_binding(&running, &server, TlsLibrary::Go, 25);
}

#[test]
fn root_stripped_position_independent_go_is_seen_as_well() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let server = go_server(&bench, &["-ldflags=-s -w", "-buildmode=pie"]);
    check_binding(&running, &server, TlsLibrary::Go, 10);
    let found = running.capture.tls_processes();
    let process = found.iter().find(|process| process.pid == server.child.id()).expect("found");
    assert_eq!(process.libraries[0].found_by, "line_table");
    assert!(process.seen.descriptor > 0, "{process:?}");
}

#[test]
fn root_a_library_that_only_another_mount_namespace_has_is_found() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let script = "set -e; mount -t tmpfs none /mnt; cp /usr/lib/x86_64-linux-gnu/libssl.so.3 /mnt/libssl.so.3; \
                  export LD_LIBRARY_PATH=/mnt; exec /usr/bin/python3 -c \"$1\" sync";
    let server = bench.serve("unshare", &["-m", "sh", "-c", script, "sh", include_str!("tls_peer.py")]);
    wait_attached(&running, server.child.id());
    let (_, body) = curl(&["--http1.1", "-d", "question", &server.url("/")]);
    assert_eq!(body, b"question");
    let story = wait_story(&running, server.child.id(), "the server's session", |story| {
        story.written.ends_with(b"question")
    });
    assert!(story.read.ends_with(b"question"));
    let found = running.capture.tls_processes();
    let process = found.iter().find(|process| process.pid == server.child.id()).expect("found");
    assert!(
        process.libraries.iter().any(|one| one.path == "/mnt/libssl.so.3" && one.attached),
        "{process:?}"
    );
    assert!(!Path::new("/mnt/libssl.so.3").exists());
}

#[test]
fn root_short_processes_are_seen_and_not_harmed() {
    let bench = Bench::new();
    let server = bench.nginx();
    let running = start_all();
    settle(&running);
    for _ in 0..20 {
        let (pid, body) = curl(&["--http1.1", &server.url("/echo")]);
        assert_eq!(body, b"hello from nginx");
        let _ = wait_story(&running, pid, "a short curl", |story| story.read.ends_with(b"hello from nginx"));
    }
    assert!(sessions_of(&running.packets.0.0.lock().expect("no panic"), 1).is_empty());
}
