//! Kernel tests: they need root, and fail, not skip, where the kernel lacks something.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::*;
use crate::engine::model::{Hook, OwnerEvidence, Packet, ProcessEvent, SocketCookie, SocketEvent, TcpState};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Records that a capture delivered, shared with the test.
#[derive(Clone, Default)]
struct Seen(Arc<(Mutex<Vec<Record>>, Condvar)>);

struct SeenSink(Seen);

impl Sink for SeenSink {
    fn record(&mut self, record: Record) {
        self.0.0.0.lock().expect("no panic").push(record);
    }

    fn flush(&mut self, _now: Timestamp) {
        self.0.0.1.notify_all();
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}

impl Seen {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(SeenSink(self.clone()))
    }

    /// Waits until the records answer the question.
    fn wait<T>(&self, what: &str, find: impl Fn(&[Record]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut records = self.0.0.lock().expect("no panic");
        loop {
            if let Some(found) = find(&records) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not seen in {PATIENCE:?}: {what}");
            records = self.0.1.wait_timeout(records, left).expect("no panic").0;
        }
    }

    fn packets_of(&self, port: u16) -> Vec<Packet> {
        let records = self.0.0.lock().expect("no panic");
        records.iter().filter_map(|record| packet_of(record, port)).cloned().collect()
    }
}

fn packet_of(record: &Record, port: u16) -> Option<&Packet> {
    let Record::Packet(packet) = record else { return None };
    let (src, dst) = ports(&packet.data)?;
    (src == port || dst == port).then_some(packet)
}

/// Ports in an IPv4 or IPv6 header without extensions.
fn ports(data: &[u8]) -> Option<(u16, u16)> {
    let offset = if data.first()? >> 4 == 4 { usize::from(data[0] & 15) * 4 } else { 40 };
    let ports = data.get(offset..offset + 4)?;
    Some((u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])))
}

/// TCP payload of a packet.
fn payload(packet: &Packet) -> &[u8] {
    let ip = if packet.data[0] >> 4 == 4 { usize::from(packet.data[0] & 15) * 4 } else { 40 };
    let tcp = usize::from(packet.data[ip + 12] >> 4) * 4;
    &packet.data[ip + tcp..]
}

struct Running {
    capture: Capture,
    packets: Seen,
    sockets: Seen,
}

fn start(config: &CaptureConfig) -> Running {
    let (packets, sockets) = (Seen::default(), Seen::default());
    let capture = Capture::start(config, packets.sink(), sockets.sink()).expect("this kernel captures");
    Running { capture, packets, sockets }
}

fn start_all() -> Running {
    start(&CaptureConfig::default())
}

fn own_process() -> CaptureConfig {
    CaptureConfig { own_pid: std::process::id(), ..CaptureConfig::default() }
}

/// Connects, sends `request` and reads `answer` back; returns the client and server ends.
fn exchange(listener: &TcpListener, request: &[u8], answer: &[u8]) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (mut server, _) = listener.accept().expect("accepts");
    send(&mut client, &mut server, request);
    send(&mut server, &mut client, answer);
    (client, server)
}

fn send(from: &mut TcpStream, to: &mut TcpStream, data: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(data).expect("writes"));
        let mut got = vec![0; data.len()];
        to.read_exact(&mut got).expect("reads");
        assert_eq!(got, data);
    });
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// Waits until a payload was seen on a hook, and returns its packet.
fn wait_payload(seen: &Seen, port: u16, hook: Hook, data: &[u8]) -> Packet {
    seen.wait("payload", |records| {
        let mut packets = records.iter().filter_map(|record| packet_of(record, port));
        packets.find(|packet| packet.hook == hook && payload(packet) == data).cloned()
    })
}

#[test]
fn root_tcp_is_seen_at_both_hooks_with_cookies_and_tuples() {
    let running = start_all();
    let (listener, port) = listener();
    let (client, _server) = exchange(&listener, b"question", b"answer");
    let client_addr = client.local_addr().expect("connected");

    let sent = wait_payload(&running.packets, port, Hook::Egress, b"question");
    let got = wait_payload(&running.packets, port, Hook::Ingress, b"question");
    let answered = wait_payload(&running.packets, port, Hook::Egress, b"answer");
    let socket = sent.socket.expect("has a socket");
    assert_eq!((socket.local.port, socket.remote.port), (client_addr.port(), port));
    let socket = got.socket.expect("has a socket");
    assert_eq!((socket.local.port, socket.remote.port), (port, client_addr.port()));
    assert_eq!(socket.local.ip, client_addr.ip());
    assert!(sent.cookie.is_known() && got.cookie.is_known() && sent.cookie != got.cookie);
    assert_eq!(answered.cookie, got.cookie, "the server's socket keeps its cookie");
    assert_eq!(sent.data.len(), sent.wire_len as usize);
    assert!(Timestamp(Clock::new().tick().nanos()).since(sent.at) < PATIENCE.as_nanos() as u64);
}

#[test]
fn root_ipv6_and_udp_are_seen() {
    let running = start_all();
    let listener = TcpListener::bind("[::1]:0").expect("IPv6 loopback");
    let port = listener.local_addr().expect("bound").port();
    let _ends = exchange(&listener, b"six", b"6");
    let packet = wait_payload(&running.packets, port, Hook::Ingress, b"six");
    assert_eq!(packet.socket.expect("has a socket").local.ip, "::1".parse::<IpAddr>().expect("ip"));

    let (from, to) =
        (UdpSocket::bind("127.0.0.1:0").expect("binds"), UdpSocket::bind("127.0.0.1:0").expect("binds"));
    let port = to.local_addr().expect("bound").port();
    from.send_to(b"datagram", to.local_addr().expect("bound")).expect("sends");
    running.packets.wait("datagram", |records| {
        records
            .iter()
            .filter_map(|record| packet_of(record, port))
            .find(|packet| packet.data.ends_with(b"datagram"))
            .map(drop)
    });
}

#[test]
fn root_super_packets_are_whole() {
    let running = start_all();
    let (listener, port) = listener();
    let data: Vec<u8> = (0..8_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let _ends = exchange(&listener, &data, b"ok");
    wait_payload(&running.packets, port, Hook::Ingress, b"ok");

    let packets = running.packets.packets_of(port);
    for hook in [Hook::Egress, Hook::Ingress] {
        let is_to_server =
            |packet: &&Packet| packet.hook == hook && ports(&packet.data).is_some_and(|(_, dst)| dst == port);
        assert!(stream(packets.iter().filter(is_to_server)) == data, "{hook:?}");
    }
    let largest = packets.iter().map(|packet| packet.data.len()).max().expect("some");
    // IPv4 packets beyond 64 KiB exist since Linux 6.3.
    let expected = if host_support::probe().kernel >= (6, 3) { 65_536 } else { 60_000 };
    assert!(largest > expected, "the largest packet has {largest} bytes");
    assert_eq!(running.capture.counters().expect("counters").truncated, 0);
}

/// What the packets of one direction carry, by sequence number: retransmissions come twice.
fn stream<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut first = None;
    for packet in packets {
        let tcp = usize::from(packet.data[0] & 15) * 4;
        let seq = u32::from_be_bytes(*packet.data[tcp + 4..].first_chunk().expect("a TCP header"));
        // The SYN comes first and takes one number.
        let start = seq.wrapping_sub(*first.get_or_insert(seq.wrapping_add(1)));
        let data = payload(packet);
        if !data.is_empty() {
            let start = start as usize;
            bytes.resize(bytes.len().max(start + data.len()), 0);
            bytes[start..start + data.len()].copy_from_slice(data);
        }
    }
    bytes
}

#[test]
fn root_every_packet_is_accounted_for() {
    let mut running = start(&CaptureConfig { ring_bytes: 1, ..CaptureConfig::default() });
    let (listener, _) = listener();
    let data = vec![7_u8; 16_000_000];
    drop(exchange(&listener, &data, &data));
    running.capture.stop();

    let counters = running.capture.counters().expect("counters");
    assert!(counters.seen > 100 && counters.captured > 0, "{counters:?}");
    assert_eq!(counters.seen, counters.accounted(), "{counters:?}");
    let delivered = running.packets.0.0.lock().expect("no panic").len() as u64;
    assert_eq!(delivered, counters.captured + counters.truncated, "{counters:?}");
}

#[test]
fn root_own_traffic_is_excluded_at_both_ends() {
    let running = start(&own_process());
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let curl =
        Command::new("curl").args(["-s", "-m", "5", &url]).stdout(Stdio::piped()).spawn().expect("curl");
    let (mut server, _) = listener.accept().expect("accepts");
    answer_http(&mut server);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");

    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), [], "own traffic");
    assert!(running.capture.counters().expect("counters").excluded_own >= 10);
}

#[test]
fn root_inherited_listener_is_excluded_once_marked() {
    let (listener, port) = listener();
    let running = start(&own_process());
    running.capture.mark_own(listener.as_fd()).expect("marks");
    let url = format!("http://127.0.0.1:{port}/");
    let curl =
        Command::new("curl").args(["-s", "-m", "5", &url]).stdout(Stdio::piped()).spawn().expect("curl");
    answer_http(&mut listener.accept().expect("accepts").0);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), []);
}

#[test]
fn root_client_at_another_address_of_the_host_is_excluded_too() {
    let running = start(&own_process());
    let port = in_own_netns(|| {
        ip(&["link", "set", "lo", "up"]);
        ip(&["address", "add", "10.77.0.1/32", "dev", "lo"]);
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let url = format!("http://10.77.0.1:{port}/");
        let curl =
            Command::new("curl").args(["-s", "-m", "5", &url]).stdout(Stdio::piped()).spawn().expect("curl");
        answer_http(&mut listener.accept().expect("accepts").0);
        assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
        port
    });
    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), [], "own traffic");
}

#[test]
fn root_client_of_a_namesake_on_another_host_is_seen() {
    let running = start(&own_process());
    // A listener on all addresses has the port that is asked for, yet at 10.77.0.2 answers another.
    let port = in_own_netns(|| {
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "here", "type", "veth", "peer", "name", "there"]);
        ip(&["address", "add", "10.77.0.1/24", "dev", "here"]);
        for device in ["here", "there"] {
            ip(&["link", "set", device, "up"]);
        }
        ip(&["neighbour", "add", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", "here"]);
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let url = format!("http://10.77.0.2:{port}/");
        // Nobody answers: only the SYN goes out.
        let status = Command::new("curl").args(["-s", "-m", "1", &url]).status().expect("curl");
        assert!(!status.success());
        port
    });
    running.packets.wait("a SYN to the other host", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
}

/// Runs in a network namespace that nobody else is in.
fn in_own_netns<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let body = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("makes a namespace");
        run()
    };
    std::thread::scope(|scope| scope.spawn(body).join().expect("no panic"))
}

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().expect("ip").success(), "ip {args:?}");
}

/// Packets of others come after those of earlier exchanges, so what is not seen now never will be.
fn assert_others_are_seen(running: &Running) {
    let (port, _server) = curl_and_python();
    running.packets.wait("traffic of others", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
}

#[test]
fn root_scope_changes_at_run_time() {
    let running = start_all();
    let (wanted, wanted_port) = listener();
    let (other, other_port) = listener();
    let ports = |ports: &[u16]| ScopeLists { ports: ports.to_vec(), ..ScopeLists::default() };
    let networks =
        |text: &str| ScopeLists { networks: vec![text.parse().expect("network")], ..ScopeLists::default() };
    let check = |scope: Scope, first: &[u8], seen_first: bool, second: &[u8]| {
        running.capture.set_scope(&scope).expect("scope");
        let before = running.packets.packets_of(wanted_port).len();
        drop(exchange(&wanted, first, first));
        running.capture.set_scope(&Scope::default()).expect("scope");
        drop(exchange(&other, second, second));
        wait_payload(&running.packets, other_port, Hook::Ingress, second);
        let seen =
            running.packets.packets_of(wanted_port)[before..].iter().any(|packet| payload(packet) == first);
        assert_eq!(seen, seen_first, "{scope:?}");
    };
    check(Scope { include: ports(&[wanted_port]), ..Scope::default() }, b"a1", true, b"a2");
    check(Scope { include: ports(&[1]), ..Scope::default() }, b"b1", false, b"b2");
    check(Scope { exclude: ports(&[wanted_port]), ..Scope::default() }, b"c1", false, b"c2");
    check(Scope { include: networks("127.0.0.0/8"), ..Scope::default() }, b"d1", true, b"d2");
    check(Scope { include: networks("10.0.0.0/8"), ..Scope::default() }, b"e1", false, b"e2");
    check(Scope { exclude: networks("127.0.0.1"), ..Scope::default() }, b"f1", false, b"f2");
    check(Scope { include: ports(&[wanted_port]), exclude: networks("127.0.0.0/8") }, b"g1", false, b"g2");
    assert!(running.capture.counters().expect("counters").excluded_scope > 0);
}

#[test]
fn root_scope_knows_cgroups_and_what_is_in_them() {
    let cgroup = TestCgroup::new();
    let running = start_all();
    let lists = ScopeLists { cgroups: vec![cgroup.id()], ..ScopeLists::default() };
    running.capture.set_scope(&Scope { include: lists.clone(), ..Scope::default() }).expect("scope");
    let (inside, inside_port) = listener();
    let body = cgroup.run_curl(&inside, inside_port);
    assert_eq!(body, b"hello");
    running.packets.wait("the client in the child cgroup", |records| {
        records.iter().find_map(|record| packet_of(record, inside_port)).map(drop)
    });
    let client_only = running.packets.packets_of(inside_port);
    assert!(
        client_only.iter().all(|packet| packet.socket.is_some_and(|socket| socket.local.port != inside_port))
    );

    running.capture.set_scope(&Scope { exclude: lists, ..Scope::default() }).expect("scope");
    let (outside, port) = listener();
    assert_eq!(cgroup.run_curl(&outside, port), b"hello");
    running.packets.wait("the server outside", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
    assert!(
        running
            .packets
            .packets_of(port)
            .iter()
            .all(|packet| packet.socket.is_some_and(|socket| socket.local.port == port))
    );
}

#[test]
fn root_stop_leaves_nothing_attached() {
    let before = loaded_programs();
    let mut running = start_all();
    assert!(loaded_programs() > before);
    running.capture.stop();
    drop(running);
    // The kernel frees programs after a grace period.
    let deadline = Instant::now() + PATIENCE;
    while loaded_programs() > before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(loaded_programs(), before);
}

#[test]
fn root_all_jobs_are_attached_here() {
    let running = start_all();
    let jobs = running.capture.jobs();
    let names: Vec<_> = jobs.iter().map(|job| job.job).collect();
    assert_eq!(names, ["packets", "own_traffic", "attribution", "existing_sockets"]);
    for job in jobs {
        assert!(job.attached && job.missing.is_empty(), "{job:?}");
    }
}

#[test]
fn root_idle_reader_sleeps_and_a_lone_packet_is_prompt() {
    let running = start_all();
    let (listener, port) = listener();
    let (mut client, mut server) = exchange(&listener, b"first", b"first");
    let mut delays: Vec<u64> = (0..20_u8)
        .map(|n| {
            // Longer than a reader stays awake.
            std::thread::park_timeout(Duration::from_millis(15));
            let data = [b'n', n];
            send(&mut client, &mut server, &data);
            let packet = wait_payload(&running.packets, port, Hook::Ingress, &data);
            Clock::new().tick().since(packet.at)
        })
        .collect();
    delays.sort_unstable();
    assert!(delays[delays.len() / 2] < 5_000_000, "median delay of a lone packet: {delays:?}");
}

/// Programs loaded by this process.
fn loaded_programs() -> usize {
    let mine = std::process::id();
    let held = std::fs::read_dir(format!("/proc/{mine}/fd")).expect("proc").flatten();
    held.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf")))
        .count()
}

fn answer_http(server: &mut TcpStream) {
    let mut request = [0_u8; 4096];
    let _ = server.read(&mut request).expect("reads");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        .expect("writes");
}

/// An HTTP exchange between two processes that are not this one; returns the server's port.
fn curl_and_python() -> (u16, Server) {
    let server = Server::start("single");
    let status = Command::new("curl").args(["-s", "-m", "10", &server.url()]).stdout(Stdio::null()).status();
    assert!(status.expect("curl").success());
    (server.port, server)
}

/// A Python server in its own process.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// `kind`: `single`; `prefork` (a child accepts); `handover` (an exec'ed child gets the
    /// connection).
    fn start(kind: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("tests/server.py"), kind])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = Vec::new();
        let stdout = child.stdout.as_mut().expect("piped");
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("the server says its port");
            line.push(byte[0]);
        }
        let port = String::from_utf8(line).expect("text").trim().parse().expect("a port");
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The pid that the server answers with: of the process that handled the connection.
    fn ask(&self) -> u32 {
        let output = Command::new("curl").args(["-s", "-m", "10", &self.url()]).output().expect("curl");
        String::from_utf8(output.stdout).expect("text").trim().parse().expect("a pid")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cgroup v2 made for the test.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn new() -> Self {
        let root = host_support::probe().cgroup2.expect("a cgroup2 mount");
        let path = root.join(format!("remora-test-{}", std::process::id()));
        std::fs::create_dir_all(path.join("child")).expect("makes a cgroup");
        Self(path)
    }

    fn id(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.0).expect("exists").ino()
    }

    /// Runs curl in the child cgroup against `listener`.
    fn run_curl(&self, listener: &TcpListener, port: u16) -> Vec<u8> {
        let script = format!(
            "echo $$ > {}/child/cgroup.procs && exec curl -s -m 5 http://127.0.0.1:{port}/",
            self.0.display()
        );
        let curl = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("sh");
        answer_http(&mut listener.accept().expect("accepts").0);
        curl.wait_with_output().expect("curl").stdout
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("child"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The cookie of the socket at `local` of the connection with `remote`, from its packets.
fn cookie_at(seen: &Seen, local_port: u16, remote_port: u16) -> SocketCookie {
    seen.wait("packets of the connection", |records| {
        records.iter().find_map(|record| match record {
            Record::Packet(packet) => packet
                .socket
                .filter(|socket| (socket.local.port, socket.remote.port) == (local_port, remote_port))
                .map(|_| packet.cookie),
            _ => None,
        })
    })
}

/// Waits until `pid` is reported as owner of the socket with at least this evidence.
fn wait_owner(seen: &Seen, wanted: SocketCookie, pid: u32, least: OwnerEvidence) -> SocketEvent {
    seen.wait(&format!("{pid} as owner of {wanted:?} by {least:?}"), |records| {
        records.iter().find_map(|record| match record {
            Record::Socket(event @ SocketEvent::Owner { cookie, process, evidence, .. })
                if *cookie == wanted && process.pid == pid && *evidence >= least =>
            {
                Some(event.clone())
            }
            _ => None,
        })
    })
}

/// The server's socket of the only connection to `port`, by its packets.
fn server_cookie(seen: &Seen, port: u16) -> SocketCookie {
    seen.wait("the server's end", |records| {
        records.iter().find_map(|record| match record {
            Record::Packet(packet) => packet
                .socket
                .filter(|socket| socket.local.port == port && socket.remote.port != 0)
                .map(|_| packet.cookie),
            _ => None,
        })
    })
}

#[test]
fn root_connection_from_before_the_start_has_its_owner() {
    let (listener, port) = listener();
    let (mut client, mut server) = exchange(&listener, b"before", b"before");
    let client_port = client.local_addr().expect("connected").port();
    let running = start_all();
    let owner = running.sockets.wait("file table", |records| {
        records.iter().find_map(|record| match record {
            Record::Socket(SocketEvent::State { cookie, tuple, state, .. })
                if tuple.local.port == client_port
                    && tuple.remote.port == port
                    && *state == TcpState::ESTABLISHED =>
            {
                Some(*cookie)
            }
            _ => None,
        })
    });
    let event = wait_owner(&running.sockets, owner, std::process::id(), OwnerEvidence::FileTable);
    let SocketEvent::Owner { uid, netns, process, ppid, .. } = event else { panic!("{event:?}") };
    assert!(process.started > 0 && netns > 0 && ppid == std::os::unix::process::parent_id());
    assert_eq!(uid, Some(0));
    send(&mut client, &mut server, b"after");
    assert_eq!(cookie_at(&running.packets, client_port, port), owner);
}

#[test]
fn root_prefork_connection_belongs_to_the_worker() {
    let running = start_all();
    let server = Server::start("prefork");
    let worker = server.ask();
    assert_ne!(worker, server.child.id());
    let cookie = server_cookie(&running.packets, server.port);
    wait_owner(&running.sockets, cookie, worker, OwnerEvidence::DataTransfer);
}

#[test]
fn root_connection_handed_to_an_execed_child_belongs_to_it() {
    let running = start_all();
    let server = Server::start("handover");
    let child = server.ask();
    assert_ne!(child, server.child.id());
    let cookie = server_cookie(&running.packets, server.port);
    wait_owner(&running.sockets, cookie, child, OwnerEvidence::DataTransfer);
    running.sockets.wait("exec of the child", |records| {
        records.iter().find_map(|record| match record {
            Record::Process(ProcessEvent::Exec { process, path, .. }) if process.pid == child => {
                assert!(path.contains("python"), "{path}");
                Some(())
            }
            _ => None,
        })
    });
}

#[test]
fn root_udp_sender_is_known() {
    let running = start_all();
    let from = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let to = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let target: SocketAddr = to.local_addr().expect("bound");
    from.send_to(b"x", target).expect("sends");
    let cookie = running.packets.wait("datagram", |records| {
        let mut packets = records.iter().filter_map(|record| packet_of(record, target.port()));
        packets.find(|packet| packet.hook == Hook::Egress).map(|packet| packet.cookie)
    });
    wait_owner(&running.sockets, cookie, std::process::id(), OwnerEvidence::DataTransfer);
    drop(from);
    running.sockets.wait("end of the socket", |records| {
        let is_end = |record: &Record| matches!(record, Record::Socket(SocketEvent::Destroyed { cookie: gone, .. }) if *gone == cookie);
        records.iter().any(is_end).then_some(())
    });
}

#[test]
fn root_short_lived_client_is_known_with_its_executable() {
    let running = start_all();
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let curl =
        Command::new("curl").args(["-s", "-m", "5", &url]).stdout(Stdio::piped()).spawn().expect("curl");
    let pid = curl.id();
    let (mut server, peer) = listener.accept().expect("accepts");
    answer_http(&mut server);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
    let cookie = cookie_at(&running.packets, peer.port(), port);
    let event = wait_owner(&running.sockets, cookie, pid, OwnerEvidence::Connect);
    let SocketEvent::Owner { name, ppid, process, .. } = event else { panic!("{event:?}") };
    assert_eq!((name.as_str(), ppid), ("curl", std::process::id()));
    running.sockets.wait("exec and exit of curl", |records| {
        let is_exec = |record: &Record| matches!(record, Record::Process(ProcessEvent::Exec { process: key, path, .. }) if *key == process && path.ends_with("/curl"));
        let is_exit = |record: &Record| matches!(record, Record::Process(ProcessEvent::Exit { process: key, .. }) if *key == process);
        (records.iter().any(is_exec) && records.iter().any(is_exit)).then_some(())
    });
}
