//! Issue 2, point 2, and issue 3, points 6 to 8: the stream for people and programs, with the tools that they use.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Daemon, Feed, Nginx, Options, client, curl, until};

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
    let shown = |seconds: &str| {
        let before = daemon.subscribers();
        let mut wscat = Command::new("wscat")
            .args(["--connect", &format!("ws://{}/api/wsFull", daemon.tcp)])
            .args(["-x", &format!("http and dst.port == {}", nginx.port), "-w", seconds])
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
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // A machine that stands still may use up a short time.
    let mut texts = ["3", "20"].into_iter().map(shown);
    assert!(texts.any(|text| text.contains("\"path\":\"/index.html\"")), "wscat showed no entry");
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
            .args(["--limit", "1", &format!("http and dst.port == {} and state == \"ended\"", nginx.port)])
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
    assert!(feed.is_quiet(Duration::from_millis(500)), "the paused call gave an entry");
    let reply = daemon.post("/mcp/dissection/enable", "").json();
    assert_eq!((reply["success"].as_bool(), reply["enabled"].as_bool()), (Some(true), Some(true)));
    curl(&[&nginx.url("/resumed")]);
    // Raw capture makes up for the paused call, a second later or so.
    let mut shown = feed.take(2).iter().map(|entry| entry["request"]["path"].clone()).collect::<Vec<_>>();
    shown.sort_by_key(ToString::to_string);
    assert_eq!(shown, ["/paused", "/resumed"]);
}

/// Paths of entries, and whether their numbers ascend.
fn paths(entries: &[serde_json::Value]) -> Vec<String> {
    let seqs: Vec<u64> = entries.iter().map(|entry| entry["seq"].as_u64().expect("seq")).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "numbers ascend: {seqs:?}");
    entries.iter().map(|entry| entry["request"]["path"].as_str().expect("path").to_owned()).collect()
}

/// Calls `/0`, `/1`, ... one by one.
fn call(nginx: &Nginx, range: std::ops::Range<usize>) {
    for number in range {
        curl(&[&nginx.url(&format!("/{number}"))]);
    }
}

#[test]
fn root_a_stream_from_the_past_joins_the_present_without_gap_or_double() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut live = daemon.feed(&format!("http and dst.port == {}", nginx.port));
    call(&nginx, 0..20);
    let first = live.next()["seq"].as_u64().expect("seq");
    let filter = format!("http and dst.port == {}", nginx.port);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| call(&nginx, 20..120));
        // Each begins at another moment of the writing.
        let path = format!("/api/wsFull?from={first}");
        let open = |_| {
            live.take(10);
            Feed::open(client::unix(&daemon.socket()), &path, &filter)
        };
        let feeds: Vec<Feed> = (0..8).map(open).collect();
        let wanted: Vec<String> = (0..120).map(|number| format!("/{number}")).collect();
        for mut feed in feeds {
            assert_eq!(paths(&feed.take(120)), wanted);
        }
        writer.join().expect("writer");
    });
}

#[test]
fn root_a_stream_from_a_moment_leaves_out_what_was_before() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut live = daemon.feed(&format!("http and dst.port == {}", nginx.port));
    call(&nginx, 0..3);
    let moment = live.take(3)[1]["startTime"].as_str().expect("startTime").to_owned();
    let filter = format!("http and dst.port == {}", nginx.port);
    let path = format!("/api/wsFull?from={moment}");
    let mut feed = Feed::open(client::unix(&daemon.socket()), &path, &filter);
    assert_eq!(paths(&feed.take(2)), ["/1", "/2"]);
    call(&nginx, 3..4);
    assert_eq!(paths(&feed.take(1)), ["/3"]);
}

#[test]
fn root_one_that_does_not_read_is_told_what_it_lost_and_others_lose_nothing() {
    let nginx = Nginx::start("location /big { return 200 \"$args\"; }");
    // Room for what the fast one leaves waiting while it calls.
    let config = "stream.subscriber-queue = \"8MiB\"".to_owned();
    let daemon = Daemon::start_with(Options { config, ..Options::default() });
    // One that is still open and one that is over are two frames of one call.
    let filter = format!("http and dst.port == {} and state == \"ended\"", nginx.port);
    let before = daemon.subscribers();
    let mut slow = Feed::open(client::unix(&daemon.socket()), "/api/wsFull?notices=1", &filter);
    daemon.await_subscriber(before);
    let mut fast = daemon.feed(&filter);
    let url = format!("{}?{}", nginx.url("/big"), "x".repeat(4000));
    let mut calls = 0;
    // The sockets' buffers and the queue have to be full first.
    while daemon.dropped("subscriber_slow") == 0 {
        // Few at a time: the queue of the one that reads is as small.
        let range = format!("{url}&[1-5]");
        curl(&[&range]);
        calls += fast.take(5).len() as u64;
        assert!(calls < 5000, "the slow one lost nothing");
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < calls {
        let frame = slow.next();
        match frame["notice"]["reason"].as_str() {
            Some("subscriber_slow") => lost += frame["notice"]["count"].as_u64().expect("count"),
            _ => seen += u64::from(frame["notice"].is_null()),
        }
    }
    assert_eq!((seen + lost, daemon.dropped("subscriber_slow")), (calls, lost));
}

#[test]
fn root_server_sent_events_go_on_behind_the_last_one() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut live = daemon.feed(&format!("http and dst.port == {}", nginx.port));
    call(&nginx, 0..6);
    live.take(6);
    let events = |headers: &[&str]| -> Vec<(String, String)> {
        let url = format!(
            "http://localhost/api/v1/stream?from=1&fields=request.path&kfl=dst.port=={}%20and%20limit(3)",
            nginx.port
        );
        let output = Command::new("curl")
            .args(["-sS", "-N", "--unix-socket"])
            .arg(daemon.socket())
            .args(headers)
            .arg(&url)
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("event: end"), "{text}");
        let events = text.split("\n\n").filter_map(|event| event.strip_prefix("id: "));
        events
            .map(|event| {
                let (id, data) = event.split_once("\ndata: ").expect("data");
                let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
                (id.to_owned(), data["request"]["path"].as_str().expect("path").to_owned())
            })
            .collect()
    };
    let first = events(&[]);
    assert_eq!(first.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["/0", "/1", "/2"]);
    let resumed = events(&["-H", &format!("Last-Event-ID: {}", first[2].0)]);
    assert_eq!(resumed.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["/3", "/4", "/5"]);
}

#[test]
fn root_tail_goes_on_after_the_daemon_was_killed_and_started_again() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let link = state.path().join("remora.sock");
    let start = || {
        let state = Some(state.path().join("state"));
        let daemon = Daemon::start_with(Options { state, ..Options::default() });
        // The daemon's own socket is in a directory of its run; tail follows this name.
        std::fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(daemon.socket(), &link).expect("link");
        daemon
    };
    let daemon = start();
    let before = daemon.subscribers();
    let mut tail = Command::new(env!("CARGO_BIN_EXE_remora"))
        .arg("--socket")
        .arg(&link)
        .args(["tail", "--json", &format!("http and dst.port == {} and state == \"ended\"", nginx.port)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("remora tail");
    daemon.await_subscriber(before);
    let mut lines = BufReader::new(tail.stdout.take().expect("stdout")).lines().map_while(Result::ok);
    let mut next = || -> String {
        let entry: serde_json::Value = serde_json::from_str(&lines.next().expect("a line")).expect("JSON");
        entry["request"]["path"].as_str().expect("path").to_owned()
    };
    call(&nginx, 0..2);
    assert_eq!((next(), next()), ("/0".to_owned(), "/1".to_owned()));
    daemon.kill();
    let daemon = start();
    // Seen by the new daemon, perhaps before tail is back: it comes from the history or live, once.
    call(&nginx, 2..4);
    assert_eq!((next(), next()), ("/2".to_owned(), "/3".to_owned()));
    until("tail's subscription", || (daemon.subscribers() > 0).then_some(()));
    call(&nginx, 4..5);
    assert_eq!(next(), "/4");
    tail.kill().ok();
    let said = std::io::read_to_string(tail.stderr.take().expect("stderr")).expect("text");
    tail.wait().ok();
    assert!(said.contains("connection lost") && said.contains("was restarted"), "{said}");
}
