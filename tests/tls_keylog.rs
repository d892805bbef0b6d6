//! Issue 6, point 7: key material is taken only where it was asked for, and opens the original packets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::tls::{Client, Keys, Program, Server};
use crate::support::{Daemon, Options, until};
use crate::tls_stacks::{attached, gnutls_serv, nginx, settled};

/// What key material begins with in a file.
const LABEL: &str = "CLIENT_HANDSHAKE_TRAFFIC_SECRET ";

/// A daemon that keeps its state where the test finds it.
struct Host {
    daemon: Daemon,
    state: tempfile::TempDir,
}

impl Host {
    fn start(config: &str) -> Self {
        let state = tempfile::tempdir().expect("state");
        let options = Options { config: config.to_owned(), state: Some(state.path().to_path_buf()) };
        let daemon = Daemon::start_with(options);
        settled(&daemon);
        Self { daemon, state }
    }

    /// An export, as a file.
    fn export(&self, name: &str, kfl: &str) -> PathBuf {
        let reply = self.daemon.get(&format!("/api/v1/pcap?kfl={kfl}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let path = self.state.path().join(name);
        std::fs::write(&path, &reply.body).expect("export");
        path
    }

    /// Sealed segments; an export seals them.
    fn segments(&self) -> Vec<PathBuf> {
        let found = std::fs::read_dir(self.state.path().join("raw")).expect("segments");
        let paths = found.map(|entry| entry.expect("entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "pcapng")).collect()
    }

    fn until_seen(&self, path: &str) {
        let wanted = format!("/api/v1/entries?kfl=tls%20and%20path%20==%20%22{path}%22");
        until(path, || (!self.daemon.data(&wanted)["entries"].as_array()?.is_empty()).then_some(()));
    }
}

/// Two peers with probes.
fn peers(host: &Host, program: &Program, keys: &Keys) -> (Server, Client) {
    let server = program.serve(keys);
    attached(&host.daemon, server.pid());
    let client = program.ask(keys, server.port);
    attached(&host.daemon, client.pid());
    (server, client)
}

/// Requests that Wireshark finds inside of the TLS packets of a server, HTTP/1 and HTTP/2.
fn opened(file: &Path, port: u16) -> BTreeSet<String> {
    // Exported plaintext is in frames of its own, which have no TCP.
    let filter = format!("tcp.port == {port} && tls && (http.request || http2.headers.path)");
    let output = Command::new("tshark")
        .args(["-r", file.to_str().expect("path"), "-d", &format!("tcp.port=={port},tls"), "-Y", &filter])
        .args(["-T", "fields", "-e", "http.request.uri", "-e", "http2.headers.path"])
        .output()
        .expect("run tshark");
    let said = String::from_utf8_lossy(&output.stdout);
    said.split_whitespace().map(str::to_owned).collect()
}

fn randoms(file: &Path) -> BTreeSet<Vec<u8>> {
    let data = std::fs::read(file).expect("a file");
    let found = data.windows(LABEL.len() + 64).filter(|part| part.starts_with(LABEL.as_bytes()));
    found.map(|part| part[LABEL.len()..].to_vec()).collect()
}

/// Calls over these versions of HTTP are opened, in an export, in segments, and in an export of one only.
fn assert_opens_packets(program: &Program, keys: &Keys, calls: &[&str]) {
    let host = Host::start("[tls]\nkeylog = true\n");
    let (server, mut client) = peers(&host, program, keys);
    let (other, mut elsewhere) = peers(&host, program, keys);
    for path in calls {
        let http = &path[1..2];
        assert!(client.tell(&format!("{http} {path} sent")).starts_with("203 "));
    }
    assert!(elsewhere.tell("1 /elsewhere sent").starts_with("203 "));
    calls.iter().chain([&"/elsewhere"]).for_each(|path| host.until_seen(path));
    let all = host.export("all.pcapng", "");
    let wanted: BTreeSet<String> = calls.iter().map(|&path| path.to_owned()).collect();
    assert_eq!(opened(&all, server.port), wanted);
    // Others on this host have connections, too.
    let ports = format!("dst.port%20==%20{}%20or%20dst.port%20==%20{}", server.port, other.port);
    let own = host.export("own.pcapng", &ports);
    assert_eq!(randoms(&own).len(), calls.len() + 1, "one for each connection");
    let mut of_segments = BTreeSet::new();
    host.segments().iter().for_each(|segment| of_segments.extend(opened(segment, server.port)));
    assert_eq!(of_segments, wanted);
    // An export of one connection has no key of another.
    let first = format!("path%20==%20%22/1/first%22%20and%20dst.port%20==%20{}", server.port);
    let one = host.export("one.pcapng", &first);
    assert_eq!(opened(&one, server.port), BTreeSet::from(["/1/first".to_owned()]));
    assert_eq!(randoms(&one).len(), 1);
}

#[test]
fn root_wireshark_opens_packets_of_go_where_keys_are_asked_for() {
    let keys = Keys::new();
    assert_opens_packets(&Program::go(&keys, &["-ldflags=-s -w"]), &keys, &["/1/first", "/2/second"]);
}

#[test]
fn root_wireshark_opens_packets_of_openssl_where_keys_are_asked_for() {
    assert_opens_packets(&Program::python(), &Keys::new(), &["/1/first"]);
}

#[test]
fn root_wireshark_opens_packets_of_node_where_keys_are_asked_for() {
    assert_opens_packets(&Program::node(), &Keys::new(), &["/1/first", "/2/second"]);
}

#[test]
fn root_wireshark_opens_packets_of_tls_1_2_in_a_snapshot() {
    let keys = Keys::new();
    let host = Host::start("[tls]\nkeylog = true\n");
    let server = nginx(&keys);
    attached(&host.daemon, server.pid());
    let url = format!("https://127.0.0.1:{}/older", server.port);
    let output = Command::new("curl").args(["-sSk", "--http1.1", "--tls-max", "1.2", &url]).output();
    assert!(output.expect("run curl").status.success());
    host.until_seen("/older");
    let reply = host.daemon.post("/api/v1/snapshots", r#"{"name": "kept"}"#);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let reply = host.daemon.get("/api/v1/snapshots/kept/pcap");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let path = host.state.path().join("kept.pcapng");
    std::fs::write(&path, &reply.body).expect("export");
    assert_eq!(opened(&path, server.port), BTreeSet::from(["/older".to_owned()]));
}

#[test]
fn root_no_key_is_kept_unless_asked_for() {
    let host = Host::start("");
    let keys = Keys::new();
    let (server, mut client) = peers(&host, &Program::go(&keys, &[]), &keys);
    assert!(client.tell("1 /closed sent").starts_with("203 "));
    host.until_seen("/closed");
    let all = host.export("all.pcapng", "");
    assert_eq!(opened(&all, server.port), BTreeSet::new());
    let files = host.segments();
    assert!(!files.is_empty());
    for file in files.iter().chain([&all]) {
        assert!(randoms(file).is_empty(), "{}", file.display());
    }
    let said = attached(&host.daemon, server.pid()).to_string();
    assert!(!said.contains("writeKeyLog") && !said.contains("keylog"), "{said}");
}

#[test]
fn root_the_doctor_names_libraries_whose_keys_are_not_taken() {
    let host = Host::start("[tls]\nkeylog = true\n");
    let keys = Keys::new();
    let said = |server: &Server| attached(&host.daemon, server.pid()).to_string();
    let gnutls = said(&gnutls_serv(&keys));
    assert!(gnutls.contains("tls.keylog: nothing in this file is told its secrets"), "{gnutls}");
    let go = said(&Program::go(&keys, &[]).serve(&keys));
    assert!(go.contains("writeKeyLog") && !go.contains("tls.keylog"), "{go}");
    let openssl = said(&Program::python().serve(&keys));
    assert!(openssl.contains("nss_keylog_int"), "{openssl}");
}
