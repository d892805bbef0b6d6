//! Reads `/proc/PID/cgroup`: which container and which systemd unit a process is in. Pure text.
//!
//! Which lines count: the v2 line and the line of v1's `name=systemd` hierarchy know units; container
//! runtimes on hybrid hosts may move a process only in the resource hierarchies, so `pids`, `memory`
//! and then all others are asked too. The first line that knows a fact decides it.
//!
//! Which part of a path counts: the innermost. A container in a container is the inner one; a service
//! of a user's service manager is the service and not `user@1000.service`.

use compact_str::CompactString;

/// What the cgroup of a process tells about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Path in the hierarchy that says most, `/`-rooted.
    pub path: String,
    /// Id of the container (64 hex digits for most runtimes), or name of the machine (nspawn, LXC);
    /// empty outside.
    pub container_id: CompactString,
    /// systemd unit; empty outside of one. The scope that a runtime makes for a container is not one.
    pub unit: CompactString,
}

/// Names that units with processes end in.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

impl CgroupFacts {
    /// Reads the text of `/proc/PID/cgroup`; lines that are no cgroup lines are skipped.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<(u8, &str)> = text.lines().filter_map(ranked_path).collect();
        lines.sort_by_key(|(rank, _)| *rank);
        let paths = || lines.iter().map(|(_, path)| *path);
        Self {
            path: paths().find(|path| *path != "/").unwrap_or("/").to_owned(),
            container_id: paths().find_map(container_of).unwrap_or_default(),
            unit: paths().find_map(unit).unwrap_or_default(),
        }
    }
}

/// The path of a line `ID:CONTROLLERS:PATH` and how early it is asked.
fn ranked_path(line: &str) -> Option<(u8, &str)> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let has = |name| controllers.split(',').any(|controller| controller == name);
    let rank = match () {
        () if id == "0" && controllers.is_empty() => 0,
        () if has("name=systemd") => 1,
        () if has("pids") => 2,
        () if has("memory") => 3,
        () => 4,
    };
    path.starts_with('/').then_some((rank, path))
}

/// The innermost container or machine that the cgroup at `path` is in: its id, or its name.
pub fn container_of(path: &str) -> Option<CompactString> {
    let mut inner_to_outer = path.rsplit('/').peekable();
    while let Some(name) = inner_to_outer.next() {
        let parent = inner_to_outer.peek().copied().unwrap_or_default();
        if let Some(id) = container_id(name).or_else(|| machine(name, parent)) {
            return Some(id);
        }
    }
    None
}

/// The id in one part of a path: `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`,
/// `crio-<id>.scope`, `libpod-<id>.scope`, `libpod-payload-<id>`, `….slice:cri-containerd:<id>`.
fn container_id(name: &str) -> Option<CompactString> {
    // Watches over a container from outside.
    if name.contains("conmon") {
        return None;
    }
    let name = name.strip_suffix(".scope").or_else(|| name.strip_suffix(".service")).unwrap_or(name);
    if is_fargate_id(name) {
        return Some(name.into());
    }
    let id = name.rsplit(['-', ':']).next()?;
    is_hex(id, 64).then(|| id.into())
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// ECS on Fargate: 32 hex digits of the task and a number.
fn is_fargate_id(name: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, 32) && number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Machines have names: systemd-nspawn and LXC. A virtual machine of libvirt is none: what runs in
/// that cgroup is the emulator.
fn machine(name: &str, parent: &str) -> Option<CompactString> {
    let machine = if let Some(rest) = name.strip_prefix("systemd-nspawn@") {
        rest.strip_suffix(".service")?
    } else if let Some(rest) = name.strip_prefix("machine-") {
        rest.strip_suffix(".scope").filter(|rest| !rest.starts_with("qemu\\x2d"))?
    } else if let Some(rest) = name.strip_prefix("lxc.payload.") {
        rest
    } else if parent == "lxc" {
        name
    } else {
        return None;
    };
    (!machine.is_empty()).then(|| unescape(machine))
}

/// Undoes systemd's `\x2d`.
fn unescape(name: &str) -> CompactString {
    let mut text = CompactString::default();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        text.push_str(before);
        if let Some(byte) =
            after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii)
        {
            text.push(char::from(byte));
            rest = after.get(2..).unwrap_or_default();
        } else {
            text.push_str("\\x");
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// The innermost part that is a unit and not a container's own scope.
fn unit(path: &str) -> Option<CompactString> {
    let is_unit = |name: &&str| {
        UNIT_SUFFIXES.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
            && container_id(name).is_none()
            && !name.contains("conmon-")
    };
    // systemd puts `_` before names that the kernel reserves.
    path.rsplit('/').find(is_unit).map(|name| name.strip_prefix('_').unwrap_or(name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4c1a0e9b7d5286aa0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566f";
    const INNER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    /// Path of one v2 line -> container id and unit.
    fn of(path: &str) -> (String, String) {
        let facts = CgroupFacts::parse(&format!("0::{}\n", path.replace("ID", ID).replace("INNER", INNER)));
        (facts.container_id.replace(ID, "ID"), facts.unit.replace(ID, "ID"))
    }

    #[test]
    fn cgroups_of_real_hosts_are_understood() {
        for (path, container, unit) in [
            // systemd
            ("/", "", ""),
            ("/init.scope", "", "init.scope"),
            ("/system.slice/nginx.service", "", "nginx.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "", "getty@tty1.service"),
            ("/system.slice/postgresql.service/worker", "", "postgresql.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "", "session-3.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", "", "init.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "", "web.service"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
                "",
                "vte-spawn-1.scope",
            ),
            ("/system.slice/cups.socket", "", "cups.socket"),
            ("/system.slice/_cpu.service", "", "cpu.service"),
            ("/system.slice", "", ""),
            // docker
            ("/docker/ID", "ID", ""),
            ("/system.slice/docker-ID.scope", "ID", ""),
            ("/system.slice/docker.service", "", "docker.service"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
                "ID",
                "user@1000.service",
            ),
            ("/docker/ID/system.slice/nginx.service", "ID", "nginx.service"),
            ("/system.slice:docker:ID", "ID", ""),
            ("/../ID", "ID", ""),
            // podman
            ("/machine.slice/libpod-ID.scope", "ID", ""),
            ("/machine.slice/libpod-ID.scope/container", "ID", ""),
            ("/machine.slice/libpod-conmon-ID.scope", "", ""),
            ("/system.slice/web.service/libpod-payload-ID", "ID", "web.service"),
            ("/libpod_parent/libpod-ID", "ID", ""),
            // kubernetes
            ("/kubepods/burstable/pod5c6a1f9e-8c66-4d5e-a2a6-a17b30d8b1aa/ID", "ID", ""),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod5c6a1f9e_8c66.slice/cri-containerd-ID.scope",
                "ID",
                "",
            ),
            ("/kubepods.slice/kubepods-pod5c6a1f9e.slice/crio-ID.scope", "ID", ""),
            ("/kubepods.slice/kubepods-pod5c6a1f9e.slice/crio-ID.scope/container", "ID", ""),
            ("/kubepods.slice/kubepods-pod5c6a1f9e.slice/crio-conmon-ID.scope", "", ""),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod5c.slice:cri-containerd:ID",
                "ID",
                "containerd.service",
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-ID.scope",
                "ID",
                "",
            ),
            // nested, others
            ("/system.slice/nerdctl-ID.scope", "ID", ""),
            (
                "/machine.slice/systemd-nspawn@web\\x2d1.service/payload",
                "web-1",
                "systemd-nspawn@web\\x2d1.service",
            ),
            ("/machine.slice/machine-build.scope", "build", "machine-build.scope"),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "", "machine-qemu\\x2d1\\x2dvm.scope"),
            ("/lxc.payload.web/system.slice/ssh.service", "web", "ssh.service"),
            ("/lxc/web", "web", ""),
            ("/ecs/0123456789abcdef0123456789abcdef/ID", "ID", ""),
        ] {
            assert_eq!(of(path), (container.to_owned(), unit.to_owned()), "{path}");
        }
    }

    #[test]
    fn the_inner_container_wins_and_fargate_has_its_own_ids() {
        assert_eq!(of("/docker/ID/docker/INNER").0, INNER);
        let fargate = "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890";
        assert_eq!(of(fargate).0, "0123456789abcdef0123456789abcdef-1234567890");
    }

    #[test]
    fn a_hybrid_host_knows_the_unit_in_the_systemd_hierarchy() {
        let facts = CgroupFacts::parse(
            "11:pids:/system.slice/ssh.service\n\
             9:memory:/system.slice/ssh.service\n\
             1:name=systemd:/system.slice/ssh.service\n\
             0::/system.slice/ssh.service\n",
        );
        assert_eq!(facts.unit, "ssh.service");
        let facts =
            CgroupFacts::parse("4:memory:/\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n0::/\n");
        assert_eq!(
            (facts.unit.as_str(), facts.path.as_str()),
            ("session-1.scope", "/user.slice/user-0.slice/session-1.scope")
        );
    }

    #[test]
    fn a_container_known_only_to_the_resource_hierarchies_is_found() {
        let facts = CgroupFacts::parse(&format!(
            "12:cpu,cpuacct:/docker/{ID}\n8:pids:/docker/{ID}\n4:memory:/docker/{ID}\n1:name=systemd:/\n0::/\n"
        ));
        assert_eq!((facts.container_id.as_str(), facts.path), (ID, format!("/docker/{ID}")));
    }

    #[test]
    fn rubbish_tells_nothing() {
        for text in ["", "\n", "0", "0:", "0::", "0::relative", ":::/x:y", "a:b:c"] {
            let facts = CgroupFacts::parse(text);
            assert!(facts.container_id.is_empty() && facts.unit.is_empty(), "{text:?}: {facts:?}");
        }
        assert_eq!(unescape("a\\x2"), "a\\x2");
        assert_eq!(unescape("\\xzz\\x2d"), "\\xzz-");
    }
}
