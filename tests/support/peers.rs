//! Real servers and clients: nginx, curl, small Python servers.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::netns::Netns;
use super::ports::free_port;
use super::wait::until;

/// Runs curl quietly and returns what it did; panics when it fails.
pub(crate) fn curl(arguments: &[&str]) -> Output {
    let output =
        Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().expect("run curl");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A real nginx in the foreground.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
}

impl Nginx {
    /// Serves static files and `locations` (nginx configuration) on a free port of 127.0.0.1 and ::1.
    pub(crate) fn start(locations: &str) -> Self {
        Self::start_in(None, "127.0.0.1", free_port(), locations)
    }

    /// The same with HTTP/2 in clear text: this nginx then speaks nothing else on the port.
    pub(crate) fn start_h2(locations: &str) -> Self {
        Self::start_with(None, "127.0.0.1", free_port(), ("http2", locations))
    }

    /// Serves on `address:port`, in a namespace if one is given.
    pub(crate) fn start_in(netns: Option<&Netns>, address: &str, port: u16, locations: &str) -> Self {
        Self::start_with(netns, address, port, ("", locations))
    }

    fn start_with(
        netns: Option<&Netns>,
        address: &str,
        port: u16,
        (listen, locations): (&str, &str),
    ) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(dir.path().join("html")).expect("html");
        std::fs::write(dir.path().join("html/index.html"), "hello from nginx\n").expect("index");
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, configuration(dir.path(), address, port, listen, locations))
            .expect("nginx.conf");
        let mut command = netns.map_or_else(|| Command::new("nginx"), |netns| netns.command("nginx"));
        let mut child = command
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start nginx");
        let pid_file = dir.path().join("nginx.pid");
        until("nginx", || {
            if child.try_wait().expect("wait").is_some() {
                let mut text = String::new();
                child.stderr.take().expect("stderr").read_to_string(&mut text).ok();
                panic!("nginx ended: {text}");
            }
            let ready = std::fs::read_to_string(&pid_file).is_ok_and(|text| !text.trim().is_empty());
            ready.then_some(())
        });
        if netns.is_none() {
            let address: SocketAddr = format!("{address}:{port}").parse().expect("address");
            until("nginx to accept", || TcpStream::connect(address).ok().map(drop));
        }
        Self { child, port, dir }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Pid of the master process.
    pub(crate) fn master(&self) -> u32 {
        std::fs::read_to_string(self.dir.path().join("nginx.pid")).expect("pid").trim().parse().expect("pid")
    }

    /// Puts a file below the document root.
    pub(crate) fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.dir.path().join("html").join(name), content).expect("write file");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        Command::new("kill").args(["-TERM", &self.master().to_string()]).status().ok();
        self.child.wait().ok();
    }
}

fn configuration(dir: &std::path::Path, address: &str, port: u16, listen: &str, locations: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 16384; }}
worker_rlimit_nofile 40000;
http {{
  include /etc/nginx/mime.types;
  access_log off; client_max_body_size 64m; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_requests 100000; keepalive_timeout 300s;
  server {{ listen {address}:{port} {listen} backlog=16384; root {dir}/html; {locations} }}
}}
"
    )
}

/// A Python program that prints its port as first line and then serves.
pub(crate) struct PythonServer {
    child: Child,
    pub(crate) port: u16,
}

impl PythonServer {
    /// Runs `program`; it must print the port that it listens on.
    pub(crate) fn start(program: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-c", program]);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("port line");
        let port =
            line.trim().parse().unwrap_or_else(|_| panic!("python printed {line:?} instead of a port"));
        Self { child, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// A Python that has grpcio, in a virtual environment below `target` that the first test makes.
pub(crate) fn grpc_python() -> std::path::PathBuf {
    let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let home = target.join("protobuf-venv");
    // Several tests may come here at once.
    let make = "test -e $1/ready || { python3 -m venv $1 && $1/bin/pip install --quiet grpcio protobuf && touch $1/ready; }";
    let done = Command::new("flock")
        .arg(target.join("protobuf-venv.lock"))
        .args(["sh", "-c", make, "sh"])
        .arg(&home)
        .output()
        .expect("run flock");
    assert!(done.status.success(), "no grpcio: {}", String::from_utf8_lossy(&done.stderr));
    home.join("bin/python")
}

/// A directory below `target` with the packages of `tests/npm_peers`, which the first test makes.
fn npm_peers() -> std::path::PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = root.join("target/npm-peers");
    // Several tests may come here at once.
    let make = "cmp -s $2 $1/ready || { mkdir -p $1 && cp $2 $1/package.json && npm install --silent --prefix $1 && \
        cp $2 $1/ready; }";
    let done = Command::new("flock")
        .arg(root.join("target/npm-peers.lock"))
        .args(["sh", "-c", make, "sh"])
        .arg(&home)
        .arg(root.join("tests/npm_peers/package.json"))
        .output()
        .expect("run flock");
    assert!(done.status.success(), "no npm peers: {}", String::from_utf8_lossy(&done.stderr));
    home
}

/// A program of `tests/npm_peers` that serves.
pub(crate) struct NodeServer {
    server: PythonServer,
    program: std::path::PathBuf,
    home: std::path::PathBuf,
}

impl NodeServer {
    /// Runs `program serve words`; it prints its port.
    pub(crate) fn start(program: &str, words: &[&str]) -> Self {
        let home = npm_peers();
        let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm_peers").join(program);
        let mut command = Command::new("node");
        command.arg(&program).arg("serve").args(words).current_dir(&home);
        Self { server: PythonServer::run(command), program, home }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs `program call before PORT after`.
    pub(crate) fn call(&self, before: &[&str], after: &[&str]) {
        let mut command = Command::new("node");
        command.arg(&self.program).arg("call").args(before).arg(self.port().to_string()).args(after);
        let done = command.current_dir(&self.home).output().expect("run node");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The gRPC server of `tests/pcaps/grpc/peer.py`.
pub(crate) struct GrpcServer {
    server: PythonServer,
    python: std::path::PathBuf,
}

impl GrpcServer {
    const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pcaps/grpc/peer.py");

    pub(crate) fn start() -> Self {
        let python = grpc_python();
        let mut command = Command::new(&python);
        command.args(["-u", Self::PROGRAM, "serve"]);
        Self { server: PythonServer::run(command), python }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Makes one call of a shape, or with `all` one of each.
    pub(crate) fn call(&self, shape: &str) {
        let port = self.port().to_string();
        let done = Command::new(&self.python)
            .args([Self::PROGRAM, "call", &port, shape])
            .output()
            .expect("run python");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
