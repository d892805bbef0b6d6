//! Issue 4: steady mixed traffic for a while, with everything coming and going: nothing grows, nothing leaks.
//!
//! `REMORA_SOAK_SECONDS` makes it longer than the half minute that it takes by itself; it then says every minute how
//! things are. Run longer than two minutes it has to be started by itself, since nextest ends what takes longer:
//! `REMORA_SOAK_SECONDS=3600 target/debug/deps/blackbox-* --exact soak::root_nothing_grows_or_leaks_under_steady_load --nocapture`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::wait::until_within;
use crate::support::{Daemon, Feed, Nginx, Options, client, curl, until};

/// How long it takes without being told.
const SECONDS: u64 = 30;
/// One round of traffic begins as often: a steady, low load.
const ROUND: Duration = Duration::from_millis(400);
/// Rounds between two snapshots.
const SNAPSHOT_EVERY: u64 = 8;
/// Fewer prove nothing about growth.
const ROUNDS: usize = 16;
/// Raw bytes after which the ring of segments has wrapped.
const WRITTEN: u64 = 20 << 20;
/// What a slow machine may take longer.
const LONGER: Duration = Duration::from_secs(120);
/// Growth of memory between the third and the last quarter that is noise: caches, and pages that the allocator keeps.
const NOISE: u64 = 24 << 20;

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    /// Its share of memory, bytes.
    pss: u64,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn of(pid: u32) -> Self {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("task").count();
        // Probes are not counted: how many there are depends on what runs on this host meanwhile.
        let is_probe = |name: &String| {
            name.starts_with("anon_inode:") && (name.contains("perf") || name.contains("bpf"))
        };
        let descriptors = open_files(pid).iter().filter(|name| !is_probe(name)).count();
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("kB");
        Self { pss: kib << 10, descriptors, threads }
    }
}

/// What a process's descriptors lead to.
fn open_files(pid: u32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten();
    links
        .filter_map(|link| std::fs::read_link(link.path()).ok()?.into_os_string().into_string().ok())
        .collect()
}

/// Files that are removed and still held open.
fn removed_but_open(pid: u32) -> Vec<String> {
    let is_removed =
        |name: &String| name.starts_with('/') && name.ends_with("(deleted)") && !name.contains("memfd");
    open_files(pid).into_iter().filter(is_removed).collect()
}

fn bytes_below(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).expect("directory").flatten();
    files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
}

fn feed(daemon: &Daemon, path: &str, port: u16) -> Feed {
    Feed::open(client::unix(&daemon.socket()), path, &format!("dst.port == {port}"))
}

/// Calls of several kinds over both protocols, about 1.5 MB.
fn traffic(plain: &Nginx, h2: &Nginx, round: u64) {
    let (hello, large) = (plain.url(&format!("/index.html?n={round}")), plain.url("/large.bin"));
    curl(&[&hello, &hello, &large, "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"]);
    curl(&["-d", "name=value", &plain.url("/missing"), "-o", "/dev/null"]);
    // One URL for each: curl does not find its own connection of HTTP/2 in clear text again.
    for path in [&format!("/index.html?n={round}"), "/large.bin"] {
        curl(&["--http2-prior-knowledge", &h2.url(path), "-o", "/dev/null"]);
    }
    // A client that gives up in the middle.
    curl(&["-r", "0-1000", &plain.url("/large.bin"), "-o", "/dev/null"]);
}

/// A snapshot is made, dissected, read, exported in part, and deleted.
fn snapshot(daemon: &Daemon, round: u64, port: u16) {
    let name = format!("soak-{round}");
    let made = daemon.post("/api/v1/snapshots", &format!(r#"{{"name":"{name}","duration":"1m"}}"#));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(daemon.post(&format!("/api/v1/snapshots/{name}/dissections"), "{}").status, 202);
    // Every other one is deleted while its dissection is under way.
    if round.is_multiple_of(2 * SNAPSHOT_EVERY) {
        until("its dissection", || {
            let shown = daemon.data(&format!("/api/v1/snapshots/{name}"));
            (shown["dissections"][0]["state"] == "completed").then_some(())
        });
        assert_eq!(daemon.get(&format!("/mcp/calls?db={name}&kfl=dst.port%20==%20{port}")).status, 200);
        assert_eq!(daemon.get(&format!("/api/v1/snapshots/{name}/pcap?format=pcap")).status, 200);
    }
    assert!(daemon.remora(&["snapshot", "delete", &name]).status.success());
}

fn median(held: &[Held]) -> u64 {
    let mut sorted: Vec<u64> = held.iter().map(|held| held.pss).collect();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// What others on this host do meanwhile takes memory for a moment; what leaks takes it for ever.
fn least(held: &[Held]) -> u64 {
    held.iter().map(|held| held.pss).min().expect("samples")
}

#[test]
fn root_nothing_grows_or_leaks_under_steady_load() {
    let seconds =
        std::env::var("REMORA_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let (plain, h2) = (Nginx::start(""), Nginx::start_h2(""));
    let large: Vec<u8> = (0..500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for nginx in [&plain, &h2] {
        nginx.file("large.bin", &large);
    }
    let state = tempfile::tempdir().expect("state");
    // A flood of others on this host may be too much for the disk, and takes memory while it lasts.
    let daemon = Daemon::start_with(Options {
        state: Some(state.path().to_path_buf()),
        config: format!(
            "capture.raw-size = \"16MiB\"\nstore.max-size = \"32MiB\"\n\
             capture.include.ports = [{}, {}]\ntls.include.executables = [\"none-of-others\"]",
            plain.port, h2.port
        ),
    });
    // One round of everything first: what is made once is there then.
    traffic(&plain, &h2, 0);
    drop(feed(&daemon, "/api/wsFull", plain.port));
    snapshot(&daemon, 0, plain.port);
    until("subscribers to be gone", || (daemon.subscribers() == 0).then_some(()));
    let baseline = Held::of(daemon.pid());
    let (begun, mut samples, mut round) = (Instant::now(), Vec::new(), 1);
    let mut kept = feed(&daemon, "/api/ws", h2.port);
    let mut said = 0;
    let mut written = 0;
    // A slow machine takes longer for as much.
    while begun.elapsed() < Duration::from_secs(seconds) || samples.len() < ROUNDS || written < WRITTEN {
        let since = Instant::now();
        let mut one = feed(&daemon, "/api/wsFull", plain.port);
        let slow = feed(&daemon, "/api/wsFull?from=now&notices=1", plain.port);
        daemon.await_subscriber(1);
        traffic(&plain, &h2, round);
        one.take(2);
        kept.take(2);
        drop((one, slow));
        if round.is_multiple_of(SNAPSHOT_EVERY) {
            snapshot(&daemon, round, plain.port);
        }
        samples.push(Held::of(daemon.pid()));
        written = daemon.counter("raw", "written_bytes");
        assert!(begun.elapsed() < Duration::from_secs(seconds) + LONGER, "{written} bytes, {round} rounds");
        if begun.elapsed().as_secs() / 60 > said {
            said = begun.elapsed().as_secs() / 60;
            let raw = bytes_below(&state.path().join("raw"));
            eprintln!("{said} min, round {round}: {:?}, raw {raw} bytes", samples[samples.len() - 1]);
        }
        round += 1;
        std::thread::sleep(ROUND.saturating_sub(since.elapsed()));
    }
    drop(kept);
    let quarter = samples.len() / 4;
    let (third, last) = (median(&samples[2 * quarter..3 * quarter]), least(&samples[3 * quarter..]));
    eprintln!(
        "{round} rounds: baseline {baseline:?}, median PSS {third}, then at least {last}, raw written {written}"
    );
    assert!(last < third + NOISE, "memory grows: {third} bytes, then {last}");

    // The ring of segments has wrapped, and kept its limit.
    assert!(bytes_below(&state.path().join("raw")) <= 16 << 20);
    until("snapshots to be gone", || {
        let left = std::fs::read_dir(state.path().join("snapshots")).expect("snapshots").count();
        (left == 0 && daemon.data("/api/v1/snapshots")["usedBytes"] == 0).then_some(())
    });
    until("removed files to be closed", || removed_but_open(daemon.pid()).is_empty().then_some(()));
    // Threads for blocking work end ten seconds after the last request.
    let most = Held { descriptors: baseline.descriptors + 2, threads: baseline.threads + 2, ..baseline };
    until_within(LONGER, "descriptors and threads to be given back", || {
        let now = Held::of(daemon.pid());
        (now.descriptors <= most.descriptors && now.threads <= most.threads).then_some(())
    });
    for reason in ["raw_queue_full", "raw_failed", "store_failed", "store_queue_full", "entry_queue_full"] {
        assert_eq!(daemon.dropped(reason), 0, "{reason}");
    }
    assert!(daemon.stop().success());
}
