//! Searches a million stored entries of realistic size: the store and KFL alone, without HTTP.
//!
//! usage: cargo bench --bench history [-- ENTRIES]

// Clarity over speed in what makes the data: it is not timed.
#![allow(clippy::format_push_string, clippy::assigning_clones)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remora::engine::kfl::{Context, FieldReader, Filter};
use remora::engine::model::{
    AddrPort, CaptureInfo, CaptureSource, ConnectionId, Entry, EntryId, Map, NodeInfo, Peer, Process,
    ProtocolKey, SocketCookie, Timestamp, Timing, Value,
};
use remora::store::{Grouping, Search, Statistics, Store, StoreConfig, Topology};
use remora::telemetry::{Drops, Metrics};

// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls per second of the generated history: a million are eight minutes.
const RATE: u64 = 2000;
/// When it begins.
const START: u64 = 1_790_000_000_000_000_000;
const ROUNDS: usize = 3;

/// What entries share, as `resolve` shares it.
struct World {
    node: Arc<NodeInfo>,
    clients: Vec<Arc<Process>>,
    servers: Vec<Arc<Process>>,
}

fn process(pid: u32, name: &str) -> Arc<Process> {
    Arc::new(Process {
        pid,
        ppid: 1,
        uid: Some(1000),
        name: name.into(),
        exe: format!("/usr/bin/{name}").as_str().into(),
        cgroup_id: u64::from(pid) * 7,
        cgroup: format!("/system.slice/{name}.service").as_str().into(),
        container_id: "".into(),
        unit: format!("{name}.service").into(),
        netns: 4_026_531_840,
    })
}

impl World {
    fn new() -> Self {
        let names = ["front", "checkout", "search", "cart", "mobile-gw", "batch"];
        let services = ["orders", "users", "payments", "catalog", "recommend"];
        let all = |names: &[&str], first: u32| {
            names.iter().zip(first..).map(|(name, pid)| process(pid, name)).collect()
        };
        Self {
            node: Arc::new(NodeInfo { name: "web-1".into(), ip: [10, 0, 25, 170].into() }),
            clients: all(&names, 1000),
            servers: all(&services, 2000),
        }
    }
}

fn text(value: impl Into<compact_str::CompactString>) -> Value {
    Value::Str(value.into())
}

fn map<const N: usize>(items: [(&str, Value); N]) -> Value {
    Value::Map(Map(items.into_iter().map(|(key, value)| (key.into(), value)).collect()))
}

fn mixed(seq: u64) -> u64 {
    let mut state = seq.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^ (state >> 27)
}

/// One HTTP call with the tree that the dissector makes and a JSON answer of 400 to 1,600 bytes.
fn entry(seq: u64, world: &World) -> Arc<Entry> {
    let dice = mixed(seq);
    let service = (dice % 5) as usize;
    let (client, server) = (&world.clients[(dice >> 8) as usize % 6], &world.servers[service]);
    let resource = ["orders", "users", "payments", "items", "similar"][service];
    let id = (dice >> 16) % 50_000;
    let path = format!("/api/v2/{resource}/{id}");
    let query = format!("page={}&session={:08x}", dice % 9, dice >> 32);
    let url = format!("{path}?{query}");
    let method = if dice % 10 < 7 { "GET" } else { "POST" };
    let status = match dice % 1000 {
        0..5 => 500,
        5..25 => 404,
        _ => 200,
    };
    let start = Timestamp(START + seq * 1_000_000_000 / RATE);
    let took = 300_000 + (dice >> 20) % 8_000_000;
    let request_body = if method == "POST" {
        format!("{{\"resource\":{id},\"amount\":{},\"currency\":\"EUR\"}}", dice % 977)
    } else {
        String::new()
    };
    let body = answer(seq, dice, resource);
    let headers = map([
        ("Host", text(format!("{resource}.shop.internal"))),
        (
            "User-Agent",
            text(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36",
            ),
        ),
        ("Accept", text("application/json, text/plain, */*")),
        ("Accept-Encoding", text("gzip, deflate, br")),
        ("X-Request-Id", text(format!("{dice:016x}-{seq:x}"))),
        ("Cookie", text(format!("session={:08x}; theme=dark", dice >> 32))),
        ("Authorization", text(format!("Bearer eyJhbGciOiJIUzI1NiJ9.{:032x}", u128::from(dice) << 7))),
    ]);
    let request = map([
        ("method", text(method)),
        ("url", text(url.as_str())),
        ("targetUri", text(url.as_str())),
        ("path", text(path.as_str())),
        ("pathSegments", Value::List(path[1..].split('/').map(text).collect())),
        ("httpVersion", text("HTTP/1.1")),
        ("headers", headers),
        ("cookies", map([("session", text(format!("{:08x}", dice >> 32))), ("theme", text("dark"))])),
        (
            "queryString",
            map([("page", text(format!("{}", dice % 9))), ("session", text(format!("{:08x}", dice >> 32)))]),
        ),
        ("headersSize", Value::Int(480)),
        ("bodySize", Value::Int(request_body.len() as i64)),
        (
            "postData",
            map([
                ("mimeType", text("application/json")),
                ("params", Value::List(Vec::new())),
                ("text", text(request_body.as_str())),
            ]),
        ),
    ]);
    let length = body.len();
    let response = map([
        ("status", Value::Int(status)),
        ("statusText", text(if status == 200 { "OK" } else { "Error" })),
        ("httpVersion", text("HTTP/1.1")),
        (
            "headers",
            map([
                ("Content-Type", text("application/json; charset=utf-8")),
                (
                    "Date",
                    text(format!(
                        "Sat, 21 Nov 2026 12:{:02}:{:02} GMT",
                        seq / RATE / 60 % 60,
                        seq / RATE % 60
                    )),
                ),
                ("Server", text("nginx/1.24.0")),
                ("Content-Length", text(length.to_string())),
                ("Vary", text("Accept-Encoding")),
            ]),
        ),
        ("cookies", map([])),
        ("headersSize", Value::Int(190)),
        ("bodySize", Value::Int(length as i64)),
        ("redirectURL", text("")),
        (
            "content",
            map([
                ("size", Value::Int(length as i64)),
                ("mimeType", text("application/json; charset=utf-8")),
                ("encoding", text("base64")),
                ("text", Value::Bytes(Bytes::from(body))),
            ]),
        ),
    ]);
    let peer = |process: &Arc<Process>, last: u8, port: u16| Peer {
        addr: AddrPort::new([10, 0, 0, last].into(), port),
        translated: None,
        socket: SocketCookie(seq / 20 * 2 + u64::from(last)),
        name: process.unit.clone(),
        dns: "".into(),
        process: Some(Arc::clone(process)),
    };
    Arc::new(Entry {
        id: EntryId {
            node: Arc::clone(&world.node.name),
            stream: format!("18f2c7b1d00-{}", seq / 20).into(),
            index: seq % 20,
        },
        seq,
        protocol: ProtocolKey::new("http"),
        node: Arc::clone(&world.node),
        src: peer(client, (dice % 6) as u8, 30_000 + (seq / 20 % 30_000) as u16),
        dst: peer(server, 100 + service as u8, 8080 + service as u16),
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing {
            request_start: start,
            request_end: Timestamp(start.0 + 20_000),
            response_start: Timestamp(start.0 + took - 50_000),
            response_end: Timestamp(start.0 + took),
        },
        method: method.into(),
        summary: path.into(),
        status,
        request,
        response,
        request_size: 480 + request_body.len() as u64,
        response_size: 190 + length as u64,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(seq / 20),
        capture: CaptureInfo { source: CaptureSource::Ebpf, seen_at: "both".into() },
    })
}

fn answer(seq: u64, dice: u64, resource: &str) -> Vec<u8> {
    let mut body = format!("{{\"{resource}\":[");
    for item in 0..3 + dice % 10 {
        let value = mixed(seq ^ (item << 40));
        body.push_str(&format!(
            "{{\"id\":{},\"sku\":\"{:012x}\",\"title\":\"{} {}\",\"price\":{}.{:02},\"stock\":{}}},",
            value % 1_000_000,
            value >> 16,
            ["Lamp", "Chair", "Desk", "Shelf"][value as usize % 4],
            ["red", "oak", "steel", "white"][(value >> 8) as usize % 4],
            value % 400,
            value % 100,
            value % 32
        ));
    }
    body.push_str(&format!("null],\"trace\":\"t-{seq}\"}}"));
    body.into_bytes()
}

fn fill(directory: &Path, count: u64) -> Store {
    let config = StoreConfig { max_bytes: 8 << 30, ..StoreConfig::default() };
    let store = Store::open(directory, config).expect("store");
    let mut writer = store.writer(Arc::new(Metrics::new(Arc::new(Drops::new())))).expect("writer");
    let world = World::new();
    let (mut spent, mut seq) = (Duration::ZERO, 1);
    while seq <= count {
        let batch: Vec<_> = (seq..(seq + 2000).min(count + 1)).map(|seq| entry(seq, &world)).collect();
        seq += batch.len() as u64;
        let started = Instant::now();
        writer.append(&batch).expect("append");
        spent += started.elapsed();
    }
    let started = Instant::now();
    writer.finish().expect("finish");
    spent += started.elapsed();
    let stats = store.stats();
    println!(
        "{} entries in {} blocks; {} MiB in blocks ({} B per entry), {} MiB of disk; written at {:.0} entries/s",
        stats.entries,
        stats.blocks,
        stats.live_bytes >> 20,
        stats.live_bytes / stats.entries.max(1),
        stats.file_bytes >> 20,
        count as f64 / spent.as_secs_f64()
    );
    store
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, &Context::new(Timestamp(START + 3_600_000_000_000))).expect(text)
}

/// CPU time of the process, all threads.
fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("getrusage");
    let span = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    span(usage.user_time()) + span(usage.system_time())
}

/// Runs `work` several times; prints the median and the range, and what it returned.
fn measure(name: &str, mut work: impl FnMut() -> u64) {
    let mut times: Vec<(Duration, Duration, u64)> = (0..ROUNDS)
        .map(|_| {
            let (started, before) = (Instant::now(), cpu());
            let found = work();
            (started.elapsed(), cpu().saturating_sub(before), found)
        })
        .collect();
    times.sort_unstable();
    let seconds: Vec<f64> = times.iter().map(|(wall, ..)| wall.as_secs_f64()).collect();
    let (_, _, found) = times[ROUNDS / 2];
    times.sort_unstable_by_key(|(_, cpu, _)| *cpu);
    println!(
        "{:8.3} s ({:.3}..{:.3}), CPU {:.3} s  {found:>8} found  {name}",
        seconds[ROUNDS / 2],
        seconds[0],
        seconds[ROUNDS - 1],
        times[ROUNDS / 2].1.as_secs_f64()
    );
}

/// As `GET /api/v1/entries`: up to `limit` whole entries; all of the history when fewer match.
fn page(store: &Store, text: &str, limit: usize) -> u64 {
    let mut search = Search::new(filter(text));
    search.at_most = limit;
    let mut found = 0;
    let result = store.reader().search(
        &Arc::new(search),
        |entries| entries.len(),
        |block| {
            found += block.value;
            if found >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    assert_eq!(result.expect("search"), None);
    found as u64
}

fn statistics(store: &Store, text: &str, by: &[&str], interval: Option<Duration>) -> u64 {
    let context = Context::new(Timestamp(START));
    let readers: Vec<_> = by.iter().map(|name| FieldReader::parse(name, &context).expect("field")).collect();
    let mut search = Search::new(filter(text));
    search.whole = false;
    search.readers = readers.clone();
    let grouping = Grouping { by: readers, interval };
    let mut all = Statistics::default();
    let count = move |entries: Vec<Arc<Entry>>| Statistics::of(&entries, &grouping);
    let result = store.reader().search(&Arc::new(search), count, |block| {
        all.absorb(block.value);
        ControlFlow::Continue(())
    });
    assert_eq!(result.expect("search"), None);
    all.total.tally.calls
}

fn topology(store: &Store) -> u64 {
    let mut search = Search::new(filter(""));
    search.whole = false;
    let mut all = Topology::default();
    let result = store.reader().search(
        &Arc::new(search),
        |entries| Topology::of(&entries),
        |block| {
            all.absorb(block.value);
            ControlFlow::Continue(())
        },
    );
    assert_eq!(result.expect("search"), None);
    all.edges.len() as u64
}

fn main() {
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000_u64);
    let directory = tempfile::tempdir().expect("directory");
    let store = fill(directory.path(), count);
    let middle = count / 2;
    let wanted = entry(middle, &World::new());
    let needle = format!("trace\\\":\\\"t-{middle}\\\"");
    println!("\nselective (budget 0.5 s): pages of 100, the whole history unless a page is full");
    for text in [
        String::new(),
        "redis".into(),
        format!("seq > {} and seq < {}", middle, middle + 20),
        format!("request.path == \"{}\" and status_code == {}", wanted.summary, wanted.status),
        format!(
            "request.headers[\"X-Request-Id\"] == \"{}\"",
            wanted
                .request
                .get("headers")
                .and_then(|h| h.get("X-Request-Id"))
                .and_then(Value::as_str)
                .expect("id")
        ),
        "request.path.startsWith(\"/api/v3\")".into(),
        "http and response.status == 503".into(),
        "dst.port == 8081 and response.status == 500 and request.path.endsWith(\"/777\")".into(),
        "src.process.name == \"nginx\"".into(),
        "src.ip == \"10.0.0.3\" and dst.ip == \"10.0.0.7\"".into(),
        "elapsed_time > 9000000".into(),
    ] {
        measure(&text, || page(&store, &text, 100));
    }
    println!("\nbody search (budget 2 s): the whole history");
    for text in [
        format!("response.body.contains(\"{needle}\")"),
        "http and request.body.contains(\"no such text\")".into(),
        "response.body.contains(\"\\\"title\\\":\\\"Lamp mahogany\")".into(),
    ] {
        measure(&text, || page(&store, &text, 1000));
    }
    println!("\nworst cases: every message is read");
    for text in [
        "response.body.contains(\"Lamp oak\") and response.body.contains(\"Desk steel\") and status_code == 1".to_owned(),
        "response.body.contains(\"Lamp oak\") and request.headers[\"Accept\"] == \"x\"".into(),
        "request.headers[\"Accept\"] != \"application/json, text/plain, */*\"".into(),
        "response.body == r\".*mahogany.*\"".into(),
    ] {
        measure(&text, || page(&store, &text, 1000));
    }
    println!("\nstatistics and map over everything");
    measure("stats", || statistics(&store, "", &[], None));
    measure("stats by dst.name, status_code", || statistics(&store, "", &["dst.name", "status_code"], None));
    measure("stats by path (50,000 paths and more)", || statistics(&store, "", &["path"], None));
    measure("stats by dst.name in 10 s", || {
        statistics(&store, "", &["dst.name"], Some(Duration::from_secs(10)))
    });
    measure("map: edges", || topology(&store));
}
