//! The filter language: parse, type-check, compile, evaluate, complete.
//!
//! One language takes both dialects that users know. Stages: `token` and `parse` (combine) make a
//! tree, `check`, `resolve` and `calls` give it types from the one table of `fields` and compile it to
//! a `program`, `eval` runs that over entries.
//!
//! Invariant: total and bounded. Any text gives a filter or an error with a place, and evaluating a
//! filter costs at most `limits::kfl::WORK`, whatever entry it meets.

mod ast;
mod calls;
mod check;
mod cidr;
mod complete;
mod document;
mod error;
mod eval;
mod fields;
mod filter;
mod functions;
mod kind;
mod moment;
mod parse;
mod program;
mod reader;
mod redact;
mod reference;
mod resolve;
mod select;
mod sketch;
mod token;
mod value;
mod work;

pub use complete::{Completion, CompletionKind, complete};
pub use error::KflError;
pub use filter::{Context, Filter, Macros};
pub use reader::{FieldReader, Key};
pub use redact::{REDACTED, RedactPath, redact_json};
pub use reference::reference_markdown;
pub use sketch::{Facts, Place, Sketch, Verdict};

use crate::model::Field;

/// All fields, in the order of the documentation.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    fields::all()
}

#[cfg(test)]
mod tests;
