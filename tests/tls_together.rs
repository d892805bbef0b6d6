//! Issue 6: many TLS connections at the same time, older than the daemon, and in namespaces of their own.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::tls::{Keys, Program, Server};
use crate::support::{Daemon, Feed, Netns, PythonServer, until};
use crate::tls::{body_of, path_of};
use crate::tls_stacks::{attached, settled};

const QUIET: Duration = Duration::from_millis(1500);

/// Calls that are over: on a busy machine some are shown while they are under way as well.
fn calls_at(daemon: &Daemon, server: &Server) -> Feed {
    daemon.feed(&format!("tls and http and dst.port == {} and state == \"ended\"", server.port))
}

/// What connection `n` of `many` sends in one half.
fn payload(path: &str) -> String {
    let (n, half) = path.trim_start_matches("/many/").split_once('-').expect("a path of many");
    let n: usize = n.parse().expect("a number");
    format!("<{n}{half}>").repeat(1 + n % 50)
}

/// Every call came out once, on its own connection, with its own payload in both directions.
fn assert_not_mixed(entries: &[Value], connections: usize) {
    let mut ids: HashMap<String, u64> = HashMap::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let (path, port) = (path_of(entry), entry["src"]["port"].as_str().expect("a port"));
        *seen.entry(path.to_owned()).or_default() += 1;
        assert_eq!(entry["request"]["headers"]["X-Port"], port, "{path} is on another connection");
        let text = entry["request"]["postData"]["text"].as_str().unwrap_or_default();
        assert_eq!(text, payload(path), "{path} asked otherwise");
        let answer = format!("POST {path} from {port}: {}", payload(path));
        assert_eq!(body_of(entry), answer, "{path} has another answer");
        assert_eq!((&entry["response"]["status"], &entry["error"]), (&203.into(), &Value::Null), "{path}");
        let (connection, _) = path.rsplit_once('-').expect("a path");
        let id = entry["connection"].as_u64().expect("a connection");
        assert_eq!(*ids.entry(connection.to_owned()).or_insert(id), id, "{path} is on two connections");
    }
    assert!(seen.values().all(|count| *count == 1), "doubled");
    assert_eq!((seen.len(), ids.len()), (2 * connections, connections));
}

/// All connections of one client process to one server process are open at once; each makes a call,
/// and when all have their answers, another one.
fn a_thousand_at_once(program: impl Fn(&Keys) -> Program) {
    const CONNECTIONS: usize = 1000;
    let keys = Keys::new();
    let daemon = Daemon::start();
    settled(&daemon);
    let program = program(&keys);
    let server = program.serve(&keys);
    let mut client = program.ask(&keys, server.port);
    attached(&daemon, server.pid());
    attached(&daemon, client.pid());
    let mut feed = calls_at(&daemon, &server);
    assert_eq!(client.tell(&format!("many {CONNECTIONS} x")), "done");
    let entries = feed.take(2 * CONNECTIONS);
    assert_not_mixed(&entries, CONNECTIONS);
    assert!(feed.is_quiet(QUIET), "more calls than were made");
}

#[test]
fn root_a_thousand_open_connections_of_go_never_mix() {
    a_thousand_at_once(|keys| Program::go(keys, &[]));
}

#[test]
fn root_a_thousand_open_connections_of_node_never_mix() {
    a_thousand_at_once(|_| Program::node());
}

#[test]
fn root_a_thousand_open_connections_of_asyncio_never_mix() {
    a_thousand_at_once(|_| Program::asyncio());
}

#[test]
fn root_a_thousand_open_connections_of_rustls_with_tokio_never_mix() {
    a_thousand_at_once(|_| Program::rustls("tasks"));
}

/// A connection that had a call before the daemon started shows the calls after it.
fn older_than_the_daemon(program: impl Fn(&Keys) -> Program, library: &str) {
    let keys = Keys::new();
    let program = program(&keys);
    let server = program.serve(&keys);
    let mut client = program.ask(&keys, server.port);
    let before = client.tell("1 /before x");
    let daemon = Daemon::start();
    attached(&daemon, server.pid());
    attached(&daemon, client.pid());
    let mut feed = calls_at(&daemon, &server);
    // A read that waited when the probes came is not seen: what it gets may be missing from one call.
    until("a call on the old connection", || {
        client.tell("1 /first x");
        let entry = feed.next_within(Duration::from_millis(500))?;
        (path_of(&entry) == "/first" && entry["error"].is_null()).then_some(())
    });
    // More of those may come, since each was waited for only so long.
    let next = |feed: &mut Feed| {
        loop {
            let entry = feed.next();
            if path_of(&entry) != "/first" {
                return entry;
            }
        }
    };
    for number in 0..5 {
        let path = format!("/later/{number}");
        let said = client.tell(&format!("1 {path} mine"));
        let entry = next(&mut feed);
        assert_eq!((path_of(&entry), entry["response"]["status"].as_u64()), (path.as_str(), Some(203)));
        assert_eq!(format!("203 {}", body_of(&entry)), said);
        assert_eq!((&entry["tls"], &entry["tlsInfo"]["sni"]), (&true.into(), &"".into()));
        assert_eq!((&entry["tlsInfo"]["library"], &entry["error"]), (&library.into(), &Value::Null));
        let from = before.split(' ').nth(4).expect("a port").trim_end_matches(':');
        assert_eq!(entry["src"]["port"], from, "the client opened another connection");
        assert_eq!(entry["src"]["processId"], client.pid());
        assert_eq!(entry["dst"]["processId"], server.pid());
    }
    assert!(feed.is_quiet(QUIET), "more calls than were made");
}

#[test]
fn root_a_connection_of_node_that_is_older_than_the_daemon_is_read() {
    older_than_the_daemon(|_| Program::node(), "openssl");
}

#[test]
fn root_a_connection_of_asyncio_that_is_older_than_the_daemon_is_read() {
    older_than_the_daemon(|_| Program::asyncio(), "openssl");
}

#[test]
fn root_a_connection_of_go_that_is_older_than_the_daemon_is_read() {
    older_than_the_daemon(|keys| Program::go(keys, &[]), "go");
}

#[test]
fn root_a_connection_of_rustls_with_tokio_that_is_older_than_the_daemon_is_read() {
    older_than_the_daemon(|_| Program::rustls("tasks"), "rustls");
}

#[test]
fn root_a_connection_of_rustls_with_blocking_sockets_that_is_older_than_the_daemon_is_read() {
    older_than_the_daemon(|_| Program::rustls("threads"), "rustls");
}

/// Makes a mount namespace in which the library is only at a place of its own.
const HIDE: &str = "set -e; mount -t tmpfs none /mnt; cp /usr/lib/$(uname -m)-linux-gnu/libssl.so.3 /mnt/; \
                    export LD_LIBRARY_PATH=/mnt; exec \"$@\"";

#[test]
fn root_calls_in_a_network_and_mount_namespace_are_read() {
    let keys = Keys::new();
    let netns = Netns::new();
    let inside = ["ip", "netns", "exec", &netns.name, "unshare", "-m", "sh", "-c", HIDE, "sh"];
    let program = Program::python().below(&inside);
    let daemon = Daemon::start();
    settled(&daemon);
    let server = program.serve(&keys);
    let found = attached(&daemon, server.pid());
    let used = found["libraries"].as_array().expect("libraries");
    assert!(used.iter().any(|used| used["path"] == "/mnt/libssl.so.3"), "{found}");
    assert!(!Path::new("/mnt/libssl.so.3").exists(), "the library is visible out here");
    // The client has yet another mount namespace, and so another file.
    let mut client = program.ask(&keys, server.port);
    attached(&daemon, client.pid());
    let mut feed = calls_at(&daemon, &server);
    for number in 0..3 {
        let path = format!("/inside/{number}");
        let said = client.tell(&format!("1 {path} mine"));
        let entry = feed.next();
        assert_eq!((path_of(&entry), &entry["error"]), (path.as_str(), &Value::Null));
        assert_eq!(format!("203 {}", body_of(&entry)), said);
        assert_eq!((&entry["tls"], &entry["capture"]["witness"]), (&true.into(), &"in_call".into()));
        assert_eq!(entry["tlsInfo"]["library"], "openssl");
        assert_eq!(entry["src"]["processId"], client.pid());
        assert_eq!(entry["dst"]["processId"], server.pid());
    }
    assert!(feed.is_quiet(QUIET), "more calls than were made");
}

const CHAT_SERVER: &str = r"
import asyncio, ssl, websockets
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('KEYS/cert.pem', 'KEYS/key.pem')
async def serve(socket, *_):
    async for text in socket:
        await socket.send('echo of ' + text)
async def main():
    server = await websockets.serve(serve, '127.0.0.1', 0, ssl=context)
    print(server.sockets[0].getsockname()[1])
    await asyncio.Future()
asyncio.run(main())
";

const CHAT_CLIENT: &str = r"
import asyncio, ssl, sys, websockets
async def main():
    context = ssl._create_unverified_context()
    async with websockets.connect('wss://127.0.0.1:%s/chat' % sys.argv[1], ssl=context) as socket:
        for number in range(5):
            await socket.send('text %d' % number)
            await socket.recv()
asyncio.run(main())
";

#[test]
fn root_websocket_messages_inside_tls_are_entries() {
    let keys = Keys::new();
    let daemon = Daemon::start();
    settled(&daemon);
    let server = PythonServer::start(&CHAT_SERVER.replace("KEYS", &keys.path().display().to_string()));
    attached(&daemon, server.pid());
    let mut feed = daemon.feed(&format!("ws and dst.port == {}", server.port));
    let client = std::process::Command::new("/usr/bin/python3")
        .args(["-c", CHAT_CLIENT, &server.port.to_string()])
        .status();
    assert!(client.expect("run python3").success());
    // Five texts each way, and the two closes.
    let entries = feed.take(12);
    let texts = |side: &str| -> Vec<String> {
        let of_side = entries.iter().filter(|entry| entry[side]["opcode"] == "text");
        of_side.map(|entry| entry[side]["payload"].as_str().expect("a payload").to_owned()).collect()
    };
    let sent: Vec<String> = (0..5).map(|number| format!("text {number}")).collect();
    assert_eq!(texts("request"), sent);
    assert_eq!(texts("response"), sent.iter().map(|text| format!("echo of {text}")).collect::<Vec<_>>());
    for entry in &entries {
        let side = if entry["request"].is_null() { "response" } else { "request" };
        assert_eq!((&entry["tls"], &entry[side]["path"]), (&true.into(), &"/chat".into()), "{entry}");
        assert_eq!((&entry["error"], &entry["capture"]["source"]), (&Value::Null, &"ebpf_tls".into()));
        assert_eq!(entry["tlsInfo"]["library"], "openssl");
        assert_eq!(entry["dst"]["processId"], server.pid());
        assert_eq!(entry["src"]["processName"], "python3");
    }
    assert!(feed.is_quiet(QUIET), "more messages than were sent");
}
