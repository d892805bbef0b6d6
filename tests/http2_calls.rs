//! Issue 5: HTTP/2 between real peers, each call one entry.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::tls::{Keys, Program};
use crate::support::{Daemon, Nginx, curl};

const QUIET: Duration = Duration::from_millis(400);

fn h2_nginx() -> Nginx {
    Nginx::start_h2("location = /made { return 201 made; } location = /gone { return 404 gone; }")
}

#[test]
fn root_curl_with_prior_knowledge_is_an_http2_entry() {
    let nginx = h2_nginx();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http2 and dst.port == {}", nginx.port));
    curl(&["--http2-prior-knowledge", "-H", "Cookie: a=1", &nginx.url("/index.html?x=1&y=a%20b")]);
    let entry = feed.next();
    assert_eq!(entry["protocol"]["abbr"], "HTTP/2");
    assert_eq!(entry["protocol"]["version"], "2.0");
    assert_eq!(entry["request"]["method"], "GET");
    assert_eq!(entry["request"]["path"], "/index.html");
    assert_eq!(entry["request"]["httpVersion"], "HTTP/2");
    assert_eq!(entry["request"]["queryString"]["y"], "a b");
    assert_eq!(entry["request"]["cookies"]["a"], "1");
    assert_eq!(entry["request"]["headers"][":scheme"], "http");
    assert_eq!(entry["response"]["status"], 200);
    assert_eq!(entry["response"]["content"]["size"], "hello from nginx\n".len());
    assert!(entry["error"].is_null());
    assert!(feed.is_quiet(QUIET), "one call gave more than one entry");
}

#[test]
fn root_a_thousand_multiplexed_calls_are_a_thousand_entries() {
    let nginx = h2_nginx();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http2 and dst.port == {}", nginx.port));
    let urls = nginx.dir.path().join("urls");
    let lines: Vec<String> = (0..1000).map(|n| nginx.url(&format!("/index.html?n={n}"))).collect();
    std::fs::write(&urls, lines.join("\n")).expect("urls");
    let done = Command::new("h2load")
        .args(["-n", "1000", "-c", "1", "-m", "100", "-i"])
        .arg(&urls)
        .output()
        .expect("run h2load (package nghttp2-client)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let entries = feed.take(1000);
    let mut seen: HashMap<String, &Value> = HashMap::new();
    for entry in &entries {
        let number = entry["request"]["queryString"]["n"].to_string();
        if let Some(other) = seen.insert(number, entry) {
            panic!("an entry came twice: {entry:#} and {other:#}");
        }
    }
    for entry in &entries {
        assert_eq!(entry["response"]["status"], 200);
        assert_eq!(entry["response"]["bodySize"], "hello from nginx\n".len());
        assert!(entry["error"].is_null(), "{entry:#}");
    }
    assert!(feed.is_quiet(QUIET));
}

#[test]
fn root_a_connection_joined_late_is_understood() {
    let nginx = h2_nginx();
    // One connection with pauses, for minutes; the daemon comes in between.
    let mut client = Command::new("h2load")
        .args(["-n", "3000", "-c", "1", "-m", "1", "--rps", "10"])
        .arg(nginx.url("/index.html"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("run h2load (package nghttp2-client)");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http2 and dst.port == {}", nginx.port));
    let entry = feed.next();
    assert_eq!(entry["response"]["status"], 200, "{entry:#}");
    assert_eq!(entry["request"]["method"], "GET");
    assert!(client.try_wait().expect("h2load").is_none(), "it is the connection from before the daemon");
    client.kill().expect("kill");
    client.wait().expect("h2load");
}

#[test]
fn root_a_connection_inside_tls_that_is_joined_late_is_understood() {
    let keys = Keys::new();
    let server = Program::node().serve(&keys);
    let mut client = Program::node().ask(&keys, server.port);
    assert!(client.tell("2 /before early").starts_with("203 "));
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http2 and tls and dst.port == {}", server.port));
    // Calls are made until one is seen: nothing says when the probes of both processes are in place. One during
    // which that happens may be seen without its request.
    let entry = (0..100).find_map(|number| {
        assert!(client.tell(&format!("2 /later/{number} body{number}")).starts_with("203 "));
        feed.next_within(Duration::from_millis(100)).filter(|entry| !entry["request"].is_null())
    });
    let entry = entry.expect("a call of a connection that is older than the daemon");
    assert!(entry["request"]["path"].as_str().is_some_and(|path| path.starts_with("/later/")), "{entry:#}");
    assert_eq!(entry["request"]["method"], "POST");
    // The server's table has its status since before the daemon came: it is not known, and that is said.
    assert_eq!(entry["response"]["status"], 0);
    assert!(entry["events"].to_string().contains("unknown_headers"), "{entry:#}");
    let mut marked = daemon.feed(&format!("path == \"/marked\" and dst.port == {}", server.port));
    assert!(client.tell("2 /marked whole").starts_with("203 "));
    let marked = marked.next();
    assert_eq!(marked["request"]["postData"]["text"], "whole");
    assert_eq!(marked["error"], Value::Null);
}
