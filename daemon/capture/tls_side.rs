//! The TLS half of capture: its object, its discovery and its report.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use libbpf_rs::MapHandle;

use super::bpf::{self, LoadOptions, RingSource};
use super::plan::CapturePlan;
use super::report::{self, JobReport};
use super::scope::{self, Executables, TlsScopeMaps};
use super::tls::{self, Census, DiscoveryHandle, Noticing};
use super::{CaptureConfig, CaptureError};

/// Most bytes of a message that the programs can take: their chunks times their size.
const MAX_MESSAGE_BYTES: u32 = 2 << 20;

/// What looks into TLS libraries.
#[derive(Debug)]
pub(super) struct TlsSide {
    discovery: DiscoveryHandle,
    census: Arc<Census>,
    counters: MapHandle,
    scope: Arc<TlsScopeMaps>,
    executables: Arc<Executables>,
    takes_secrets: bool,
}

/// Starts it. Whatever goes wrong, the rest of capture works, and the report says what.
pub(super) fn start(
    config: &CaptureConfig,
    plan: &CapturePlan,
    cgroup: BorrowedFd<'_>,
) -> (Option<TlsSide>, Option<RingSource>, JobReport) {
    if !config.tls {
        return (None, None, report::switched_off("tls", "set tls.enabled = true"));
    }
    match try_start(config, plan, cgroup) {
        Ok((side, source)) => {
            let job = report::tls_job(plan, &source.attached);
            (Some(side), Some(source), job)
        }
        Err(error) => (None, None, report::failed("tls", &error)),
    }
}

fn try_start(
    config: &CaptureConfig,
    plan: &CapturePlan,
    cgroup: BorrowedFd<'_>,
) -> Result<(TlsSide, RingSource), CaptureError> {
    let loaded = bpf::load_tls(&LoadOptions {
        has_socket_helpers: plan.has_socket_helpers,
        without: plan.tls_without.clone(),
        needless: plan.tls_needless.clone(),
        uprobes: Some(plan.uprobes),
        message_budget: config.tls_message_bytes.min(MAX_MESSAGE_BYTES),
        ..super::options(config, config.tls_ring_bytes)
    })?;
    let scope = Arc::new(TlsScopeMaps::of(&loaded)?);
    scope.set(&config.scope, &scope::resolve(plan.cgroup2.as_deref(), config.container_of, &config.scope))?;
    let executables = Arc::new(Executables::of(&loaded)?);
    executables.set(&config.scope)?;
    let counters = loaded.map("tls_counters")?;
    let attached = bpf::attach_all(&loaded, cgroup, &[]);
    let census = Arc::new(Census::default());
    let object = Arc::clone(&loaded.object);
    let scoped = Arc::clone(&executables);
    let discovery = tls::spawn(object, plan.uprobes, config, Arc::clone(&census), scoped)?;
    let takes_secrets = config.tls_secrets;
    let side = TlsSide { discovery, census, counters, scope, executables, takes_secrets };
    Ok((side, RingSource { loaded, attached }))
}

impl TlsSide {
    pub(super) fn noticing(&self) -> Noticing {
        self.discovery.noticing()
    }

    pub(super) fn census(&self) -> &Arc<Census> {
        &self.census
    }

    pub(super) fn counters(&self) -> &MapHandle {
        &self.counters
    }

    /// By what the kernel knows whose plaintext is wanted.
    pub(super) fn scope(&self) -> (Arc<TlsScopeMaps>, Arc<Executables>) {
        (Arc::clone(&self.scope), Arc::clone(&self.executables))
    }

    /// Says what has been attached by now.
    pub(super) fn add_to(&self, job: &mut JobReport) {
        let totals = self.census.totals();
        let secrets = if self.takes_secrets { "; takes key material (tls.keylog)" } else { "" };
        job.mechanism = format!("{} at {} files{secrets}", job.mechanism, totals.attached_files);
        if totals.failures > 0 && job.why_not_better.is_none() {
            let failures = totals.failures;
            job.why_not_better =
                Some(format!("{failures} files with TLS could not be attached to, or not wholly"));
            job.advice = Some("see `remora doctor tls`".to_owned());
        }
    }

    pub(super) fn stop(&mut self) {
        self.discovery.stop();
    }
}
