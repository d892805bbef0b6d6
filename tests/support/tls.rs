//! Programs that speak TLS, made by tests: servers that echo, and clients that do what a line tells them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A directory with a key and a certificate that nobody trusts, and what else a test leaves there.
pub(crate) struct Keys {
    dir: TempDir,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let names = ["api.example.test", "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).expect("certificate");
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).expect("key");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }
}

/// Where `scripts/setup test` installs it.
pub(crate) const CURL_CFFI: &str = "/var/cache/remora-test/curl_cffi";

/// A program of `tests/tls_peers`: `serve` prints a port and serves, `ask PORT` takes lines.
#[derive(Clone)]
pub(crate) struct Program {
    words: Vec<String>,
}

impl Program {
    fn source(name: &str) -> String {
        format!("{}/tests/tls_peers/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn of(words: &[&str]) -> Self {
        Self { words: words.iter().map(|&word| word.to_owned()).collect() }
    }

    /// `ssl` with blocking sockets.
    pub(crate) fn python() -> Self {
        Self::of(&["/usr/bin/python3", &Self::source("threads.py")])
    }

    /// `asyncio`, whose TLS reads and writes memory.
    pub(crate) fn asyncio() -> Self {
        Self::of(&["/usr/bin/python3", &Self::source("tasks.py")])
    }

    pub(crate) fn node() -> Self {
        Self::of(&["node", &Self::source("peer.js")])
    }

    /// Built with these flags into a directory of the test's.
    pub(crate) fn go(keys: &Keys, flags: &[&str]) -> Self {
        Self::go_of("go", keys, flags)
    }

    /// As `go`, with the compiler of this version.
    pub(crate) fn go_of(compiler: &str, keys: &Keys, flags: &[&str]) -> Self {
        let binary = keys.text("gopeer");
        let built = Command::new(compiler)
            .arg("build")
            .args(flags)
            .args(["-o", &binary, &Self::source("peer.go")])
            .env("GOCACHE", "/var/cache/remora-test/gocache")
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .status()
            .unwrap_or_else(|error| panic!("{compiler}: {error}; run scripts/setup test"));
        assert!(built.success(), "{compiler} build {flags:?}");
        Self::of(&[&binary])
    }

    /// Linked with these flags and a static OpenSSL into a directory of the test's, without symbols.
    pub(crate) fn c(keys: &Keys, flags: &[&str]) -> Self {
        let binary = keys.text("cpeer");
        let mut command = Command::new("gcc");
        command.args(["-O2", "-s", "-w", "-o", &binary, &Self::source("peer.c")]).args(flags);
        let built = command.args(["-l:libssl.a", "-l:libcrypto.a"]).output().expect("run gcc");
        assert!(built.status.success(), "gcc {flags:?}: {}", String::from_utf8_lossy(&built.stderr));
        Self::of(&[&binary])
    }

    /// `curl_cffi` with BoringSSL in its library, which may be stripped, asking `http.server`.
    pub(crate) fn cffi(keys: &Keys, is_stripped: bool) -> Self {
        let mut folder = CURL_CFFI.to_owned();
        if is_stripped {
            let copied = Command::new("cp").args(["-r", CURL_CFFI, &keys.text("cffi")]).status();
            assert!(copied.expect("run cp").success(), "{CURL_CFFI}: is scripts/setup test done?");
            folder = keys.text("cffi");
            let library = format!("{folder}/curl_cffi/_wrapper.abi3.so");
            assert!(Command::new("strip").arg(library).status().expect("run strip").success(), "strip");
        }
        Self::of(&["/usr/bin/python3", &Self::source("cffi.py"), &folder])
    }

    /// With rustls: `threads` on blocking sockets, `tasks` with tokio. Built once for all tests.
    pub(crate) fn rustls(kind: &str) -> Self {
        let target = super::tls::source("target/tls_peers");
        let built = Command::new("cargo")
            .args([
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--manifest-path",
                &Self::source("rustls/Cargo.toml"),
            ])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .expect("run cargo");
        assert!(built.success(), "cargo build");
        Self::of(&[&target.join("release/rustls-peer").display().to_string(), kind])
    }

    /// The same program, started by another one.
    pub(crate) fn below(&self, words: &[&str]) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).chain(self.words.iter().cloned());
        Self { words: words.collect() }
    }

    fn command(&self, keys: &Keys) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir(keys.path());
        command
    }

    pub(crate) fn serve(&self, keys: &Keys) -> Server {
        let mut command = self.command(keys);
        command.arg("serve");
        Server::start(command)
    }

    pub(crate) fn ask(&self, keys: &Keys, port: u16) -> Client {
        let mut command = self.command(keys);
        command.args(["ask", &port.to_string()]);
        Client::start(command)
    }
}

/// A server that answers `METHOD PATH from PORT: BODY` with status 203.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts what prints its port as first line.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start a server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("port line");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{line:?} instead of a port"));
        Self { child, port }
    }

    /// A server that was told its port.
    pub(crate) fn at(mut command: Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a server");
        super::until("the server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client that answers each line with a line.
pub(crate) struct Client {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("start a client");
        let lines = child.stdin.take().expect("stdin");
        let answers = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, lines, answers }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line and waits for its answer.
    pub(crate) fn tell(&mut self, line: &str) -> String {
        writeln!(self.lines, "{line}").expect("tell the client");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the client's answer");
        assert!(!answer.is_empty(), "the client ended at {line:?}");
        answer.trim_end().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// nginx's configuration for TLS with this key, HTTP/2 included.
pub(crate) fn nginx_tls(keys: &Keys, port: u16) -> String {
    format!(
        "listen 127.0.0.1:{port} ssl http2 backlog=4096; ssl_certificate {}; ssl_certificate_key {};
         location / {{ default_type text/plain; return 203 \"$request_method $request_uri from $remote_port: \"; }}",
        keys.text("cert.pem"),
        keys.text("key.pem"),
    )
}

/// The first line that a program says.
pub(crate) fn first_line(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

/// A path of this source tree.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
