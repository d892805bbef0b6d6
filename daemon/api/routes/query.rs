//! Help with filters: validation, completion, the list of fields.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::Api;
use crate::api::schema::Validation;

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
