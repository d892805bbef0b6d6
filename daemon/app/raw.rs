//! Raw capture as the daemon starts, asks and stops it.

use std::sync::{Arc, Mutex, OnceLock, TryLockError};

use crate::api::schema::RawCapture;
use crate::archive::{Archive, ArchiveConfig, Feed, Identities, RawStatus, Recorder, State};
use crate::capture::Capture;
use crate::config::Config;
use crate::engine::model::{CaptureSource, DropReason, NodeInfo, Record, Timestamp};
use crate::resolve::Directory;
use crate::runtime::clock;
use crate::store::{Setting, Store};
use crate::telemetry::Drops;

/// Directory of the segments below that of the store.
const FOLDER: &str = "raw";

/// Raw capture, or why there is none: the daemon does its other work without.
#[derive(Debug)]
pub(super) struct Raw {
    recorder: Option<Recorder>,
    pub(super) asked: Asked,
}

/// What the API asks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) archive: Option<Archive>,
    failure: String,
    node: Arc<NodeInfo>,
}

/// What the recorder asks.
struct Known {
    directory: Arc<Directory>,
    capture: Watched,
}

/// Capture, once there is one: it starts after the recorder.
pub(super) type Watched = Arc<OnceLock<Arc<Mutex<Option<Capture>>>>>;

impl Identities for Known {
    fn identities(&self, now: Timestamp) -> Vec<Record> {
        self.directory.identities(now)
    }

    fn losses(&self) -> Vec<(DropReason, u64)> {
        let Some(capture) = self.capture.get() else { return Vec::new() };
        // The recorder never waits for those who look at capture: it asks again soon.
        let capture = match capture.try_lock() {
            Ok(capture) => capture,
            Err(TryLockError::Poisoned(capture)) => capture.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        // Counters that cannot be read are said by the status.
        let counters = capture.as_ref().and_then(|capture| capture.counters().ok());
        counters.map_or_else(Vec::new, |counters| counters.losses().to_vec())
    }
}

pub(super) fn config_of(config: &Config, enabled: bool) -> ArchiveConfig {
    ArchiveConfig {
        path: config.store.path.join(FOLDER),
        max_bytes: config.capture.raw_size.0,
        max_age: config.capture.raw_age(),
        enabled,
        takes_secrets: config.tls.keylog,
    }
}

impl Raw {
    pub(super) fn start(
        config: &Config,
        store: &Store,
        node: &Arc<NodeInfo>,
        directory: &Arc<Directory>,
        capture: &Watched,
        drops: &Arc<Drops>,
    ) -> Self {
        // A setting that cannot be read is the store's to report.
        let set = store.setting(Setting::RawCapture).ok().flatten();
        let enabled = set.map_or(config.capture.raw, |set| set == "true");
        let known = Box::new(Known { directory: Arc::clone(directory), capture: Arc::clone(capture) });
        let node_info = NodeInfo::clone(node);
        let started = Recorder::start(
            config_of(config, enabled),
            node_info,
            CaptureSource::Ebpf,
            known,
            Arc::clone(drops),
        );
        let (recorder, failure) = match started {
            Ok(recorder) => (Some(recorder), String::new()),
            Err(error) => {
                tracing::error!("{error}");
                (None, error.to_string())
            }
        };
        let archive = recorder.as_ref().map(Recorder::archive);
        Self { recorder, asked: Asked { archive, failure, node: Arc::clone(node) } }
    }

    /// A place for one capture thread's records.
    pub(super) fn feed(&self) -> Option<Feed> {
        self.recorder.as_ref().and_then(Recorder::feed)
    }

    /// Writes what is left. Call when capture has stopped and its sinks are gone.
    pub(super) fn stop(self, deadline: std::time::Duration) -> bool {
        self.recorder.is_none_or(|recorder| recorder.stop(deadline))
    }
}

impl Asked {
    pub(super) fn status(&self) -> RawStatus {
        match &self.archive {
            Some(archive) => archive.status(),
            None => RawStatus { state: State::Failed, detail: self.failure.clone(), ..RawStatus::default() },
        }
    }

    /// As the API shows it.
    pub(super) fn shown(&self) -> RawCapture {
        let status = self.status();
        let moment = |at: Timestamp| (at != Timestamp::ZERO).then(|| clock::rfc3339(at));
        RawCapture {
            enabled: self.archive.as_ref().is_some_and(Archive::is_enabled),
            state: status.state.name().to_owned(),
            detail: status.detail,
            node: self.node.name.to_string(),
            oldest: moment(status.oldest),
            newest: moment(status.newest),
            oldest_ts: status.oldest.millis(),
            newest_ts: status.newest.millis(),
            segments: status.segments,
            bytes: status.bytes,
            max_bytes: status.max_bytes,
            packets: status.packets,
            written_bytes: status.written_bytes,
            written_records: status.written_records,
            dropped: status.dropped,
            bytes_per_second: status.rate,
            session_id: format!("{:x}", status.session.millis()),
        }
    }
}
