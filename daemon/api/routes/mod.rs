//! The routes, by role, and what they share.

mod control;
mod documents;
mod entries;
mod feed;
mod map;
mod mcp_calls;
mod mcp_snapshots;
mod pages;
mod pcap;
mod query;
mod raw;
mod snapshots;
mod sse;
mod stats;
mod stream;
mod tokens;
mod wanted;
mod window;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::access::{Access, Role};
use super::control::{Control, History, Tokens};
use super::fault::Fault;
use super::guard;
use super::schema::Envelope;
use super::throttle::Throttle;
use crate::engine::kfl;
use crate::engine::model::Timestamp;
use crate::runtime::{Shutdown, clock};
use crate::snapshot::Library;
use crate::store::Reader;
use crate::tap::Tap;
use crate::telemetry::Metrics;

/// Bytes of a request's body. The largest is a filter or a token's name.
const MAX_BODY: usize = 64 << 10;

/// Streams that read from the store at the same moment; each holds a stretch of it in memory.
const MAX_REPLAYS: usize = 4;

/// What all routes share.
pub struct Api {
    pub(super) control: Arc<dyn Control>,
    pub(super) history: Arc<dyn History>,
    pub(super) tokens: Arc<dyn Tokens>,
    pub(super) tap: Tap,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Access,
    pub(super) macros: ArcSwap<kfl::Macros>,
    pub(super) throttle: Throttle,
    pub(super) started: Timestamp,
    /// Places for streams that read their history.
    pub(super) replays: Semaphore,
    pub(super) snapshots: Option<snapshots::Snapshots>,
}

impl Api {
    /// Puts the parts together; `started` is now.
    pub fn new(
        control: Arc<dyn Control>,
        history: Arc<dyn History>,
        tokens: Arc<dyn Tokens>,
        tap: Tap,
        metrics: Arc<Metrics>,
        access: Access,
    ) -> Self {
        Self {
            control,
            history,
            tokens,
            tap,
            metrics,
            access,
            macros: ArcSwap::default(),
            throttle: Throttle::default(),
            started: clock::now(),
            replays: Semaphore::new(MAX_REPLAYS),
            snapshots: None,
        }
    }

    /// Adds snapshots; `history` makes a history of the entries of one.
    pub fn with_snapshots(mut self, library: Arc<Library>, history: fn(Reader) -> Arc<dyn History>) -> Self {
        self.snapshots = Some(snapshots::Snapshots { library, history });
        self
    }

    /// Sets the macros that filters may use, at start and on reload.
    pub fn set_macros(&self, macros: kfl::Macros) {
        self.macros.store(Arc::new(macros));
    }

    pub(super) fn parse(&self, text: &str) -> Result<kfl::Filter, kfl::KflError> {
        let macros = kfl::Macros::clone(&self.macros.load());
        kfl::Filter::parse(text, &kfl::Context { now: clock::now(), macros })
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// What websocket tasks need beside the API: they outlive their connection's task.
#[derive(Clone)]
pub(super) struct Lifetime {
    pub(super) shutdown: Shutdown,
    /// Held while a websocket lives, so that shutdown waits for it.
    pub(super) alive: mpsc::Sender<()>,
}

pub(super) fn router(api: Arc<Api>, shutdown: &Shutdown, alive: mpsc::Sender<()>) -> Router {
    let lifetime = Lifetime { shutdown: shutdown.clone(), alive };
    Router::new()
        .merge(open())
        .merge(guarded(&api, Role::Viewer, viewer()))
        .merge(guarded(&api, Role::Operator, operator()))
        .merge(guarded(&api, Role::Admin, admin()))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(lifetime))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&api), guard::check_site))
        .layer(map_response(pages::security_headers))
        .with_state(api)
}

fn guarded(api: &Arc<Api>, role: Role, routes: Router<Arc<Api>>) -> Router<Arc<Api>> {
    routes.route_layer(from_fn_with_state((Arc::clone(api), role), guard::require))
}

fn open() -> Router<Arc<Api>> {
    Router::new()
        .route("/", get(pages::landing))
        .route("/openapi.yaml", get(pages::openapi))
        .route("/api/health", get(pages::health))
}

fn viewer() -> Router<Arc<Api>> {
    Router::new()
        .route("/ws", any(stream::base))
        .route("/wsFull", any(stream::full))
        .route("/api/ws", any(stream::base))
        .route("/api/wsFull", any(stream::full))
        .route("/api/info", get(pages::info))
        .route("/api/query/validate", get(query::validate))
        .route("/query/validate", get(query::validate))
        .route("/api/v1/kfl/complete", get(query::complete))
        .route("/api/v1/kfl/fields", get(query::fields))
        .route("/api/v1/stream", get(sse::stream))
        .route("/api/v1/entries", get(entries::list))
        .route("/api/v1/entries/{*id}", get(entries::one))
        .route("/api/v1/export", get(documents::export))
        .route("/api/v1/stats", get(stats::stats))
        .route("/api/v1/map", get(map::map))
        .route("/api/v1/flows", get(control::flows))
        .route("/api/v1/status", get(control::status))
        .route("/api/v1/doctor", get(control::doctor))
        .route("/api/v1/doctor/tls", get(control::tls))
        .route("/metrics", get(control::metrics))
        .route("/mcp/dissection", get(control::dissection))
        .route("/api/v1/capture/raw", get(raw::show))
        .route("/mcp/raw-capture", get(raw::state))
        .route("/mcp/data-boundaries", get(raw::boundaries))
        .route("/api/v1/snapshots", get(snapshots::list))
        .route("/api/v1/snapshots/{name}", get(snapshots::show))
        .route("/api/v1/snapshots/{name}/dissections/{dissection}", get(snapshots::dissection))
        .route("/mcp/snapshots", get(mcp_snapshots::list))
        .route("/mcp/snapshots/{name}", get(mcp_snapshots::show))
        .route("/mcp/calls", get(mcp_calls::calls))
        .route("/mcp/databases", get(mcp_snapshots::databases))
        .route("/mcp/dissections", get(mcp_snapshots::dissections))
        .route("/mcp/dissections/{snapshot}/{name}", get(mcp_snapshots::dissection))
}

fn operator() -> Router<Arc<Api>> {
    Router::new()
        .route("/mcp/dissection/enable", post(control::enable))
        .route("/mcp/dissection/disable", post(control::disable))
        .route("/api/v1/snapshots", post(snapshots::create))
        .route("/api/v1/snapshots/{name}", patch(snapshots::change).delete(snapshots::delete))
        .route("/api/v1/snapshots/{name}/pcap", get(pcap::of_snapshot))
        .route("/api/v1/pcap", get(pcap::raw))
        .route("/api/v1/snapshots/{name}/dissections", post(snapshots::dissect))
        .route("/api/v1/snapshots/{name}/dissections/{dissection}", delete(snapshots::delete_dissection))
        .route("/api/v1/snapshots/{name}/dissections/{dissection}/stop", post(snapshots::stop_dissection))
        // Capture files have any size; they are never in memory as a whole.
        .route("/api/v1/snapshots/import", post(snapshots::import).layer(DefaultBodyLimit::disable()))
        .route("/mcp/snapshots", post(mcp_snapshots::create))
        .route("/mcp/snapshots/{name}", delete(mcp_snapshots::delete))
        .route("/mcp/snapshots/{name}/pcap", get(pcap::of_snapshot))
        .route("/mcp/dissections", post(mcp_snapshots::dissect))
        .route("/mcp/dissections/{snapshot}/{name}", delete(mcp_snapshots::delete_dissection))
        .route("/mcp/dissections/{snapshot}/{name}/stop", post(mcp_snapshots::stop))
        .route("/api/v1/capture/raw/start", post(raw::start))
        .route("/api/v1/capture/raw/stop", post(raw::stop))
}

fn admin() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
}

/// The envelope around an answer.
fn enveloped<T: Serialize>(data: T) -> Json<Envelope<T>> {
    Json(Envelope { success: true, data: Some(data), error: None })
}

/// Runs what may block on a thread for such work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::internal(format!("the work for this request broke off: {error}")))
}

async fn unknown(method: Method, uri: Uri) -> Response {
    Fault::not_found(format!("there is no {method} {}; /openapi.yaml lists what there is", uri.path()))
        .into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    Fault::method_not_allowed(format!("{} does not take {method}; see /openapi.yaml", uri.path()))
        .into_response()
}
