//! Writes entries as readers see them: full JSON, base JSON, detail sections.
//!
//! Shapes are Kubeshark's (ports as text, times in ms) plus Remora's own keys; `docs/entry.schema.json`
//! describes them. Invariant: what a [`View`] hides appears in none of the three forms.

mod base;
mod detail;
mod full;
mod parts;
mod redact;
mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use base::Base;
pub use detail::Detail;
pub use full::Full;
pub use redact::{REDACTED, Redaction, SENSITIVE_NAMES, SENSITIVE_PARAMETERS, SENSITIVE_PARTS};

use crate::model::Entry;

/// How a reader may see entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What is hidden.
    pub redact: Redaction,
}

/// The full entry, as `/api/wsFull` sends it.
pub fn full_json(entry: &Entry, view: &View) -> String {
    to_json(&Full { entry, view })
}

/// The list row, as `/api/ws` sends it.
pub fn base_json(entry: &Entry, view: &View) -> String {
    to_json(&Base { entry, view })
}

/// Full entry, list row and sections, for one entry's detail view.
pub fn detail_json(entry: &Entry, view: &View) -> String {
    to_json(&Detail { entry, view })
}

/// Serialization into memory fails only for maps with keys that are not text, which these are not.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
