//! Wires every subsystem; the only module that knows them all.
//!
//! [`App::build`] opens the store, binds the sockets, starts the pipeline and attaches capture, so that
//! every error surfaces before anything is announced. [`App::run`] serves until a signal and drains in
//! the order of the data: capture, pipeline, store, and last the API, so that readers get what is left.

mod control;
mod history;
mod node;
mod raw;
mod reload;
mod signals;
mod undissected;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use compact_str::format_compact;

use crate::api::schema::Finding;
use crate::api::{self, Access, Api, History, Server};
use crate::archive::{Archive, Feed};
use crate::capture::{Capture, CaptureConfig};
use crate::config::{Config, DissectionConfig, Sources};
use crate::engine::limits::Limits;
use crate::engine::model::{CaptureSource, NodeInfo};
use crate::engine::protobuf::Schemas;
use crate::host::Inspector;
use crate::pipeline::{Handle, Pipeline, PipelineConfig, Sinks};
use crate::resolve::Directory;
use crate::runtime::{self, Capacity, Shutdown, activation, clock, notify, privileges};
use crate::snapshot::{Delayed, Library, LibraryConfig, Pace};
use crate::store::{Setting, Store, StoreConfig};
use crate::tap::{Tap, TapConfig};
use crate::telemetry::{Drops, Family, Metric, Metrics};

use control::Running;
use history::{NoHistory, StoredHistory, StoredTokens};
use raw::Raw;
use undissected::Undissected;

/// Threads that serve the API and evaluate subscribers' filters.
const API_THREADS: usize = 2;

/// How often the service manager is told how things are.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a shard may take to answer before the watchdog is left unfed.
const LIVENESS_PATIENCE: Duration = Duration::from_secs(5);

/// Directory of the snapshots below that of the store, and so on the disk of the raw segments.
const SNAPSHOTS: &str = "snapshots";

/// Smallest useful item of a queue, bytes: derives the bound in items from the bound in bytes.
const MIN_ITEM_BYTES: usize = 128;

/// Everything, built and attached, not yet announced.
#[derive(Debug)]
pub struct App {
    config: Config,
    sources: Sources,
    tokio: tokio::runtime::Runtime,
    server: Server,
    api: Arc<Api>,
    running: Arc<Running>,
    capture: Arc<Mutex<Option<Capture>>>,
    schemas: Schemas,
    pipeline: Pipeline,
    raw: Raw,
    shutdown: Shutdown,
}

impl App {
    /// Builds all parts. Must be called before any other thread exists: it gives up privileges.
    pub fn build(config: Config, sources: Sources) -> Result<Self> {
        let held = privileges::restrict()?;
        let shutdown = Shutdown::new();
        runtime::guard_threads(&shutdown);
        let activated = activation::listeners().context("taking over sockets from systemd")?;
        let drops = Arc::new(Drops::new());
        let metrics = Arc::new(Metrics::new(Arc::clone(&drops)));
        let started = clock::now();
        metrics.set(Metric::StartTime, started.nanos() / 1_000_000_000);

        let store = Arc::new(Store::open(&config.store.path, store_limits(&config))?);
        let tap = Tap::new(tap_config(&config), Arc::clone(&drops));
        tap.resume_after(store.last_seq());
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(API_THREADS)
            .thread_name("api")
            .enable_all()
            .build()
            .context("starting the API's threads")?;
        let server = {
            let _inside = tokio.enter();
            Server::bind(&listen_config(&config), activated)?
        };
        let node = Arc::new(node::info(&config.node.name));
        let directory = Arc::new(Directory::new(Inspector::default()));
        let watched = raw::Watched::default();
        let raw = Raw::start(&config, &store, &node, &directory, &watched, &drops);
        let limits = Arc::new(limits(&config)?);
        let feeds = [raw.feed(), raw.feed()];
        let (pipeline, packets, sockets) =
            start_pipeline(&config, &limits, &store, &tap, &directory, feeds, &metrics, &node, &shutdown)?;
        let own: Vec<_> = server.descriptors().collect();
        let capture = Capture::start(&capture_config(&config)?, &own, Box::new(packets), Box::new(sockets))?;
        if let Some(events) = capture.socket_events() {
            pipeline.handle().watch_socket_events(events);
        }
        let capture = Arc::new(Mutex::new(Some(capture)));
        // Nobody else sets it.
        let _first = watched.set(Arc::clone(&capture));
        let library = open_library(&config, &limits, &store, raw.asked.archive.clone());
        let undissected =
            start_looking_back(&config, &store, library.as_ref(), &pipeline.handle(), &shutdown)?;
        let running = Arc::new(Running {
            node,
            started,
            capture: Arc::clone(&capture),
            pipeline: pipeline.handle(),
            directory,
            tap: tap.clone(),
            store: Arc::clone(&store),
            storing: config.store.enabled,
            raw: raw.asked.clone(),
            undissected,
            metrics: Arc::clone(&metrics),
            findings: findings(&held),
        });
        for queue in pipeline.handle().queues() {
            metrics.observe_queue(queue.clone());
        }
        if let Some(archive) = &raw.asked.archive {
            metrics.observe_queue(archive.probe());
        }
        let observed_running = Arc::downgrade(&running);
        metrics.observe(move |_, observed| {
            for (job, rung) in observed_running.upgrade().iter().flat_map(|running| running.rungs()) {
                observed.put(Family::CaptureRung, job, rung);
            }
        });
        let api = Arc::new(build_api(&config, &running, &store, library, tap, metrics));
        let schemas = limits.schemas.clone();
        Ok(Self { config, sources, tokio, server, api, running, capture, schemas, pipeline, raw, shutdown })
    }

    /// Serves until a signal, then drains.
    pub fn run(self) -> Result<()> {
        let Self { config, sources, tokio, server, api, running, capture, schemas, pipeline, raw, shutdown } =
            self;
        let reload = reload::Reload::new(config.clone(), sources, Arc::clone(&capture), &running, schemas);
        let taken = {
            let _inside = tokio.enter();
            signals::listen().context("taking signals")?
        };
        tokio.spawn(signals::serve(taken, shutdown.clone(), reload));
        announce(&server.addresses());
        let api_shutdown = Shutdown::new();
        let serving = tokio.spawn(server.serve(api, api_shutdown.clone()));
        notify::ready();
        supervise(&running, &shutdown);

        notify::stopping();
        let stopping = capture.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut capture) = stopping {
            capture.stop();
        }
        let drained = pipeline.drain(config.node.drain_timeout.0);
        if !drained {
            tracing::warn!(
                "not everything was delivered within {:?}; raise node.drain-timeout",
                config.node.drain_timeout.0
            );
        }
        if !raw.stop(config.node.drain_timeout.0) {
            tracing::warn!("the last raw segment is left open; the next start completes it");
        }
        api_shutdown.trigger("the pipeline is drained");
        // An error here is a panic of the server's task, which was logged where it happened.
        let _served = tokio.block_on(serving);
        tokio.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("stopped");
        Ok(())
    }
}

/// The main thread's loop: tells the service manager how things are and feeds its watchdog, as long as
/// the stages answer.
fn supervise(running: &Running, shutdown: &Shutdown) {
    let watchdog = notify::watchdog_interval();
    let interval = watchdog.map_or(STATUS_INTERVAL, |interval| interval.min(STATUS_INTERVAL));
    loop {
        notify::status(&running.one_line());
        if shutdown.wait_timeout(interval) {
            return;
        }
        if watchdog.is_some() && running.pipeline.is_alive(LIVENESS_PATIENCE) {
            notify::ping();
        }
    }
}

/// What a person who started the daemon by hand wants to know. On stdout, apart from the log.
fn announce(addresses: &[String]) {
    use std::io::Write;
    let mut text = String::from("remorad is watching this host. It serves:\n");
    for address in addresses {
        text.push_str("  ");
        text.push_str(address);
        text.push('\n');
    }
    text.push_str("See something: run `remora tail` (or target/release/remora tail), then make an HTTP call, for\nexample with curl. `remora doctor` says how capture works here; Ctrl-C stops.\n");
    // Nobody may be reading stdout; the same is in the log.
    let _unread = std::io::stdout().write_all(text.as_bytes());
    tracing::info!(addresses = addresses.join(" "), "serving");
}

#[expect(clippy::too_many_arguments, reason = "called once, with what was just built")]
fn start_pipeline(
    config: &Config,
    limits: &Arc<Limits>,
    store: &Arc<Store>,
    tap: &Tap,
    directory: &Arc<Directory>,
    raw: [Option<Feed>; 2],
    metrics: &Arc<Metrics>,
    node: &Arc<NodeInfo>,
    shutdown: &Shutdown,
) -> Result<(Pipeline, crate::pipeline::PacketSink, crate::pipeline::SocketSink)> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let paused = store.setting(Setting::DissectionPaused)?;
    let dissecting = paused.map_or(config.dissection.enabled, |paused| paused != "true");
    metrics.set(Metric::PipelinePaused, u64::from(!dissecting));
    let writer = if config.store.enabled { Some(store.writer(Arc::clone(metrics))?) } else { None };
    let stream = &config.stream;
    let pipeline = PipelineConfig {
        shards: config.dissection.shard_count(cpus),
        limits: Arc::clone(limits),
        node: Arc::clone(node),
        // Milliseconds of the start: no two runs of a host share one, so stream ids never come again.
        run: format_compact!("{:x}", clock::now().millis()),
        dissecting,
        shard_queue: capacity(stream.shard_queue.as_usize()),
        entry_queue: capacity(stream.entry_queue.as_usize()),
        store_queue: capacity(stream.store_queue.as_usize()),
        source: CaptureSource::Ebpf,
    };
    let sinks = Sinks {
        directory: Arc::clone(directory),
        tap: tap.clone(),
        store: writer,
        raw,
        last_seq: store.last_seq(),
        drops: Arc::clone(metrics.drops()),
        metrics: Arc::clone(metrics),
    };
    Pipeline::start(pipeline, sinks, shutdown).context("starting the pipeline's threads")
}

/// What dissectors are told, live and later alike.
fn limits(config: &Config) -> Result<Limits> {
    let limits = config.dissection.limits();
    limits.schemas.replace(reload::descriptors(&config.dissection)?);
    Ok(limits)
}

fn build_api(
    config: &Config,
    running: &Arc<Running>,
    store: &Arc<Store>,
    library: Option<Arc<Library>>,
    tap: Tap,
    metrics: Arc<Metrics>,
) -> Api {
    let history: Arc<dyn History> =
        if config.store.enabled { Arc::new(StoredHistory(store.reader())) } else { Arc::new(NoHistory) };
    let tokens = Arc::new(StoredTokens(Arc::clone(store)));
    let access = Access::new(access_config(config));
    let api = Api::new(Arc::<Running>::clone(running), history, tokens, tap, metrics, access);
    match library {
        Some(library) => api.with_snapshots(library, |reader| Arc::new(StoredHistory(reader))),
        None => api,
    }
}

fn open_library(
    config: &Config,
    limits: &Arc<Limits>,
    store: &Arc<Store>,
    archive: Option<Archive>,
) -> Option<Arc<Library>> {
    let library = LibraryConfig {
        path: config.store.path.join(SNAPSHOTS),
        max_bytes: config.capture.snapshot_size.0,
        limits: Arc::clone(limits),
        delayed: delayed(&config.dissection),
    };
    Library::open(library, Arc::clone(store), archive)
        .inspect_err(|error| tracing::error!("snapshots are not available: {error}"))
        .ok()
}

fn delayed(config: &DissectionConfig) -> Delayed {
    // Validation keeps both below 256.
    let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    Delayed {
        pace: Pace { cpu: small(config.delayed_cpu), nice: small(config.delayed_nice) },
        memory: config.delayed_memory.as_usize(),
        at_once: config.delayed_at_once,
    }
}

/// Nothing is made up for where entries are not kept: nobody could tell what is there already.
fn start_looking_back(
    config: &Config,
    store: &Arc<Store>,
    library: Option<&Arc<Library>>,
    pipeline: &Handle,
    shutdown: &Shutdown,
) -> Result<Option<Arc<Undissected>>> {
    let Some(library) = library.filter(|_| config.store.enabled) else { return Ok(None) };
    let undissected = Arc::new(Undissected::open(store, pipeline.is_dissecting())?);
    undissected
        .start(Arc::clone(library), pipeline.clone(), shutdown.clone())
        .context("starting the thread that looks back")?;
    Ok(Some(undissected))
}

fn capacity(bytes: usize) -> Capacity {
    Capacity { bytes, items: (bytes / MIN_ITEM_BYTES).max(1) }
}

fn store_limits(config: &Config) -> StoreConfig {
    StoreConfig {
        max_bytes: config.store.max_size.0,
        max_age: config.store.max_age(),
        ..StoreConfig::default()
    }
}

fn tap_config(config: &Config) -> TapConfig {
    TapConfig {
        subscriber_bytes: config.stream.subscriber_queue.as_usize(),
        max_subscribers: config.stream.max_subscribers,
        ..TapConfig::default()
    }
}

fn capture_config(config: &Config) -> Result<CaptureConfig> {
    let bytes = |size: crate::config::ByteSize| u32::try_from(size.0).unwrap_or(u32::MAX);
    Ok(CaptureConfig {
        ring_bytes: bytes(config.capture.ring_size),
        socket_ring_bytes: bytes(config.capture.socket_ring_size),
        tls: config.tls.enabled,
        tls_ring_bytes: bytes(config.tls.ring_size),
        tls_message_bytes: bytes(config.tls.max_message),
        tls_secrets: config.tls.keylog,
        scope: reload::scope(config)?,
        container_of: crate::host::container_of,
        own_pid: std::process::id(),
    })
}

fn listen_config(config: &Config) -> api::ListenConfig {
    let listen = &config.listen;
    let tls = listen.tls().map(|(certificate, key)| api::TlsFiles {
        certificate: PathBuf::from(certificate),
        key: PathBuf::from(key),
    });
    api::ListenConfig {
        unix: listen.unix_path().cloned(),
        group: (!config.access.group.is_empty()).then(|| config.access.group.clone()),
        tcp: listen
            .tcp
            .iter()
            .map(|address| api::TcpListen { address: *address, tls: tls.clone() })
            .collect(),
        allow_plaintext: listen.allow_plaintext,
    }
}

fn access_config(config: &Config) -> api::AccessConfig {
    let access = &config.access;
    let users = access.users.iter().map(|(name, role)| (api::Subject::User(name.clone()), *role));
    let groups = access.groups.iter().map(|(name, role)| (api::Subject::Group(name.clone()), *role));
    let own =
        (!access.group.is_empty()).then(|| (api::Subject::Group(access.group.clone()), access.group_role));
    api::AccessConfig {
        roles: users
            .chain(groups)
            .chain(own)
            .map(|(subject, role)| api::RoleRule { subject, role })
            .collect(),
        hosts: config.listen.allowed_hosts.clone(),
        origins: config.listen.allowed_origins.clone(),
    }
}

fn findings(held: &privileges::Held) -> Vec<Finding> {
    let purpose =
        |wanted| privileges::KEPT.iter().find(|(kept, _)| *kept == wanted).map_or("", |(_, what)| *what);
    held.missing
        .iter()
        .filter(|capability| privileges::is_needed_here(**capability))
        .map(|capability| Finding {
            severity: "info".to_string(),
            what: format!("the daemon runs without {capability}, which serves to {}", purpose(*capability)),
            advice: "grant it, for example in remorad.service, if that is needed here".to_string(),
        })
        .collect()
}
