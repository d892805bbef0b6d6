//! The table of metrics and its text form for Prometheus (text format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Drops;
use crate::runtime::{Depth, Probe};

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the daemon runs.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

macro_rules! metrics {
    ($($variant:ident, $name:literal, $kind:ident, $help:literal;)*) => {
        /// One number of the daemon. Names follow `remora_<subsystem>_<noun>_<unit>[_total]`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $help] $variant,)* }

        impl Metric {
            /// All metrics in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name for Prometheus.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// Counter or gauge.
            pub const fn kind(self) -> Kind { match self { $(Self::$variant => Kind::$kind,)* } }

            /// One sentence with the unit.
            pub const fn help(self) -> &'static str { match self { $(Self::$variant => $help,)* } }
        }
    };
}

metrics! {
    CapturePackets, "remora_capture_packets_total", Counter, "Packets handed over by the kernel";
    CaptureBytes, "remora_capture_bytes_total", Counter, "Bytes of packets handed over by the kernel, from the IP header on";
    CaptureSocketEvents, "remora_capture_socket_events_total", Counter, "Socket and process events handed over by the kernel";
    PipelinePackets, "remora_pipeline_packets_total", Counter, "Packets that reached a shard";
    PipelineConnections, "remora_pipeline_connections", Gauge, "Connections in the flow tables";
    PipelineTlsPieces, "remora_pipeline_tls_pieces_total", Counter, "Pieces of TLS plaintext that were tied to a connection";
    PipelineTlsSessions, "remora_pipeline_tls_sessions", Gauge, "Sessions of TLS libraries that are remembered";
    PipelineTlsHeldBytes, "remora_pipeline_tls_held_bytes", Gauge, "Bytes of TLS plaintext that wait for their connection to be known";
    PipelineTlsDisagreements, "remora_pipeline_tls_disagreements_total", Counter, "Evidence that named another socket for a TLS session than the one believed";
    PipelineEntries, "remora_pipeline_entries_total", Counter, "Entries made by the dissectors";
    PipelinePaused, "remora_pipeline_paused", Gauge, "1 while dissection is paused";
    StoreEntries, "remora_store_entries", Gauge, "Entries that can be read back";
    StoreWritten, "remora_store_written_entries_total", Counter, "Entries taken by the store";
    StoreTrimmed, "remora_store_trimmed_entries_total", Counter, "Old entries removed to keep the limits of size and age";
    StoreCommits, "remora_store_commits_total", Counter, "Durable commits";
    StoreCommitNanos, "remora_store_commit_nanoseconds_total", Counter, "Time spent in durable commits, nanoseconds";
    StoreFileBytes, "remora_store_file_bytes", Gauge, "Size of the entry database, bytes";
    StoreDegraded, "remora_store_degraded", Gauge, "1 while the disk refuses entries";
    RawRecording, "remora_raw_recording", Gauge, "1 while raw capture reaches the disk";
    RawBytes, "remora_raw_bytes", Gauge, "Size of all raw segments, bytes";
    RawSegments, "remora_raw_segments", Gauge, "Raw segments on disk";
    RawWrittenBytes, "remora_raw_written_bytes_total", Counter, "Bytes written to raw segments";
    RawWrittenRecords, "remora_raw_written_records_total", Counter, "Packets and events written to raw segments";
    StreamSubscribers, "remora_stream_subscribers", Gauge, "Live stream subscribers";
    StreamEntries, "remora_stream_entries_total", Counter, "Entries delivered to subscribers";
    ApiConnections, "remora_api_connections", Gauge, "Open API connections";
    ApiRequests, "remora_api_requests_total", Counter, "API requests answered";
    ApiDenied, "remora_api_denied_requests_total", Counter, "API requests refused for lack of identity, role, or a wrong Host or Origin";
    ConfigReloads, "remora_config_reloads_total", Counter, "Configuration reloads that took effect";
    ConfigReloadFailures, "remora_config_reload_failures_total", Counter, "Configuration reloads refused because of errors";
    ProcessResidentBytes, "remora_process_resident_bytes", Gauge, "Resident memory of the daemon, bytes";
    StartTime, "remora_process_start_time_seconds", Gauge, "When the daemon started, seconds since the Unix epoch";
}

macro_rules! families {
    ($($variant:ident, $name:literal, $kind:ident, $label:literal, $help:literal;)*) => {
        /// A metric with one value per label, read when it is rendered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Family { $(#[doc = $help] $variant,)* }

        impl Family {
            /// All families in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name for Prometheus.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// Counter or gauge.
            pub const fn kind(self) -> Kind { match self { $(Self::$variant => Kind::$kind,)* } }

            /// Name of its label.
            pub const fn label(self) -> &'static str { match self { $(Self::$variant => $label,)* } }

            /// One sentence with the unit.
            pub const fn help(self) -> &'static str { match self { $(Self::$variant => $help,)* } }
        }
    };
}

families! {
    Drops, "remora_drops_total", Counter, "reason", "Work that was not delivered, by reason, in the unit of the reason";
    QueueItems, "remora_queue_items", Gauge, "queue", "Items waiting in a queue";
    QueueBytes, "remora_queue_bytes", Gauge, "queue", "Bytes waiting in a queue";
    QueueCapacityBytes, "remora_queue_capacity_bytes", Gauge, "queue", "Bytes that a queue may hold";
    CaptureRung, "remora_capture_rung", Gauge, "job", "Rung of the capture ladder in use per job: 1 the best, 2 a lesser one, 0 none";
}

/// Collects the values of families while metrics are rendered.
#[derive(Debug, Default)]
pub struct Observed {
    values: Vec<(Family, String, u64)>,
}

impl Observed {
    /// One value of `family` under its label.
    pub fn put(&mut self, family: Family, label: impl Into<String>, value: u64) {
        self.values.push((family, label.into(), value));
    }

    /// The three values of a queue.
    pub fn put_queue(&mut self, depth: Depth) {
        self.put(Family::QueueItems, depth.name, depth.items as u64);
        self.put(Family::QueueBytes, depth.name, depth.bytes as u64);
        self.put(Family::QueueCapacityBytes, depth.name, depth.capacity_bytes as u64);
    }
}

type Observer = Box<dyn Fn(&Metrics, &mut Observed) + Send + Sync>;

/// All numbers of the daemon; shared in an `Arc`.
pub struct Metrics {
    values: [AtomicU64; Metric::ALL.len()],
    drops: Arc<Drops>,
    observers: RwLock<Vec<Observer>>,
}

impl Metrics {
    /// All at zero; `drops` is rendered with them.
    pub fn new(drops: Arc<Drops>) -> Self {
        let values = [const { AtomicU64::new(0) }; Metric::ALL.len()];
        Self { values, drops, observers: RwLock::new(Vec::new()) }
    }

    /// The drop counters.
    pub fn drops(&self) -> &Arc<Drops> {
        &self.drops
    }

    /// Adds to a counter (or a gauge).
    pub fn add(&self, metric: Metric, n: u64) {
        self.value(metric).fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts from a gauge. The caller has added at least as much before.
    pub fn sub(&self, metric: Metric, n: u64) {
        self.value(metric).fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets a gauge, or a counter that is kept elsewhere.
    pub fn set(&self, metric: Metric, value: u64) {
        self.value(metric).store(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self, metric: Metric) -> u64 {
        self.value(metric).load(Ordering::Relaxed)
    }

    /// Calls `observer` at each rendering, to refresh gauges and to give the values of families.
    pub fn observe(&self, observer: impl Fn(&Self, &mut Observed) + Send + Sync + 'static) {
        let mut observers = self.observers.write().unwrap_or_else(PoisonError::into_inner);
        observers.push(Box::new(observer));
    }

    /// Shows a queue's levels at each rendering.
    pub fn observe_queue(&self, probe: Probe) {
        self.observe(move |_, observed| observed.put_queue(probe.depth()));
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let observed = self.observed();
        let mut text = String::with_capacity(8 << 10);
        for metric in Metric::ALL {
            head(&mut text, metric.name(), metric.kind(), metric.help());
            line(&mut text, metric.name(), None, self.get(*metric));
        }
        for family in Family::ALL {
            let mut values = observed.values.iter().filter(|(of, _, _)| of == family).peekable();
            if values.peek().is_none() {
                continue;
            }
            head(&mut text, family.name(), family.kind(), family.help());
            for (_, label, value) in values {
                line(&mut text, family.name(), Some((family.label(), label)), *value);
            }
        }
        text
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        for (reason, count) in self.drops.snapshot() {
            observed.put(Family::Drops, reason.name(), count);
        }
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        for observer in observers.iter() {
            observer(self, &mut observed);
        }
        observed
    }

    fn value(&self, metric: Metric) -> &AtomicU64 {
        // In bounds: `ALL` lists every variant of the field-less enum.
        &self.values[metric as usize]
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

// Writing to a String cannot fail, so the results below carry nothing.

fn head(text: &mut String, name: &str, kind: Kind, help: &str) {
    let _ok = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
}

fn line(text: &mut String, name: &str, label: Option<(&str, &str)>, value: u64) {
    let _ok = match label {
        None => writeln!(text, "{name} {value}"),
        Some((key, content)) => {
            let escaped = content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            writeln!(text, "{name}{{{key}=\"{escaped}\"}} {value}")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::DropReason;
    use crate::runtime::{Capacity, queue};

    #[test]
    fn names_follow_the_law_and_are_unique() {
        let mut names: Vec<_> = Metric::ALL.iter().map(|metric| (metric.name(), metric.kind())).collect();
        names.extend(Family::ALL.iter().map(|family| (family.name(), family.kind())));
        for (name, kind) in &names {
            assert!(name.starts_with("remora_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        }
        let count = names.len();
        names.sort_unstable_by_key(|(name, _)| *name);
        names.dedup_by_key(|(name, _)| *name);
        assert_eq!(names.len(), count);
    }

    #[test]
    fn counters_drops_and_queues_are_rendered() {
        let metrics = Metrics::new(Arc::new(Drops::new()));
        metrics.add(Metric::CapturePackets, 42);
        metrics.drops().count(DropReason::RingFull, 7);
        let (sender, _receiver) = queue("shard", Capacity { bytes: 100, items: 10 });
        sender.push((), 30).unwrap();
        metrics.observe_queue(sender.probe());
        metrics.observe(|metrics, _| metrics.set(Metric::StoreEntries, 5));
        metrics.observe(|_, observed| observed.put(Family::CaptureRung, "a\"b\\c\nd", 1));
        let text = metrics.render();
        for expected in [
            "# TYPE remora_capture_packets_total counter\nremora_capture_packets_total 42\n",
            "remora_drops_total{reason=\"ring_full\"} 7\n",
            "remora_drops_total{reason=\"not_ip\"} 0\n",
            "remora_queue_bytes{queue=\"shard\"} 30\n",
            "remora_store_entries 5\n",
            "remora_capture_rung{job=\"a\\\"b\\\\c\\nd\"} 1\n",
        ] {
            // Observers run before plain metrics are written, so a gauge they refresh is current.
            assert!(text.contains(expected), "{expected} missing in\n{text}");
        }
    }
}
