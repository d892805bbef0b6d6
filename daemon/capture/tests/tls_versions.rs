//! Other versions of OpenSSL than the host's, from the package mirror that this host is set up with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::*;
use super::tls::{Bench, settle, wait_story};
use crate::engine::model::{TlsLibrary, TlsWitness};

fn output(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: is the package mirror there? {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// A file of the mirror.
fn fetch(path: &str, to: &Path) {
    let sites = output("apt-get", &["indextargets", "--format", "$(SITE)", "Created-By: Packages"]);
    let site = sites.lines().next().expect("apt has a source");
    output(
        "/usr/lib/apt/apt-helper",
        &["download-file", &format!("{site}/{path}"), to.to_str().expect("UTF-8")],
    );
}

/// Unpacks packages of a suite; about 14 MB are read for it.
fn unpack(bench: &Bench, suite: &str, packages: &[&str]) -> PathBuf {
    let index = bench.path("Packages.xz");
    fetch(&format!("dists/{suite}/main/binary-amd64/Packages.xz"), &index);
    let index = output("xz", &["-dc", index.to_str().expect("UTF-8")]);
    let root = bench.path(suite);
    for package in packages {
        let start = format!("Package: {package}\n");
        let about = index.split("\n\n").find(|about| about.starts_with(&start));
        let about = about.unwrap_or_else(|| panic!("{suite} has no {package}"));
        let path = about.lines().find_map(|line| line.strip_prefix("Filename: ")).expect("a file");
        let file = bench.path(&format!("{package}.deb"));
        fetch(path, &file);
        output("dpkg", &["-x", file.to_str().expect("UTF-8"), root.to_str().expect("UTF-8")]);
    }
    root
}

/// Asks nginx through a suite's `openssl s_client`.
fn check_version(suite: &str, packages: &[&str]) {
    let bench = Bench::new();
    let root = unpack(&bench, suite, packages);
    let running = start_all();
    settle(&running);
    let server = bench.nginx();
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = if root.join("usr/lib64").exists() {
        // With its own C library, newer than the host's.
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(root.join("usr/bin/openssl"));
        command
    } else {
        let mut command = Command::new(root.join("usr/bin/openssl"));
        command.env("LD_LIBRARY_PATH", &libraries);
        command
    };
    let mut client = command
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let request = b"GET /echo HTTP/1.0\r\n\r\n";
    let mut input = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, request).expect("writes");
    let pid = client.id();
    let story =
        wait_story(&running, pid, "the client's session", |story| story.read.ends_with(b"hello from nginx"));
    assert_eq!((story.library, story.written.as_slice()), (TlsLibrary::OpenSsl, &request[..]));
    assert!(story.from_start);
    assert_eq!(story.socket.map(|(_, witness)| witness), Some(TlsWitness::InCall));
    drop(input);
    let _ = client.wait();
}

#[test]
fn root_mirror_openssl_1_1_is_seen() {
    check_version("bullseye", &["libssl1.1", "openssl"]);
}

#[test]
fn root_mirror_openssl_3_5_is_seen() {
    check_version("trixie", &["libc6", "zlib1g", "libzstd1", "libssl3t64", "openssl"]);
}
