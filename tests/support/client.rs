//! An independent client of the daemon's API: plain HTTP/1.1 and websockets over TCP or unix.

use std::collections::{HashSet, VecDeque};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket, client::IntoClientRequest, protocol::CloseFrame,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a ping carries that asks whether a subscription is in force.
const PING: &[u8] = b"subscribed?";

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    head: String,
}

impl Reply {
    /// The value of a header, if there is one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A stream that may be TCP or unix.
pub(crate) trait Duplex: Read + Write + Send {
    fn set_timeout(&self, timeout: Option<Duration>);
}

impl Duplex for TcpStream {
    fn set_timeout(&self, timeout: Option<Duration>) {
        self.set_read_timeout(timeout).expect("timeout");
    }
}

impl Duplex for UnixStream {
    fn set_timeout(&self, timeout: Option<Duration>) {
        self.set_read_timeout(timeout).expect("timeout");
    }
}

pub(crate) fn unix(path: &Path) -> Box<dyn Duplex> {
    Box::new(UnixStream::connect(path).unwrap_or_else(|error| panic!("connect {}: {error}", path.display())))
}

pub(crate) fn tcp(address: std::net::SocketAddr) -> Box<dyn Duplex> {
    Box::new(TcpStream::connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}")))
}

/// Sends one request and reads the answer to the end of the connection.
pub(crate) fn request(
    mut stream: Box<dyn Duplex>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    use std::fmt::Write as _;
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: localhost\r\n");
    }
    if !body.is_empty() {
        text.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").expect("write to a string");
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.set_timeout(Some(PATIENCE));
    stream.write_all(text.as_bytes()).expect("send request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read answer");
    parse(&answer)
}

fn parse(answer: &[u8]) -> Reply {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("end of head");
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status code");
    let raw = &answer[split + 4..];
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        dechunk(raw)
    } else {
        raw.to_vec()
    };
    Reply { status, body, head }
}

fn dechunk(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|window| window == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&raw[..line]).expect("chunk size"), 16).expect("hex");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[line + 2..line + 2 + size]);
        raw = &raw[line + 4 + size..];
    }
    body
}

/// A subscription to the entry stream.
///
/// A call that takes longer than a second, which on a machine that stalls any call may do, is shown while it is
/// open and comes again when it is over. Tests are about calls that are over; those about open ones read frames.
pub(crate) struct Feed {
    socket: WebSocket<Box<dyn Duplex>>,
    /// What came while the subscription was waited for.
    early: VecDeque<Value>,
    /// The server closed at once.
    closed: bool,
    close_frame: Option<CloseFrame>,
    /// Ids of calls that were shown open and are not over yet.
    open: HashSet<String>,
}

impl Feed {
    /// Connects to `path`, sends the filter as first frame, and waits until the subscription is in force, or
    /// refused.
    pub(crate) fn open(stream: Box<dyn Duplex>, path: &str, filter: &str) -> Self {
        let request = format!("ws://localhost{path}").into_client_request().expect("request");
        stream.set_timeout(Some(PATIENCE));
        let (mut socket, _) =
            tungstenite::client(request, stream).map_err(|error| error.to_string()).expect("upgrade");
        socket.send(Message::text(filter)).expect("send filter");
        // Frames are answered in order: who answers this has taken the filter.
        socket.send(Message::Ping(PING.into())).expect("send ping");
        let mut feed =
            Self { socket, early: VecDeque::new(), closed: false, close_frame: None, open: HashSet::new() };
        loop {
            match feed.socket.read().expect("an answer to the ping") {
                Message::Pong(answer) if answer == PING => return feed,
                Message::Text(text) => feed.early.push_back(parsed(&text)),
                Message::Close(frame) => {
                    feed.closed = true;
                    feed.close_frame = frame;
                    return feed;
                }
                _ => {}
            }
        }
    }

    /// The next text frame within `patience`, also of a call that is still open, or `None`.
    pub(crate) fn frame_within(&mut self, patience: Duration) -> Option<Value> {
        if let Some(early) = self.early.pop_front() {
            return Some(early);
        }
        assert!(!self.closed, "stream closed: {:?}", self.close_frame);
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.get_ref().set_timeout(Some(left));
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(parsed(&text)),
                Ok(Message::Close(frame)) => panic!("stream closed: {frame:?}"),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return None;
                }
                Err(error) => panic!("stream failed: {error}"),
            }
        }
    }

    /// The next text frame, also of a call that is still open; panics after 20 s.
    pub(crate) fn frame(&mut self) -> Value {
        self.frame_within(PATIENCE).expect("a frame within 20 s")
    }

    /// The next text frame that is not about an open call within `patience`, or `None`.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Option<Value> {
        let end = Instant::now() + patience;
        loop {
            let frame = self.frame_within(end.saturating_duration_since(Instant::now()))?;
            let id = frame["id"].as_str().unwrap_or_default();
            if frame["state"] != "open" {
                self.open.remove(id);
                return Some(frame);
            }
            assert!(self.open.insert(id.to_owned()), "shown open twice: {frame}");
        }
    }

    /// The next text frame that is not about an open call; panics after 20 s.
    pub(crate) fn next(&mut self) -> Value {
        self.next_within(PATIENCE).expect("an entry within 20 s")
    }

    /// The next `count` frames that are not about open calls.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Whether nothing more comes within `patience`, and nothing that was shown open is left.
    pub(crate) fn is_quiet(&mut self, patience: Duration) -> bool {
        self.next_within(patience).is_none() && self.open.is_empty()
    }

    /// Reads until the server closes and returns its close frame.
    pub(crate) fn closed(&mut self) -> Option<CloseFrame> {
        if self.closed {
            return self.close_frame.take();
        }
        self.socket.get_ref().set_timeout(Some(PATIENCE));
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame,
                Ok(_) => {}
                Err(error) => panic!("stream failed instead of closing: {error}"),
            }
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("frame is JSON")
}
