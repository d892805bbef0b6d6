//! Bearer tokens: list, create, revoke.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};

use super::{Api, blocking, enveloped};
use crate::api::access::Caller;
use crate::api::fault::Fault;
use crate::api::schema::{Envelope, TokenInfo, TokenRequest};

/// Bytes of a token's name.
const MAX_NAME: usize = 64;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Envelope<Vec<TokenInfo>>>, Fault> {
    Ok(enveloped(blocking(move || api.tokens.list()).await??))
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<impl IntoResponse, Fault> {
    let Json(request) = body.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let printable = request.name.chars().all(|character| character.is_ascii_graphic() || character == ' ');
    if request.name.trim().is_empty() || request.name.len() > MAX_NAME || !printable {
        return Err(Fault::bad_request("a token's name is 1 to 64 printable ASCII characters"));
    }
    let TokenRequest { name, role, expires_in } = request;
    let lifetime = expires_in.map(Duration::from_secs);
    let token = blocking(move || api.tokens.create(&name, role, lifetime)).await??;
    tracing::info!(by = caller.name, name = token.info.name, %role, "token created");
    Ok((StatusCode::CREATED, enveloped(token)))
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Envelope<serde_json::Value>>, Fault> {
    let wanted = id.clone();
    if !blocking(move || api.tokens.revoke(&wanted)).await?? {
        return Err(Fault::not_found(format!("there is no token {id:?}; `remora token list` shows all")));
    }
    tracing::info!(by = caller.name, id, "token revoked");
    Ok(enveloped(serde_json::json!({ "id": id, "revoked": true })))
}
