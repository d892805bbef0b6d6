//! What capture leaves out: own traffic and what is not in the scope.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::support::*;
use crate::capture::{Scope, ScopeLists, host_support};
use crate::engine::model::Hook;

#[test]
fn root_own_traffic_is_excluded_at_both_ends() {
    let running = start(&own_process());
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl")
        .args(["-s", "-m", CURL_PATIENCE, &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let (mut server, _) = listener.accept().expect("accepts");
    answer_http(&mut server);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");

    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), [], "own traffic");
    assert!(running.capture.counters().expect("counters").excluded_own >= 10);
}

#[test]
fn root_inherited_listener_is_excluded() {
    let (listener, port) = listener();
    let running = start_beside(&own_process(), &[listener.as_fd()]);
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl")
        .args(["-s", "-m", CURL_PATIENCE, &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    answer_http(&mut listener.accept().expect("accepts").0);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), []);
}

#[test]
fn root_connection_that_waited_at_an_inherited_listener_is_excluded() {
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl")
        .args(["-s", "-m", CURL_PATIENCE, &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    wait_readable(&listener);
    let running = start_beside(&own_process(), &[listener.as_fd()]);
    answer_http(&mut listener.accept().expect("accepts").0);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), []);
}

#[test]
fn root_client_at_another_address_of_the_host_is_excluded_too() {
    let running = start(&own_process());
    let port = in_own_netns(|| {
        ip(&["link", "set", "lo", "up"]);
        ip(&["address", "add", "10.77.0.1/32", "dev", "lo"]);
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let url = format!("http://10.77.0.1:{port}/");
        let curl = Command::new("curl")
            .args(["-s", "-m", CURL_PATIENCE, &url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl");
        answer_http(&mut listener.accept().expect("accepts").0);
        assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
        port
    });
    assert_others_are_seen(&running);
    assert_eq!(running.packets.packets_of(port), [], "own traffic");
}

#[test]
fn root_client_of_a_namesake_on_another_host_is_seen() {
    let running = start(&own_process());
    // A listener on all addresses has the port that is asked for, yet at 10.77.0.2 answers another.
    let port = in_own_netns(|| {
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "here", "type", "veth", "peer", "name", "there"]);
        ip(&["address", "add", "10.77.0.1/24", "dev", "here"]);
        for device in ["here", "there"] {
            ip(&["link", "set", device, "up"]);
        }
        ip(&["neighbour", "add", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", "here"]);
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let url = format!("http://10.77.0.2:{port}/");
        // Nobody answers: only the SYN goes out, unless curl has no time to get there.
        let status = Command::new("curl").args(["-s", "-m", "4", &url]).status().expect("curl");
        assert!(!status.success());
        port
    });
    running.packets.wait("a SYN to the other host", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
}

/// Runs in a network namespace that nobody else is in.
fn in_own_netns<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let body = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("makes a namespace");
        run()
    };
    std::thread::scope(|scope| scope.spawn(body).join().expect("no panic"))
}

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().expect("ip").success(), "ip {args:?}");
}

#[test]
fn root_scope_changes_at_run_time() {
    let running = start_all();
    let (wanted, wanted_port) = listener();
    let (other, other_port) = listener();
    let ports = |ports: &[u16]| ScopeLists { ports: ports.to_vec(), ..ScopeLists::default() };
    let networks =
        |text: &str| ScopeLists { networks: vec![text.parse().expect("network")], ..ScopeLists::default() };
    let check = |scope: Scope, first: &[u8], seen_first: bool, second: &[u8]| {
        running.capture.set_scope(&scope).expect("scope");
        let before = running.packets.packets_of(wanted_port).len();
        drop(exchange(&wanted, first, first));
        running.capture.set_scope(&Scope::default()).expect("scope");
        drop(exchange(&other, second, second));
        wait_payload(&running.packets, other_port, Hook::Ingress, second);
        let seen =
            running.packets.packets_of(wanted_port)[before..].iter().any(|packet| payload(packet) == first);
        assert_eq!(seen, seen_first, "{scope:?}");
    };
    check(Scope { include: ports(&[wanted_port]), ..Scope::default() }, b"a1", true, b"a2");
    check(Scope { include: ports(&[1]), ..Scope::default() }, b"b1", false, b"b2");
    check(Scope { exclude: ports(&[wanted_port]), ..Scope::default() }, b"c1", false, b"c2");
    check(Scope { include: networks("127.0.0.0/8"), ..Scope::default() }, b"d1", true, b"d2");
    check(Scope { include: networks("10.0.0.0/8"), ..Scope::default() }, b"e1", false, b"e2");
    check(Scope { exclude: networks("127.0.0.1"), ..Scope::default() }, b"f1", false, b"f2");
    check(Scope { include: ports(&[wanted_port]), exclude: networks("127.0.0.0/8") }, b"g1", false, b"g2");
    assert!(running.capture.counters().expect("counters").excluded_scope > 0);
}

#[test]
fn root_scope_knows_cgroups_and_what_is_in_them() {
    let cgroup = TestCgroup::new();
    let running = start_all();
    let lists =
        ScopeLists { cgroups: vec![crate::capture::CgroupRule::Id(cgroup.id())], ..ScopeLists::default() };
    running.capture.set_scope(&Scope { include: lists.clone(), ..Scope::default() }).expect("scope");
    let (inside, inside_port) = listener();
    let body = cgroup.run_curl(&inside, inside_port);
    assert_eq!(body, b"hello");
    running.packets.wait("the client in the child cgroup", |records| {
        records.iter().find_map(|record| packet_of(record, inside_port)).map(drop)
    });
    let client_only = running.packets.packets_of(inside_port);
    assert!(
        client_only.iter().all(|packet| packet.socket.is_some_and(|socket| socket.local.port != inside_port))
    );

    running.capture.set_scope(&Scope { exclude: lists, ..Scope::default() }).expect("scope");
    let (outside, port) = listener();
    assert_eq!(cgroup.run_curl(&outside, port), b"hello");
    running.packets.wait("the server outside", |records| {
        records.iter().find_map(|record| packet_of(record, port)).map(drop)
    });
    assert!(
        running
            .packets
            .packets_of(port)
            .iter()
            .all(|packet| packet.socket.is_some_and(|socket| socket.local.port == port))
    );
}

/// A cgroup v2 made for the test.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn new() -> Self {
        let root = host_support::probe().cgroup2.expect("a cgroup2 mount");
        let path = root.join(format!("remora-test-{}", std::process::id()));
        std::fs::create_dir_all(path.join("child")).expect("makes a cgroup");
        Self(path)
    }

    fn id(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.0).expect("exists").ino()
    }

    /// Runs curl in the child cgroup against `listener`.
    fn run_curl(&self, listener: &TcpListener, port: u16) -> Vec<u8> {
        let script = format!(
            "echo $$ > {}/child/cgroup.procs && exec curl -s -m {CURL_PATIENCE} http://127.0.0.1:{port}/",
            self.0.display()
        );
        let curl = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("sh");
        answer_http(&mut listener.accept().expect("accepts").0);
        curl.wait_with_output().expect("curl").stdout
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("child"));
        let _ = std::fs::remove_dir(&self.0);
    }
}
