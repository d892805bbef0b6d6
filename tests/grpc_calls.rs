//! Issue 5: gRPC and gRPC-Web between real peers in all streaming shapes, in clear text and TLS, with and without
//! descriptors, and calls that are shown while they go on.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::tls::Keys;
use crate::support::{Daemon, Feed, GrpcServer, NodeServer, Options, until};
use crate::tls_stacks::attached;

const QUIET: Duration = Duration::from_millis(400);

/// Field 1 of each message of one half.
fn texts(half: &Value) -> Vec<&str> {
    let messages = half["grpc"]["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().map(|message| message["fields"]["1"].as_str().unwrap_or_default()).collect()
}

#[test]
fn root_grpc_calls_of_all_shapes_show_status_and_messages() {
    let server = GrpcServer::start();
    let daemon = Daemon::start();
    let filter = format!("grpc and http2 and dst.port == {} and state == \"ended\"", server.port());
    let mut feed = daemon.feed(&filter);
    server.call("all");
    let entries: HashMap<String, Value> = feed
        .take(7)
        .into_iter()
        .map(|entry| {
            let compressed = entry["request"]["grpc"]["encoding"] == "gzip";
            let method = entry["request"]["grpc"]["method"].as_str().expect("a method").to_owned();
            (if compressed { "Gzip".to_owned() } else { method }, entry)
        })
        .collect();
    assert_eq!(texts(&entries["Unary"]["request"]), ["one"]);
    assert_eq!(texts(&entries["Unary"]["response"]), ["hello one"]);
    assert_eq!(texts(&entries["Client"]["request"]), ["one", "two", "three"]);
    assert_eq!(texts(&entries["Client"]["response"]), ["one+two+three"]);
    assert_eq!(texts(&entries["Server"]["response"]), ["one 0", "one 1", "one 2"]);
    assert_eq!(texts(&entries["Both"]["response"]), ["re: one", "re: two", "re: three"]);
    assert_eq!(texts(&entries["Gzip"]["request"]), ["z".repeat(100)]);
    assert_eq!(entries["Fail"]["response"]["grpc"]["statusName"], "NOT_FOUND");
    assert_eq!(entries["Fail"]["response"]["grpc"]["message"], "no such thing: 100%");
    for entry in entries.values() {
        assert_eq!(entry["protocol"]["abbr"], "gRPC");
        assert_eq!(entry["request"]["grpc"]["service"], "remora.test.Echo");
        assert_eq!(entry["response"]["status"], 200);
    }
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_a_long_grpc_stream_is_shown_open_and_ended_under_one_id() {
    let server = GrpcServer::start();
    let daemon = patient_daemon();
    let mut feed = daemon.feed(&format!("grpc_method == \"Held\" and dst.port == {}", server.port()));
    let (open, ended) = std::thread::scope(|scope| {
        scope.spawn(|| server.call("held"));
        let open = feed.frame();
        server.call("release");
        (open, feed.frame())
    });
    assert_eq!((open["state"].as_str(), ended["state"].as_str()), (Some("open"), Some("ended")));
    assert_eq!(open["id"], ended["id"]);
    assert!(open["seq"].as_u64() < ended["seq"].as_u64());
    assert_eq!(texts(&open["response"]), ["part 0"]);
    assert_eq!(texts(&ended["response"]), ["part 0", "part 1"]);
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_a_slow_http1_answer_is_shown_open_and_ended_under_one_id() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let daemon = patient_daemon();
    let mut feed = daemon.feed(&format!("http and dst.port == {port}"));
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (mut server, _) = listener.accept().expect("accept");
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    assert!(server.read(&mut [0; 4096]).expect("read") > 0);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst ").expect("write");
    let open = feed.frame();
    server.write_all(b"last").expect("write");
    let ended = feed.frame();
    assert_eq!((open["state"].as_str(), ended["state"].as_str()), (Some("open"), Some("ended")));
    assert_eq!(open["id"], ended["id"]);
    assert_eq!(
        (open["response"]["bodySize"].as_u64(), ended["response"]["bodySize"].as_u64()),
        (Some(6), Some(10))
    );
    assert!(feed.is_quiet(QUIET));
}

/// A daemon that shows calls later than usual: what is to be seen of them by then comes in time on a machine that
/// stalls, too.
fn patient_daemon() -> Daemon {
    Daemon::start_with(Options { config: "dissection.open-after = \"4s\"".to_owned(), state: None })
}

const DESCRIPTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pcaps/grpc/descriptors");
const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pcaps/grpc/descriptors/shop.binpb");

fn daemon_with_descriptors() -> Daemon {
    let config = format!("dissection.grpc.descriptors = \"{DESCRIPTORS}\"");
    Daemon::start_with(Options { config, state: None })
}

#[test]
fn root_descriptors_name_the_fields_and_filters_ask_for_them() {
    let server = GrpcServer::start();
    let daemon = daemon_with_descriptors();
    let mut feed = daemon.feed(&format!(
        r#"request.grpc.messages[0].fields.currency == "EUR" and dst.port == {}"#,
        server.port()
    ));
    server.call("shop");
    let entry = feed.next();
    let cart = &entry["request"]["grpc"]["messages"][0];
    assert_eq!(cart["type"], "remora.test.Cart");
    assert_eq!(cart["fields"]["customer"], "Ada");
    assert_eq!(cart["fields"]["session_token"], "AAEC/w==");
    assert_eq!(cart["fields"]["stock"]["pear"], -4);
    assert_eq!(cart["fields"]["items"][0]["price"], 0.1);
    assert_eq!(cart["fields"]["items"][0]["sizes"], serde_json::json!([1, -2, 300]));
    assert_eq!(entry["response"]["grpc"]["messages"][0]["fields"]["first"]["accepted"][0], "USD");
}

#[test]
fn root_descriptors_are_read_again_on_reload_and_bad_ones_are_left_out() {
    let server = GrpcServer::start();
    let folder = tempfile::tempdir().expect("temporary directory");
    std::fs::write(folder.path().join("broken.binpb"), "no descriptors").expect("written");
    let config = format!("dissection.grpc.descriptors = \"{}\"", folder.path().display());
    let daemon = Daemon::start_with(Options { config, state: None });
    let said = |what: &str| daemon.output.lock().expect("output").matches(what).count();
    until("the complaint", || (said("broken.binpb is left out") > 0).then_some(()));
    let mut feed = daemon.feed(&format!("grpc and dst.port == {}", server.port()));
    server.call("shop");
    assert_eq!(feed.next()["request"]["grpc"]["messages"][0]["fields"]["1"], "Ada");

    std::fs::copy(SHOP, folder.path().join("shop.binpb")).expect("copied");
    daemon.signal("HUP");
    until("the reload", || (said("configuration reloaded") > 0).then_some(()));
    server.call("shop");
    assert_eq!(feed.next()["request"]["grpc"]["messages"][0]["fields"]["customer"], "Ada");
}

/// The next three entries, which are the calls of `rpc.mjs`, with and without TLS. They may be of different
/// connections, and then come in any order.
fn shopping(feed: &mut Feed, abbr: &str, tls: bool) -> [Value; 3] {
    let mut entries: [Value; 3] = feed.take(3).try_into().expect("three");
    entries.sort_by_key(|entry| {
        let grpc = |half: &str, key: &str| entry[half]["grpc"][key].clone();
        (grpc("request", "method") == "Watch", grpc("response", "status") != 0)
    });
    let [order, refused, watch] = &entries;
    for entry in &entries {
        assert_eq!(entry["protocol"]["abbr"], abbr);
        assert_eq!(entry["request"]["grpc"]["service"], "remora.test.Shop");
        assert_eq!(entry["tls"], tls);
        assert_eq!(entry["error"], Value::Null, "{entry:#}");
        assert_eq!(
            (&entry["src"]["processName"], &entry["dst"]["processName"]),
            (&"node".into(), &"node".into())
        );
    }
    assert_eq!(order["request"]["grpc"]["messages"][0]["fields"]["customer"], "Ada");
    assert_eq!(order["request"]["grpc"]["messages"][0]["fields"]["items"][0]["delta"], -2);
    assert_eq!(order["request"]["headers"]["x-shop"], "corner");
    assert_eq!(order["response"]["grpc"]["status"], 0);
    assert_eq!(order["response"]["grpc"]["messages"][0]["fields"]["id"], "for Ada");
    assert_eq!(refused["response"]["grpc"]["statusName"], "INVALID_ARGUMENT");
    assert_eq!(refused["response"]["grpc"]["message"], "who? 100%");
    assert_eq!(watch["response"]["grpc"]["messageCount"], 3);
    assert_eq!(watch["response"]["grpc"]["messages"][2]["fields"]["id"], "third");
    entries
}

#[test]
fn root_grpc_web_is_grpc_over_both_versions_of_http() {
    let daemon = daemon_with_descriptors();
    for version in ["1", "2"] {
        let server = NodeServer::start("rpc.mjs", &[version, SHOP]);
        let filter = format!("grpc and http and dst.port == {}", server.port());
        let mut feed = daemon.feed(&filter);
        let mut refused = daemon.feed(&format!("{filter} and grpc_status == 3 and grpc_method == \"Order\""));
        server.call(&["web"], &[version, SHOP]);
        let entries = shopping(&mut feed, "gRPC-Web", false);
        assert_eq!(entries[0]["protocol"]["version"], if version == "1" { "1.1" } else { "2.0" });
        assert_eq!(refused.next()["id"], entries[1]["id"]);
        assert!(feed.is_quiet(QUIET));
    }
}

#[test]
fn root_grpc_inside_tls_is_seen_like_grpc_in_clear_text() {
    let keys = Keys::new();
    let daemon = daemon_with_descriptors();
    let server = NodeServer::start("rpc.mjs", &["tls", SHOP, &keys.text("key.pem"), &keys.text("cert.pem")]);
    attached(&daemon, server.pid());
    let mut feed = daemon.feed(&format!("grpc and tls and dst.port == {}", server.port()));
    server.call(&["grpc"], &["tls", SHOP]);
    shopping(&mut feed, "gRPC", true);
    assert!(feed.is_quiet(QUIET));
    let mut web = daemon.feed(&format!("grpc and tls and dst.port == {}", server.port()));
    server.call(&["web"], &["tls", SHOP]);
    shopping(&mut web, "gRPC-Web", true);
}

#[test]
fn capture_files_are_dissected_with_descriptors() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let remora = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_remora")).args(arguments).output().expect("run remora")
    };
    let missing =
        remora(&["dissect", "-", "--descriptors", &folder.path().join("none").display().to_string()]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && text.contains("none with protobuf descriptors"), "{text}");
}
