//! Issue 2, point 3: each entry names both ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::{Cgroup, Daemon, Nginx, PythonServer, curl};

#[test]
fn root_both_processes_of_a_call_are_named() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    // curl lives for a few milliseconds: it must be named all the same.
    for _ in 0..10 {
        let mut child =
            Command::new("curl").args(["-sS", "-o", "/dev/null", &nginx.url("/")]).spawn().expect("curl");
        let (curl_pid, me) = (child.id(), std::process::id());
        assert!(child.wait().expect("curl").success());
        let entry = feed.next();
        let (src, dst) = (&entry["src"], &entry["dst"]);
        assert_eq!(src["processId"], curl_pid);
        assert_eq!(src["parentProcessId"], me);
        assert_eq!(src["processName"], "curl");
        assert_eq!(src["processPath"], "/usr/bin/curl");
        assert_eq!(src["uid"], 0);
        assert_eq!(dst["processName"], "nginx");
        assert_eq!(dst["processPath"], "/usr/sbin/nginx");
        assert_eq!(dst["parentProcessId"], nginx.master(), "the worker accepted, not the master");
        assert!(dst["socketId"].as_u64().is_some_and(|cookie| cookie != 0));
        assert!(dst["cgroup"].as_str().is_some_and(|path| path.starts_with('/')));
    }
}

#[test]
fn root_sockets_older_than_the_daemon_are_attributed() {
    let nginx = Nginx::start("");
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
        assert!(stream.read(&mut [0; 4096]).expect("read") > 0);
    };
    ask(&mut stream);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    ask(&mut stream);
    let entry = feed.next();
    assert_eq!(entry["src"]["processId"], std::process::id());
    assert_eq!(entry["dst"]["processName"], "nginx");
}

#[test]
fn root_the_user_of_a_process_is_named() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {} and src.process.uid == 65534", nginx.port));
    curl(&[&nginx.url("/")]);
    let status = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "curl", "-sS", "-o", "/dev/null", &nginx.url("/")])
        .status()
        .expect("setpriv");
    assert!(status.success());
    assert_eq!(feed.next()["src"]["uid"], 65534);
}

#[test]
fn root_an_accepted_socket_handed_to_a_child_is_attributed_to_the_child() {
    let server = PythonServer::start(
        "import os, socket, subprocess, sys
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(16)
print(l.getsockname()[1], flush=True)
code = '''import socket, sys
s = socket.socket(fileno=int(sys.argv[1]))
s.recv(4096)
s.sendall(b'HTTP/1.1 200 OK\\\\r\\\\nContent-Length: 5\\\\r\\\\n\\\\r\\\\nchild')
s.recv(1)'''
while True:
    c, _ = l.accept()
    os.set_inheritable(c.fileno(), True)
    subprocess.run([sys.executable, '-c', code, str(c.fileno())], close_fds=False)
    c.close()",
    );
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", server.port));
    curl(&[&format!("http://127.0.0.1:{}/", server.port)]);
    let entry = feed.next();
    assert_eq!(entry["dst"]["parentProcessId"], server.pid(), "the child answered: {}", entry["dst"]);
}

#[test]
fn root_the_daemons_own_calls_are_not_captured() {
    // A call to another server marks the end: what the daemon's own call left would come before it.
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let (own, other) = (daemon.tcp.port(), nginx.port);
    // Other tests call at the same time.
    let mut feed = daemon.feed(&format!("http and (dst.port == {own} or dst.port == {other})"));
    let status = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", &format!("http://{}/api/health", daemon.tcp)])
        .status()
        .expect("curl");
    assert!(status.success());
    curl(&[&nginx.url("/marker")]);
    let entry = feed.next();
    assert_eq!(entry["dst"]["port"], other.to_string(), "own traffic was captured: {entry}");
    assert_eq!(entry["request"]["path"], "/marker");
    // Connections are dissected side by side: the first one may as well be late.
    assert!(feed.is_quiet(Duration::from_millis(300)), "own traffic was captured");
}

#[test]
fn root_container_and_unit_are_named() {
    let container = "4f1c9a".repeat(10) + "beef";
    let docker = Cgroup::new("container", &format!("docker-{container}.scope"));
    let service = Cgroup::new("unit", "billing.service");
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    // Answers late, so that a caller lives until its cgroup was looked at.
    let last = TcpListener::bind("127.0.0.1:0").expect("bind");
    let last_url = format!("http://{}/", last.local_addr().expect("address"));
    for (cgroup, container_id, unit) in [(&docker, container.as_str(), ""), (&service, "", "billing.service")]
    {
        let url = nginx.url("/");
        let arguments = ["-sS", "-o", "/dev/null", &url, "-o", "/dev/null", &last_url];
        let mut caller = cgroup.command("curl", &arguments).spawn().expect("curl");
        let src = &feed.next()["src"];
        let (mut stream, _) = last.accept().expect("accept");
        assert!(stream.read(&mut [0; 4096]).expect("read") > 0);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("write");
        assert!(caller.wait().expect("curl").success());
        assert_eq!((&src["containerId"], &src["unit"]), (&container_id.into(), &unit.into()), "{src}");
        let path = src["cgroup"].as_str().expect("cgroup");
        assert!(cgroup.path.ends_with(path.trim_start_matches('/')), "{path}");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&cgroup.path).expect("cgroup"));
        assert_eq!(src["cgroupId"], inode);
    }
}
