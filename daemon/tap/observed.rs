//! An entry on its way to subscribers, with the frames that were already written of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::redact;
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, Value};
use crate::engine::present::{self, Redaction};

/// Bytes that an entry costs beside its message trees: the struct, peers, frame overhead.
const FIXED_WEIGHT: usize = 2048;

/// Bytes that one node of a message tree costs in memory.
const NODE_WEIGHT: usize = 64;

/// A tree and its JSON (base64 grows by a third) are both kept while the entry waits.
const COPIES: usize = 3;

/// Which JSON of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The list row of `/api/ws`.
    Base,
    /// Everything, as on `/api/wsFull`.
    Full,
    /// Full, base and sections for showing.
    Detail,
}

/// How a subscriber sees entries.
#[derive(Clone, Debug)]
pub struct Look {
    shape: Shape,
    view: present::View,
    // Views without redactions of a filter are shared between subscribers; the index of their frame.
    slot: Option<usize>,
    // What the filter's `redact(...)` names; shared with the filter.
    redacting: Option<Filter>,
}

impl Look {
    /// `hide_secrets` as the role demands.
    pub fn new(shape: Shape, hide_secrets: bool) -> Self {
        let redact = if hide_secrets { Redaction::Secrets } else { Redaction::None };
        let slot = shape as usize * 2 + usize::from(hide_secrets);
        Self { shape, view: present::View { redact }, slot: Some(slot), redacting: None }
    }

    /// Also hides what the filter's `redact(...)` names.
    pub fn redacting(mut self, filter: &Filter) -> Self {
        if !filter.redactions().is_empty() {
            self.redacting = Some(filter.clone());
            self.slot = None;
        }
        self
    }

    /// An entry's JSON, one line.
    pub fn write(&self, entry: &Entry) -> String {
        let text = match self.shape {
            Shape::Base => present::base_json(entry, &self.view),
            Shape::Full => present::full_json(entry, &self.view),
            Shape::Detail => present::detail_json(entry, &self.view),
        };
        match &self.redacting {
            None => text,
            Some(filter) => redact::apply(&text, self.shape, filter.redactions()),
        }
    }
}

/// One published entry, shared by all subscribers that it matches.
#[derive(Debug)]
pub struct Observed {
    entry: Arc<Entry>,
    weight: usize,
    frames: [OnceLock<Bytes>; 6],
}

impl Observed {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        let content = tree_weight(&entry.request) + tree_weight(&entry.response);
        let weight = FIXED_WEIGHT + content.saturating_mul(COPIES);
        Self { entry, weight, frames: [const { OnceLock::new() }; 6] }
    }

    /// The entry.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Estimated bytes that it holds, frames included.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Its JSON, one line of UTF-8; written once per shared look.
    pub fn frame(&self, look: &Look) -> Bytes {
        match look.slot.and_then(|slot| self.frames.get(slot)) {
            Some(cell) => cell.get_or_init(|| look.write(&self.entry).into()).clone(),
            None => look.write(&self.entry).into(),
        }
    }
}

/// Estimated bytes of a tree, without recursion: its depth is the sender's choice.
fn tree_weight(value: &Value) -> usize {
    let mut weight = 0;
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        weight += NODE_WEIGHT;
        match value {
            Value::Str(text) => weight += text.len(),
            Value::Bytes(bytes) => weight += bytes.len(),
            Value::List(items) => rest.extend(items),
            Value::Map(map) => {
                weight += map.0.iter().map(|(key, _)| key.len()).sum::<usize>();
                rest.extend(map.0.iter().map(|(_, value)| value));
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }
    weight
}
