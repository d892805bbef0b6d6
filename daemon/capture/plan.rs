//! Decides from probed facts what to load, and says why it is not more. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::CaptureError;
use super::bpf::UprobeMethod;
use super::host_support::Facts;

/// Tracepoints that programs of `bpf/socket.bpf.c` attach to.
pub(super) const TRACEPOINTS: [&str; 7] = [
    "tcp_rcv_space_adjust",
    "sock_send_length",
    "sock_recv_length",
    "inet_sock_set_state",
    "tcp_destroy_sock",
    "sched_process_exec",
    "sched_process_exit",
];

/// Program, the tracepoint it needs, and what is missed without it.
const TRACING_PROGRAMS: [(&str, &str, &str); 7] = [
    ("owner_tcp_read", "tcp_rcv_space_adjust", "who reads from an inherited TCP socket"),
    ("owner_send", "sock_send_length", "who writes to an inherited socket, before it reads"),
    ("owner_recv", "sock_recv_length", "who reads from an inherited UDP socket"),
    ("state_change", "inet_sock_set_state", "which listener accepted a connection"),
    ("tcp_destroy", "tcp_destroy_sock", "when a TCP socket is gone"),
    ("process_exec", "sched_process_exec", "the executable of processes that end at once"),
    ("process_exit", "sched_process_exit", "when a process is gone"),
];

/// Name of the iterator program over existing sockets.
pub(super) const FILE_ITERATOR: &str = "existing_sockets";

/// Name of the iterator program over connections to the daemon that exist already.
pub(super) const OWN_ITERATOR: &str = "own_existing";

/// Linux whose tracing programs may use `bpf_get_socket_cookie` and `bpf_sk_storage_get`.
const SOCKET_HELPERS: (u32, u32) = (5, 12);
/// Linux that lets iterators use `bpf_sock_from_file`.
const SOCK_FROM_FILE: (u32, u32) = (5, 11);
/// Oldest Linux that the programs are made for.
const OLDEST: (u32, u32) = (5, 10);

const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// What to load on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CapturePlan {
    /// Mounted cgroup2 root; `None`: mount one.
    pub(super) cgroup2: Option<PathBuf>,
    /// Tracing programs may use `bpf_get_socket_cookie` and `bpf_sk_storage_get`.
    pub(super) has_socket_helpers: bool,
    /// Programs of `socket.bpf.c` that this kernel cannot run, with the reason.
    pub(super) without: BTreeMap<String, String>,
    /// Programs of `socket.bpf.c` that better ones make needless here.
    pub(super) needless: Vec<&'static str>,
    /// Programs of `tls.bpf.c` that this kernel cannot run, with the reason.
    pub(super) tls_without: BTreeMap<String, String>,
    /// Programs of `tls.bpf.c` that better ones make needless here.
    pub(super) tls_needless: Vec<&'static str>,
    /// How probes at TLS libraries are attached.
    pub(super) uprobes: UprobeMethod,
    /// What the user could do to get more.
    pub(super) advice: Option<String>,
}

/// Decides. An error if nothing at all can work here.
pub(super) fn plan(facts: &Facts) -> Result<CapturePlan, CaptureError> {
    let unsupported =
        |why: String, advice: &str| Err(CaptureError::Unsupported { why, advice: advice.to_owned() });
    if !may_load(facts.capabilities) {
        return Err(CaptureError::NotPermitted { job: "packets" });
    }
    if facts.kernel < OLDEST {
        let (major, minor) = facts.kernel;
        return unsupported(format!("Linux {major}.{minor} is too old"), "use Linux 5.10 or later");
    }
    if facts.lockdown == "confidentiality" {
        return unsupported(
            "the kernel is locked down to confidentiality, which forbids eBPF to read memory".to_owned(),
            "boot with lockdown=integrity",
        );
    }
    Ok(CapturePlan {
        cgroup2: facts.cgroup2.clone(),
        has_socket_helpers: facts.kernel >= SOCKET_HELPERS,
        without: impossible_programs(facts),
        needless: needless_programs(facts),
        tls_without: impossible_witnesses(facts),
        tls_needless: needless_witnesses(facts),
        uprobes: if facts.has_uprobe_multi { UprobeMethod::Multi } else { UprobeMethod::Perf },
        advice: advice(facts),
    })
}

/// Loading needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; CAP_SYS_ADMIN stands for the first two.
fn may_load(capabilities: u64) -> bool {
    let has = |mask: u64| capabilities & mask == mask;
    has(CAP_NET_ADMIN) && (has(CAP_SYS_ADMIN) || has(CAP_BPF | CAP_PERFMON))
}

fn impossible_programs(facts: &Facts) -> BTreeMap<String, String> {
    let mut without = BTreeMap::new();
    for (program, tracepoint, missed) in TRACING_PROGRAMS {
        if !facts.tracepoints.contains(tracepoint) {
            let why = if facts.has_btf { "this kernel has no tracepoint" } else { "without BTF there is no" };
            without.insert(program.to_owned(), format!("{why} {tracepoint}; not known: {missed}"));
        }
    }
    if !facts.has_file_iterator || facts.kernel < SOCK_FROM_FILE {
        let why = "this kernel cannot iterate over open sockets; those that existed before the start are \
                   named at their first transfer";
        without.insert(FILE_ITERATOR.to_owned(), why.to_owned());
    }
    without
}

/// Every hook taxes every read of every process, so two that see the same are one too many.
fn needless_programs(facts: &Facts) -> Vec<&'static str> {
    if facts.tracepoints.contains("sock_recv_length") { vec!["owner_tcp_read"] } else { Vec::new() }
}

/// Witnesses of which socket a TLS session uses: program, the tracepoint it needs, what is missed.
const WITNESSES: [(&str, &str, &str); 3] = [
    ("tls_socket_send", "sock_send_length", "the exact socket that a TLS library sent on"),
    ("tls_socket_receive", "sock_recv_length", "the exact socket that a TLS library read"),
    ("tls_tcp_read", "tcp_rcv_space_adjust", "the socket that a TLS library read"),
];

fn impossible_witnesses(facts: &Facts) -> BTreeMap<String, String> {
    let lacks = WITNESSES.iter().filter(|(_, tracepoint, _)| !facts.tracepoints.contains(tracepoint));
    lacks
        .map(|(program, tracepoint, missed)| {
            (
                (*program).to_owned(),
                format!("this kernel has no tracepoint {tracepoint}; not known: {missed}"),
            )
        })
        .collect()
}

/// Stand-ins where the real thing is there.
fn needless_witnesses(facts: &Facts) -> Vec<&'static str> {
    let has = |tracepoint: &str| facts.tracepoints.contains(tracepoint);
    let stand_ins = [("sock_recv_length", "tls_tcp_read"), ("sock_send_length", "tls_egress")];
    stand_ins.into_iter().filter(|(tracepoint, _)| has(tracepoint)).map(|(_, program)| program).collect()
}

fn advice(facts: &Facts) -> Option<String> {
    if !facts.has_btf {
        return Some("use a kernel built with CONFIG_DEBUG_INFO_BTF".to_owned());
    }
    let lacks = TRACING_PROGRAMS.iter().any(|(_, tracepoint, _)| !facts.tracepoints.contains(tracepoint));
    lacks.then(|| "use Linux 6.3 or later, which has all tracepoints".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern() -> Facts {
        Facts {
            kernel: (6, 12),
            cgroup2: Some(PathBuf::from("/sys/fs/cgroup")),
            has_btf: true,
            tracepoints: TRACEPOINTS.into_iter().collect(),
            has_file_iterator: true,
            has_uprobe_multi: true,
            lockdown: "integrity".to_owned(),
            capabilities: u64::MAX,
        }
    }

    #[test]
    fn a_modern_kernel_runs_everything() {
        let plan = plan(&modern()).expect("supported");
        assert!(plan.without.is_empty() && plan.advice.is_none() && plan.has_socket_helpers);
        assert!(plan.tls_without.is_empty() && plan.uprobes == UprobeMethod::Multi);
        assert_eq!(plan.tls_needless, ["tls_tcp_read", "tls_egress"]);
    }

    #[test]
    fn linux_5_10_runs_without_what_it_lacks_and_says_so() {
        let mut facts = Facts { kernel: (5, 10), has_uprobe_multi: false, ..modern() };
        facts.tracepoints.remove("sock_send_length");
        facts.tracepoints.remove("sock_recv_length");
        let plan = plan(&facts).expect("supported");
        assert!(plan.needless.is_empty() && plan.tls_needless.is_empty());
        assert_eq!(plan.uprobes, UprobeMethod::Perf);
        assert_eq!(plan.tls_without.len(), 2);
        let without: Vec<_> = plan.without.keys().map(String::as_str).collect();
        assert_eq!(without, ["existing_sockets", "owner_recv", "owner_send"]);
        assert!(!plan.has_socket_helpers);
        assert!(plan.advice.expect("advice").contains("6.3"));
    }

    #[test]
    fn missing_rights_are_named() {
        let weak = Facts { capabilities: CAP_BPF | CAP_PERFMON, ..modern() };
        assert!(plan(&weak).expect_err("no CAP_NET_ADMIN").to_string().contains("CAP_NET_ADMIN"));
        let enough = Facts { capabilities: CAP_BPF | CAP_PERFMON | CAP_NET_ADMIN, ..modern() };
        assert!(plan(&enough).is_ok());
        let old_style = Facts { capabilities: CAP_SYS_ADMIN | CAP_NET_ADMIN, ..modern() };
        assert!(plan(&old_style).is_ok());
    }

    #[test]
    fn confidentiality_lockdown_is_an_error_with_a_way_out() {
        let locked = Facts { lockdown: "confidentiality".to_owned(), ..modern() };
        assert!(plan(&locked).expect_err("locked").to_string().contains("lockdown=integrity"));
    }
}
