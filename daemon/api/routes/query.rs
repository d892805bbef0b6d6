//! Help with filters: validation, completion, the list of fields.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Api, enveloped};
use crate::api::schema::{Candidate, Completion, Envelope, FieldInfo, Validation};
use crate::engine::kfl;
use crate::engine::model::FieldSource;

/// The filter, as text.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FilterQuery {
    #[serde(default)]
    q: String,
}

/// Kubeshark's route and shape, with span and hints added.
pub(super) async fn validate(
    State(api): State<Arc<Api>>,
    Query(query): Query<FilterQuery>,
) -> Json<Validation> {
    Json(match api.parse(&query.q) {
        Ok(_) => Validation { valid: true, ..Validation::default() },
        Err(error) => Validation {
            valid: false,
            message: error.to_string(),
            span: Some(error.span),
            line: error.line,
            column: error.column,
            expected: error.expected,
            hints: error.hints,
        },
    })
}

/// Every field that a filter may use.
pub(super) async fn fields() -> Json<Envelope<Vec<FieldInfo>>> {
    let fields = kfl::fields().map(|field| FieldInfo {
        name: field.name.to_owned(),
        ty: field.ty.name().to_owned(),
        doc: field.doc.to_owned(),
        example: field.example.to_owned(),
        available: !matches!(field.source, FieldSource::Planned),
    });
    enveloped(fields.collect())
}

/// A filter under work, and where the cursor is.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct CursorQuery {
    #[serde(default)]
    q: String,
    pos: Option<usize>,
}

/// What may stand at the cursor.
pub(super) async fn complete(Query(query): Query<CursorQuery>) -> Json<Envelope<Completion>> {
    let pos = query.pos.unwrap_or(query.q.len());
    let found = kfl::complete(&query.q, pos);
    let replace = found.first().map_or(pos..pos, |first| first.replace.clone());
    let candidates = found.into_iter().map(|candidate| Candidate {
        text: candidate.text,
        kind: match candidate.kind {
            kfl::CompletionKind::Field => "field",
            kfl::CompletionKind::Function => "function",
            kfl::CompletionKind::Operator => "operator",
        }
        .to_owned(),
        doc: candidate.doc,
    });
    enveloped(Completion { replace, candidates: candidates.collect() })
}
