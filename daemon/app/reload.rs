//! SIGHUP: reads the configuration again and applies what can change while running.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::unistd::User;

use super::control::Running;
use crate::capture::{Capture, CgroupRule, Scope, ScopeLists};
use crate::config::{
    Config, DissectionConfig, GrpcConfig, ScopeConfig, Sources, TlsConfig, TlsScopeConfig,
    descriptors as files,
};
use crate::engine::protobuf::{DescriptorSet, Schemas};
use crate::runtime::notify;
use crate::telemetry::{Metric, logs};

/// Applies new configuration; keeps the old one when the new one is wrong.
#[derive(Debug)]
pub(super) struct Reload {
    present: Mutex<Config>,
    sources: Sources,
    capture: Arc<Mutex<Option<Capture>>>,
    running: Arc<Running>,
    schemas: Schemas,
}

impl Reload {
    pub(super) fn new(
        present: Config,
        sources: Sources,
        capture: Arc<Mutex<Option<Capture>>>,
        running: &Arc<Running>,
        schemas: Schemas,
    ) -> Self {
        Self { present: Mutex::new(present), sources, capture, running: Arc::clone(running), schemas }
    }

    /// One reload, with its result in the log and the metrics.
    pub(super) fn run(&self) {
        notify::reloading();
        match self.apply() {
            Ok(later) => {
                self.running.metrics.add(Metric::ConfigReloads, 1);
                tracing::info!("configuration reloaded");
                if !later.is_empty() {
                    tracing::warn!("changes in {} take effect after a restart", later.join(", "));
                }
            }
            Err(error) => {
                self.running.metrics.add(Metric::ConfigReloadFailures, 1);
                tracing::error!("configuration not reloaded, the old one stays: {error:#}");
            }
        }
        notify::ready();
    }

    /// Returns the sections whose changes need a restart.
    fn apply(&self) -> Result<Vec<&'static str>> {
        let new = Config::load(&self.sources)?;
        let scope = scope(&new)?;
        let descriptors = descriptors(&new.dissection)?;
        logs::set_level(&new.log.level)?;
        if let Some(capture) = self.capture.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            capture.set_scope(&scope)?;
        }
        self.schemas.replace(descriptors);
        self.running.store.set_limits(super::store_limits(&new));
        if let Some(archive) = &self.running.raw.archive {
            archive.set_limits(new.capture.raw_size.0, new.capture.raw_age());
        }
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let later = needs_restart(&present, &new);
        *present = new;
        Ok(later)
    }
}

fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let rings = |config: &Config| (config.capture.ring_size, config.capture.socket_ring_size);
    // Scopes and descriptors take effect at once.
    let tls = |config: &Config| TlsConfig {
        include: TlsScopeConfig::default(),
        exclude: TlsScopeConfig::default(),
        ..config.tls.clone()
    };
    let dissection =
        |config: &Config| DissectionConfig { grpc: GrpcConfig::default(), ..config.dissection.clone() };
    let places = |config: &Config| (config.store.enabled, config.store.path.clone());
    [
        ("node", old.node != new.node),
        ("listen", old.listen != new.listen),
        ("access", old.access != new.access),
        ("capture ring sizes", rings(old) != rings(new)),
        ("tls", tls(old) != tls(new)),
        ("capture.raw", old.capture.raw != new.capture.raw),
        ("dissection", dissection(old) != dissection(new)),
        ("store.enabled or store.path", places(old) != places(new)),
        ("stream", old.stream != new.stream),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

/// What the configured folder says of gRPC messages; files that cannot be used are in the log.
pub(super) fn descriptors(config: &DissectionConfig) -> Result<DescriptorSet> {
    let Some(folder) = config.grpc.descriptors() else { return Ok(DescriptorSet::default()) };
    let (set, left_out) = files::read(folder)?;
    for problem in left_out {
        tracing::warn!("{problem}");
    }
    tracing::info!(methods = set.methods(), "descriptors of gRPC messages read from {}", folder.display());
    Ok(set)
}

/// Capture's form of the configured scope.
pub(super) fn scope(config: &Config) -> Result<Scope> {
    Ok(Scope {
        include: lists(&config.capture.include, &config.tls.include)?,
        exclude: lists(&config.capture.exclude, &config.tls.exclude)?,
    })
}

fn lists(config: &ScopeConfig, tls: &TlsScopeConfig) -> Result<ScopeLists> {
    let cgroups = config
        .cgroups
        .iter()
        .map(|name| name.parse().map_or_else(|_| CgroupRule::Path(name.clone()), CgroupRule::Id));
    let units = config.units.iter().cloned().map(CgroupRule::Unit);
    let containers = config.containers.iter().cloned().map(CgroupRule::Container);
    Ok(ScopeLists {
        cgroups: cgroups.chain(units).chain(containers).collect(),
        ports: config.ports.clone(),
        networks: config.networks.clone(),
        users: tls.users.iter().map(|name| uid_of(name)).collect::<Result<_>>()?,
        executables: tls.executables.clone(),
    })
}

fn uid_of(name: &str) -> Result<u32> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let user = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))?;
    let user = user.with_context(|| format!("the TLS scope names a user {name} who does not exist"))?;
    Ok(user.uid.as_raw())
}
