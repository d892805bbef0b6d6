//! Help with filters: validation, completion, the list of fields.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Api, enveloped};
use crate::api::schema::{Envelope, FieldInfo, Validation};
use crate::engine::kfl;
use crate::engine::model::FieldSource;

/// The filter, as text.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FilterQuery {
    #[serde(default)]
    q: String,
}

/// Kubeshark's route and shape, with span and hints added.
pub(super) async fn validate(State(api): State<Arc<Api>>, Query(query): Query<FilterQuery>) -> Json<Validation> {
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
