//! What is captured can be narrowed to units, containers, users and executables.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::tls::Server;
use crate::support::wait::until_within;
use crate::support::{Cgroup, Daemon, Feed, Nginx, Options, curl, free_port, until};
use crate::tls::{Https, path_of};
use crate::tls_stacks::{self, settled};

/// How long to watch for an entry that must not come.
const QUIET: Duration = Duration::from_millis(500);

/// How long to wait for one that must.
const PATIENCE: Duration = Duration::from_secs(20);

fn daemon_with(config: String) -> Daemon {
    Daemon::start_with(Options { config, ..Options::default() })
}

/// Calls until one is seen: a new cgroup or file is known some milliseconds after its first program. Of the
/// calls before, some may be shown late.
fn first_of(feed: &mut Feed, mut call: impl FnMut()) -> String {
    until("a call in scope", || {
        call();
        feed.next_within(Duration::from_millis(200)).map(|entry| path_of(&entry).to_owned())
    })
}

/// The next entry within `patience` that is none of the calls that were made until one was seen.
fn next_but(feed: &mut Feed, first: &str, patience: Duration) -> Option<Value> {
    loop {
        let entry = feed.next_within(patience)?;
        if path_of(&entry) != first {
            return Some(entry);
        }
    }
}

/// `path` is asked for from within the cgroup.
fn curl_in(cgroup: &Cgroup, nginx: &Nginx, path: &str) {
    let arguments = ["-sS", "--max-time", "20", "-o", "/dev/null", &nginx.url(path)];
    assert!(cgroup.command("curl", &arguments).status().expect("curl").success());
}

#[test]
fn root_a_unit_is_found_whenever_it_starts() {
    let nginx = Nginx::start("");
    let daemon = daemon_with("capture.include.units = [\"shop.service\"]".to_owned());
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    // Started again, it has another cgroup.
    for path in ["/first", "/again"] {
        let unit = Cgroup::new("scope", "shop.service");
        let other = Cgroup::new("other", "blog.service");
        assert_eq!(first_of(&mut feed, || curl_in(&unit, &nginx, path)), path);
        curl_in(&other, &nginx, "/other");
        curl(&[&nginx.url("/outside")]);
        assert_eq!(next_but(&mut feed, path, QUIET), None);
        let behind = format!("{path}/behind");
        curl_in(&unit, &nginx, &behind);
        assert_eq!(path_of(&next_but(&mut feed, path, PATIENCE).expect("an entry")), behind);
    }
}

#[test]
fn root_a_container_is_left_out_by_the_beginning_of_its_id() {
    let id = "4f1c9a".repeat(10) + "beef";
    let container = Cgroup::new("left-out", &format!("docker-{id}.scope"));
    let nginx = Nginx::start("");
    let daemon = daemon_with("capture.exclude.containers = [\"4f1c9a4f1c9a\"]".to_owned());
    let port = free_port();
    let mut feed = daemon.feed(&format!("http and (dst.port == {port} or dst.port == {})", nginx.port));
    let arguments = ["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()];
    let command = container.command("/usr/bin/python3", &arguments);
    let server = Server::at(command, port);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    // Both ends are inside, then one, then none.
    let inside = container.command("curl", &["-sS", "--max-time", "20", &url("/of-container")]).output();
    assert!(inside.expect("curl").status.success());
    assert!(feed.is_quiet(QUIET));
    curl(&[&url("/of-host")]);
    assert_eq!(feed.next()["dst"]["port"], port.to_string());
    curl(&[&nginx.url("/of-host")]);
    assert_eq!(feed.next()["dst"]["port"], nginx.port.to_string());
    drop(server);
}

/// `curl` with the options, to a server that answers in TLS.
fn ask(server: &Https, words: &[&str], path: &str) {
    let (program, before) = words.split_first().expect("a program");
    let url = format!("https://127.0.0.1:{}{path}", server.port);
    let output = Command::new(program)
        .args(before)
        .args(["-ksS", "--noproxy", "*", "--http1.1", "--max-time", "20", "-o", "/dev/null", &url])
        .output()
        .expect("run curl");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "curl"];

#[test]
fn root_plaintext_is_taken_of_the_users_in_scope() {
    let server = Https::start();
    let daemon = daemon_with("tls.include.users = [\"nobody\"]".to_owned());
    settled(&daemon);
    let mut feed = daemon.feed(&server.calls());
    ask(&server, &["curl"], "/of-root");
    assert!(feed.is_quiet(QUIET));
    ask(&server, &AS_NOBODY, "/of-nobody");
    assert_eq!(path_of(&feed.next()), "/of-nobody");
    drop(daemon);

    let daemon = daemon_with("tls.exclude.users = [\"0\"]".to_owned());
    settled(&daemon);
    let mut feed = daemon.feed(&server.calls());
    ask(&server, &["curl"], "/of-root");
    assert!(feed.is_quiet(QUIET));
    ask(&server, &AS_NOBODY, "/of-nobody");
    assert_eq!(path_of(&feed.next()), "/of-nobody");
}

#[test]
fn root_plaintext_is_taken_of_the_executables_in_scope() {
    let server = Https::start();
    let dir = tempfile::tempdir().expect("directory");
    let copy = |name: &str| {
        let path = dir.path().join(name);
        std::fs::copy("/usr/bin/curl", &path).expect("copy");
        path.display().to_string()
    };
    let (by_path, by_name) = (copy("asker"), copy("named-asker"));
    let daemon = daemon_with(format!("tls.include.executables = [{by_path:?}, \"named-asker\"]"));
    settled(&daemon);
    let mut feed = daemon.feed(&server.calls());
    ask(&server, &["curl"], "/of-curl");
    assert!(feed.is_quiet(QUIET));
    // Known before it was ever executed.
    ask(&server, &[&by_path], "/by-path");
    assert_eq!(path_of(&feed.next()), "/by-path");
    assert_eq!(first_of(&mut feed, || ask(&server, &[&by_name], "/by-name")), "/by-name");

    // Changed while it runs.
    let config = daemon.socket().with_file_name("remora.toml");
    let text = std::fs::read_to_string(&config).expect("configuration");
    std::fs::write(&config, text.replace("include.executables", "exclude.executables")).expect("write");
    daemon.signal("HUP");
    until("the reload", || {
        daemon.output.lock().expect("output").contains("configuration reloaded").then_some(())
    });
    ask(&server, &[&by_path], "/left-out");
    // nginx itself is in scope now, so that the call is seen at the server's end.
    let seen = next_but(&mut feed, "/by-name", PATIENCE).expect("an entry");
    assert_eq!(path_of(&seen), "/left-out");
    // It waits for an answer that does not come.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("https://{}/", silent.local_addr().expect("address"));
    let mut asker = Command::new(&by_path);
    let mut asker = asker.args(["-s", "--noproxy", "*", &url]).spawn().expect("run curl");
    let reason = until_within(tls_stacks::PATIENCE, "the doctor", || {
        let doctor = daemon.data("/api/v1/doctor/tls");
        let process =
            doctor["processes"].as_array()?.iter().find(|found| found["pid"] == asker.id())?.clone();
        process["reason"].as_str().filter(|why| !why.is_empty()).map(str::to_owned)
    });
    asker.kill().expect("kill");
    asker.wait().expect("wait");
    assert!(reason.contains("tls.exclude.executables"), "{reason}");
}
