//! Issue 2, points 5 and 6: stored entries, and what the daemon says of itself.

use std::io::Write;
use std::net::TcpStream;

use crate::support::{Daemon, Nginx, Options, curl, until};

#[test]
fn root_entries_are_read_again_after_a_restart() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let options = || Options { state: Some(state.path().to_path_buf()), ..Options::default() };
    let filter = format!("http%20and%20dst.port%20==%20{}", nginx.port);
    let daemon = Daemon::start_with(options());
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    // One by one: entries of different connections come in any order.
    let call = |n: usize| {
        curl(&[&nginx.url(&format!("/index.html?n={n}"))]);
        feed.next()
    };
    let live: Vec<_> = (0..5).map(call).collect();
    assert!(daemon.stop().success());

    let daemon = Daemon::start_with(options());
    let first = daemon.data(&format!("/api/v1/entries?kfl={filter}&limit=3"));
    let page = first["entries"].as_array().expect("entries");
    let numbers: Vec<_> =
        page.iter().map(|entry| entry["request"]["queryString"]["n"].as_str().expect("n")).collect();
    assert_eq!(numbers, ["4", "3", "2"], "newest first");
    let next = &first["next"];
    let cursor = next.as_str().map_or_else(|| next.to_string(), str::to_string);
    let second = daemon.data(&format!("/api/v1/entries?kfl={filter}&limit=3&before={cursor}"));
    let rest = second["entries"].as_array().expect("entries");
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[1], live[0], "a stored entry equals the live one");

    let id = live[2]["id"].as_str().expect("id");
    assert_eq!(daemon.data(&format!("/api/v1/entries/{id}")), live[2]);
    assert_eq!(daemon.get("/api/v1/entries/nobody/0-0").status, 404);

    curl(&[&nginx.url("/index.html?n=new")]);
    let newest = until("the new entry", || {
        let page = daemon.data(&format!("/api/v1/entries?kfl={filter}&limit=1"));
        let entry = page["entries"][0].clone();
        (entry["request"]["queryString"]["n"] == "new").then_some(entry)
    });
    assert!(newest["seq"].as_u64() > live[4]["seq"].as_u64(), "numbering goes on after a restart");
}

#[test]
fn root_a_killed_daemon_keeps_what_it_had_stored() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let options = || Options { state: Some(state.path().to_path_buf()), ..Options::default() };
    let daemon = Daemon::start_with(options());
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/kept")]);
    let kept = feed.next();
    until("the commit", || {
        (Some(daemon.counter("store", "committed_seq")) >= kept["seq"].as_u64()).then_some(())
    });
    daemon.kill();
    let daemon = Daemon::start_with(options());
    let id = kept["id"].as_str().expect("id");
    assert_eq!(daemon.data(&format!("/api/v1/entries/{id}")), kept);
}

#[test]
fn root_the_daemon_tells_how_it_is() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/")]);
    feed.next();
    assert_eq!(daemon.data("/api/health")["status"], "healthy");
    let info = daemon.data("/api/info");
    for key in ["version", "uptime", "startedAt"] {
        assert!(info[key].is_string(), "{key} in {info}");
    }
    let status = daemon.data("/api/v1/status");
    let text = status.to_string();
    for part in ["ring_full", "shard_queue_full", "subscriber_slow", "capacity"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let doctor = daemon.remora(&["doctor"]);
    assert!(doctor.status.success());
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for part in ["packets", "cgroup_skb", "owner"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let metrics = daemon.get("/metrics").text();
    assert!(metrics.contains("# HELP remora_"), "{metrics}");
    assert!(metrics.contains("reason=\"ring_full\""), "{metrics}");
    let output = daemon.remora(&["status"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn root_flows_are_listed_with_bytes_packets_and_tcp_metrics() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    // A flow is listed while it lasts and for a moment after its end, so this one lasts.
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    for _ in 0..2 {
        stream.write_all(b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
        feed.next();
    }
    // A busy shard answers too late for one list.
    let text = until("the flow", || {
        let output = daemon.remora(&["flows", "--json"]);
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains(&nginx.port.to_string()).then_some(text)
    });
    for part in ["retransmissions", "connection_completeness", "handshake_time_us"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn root_statistics_group_what_was_kept() {
    let nginx = Nginx::start("location = /broken { return 503; }");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    for _ in 0..3 {
        curl(&[&nginx.url("/index.html")]);
    }
    curl(&["-o", "/dev/null", &nginx.url("/broken")]);
    curl(&["-o", "/dev/null", "-d", "a=b", &nginx.url("/nothing")]);
    feed.take(5);
    let ask = |rest: &str| {
        daemon.data(&format!("/api/v1/stats?kfl=http%20and%20dst.port%20==%20{}{rest}", nginx.port))
    };
    let all = until("the counts", || {
        let stats = ask("&group_by=status_code,method&interval=1h&from=15m");
        (stats["total"]["calls"] == 5).then_some(stats)
    });
    assert_eq!((&all["total"]["errors"], &all["complete"]), (&1.into(), &true.into()), "{all}");
    assert_eq!(all["total"]["errorShare"], 0.2);
    let latency = &all["total"]["latency"];
    assert!(latency["p50"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["max"].as_u64(), "{all}");
    let groups = all["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 3, "{all}");
    assert_eq!(groups[0]["key"], serde_json::json!(["200", "GET"]));
    assert_eq!((&groups[0]["calls"], &groups[0]["errors"]), (&3.into(), &0.into()));
    assert!(!groups[0]["series"].as_array().expect("series").is_empty(), "{all}");
    let few = ask("&group_by=path&limit=1");
    assert_eq!(few["groups"][0]["key"], serde_json::json!(["/index.html"]));
    assert_eq!((&few["other"]["calls"], &few["otherGroups"]), (&2.into(), &2.into()), "{few}");
    assert_eq!(ask("&to=1h")["total"]["calls"], 0);
    for wrong in ["group_by=nosuch", "interval=0s", "from=x", "kfl=limit(3)", "from=1h&to=2h", "other=1"] {
        assert_eq!(daemon.get(&format!("/api/v1/stats?{wrong}")).status, 400, "{wrong}");
    }

    let filter = format!("dst.port == {}", nginx.port);
    let output = daemon.remora(&["stats", &filter, "--by", "method", "--by", "status_code"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.contains("503")).expect("a line for 503");
    assert!(line.starts_with("GET") && line.contains("1 (100.0%)"), "{text}");
    let output = daemon.remora(&["stats", "--json", &filter]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["total"]["calls"], 5);
}

#[test]
fn root_the_map_shows_who_calls_whom() {
    let nginx = Nginx::start("location = /broken { return 503; }");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/index.html"), &nginx.url("/index.html")]);
    curl(&["-o", "/dev/null", &nginx.url("/broken")]);
    feed.take(3);
    let map = until("the map", || {
        let map = daemon.data(&format!("/api/v1/map?kfl=dst.port%20==%20{}&from=15m", nginx.port));
        (map["edges"][0]["calls"] == 3).then_some(map)
    });
    assert_eq!(map["edges"].as_array().map(Vec::len), Some(1), "{map}");
    let edge = &map["edges"][0];
    assert_eq!((&edge["protocol"], &edge["errors"]), (&"http".into(), &1.into()), "{map}");
    for bytes in ["requestBytes", "responseBytes"] {
        assert!(edge[bytes].as_u64() > Some(100), "{map}");
    }
    let nodes = map["nodes"].as_array().expect("nodes");
    let node = |id: &serde_json::Value| nodes.iter().find(|node| node["id"] == *id).expect("a node");
    for end in ["src", "dst"] {
        let node = node(&edge[end]);
        assert!(node["name"].as_str().is_some_and(|name| !name.is_empty()), "{map}");
        assert!(["process", "unit", "container"].iter().any(|kind| node["kind"] == *kind), "{map}");
        assert_eq!(node["ips"], serde_json::json!(["127.0.0.1"]), "{map}");
    }
    let output = daemon.remora(&["map", &format!("dst.port == {}", nginx.port)]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().nth(1).expect("an edge");
    assert!(line.contains("http") && line.contains('3'), "{text}");
}
