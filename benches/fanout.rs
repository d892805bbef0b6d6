//! Entries per second to fifty subscribers with fifty different filters, over real websockets.
//!
//! This process is the daemon's stream side: the tap, the API server on a unix socket, and a thread that
//! publishes entries at a fixed rate as the pipeline does. A second process of the same program is all
//! the clients. Reported per setting: frames and bytes per second, entries lost, the time from publishing
//! to reading, and CPU and memory of both sides. `cargo bench --bench fanout` or `benches/run fanout`;
//! RATE, SECONDS and SUBSCRIBERS in the environment change the defaults.

#![allow(clippy::disallowed_methods, reason = "a bench starts threads and processes as it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use remora::api::{
    Access, AccessConfig, Api, Caller, Control, ControlError, History, ListenConfig, Page, Role, Server,
    Span, Stretch, Tokens, schema,
};
use remora::engine::kfl::{Context, Filter};
use remora::engine::model::{
    AddrPort, CaptureInfo, ConnectionId, DropReason, Entry, EntryId, Map, NodeInfo, Peer, ProtocolKey,
    Timestamp, Timing, Value,
};
use remora::runtime::Shutdown;
use remora::runtime::activation::Listeners;
use remora::tap::{Tap, TapConfig};
use remora::telemetry::{Drops, Metrics};

/// Entries differ by the tenant in their path.
const TENANTS: usize = 50;

/// As in the daemon.
const API_THREADS: usize = 2;

/// One frame in so many is looked at for its age.
const SAMPLE: u64 = 64;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--clients") {
        return clients(Path::new(&arguments[at + 1]));
    }
    let (rate, seconds, count) =
        (setting("RATE", 20_000), setting("SECONDS", 10), setting("SUBSCRIBERS", TENANTS));
    println!("{rate} entries/s for {seconds} s to {count} subscribers with {count} different filters");
    println!(
        "{:28} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "each filter matches",
        "frames/s",
        "MB/s",
        "lost",
        "dropped",
        "p50 ms",
        "p99 ms",
        "server",
        "clients",
        "RSS",
        "queued"
    );
    let idle = |_| "/nothing/".to_owned();
    run("nothing", rate, seconds, count, |index| {
        format!("{} and request.path.startsWith(\"{}\")", base(index), idle(index))
    });
    run("2 % (own tenant)", rate, seconds, count, |index| format!("http and {}", tenant(index)));
    run("10 % (five tenants)", rate, seconds, count, |index| {
        let tenants: Vec<String> = (0..5).map(|step| tenant(index + step * 7)).collect();
        format!("http and ({})", tenants.join(" or "))
    });
    run("5 all, 15 20 %, 30 2 %", rate, seconds, count, |index| match index {
        0..5 => base(index),
        5..20 => {
            let tenants: Vec<String> = (0..10).map(|step| tenant(index + step * 3)).collect();
            format!("http and ({})", tenants.join(" or "))
        }
        _ => format!("http and {}", tenant(index)),
    });
    run("all", rate, seconds, count, base);
}

/// True for every entry, and different for every index.
fn base(index: usize) -> String {
    format!("http and response.status >= {}", 100 + index)
}

fn tenant(index: usize) -> String {
    format!("request.path.startsWith(\"/api/v1/tenant-{:02}/\")", index % TENANTS)
}

/// One setting, printed as one line.
fn run(name: &str, rate: usize, seconds: usize, count: usize, filter: impl Fn(usize) -> String) {
    let filters: Vec<String> = (0..count).map(filter).collect();
    let folder = tempfile::tempdir().expect("folder");
    let socket = folder.path().join("remora.sock");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(API_THREADS).enable_all().build();
    let runtime = runtime.expect("runtime");
    let drops = Arc::new(Drops::new());
    let config = TapConfig { group_bytes: 64 << 20, subscriber_bytes: 64 << 20, ..TapConfig::default() };
    let tap = Tap::new(config, Arc::clone(&drops));
    let shutdown = Shutdown::new();
    let listen =
        ListenConfig { unix: Some(socket.clone()), group: None, tcp: Vec::new(), allow_plaintext: false };
    let serving = {
        let _inside = runtime.enter();
        let server = Server::bind(&listen, Listeners::default()).expect("bind");
        let metrics = Arc::new(Metrics::new(Arc::clone(&drops)));
        let nothing = Arc::new(Nothing);
        let access = Access::new(AccessConfig::default());
        let api = Api::new(nothing.clone(), nothing.clone(), nothing, tap.clone(), metrics, access);
        tokio::spawn(server.serve(Arc::new(api), shutdown.clone()))
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("--clients")
        .arg(&socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("clients");
    let mut to_child = child.stdin.take().expect("stdin");
    for filter in &filters {
        writeln!(to_child, "{filter}").expect("filter");
    }
    drop(to_child);
    while tap.subscribers() < count {
        std::thread::sleep(Duration::from_millis(5));
    }
    let cpu = (cpu_seconds(std::process::id()), cpu_seconds(child.id()));
    let published = publish(&tap, rate, seconds);
    let expected: u64 = expected(&filters, &published);
    drained(&tap);
    let took = published.began.elapsed().as_secs_f64();
    // What was handed to the sockets' tasks is still on its way.
    std::thread::sleep(Duration::from_millis(500));
    let cpu = (cpu_seconds(std::process::id()) - cpu.0, cpu_seconds(child.id()) - cpu.1);
    shutdown.trigger("the round is over");
    let report = child.wait_with_output().expect("report");
    runtime.block_on(serving).expect("server");
    let text = String::from_utf8_lossy(&report.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [frames, bytes, p50, p99] = numbers[..] else { panic!("clients said {text:?}") };
    println!(
        "{name:28} {:9.0} {:8.1} {:8} {:8} {p50:9.1} {p99:9.1} {:7.0}% {:7.0}% {:5.0}MiB {:5.0}MiB{}",
        frames / took,
        bytes / took / 1e6,
        expected as i64 - frames as i64,
        drops.get(DropReason::SubscriberSlow),
        cpu.0 / took * 100.0,
        cpu.1 / took * 100.0,
        published.rss_mib,
        published.rss_mib - published.rss_before,
        if published.late > 0.05 {
            format!("  published {:.0} % late", published.late * 100.0)
        } else {
            String::new()
        },
    );
}

/// Waits until nothing was delivered for a second.
fn drained(tap: &Tap) {
    let mut before = (tap.delivered(), Instant::now());
    while before.1.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(5));
        if tap.delivered() != before.0 {
            before = (tap.delivered(), Instant::now());
        }
    }
}

struct Published {
    began: Instant,
    per_tenant: Vec<u64>,
    rss_mib: f64,
    rss_before: f64,
    late: f64,
}

/// Publishes at the rate for the time, and watches this process's memory meanwhile.
fn publish(tap: &Tap, rate: usize, seconds: usize) -> Published {
    let templates: Vec<Entry> = (0..TENANTS).map(template).collect();
    let rss_before = rss_mib();
    let (began, total) = (Instant::now(), rate * seconds);
    let (mut done, mut rss, mut per_tenant) = (0, rss_before, vec![0; TENANTS]);
    while done < total {
        let due = ((began.elapsed().as_secs_f64() * rate as f64) as usize).min(total);
        let now = Timestamp(now_nanos());
        let batch: Vec<Arc<Entry>> = (done..due.min(done + 512))
            .map(|number| {
                // Not in step with the batches.
                let which = (number * 7919) % TENANTS;
                per_tenant[which] += 1;
                let mut entry = templates[which].clone();
                entry.seq = number as u64 + 1;
                entry.id.index = entry.seq;
                entry.timing.request_start = now;
                Arc::new(entry)
            })
            .collect();
        done += batch.len();
        tap.publish(&batch);
        if done % 4096 < 512 {
            rss = rss_mib().max(rss);
        }
        if batch.len() < 100 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let late = began.elapsed().as_secs_f64() / seconds as f64 - 1.0;
    Published { began, per_tenant, rss_mib: rss_mib().max(rss), rss_before, late }
}

fn expected(filters: &[String], published: &Published) -> u64 {
    let templates: Vec<Entry> = (0..TENANTS).map(template).collect();
    let matching = |text: &String| -> u64 {
        let filter = Filter::parse(text, &Context::new(Timestamp::ZERO)).expect("filter");
        let matches = templates.iter().zip(&published.per_tenant);
        matches.filter(|(entry, _)| filter.matches(entry)).map(|(_, count)| count).sum()
    };
    filters.iter().map(matching).sum()
}

/// A call as browsers and services make them: nine headers each way, 512 bytes of JSON.
fn template(tenant: usize) -> Entry {
    let path = format!("/api/v1/tenant-{tenant:02}/items/42");
    let mut request = Map::default();
    request.put("method", "GET");
    request.put("url", path.as_str());
    request.put("path", path.as_str());
    request.put("httpVersion", "HTTP/1.1");
    request.put("headers", headers("Accept", "X-Request-Id"));
    let mut content = Map::default();
    content.put("size", 512_i64);
    content.put("mimeType", "application/json");
    content.put("text", Value::Bytes(vec![b'x'; 512].into()));
    let mut response = Map::default();
    response.put("status", 200_i64);
    response.put("headers", headers("Server", "ETag"));
    response.put("content", content);
    let peer = |port| Peer {
        addr: AddrPort::new([127, 0, 0, 1].into(), port),
        name: "shop".into(),
        ..Peer::default()
    };
    Entry {
        id: EntryId { node: "host-a".into(), stream: "17c-1".into(), index: 0 },
        seq: 0,
        protocol: ProtocolKey::new("http"),
        node: Arc::new(NodeInfo { name: "host-a".into(), ip: [192, 0, 2, 1].into() }),
        src: peer(40_000),
        dst: peer(80),
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing::default(),
        method: "GET".into(),
        summary: path.into(),
        status: 200,
        request: Value::Map(request),
        response: Value::Map(response),
        request_size: 400,
        response_size: 800,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(1),
        capture: CaptureInfo::default(),
    }
}

fn headers(first: &'static str, last: &'static str) -> Map {
    let mut headers = Map::default();
    headers.put(first, "application/json, text/plain, */*");
    for index in 0..7 {
        headers.push(format!("X-Header-{index}"), "some value of usual length; q=0.9");
    }
    headers.put(last, "7f3c1a52-58d3-4e0a-9a53-0f2b6c1d7e88");
    headers
}

/// All clients, a thread each: prints frames, bytes, and the median and 99th percentile of their age.
fn clients(socket: &Path) {
    let filters: Vec<String> = BufReader::new(std::io::stdin()).lines().map_while(Result::ok).collect();
    let threads: Vec<_> = filters
        .into_iter()
        .map(|filter| {
            let stream = UnixStream::connect(socket).expect("connect");
            std::thread::spawn(move || client(stream, &filter))
        })
        .collect();
    let (mut frames, mut bytes, mut ages) = (0, 0, Vec::new());
    for thread in threads {
        let seen = thread.join().expect("client");
        frames += seen.0;
        bytes += seen.1;
        ages.extend(seen.2);
    }
    ages.sort_by(f64::total_cmp);
    let at = |share: f64| ages.get((ages.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    println!("{frames} {bytes} {} {}", at(0.5), at(0.99));
}

/// Reads frames as a websocket client does (RFC 6455 section 5.2; a server's frames are not masked).
fn client(mut stream: UnixStream, filter: &str) -> (u64, u64, Vec<f64>) {
    stream
        .write_all(
            b"GET /api/wsFull HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("handshake");
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone().expect("clone"));
    let mut line = String::new();
    while reader.read_line(&mut line).expect("head") > 2 {
        line.clear();
    }
    let length = filter.len() as u16;
    let mut frame = vec![0x81, 0xFE];
    frame.extend(length.to_be_bytes());
    // Masked with zeros.
    frame.extend([0; 4]);
    frame.extend(filter.as_bytes());
    stream.write_all(&frame).expect("filter");
    let (mut frames, mut bytes, mut ages, mut payload) = (0, 0, Vec::new(), Vec::new());
    loop {
        let mut head = [0; 2];
        if reader.read_exact(&mut head).is_err() || head[0] & 0x0F == 8 {
            return (frames, bytes, ages);
        }
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(take(&mut reader))),
            127 => u64::from_be_bytes(take(&mut reader)),
            short => u64::from(short),
        };
        payload.resize(length as usize, 0);
        reader.read_exact(&mut payload).expect("payload");
        if head[0] & 0x0F != 1 {
            continue;
        }
        frames += 1;
        bytes += length;
        if frames % SAMPLE == 0 {
            ages.extend(age(&payload));
        }
    }
}

fn take<const N: usize>(reader: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).expect("length");
    bytes
}

/// Milliseconds since the entry was published.
fn age(payload: &[u8]) -> Option<f64> {
    let entry: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let at: jiff::Timestamp = entry["startTime"].as_str()?.parse().ok()?;
    Some((now_nanos() as f64 - at.as_nanosecond() as f64) / 1e6)
}

fn now_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_nanos() as u64
}

/// User and system time of a process.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // Linux counts in hundredths of a second on every architecture that Remora runs on.
    (ticks(11) + ticks(12)) / 100.0
}

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// No daemon behind the API: the bench is about streams.
struct Nothing;

impl Control for Nothing {
    fn status(&self) -> schema::Status {
        schema::Status::default()
    }

    fn dissection_enabled(&self) -> bool {
        true
    }

    fn set_dissection(&self, _: bool) -> Result<(), ControlError> {
        Err(nothing())
    }

    fn flows(&self) -> Vec<schema::Flow> {
        Vec::new()
    }

    fn doctor(&self) -> schema::Doctor {
        schema::Doctor::default()
    }

    fn tls(&self) -> schema::TlsDoctor {
        schema::TlsDoctor::default()
    }

    fn metrics_text(&self) -> String {
        String::new()
    }
}

impl History for Nothing {
    fn newest_first(&self, _: &Filter, _: Option<u64>, _: usize) -> Result<Page, ControlError> {
        Err(nothing())
    }

    fn oldest_first(&self, _: &Filter, _: Span) -> Result<Stretch, ControlError> {
        Err(nothing())
    }

    fn newest_seq(&self) -> Result<u64, ControlError> {
        Err(nothing())
    }

    fn get(&self, _: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        Err(nothing())
    }
}

impl Tokens for Nothing {
    fn verify(&self, _: &str) -> Option<Caller> {
        None
    }

    fn list(&self) -> Result<Vec<schema::TokenInfo>, ControlError> {
        Err(nothing())
    }

    fn create(&self, _: &str, _: Role, _: Option<Duration>) -> Result<schema::NewToken, ControlError> {
        Err(nothing())
    }

    fn revoke(&self, _: &str) -> Result<bool, ControlError> {
        Err(nothing())
    }
}

fn nothing() -> ControlError {
    ControlError::Unavailable("a bench".to_owned())
}
