//! Capture files of other programs, dissected without a daemon.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Nginx, curl, until};

/// tcpdump on loopback, writing to a file. Needs root.
struct Tcpdump(Child);

impl Tcpdump {
    fn start(file: &Path, port: u16) -> Self {
        let mut child = Command::new("tcpdump")
            .args(["-i", "lo", "-U", "--immediate-mode", "-w"])
            .arg(file)
            .args(["tcp", "port", &port.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("start tcpdump");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("listening on")));
        assert!(ready, "tcpdump ended");
        Self(child)
    }

    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("stop tcpdump");
        self.0.wait().expect("tcpdump");
    }
}

fn run_dissect(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_remora"))
        .args(["--json", "dissect"])
        .args(arguments)
        .output()
        .expect("run remora")
}

fn dissect(arguments: &[&str]) -> (Vec<Value>, String) {
    let output = run_dissect(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("text");
    (text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), said)
}

#[test]
fn root_calls_in_a_file_of_tcpdump_are_found() {
    let nginx = Nginx::start("location = /missing { return 404; }");
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("lo.pcap");
    let tcpdump = Tcpdump::start(&file, nginx.port);
    curl(&[&nginx.url("/index.html")]);
    curl(&["-o", "/dev/null", &nginx.url("/missing")]);
    let path = file.to_str().expect("path");
    // tcpdump writes each packet at once but a moment later; until then the file may end in the middle of one.
    until("both calls in the file", || {
        let output = run_dissect(&[path]);
        (output.status.success() && output.stdout.lines().count() >= 2).then_some(())
    });
    tcpdump.stop();
    let (calls, said) = dissect(&[path]);
    let seen: Vec<_> = calls.iter().map(|call| (&call["request"]["path"], &call["status"])).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(calls[0]["request"]["path"], "/index.html");
    assert_eq!(calls[0]["capture"]["backend"], "file", "{}", calls[0]["capture"]);
    assert!(said.contains("2 calls"), "{said}");
    let (failed, _) = dissect(&[path, "response.status == 404"]);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["request"]["path"], "/missing");
}

#[test]
fn what_is_no_capture_file_is_refused_by_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_remora"))
        .args(["dissect", env!("CARGO_BIN_EXE_remora")])
        .output()
        .expect("run remora");
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no capture file") && said.contains("remora"), "{said}");
}
