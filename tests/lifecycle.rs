//! Issue 2, point 8: start, reload, stop, kill.

use std::process::Command;
use std::time::Duration;

use crate::support::{Daemon, Nginx, Options, curl, until};

/// Ids of all BPF programs and links that process `pid` holds.
fn bpf_of(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().contains("bpf") {
            found.push(target.to_string_lossy().into_owned());
        }
    }
    found
}

/// Number of cgroup BPF programs that nobody but the kernel holds would show as packets still being
/// seen: a second daemon's conflict. Pinned objects would be files below bpffs.
fn pinned() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![std::path::PathBuf::from("/sys/fs/bpf")];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                stack.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn root_sigterm_drains_and_leaves_nothing_behind() {
    let before = pinned();
    let daemon = Daemon::start();
    assert!(!bpf_of(daemon.pid()).is_empty(), "the daemon holds BPF objects while it runs");
    let socket = daemon.socket();
    assert!(socket.exists());
    let status = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(!socket.exists(), "the unix socket is removed");
    let left: Vec<_> = pinned().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(left.is_empty(), "nothing is pinned: {left:?}");
}

#[test]
fn root_a_killed_daemon_does_not_stop_the_next() {
    let nginx = Nginx::start("");
    let state = tempfile::tempdir().expect("state");
    let options = || Options { state: Some(state.path().to_path_buf()), ..Options::default() };
    Daemon::start_with(options()).kill();
    let daemon = Daemon::start_with(options());
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/")]);
    assert_eq!(feed.next()["response"]["status"], 200);
    assert!(feed.is_quiet(Duration::from_millis(300)), "the killed daemon's programs are gone");
}

#[test]
fn root_a_second_daemon_on_the_same_state_says_what_is_wrong() {
    let state = tempfile::tempdir().expect("state");
    let first = Daemon::start_with(Options { state: Some(state.path().to_path_buf()), ..Options::default() });
    let config = state.path().join("second.toml");
    std::fs::write(
        &config,
        format!(
            "listen.unix = \"{0}/second.sock\"\nlisten.tcp = []\nstore.path = \"{0}\"\n",
            state.path().display()
        ),
    )
    .expect("configuration");
    let output =
        Command::new(env!("CARGO_BIN_EXE_remorad")).arg("--config").arg(&config).output().expect("remorad");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&state.path().display().to_string()), "{text}");
    drop(first);
}

#[test]
fn root_reload_keeps_the_old_configuration_when_the_new_one_is_bad() {
    let nginx = Nginx::start("");
    let daemon = Daemon::start();
    let config = daemon.socket().with_file_name("remora.toml");
    let good = std::fs::read_to_string(&config).expect("configuration");
    let said = |needle: &str| daemon.output.lock().expect("output").matches(needle).count();
    std::fs::write(&config, format!("{good}\nnonsense = 1\n")).expect("write");
    daemon.signal("HUP");
    until("the complaint", || (said("nonsense") > 0).then_some(()));
    assert_eq!((said("configuration not reloaded"), said("configuration reloaded")), (1, 0));
    let mut feed = daemon.feed(&format!("dst.port == {}", nginx.port));
    curl(&[&nginx.url("/")]);
    feed.next();
    std::fs::write(&config, format!("{good}\ncapture.exclude.ports = [{}]\n", nginx.port)).expect("write");
    daemon.signal("HUP");
    until("the reload", || (said("configuration reloaded") > 0).then_some(()));
    curl(&[&nginx.url("/excluded")]);
    assert!(feed.is_quiet(Duration::from_millis(500)), "the port is out of scope after the reload");
}

#[test]
fn bad_configuration_is_refused_with_exit_code_78_and_all_problems() {
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("remora.toml");
    std::fs::write(&config, "[listen]\ntcp = [\"0.0.0.0:8899\"]\n[store]\nmax-size = \"many\"\n")
        .expect("write");
    let output =
        Command::new(env!("CARGO_BIN_EXE_remorad")).arg("--config").arg(&config).output().expect("remorad");
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("max-size"), "{text}");
    let fixed = "[listen]\ntcp = [\"0.0.0.0:8899\"]\n";
    std::fs::write(&config, fixed).expect("write");
    let output =
        Command::new(env!("CARGO_BIN_EXE_remorad")).arg("--config").arg(&config).output().expect("remorad");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("0.0.0.0:8899") && text.to_lowercase().contains("tls"), "{text}");
}

#[test]
fn root_a_command_whose_reader_leaves_ends_quietly() {
    let daemon = Daemon::start();
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_remora"))
        .args(["--socket", &daemon.socket().display().to_string(), "kfl", "fields"])
        .stdout(writer)
        .output()
        .expect("remora");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
}
