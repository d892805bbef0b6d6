//! What the API may ask of the running daemon: status, flows, doctor, dissection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::api::schema::{
    Attempt, Doctor, DoctorJob, DropStatus, Finding, Flow, FlowEnd, FlowTls, QueueStatus, RawCapture,
    RungStatus, StageStatus, Status, TlsDoctor, TlsProcess, TlsUse,
};
use crate::api::{Control, ControlError};
use crate::archive::State;
use crate::capture::{self, Capture, JobReport, KernelCounters};
use crate::engine::model::{NodeInfo, Stage, Timestamp};
use crate::engine::shard::{self, FlowInfo};
use crate::pipeline::Handle;
use crate::resolve::Directory;
use crate::runtime::clock;
use crate::store::{Setting, Store};
use crate::tap::{Notice, Tap};
use crate::telemetry::{Metric, Metrics};

/// How long a view of the flows waits for busy shards.
const FLOWS_PATIENCE: Duration = Duration::from_secs(2);

/// The running daemon behind the API.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) node: Arc<NodeInfo>,
    pub(super) started: Timestamp,
    /// `None` once capture was stopped: the API answers until the drain is over.
    pub(super) capture: Arc<Mutex<Option<Capture>>>,
    pub(super) pipeline: Handle,
    pub(super) directory: Arc<Directory>,
    pub(super) tap: Tap,
    pub(super) store: Arc<Store>,
    pub(super) storing: bool,
    pub(super) raw: super::raw::Asked,
    pub(super) undissected: Option<Arc<super::undissected::Undissected>>,
    pub(super) metrics: Arc<Metrics>,
    /// What a start of this daemon found missing, besides capture: privileges, limits.
    pub(super) findings: Vec<Finding>,
}

impl Control for Running {
    fn status(&self) -> Status {
        let drops = self.drops();
        let stages = vec![self.capture_stage(), self.pipeline_stage(), self.store_stage(), self.raw_stage()];
        let bad = stages.iter().filter(|stage| stage.state == "degraded").count() as u64;
        let lost: u64 = drops.iter().filter(|drop| is_loss(&drop.reason)).map(|drop| drop.count).sum();
        let message = match (bad, lost) {
            (0, 0) => "everything is captured and nothing was lost".to_string(),
            (0, _) => format!("{lost} pieces of work were lost since the start; see drops"),
            _ => "a part of the data path does not work; see stages".to_string(),
        };
        let now = clock::now();
        Status {
            status: if bad > 0 {
                "error"
            } else if lost > 0 {
                "issues"
            } else {
                "ok"
            }
            .to_string(),
            message,
            error_count: bad,
            uptime: uptime(now.since(self.started)),
            started_at: clock::rfc3339(self.started),
            version: env!("CARGO_PKG_VERSION").to_string(),
            node: self.node.name.to_string(),
            dissection_enabled: self.pipeline.is_dissecting(),
            stages,
            queues: self.queues(),
            drops,
            rungs: self.jobs().iter().map(rung).collect(),
            ..Status::default()
        }
    }

    fn dissection_enabled(&self) -> bool {
        self.pipeline.is_dissecting()
    }

    fn set_dissection(&self, enabled: bool) -> Result<(), ControlError> {
        let value = if enabled { "false" } else { "true" };
        self.store
            .set_setting(Setting::DissectionPaused, Some(value))
            .map_err(|error| ControlError::Internal(error.to_string()))?;
        self.pipeline.set_dissecting(enabled);
        if let Some(undissected) = &self.undissected {
            undissected.switched(enabled);
        }
        self.metrics.set(Metric::PipelinePaused, u64::from(!enabled));
        self.tap.announce(if enabled { &Notice::Resumed } else { &Notice::Paused });
        tracing::info!(enabled, "dissection switched");
        Ok(())
    }

    fn look_back(&self, from: Timestamp) {
        if let Some(undissected) = &self.undissected {
            undissected.ask(from);
        }
    }

    fn raw_capture(&self) -> RawCapture {
        self.raw.shown()
    }

    fn set_raw_capture(&self, enabled: bool) -> Result<(), ControlError> {
        let Some(archive) = &self.raw.archive else {
            return Err(ControlError::Unavailable(self.raw.status().detail));
        };
        self.store
            .set_setting(Setting::RawCapture, Some(if enabled { "true" } else { "false" }))
            .map_err(|error| ControlError::Internal(error.to_string()))?;
        archive.set_enabled(enabled);
        Ok(())
    }

    fn flows(&self) -> Vec<Flow> {
        self.pipeline.flows(FLOWS_PATIENCE).into_iter().map(|flow| self.shown(flow)).collect()
    }

    fn doctor(&self) -> Doctor {
        let jobs: Vec<DoctorJob> = self.jobs().iter().map(diagnosis).collect();
        let mut findings = self.findings.clone();
        findings.extend(self.loss_findings());
        if !self.pipeline.is_dissecting() {
            findings.push(Finding {
                severity: "warning".to_string(),
                what: "dissection is paused: no entries are made".to_string(),
                advice: "resume it with `remora dissection resume`".to_string(),
            });
        }
        let degraded = jobs.iter().filter(|job| job.state != "ok").count();
        let summary = match (degraded, findings.len()) {
            (0, 0) => "every job is done by its best mechanism".to_string(),
            (0, 1) => "every job is done by its best mechanism; one thing to know".to_string(),
            (0, n) => format!("every job is done by its best mechanism; {n} things to know"),
            (n, _) => format!("{n} of {} jobs could be done better", jobs.len()),
        };
        Doctor {
            healthy: degraded == 0 && findings.iter().all(|finding| finding.severity == "info"),
            summary,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            jobs,
            findings,
        }
    }

    fn tls(&self) -> TlsDoctor {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(capture) = capture.as_ref() else { return TlsDoctor::default() };
        let processes = capture.tls_processes().into_iter().map(tls_process).collect();
        TlsDoctor { settled: capture.has_seen_tls_of_all(), processes }
    }

    fn metrics_text(&self) -> String {
        self.take_counters();
        self.take_gauges();
        self.metrics.render()
    }
}

impl Running {
    /// For `systemctl status`.
    pub(super) fn one_line(&self) -> String {
        let packets = self.metrics.get(Metric::PipelinePackets);
        let entries = self.metrics.get(Metric::PipelineEntries);
        let paused = if self.pipeline.is_dissecting() { "" } else { ", dissection paused" };
        format!("{entries} entries from {packets} packets, {} subscribers{paused}", self.tap.subscribers())
    }

    fn jobs(&self) -> Vec<JobReport> {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        capture.as_ref().map(Capture::jobs).unwrap_or_default()
    }

    /// Reads the kernel's counters and makes its losses visible among all others.
    fn take_counters(&self) -> KernelCounters {
        let counters = {
            let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
            match capture.as_ref().map(Capture::counters) {
                Some(Ok(counters)) => counters,
                Some(Err(error)) => {
                    tracing::warn!("reading the kernel's counters failed: {error}");
                    return KernelCounters::default();
                }
                None => return KernelCounters::default(),
            }
        };
        let drops = self.metrics.drops();
        for (reason, count) in counters.losses() {
            drops.set(reason, count);
        }
        self.metrics.set(Metric::CapturePackets, counters.captured + counters.truncated);
        self.metrics.set(Metric::CaptureBytes, counters.bytes);
        self.metrics.set(Metric::CaptureSocketEvents, counters.socket_events);
        counters
    }

    /// Reads what other parts keep count of themselves.
    fn take_gauges(&self) {
        let stats = self.store.stats();
        self.metrics.set(Metric::StoreEntries, stats.entries);
        self.metrics.set(Metric::StoreFileBytes, stats.file_bytes);
        self.metrics.set(Metric::StreamSubscribers, self.tap.subscribers() as u64);
        self.metrics.set(Metric::StreamEntries, self.tap.delivered());
        self.metrics.set(Metric::ProcessResidentBytes, resident_bytes());
        let raw = self.raw.status();
        self.metrics.set(Metric::RawRecording, u64::from(raw.state == State::Recording));
        self.metrics.set(Metric::RawBytes, raw.bytes);
        self.metrics.set(Metric::RawSegments, raw.segments);
        self.metrics.set(Metric::RawWrittenBytes, raw.written_bytes);
        self.metrics.set(Metric::RawWrittenRecords, raw.written_records);
    }

    /// The rung of each capture job, for the metrics.
    pub(super) fn rungs(&self) -> Vec<(&'static str, u64)> {
        let rank = |job: &JobReport| match (job.attached, &job.why_not_better) {
            (false, _) => 0,
            (true, None) => 1,
            (true, Some(_)) => 2,
        };
        self.jobs().iter().map(|job| (job.job, rank(job))).collect()
    }

    fn drops(&self) -> Vec<DropStatus> {
        self.take_counters();
        self.metrics
            .drops()
            .snapshot()
            .into_iter()
            .map(|(reason, count)| DropStatus {
                reason: reason.name().to_string(),
                count,
                stage: stage_name(reason.stage()).to_string(),
                meaning: reason.describe().to_string(),
            })
            .collect()
    }

    fn queues(&self) -> Vec<QueueStatus> {
        self.pipeline
            .depths()
            .into_iter()
            .map(|depth| QueueStatus {
                name: depth.name.to_string(),
                items: depth.items as u64,
                bytes: depth.bytes as u64,
                capacity_bytes: depth.capacity_bytes as u64,
            })
            .collect()
    }

    fn capture_stage(&self) -> StageStatus {
        let counters = self.take_counters();
        let jobs = self.jobs();
        let attached = !jobs.is_empty() && jobs.iter().any(|job| job.job == "packets" && job.attached);
        StageStatus {
            name: "capture".to_string(),
            state: if attached { "ok" } else { "off" }.to_string(),
            detail: jobs
                .iter()
                .map(|job| format!("{}: {}", job.job, job.mechanism))
                .collect::<Vec<_>>()
                .join("; "),
            counters: numbers(&[
                ("seen", counters.seen),
                ("captured", counters.captured),
                ("truncated", counters.truncated),
                ("bytes", counters.bytes),
                ("ring_full", counters.ring_full),
                ("unreadable", counters.unreadable),
                ("not_ip", counters.not_ip),
                ("excluded_own", counters.excluded_own),
                ("excluded_scope", counters.excluded_scope),
                ("socket_events", counters.socket_events),
                ("tls_calls", counters.tls_calls),
                ("tls_bytes", counters.tls_bytes),
                ("tls_chunks", counters.tls_chunks),
                ("tls_disagreed", counters.tls_disagreed),
                ("tls_postponed", counters.tls_postponed),
            ]),
        }
    }

    fn pipeline_stage(&self) -> StageStatus {
        let paused = !self.pipeline.is_dissecting();
        StageStatus {
            name: "pipeline".to_string(),
            state: if paused { "paused" } else { "ok" }.to_string(),
            detail: if paused { "flows are counted, entries are not made" } else { "" }.to_string(),
            counters: numbers(&[
                ("packets", self.metrics.get(Metric::PipelinePackets)),
                ("connections", self.metrics.get(Metric::PipelineConnections)),
                ("tls_pieces", self.metrics.get(Metric::PipelineTlsPieces)),
                ("tls_disagreements", self.metrics.get(Metric::PipelineTlsDisagreements)),
                ("entries", self.metrics.get(Metric::PipelineEntries)),
            ]),
        }
    }

    fn store_stage(&self) -> StageStatus {
        let stats = self.store.stats();
        let state = match (&stats.degraded, self.storing) {
            (_, false) => "off",
            (Some(_), true) => "degraded",
            (None, true) => "ok",
        };
        StageStatus {
            name: "store".to_string(),
            state: state.to_string(),
            detail: stats.degraded.clone().unwrap_or_default(),
            counters: numbers(&[
                ("entries", stats.entries),
                ("file_bytes", stats.file_bytes),
                ("max_bytes", stats.max_bytes),
                ("first_seq", stats.first_seq),
                ("last_seq", stats.last_seq),
                ("committed_seq", stats.committed_seq),
                ("trimmed_entries", stats.trimmed_entries),
                ("damaged_blocks", stats.damaged_blocks),
                ("oldest_ms", stats.oldest.millis()),
                ("newest_ms", stats.newest.millis()),
            ]),
        }
    }

    fn raw_stage(&self) -> StageStatus {
        let status = self.raw.status();
        StageStatus {
            name: "raw".to_string(),
            state: match status.state {
                State::Recording => "ok",
                State::Off => "off",
                State::Failed | State::Stalled => "degraded",
            }
            .to_string(),
            detail: status.detail,
            counters: numbers(&[
                ("segments", status.segments),
                ("bytes", status.bytes),
                ("max_bytes", status.max_bytes),
                ("packets", status.packets),
                ("written_bytes", status.written_bytes),
                ("written_records", status.written_records),
                ("dropped", status.dropped),
                ("bytes_per_second", status.rate),
            ]),
        }
    }

    fn loss_findings(&self) -> Vec<Finding> {
        self.drops()
            .into_iter()
            .filter(|drop| drop.count > 0 && is_loss(&drop.reason))
            .map(|drop| Finding {
                severity: "warning".to_string(),
                what: format!("{}: {} {}", drop.reason, drop.count, drop.meaning),
                advice: advice_for(&drop.reason).to_string(),
            })
            .collect()
    }

    fn shown(&self, flow: FlowInfo) -> Flow {
        let tcp = flow.tcp.as_ref().map(metrics_of).unwrap_or_default();
        Flow {
            id: flow.id.0.to_string(),
            protocol: flow.protocol.to_string(),
            application: flow.application.unwrap_or_default().to_string(),
            state: serde_json::to_value(flow.state)
                .ok()
                .and_then(|state| state.as_str().map(str::to_string))
                .unwrap_or_default(),
            client: self.end(&flow.client, flow.to_server),
            server: self.end(&flow.server, flow.to_client),
            started_at: clock::rfc3339(flow.first_seen),
            last_seen_at: clock::rfc3339(flow.last_seen),
            tls: flow.tls.map(shown_tls),
            tcp,
        }
    }

    fn end(&self, end: &shard::FlowEnd, sent: shard::FlowTraffic) -> FlowEnd {
        let process = self.directory.process_of(end.socket);
        let mut shown = FlowEnd {
            ip: end.addr.ip.to_string(),
            port: end.addr.port,
            packets: sent.packets,
            bytes: sent.bytes,
            ..FlowEnd::default()
        };
        if let Some(process) = process {
            shown.pid = process.pid;
            shown.process = process.name.to_string();
            shown.unit = process.unit.to_string();
            shown.container_id = process.container_id.to_string();
            shown.name = if process.unit.is_empty() { shown.process.clone() } else { shown.unit.clone() };
        }
        shown
    }
}

fn shown_tls(tls: shard::FlowTls) -> FlowTls {
    FlowTls {
        sni: tls.sni.to_string(),
        version: tls.version.to_string(),
        cipher_suite: tls.cipher_suite.to_string(),
        alpn: tls.alpn.to_string(),
        ja4: tls.ja4.to_string(),
        alert: tls.alert.unwrap_or_default().to_string(),
        decrypted: tls.decrypted,
        library: tls.library.unwrap_or_default().to_string(),
        witness: tls.witness.unwrap_or_default().to_string(),
    }
}

/// Resident memory of this process; the rings are mapped twice, so their pages count twice. 0 if `/proc`
/// does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Reasons that are a choice and no loss.
fn is_loss(reason: &str) -> bool {
    !matches!(
        reason,
        "dissection_paused" | "not_ip" | "packet_truncated" | "sequence_hole" | "tls_hole" | "tls_unrouted"
    )
}

fn advice_for(reason: &str) -> &'static str {
    match reason {
        "ring_full" => "raise capture.ring-size, or leave more out with capture.exclude",
        "socket_ring_full" => "raise capture.socket-ring-size",
        "tls_ring_full" => "raise tls.ring-size, or leave more out with capture.exclude",
        "tls_over_budget" => "raise tls.max-message if whole messages are wanted",
        "shard_queue_full" => "raise dissection.shards, or leave more out with capture.exclude",
        "connection_limit" => "raise dissection.max-connections",
        "subscriber_slow" => "use a narrower filter, or read faster",
        "raw_queue_full" => "put store.path on a faster disk, or stop raw capture with capture.raw = false",
        "raw_failed" => "free space on the disk of store.path; `remora status` has the disk's own words",
        "store_failed" => "free space on the disk of store.path; the log has the disk's own words",
        "tls_queue_full" => "raise dissection.shards, or leave more out with capture.exclude",
        "tls_unbound" | "tls_unrouted" | "tls_disagreement" | "tls_held_limit" => {
            "see docs/tls.md for how plaintext is tied to connections"
        }
        _ => "see docs/architecture.md for what it means",
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Capture => "capture",
        Stage::Pipeline => "pipeline",
        Stage::Store => "store",
        Stage::Stream => "stream",
    }
}

fn numbers(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, value)| ((*name).to_string(), *value)).collect()
}

fn rung(job: &JobReport) -> RungStatus {
    RungStatus {
        job: job.job.to_string(),
        mechanism: job.mechanism.clone(),
        best: job.why_not_better.is_none(),
        why: job.why_not_better.clone().unwrap_or_default(),
    }
}

fn diagnosis(job: &JobReport) -> DoctorJob {
    let state = match (job.attached, &job.why_not_better) {
        (false, _) => "off",
        (true, Some(_)) => "degraded",
        (true, None) => "ok",
    };
    let at_work = job.programs.iter().map(|name| (name.clone(), "in use".to_string()));
    let missing = job.missing.iter().map(|program| (program.name.clone(), program.why.clone()));
    let advice = match (&job.why_not_better, &job.advice) {
        (Some(why), Some(advice)) => format!("{why}; {advice}"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => String::new(),
    };
    DoctorJob {
        job: job.job.to_string(),
        state: state.to_string(),
        mechanism: job.mechanism.clone(),
        attempts: at_work.chain(missing).map(|(mechanism, outcome)| Attempt { mechanism, outcome }).collect(),
        advice,
    }
}

fn tls_process(process: capture::TlsProcess) -> TlsProcess {
    let seen = process.seen;
    TlsProcess {
        pid: process.pid,
        name: process.name,
        libraries: process.libraries.into_iter().map(tls_use).collect(),
        reason: process.reason,
        bytes_read: seen.bytes_read,
        bytes_written: seen.bytes_written,
        chunks: numbers(&[
            ("in_call", seen.in_call),
            ("descriptor", seen.descriptor),
            ("nearby_transfer", seen.nearby_transfer),
            ("unbound", seen.unbound),
        ]),
    }
}

fn tls_use(used: capture::TlsUse) -> TlsUse {
    TlsUse {
        library: used.library.name().to_string(),
        version: used.version,
        path: used.path,
        found_by: used.found_by.to_string(),
        functions: used.functions,
        costly: used.is_costly,
        attached: used.attached,
        reason: used.reason,
    }
}

/// TCP metrics by the names that they are serialised with.
fn metrics_of(report: &crate::engine::flow::TcpReport) -> BTreeMap<String, u64> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(report) else { return BTreeMap::new() };
    fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// `2h15m30s`.
fn uptime(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
