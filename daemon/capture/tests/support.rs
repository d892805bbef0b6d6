//! What the kernel tests share: records seen, traffic, servers in other processes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::capture::{Capture, CaptureConfig, Sink};
use crate::engine::model::{Hook, Packet, Record, Timestamp};

/// How long a test waits for what must come: longer than the discovery's time between two looks at everybody,
/// since a process that takes a second to load its libraries is found by the second of them.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client waits for its answer, seconds.
pub(super) const CURL_PATIENCE: &str = "20";

/// Records that a capture delivered, shared with the test.
#[derive(Clone, Default)]
pub(super) struct Seen(pub(super) Arc<(Mutex<Vec<Record>>, Condvar)>);

pub(super) struct SeenSink(Seen);

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
    pub(super) fn sink(&self) -> Box<dyn Sink> {
        Box::new(SeenSink(self.clone()))
    }

    /// Waits until the records answer the question.
    pub(super) fn wait<T>(&self, what: &str, find: impl Fn(&[Record]) -> Option<T>) -> T {
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

    pub(super) fn packets_of(&self, port: u16) -> Vec<Packet> {
        let records = self.0.0.lock().expect("no panic");
        records.iter().filter_map(|record| packet_of(record, port)).cloned().collect()
    }
}

pub(super) fn packet_of(record: &Record, port: u16) -> Option<&Packet> {
    let Record::Packet(packet) = record else { return None };
    let (src, dst) = ports(&packet.data)?;
    (src == port || dst == port).then_some(packet)
}

/// Ports in an IPv4 or IPv6 header without extensions.
pub(super) fn ports(data: &[u8]) -> Option<(u16, u16)> {
    let offset = if data.first()? >> 4 == 4 { usize::from(data[0] & 15) * 4 } else { 40 };
    let ports = data.get(offset..offset + 4)?;
    Some((u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])))
}

/// TCP payload of a packet.
pub(super) fn payload(packet: &Packet) -> &[u8] {
    let ip = if packet.data[0] >> 4 == 4 { usize::from(packet.data[0] & 15) * 4 } else { 40 };
    let tcp = usize::from(packet.data[ip + 12] >> 4) * 4;
    &packet.data[ip + tcp..]
}

pub(super) struct Running {
    pub(super) capture: Capture,
    pub(super) packets: Seen,
    pub(super) sockets: Seen,
}

pub(super) fn start(config: &CaptureConfig) -> Running {
    start_beside(config, &[])
}

/// With sockets that are the daemon's own from the start.
pub(super) fn start_beside(config: &CaptureConfig, own: &[BorrowedFd<'_>]) -> Running {
    let (packets, sockets) = (Seen::default(), Seen::default());
    let capture = Capture::start(config, own, packets.sink(), sockets.sink()).expect("this kernel captures");
    Running { capture, packets, sockets }
}

pub(super) fn start_all() -> Running {
    start(&CaptureConfig::default())
}

pub(super) fn own_process() -> CaptureConfig {
    CaptureConfig { own_pid: std::process::id(), ..CaptureConfig::default() }
}

/// Connects, sends `request` and reads `answer` back; returns the client and server ends.
pub(super) fn exchange(listener: &TcpListener, request: &[u8], answer: &[u8]) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (mut server, _) = listener.accept().expect("accepts");
    send(&mut client, &mut server, request);
    send(&mut server, &mut client, answer);
    (client, server)
}

pub(super) fn send(from: &mut TcpStream, to: &mut TcpStream, data: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(data).expect("writes"));
        let mut got = vec![0; data.len()];
        to.read_exact(&mut got).expect("reads");
        assert_eq!(got, data);
    });
}

pub(super) fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// Waits until a payload was seen on a hook, and returns its packet.
pub(super) fn wait_payload(seen: &Seen, port: u16, hook: Hook, data: &[u8]) -> Packet {
    seen.wait("payload", |records| {
        let mut packets = records.iter().filter_map(|record| packet_of(record, port));
        packets.find(|packet| packet.hook == hook && payload(packet) == data).cloned()
    })
}

/// Packets of others come after those of earlier exchanges, so what is not seen now never will be.
pub(super) fn assert_others_are_seen(running: &Running) {
    let (port, _server) = curl_and_python();
    running.packets.wait("traffic of others", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
}

/// Waits until a connection waits at the listener.
pub(super) fn wait_readable(listener: &TcpListener) {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)), Ok(1), "nobody connects");
}

pub(super) fn answer_http(server: &mut TcpStream) {
    let mut request = [0_u8; 4096];
    let _ = server.read(&mut request).expect("reads");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        .expect("writes");
}

/// An HTTP exchange between two processes that are not this one; returns the server's port.
pub(super) fn curl_and_python() -> (u16, Server) {
    let server = Server::start("single");
    let status =
        Command::new("curl").args(["-s", "-m", CURL_PATIENCE, &server.url()]).stdout(Stdio::null()).status();
    assert!(status.expect("curl").success());
    (server.port, server)
}

/// A Python server in its own process.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) port: u16,
}

impl Server {
    /// `kind`: `single`; `prefork` (a child accepts); `handover` (an exec'ed child gets the
    /// connection).
    pub(super) fn start(kind: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("server.py"), kind])
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

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The pid that the server answers with: of the process that handled the connection.
    pub(super) fn ask(&self) -> u32 {
        let output =
            Command::new("curl").args(["-s", "-m", CURL_PATIENCE, &self.url()]).output().expect("curl");
        String::from_utf8(output.stdout).expect("text").trim().parse().expect("a pid")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
