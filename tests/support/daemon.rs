//! A remorad of the test's own: temporary state, ports chosen by the kernel, stopped when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{self, Feed, Reply};
use super::wait::{until, until_within};

/// How to start a daemon.
#[derive(Default)]
pub(crate) struct Options {
    /// TOML appended to the test's base configuration; whole sections or dotted keys.
    pub(crate) config: String,
    /// Keep state here instead of in a directory of its own, for restarts.
    pub(crate) state: Option<PathBuf>,
}

/// A running remorad.
pub(crate) struct Daemon {
    child: Child,
    dir: TempDir,
    pub(crate) tcp: SocketAddr,
    pub(crate) output: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts with the defaults and waits until it says that it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts as told and waits until it says that it is ready.
    pub(crate) fn start_with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let notify = UnixDatagram::bind(dir.path().join("notify")).expect("notify socket");
        let mut child = spawn(dir.path(), &options);
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("stdout"), &output);
        collect(child.stderr.take().expect("stderr"), &output);
        wait_ready(&notify, &mut child, &output);
        let tcp = until("the TCP address", || address_in(&output.lock().expect("output")));
        Self { child, dir, tcp, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("remora.sock")
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        client::request(client::unix(&self.socket()), "GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        client::request(client::unix(&self.socket()), "POST", path, &[], body)
    }

    /// `data` of an enveloped answer.
    pub(crate) fn data(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.text());
        reply.json()["data"].clone()
    }

    /// Full entries that match `filter`, over the unix socket.
    pub(crate) fn feed(&self, filter: &str) -> Feed {
        Feed::open(client::unix(&self.socket()), "/api/wsFull", filter)
    }

    /// A program's subscription is in force some time after it was started; calls made before would be missed.
    pub(crate) fn await_subscriber(&self, before: u64) {
        // One that ended a moment ago may have been counted still.
        let mut fewest = before;
        until("the subscription", || {
            let now = self.subscribers();
            fewest = fewest.min(now);
            (now > fewest).then_some(())
        });
    }

    pub(crate) fn subscribers(&self) -> u64 {
        self.data("/api/v1/status")["stream"]["subscribers"].as_u64().expect("status.stream.subscribers")
    }

    /// One counter of one stage in the status.
    pub(crate) fn counter(&self, stage: &str, name: &str) -> u64 {
        let status = self.data("/api/v1/status");
        let stages = status["stages"].as_array().expect("stages");
        let found = stages.iter().find(|candidate| candidate["name"] == stage);
        found
            .and_then(|stage| stage["counters"][name].as_u64())
            .unwrap_or_else(|| panic!("{stage}.{name} in {status}"))
    }

    /// How much was lost for one reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        let status = self.data("/api/v1/status");
        let drops = status["drops"].as_array().expect("drops");
        let found = drops.iter().find(|candidate| candidate["reason"] == reason);
        found.and_then(|drop| drop["count"].as_u64()).unwrap_or_else(|| panic!("{reason} in {status}"))
    }

    /// Runs the command line against this daemon.
    pub(crate) fn remora(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_remora"))
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .output()
            .expect("run remora")
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill");
        assert!(status.success(), "kill -{name}");
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// SIGKILL, then waits for the end.
    pub(crate) fn kill(mut self) -> ExitStatus {
        self.child.kill().expect("kill");
        self.wait()
    }

    /// Shows what was lost, counted and queued, for a test that failed. Never panics.
    fn say_status(&self) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "5", "--unix-socket"]).arg(self.socket());
        if let Ok(output) = curl.arg("http://localhost/api/v1/status").output() {
            eprintln!("--- its status:\n{}", String::from_utf8_lossy(&output.stdout));
        }
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        // Of one that is killed the kernel takes off the probes, one after the other, and waits at each.
        until_within(Duration::from_secs(60), "the daemon to end", || child.try_wait().expect("wait"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if std::thread::panicking() {
                self.say_status();
            }
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- remorad said:\n{}",
                self.output.lock().map(|text| text.clone()).unwrap_or_default()
            );
        }
    }
}

fn spawn(dir: &Path, options: &Options) -> Child {
    let state = options.state.clone().unwrap_or_else(|| dir.join("state"));
    std::fs::create_dir_all(&state).expect("state directory");
    let config = dir.join("remora.toml");
    let text = format!(
        "listen.unix = \"{dir}/remora.sock\"\nlisten.tcp = [\"127.0.0.1:0\"]\nstore.path = \"{state}\"\nlog.level = \"debug\"\n{extra}\n",
        dir = dir.display(),
        state = state.display(),
        extra = options.config,
    );
    std::fs::write(&config, text).expect("write configuration");
    Command::new(env!("CARGO_BIN_EXE_remorad"))
        .arg("--config")
        .arg(&config)
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start remorad")
}

fn collect(pipe: impl std::io::Read + Send + 'static, output: &Arc<Mutex<String>>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = output.lock().expect("output");
            text.push_str(&line);
            text.push('\n');
        }
    });
}

fn wait_ready(notify: &UnixDatagram, child: &mut Child, output: &Arc<Mutex<String>>) {
    notify.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
    let mut buffer = [0; 4096];
    until("READY=1", || {
        if let Some(status) = child.try_wait().expect("wait") {
            panic!("remorad ended with {status}:\n{}", output.lock().expect("output"));
        }
        let length = notify.recv(&mut buffer).ok()?;
        String::from_utf8_lossy(&buffer[..length]).contains("READY=1").then_some(())
    });
}

fn address_in(output: &str) -> Option<SocketAddr> {
    let line = output.lines().find(|line| line.contains("http://127.0.0.1:"))?;
    let start = line.find("http://")? + "http://".len();
    let text: String =
        line[start..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    text.parse().ok()
}
