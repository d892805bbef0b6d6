//! Raw capture: what it holds, on and off; in Remora's shape and in Kubeshark's.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::{Api, blocking, enveloped};
use crate::api::access::Caller;
use crate::api::fault::Fault;
use crate::api::schema::{Boundaries, Boundary, Envelope, NodeBoundary, RawCapture, RawState};

pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Envelope<RawCapture>>, Fault> {
    Ok(enveloped(blocking(move || api.control.raw_capture()).await?))
}

pub(super) async fn start(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Envelope<RawCapture>>, Fault> {
    switch(api, &caller, true).await
}

pub(super) async fn stop(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Envelope<RawCapture>>, Fault> {
    switch(api, &caller, false).await
}

async fn switch(api: Arc<Api>, caller: &Caller, enabled: bool) -> Result<Json<Envelope<RawCapture>>, Fault> {
    let control = Arc::clone(&api);
    blocking(move || control.control.set_raw_capture(enabled)).await??;
    tracing::info!(by = caller.name, enabled, "raw capture was switched");
    Ok(enveloped(blocking(move || api.control.raw_capture()).await?))
}

pub(super) async fn state(State(api): State<Arc<Api>>) -> Result<Json<RawState>, Fault> {
    let raw = blocking(move || api.control.raw_capture()).await?;
    Ok(Json(RawState { enabled: raw.enabled, session_id: raw.session_id }))
}

/// The window that snapshots can be made of, in milliseconds since 1970.
pub(super) async fn boundaries(State(api): State<Arc<Api>>) -> Result<Json<Boundaries>, Fault> {
    let raw = blocking(move || api.control.raw_capture()).await?;
    let (oldest_ts, newest_ts) = (raw.oldest_ts, raw.newest_ts);
    Ok(Json(Boundaries {
        cluster: Boundary { oldest_ts, newest_ts },
        nodes: vec![NodeBoundary { name: raw.node, oldest_ts, newest_ts }],
    }))
}
