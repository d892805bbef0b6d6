//! Issue 5: lookups of real resolvers' clients, and the names that they teach.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Feed, Netns, Nginx, curl, free_port, until};

/// Answers for the zone `test`, with one record of each kind that is usual.
const ZONE: &[&str] = &[
    "--address=/app.test/127.77.0.7",
    "--host-record=six.test,127.77.0.8,fd00::8",
    "--cname=alias.test,six.test",
    "--mx-host=test,mail.test,10",
    "--srv-host=_http._tcp.test,app.test,8080,5,7",
    "--txt-record=txt.test,v=1,hello world",
    "--caa-record=test,0,issue,ca.test",
    "--naptr-record=test,10,20,u,E2U+sip,!^.*$!sip:x@test!",
    "--dns-rr=https.test,65,000100000100030268320003000201bb",
    "--local=/test/",
];

/// A real dnsmasq in the foreground.
struct Dnsmasq {
    child: Child,
    port: u16,
}

impl Dnsmasq {
    fn start(netns: Option<&Netns>, port: u16, more: &[&str]) -> Self {
        let mut command = netns.map_or_else(|| Command::new("dnsmasq"), |netns| netns.command("dnsmasq"));
        let child = command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args(["--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-"])
            .arg(format!("--port={port}"))
            .args(ZONE)
            .args(more)
            .stderr(Stdio::null())
            .spawn()
            .expect("start dnsmasq");
        let started = Self { child, port };
        until("dnsmasq to answer", || {
            let mut dig = netns.map_or_else(|| Command::new("dig"), |netns| netns.command("dig"));
            let output = started.ask(&mut dig, &["+tries=1", "+time=1", "ready.test"]);
            output.status.success().then_some(())
        });
        started
    }

    fn ask(&self, dig: &mut Command, arguments: &[&str]) -> Output {
        dig.args(["@127.0.0.1", "-p", &self.port.to_string()]).args(arguments).output().expect("run dig")
    }

    /// Asks with dig, which must get an answer.
    fn dig(&self, arguments: &[&str]) -> String {
        let output = self.ask(&mut Command::new("dig"), arguments);
        assert!(output.status.success(), "dig {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn first_answer<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry["response"]["answers"][0][key].as_str().unwrap_or_default()
}

/// The next two entries: one over UDP whose answer is truncated, and the one over TCP that follows. They are of
/// different connections, so either may come first.
fn truncated_and_whole(feed: &mut Feed) -> (Value, Value) {
    let mut entries = feed.take(2);
    entries.sort_by_key(|entry| entry["request"]["transport"] == "tcp");
    let [cut, whole] = entries.try_into().expect("two");
    assert_eq!(
        (&cut["request"]["transport"], &whole["request"]["transport"]),
        (&"udp".into(), &"tcp".into())
    );
    assert_eq!(cut["response"]["truncated"], true, "{cut}");
    (cut, whole)
}

#[test]
fn root_each_lookup_is_an_entry_with_its_latency() {
    let server = Dnsmasq::start(None, free_port(), &[]);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dns and dst.port == {}", server.port));
    let cases = [
        ("app.test", "A", "ip", "127.77.0.7"),
        ("six.test", "AAAA", "ip", "fd00::8"),
        ("alias.test", "A", "cname", "six.test"),
        ("test", "MX", "mx", "10 mail.test"),
        ("_http._tcp.test", "SRV", "srv", "5 7 8080 app.test"),
        ("txt.test", "TXT", "txts", "\"v=1\" \"hello world\""),
        ("test", "CAA", "data", "0 issue \"ca.test\""),
        ("test", "NAPTR", "data", "10 20 \"u\" \"E2U+sip\" \"!^.*$!sip:x@test!\" ."),
        ("https.test", "HTTPS", "data", "1 . alpn=h2 port=443"),
    ];
    for (name, kind, key, expected) in cases {
        server.dig(&["+noedns", name, kind]);
        let entry = feed.next();
        assert_eq!(entry["request"]["questions"][0]["name"], name, "{entry}");
        assert_eq!(entry["request"]["questions"][0]["type"], kind, "{entry}");
        assert_eq!(first_answer(&entry, key), expected, "{entry}");
        assert_eq!(entry["response"]["code"], "No Error");
        assert_eq!(entry["error"], Value::Null);
        assert_eq!(entry["dst"]["processName"], "dnsmasq");
        assert_eq!(entry["protocol"]["abbr"], "DNS");
    }
    assert!(feed.is_quiet(Duration::from_millis(300)), "both sockets of one datagram gave entries");
}

#[test]
fn root_failures_edns_and_filters_on_them() {
    let server = Dnsmasq::start(None, free_port(), &[]);
    let daemon = Daemon::start();
    let scope = format!("dst.port == {}", server.port);
    let mut failed = daemon.feed(&format!("dns && dns_response && status_code != 0 && {scope}"));
    let mut subnet = daemon.feed(&format!(r#"dns_client_subnet.startsWith("192.0.2.") && {scope}"#));
    let mut named =
        daemon.feed(&format!(r#""app.test" in dns_questions && "A" in dns_question_types && {scope}"#));
    let mut found = daemon.feed(&format!(r#""127.77.0.7" in dns_answers && {scope}"#));
    server.dig(&["nothing.test"]);
    server.dig(&["+subnet=192.0.2.0/24", "app.test"]);
    let entry = failed.next();
    assert_eq!(entry["response"]["rcode"], "NXDOMAIN");
    assert_eq!(entry["request"]["questions"][0]["name"], "nothing.test");
    let entry = subnet.next();
    assert_eq!(entry["request"]["edns"]["clientSubnet"], "192.0.2.0/24/0", "{entry}");
    assert!(entry["request"]["edns"]["options"].to_string().contains("COOKIE"), "{entry}");
    assert_eq!(named.next()["id"], entry["id"]);
    assert_eq!(found.next()["id"], entry["id"]);
}

#[test]
fn root_a_truncated_answer_and_the_call_over_tcp_are_both_seen() {
    let long = format!("--txt-record=long.test{}", format!(",{}", "x".repeat(200)).repeat(10));
    let server = Dnsmasq::start(None, free_port(), &[&long]);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dns and dst.port == {}", server.port));
    server.dig(&["+noedns", "long.test", "TXT"]);
    let (_, whole) = truncated_and_whole(&mut feed);
    assert_eq!(first_answer(&whole, "data").len(), 10 * 203 - 1);
}

#[test]
fn root_a_repeated_question_is_told() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = server.local_addr().expect("address").port();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dns and dst.port == {port}"));
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    client.connect(("127.0.0.1", port)).expect("connect");
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05twice\x04test\x00\x00\x01\x00\x01";
    client.send(query).expect("send");
    client.send(query).expect("send");
    let entry = feed.next();
    assert_eq!(entry["error"]["type"], "timeout", "{entry}");
    let mut answer = query.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    let (_, from) = server.recv_from(&mut [0; 512]).expect("receive");
    server.send_to(&answer, from).expect("send");
    let entry = feed.next();
    assert_eq!(entry["error"], Value::Null, "{entry}");
    assert_eq!(entry["request"]["retries"], 1);
}

#[test]
fn root_names_that_were_looked_up_name_the_ends_of_calls() {
    let server = Dnsmasq::start(None, free_port(), &[]);
    let port = free_port();
    let nginx = Nginx::start_in(None, "127.77.0.7", port, "");
    let daemon = Daemon::start();
    let mut lookups = daemon.feed(&format!("dns and dst.port == {}", server.port));
    let mut calls = daemon.feed(r#"http and dst.dns == "app.test""#);
    server.dig(&["app.test"]);
    lookups.next();
    curl(&[&format!("http://127.77.0.7:{port}/index.html")]);
    let entry = calls.next();
    assert_eq!(entry["dst"]["dns"], "app.test");
    assert_eq!(entry["dst"]["name"], "app.test");
    assert_eq!(entry["dst"]["processName"], "nginx");
    drop(nginx);
}

/// glibc asks for both address types at once from one socket.
#[test]
fn root_a_program_that_resolves_is_named_with_its_two_lookups() {
    let netns = Netns::new();
    let server = Dnsmasq::start(Some(&netns), 53, &[]);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(r#"dns and "six.test" in dns_questions and src.process.name == "getent""#);
    let resolv = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(resolv.path(), "nameserver 127.0.0.1\n").expect("write");
    let output = getent(&netns, resolv.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries = feed.take(2);
    let mut kinds: Vec<_> =
        entries.iter().map(|entry| entry["request"]["types"][0].as_str().expect("a type")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["A", "AAAA"]);
    for entry in &entries {
        assert_eq!(entry["error"], Value::Null, "{entry}");
        assert_eq!(entry["dst"]["port"], "53");
    }
    drop(server);
}

/// getent in the namespace, with a resolver configuration of its own.
fn getent(netns: &Netns, resolv: &Path) -> Output {
    let script = format!("mount --bind {} /etc/resolv.conf && exec getent ahosts six.test", resolv.display());
    netns.command("unshare").args(["--mount", "sh", "-c", &script]).output().expect("run getent")
}

/// A real unbound in the foreground, with a zone of its own.
struct Unbound {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Unbound {
    fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("temporary directory"), free_port());
        let config = dir.path().join("unbound.conf");
        let long = format!(" {:?}", "x".repeat(200)).repeat(8);
        let text = format!(
            "server:\n interface: 127.0.0.1\n port: {port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n\
             \x20directory: {:?}\n use-syslog: no\n logfile: \"\"\n module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n\
             \x20num-threads: 1\n local-zone: \"test.\" static\n local-data: \"app.test. 300 IN A 127.77.0.9\"\n\
             \x20local-data: \"app.test. 300 IN AAAA fd00::9\"\n local-data: \"test. 60 IN MX 5 mail.test.\"\n\
             \x20local-data: 'long.test. 60 IN TXT{long}'\nremote-control:\n control-enable: no\n",
            dir.path().display()
        );
        std::fs::write(&config, text).expect("unbound.conf");
        let child = Command::new("unbound")
            .args(["-d", "-p", "-c"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("start unbound");
        let started = Self { child, port, _dir: dir };
        until("unbound to answer", || {
            started.ask(&["+tries=1", "+time=1", "ready.test"]).status.success().then_some(())
        });
        started
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let port = self.port.to_string();
        Command::new("dig").args(["@127.0.0.1", "-p", &port]).args(arguments).output().expect("run dig")
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn root_lookups_at_unbound_are_entries_over_udp_and_tcp() {
    let server = Unbound::start();
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dns and dst.port == {}", server.port));
    let mut next = |arguments: &[&str]| {
        assert!(server.ask(arguments).status.success());
        feed.next()
    };
    let address = next(&["app.test", "A"]);
    assert_eq!(first_answer(&address, "ip"), "127.77.0.9");
    assert_eq!(address["dst"]["processName"], "unbound");
    assert_eq!(first_answer(&next(&["app.test", "AAAA"]), "ip"), "fd00::9");
    assert_eq!(first_answer(&next(&["test", "MX"]), "mx"), "5 mail.test");
    let none = next(&["none.test", "A"]);
    assert_eq!(none["response"]["rcode"], "NXDOMAIN");
    let over_tcp = next(&["+tcp", "app.test", "A"]);
    assert_eq!(
        (&over_tcp["request"]["transport"], first_answer(&over_tcp, "ip")),
        (&"tcp".into(), "127.77.0.9")
    );
    // Too long for a datagram: the client asks again over TCP.
    assert!(server.ask(&["+noedns", "long.test", "TXT"]).status.success());
    let (_, whole) = truncated_and_whole(&mut feed);
    assert_eq!(first_answer(&whole, "data").len(), 8 * 203 - 1);
}
