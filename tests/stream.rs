//! Issue 2, point 2: the stream for people and programs, with the tools that they use.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Daemon, Feed, Nginx, client, curl, until};

/// Types a line into a program on a terminal of its own once it has printed a word, and prints all that
/// the program prints: arguments are the word, the line, and the program with its arguments.
const TYPIST: &str = "
import os, pty, sys
word, line, argv = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
seen, typed = b'', False
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    seen += data
    if not typed and word in seen:
        os.write(terminal, line + b'\\r')
        typed = True
";

#[test]
fn root_wscat_streams_interactively() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let before = daemon.subscribers();
    let filter = format!("response.status >= 200 and dst.port == {}", nginx.port);
    let mut typist = Command::new("/usr/bin/python3")
        .args(["-c", TYPIST, "Connected", &filter])
        .args(["wscat", "--connect", &format!("ws://{}/api/wsFull", daemon.tcp)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wscat on a terminal");
    daemon.await_subscriber(before);
    curl(&[&nginx.url("/index.html")]);
    let mut lines = BufReader::new(typist.stdout.take().expect("stdout")).split(b'\n').map_while(Result::ok);
    let shown = lines.find(|line| String::from_utf8_lossy(line).contains("/index.html"));
    assert!(shown.is_some(), "wscat showed no entry");
    // Closing its terminal ends wscat.
    typist.kill().ok();
    typist.wait().ok();
}

#[test]
fn root_wscat_runs_a_filter_for_a_while_and_ends() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let before = daemon.subscribers();
    let mut wscat = Command::new("wscat")
        .args(["--connect", &format!("ws://{}/api/wsFull", daemon.tcp)])
        .args(["-x", &format!("http and dst.port == {}", nginx.port), "-w", "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wscat");
    daemon.await_subscriber(before);
    curl(&[&nginx.url("/index.html")]);
    // Its standard input stays open until its time is over: wscat ends when that ends.
    let open = wscat.stdin.take();
    let output = wscat.wait_with_output().expect("wscat");
    drop(open);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"path\":\"/index.html\""), "{text}");
}

#[test]
fn root_a_bad_filter_closes_with_the_error_and_its_position() {
    let daemon = Daemon::start();
    let mut feed =
        Feed::open(client::unix(&daemon.socket()), "/api/wsFull", "http and respones.status == 500");
    let frame = feed.closed().expect("close frame");
    let reason = frame.reason.as_str();
    assert!(reason.contains("respones"), "{reason}");
    assert!(reason.contains('9') || reason.contains("10"), "position of the error: {reason}");
}

#[test]
fn root_tail_prints_a_line_per_call() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    for json in [false, true] {
        let before = daemon.subscribers();
        let mut command = Command::new(env!("CARGO_BIN_EXE_remora"));
        command.arg("--socket").arg(daemon.socket()).arg("tail");
        if json {
            command.arg("--json");
        }
        let mut tail = command
            .args(["--limit", "1", &format!("http and dst.port == {}", nginx.port)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("remora tail");
        daemon.await_subscriber(before);
        curl(&[&nginx.url("/index.html")]);
        let mut line = String::new();
        BufReader::new(tail.stdout.take().expect("stdout")).read_line(&mut line).expect("line");
        if json {
            let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(entry["request"]["path"], "/index.html");
        } else {
            for part in ["GET", "200", "/index.html", "curl", "nginx"] {
                assert!(line.contains(part), "{part} is missing in {line:?}");
            }
            assert!(!line.contains('\x1b'), "no colours into a pipe: {line:?}");
        }
        assert!(tail.wait().expect("tail").success());
    }
}

#[test]
fn root_dissection_pauses_and_resumes_while_flows_are_counted() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    let enabled = || daemon.get("/mcp/dissection").json()["enabled"].as_bool().expect("enabled");
    assert!(enabled());
    assert!(daemon.remora(&["dissection", "pause"]).status.success());
    assert!(!enabled());
    curl(&[&nginx.url("/paused")]);
    let flow = until("the flow of the paused call", || {
        let flows = daemon.data("/api/v1/flows");
        let flows = flows.as_array().or_else(|| flows["flows"].as_array()).expect("flows").clone();
        flows.into_iter().find(|flow| {
            flow.to_string().contains(&format!(":{}", nginx.port))
                || flow.to_string().contains(&nginx.port.to_string())
        })
    });
    assert!(flow.to_string().contains("bytes"), "{flow}");
    let reply = daemon.post("/mcp/dissection/enable", "").json();
    assert_eq!((reply["success"].as_bool(), reply["enabled"].as_bool()), (Some(true), Some(true)));
    curl(&[&nginx.url("/resumed")]);
    assert_eq!(feed.next()["request"]["path"], "/resumed", "the paused call gave no entry");
}
