//! A server in this process with a fake daemon behind it, and clients for it.

mod access;
mod external;
mod rest;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::schema::{Doctor, Flow, FlowEnd, NewToken, Status, TlsDoctor, TlsProcess, TokenInfo};
use super::*;
use crate::engine::kfl::Filter;
use crate::engine::model::{
    AddrPort, CaptureInfo, ConnectionId, Entry, EntryId, Map, NodeInfo, Peer, ProtocolKey, Timestamp, Timing,
    Value,
};
use crate::runtime::Shutdown;
use crate::runtime::activation::Listeners;
use crate::tap::{Tap, TapConfig};
use crate::telemetry::{Drops, Metrics};

/// Longer than anything here takes, so that a hang is a failure and not a stuck run.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An HTTP entry as dissection makes it.
pub(super) fn entry(seq: u64, path: &str, status: i64) -> Arc<Entry> {
    let mut headers = Map::default();
    headers.put("Host", "shop.example");
    headers.put("Authorization", "Bearer s3cret");
    let mut request = Map::default();
    request.put("method", "GET");
    request.put("url", path);
    request.put("path", path);
    request.put("headers", headers);
    let mut response = Map::default();
    response.put("status", status);
    Arc::new(Entry {
        id: EntryId { node: "host-a".into(), stream: "17c-1".into(), index: seq },
        seq,
        protocol: ProtocolKey::new("http"),
        node: Arc::new(NodeInfo { name: "host-a".into(), ip: "192.0.2.1".parse().unwrap() }),
        src: Peer { addr: AddrPort::new("10.0.0.1".parse().unwrap(), 40000), ..Peer::default() },
        dst: Peer { addr: AddrPort::new("10.0.0.2".parse().unwrap(), 80), ..Peer::default() },
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing {
            request_start: Timestamp(1_700_000_000_000_000_000),
            response_end: Timestamp(1_700_000_000_005_000_000),
            ..Timing::default()
        },
        method: "GET".into(),
        summary: path.into(),
        status,
        request: Value::Map(request),
        response: Value::Map(response),
        request_size: 100,
        response_size: 200,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(1),
        capture: CaptureInfo::default(),
    })
}

/// The daemon behind the API.
#[derive(Default)]
pub(super) struct Fake {
    paused: AtomicBool,
    pub(super) stored: Mutex<Vec<Arc<Entry>>>,
    tokens: Mutex<Vec<(String, TokenInfo)>>,
}

impl Control for Fake {
    fn status(&self) -> Status {
        Status { status: "ok".to_owned(), dissection_enabled: self.dissection_enabled(), ..Status::default() }
    }

    fn dissection_enabled(&self) -> bool {
        !self.paused.load(Ordering::Relaxed)
    }

    fn set_dissection(&self, enabled: bool) -> Result<(), ControlError> {
        self.paused.store(!enabled, Ordering::Relaxed);
        Ok(())
    }

    fn flows(&self) -> Vec<Flow> {
        let end = |port, bytes| FlowEnd { ip: "127.0.0.1".to_owned(), port, bytes, ..FlowEnd::default() };
        (1..=3)
            .map(|number| Flow {
                id: number.to_string(),
                protocol: "tcp".to_owned(),
                client: end(40000 + number, u64::from(number)),
                server: end(80, 10),
                ..Flow::default()
            })
            .collect()
    }

    fn doctor(&self) -> Doctor {
        Doctor { healthy: true, summary: "all jobs by their best mechanism".to_owned(), ..Doctor::default() }
    }

    fn tls(&self) -> TlsDoctor {
        let process = TlsProcess { pid: 7, name: "nginx".to_owned(), ..TlsProcess::default() };
        TlsDoctor { settled: true, processes: vec![process] }
    }

    fn metrics_text(&self) -> String {
        "# TYPE remora_drops_total counter\n".to_owned()
    }
}

impl History for Fake {
    fn newest_first(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, ControlError> {
        let stored = self.stored.lock().unwrap();
        let before = before.unwrap_or(u64::MAX);
        let mut found: Vec<_> = stored
            .iter()
            .rev()
            .filter(|entry| entry.seq < before && filter.matches(entry))
            .cloned()
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = more.then(|| found.last().map(|entry| entry.seq)).flatten();
        Ok(Page { entries: found, next })
    }

    fn oldest_first(&self, filter: &Filter, span: Span) -> Result<Stretch, ControlError> {
        let stored = self.stored.lock().unwrap();
        let in_span = |entry: &&Arc<Entry>| {
            (span.from..=span.until).contains(&entry.seq)
                && entry.timing.request_start >= span.since
                && filter.matches(entry)
        };
        let found: Vec<_> = stored.iter().filter(in_span).take(10).cloned().map(Stored::Entry).collect();
        let next = match found.last() {
            Some(Stored::Entry(last)) if found.len() == 10 => last.seq + 1,
            _ => span.until.saturating_add(1),
        };
        Ok(Stretch { found, next })
    }

    fn newest_seq(&self) -> Result<u64, ControlError> {
        Ok(self.stored.lock().unwrap().last().map_or(0, |entry| entry.seq))
    }

    fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        Ok(self.stored.lock().unwrap().iter().find(|entry| entry.id == *id).cloned())
    }
}

impl Tokens for Fake {
    fn verify(&self, token: &str) -> Option<Caller> {
        let tokens = self.tokens.lock().unwrap();
        let (_, info) = tokens.iter().find(|(secret, _)| secret == token)?;
        Some(Caller { name: format!("token {}", info.name), role: info.role })
    }

    fn list(&self) -> Result<Vec<TokenInfo>, ControlError> {
        Ok(self.tokens.lock().unwrap().iter().map(|(_, info)| info.clone()).collect())
    }

    fn create(&self, name: &str, role: Role, _: Option<Duration>) -> Result<NewToken, ControlError> {
        let mut tokens = self.tokens.lock().unwrap();
        let id = format!("t{}", tokens.len());
        let info = TokenInfo { id, name: name.to_owned(), role, created_at: String::new(), expires_at: None };
        let token = format!("rmr_{name}");
        tokens.push((token.clone(), info.clone()));
        Ok(NewToken { token, info })
    }

    fn revoke(&self, id: &str) -> Result<bool, ControlError> {
        let mut tokens = self.tokens.lock().unwrap();
        let before = tokens.len();
        tokens.retain(|(_, info)| info.id != id);
        Ok(tokens.len() < before)
    }
}

/// A running server; stops when dropped.
pub(super) struct Served {
    pub(super) fake: Arc<Fake>,
    pub(super) tap: Tap,
    pub(super) drops: Arc<Drops>,
    pub(super) socket: PathBuf,
    pub(super) tcp: SocketAddr,
    pub(super) shutdown: Shutdown,
    pub(super) serving: JoinHandle<()>,
    pub(super) folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.trigger("test over");
    }
}

/// How a test wants its server.
#[derive(Default)]
pub(super) struct Options {
    pub(super) access: AccessConfig,
    pub(super) tap: TapConfig,
    pub(super) tls: Option<TlsFiles>,
    pub(super) address: Option<SocketAddr>,
    pub(super) allow_plaintext: bool,
}

pub(super) fn serve(options: Options) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("remora.sock");
    let address = options.address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
    let listen = ListenConfig {
        unix: Some(socket.clone()),
        group: None,
        tcp: vec![TcpListen { address, tls: options.tls }],
        allow_plaintext: options.allow_plaintext,
    };
    let server = Server::bind(&listen, Listeners::default()).unwrap();
    let tcp = server.addresses()[1].rsplit_once("//").unwrap().1.parse().unwrap();
    let drops = Arc::new(Drops::new());
    let metrics = Arc::new(Metrics::new(Arc::clone(&drops)));
    let tap = Tap::new(options.tap, Arc::clone(&drops));
    let fake = Arc::new(Fake::default());
    let access = Access::new(options.access);
    let api = Arc::new(Api::new(fake.clone(), fake.clone(), fake.clone(), tap.clone(), metrics, access));
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(server.serve(api, shutdown.clone()));
    Served { fake, tap, drops, socket, tcp, shutdown, serving, folder }
}

/// Status, body.
pub(super) type Answer = (StatusCode, String);

impl Served {
    pub(super) async fn unix(&self, method: Method, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json");
        send(stream, request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, Json) {
        let (status, body) = self.unix(Method::GET, path, "").await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    pub(super) async fn tcp_get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        let mut request = Request::builder().uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.tcp.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(stream, request.body(Full::default()).unwrap()).await
    }
}

pub(super) async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    connection.abort();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits until `met` holds; for state that another task changes and nobody announces.
pub(super) async fn until(what: &str, met: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !met() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}
