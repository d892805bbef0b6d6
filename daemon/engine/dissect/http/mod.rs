//! What all versions of HTTP share: messages, bodies, parameters, and how a call is shown.

pub(in crate::dissect) mod content;
pub(in crate::dissect) mod entry;
pub(in crate::dissect) mod fields;
pub(in crate::dissect) mod lines;
pub(in crate::dissect) mod message;
mod params;
mod refine;
pub(in crate::dissect) mod view;
