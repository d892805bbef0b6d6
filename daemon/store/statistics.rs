//! Counts, sizes and latencies of calls, by the values of fields and by time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::block::moment;
use super::latency::Latencies;
use crate::engine::kfl::{FieldReader, Key};
use crate::engine::model::{Entry, Timestamp};

/// Groups that are counted apart at a time; calls of further ones are counted together. Bounds memory
/// to some ten MiB.
pub const MAX_GROUPS: usize = 10_000;
/// Pairs of group and interval that are counted apart; further calls count in their group only.
pub(super) const MAX_CELLS: usize = 20_000;

/// How calls are counted.
#[derive(Clone, Debug, Default)]
pub struct Grouping {
    /// The fields whose values make a group; one group without.
    pub by: Vec<FieldReader>,
    /// The width of an interval; none without.
    pub interval: Option<Duration>,
}

/// What was counted of some calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub calls: u64,
    /// How many failed: see [`is_failure`].
    pub errors: u64,
    /// Bytes of their requests on the wire.
    pub request_bytes: u64,
    /// Bytes of their responses on the wire.
    pub response_bytes: u64,
    /// How long those took that were answered.
    pub latencies: Latencies,
}

impl Tally {
    /// Counts one call.
    pub fn add(&mut self, entry: &Entry) {
        self.calls += 1;
        self.errors += u64::from(is_failure(entry));
        self.request_bytes = self.request_bytes.saturating_add(entry.request_size);
        self.response_bytes = self.response_bytes.saturating_add(entry.response_size);
        if entry.timing.request_start != Timestamp::ZERO && entry.timing.response_end != Timestamp::ZERO {
            self.latencies.add(entry.timing.elapsed());
        }
    }

    /// Counts what another counted.
    pub fn absorb(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.latencies.absorb(&other.latencies);
    }
}

/// Whether a call failed: no complete answer, or a status of 500 and above.
pub fn is_failure(entry: &Entry) -> bool {
    entry.error.is_some() || entry.status >= 500
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// All of its calls.
    pub tally: Tally,
    /// Its calls by interval; the key is the interval's start.
    pub series: BTreeMap<Timestamp, Tally>,
}

/// All that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Every call.
    pub total: Group,
    /// By the values of the fields, in their order.
    pub groups: HashMap<Vec<Key>, Group>,
    /// Calls of groups beyond [`MAX_GROUPS`].
    pub other: Tally,
    /// Calls that are in no interval because of [`MAX_CELLS`].
    pub without_interval: u64,
    /// The earliest call; `None` without calls.
    pub first: Option<Timestamp>,
    /// The latest call.
    pub last: Option<Timestamp>,
    cells: usize,
}

impl Statistics {
    /// Counts calls of one block.
    pub fn of(entries: &[Arc<Entry>], grouping: &Grouping) -> Self {
        let mut statistics = Self::default();
        for entry in entries {
            statistics.add(entry, grouping);
        }
        statistics
    }

    fn add(&mut self, entry: &Entry, grouping: &Grouping) {
        let at = moment(entry);
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let interval = grouping.interval.map(|width| {
            let width = (width.as_nanos() as u64).max(1);
            Timestamp(at.nanos() / width * width)
        });
        self.total.tally.add(entry);
        if let Some(interval) = interval {
            self.total.series.entry(interval).or_default().add(entry);
        }
        if grouping.by.is_empty() {
            return;
        }
        let key = grouping.by.iter().map(|reader| reader.read(entry)).collect();
        let group = self.groups.entry(key).or_default();
        group.tally.add(entry);
        if let Some(interval) = interval {
            group.series.entry(interval).or_default().add(entry);
        }
    }

    /// Counts what another counted, within the bounds.
    pub fn absorb(&mut self, other: Self) {
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
        self.other.absorb(&other.other);
        self.without_interval += other.without_interval;
        absorb(&mut self.total, other.total, &mut self.cells, &mut self.without_interval);
        for (key, group) in other.groups {
            let is_known = self.groups.contains_key(&key);
            if is_known || self.groups.len() < MAX_GROUPS {
                let own = self.groups.entry(key).or_default();
                absorb(own, group, &mut self.cells, &mut self.without_interval);
            } else {
                self.other.absorb(&group.tally);
            }
        }
    }
}

fn absorb(own: &mut Group, other: Group, cells: &mut usize, without_interval: &mut u64) {
    own.tally.absorb(&other.tally);
    for (interval, tally) in other.series {
        if let Some(known) = own.series.get_mut(&interval) {
            known.absorb(&tally);
        } else if *cells < MAX_CELLS {
            *cells += 1;
            own.series.insert(interval, tally);
        } else {
            *without_interval += tally.calls;
        }
    }
}
