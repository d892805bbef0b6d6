//! An entry on its way to subscribers, with the frames that were already written of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value as Json;

use super::projection::Projection;
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

/// Three shapes, each with and without secrets.
const SHAPES_AND_VIEWS: usize = 6;

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
    projection: Option<Arc<Projection>>,
    encoding: Encoding,
}

/// How an entry becomes bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, one line of UTF-8.
    #[default]
    Json,
    /// MessagePack with the same names and values as the JSON.
    MsgPack,
}

impl Look {
    /// `hide_secrets` as the role demands.
    pub fn new(shape: Shape, hide_secrets: bool) -> Self {
        let redact = if hide_secrets { Redaction::Secrets } else { Redaction::None };
        let slot = shape as usize * 2 + usize::from(hide_secrets);
        Self {
            shape,
            view: present::View { redact },
            slot: Some(slot),
            redacting: None,
            projection: None,
            encoding: Encoding::Json,
        }
    }

    /// Shows only the selected parts, or all.
    pub fn with_projection(mut self, projection: Option<Arc<Projection>>) -> Self {
        if projection.is_some() {
            self.slot = None;
        }
        self.projection = projection;
        self
    }

    /// Written so.
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        if encoding == Encoding::MsgPack && self.encoding == Encoding::Json {
            self.slot = self.slot.map(|slot| slot + SHAPES_AND_VIEWS);
        }
        self.encoding = encoding;
        self
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
        let text = match &self.redacting {
            None => text,
            Some(filter) => redact::apply(&text, self.shape, filter.redactions()),
        };
        match &self.projection {
            None => text,
            Some(projection) => projection.apply(&text),
        }
    }

    /// An entry's frame.
    fn encode(&self, entry: &Entry) -> Bytes {
        if self.encoding == Encoding::Json {
            return self.write(entry).into();
        }
        // Cannot fail: the keys are text, and memory does not refuse to be written.
        let packed = match (self.shape, self.slot) {
            (Shape::Full, Some(_)) => rmp_serde::to_vec_named(&present::Full { entry, view: &self.view }),
            (Shape::Base, Some(_)) => rmp_serde::to_vec_named(&present::Base { entry, view: &self.view }),
            _ => {
                rmp_serde::to_vec_named(&serde_json::from_str::<Json>(&self.write(entry)).unwrap_or_default())
            }
        };
        packed.unwrap_or_default().into()
    }
}

/// One published entry, shared by all subscribers that it matches.
#[derive(Debug)]
pub struct Observed {
    entry: Arc<Entry>,
    weight: usize,
    frames: [OnceLock<Bytes>; 2 * SHAPES_AND_VIEWS],
}

impl Observed {
    /// An entry without frames.
    pub fn new(entry: Arc<Entry>) -> Self {
        let content = tree_weight(&entry.request) + tree_weight(&entry.response);
        let weight = FIXED_WEIGHT + content.saturating_mul(COPIES);
        Self { entry, weight, frames: [const { OnceLock::new() }; 2 * SHAPES_AND_VIEWS] }
    }

    /// The entry.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Estimated bytes that it holds, frames included.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Its frame, JSON unless the look says otherwise; written once per shared look.
    pub fn frame(&self, look: &Look) -> Bytes {
        match look.slot.and_then(|slot| self.frames.get(slot)) {
            Some(cell) => cell.get_or_init(|| look.encode(&self.entry)).clone(),
            None => look.encode(&self.entry),
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
