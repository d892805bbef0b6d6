//! Issue 2, point 8: installation, and the units under a real systemd in a machine of the test's own.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::Machine;
use crate::support::machine::{PATIENCE, install};
use crate::support::wait::until_within;

const SERVICE: &str = "remorad.service";
const SOCKET: &str = "remorad.socket";

/// What is installed, with modes.
const FILES: [(&str, u32); 13] = [
    ("etc/remora/remora.toml", 0o644),
    ("usr/bin/remora", 0o755),
    ("usr/bin/remorad", 0o755),
    ("usr/lib/systemd/system-preset/90-remora.preset", 0o644),
    ("usr/lib/systemd/system/remorad.service", 0o644),
    ("usr/lib/systemd/system/remorad.socket", 0o644),
    ("usr/lib/sysusers.d/remora.conf", 0o644),
    ("usr/lib/tmpfiles.d/remora.conf", 0o644),
    ("usr/share/bash-completion/completions/remora", 0o644),
    ("usr/share/fish/vendor_completions.d/remora.fish", 0o644),
    ("usr/share/man/man1/remora.1", 0o644),
    ("usr/share/man/man8/remorad.8", 0o644),
    ("usr/share/zsh/vendor-completions/_remora", 0o644),
];

fn files_below(root: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut stack = vec![root.to_path_buf()];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(path).expect("directory").flatten() {
            if entry.file_type().expect("type").is_dir() {
                stack.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).expect("below").display().to_string();
                found.push((name, entry.metadata().expect("metadata").permissions().mode() & 0o7777));
            }
        }
    }
    found.sort();
    found
}

fn health(machine: &Machine, address: &[&str]) {
    // It may have to wait for a daemon that ends, and for one that starts.
    let answer = machine.run_unit(&[&["curl", "-sS", "--max-time", "60"], address].concat());
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["data"]["status"], "healthy", "{answer}");
}

const BY_UNIX: [&str; 3] = ["--unix-socket", "/run/remora/remora.sock", "http://localhost/api/health"];
const BY_TCP: [&str; 1] = ["http://127.0.0.1:8899/api/health"];

/// Entries that are stored, newest first.
fn entries(machine: &Machine) -> Vec<Value> {
    let answer = machine.run(&[
        "curl",
        "-sS",
        "--unix-socket",
        "/run/remora/remora.sock",
        "http://localhost/api/v1/entries",
    ]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["data"]["entries"].as_array().unwrap_or_else(|| panic!("entries in {answer}")).clone()
}

/// Makes a call to the web server and waits for its entry.
fn call(machine: &Machine, path: &str) -> Value {
    machine.run_unit(&["curl", "-sS", "-o", "/dev/null", &format!("http://127.0.0.1:8000{path}")]);
    until_within(PATIENCE, "the entry", || {
        entries(machine).into_iter().find(|entry| entry["request"]["path"] == path)
    })
}

fn wait_active(machine: &Machine) {
    until_within(PATIENCE, "the service to be active", || {
        (machine.property(SERVICE, "ActiveState") == "active").then_some(())
    });
}

fn main_pid(machine: &Machine) -> String {
    machine.property(SERVICE, "MainPID")
}

#[test]
fn install_puts_every_file_in_place_and_keeps_the_configuration() {
    let dir = tempfile::tempdir().expect("directory");
    install(dir.path());
    let expected: Vec<(String, u32)> =
        FILES.iter().map(|(name, mode)| ((*name).to_string(), *mode)).collect();
    assert_eq!(files_below(dir.path()), expected);
    let manual = std::fs::read_to_string(dir.path().join("usr/share/man/man8/remorad.8")).expect("manual");
    assert!(manual.contains(".TH remorad 8"), "{manual}");
    let config = dir.path().join("etc/remora/remora.toml");
    std::fs::write(&config, "# mine\n").expect("write");
    install(dir.path());
    assert_eq!(std::fs::read_to_string(&config).expect("read"), "# mine\n");
}

#[test]
fn root_systemd_has_nothing_to_say_against_the_installation() {
    let machine = Machine::boot();
    let said = machine.try_run(&["systemd-analyze", "verify", "--man=no", SERVICE, SOCKET]);
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    // sysusers and tmpfiles ran in the boot.
    assert!(machine.run(&["getent", "group", "remora"]).starts_with("remora:"));
    assert_eq!(machine.run(&["stat", "-c", "%a %U", "/var/lib/remora", "/run/remora"]), "700 root\n755 root");
    machine.run(&["systemctl", "preset", SERVICE, SOCKET]);
    assert_eq!(machine.run(&["systemctl", "is-enabled", SERVICE, SOCKET]), "enabled\nenabled");
}

#[test]
fn root_systemd_calls_the_service_active_only_once_it_is_ready() {
    let machine = Machine::boot();
    // The process exists, but is stopped before it becomes remorad.
    machine.edit(
        SERVICE,
        "[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -STOP $$$$; exec /usr/bin/remorad'\n",
    );
    machine.run(&["systemctl", "start", "--no-block", SERVICE]);
    let pid = until_within(PATIENCE, "the process to stop", || {
        let pid = main_pid(&machine);
        let status = machine.try_run(&["cat", &format!("/proc/{pid}/status")]);
        String::from_utf8_lossy(&status.stdout).contains("T (stopped)").then_some(pid)
    });
    assert_eq!(machine.property(SERVICE, "ActiveState"), "activating");
    assert_eq!(machine.attached(), 0);
    machine.run(&["kill", "-CONT", &pid]);
    wait_active(&machine);
    assert!(machine.attached() > 0, "active means that capture is attached");
    health(&machine, &BY_UNIX);
    let shown = until_within(PATIENCE, "the status text", || {
        let shown = machine.run(&["systemctl", "status", "--no-pager", SERVICE]);
        shown.contains("Status: \"").then_some(shown)
    });
    assert!(shown.contains("entries from"), "{shown}");
}

#[test]
fn root_systemd_reload_keeps_the_old_configuration_on_a_bad_file() {
    let machine = Machine::boot();
    machine.run(&["systemctl", "start", SERVICE]);
    machine.serve_files(8000);
    let pid = main_pid(&machine);
    let config = machine.root().join("etc/remora/remora.toml");
    std::fs::write(&config, "nonsense = 1\ncapture.exclude.ports = [8000]\n").expect("write");
    machine.run(&["systemctl", "reload", SERVICE]);
    until_within(PATIENCE, "the complaint", || {
        machine.journal(SERVICE).contains("remora.toml:1: unknown key").then_some(())
    });
    wait_active(&machine);
    call(&machine, "/still-seen");
    std::fs::write(&config, "capture.exclude.ports = [8000]\n").expect("write");
    machine.run(&["systemctl", "reload", SERVICE]);
    until_within(PATIENCE, "the reload", || {
        machine.journal(SERVICE).contains("configuration reloaded").then_some(())
    });
    wait_active(&machine);
    machine.run_unit(&["curl", "-sS", "-o", "/dev/null", "http://127.0.0.1:8000/excluded"]);
    std::fs::write(&config, "").expect("write");
    machine.run(&["systemctl", "reload", SERVICE]);
    until_within(PATIENCE, "the second reload", || {
        (machine.journal(SERVICE).matches("configuration reloaded").count() > 1).then_some(())
    });
    call(&machine, "/seen-again");
    let paths: Vec<Value> = entries(&machine).iter().map(|entry| entry["request"]["path"].clone()).collect();
    assert_eq!(paths, ["/seen-again", "/still-seen"]);
    assert_eq!(main_pid(&machine), pid, "a reload is no restart");
}

#[test]
fn root_systemd_watchdog_is_fed_and_restarts_a_daemon_that_hangs() {
    let machine = Machine::boot();
    // Half of it is what a machine may stand still for without being taken for a daemon that hangs.
    machine.edit(SERVICE, "[Service]\nWatchdogSec=6s\nRestartSec=100ms\n");
    machine.run(&["systemctl", "start", SERVICE]);
    let fed =
        || machine.property(SERVICE, "WatchdogTimestampMonotonic").parse::<u64>().expect("microseconds");
    let first = fed();
    until_within(PATIENCE, "the watchdog to be fed for twice its time", || {
        (fed() > first + 12_000_000).then_some(())
    });
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
    let pid = main_pid(&machine);
    machine.run(&["kill", "-STOP", &pid]);
    until_within(PATIENCE, "the restart", || (machine.property(SERVICE, "NRestarts") == "1").then_some(()));
    assert!(machine.journal(SERVICE).contains("Watchdog timeout"), "{}", machine.journal(SERVICE));
    wait_active(&machine);
    assert_ne!(main_pid(&machine), pid);
    health(&machine, &BY_UNIX);
}

#[test]
fn root_systemd_sockets_start_the_daemon_and_are_not_captured() {
    let machine = Machine::boot();
    machine.run(&["systemctl", "start", SOCKET]);
    let shown = machine.run(&["stat", "-c", "%a %U %G", "/run/remora/remora.sock"]);
    assert_eq!(shown, "660 root remora");
    assert_eq!(machine.property(SERVICE, "ActiveState"), "inactive");
    health(&machine, &BY_UNIX);
    wait_active(&machine);
    machine.run(&["systemctl", "stop", SERVICE]);
    assert_eq!(machine.property(SOCKET, "ActiveState"), "active", "the sockets survive the daemon");
    health(&machine, &BY_TCP);
    wait_active(&machine);
    machine.serve_files(8000);
    for _ in 0..5 {
        health(&machine, &BY_TCP);
    }
    // Entries come in order: once this one is there, none of the calls before will come.
    call(&machine, "/marker");
    let seen = entries(&machine);
    let paths: Vec<&Value> = seen.iter().map(|entry| &entry["request"]["path"]).collect();
    assert_eq!(paths, ["/marker"], "calls to the daemon itself are not captured");
}

#[test]
fn root_systemd_stop_leaves_nothing_attached_and_a_kill_is_followed_by_a_restart() {
    let machine = Machine::boot();
    machine.run(&["systemctl", "start", SERVICE]);
    let attached = machine.attached();
    assert!(attached > 0);
    let pid = main_pid(&machine);
    machine.run(&["kill", "-KILL", &pid]);
    // Nobody is refused meanwhile: the sockets are systemd's.
    health(&machine, &BY_TCP);
    wait_active(&machine);
    assert_ne!(main_pid(&machine), pid);
    assert_eq!(machine.property(SERVICE, "NRestarts"), "1");
    assert_eq!(
        machine.attached(),
        attached,
        "the killed daemon's programs are gone, the new one's are there"
    );
    machine.run(&["systemctl", "stop", SERVICE, SOCKET]);
    assert_eq!(machine.property(SERVICE, "Result"), "success");
    assert_eq!(machine.attached(), 0);
    assert!(machine.try_run(&["test", "-e", "/run/remora/remora.sock"]).status.code() == Some(1));
}

#[test]
fn root_systemd_hardened_service_sees_calls_with_exactly_the_capabilities_of_the_unit() {
    let machine = Machine::boot();
    machine.run(&["systemctl", "start", SERVICE]);
    machine.serve_files(8000);
    let entry = call(&machine, "/remora.toml");
    assert_eq!(entry["response"]["status"], 200, "{entry}");
    let pid = main_pid(&machine);
    let status = |pid: &str, field: &str| {
        let all = machine.run(&["cat", &format!("/proc/{pid}/status")]);
        let line = all.lines().find(|line| line.starts_with(&format!("{field}:")));
        line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_string).expect("field of status")
    };
    let mask = |pid: &str, set: &str| u64::from_str_radix(&status(pid, set), 16).expect("hexadecimal");
    // A machine can only hand on what it has itself.
    let expected = unit_capabilities(&machine) & mask("1", "CapBnd");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(mask(&pid, set), expected, "{set}");
    }
    assert_eq!((mask(&pid, "CapInh"), mask(&pid, "CapAmb")), (0, 0));
    assert_eq!((status(&pid, "NoNewPrivs").as_str(), status(&pid, "Seccomp").as_str()), ("1", "2"));
    let jobs = machine.run(&["remora", "doctor"]);
    let in_use: BTreeSet<&str> = jobs.lines().filter(|line| line.contains("in use")).collect();
    assert!(in_use.iter().any(|line| line.contains("packet_egress")), "{jobs}");
    assert!(jobs.lines().any(|line| line.starts_with("packets ok")), "{jobs}");
}

/// The unit's capability bounding set as a mask, numbers from the kernel's own header.
fn unit_capabilities(machine: &Machine) -> u64 {
    let header = std::fs::read_to_string("/usr/include/linux/capability.h").expect("capability.h");
    let number = |name: &str| -> u32 {
        let mut defined = header.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = defined.find(|words| words.len() > 2 && words[..2] == ["#define", name]);
        line.and_then(|words| words[2].parse().ok()).expect("number of the capability")
    };
    let unit = machine.property(SERVICE, "CapabilityBoundingSet");
    unit.split_whitespace().fold(0, |mask, name| mask | 1 << number(&name.to_uppercase()))
}
