//! Issue 2, point 9: who may call.

use std::process::Command;

use crate::support::{Daemon, Feed, Nginx, client, curl, until};

fn as_nobody(arguments: &[&str]) -> (u16, String) {
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "curl",
            "-sS",
            "-w",
            "\n%{http_code}",
        ])
        .args(arguments)
        .output()
        .expect("setpriv");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (code.parse().unwrap_or(0), body.to_string())
}

#[test]
fn root_loopback_callers_are_known_by_their_uid() {
    let daemon = Daemon::start();
    let url = format!("http://{}/api/v1/status", daemon.tcp);
    let output = curl(&["-w", "%{http_code}", "-o", "/dev/null", &url]);
    assert_eq!(output.stdout, b"200", "root needs no token on loopback");
    let (code, body) = as_nobody(&[&url]);
    assert!(code == 401 || code == 403, "nobody gets {code}: {body}");
    assert!(body.contains("token"), "the way out is named: {body}");
}

#[test]
fn root_tokens_open_what_their_role_allows_until_they_are_revoked() {
    let daemon = Daemon::start();
    let created = daemon.remora(&["token", "create", "--role", "viewer", "ci", "--json"]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).expect("JSON");
    let token = created["token"].as_str().expect("token").to_string();
    let bearer = format!("Authorization: Bearer {token}");
    let url = |path: &str| format!("http://{}{path}", daemon.tcp);
    assert_eq!(as_nobody(&["-H", &bearer, &url("/api/v1/entries")]).0, 200);
    assert_eq!(as_nobody(&["-H", &bearer, "-X", "POST", &url("/mcp/dissection/disable")]).0, 403);
    assert_eq!(as_nobody(&["-H", "Authorization: Bearer wrong", &url("/api/v1/entries")]).0, 401);

    let listed = daemon.remora(&["token", "list"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("ci") && text.contains("viewer"), "{text}");
    assert!(!text.contains(&token), "the token itself is shown once only");
    let id = created["id"].as_str().map_or_else(|| created["id"].to_string(), str::to_string);
    assert!(daemon.remora(&["token", "revoke", &id]).status.success());
    assert_eq!(as_nobody(&["-H", &bearer, &url("/api/v1/entries")]).0, 401);
}

#[test]
fn root_viewers_see_secrets_redacted() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let created = daemon.remora(&["token", "create", "--role", "viewer", "v", "--json"]);
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).expect("JSON");
    let token = created["token"].as_str().expect("token");
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&["-H", "Authorization: Bearer s3cret-of-the-app", "-H", "Cookie: session=abc123", &nginx.url("/")]);
    let full = feed.next().to_string();
    assert!(full.contains("s3cret-of-the-app"), "root sees all");
    let query = format!("/api/v1/entries?kfl=dst.port%20==%20{}", nginx.port);
    // Entries are streamed a moment before they can be read.
    until("the stored entry", || daemon.get(&query).text().contains("s3cret-of-the-app").then_some(()));
    let (code, body) = as_nobody(&[
        "-H",
        &format!("Authorization: Bearer {token}"),
        &format!("http://{}{query}", daemon.tcp),
    ]);
    assert_eq!(code, 200);
    assert!(body.contains("[REDACTED]"), "{body}");
    assert!(!body.contains("s3cret-of-the-app") && !body.contains("abc123"), "{body}");
}

#[test]
fn root_foreign_hosts_and_origins_are_refused_on_tcp() {
    let daemon = Daemon::start();
    let ask = |headers: &[(&str, &str)]| {
        client::request(client::tcp(daemon.tcp), "GET", "/api/v1/status", headers, "").status
    };
    assert_eq!(ask(&[]), 200);
    assert_eq!(ask(&[("Host", "evil.example")]), 403, "DNS rebinding");
    assert_eq!(ask(&[("Origin", "http://evil.example")]), 403);
    let own = daemon.tcp.to_string();
    assert_eq!(ask(&[("Host", &own), ("Origin", &format!("http://{own}"))]), 200, "the daemon's own pages");
}

#[test]
fn root_a_stream_over_tcp_works_for_root_without_token() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = Feed::open(client::tcp(daemon.tcp), "/api/wsFull", &format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/")]);
    assert_eq!(feed.next()["response"]["status"], 200);
}
