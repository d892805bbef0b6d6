//! Issue 4: raw capture, snapshots, delayed dissection, export and import.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Daemon, Nginx, Options, curl, until};

/// Keys that say where an entry stands and not what it is.
const PLACES: &[&str] = &["id", "index", "stream", "seq", "connection", "entryFile", "worker"];

pub(crate) fn without_places(entry: &Value) -> Value {
    let mut entry = entry.clone();
    for place in PLACES {
        entry.as_object_mut().expect("entry").remove(*place);
    }
    entry
}

/// All matching entries, oldest first, of a snapshot or live.
pub(crate) fn entries(daemon: &Daemon, port: u16, snapshot: &str) -> Vec<Value> {
    let path = format!("/api/v1/entries?limit=1000&kfl=dst.port%20==%20{port}&snapshot={snapshot}");
    let mut found = daemon.data(&path)["entries"].as_array().expect("entries").clone();
    found.reverse();
    found.sort_by_key(|entry| entry["startTime"].as_str().expect("startTime").to_owned());
    found
}

/// Makes calls of several kinds and waits until `count` entries are there.
fn traffic(daemon: &Daemon, nginx: &Nginx) -> Vec<Value> {
    curl(&[&nginx.url("/index.html?n=1"), &nginx.url("/index.html?n=2"), "-o", "/dev/null"]);
    curl(&["-d", "name=value&other=thing", &nginx.url("/index.html"), "-o", "/dev/null"]);
    curl(&["-H", "Accept-Encoding: gzip", &nginx.url("/missing"), "-o", "/dev/null"]);
    let body = "x".repeat(200_000);
    let file = nginx.dir.path().join("html/large.txt");
    std::fs::write(&file, body).expect("large file");
    curl(&[&nginx.url("/large.txt"), "-o", "/dev/null"]);
    until("the live entries", || {
        let found = entries(daemon, nginx.port, "");
        (found.len() >= 5).then_some(found)
    })
}

pub(crate) fn create(daemon: &Daemon, name: &str) {
    let reply = daemon.post("/api/v1/snapshots", &json!({ "name": name }).to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
}

pub(crate) fn dissect(daemon: &Daemon, name: &str) {
    let reply = daemon.post(&format!("/api/v1/snapshots/{name}/dissections"), "{}");
    assert_eq!(reply.status, 202, "{}", reply.text());
    until("the dissection", || {
        let shown = daemon.data(&format!("/api/v1/snapshots/{name}"));
        let newest = shown["dissections"].as_array().expect("dissections").last().expect("one").clone();
        assert_ne!(newest["state"], "failed", "{newest}");
        (newest["state"] == "completed").then_some(newest)
    });
}

pub(crate) fn assert_equal(live: &[Value], later: &[Value]) {
    assert_eq!(live.len(), later.len());
    for (live, later) in live.iter().zip(later) {
        let (live, later) = (without_places(live), without_places(later));
        for (key, value) in live.as_object().expect("entry") {
            assert_eq!(later[key], *value, "{key} of {}", live["request"]["path"]);
        }
        assert_eq!(live, later);
    }
}

/// What a program says on both outputs; it must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// Calls that tshark finds on a port.
fn calls_by_tshark(file: &Path, port: u16) -> usize {
    let (file, filter) = (file.to_str().expect("path"), format!("http.request && tcp.dstport == {port}"));
    let decode = format!("tcp.port=={port},http");
    let output = Command::new("tshark")
        .args([
            "-r",
            file,
            "-d",
            &decode,
            "-Y",
            &filter,
            "-T",
            "fields",
            "-e",
            "tcp.stream",
            "-e",
            "http.request.uri",
        ])
        .output()
        .expect("tshark");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("WARN") && !said.contains("damaged"), "{said}");
    // Each packet is there twice: at the client's and at the server's socket.
    let mut calls: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    calls.sort();
    calls.dedup();
    calls.len()
}

#[test]
fn root_what_is_dissected_later_equals_what_was_seen_live() {
    let nginx = Nginx::start("");
    // A flood of others on this host may be too much for the disk.
    let config = format!("capture.include.ports = [{}]", nginx.port);
    let daemon = Daemon::start_with(Options { config, ..Options::default() });
    let live = traffic(&daemon, &nginx);
    create(&daemon, "incident");
    dissect(&daemon, "incident");
    let later = entries(&daemon, nginx.port, "incident");
    assert_equal(&live, &later);
    assert!(live.iter().all(|entry| entry["src"]["processName"] == "curl"), "{}", live[0]["src"]);
    assert_eq!(entries(&daemon, nginx.port, "incident/dissection-1"), later);

    let id = later[0]["id"].as_str().expect("id");
    assert_eq!(daemon.data(&format!("/api/v1/entries/{id}?snapshot=incident")), later[0]);
    let stats = daemon.data(&format!("/api/v1/stats?kfl=dst.port%20==%20{}&snapshot=incident", nginx.port));
    assert_eq!(stats["total"]["calls"], 5);
    let map = daemon.data("/api/v1/map?snapshot=incident");
    assert!(map["edges"].as_array().is_some_and(|edges| !edges.is_empty()));
    let path = "/api/wsFull?snapshot=incident";
    let filter = format!("dst.port == {}", nginx.port);
    let mut feed = crate::support::Feed::open(crate::support::client::unix(&daemon.socket()), path, &filter);
    let mut streamed = feed.take(5);
    streamed.sort_by_key(|entry| entry["startTime"].as_str().expect("startTime").to_owned());
    assert_eq!(streamed, later);
    assert!(feed.closed().is_some(), "a snapshot's stream ends");
    assert_eq!(daemon.get("/api/v1/entries?snapshot=nothing").status, 404);
    let shown = daemon.remora(&["tail", "--snapshot", "incident", &filter]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), 5, "it ends by itself");

    // Live dissection off: raw capture goes on, and nothing is lost for later.
    assert_eq!(daemon.post("/mcp/dissection/disable", "").status, 200);
    curl(&[&nginx.url("/while-paused"), "-o", "/dev/null"]);
    assert_eq!(daemon.post("/mcp/dissection/enable", "").status, 200);
    until("the packets of the call", || {
        let name =
            format!("try-{}", daemon.data("/api/v1/snapshots")["snapshots"].as_array().map_or(0, Vec::len));
        create(&daemon, &name);
        dissect(&daemon, &name);
        let found = entries(&daemon, nginx.port, &name);
        found.iter().any(|entry| entry["request"]["path"] == "/while-paused").then_some(())
    });
    assert_eq!(daemon.dropped("raw_queue_full") + daemon.dropped("raw_failed"), 0);
}

fn paths(daemon: &Daemon, port: u16) -> Vec<String> {
    let path = |entry: &Value| entry["request"]["path"].as_str().expect("path").to_owned();
    entries(daemon, port, "").iter().map(path).collect()
}

#[test]
fn root_what_was_not_dissected_is_made_up_for_without_doubles() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let options = || Options { state: Some(state.path().to_path_buf()), ..Options::default() };
    let daemon = Daemon::start_with(options());
    let filter = format!("dst.port == {}", nginx.port);
    curl(&[&nginx.url("/before"), "-o", "/dev/null"]);
    until("the live entry", || (paths(&daemon, nginx.port).len() == 1).then_some(()));
    assert!(daemon.remora(&["dissection", "pause"]).status.success());
    curl(&[&nginx.url("/paused-1"), &nginx.url("/paused-2"), "-o", "/dev/null"]);

    // Somebody asks for the past while dissection is off: the history, then what was not dissected.
    let open = || {
        let socket = crate::support::client::unix(&daemon.socket());
        crate::support::Feed::open(socket, "/api/wsFull?from=2020-01-01T00:00:00Z", &filter)
    };
    let mut feed = open();
    let seen: Vec<_> = feed.take(3).iter().map(|entry| entry["request"]["path"].clone()).collect();
    assert_eq!(seen, ["/before", "/paused-1", "/paused-2"]);
    let found = until("the stored entries", || {
        let found = entries(&daemon, nginx.port, "");
        (found.len() >= 3).then_some(found)
    });
    assert_eq!(found.len(), 3);
    assert_eq!(found[1]["src"]["processName"], "curl");
    assert_eq!(found[0]["captureSource"], found[1]["captureSource"]);

    // Switched on again; a restart in between forgets nothing.
    curl(&[&nginx.url("/paused-3"), "-o", "/dev/null"]);
    drop(feed);
    daemon.stop();
    let daemon = Daemon::start_with(options());
    assert_eq!(daemon.get("/mcp/dissection").json()["enabled"], false, "still off");
    curl(&[&nginx.url("/paused-4"), "-o", "/dev/null"]);
    assert!(daemon.remora(&["dissection", "resume"]).status.success());
    curl(&[&nginx.url("/after"), "-o", "/dev/null"]);
    until("all calls", || (paths(&daemon, nginx.port).len() >= 6).then_some(()));

    // Asking again changes nothing: nothing is left to make up for.
    let socket = crate::support::client::unix(&daemon.socket());
    let mut feed = crate::support::Feed::open(socket, "/api/wsFull?from=2020-01-01T00:00:00Z", &filter);
    assert_eq!(feed.take(6).len(), 6);
    let wanted = ["/before", "/paused-1", "/paused-2", "/paused-3", "/paused-4", "/after"];
    assert_eq!(paths(&daemon, nginx.port), wanted);
}

#[test]
fn root_calls_in_tls_that_are_dissected_later_equal_those_seen_live() {
    let https = crate::tls::Https::start();
    let daemon = Daemon::start();
    https.await_probes(&daemon);
    https.curl(&["-H", "X-Port: 1"], "/echo/one");
    https.curl(&["-d", "name=value"], "/echo/two");
    let tail = |entries: &[Value]| {
        let paths = ["/echo/one", "/echo/two"];
        let wanted = |entry: &&Value| paths.iter().any(|path| entry["request"]["path"] == *path);
        entries.iter().filter(wanted).cloned().collect::<Vec<_>>()
    };
    let live = until("the live entries", || {
        let found = tail(&entries(&daemon, https.port, ""));
        (found.len() >= 2).then_some(found)
    });
    assert!(live.iter().all(|entry| entry["tls"] == true), "{live:?}");
    create(&daemon, "incident");
    dissect(&daemon, "incident");
    assert_equal(&live, &tail(&entries(&daemon, https.port, "incident")));
}

#[test]
fn root_exported_files_open_elsewhere_and_come_back_as_snapshots() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let live = traffic(&daemon, &nginx);
    create(&daemon, "incident");
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str| dir.path().join(name);
    for (format, name) in [("pcapng", "a.pcapng"), ("pcap", "a.pcap")] {
        let path = file(name);
        let arguments = ["snapshot", "export", "incident", path.to_str().expect("path"), "--format", format];
        let output = daemon.remora(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = run("capinfos", &["-M", path.to_str().expect("path")]);
        assert!(!said.to_lowercase().contains("warn") && !said.contains("damaged"), "{said}");
        assert_eq!(calls_by_tshark(&path, nginx.port), 5, "{name}");
    }
    let comments = run(
        "tshark",
        &["-r", file("a.pcapng").to_str().expect("path"), "-T", "fields", "-e", "frame.comment"],
    );
    assert!(comments.contains("nginx["), "owners are in the comments");

    let path = file("one.pcapng");
    let arguments = [
        "snapshot",
        "export",
        "incident",
        path.to_str().expect("path"),
        "--kfl",
        "request.path == \"/missing\"",
    ];
    assert!(daemon.remora(&arguments).status.success());
    assert_eq!(calls_by_tshark(&path, nginx.port), 1, "the connection of one call");
    let whole = daemon.get(&format!("/api/v1/pcap?kfl=dst.port%20==%20{}", nginx.port));
    assert_eq!(whole.status, 200);
    std::fs::write(file("raw.pcapng"), &whole.body).expect("write");
    assert_eq!(calls_by_tshark(&file("raw.pcapng"), nginx.port), 5);
    let har = daemon.get(&format!("/api/v1/export?format=har&kfl=dst.port%20==%20{}", nginx.port)).json();
    let calls = har["log"]["entries"].as_array().expect("entries");
    assert_eq!(calls.len(), 5);
    assert!(calls.iter().any(|call| call["response"]["status"] == 404), "{har}");
    let headers = calls[0]["request"]["headers"].as_array().expect("a list");
    assert!(headers.iter().any(|header| header["name"] == "Host"), "{headers:?}");
    let lines = daemon.get(&format!("/api/v1/export?format=jsonl&kfl=dst.port%20==%20{}", nginx.port)).text();
    assert_eq!(lines.lines().count(), 5);

    one_call_its_connection_and_ranges(&daemon, &live, dir.path(), nginx.port);

    let path = file("a.pcapng");
    let output = daemon.remora(&["snapshot", "import", "again", path.to_str().expect("path"), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = daemon.remora(&["snapshot", "dissect", "again"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_equal(&live, &entries(&daemon, nginx.port, "again"));
    let output = daemon.remora(&["snapshot", "import", "plain", file("a.pcap").to_str().expect("path")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dissect(&daemon, "plain");
    assert_eq!(entries(&daemon, nginx.port, "plain").len(), 5);
    let reply = daemon.post("/api/v1/snapshots/import?name=noise", "this is no capture file");
    assert_eq!(reply.status, 400, "{}", reply.text());

    for name in ["incident", "again", "plain"] {
        assert!(daemon.remora(&["snapshot", "delete", name]).status.success());
    }
    until("the room to be given back", || (daemon.data("/api/v1/snapshots")["usedBytes"] == 0).then_some(()));
}

fn get_range(daemon: &Daemon, path: &str, range: &str, tag: &str) -> crate::support::client::Reply {
    let headers = [("Range", range), ("If-Range", tag)];
    crate::support::client::request(crate::support::client::unix(&daemon.socket()), "GET", path, &headers, "")
}

fn one_call_its_connection_and_ranges(daemon: &Daemon, live: &[Value], dir: &Path, port: u16) {
    // The first two calls share a connection.
    let id = live[0]["id"].as_str().expect("id");
    let file = dir.join("part.pcapng");
    for (scope, calls) in [("call", 1), ("connection", 2), ("flow", 5)] {
        let path = format!("/api/v1/snapshots/incident/pcap?entry={id}&scope={scope}");
        let reply = daemon.get(&path);
        assert_eq!(reply.status, 200, "{scope}: {}", reply.text());
        std::fs::write(&file, &reply.body).expect("write");
        let found = calls_by_tshark(&file, port);
        // The next call of the connection may begin within what is given around a call.
        assert!(found == calls || scope == "call" && found == 2, "{scope}: {found}");
        assert_eq!(daemon.get(&path).body, reply.body, "the same each time");
    }
    for refused in ["bpf_filter=tcp", "nodes=other", "scope=flow", "frm=1"] {
        let reply = daemon.get(&format!("/mcp/snapshots/incident/pcap?{refused}"));
        assert_eq!(reply.status, 400, "{refused}: {}", reply.text());
    }
    assert_eq!(daemon.get("/api/v1/pcap?connection=987654321").status, 404);

    let path = "/api/v1/snapshots/incident/pcap";
    let whole = daemon.get(path);
    let tag = whole.header("etag").expect("a tag").to_owned();
    let half = whole.body.len() / 2;
    let mut joined = get_range(daemon, path, &format!("bytes=0-{}", half - 1), &tag).body;
    let rest = get_range(daemon, path, &format!("bytes={half}-"), &tag);
    assert_eq!(rest.status, 206);
    let wanted = format!("bytes {half}-{}/{}", whole.body.len() - 1, whole.body.len());
    assert_eq!(rest.header("content-range"), Some(wanted.as_str()));
    joined.extend_from_slice(&rest.body);
    assert!(joined == whole.body, "two parts make the whole");
    assert_eq!(get_range(daemon, path, "bytes=5-", "\"another\"").status, 200, "of another file: whole");
    assert_eq!(get_range(daemon, path, "bytes=999999999999-", &tag).status, 416);

    let kfl = format!("response.status == 404 and dst.port == {port}");
    let made = json!({ "name": "scoped", "kfl": kfl, "peers": ["127.0.0.1"] });
    let reply = daemon.post("/api/v1/snapshots", &made.to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
    std::fs::write(&file, daemon.get("/api/v1/snapshots/scoped/pcap").body).expect("write");
    assert_eq!(calls_by_tshark(&file, port), 1, "only the connection of the call that it is about");
    dissect(daemon, "scoped");
    let stats = daemon.remora(&["stats", "--snapshot", "scoped", "--json"]);
    let stats: Value = serde_json::from_slice(&stats.stdout).expect("JSON");
    assert_eq!(stats["total"]["calls"], 1, "{stats}");
    let map = daemon.remora(&["map", "--snapshot", "scoped"]);
    assert!(map.status.success(), "{}", String::from_utf8_lossy(&map.stderr));
    assert!(daemon.remora(&["snapshot", "delete", "scoped"]).status.success());
}

/// What is served after a snapshot was made.
const AFTER: &[u8] = b"this was asked for after the snapshot was made\n";

#[test]
fn root_a_killed_daemon_keeps_raw_capture_and_snapshots() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let options = || Options { state: Some(state.path().to_path_buf()), ..Options::default() };
    let daemon = Daemon::start_with(options());
    let live = traffic(&daemon, &nginx);
    create(&daemon, "before");
    nginx.file("after.txt", AFTER);
    curl(&[&nginx.url("/after.txt"), "-o", "/dev/null"]);
    until("the answer on the disk", || {
        let files = std::fs::read_dir(state.path().join("raw")).expect("raw").flatten();
        let mut data = files.filter_map(|file| std::fs::read(file.path()).ok());
        data.any(|data| data.windows(AFTER.len()).any(|window| window == AFTER)).then_some(())
    });
    std::fs::create_dir(state.path().join("snapshots/77.new")).expect("left over");
    daemon.kill();

    let daemon = Daemon::start_with(options());
    assert!(!state.path().join("snapshots/77.new").exists(), "what was not completed is removed");
    let open = std::fs::read_dir(state.path().join("raw")).expect("raw").flatten();
    let open = open.filter(|file| file.path().extension().is_some_and(|ending| ending == "part")).count();
    assert!(open <= 1, "only the new segment is open");
    dissect(&daemon, "before");
    assert_equal(&live, &entries(&daemon, nginx.port, "before"));
    create(&daemon, "all");
    dissect(&daemon, "all");
    let found = entries(&daemon, nginx.port, "all");
    assert_eq!(found.len(), 6, "{found:?}");
    for segment in std::fs::read_dir(state.path().join("raw")).expect("raw").flatten() {
        let path = segment.path();
        if path.extension().is_some_and(|ending| ending == "pcapng") {
            let said = run("capinfos", &["-M", path.to_str().expect("path")]);
            assert!(!said.to_lowercase().contains("warn") && !said.contains("damaged"), "{said}");
        }
    }
}

fn calls_in_kubesharks_shape(daemon: &Daemon, port: u16) {
    let ask = |rest: &str| {
        let reply = daemon.get(&format!("/mcp/calls?kfl=dst.port%20==%20{port}{rest}"));
        assert_eq!(reply.status, 200, "{rest}: {}", reply.text());
        reply.json()
    };
    let live = ask("");
    assert_eq!((&live["total"], &live["truncated"]), (&json!(5), &json!(false)), "{live}");
    let later = ask("&db=one/first");
    let calls = later["calls"].as_array().expect("calls");
    let first = calls.last().expect("a call");
    assert_eq!(
        (&first["method"], &first["path"], &first["status"]),
        (&json!("GET"), &json!("/index.html"), &json!(200))
    );
    assert_eq!((&first["dst"]["port"], &first["proto"]), (&json!(port), &json!("http")), "{first}");
    assert!(
        first["ts"].as_u64() > Some(0) && first["latency_ms"].is_number() && first["id"].is_string(),
        "{first}"
    );
    assert_eq!(
        daemon.data(&format!("/api/v1/entries/{}?snapshot=one/first", first["id"].as_str().expect("id")))["id"],
        first["id"]
    );
    for (live, later) in
        live["calls"].as_array().expect("calls").iter().zip(later["calls"].as_array().expect("calls"))
    {
        for key in ["ts", "src", "dst", "proto", "method", "path", "status", "latency_ms"] {
            assert_eq!(live[key], later[key], "{key}");
        }
    }
    let newest = ask("&db=one&limit=2&group_by=node&format=full");
    assert_eq!((newest["calls"].as_array().map(Vec::len), &newest["truncated"]), (Some(2), &json!(true)));
    assert_eq!(
        newest["groups"].as_object().map(|groups| groups.values().cloned().collect::<Vec<_>>()),
        Some(vec![json!(2)])
    );
    let posted = &ask("&format=full&db=one")["calls"][2];
    assert_eq!(
        (&posted["method"], &posted["req_body"]),
        (&json!("POST"), &json!("name=value&other=thing")),
        "{posted}"
    );
    assert!(posted["req_headers"]["Host"].is_string() && posted["resp_size"].as_u64() > Some(0), "{posted}");
    let at = first["ts"].as_u64().expect("ts");
    // Several calls may begin in one millisecond.
    let until_then = calls.iter().filter(|call| call["ts"].as_u64() <= Some(at)).count();
    assert!(until_then < calls.len(), "{later}");
    assert_eq!(ask(&format!("&db=one&end={at}"))["total"], until_then);
    assert_eq!(ask(&format!("&db=one&start={}", at + 3_600_000))["total"], 0);
    let raw = ask("&db=one&format=raw&limit=1");
    assert!(raw["calls"][0]["startTime"].is_string(), "{raw}");
    for (wrong, status) in
        [("format=x", 400), ("group_by=x", 400), ("start=2&end=1", 400), ("kfl=(", 400), ("db=no/ne", 404)]
    {
        assert_eq!(daemon.get(&format!("/mcp/calls?{wrong}")).status, status, "{wrong}");
    }
}

#[test]
fn root_raw_capture_and_snapshots_are_controlled_in_kubesharks_shapes_too() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    traffic(&daemon, &nginx);
    let raw = daemon.data("/api/v1/capture/raw");
    assert_eq!((&raw["enabled"], &raw["state"]), (&json!(true), &json!("recording")), "{raw}");
    let state = daemon.get("/mcp/raw-capture").json();
    assert_eq!((&state["enabled"], &state["session_id"]), (&json!(true), &raw["sessionId"]));

    let made = daemon.post("/mcp/snapshots", r#"{"name":"one","duration":"1h"}"#).json();
    assert_eq!((&made["success"], &made["name"]), (&json!(true), &json!("one")));
    let bounds = daemon.get("/mcp/data-boundaries").json();
    assert!(
        bounds["nodes"][0]["oldest_ts"].as_u64() > Some(0)
            && bounds["cluster"]["newest_ts"].as_u64() > Some(0)
    );
    let shown = daemon.get("/mcp/snapshots/one").json();
    assert_eq!((&shown["status"], &shown["node_count"]), (&json!("completed"), &json!(1)));
    assert!(shown["packet_count"].as_u64() > Some(10), "{shown}");
    assert_eq!(daemon.get("/mcp/snapshots").json()["snapshots"][0]["name"], "one");
    assert_eq!(daemon.post("/mcp/snapshots", r#"{"name":"one"}"#).status, 409);

    let begun = daemon.post("/mcp/dissections", r#"{"snapshot":"one","name":"first"}"#).json();
    assert_eq!((&begun["success"], &begun["status"]), (&json!(true), &json!("pending")));
    let ended = until("the dissection", || {
        let shown = daemon.get("/mcp/dissections/one/first").json();
        (shown["status"] == "completed").then_some(shown)
    });
    assert!(ended["stats"]["protocol_counts"]["http"].as_u64() >= Some(5), "{ended}");
    let databases = daemon.get("/mcp/databases").json();
    assert_eq!(databases["databases"][1]["name"], "first", "{databases}");
    assert!(databases["databases"][1]["first_ts"].as_u64() > Some(0), "{databases}");
    until("the live entries to be committed", || {
        let live = daemon.get("/mcp/databases").json()["databases"][0].clone();
        (live["first_ts"].as_u64() > Some(0) && live["first_ts"].as_u64() <= live["last_ts"].as_u64())
            .then_some(())
    });
    calls_in_kubesharks_shape(&daemon, nginx.port);
    assert_eq!(daemon.get("/mcp/dissections?snapshot=one").json()["dissections"][0]["progress"], 100);

    assert_eq!(daemon.post("/api/v1/capture/raw/stop", "").json()["data"]["enabled"], false);
    assert_eq!(daemon.get("/mcp/raw-capture").json()["enabled"], false);
    assert_eq!(daemon.post("/api/v1/capture/raw/start", "").json()["data"]["enabled"], true);
    let listed = daemon.remora(&["snapshot", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("one"));
}
