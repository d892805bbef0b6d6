//! Issue 5: gRPC between real peers in all streaming shapes, and calls that are shown while they go on.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, GrpcServer, PythonServer, curl};

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
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("grpc_method == \"Slow\" and dst.port == {}", server.port()));
    server.call("slow");
    let [open, ended] = feed.take(2).try_into().expect("two");
    assert_eq!((open["state"].as_str(), ended["state"].as_str()), (Some("open"), Some("ended")));
    assert_eq!(open["id"], ended["id"]);
    assert!(open["seq"].as_u64() < ended["seq"].as_u64());
    assert_eq!(texts(&open["response"]), ["part 0"]);
    assert_eq!(texts(&ended["response"]), ["part 0", "part 1"]);
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_a_slow_http1_answer_is_shown_open_and_ended_under_one_id() {
    let server = PythonServer::start(
        "import http.server, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'first ')
        self.wfile.flush()
        time.sleep(2)
        self.wfile.write(b'last')
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_port)
s.serve_forever()",
    );
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http and dst.port == {}", server.port));
    curl(&[&format!("http://127.0.0.1:{}/slow", server.port)]);
    let [open, ended] = feed.take(2).try_into().expect("two");
    assert_eq!((open["state"].as_str(), ended["state"].as_str()), (Some("open"), Some("ended")));
    assert_eq!(open["id"], ended["id"]);
    assert_eq!(
        (open["response"]["bodySize"].as_u64(), ended["response"]["bodySize"].as_u64()),
        (Some(6), Some(10))
    );
    assert!(feed.is_quiet(QUIET));
}
