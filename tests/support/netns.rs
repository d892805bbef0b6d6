//! Network namespaces that a test makes for itself.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace, removed when dropped.
pub(crate) struct Netns {
    pub(crate) name: String,
}

impl Netns {
    /// A namespace with its loopback up.
    pub(crate) fn new() -> Self {
        let name = format!("rmr{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let netns = Self { name };
        netns.run("ip", &["link", "set", "lo", "up"]);
        netns
    }

    /// Connects two namespaces with a veth pair; `left` gets `prefix`.1, `right` gets `prefix`.2.
    pub(crate) fn join(left: &Self, right: &Self, prefix: &str) -> (String, String) {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (a, b) = (
            format!("ra{}x{id}", std::process::id() % 10_000),
            format!("rb{}x{id}", std::process::id() % 10_000),
        );
        run(
            "ip",
            &[
                "link",
                "add",
                &a,
                "netns",
                &left.name,
                "type",
                "veth",
                "peer",
                "name",
                &b,
                "netns",
                &right.name,
            ],
        );
        let (left_ip, right_ip) = (format!("{prefix}.1"), format!("{prefix}.2"));
        left.run("ip", &["addr", "add", &format!("{left_ip}/24"), "dev", &a]);
        right.run("ip", &["addr", "add", &format!("{right_ip}/24"), "dev", &b]);
        left.run("ip", &["link", "set", &a, "up"]);
        right.run("ip", &["link", "set", &b, "up"]);
        (left_ip, right_ip)
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command inside; panics when it fails.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        check(self.command(program).args(arguments), program, arguments)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "del", &self.name]).status().ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    check(Command::new(program).args(arguments), program, arguments)
}

fn check(command: &mut Command, program: &str, arguments: &[&str]) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
