//! Status, flows, doctor, metrics, and dissection on and off.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Deserialize;

use super::{Api, blocking, enveloped};
use crate::api::access::Caller;
use crate::api::fault::Fault;
use crate::api::schema::{
    DissectionChange, DissectionState, Doctor, Envelope, Flow, Flows, Status, StreamStatus, TlsDoctor,
};

/// Flows shown when the request does not say how many.
const DEFAULT_FLOWS: usize = 100;

/// Most flows in one answer.
const MAX_FLOWS: usize = 10_000;

pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Json<Envelope<Status>>, Fault> {
    let stream = StreamStatus {
        subscribers: api.tap.subscribers() as u64,
        filters: api.tap.filters() as u64,
        delivered: api.tap.delivered(),
        newest_seq: api.tap.newest(),
    };
    let mut status = blocking(move || api.control.status()).await?;
    status.stream = stream;
    Ok(enveloped(status))
}

pub(super) async fn doctor(State(api): State<Arc<Api>>) -> Result<Json<Envelope<Doctor>>, Fault> {
    Ok(enveloped(blocking(move || api.control.doctor()).await?))
}

pub(super) async fn tls(State(api): State<Arc<Api>>) -> Result<Json<Envelope<TlsDoctor>>, Fault> {
    Ok(enveloped(blocking(move || api.control.tls()).await?))
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Fault> {
    let text = blocking(move || api.control.metrics_text()).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

pub(super) async fn dissection(State(api): State<Arc<Api>>) -> Json<DissectionState> {
    Json(DissectionState { enabled: api.control.dissection_enabled() })
}

pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DissectionChange>, Fault> {
    switch(api, &caller, true).await
}

pub(super) async fn disable(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DissectionChange>, Fault> {
    switch(api, &caller, false).await
}

async fn switch(api: Arc<Api>, caller: &Caller, enabled: bool) -> Result<Json<DissectionChange>, Fault> {
    let before = api.control.dissection_enabled();
    let done = Arc::clone(&api);
    blocking(move || done.control.set_dissection(enabled)).await??;
    if before != enabled {
        tracing::info!(by = caller.name, enabled, "dissection was switched");
    }
    Ok(Json(DissectionChange { success: true, enabled: api.control.dissection_enabled() }))
}

/// Which flows; everything given must fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowQuery {
    limit: Option<usize>,
    protocol: Option<String>,
    application: Option<String>,
    state: Option<String>,
    ip: Option<IpAddr>,
    port: Option<u16>,
    pid: Option<u32>,
    process: Option<String>,
}

pub(super) async fn flows(
    State(api): State<Arc<Api>>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Result<Json<Envelope<Flows>>, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_FLOWS).min(MAX_FLOWS);
    let mut flows = blocking(move || {
        let mut flows = api.control.flows();
        flows.retain(|flow| query.fits(flow));
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.client.bytes + flow.server.bytes));
        flows
    })
    .await?;
    let total = flows.len() as u64;
    flows.truncate(limit);
    let truncated = (flows.len() as u64) < total;
    Ok(enveloped(Flows { flows, total, truncated }))
}

impl FlowQuery {
    fn fits(&self, flow: &Flow) -> bool {
        let text = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let ends = [&flow.client, &flow.server];
        text(&self.protocol, &flow.protocol)
            && text(&self.application, &flow.application)
            && text(&self.state, &flow.state)
            && self.ip.is_none_or(|ip| ends.iter().any(|end| end.ip.parse() == Ok(ip)))
            && self.port.is_none_or(|port| ends.iter().any(|end| end.port == port))
            && self.pid.is_none_or(|pid| ends.iter().any(|end| end.pid == pid))
            && ends.iter().any(|end| text(&self.process, &end.process))
    }
}
