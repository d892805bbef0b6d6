//! Says for each job of capture which mechanism does it, why not a better one, and what to do.

use serde::Serialize;

use super::CaptureError;
use super::bpf::Attached;
use super::plan::{CapturePlan, FILE_ITERATOR};

/// Programs without which there are no packets.
pub(super) const PACKET_HOOKS: [&str; 2] = ["packet_egress", "packet_ingress"];

/// One job of capture on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobReport {
    /// Name: `packets`, `own_traffic`, `attribution`, `existing_sockets`, `tls`.
    pub job: &'static str,
    /// What does it.
    pub mechanism: String,
    /// Whether it is at work.
    pub attached: bool,
    /// What is missing and why; `None` if nothing is.
    pub why_not_better: Option<String>,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// Programs at work.
    pub programs: Vec<String>,
    /// Programs that are not.
    pub missing: Vec<MissingProgram>,
}

/// A program that does not run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingProgram {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Jobs of `packet.bpf.c`.
pub(super) fn packet_jobs(plan: &CapturePlan, attached: &Attached) -> Vec<JobReport> {
    let is_packet = |name: &str| PACKET_HOOKS.contains(&name);
    let at = plan
        .cgroup2
        .as_ref()
        .map_or("a cgroup2 root of our own".to_owned(), |path| path.display().to_string());
    vec![
        job("packets", format!("cgroup_skb at {at}"), plan, attached, is_packet),
        job("own_traffic", "marks in sockets".to_owned(), plan, attached, |name| !is_packet(name)),
    ]
}

/// Jobs of `socket.bpf.c`.
pub(super) fn socket_jobs(plan: &CapturePlan, attached: &Attached) -> Vec<JobReport> {
    let is_iterator = |name: &str| name == FILE_ITERATOR;
    let hooks = "cgroup socket hooks and BTF tracepoints".to_owned();
    vec![
        job("attribution", hooks, plan, attached, |name| !is_iterator(name)),
        job("existing_sockets", "iterator over open files".to_owned(), plan, attached, is_iterator),
    ]
}

/// The job of `tls.bpf.c`; what is attached to which file comes later.
pub(super) fn tls_job(plan: &CapturePlan, attached: &Attached) -> JobReport {
    let mut tls = job("tls", plan.uprobes.name().to_owned(), plan, attached, |_| true);
    tls.attached = true;
    tls
}

/// A job that nobody wants.
pub(super) fn switched_off(job: &'static str, advice: &str) -> JobReport {
    JobReport {
        job,
        mechanism: "none".to_owned(),
        attached: false,
        why_not_better: Some("switched off by the configuration".to_owned()),
        advice: Some(advice.to_owned()),
        programs: Vec::new(),
        missing: Vec::new(),
    }
}

/// A job that could not be started at all.
pub(super) fn failed(job: &'static str, error: &CaptureError) -> JobReport {
    JobReport {
        job,
        mechanism: "none".to_owned(),
        attached: false,
        why_not_better: Some(error.to_string()),
        advice: None,
        programs: Vec::new(),
        missing: Vec::new(),
    }
}

fn job(
    job: &'static str,
    mechanism: String,
    plan: &CapturePlan,
    attached: &Attached,
    belongs: impl Fn(&str) -> bool,
) -> JobReport {
    let programs: Vec<_> = attached.programs.iter().filter(|name| belongs(name)).cloned().collect();
    let missing: Vec<_> = attached
        .missing
        .iter()
        .filter(|(name, _)| belongs(name))
        .map(|(name, why)| MissingProgram { name: name.clone(), why: why.clone() })
        .collect();
    let why = missing.iter().map(|program| format!("{}: {}", program.name, program.why)).collect::<Vec<_>>();
    JobReport {
        job,
        mechanism,
        attached: !programs.is_empty(),
        why_not_better: (!why.is_empty()).then(|| why.join("; ")),
        advice: plan.advice.clone().filter(|_| !missing.is_empty()),
        programs,
        missing,
    }
}
