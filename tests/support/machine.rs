//! A booted systemd with Remora installed: systemd-nspawn over this host's /usr, with a network, an /etc, a
//! /var and a cgroup of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::wait::until_within;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Of the host's /etc, what programs inside need.
const BORROWED: [&str; 3] = ["nsswitch.conf", "ld.so.cache", "shadow"];

/// Counts the programs attached to a cgroup, by the kernel's own word.
const COUNT_ATTACHED: &str = r"
import ctypes, os, platform, struct, sys
number = {'x86_64': 321, 'aarch64': 280}[platform.machine()]
group = os.open(sys.argv[1], os.O_RDONLY)
total = 0
for kind in range(64):
    query = ctypes.create_string_buffer(struct.pack('IIIIQIIQQ', group, kind, 0, 0, 0, 0, 0, 0, 0))
    if ctypes.CDLL(None).syscall(number, 16, query, len(query)) == 0:
        total += struct.unpack_from('I', query, 24)[0]
print(total)
";

/// How long what systemd does may take: it starts dozens of programs one after the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running machine; halted when dropped.
pub(crate) struct Machine {
    nspawn: Child,
    leader: String,
    cgroup: PathBuf,
    dir: TempDir,
}

impl Machine {
    /// Installs with `scripts/install` and boots. Remora is not started.
    pub(crate) fn boot() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().join("root");
        furnish(&root);
        install(&root);
        let name = format!("rmr{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = cgroup2_root().join(&name);
        std::fs::create_dir(&cgroup).expect("cgroup");
        let nspawn = spawn(&root, &name, &cgroup);
        let mut machine = Self { nspawn, leader: String::new(), cgroup, dir };
        let state = until_within(PATIENCE, "the machine to boot", || {
            assert!(machine.nspawn.try_wait().expect("wait").is_none(), "systemd-nspawn ended at once");
            // Asked anew each time: the first child of systemd-nspawn only sets up, and makes init.
            machine.leader = youngest_child(machine.nspawn.id())?;
            let state = text(&machine.try_run(&["systemctl", "is-system-running"]).stdout);
            ["running", "degraded"].contains(&state.as_str()).then_some(state)
        });
        assert_eq!(state, "running", "{}", machine.run(&["systemctl", "--failed", "--no-pager"]));
        machine
    }

    /// Root directory as the host sees it, without /usr.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Runs a command inside, but outside of the machine's cgroups; stdout. Panics when it fails.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        check(&self.try_run(command), command)
    }

    /// The same, whatever comes out.
    pub(crate) fn try_run(&self, command: &[&str]) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.leader, "-a"]).args(command).stdin(Stdio::null());
        nsenter.output().expect("run nsenter")
    }

    /// Runs a command as a unit, so that its traffic belongs to the machine; stdout. Panics when it fails.
    pub(crate) fn run_unit(&self, command: &[&str]) -> String {
        let arguments = [&["systemd-run", "--quiet", "--wait", "--pipe", "--collect"], command].concat();
        check(&self.try_run(&arguments), command)
    }

    /// A property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "-P", name, unit])
    }

    /// The unit's log.
    pub(crate) fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "cat", "-u", unit])
    }

    /// Adds settings to a unit, as `systemctl edit` does.
    pub(crate) fn edit(&self, unit: &str, settings: &str) {
        let folder = self.root().join(format!("etc/systemd/system/{unit}.d"));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("test.conf"), settings).expect("settings");
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// BPF programs attached to the machine's root cgroup.
    pub(crate) fn attached(&self) -> u32 {
        let group = self.cgroup.join("payload");
        let output = Command::new("/usr/bin/python3").args(["-c", COUNT_ATTACHED]).arg(&group).output();
        check(&output.expect("python3"), &["count attached programs"]).parse().expect("a number")
    }

    /// Python's file server as unit `web`, listening on the port when this returns.
    pub(crate) fn serve_files(&self, port: u16) {
        let port = port.to_string();
        self.run(&[
            "systemd-run",
            "--quiet",
            "--unit=web",
            "--property=WorkingDirectory=/etc/remora",
            "/usr/bin/python3",
            "-m",
            "http.server",
            &port,
            "--bind",
            "127.0.0.1",
        ]);
        let listening = format!(":{:04X} 00000000:0000 0A", port.parse::<u16>().expect("port"));
        until_within(PATIENCE, "the web server", || {
            self.run(&["cat", "/proc/1/net/tcp"]).contains(&listening).then_some(())
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.leader.is_empty() {
            let said = self.try_run(&["journalctl", "--no-pager", "-b", "-n", "60"]);
            eprintln!("--- the machine said:\n{}", text(&said.stdout));
        }
        let pid = self.nspawn.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().ok();
        let halted = (0..1000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            !matches!(self.nspawn.try_wait(), Ok(None))
        });
        if !halted {
            // Init dies with nspawn, and everything inside with init.
            self.nspawn.kill().ok();
            self.nspawn.wait().ok();
        }
        remove_cgroup(&self.cgroup);
    }
}

/// Runs `scripts/install` with the binaries under test.
pub(crate) fn install(root: &Path) {
    let built = Path::new(env!("CARGO_BIN_EXE_remorad")).parent().expect("folder of the binaries");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install");
    let output = Command::new(script).arg(root).arg(built).output().expect("scripts/install");
    check(&output, &["scripts/install"]);
}

/// What an empty root needs to boot with the host's /usr.
fn furnish(root: &Path) {
    for folder in ["etc", "usr", "var/tmp", "var/log", "tmp", "run", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(root.join(folder)).expect("folder");
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).expect("link");
    }
    std::fs::copy("/usr/lib/os-release", root.join("etc/os-release")).expect("os-release");
    for name in BORROWED {
        std::fs::copy(Path::new("/etc").join(name), root.join("etc").join(name)).expect(name);
    }
    // Without the group, which the installation has to make.
    for name in ["passwd", "group"] {
        let all = std::fs::read_to_string(Path::new("/etc").join(name)).expect(name);
        let kept: Vec<&str> = all.lines().filter(|line| !line.starts_with("remora:")).collect();
        std::fs::write(root.join("etc").join(name), kept.join("\n") + "\n").expect(name);
    }
    // A machine that has an id is not in its first boot, which would enable all that is installed on this host.
    std::fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").expect("machine-id");
}

fn spawn(root: &Path, name: &str, cgroup: &Path) -> Child {
    // Into the cgroup first: systemd-nspawn makes the machine's below its own.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#]).arg(cgroup);
    command.args([
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--private-network",
    ]);
    command.args(["--console=pipe", "--capability=all", "--bind=/sys/kernel/tracing"]);
    command.arg("--system-call-filter=bpf perf_event_open @privileged");
    command.arg(format!("--machine={name}")).arg("--directory").arg(root);
    command.arg(format!("--overlay-ro=/usr:{}/usr:/usr", root.display()));
    // The hierarchy of every current distribution, whatever this host has.
    command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("systemd-nspawn")
}

fn youngest_child(pid: u32) -> Option<String> {
    let output = Command::new("pgrep").args(["--newest", "-P"]).arg(pid.to_string()).output();
    Some(text(&output.expect("pgrep").stdout)).filter(|found| !found.is_empty())
}

fn cgroup2_root() -> PathBuf {
    let hybrid = PathBuf::from("/sys/fs/cgroup/unified");
    if hybrid.join("cgroup.procs").exists() { hybrid } else { PathBuf::from("/sys/fs/cgroup") }
}

fn remove_cgroup(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    std::fs::remove_dir(path).ok();
}

fn check(output: &Output, command: &[&str]) -> String {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}
