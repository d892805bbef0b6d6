//! Issue 6, point 8: TLS probes harm no workload, whatever happens to the daemon and to its probes.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::Daemon;
use crate::support::tls::{Keys, Program, Server};
use crate::support::wait::until_within;
use crate::tls::{body_of, path_of};
use crate::tls_stacks::{PATIENCE, attached, nginx, settled};

const QUIET: Duration = Duration::from_millis(1500);

/// Load on an HTTPS server until the test ends it, of a program that counts what fails.
struct Load {
    wrk: Option<Child>,
}

impl Load {
    fn start(port: u16) -> Self {
        let wrk = Command::new("wrk")
            .args(["-t1", "-c8", "-d400s", "--timeout", "15s"])
            .arg(format!("https://127.0.0.1:{port}/load"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start wrk (package wrk)");
        Self { wrk: Some(wrk) }
    }

    /// Ends it; what failed is in what wrk says.
    fn assert_nothing_failed(mut self) {
        let mut wrk = self.wrk.take().expect("runs");
        assert!(wrk.try_wait().expect("wait").is_none(), "the load ended before the daemon did");
        // As if at the end of its time.
        Command::new("kill").args(["-INT", &wrk.id().to_string()]).status().expect("kill");
        let output = wrk.wait_with_output().expect("wrk");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(" requests in "), "{said}");
        // Lines that wrk only has when something failed.
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        eprintln!("{said}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(wrk) = &mut self.wrk {
            wrk.kill().ok();
            wrk.wait().ok();
        }
    }
}

/// The daemon starts, reads and ends under load, first killed, then stopped.
fn assert_unharmed(server: &Server) {
    let load = Load::start(server.port);
    for killed in [true, false] {
        let daemon = Daemon::start();
        attached(&daemon, server.pid());
        // The first calls may be answers whose requests were read before there were probes.
        let wanted = format!("tls and http and dst.port == {} and path == \"/load\"", server.port);
        let mut feed = daemon.feed(&wanted);
        let entry = feed.next();
        assert_eq!(entry["dst"]["processId"], server.pid());
        drop(feed);
        if killed {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
    }
    load.assert_nothing_failed();
}

#[test]
fn root_no_request_to_nginx_fails_when_the_daemon_ends() {
    let keys = Keys::new();
    assert_unharmed(&nginx(&keys));
}

#[test]
fn root_no_request_to_go_fails_when_the_daemon_ends() {
    let keys = Keys::new();
    assert_unharmed(&Program::go(&keys, &[]).serve(&keys));
}

#[test]
fn root_no_request_to_node_fails_when_the_daemon_ends() {
    let keys = Keys::new();
    assert_unharmed(&Program::node().serve(&keys));
}

#[test]
fn root_each_call_of_a_keep_alive_load_is_an_entry() {
    const CALLS: usize = 2000;
    let keys = Keys::new();
    let server = nginx(&keys);
    let daemon = Daemon::start();
    settled(&daemon);
    attached(&daemon, server.pid());
    let filter = format!("tls and http and dst.port == {} and state == \"ended\"", server.port);
    let mut feed = daemon.feed(&filter);
    let output = Command::new("ab")
        .args(["-q", "-k", "-n", &CALLS.to_string(), "-c", "20"])
        .arg(format!("https://127.0.0.1:{}/ab", server.port))
        .output()
        .expect("run ab (package apache2-utils)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("Complete requests:      {CALLS}")), "{said}");
    for entry in feed.take(CALLS) {
        let answer = format!("GET /ab from {}: ", entry["src"]["port"].as_str().expect("a port"));
        assert_eq!((path_of(&entry), body_of(&entry)), ("/ab", answer));
        assert_eq!((&entry["response"]["status"], &entry["error"]), (&203.into(), &Value::Null));
        assert_eq!((&entry["src"]["processName"], &entry["tls"]), (&"ab".into(), &true.into()));
    }
    assert!(feed.is_quiet(QUIET), "more calls than were made");
}

/// Serves with a binary that no path leads to any more.
const GONE: &str = "set -e; mount -t tmpfs none /mnt; cp gopeer /mnt/; \
                    (until [ \"$(readlink /proc/$$/exe)\" = /mnt/gopeer ]; do :; done; umount -l /mnt) & \
                    exec /mnt/gopeer serve";

/// Has half a library in memory, executable, and a whole one that it serves with.
const BROKEN: &str = r#"
import mmap, runpy, ssl, sys
whole = next(line.split()[-1] for line in open("/proc/self/maps") if "libssl.so" in line)
with open("libssl.so.3", "wb") as file, open(whole, "rb") as good:
    file.write(good.read()[: 300 * 1024])
with open("libssl.so.3", "rb") as file:
    broken = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"#;

#[test]
fn root_files_that_cannot_be_attached_to_harm_nobody() {
    let keys = Keys::new();
    let go = Program::go(&keys, &[]);
    let mut gone = Command::new("unshare");
    gone.args(["-m", "sh", "-c", GONE]).current_dir(keys.path());
    let gone = Server::start(gone);
    let mut broken = Command::new("/usr/bin/python3");
    broken.args([
        "-c",
        BROKEN,
        &crate::support::tls::source("tests/tls_peers/threads.py").display().to_string(),
    ]);
    broken.arg("serve").current_dir(keys.path());
    let broken = Server::start(broken);
    let whole = Program::python().serve(&keys);
    let servers = [&gone, &broken, &whole];
    // Connections from before, which must go on.
    let mut clients = servers.map(|server| go.ask(&keys, server.port));
    let mut call = |path: &str| {
        for client in &mut clients {
            let said = client.tell(&format!("1 {path} x"));
            assert!(said.starts_with(&format!("203 POST {path} from ")), "{said}");
        }
    };
    call("/before");
    let daemon = Daemon::start();
    settled(&daemon);
    let doctor = daemon.data("/api/v1/doctor/tls");
    let of = |server: &Server| {
        let found = doctor["processes"].as_array().expect("processes").iter();
        found.clone().find(|process| process["pid"] == server.pid()).cloned().unwrap_or_default()
    };
    let own = keys.text("libssl.so.3");
    let is_read = |used: &&Value| used["attached"] == true;
    let read: Vec<Value> = of(&broken)["libraries"]
        .as_array()
        .map(|used| used.iter().filter(is_read).cloned().collect())
        .unwrap_or_default();
    assert!(read.len() == 1 && read[0]["path"] != own.as_str(), "{read:#?}");
    let process = of(&gone);
    let says_why =
        |used: &Value| is_read(&used) || used["reason"].as_str().is_some_and(|why| !why.is_empty());
    let used = process["libraries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_explained = process["reason"].as_str().is_some_and(|why| !why.is_empty());
    assert!(is_explained || (!used.is_empty() && used.iter().all(says_why)), "{process:#}");
    // The others are read, in the process with the broken library as well.
    for server in [&broken, &whole] {
        let mut feed = daemon.feed(&format!("tls and http and dst.port == {}", server.port));
        let mut client = go.ask(&keys, server.port);
        attached(&daemon, client.pid());
        let said = client.tell("1 /with x");
        let entry = feed.next();
        assert_eq!((path_of(&entry), format!("203 {}", body_of(&entry))), ("/with", said));
    }
    call("/with");
    assert!(daemon.stop().success());
    call("/after");
}

/// Programs that end soon, some of which use TLS libraries, and how many of each.
const STORM: [(&[&str], usize); 4] = [
    (&["/bin/true"], 1200),
    (&["openssl", "version"], 500),
    (&["curl", "--version"], 250),
    (&["/usr/bin/python3", "-S", "-c", "import ssl"], 60),
];

/// Runs them, four at a time; gives how long that took.
fn storm() -> Duration {
    let mut runs: Vec<&[&str]> = Vec::new();
    for (words, count) in STORM {
        runs.extend(std::iter::repeat_n(words, count));
    }
    // Not one kind after the other.
    let runs: Vec<_> = (0..runs.len()).map(|index| runs[index * 7 % runs.len()]).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(words) = runs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let output = Command::new(words[0]).args(&words[1..]).output().expect("run it");
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success() && said.is_empty(), "{words:?}: {said}");
                }
            });
        }
    });
    begun.elapsed()
}

/// CPU time that a process used, of all its threads.
fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    // Clock ticks of 10 ms, on all that Linux runs on.
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Numbers of the BPF links that a process holds: what it has attached.
fn links_of(pid: u32) -> BTreeSet<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("fdinfo");
    // Files may be closed meanwhile.
    let said = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    said.filter_map(|said| said.lines().find_map(|line| line.strip_prefix("link_id:")?.trim().parse().ok()))
        .collect()
}

/// Those of the links that the kernel still has.
fn still_there(links: &BTreeSet<u32>) -> usize {
    let living = libbpf_rs::query::LinkInfoIter::default();
    living.filter(|link| links.contains(&link.id)).count()
}

#[test]
fn root_a_storm_of_short_processes_passes_and_leaves_nothing_behind() {
    let keys = Keys::new();
    let server = Program::python().serve(&keys);
    let count: usize = STORM.iter().map(|(_, count)| count).sum();
    let without = storm();
    let daemon = Daemon::start();
    settled(&daemon);
    attached(&daemon, server.pid());
    let before = cpu_of(daemon.pid());
    let with = storm();
    let used = cpu_of(daemon.pid()).saturating_sub(before);
    let postponed = daemon.counter("capture", "tls_postponed");
    eprintln!(
        "{count} processes: {without:?} without, {with:?} with the daemon, which used {used:?}; \
         {postponed} looks put off, {} socket events lost",
        daemon.dropped("socket_ring_full")
    );
    // It goes on as before: a new process is found, and read.
    let client = &mut Program::python().ask(&keys, server.port);
    attached(&daemon, client.pid());
    let mut feed = daemon.feed(&format!("tls and http and dst.port == {}", server.port));
    assert!(client.tell("1 /behind sent").starts_with("203 "));
    assert_eq!(path_of(&feed.next()), "/behind");
    let links = links_of(daemon.pid());
    assert!(!links.is_empty() && still_there(&links) == links.len());
    assert!(daemon.stop().success());
    // The kernel takes them away in the background.
    until_within(PATIENCE, "the end of all probes", || (still_there(&links) == 0).then_some(()));
}
