//! Issue 4, point 3: delayed dissection goes on after a crash, keeps its limits, and shows the gaps that live had.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use remora::store::COMMIT_INTERVAL;
use serde_json::Value;

use crate::snapshots::{assert_equal, create, dissect, entries, without_places};
use crate::support::{Daemon, Nginx, Options, curl, until, until_within};

/// The entries of a dissection, without what says where they stand, as they were made.
fn all_of(daemon: &Daemon, database: &str) -> Vec<Value> {
    let text = daemon.get(&format!("/api/v1/export?format=jsonl&snapshot={database}")).text();
    text.lines().map(|line| without_places(&serde_json::from_str(line).expect("JSON"))).collect()
}

#[test]
fn root_a_dissection_goes_on_after_kill_9_and_equals_one_without_a_break() {
    let state = tempfile::tempdir().expect("state");
    let start = |percent: u32, nice: i64| {
        let config = format!("dissection.delayed-cpu = {percent}\ndissection.delayed-nice = {nice}");
        Daemon::start_with(Options { state: Some(state.path().to_path_buf()), config })
    };
    let file = state.path().join("conversations.pcap");
    std::fs::write(&file, crate::support::conversations(20_000, 1_000)).expect("file");
    let daemon = start(100, 0);
    let output = daemon.remora(&["snapshot", "import", "one", file.to_str().expect("path")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemon.post("/api/v1/snapshots/one/dissections", r#"{"name":"whole"}"#).status, 202);
    let shown =
        |daemon: &Daemon, name: &str| daemon.data(&format!("/api/v1/snapshots/one/dissections/{name}"));
    completed("the one without a break", || shown(&daemon, "whole"));
    let whole = all_of(&daemon, "one/whole");
    assert!(whole.len() > 20_000, "{}", whole.len());
    assert!(daemon.stop().success());

    let mut daemon = start(3, 15);
    assert_eq!(daemon.post("/api/v1/snapshots/one/dissections", r#"{"name":"cut"}"#).status, 202);
    // Entries that the last kill left there.
    let mut kept = 0;
    for _ in 0..2 {
        until_more_are_committed(|| shown(&daemon, "cut"), kept);
        // Tests may run nicely themselves.
        let own = nice_of(std::process::id(), "");
        assert_eq!(nice_of(daemon.pid(), "dissect-1"), own.max(15), "its own priority");
        assert_eq!(nice_of(daemon.pid(), "recorder"), own, "and nobody else's");
        daemon.kill();
        daemon = start(3, 15);
        // What was noted before the kill is shown until then.
        let resumed = until("it to go on behind what was committed", || {
            shown(&daemon, "cut")["resumedEntries"].as_u64().filter(|resumed| *resumed > kept)
        });
        let found = all_of(&daemon, "one/cut");
        assert_same_start(&found, &whole);
        assert!(found.len() as u64 >= resumed, "what was committed is there at once");
        kept = resumed;
    }
    daemon.kill();
    // Whoever is nice gets next to nothing on a machine that is busy with other tests.
    let daemon = start(100, 0);
    let ended = completed("the end", || shown(&daemon, "cut"));
    assert!(ended["resumedEntries"].as_u64() >= Some(kept), "{ended}");
    assert!(ended["heldBytes"].as_u64() > Some(0), "{ended}");
    let found = all_of(&daemon, "one/cut");
    assert_same_start(&found, &whole);
    assert_eq!(found.len(), whole.len());
}

/// Waits for the end of a dissection.
fn completed(what: &str, shown: impl Fn() -> Value) -> Value {
    until_within(Duration::from_secs(60), what, || {
        Some(shown()).filter(|now| {
            assert_ne!(now["state"], "failed", "{now}");
            now["state"] == "completed"
        })
    })
}

/// Waits until more than `kept` entries survive a kill: a commit is due a second after the first of them was made,
/// and it comes before progress is shown once more.
fn until_more_are_committed(shown: impl Fn() -> Value, kept: u64) {
    let running = || {
        let now = shown();
        assert_ne!(now["state"], "completed", "it must be interrupted to prove anything: {now}");
        now
    };
    // What is shown at first was noted before a kill, and is beyond what was committed then.
    let noted = running()["packets"].as_u64();
    until_within(Duration::from_secs(60), "some entries more", || {
        let now = running();
        (now["packets"].as_u64() > noted && now["entries"].as_u64() > Some(kept)).then_some(())
    });
    let due = Instant::now() + COMMIT_INTERVAL;
    let mut progress = BTreeSet::new();
    until_within(Duration::from_secs(60), "their commit", || {
        let packets = running()["packets"].as_u64();
        if Instant::now() >= due {
            progress.insert(packets);
        }
        (progress.len() > 2).then_some(())
    });
}

/// What is there is there as it was without a break: equal in all fields and in the same order.
fn assert_same_start(found: &[Value], whole: &[Value]) {
    assert!(found.len() <= whole.len());
    for (at, (found, whole)) in found.iter().zip(whole).enumerate() {
        assert_eq!(found, whole, "entry {at}");
    }
}

/// The nice value of a process's thread with a name; the first one's without.
fn nice_of(pid: u32, thread: &str) -> i64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let stat = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .find(|stat| thread.is_empty() || stat.contains(&format!("({thread})")))
        .expect(thread);
    let behind_name = stat.rsplit_once(')').expect("stat").1;
    behind_name.split_whitespace().nth(16).and_then(|nice| nice.parse().ok()).expect("nice")
}

fn ask(connection: &mut TcpStream, path: &str, header: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
    connection.write_all(request.as_bytes()).expect("write");
}

/// Reads an answer with a body of `size` bytes, for about a second.
fn read_slowly(connection: &mut TcpStream, size: usize) {
    let mut answer = Vec::with_capacity(size + 1024);
    let mut piece = vec![0; 64 << 10];
    let head = b"\r\n\r\n";
    loop {
        let count = connection.read(&mut piece).expect("read");
        assert!(count > 0, "the answer ended early");
        answer.extend_from_slice(&piece[..count]);
        let start = answer.windows(head.len()).take(4096).position(|bytes| bytes == head).expect("a head");
        if answer.len() >= start + head.len() + size {
            return;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// All live entries up to the one of `/after`, of a daemon that captures nothing else. A connection that lost bytes near
/// its end waits for them as long as it is listed, 3 s; what comes of it then comes while nothing else happens.
fn live_entries(daemon: &Daemon, port: u16) -> Vec<Value> {
    const LOOKS: usize = 30;
    let (mut last, mut equal) = (Vec::new(), 0);
    until("the live entries", || {
        let found = entries(daemon, port, "");
        let is_over = daemon.data("/api/v1/flows")["total"] == 0;
        equal = if is_over && found == last { equal + 1 } else { 0 };
        last.clone_from(&found);
        let is_there = found.iter().any(|entry| entry["request"]["path"] == "/after");
        (is_there && equal >= LOOKS).then_some(found)
    })
}

#[test]
fn root_lost_packets_leave_the_same_gaps_live_and_later() {
    const SIZE: u32 = 20_000_000;
    let nginx = Nginx::start("");
    let large: String = (0..SIZE).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    std::fs::write(nginx.dir.path().join("html/large.txt"), large).expect("large file");
    let daemon = Daemon::start_with(Options {
        // What other tests do at the same time must not fill the ring.
        config: format!(
            "capture.ring-size = \"1MiB\"\nstream.shard-queue = \"256MiB\"\ncapture.include.ports = [{}]",
            nginx.port
        ),
        ..Options::default()
    });
    let url = |path: &str| nginx.url(path);
    curl(&[&url("/before"), "-o", "/dev/null"]);
    // Before the daemon stands still, which is about packets and not about what names the ends.
    until("the first entry", || (!entries(&daemon, nginx.port, "").is_empty()).then_some(()));
    let mut connection = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    let download = std::thread::spawn(move || {
        ask(&mut connection, "/large.txt", "");
        read_slowly(&mut connection, SIZE as usize);
        connection
    });
    let signal = |signal| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.pid()).expect("pid"));
        nix::sys::signal::kill(pid, signal).expect("signal");
    };
    until("the loss", || {
        // Nobody reads the ring for a while; the download goes on behind that.
        signal(nix::sys::signal::Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(200));
        signal(nix::sys::signal::Signal::SIGCONT);
        // Not only what one of both ends showed, which the other one makes up for.
        (daemon.dropped("ring_full") > 20).then_some(())
    });
    let mut connection = download.join().expect("download");
    // What ends the connection is not lost: all that is in the ring was read before.
    let captured = || daemon.counter("capture", "captured");
    let (mut last, mut equal) = (captured(), 0);
    until("the daemon to be up to date", || {
        let now = captured();
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
        (equal > 20).then_some(())
    });
    ask(&mut connection, "/index.html", "Connection: close\r\n");
    connection.read_to_end(&mut Vec::new()).expect("the last answer");
    drop(connection);
    curl(&[&url("/after"), "-o", "/dev/null"]);
    let live = live_entries(&daemon, nginx.port);
    assert_eq!(daemon.dropped("shard_queue_full") + daemon.dropped("raw_queue_full"), 0);
    let has_gap = |entry: &Value| entry["events"].to_string().contains("gap_in");
    assert!(live.iter().any(has_gap), "{:?}", live.iter().map(|entry| &entry["events"]).collect::<Vec<_>>());
    create(&daemon, "incident");
    dissect(&daemon, "incident");
    let later = until("all of it", || Some(entries(&daemon, nginx.port, "incident")));
    assert_equal(&live, &later);
    let shown = daemon.data("/api/v1/snapshots/incident/dissections/dissection-1");
    let lost = daemon.dropped("ring_full");
    let said = shown["errors"].as_array().expect("errors").iter().filter_map(Value::as_str);
    let said: Vec<&str> = said.filter(|error| error.starts_with("ring_full:")).collect();
    assert_eq!(said.len(), 1, "{shown}");
    assert!(said[0].starts_with(&format!("ring_full: {lost} ")), "{} and not {lost}", said[0]);
}
