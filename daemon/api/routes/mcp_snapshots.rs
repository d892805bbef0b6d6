//! Snapshots, dissections and databases in Kubeshark's shapes: no envelope, milliseconds since 1970.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, blocking, window};
use crate::api::fault::Fault;
use crate::engine::model::Timestamp;
use crate::snapshot::{Dissection, Making, Request, Snapshot, Stage};

/// A snapshot that is being made.
const IN_PROGRESS: &str = "in_progress";
/// Longest time that an answer waits for a snapshot to be made.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

fn status(snapshot: &Snapshot) -> &'static str {
    if snapshot.failure.is_empty() { "completed" } else { "failed" }
}

fn seconds(snapshot: &Snapshot) -> String {
    let end = if snapshot.to == Timestamp(u64::MAX) { snapshot.from } else { snapshot.to };
    format!("{}s", end.since(snapshot.from) / 1_000_000_000)
}

fn row(snapshot: &Snapshot) -> Value {
    json!({
        "name": snapshot.name,
        "status": status(snapshot),
        "size_bytes": snapshot.bytes,
        "created_at": snapshot.created.millis(),
        "duration": seconds(snapshot),
    })
}

/// One that is not there yet, or will not be.
fn row_of_making(making: &Making) -> Value {
    let status = if making.failure.is_empty() { IN_PROGRESS } else { "failed" };
    let mut row = json!({
        "name": making.name,
        "status": status,
        "size_bytes": 0,
        "created_at": making.since.millis(),
        "duration": "0s",
    });
    if let Some(fields) = row.as_object_mut().filter(|_| !making.failure.is_empty()) {
        fields.insert("error".to_owned(), making.failure.clone().into());
    }
    row
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let rows: Vec<Value> = blocking(move || {
        // First what is being made, so that what is done in between is not left out.
        let making = library.making();
        let made = library.list();
        let is_missing = |known: &&Making| made.iter().all(|snapshot| snapshot.name != known.name);
        made.iter().map(row).chain(making.iter().filter(is_missing).map(row_of_making)).collect()
    })
    .await?;
    Ok(Json(json!({ "snapshots": rows })))
}

/// What Kubeshark's route takes, and what ours takes besides.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Wanted {
    name: String,
    duration: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let Json(wanted) = wanted.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let moment = |name, text: Option<String>| text.map(|text| window::moment(name, &text)).transpose();
    let request = Request {
        name: wanted.name,
        from: moment("from", wanted.from)?,
        to: moment("to", wanted.to)?,
        duration: wanted.duration.map(|text| window::span("duration", &text)).transpose()?,
        ..Request::default()
    };
    let library = api.library()?;
    let name = request.name.clone();
    let maker = Arc::clone(&library);
    let mut making = tokio::task::spawn_blocking(move || maker.create(request));
    // Linking takes milliseconds, unless the disk is slow to complete the segment under way.
    let Ok(made) = tokio::time::timeout(ANSWER_WITHIN, &mut making).await else {
        let asked = name.clone();
        let _detached = tokio::spawn(async move {
            let failure = match making.await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(name, "a snapshot could not be made: {failure}");
            library.note_failure(&name, failure);
        });
        return Ok(Json(json!({ "success": true, "name": asked, "status": IN_PROGRESS })));
    };
    let made = made.map_err(|error| Fault::internal(format!("the snapshot was not made: {error}")))??;
    Ok(Json(json!({ "success": true, "name": made.name, "status": status(&made) })))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let (snapshot, making) = blocking(move || {
        let making = library.making().into_iter().find(|known| known.name == name);
        (library.get(&name), making)
    })
    .await?;
    let snapshot = match (snapshot, making) {
        (Ok(snapshot), _) => snapshot,
        (Err(_), Some(making)) => return Ok(Json(row_of_making(&making))),
        (Err(error), None) => return Err(error.into()),
    };
    let mut shown = row(&snapshot);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("start_ts".to_owned(), snapshot.from.millis().into());
        fields.insert("end_ts".to_owned(), snapshot.to.millis().into());
        fields.insert("node_count".to_owned(), 1.into());
        fields.insert("packet_count".to_owned(), snapshot.packets.into());
    }
    Ok(Json(shown))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let answer = json!({ "success": true, "name": name });
    blocking(move || library.delete(&name)).await??;
    Ok(Json(answer))
}

pub(super) async fn databases(State(api): State<Arc<Api>>) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let state = Arc::clone(&api);
    let (snapshots, status) = blocking(move || (library.list(), state.control.status())).await?;
    let stored = status.stages.iter().find(|stage| stage.name == "store");
    let counter = |name| stored.and_then(|stage| stage.counters.get(name)).copied().unwrap_or(0);
    let mut rows = vec![json!({
        "type": "realtime",
        "node": status.node,
        "entry_count": counter("entries"),
        "first_ts": counter("oldest_ms"),
        "last_ts": counter("newest_ms"),
    })];
    for snapshot in &snapshots {
        rows.extend(snapshot.dissections.iter().map(|dissection| {
            json!({
                "type": "dissection",
                "snapshot": snapshot.name,
                "name": dissection.name,
                "entry_count": dissection.entries,
                "status": dissection.stage.name(),
                "first_ts": dissection.first.millis(),
                "last_ts": dissection.last.millis(),
            })
        }));
    }
    Ok(Json(json!({ "databases": rows })))
}

/// Which dissections.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct DissectionsQuery {
    snapshot: Option<String>,
}

pub(super) async fn dissections(
    State(api): State<Arc<Api>>,
    Query(query): Query<DissectionsQuery>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let snapshots = blocking(move || {
        let wanted = |snapshot: &Snapshot| query.snapshot.as_ref().is_none_or(|name| *name == snapshot.name);
        let mut found: Vec<Value> = Vec::new();
        for snapshot in library.list().into_iter().filter(wanted) {
            for dissection in &snapshot.dissections {
                let live = library.dissection(&snapshot.name, &dissection.name);
                let live = live.map_or_else(|_| dissection.clone(), |(_, live)| live);
                found.push(json!({
                    "snapshot": snapshot.name,
                    "name": live.name,
                    "status": live.stage.name(),
                    "progress": live.progress,
                    "entry_count": live.entries,
                }));
            }
        }
        found
    });
    Ok(Json(json!({ "dissections": snapshots.await? })))
}

/// A dissection that is wanted.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NewDissection {
    snapshot: String,
    #[serde(default)]
    name: String,
}

pub(super) async fn dissect(
    State(api): State<Arc<Api>>,
    wanted: Result<Json<NewDissection>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let Json(wanted) = wanted.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let library = api.library()?;
    let snapshot = wanted.snapshot.clone();
    let begun = blocking(move || library.dissect(&wanted.snapshot, &wanted.name)).await??;
    let status = Stage::Pending.name();
    Ok(Json(json!({ "success": true, "snapshot": snapshot, "name": begun.name, "status": status })))
}

pub(super) async fn dissection(
    State(api): State<Arc<Api>>,
    Path((snapshot, name)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let (snapshot, found) = blocking(move || library.dissection(&snapshot, &name)).await??;
    Ok(Json(detail(&snapshot, &found)))
}

fn detail(snapshot: &Snapshot, dissection: &Dissection) -> Value {
    json!({
        "snapshot": snapshot.name,
        "name": dissection.name,
        "status": dissection.stage.name(),
        "progress": dissection.progress,
        "stats": {
            "pcap_files": snapshot.segments.len(),
            "pcap_bytes": snapshot.bytes,
            "packets_processed": dissection.packets,
            "entries_created": dissection.entries,
            "protocol_counts": dissection.protocols,
        },
        "errors": dissection.errors,
    })
}

pub(super) async fn stop(
    State(api): State<Arc<Api>>,
    Path((snapshot, name)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let answer = json!({ "success": true, "snapshot": snapshot, "name": name, "status": "cancelled" });
    blocking(move || library.cancel(&snapshot, &name)).await??;
    Ok(Json(answer))
}

pub(super) async fn delete_dissection(
    State(api): State<Arc<Api>>,
    Path((snapshot, name)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let library = api.library()?;
    let answer = json!({ "success": true, "snapshot": snapshot, "name": name });
    blocking(move || library.delete_dissection(&snapshot, &name)).await??;
    Ok(Json(answer))
}
