//! A cgroup of a test's own.

use std::path::PathBuf;
use std::process::Command;

/// A cgroup of the name that a container runtime or systemd gives; gone when dropped.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// Below one of the test's own, which `parent` tells from the test's others.
    pub(crate) fn new(parent: &str, name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        });
        let own = format!("remora-test-{}-{parent}", std::process::id());
        let path = root.expect("a cgroup2 mount").join(own).join(name);
        std::fs::create_dir_all(&path).expect("cgroup");
        Self { path }
    }

    /// What a process writes its pid to, to join.
    pub(crate) fn procs(&self) -> String {
        self.path.join("cgroup.procs").display().to_string()
    }

    /// Runs a command in the cgroup, from its first instruction on.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#, &self.procs()]);
        command.arg(program).args(arguments);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.path).ok();
        std::fs::remove_dir(self.path.parent().expect("made below one")).ok();
    }
}
