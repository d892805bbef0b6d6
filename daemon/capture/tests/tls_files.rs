//! Files that TLS is found in, or not: replaced, deleted, foreign, stripped; and storms of processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::*;
use super::tls::{Bench, Peer, check_binding, curl, go_server, settle, wait_attached, wait_story};
use crate::capture::TlsProcess;
use crate::engine::model::TlsLibrary;

const LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// A server whose libssl is the one in the bench's directory.
fn python_with_own_libssl(bench: &Bench) -> Peer {
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", include_str!("tls_peer.py"), "sync"])
        .env("LD_LIBRARY_PATH", bench.folder.path())
        .current_dir(bench.folder.path());
    Peer::start(command)
}

fn assert_seen(running: &Running, server: &Peer, text: &str) {
    wait_attached(running, server.child.id());
    let (_, body) = curl(&["--http1.1", "-d", text, &server.url("/")]);
    assert_eq!(body, text.as_bytes());
    let story = wait_story(running, server.child.id(), "the server's session", |story| {
        story.written.ends_with(text.as_bytes())
    });
    assert!(story.read.ends_with(text.as_bytes()));
}

fn libssl_of(running: &Running, server: &Peer) -> String {
    let found = running.capture.tls_processes();
    let process = found.iter().find(|process| process.pid == server.child.id()).expect("found");
    let mut libraries = process.libraries.iter();
    libraries.find(|one| one.path.contains("libssl") && one.attached).expect("attached").path.clone()
}

#[test]
fn root_old_and_new_processes_of_a_replaced_library_are_seen() {
    let bench = Bench::new();
    let library = bench.path("libssl.so.3");
    std::fs::copy(LIBSSL, &library).expect("copies");
    let old = python_with_own_libssl(&bench);
    std::fs::copy(LIBSSL, bench.path("new")).expect("copies");
    std::fs::rename(bench.path("new"), &library).expect("replaces");
    let new = python_with_own_libssl(&bench);

    let running = start_all();
    settle(&running);
    assert_seen(&running, &old, "of the old one");
    assert_seen(&running, &new, "of the new one");
    assert!(libssl_of(&running, &old).ends_with("/libssl.so.3 (deleted)"));
    assert_eq!(Path::new(&libssl_of(&running, &new)), library);

    // And once more, while the daemon runs.
    std::fs::remove_file(&library).expect("removes");
    std::fs::copy(LIBSSL, &library).expect("copies");
    let newest = python_with_own_libssl(&bench);
    assert_seen(&running, &newest, "of the newest one");
    assert_seen(&running, &new, "still of the new one");
}

#[test]
fn root_an_executable_that_was_deleted_is_seen() {
    let bench = Bench::new();
    let server = go_server(&bench, &[]);
    std::fs::remove_file(bench.path("peer")).expect("removes");
    let running = start_all();
    settle(&running);
    check_binding(&running, &server, TlsLibrary::Go, 5);
}

/// A program that waits, and is stopped with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start(program: &Path, environment: Option<(&str, &Path)>) -> Self {
        let mut command = Command::new(program);
        command.arg("60").stdin(Stdio::null()).envs(environment);
        Self(command.spawn().expect("starts"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_process(running: &Running, pid: u32) -> TlsProcess {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = running.capture.tls_processes();
        if let Some(process) = found.into_iter().find(|process| process.pid == pid) {
            return process;
        }
        assert!(Instant::now() < deadline, "nothing is said of {pid}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn run(bench: &Bench, program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).current_dir(bench.folder.path()).status();
    assert!(status.expect(program).success(), "{program} {args:?}");
}

/// A program with a text in its data, as a static TLS library leaves it.
fn program_with(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let source = format!(
        "#include <unistd.h>\n#include <stdio.h>\n\
         int main(int argc, char **argv) {{ if (argc > 9) puts(\"{text}\"); pause(); return 0; }}\n"
    );
    std::fs::write(bench.path("source.c"), source).expect("writes");
    run(bench, "cc", &["-s", "-o", name, "source.c"]);
    bench.path(name)
}

#[test]
fn root_what_cannot_be_seen_is_listed_with_its_reason() {
    let bench = Bench::new();
    let openssl = Sleeper::start(&program_with(&bench, "static", "../ssl/ssl_lib.c"), None);
    let boring = Sleeper::start(&program_with(&bench, "boring", "ssl/ssl_lib.cc"), None);
    let mbed = Sleeper::start(&program_with(&bench, "mbed", "library/ssl_msg.c"), None);
    std::fs::copy(LIBSSL.replace("libssl", "libcrypto"), bench.path("libjvm.so")).expect("copies");
    let java = Sleeper::start(Path::new("/bin/sleep"), Some(("LD_PRELOAD", &bench.path("libjvm.so"))));
    let plain = Sleeper::start(Path::new("/bin/sleep"), None);

    let running = start_all();
    let of = |sleeper: &Sleeper| wait_process(&running, sleeper.0.id());
    for (sleeper, library) in [(&openssl, TlsLibrary::OpenSsl), (&boring, TlsLibrary::BoringSsl)] {
        let process = of(sleeper);
        let used = &process.libraries[0];
        assert_eq!((used.library, used.attached), (library, false), "{process:?}");
        assert!(used.reason.contains("without symbols") && used.reason.contains("not stripped"), "{used:?}");
    }
    assert!(of(&mbed).reason.contains("Mbed TLS"), "{:?}", of(&mbed));
    assert!(of(&java).reason.contains("JSSE"), "{:?}", of(&java));
    settle(&running);
    let found = running.capture.tls_processes();
    assert!(!found.iter().any(|process| process.pid == plain.0.id()), "{found:?}");
}

#[test]
fn root_a_program_of_another_architecture_is_said_to_be_one() {
    let bench = Bench::new();
    // pause(), for ever.
    let source = ".globl _start\n_start: mov $29, %eax\nint $0x80\njmp _start\n";
    std::fs::write(bench.path("source.s"), source).expect("writes");
    run(&bench, "as", &["--32", "-o", "small.o", "source.s"]);
    run(&bench, "ld", &["-m", "elf_i386", "-o", "small", "small.o"]);
    let small = Sleeper::start(&bench.path("small"), None);
    let running = start_all();
    let process = wait_process(&running, small.0.id());
    assert!(process.reason.contains("another architecture (32 bits"), "{process:?}");
}

/// CPU time of this process's discovery, in clock ticks.
fn discovery_ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks").flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    // utime and stime are the 12th and 13th field after the name.
    let ticks = stats.filter(|stat| stat.contains("(capture-tls)")).flat_map(|stat| {
        let fields = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        let times: Vec<u64> = fields.split(' ').skip(11).take(2).flat_map(str::parse).collect();
        times
    });
    ticks.sum()
}

#[test]
fn root_many_short_processes_are_not_harmed_and_hide_nothing() {
    let bench = Bench::new();
    let running = start_all();
    settle(&running);
    let before = discovery_ticks();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for index in 0..550 {
                    let program = if index % 11 == 10 { "curl" } else { "/bin/true" };
                    let status = Command::new(program).arg("--version").stdout(Stdio::null()).status();
                    assert_eq!(status.expect("starts").code(), Some(0), "{program}");
                }
            });
        }
    });
    println!("2000 true and 200 curl in {:?}, {} ticks", begun.elapsed(), discovery_ticks() - before);
    let server = bench.python("sync");
    assert_seen(&running, &server, "after the storm");
}
