//! Snapshots, their dissections and import: Remora's own routes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Api, blocking, enveloped, window};
use crate::api::access::Caller;
use crate::api::control::History;
use crate::api::fault::Fault;
use crate::api::schema::{DissectionInfo, Envelope, SnapshotInfo, SnapshotList};
use crate::engine::model::Timestamp;
use crate::runtime::clock;
use crate::snapshot::{CaptureFile, Dissection, Library, Making, Origin, Request, Snapshot, SnapshotError};
use crate::store::Reader;

/// Pieces of an import that wait for the other side.
const PIECES: usize = 4;

/// The library, and how its entries become a history.
pub(in crate::api) struct Snapshots {
    pub(in crate::api) library: Arc<Library>,
    pub(in crate::api) history: fn(Reader) -> Arc<dyn History>,
}

impl Api {
    pub(super) fn library(&self) -> Result<Arc<Library>, Fault> {
        let missing = || Fault::unavailable("this daemon keeps no snapshots; its log says why");
        self.snapshots.as_ref().map(|snapshots| Arc::clone(&snapshots.library)).ok_or_else(missing)
    }

    /// The entries that a request is about: those of a snapshot, or the live ones.
    pub(super) fn history_of(&self, snapshot: Option<&str>) -> Result<Arc<dyn History>, Fault> {
        let Some(name) = snapshot.filter(|name| !name.is_empty()) else {
            return Ok(Arc::clone(&self.history));
        };
        let Some(snapshots) = &self.snapshots else {
            return self.library().map(|_| Arc::clone(&self.history));
        };
        Ok((snapshots.history)(snapshots.library.entries(name)?))
    }
}

impl From<SnapshotError> for Fault {
    fn from(error: SnapshotError) -> Self {
        let message = error.to_string();
        match error {
            SnapshotError::NotFound { .. } => Self::not_found(message),
            SnapshotError::Invalid { .. } | SnapshotError::Empty => Self::bad_request(message),
            SnapshotError::Exists { .. }
            | SnapshotError::NotDissected { .. }
            | SnapshotError::Quota { .. } => Self::conflict(message),
            SnapshotError::NoCapture | SnapshotError::Archive(_) => Self::unavailable(message),
            SnapshotError::Disk { .. } | SnapshotError::File(_) | SnapshotError::Store(_) => {
                Self::internal(message)
            }
        }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Envelope<SnapshotList>>, Fault> {
    let library = api.library()?;
    let list = blocking(move || {
        let (used_bytes, max_bytes) = library.used();
        // First what is being made, so that what is done in between is not left out.
        let making = library.making();
        let mut snapshots: Vec<_> = library.list().iter().map(|snapshot| shown(snapshot, &library)).collect();
        let is_there = |name: &str| snapshots.iter().any(|snapshot| snapshot.name == name);
        let missing: Vec<_> =
            making.iter().filter(|known| !is_there(&known.name)).map(shown_making).collect();
        snapshots.extend(missing);
        SnapshotList { snapshots, used_bytes, max_bytes }
    });
    Ok(enveloped(list.await?))
}

/// A snapshot that is wanted. Moments are milliseconds since 1970, RFC 3339 or `15m` (ago).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    kfl: String,
    from: Option<String>,
    to: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    peers: Vec<String>,
}

impl Wanted {
    fn request(self) -> Result<Request, Fault> {
        let moment = |name, text: Option<String>| text.map(|text| window::moment(name, &text)).transpose();
        Ok(Request {
            name: self.name,
            note: self.note,
            kfl: self.kfl,
            peers: self.peers,
            from: moment("from", self.from)?,
            to: moment("to", self.to)?,
            duration: self.duration.map(|text| window::span("duration", &text)).transpose()?,
        })
    }
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, Fault> {
    let Json(wanted) = wanted.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let request = wanted.request()?;
    let library = api.library()?;
    tracing::info!(by = caller.name, name = request.name, "a snapshot is made");
    let made = blocking(move || library.create(request).map(|made| shown(&made, &library))).await??;
    Ok((StatusCode::CREATED, enveloped(made)).into_response())
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Envelope<SnapshotInfo>>, Fault> {
    let library = api.library()?;
    Ok(enveloped(blocking(move || library.get(&name).map(|found| shown(&found, &library))).await??))
}

/// What changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    name: Option<String>,
    note: Option<String>,
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Envelope<SnapshotInfo>>, Fault> {
    let Json(change) = change.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let library = api.library()?;
    let changed = blocking(move || {
        library.change(&name, change.name, change.note).map(|changed| shown(&changed, &library))
    });
    Ok(enveloped(changed.await??))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Envelope<bool>>, Fault> {
    let library = api.library()?;
    tracing::info!(by = caller.name, name, "a snapshot is deleted");
    blocking(move || library.delete(&name)).await??;
    Ok(enveloped(true))
}

/// What a dissection is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    #[serde(default)]
    name: String,
}

pub(super) async fn dissect(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    named: Option<Json<Named>>,
) -> Result<Response, Fault> {
    let named = named.map(|Json(named)| named.name).unwrap_or_default();
    let library = api.library()?;
    let begun = blocking(move || library.dissect(&name, &named)).await??;
    Ok((StatusCode::ACCEPTED, enveloped(shown_dissection(&begun))).into_response())
}

pub(super) async fn dissection(
    State(api): State<Arc<Api>>,
    Path((name, dissection)): Path<(String, String)>,
) -> Result<Json<Envelope<DissectionInfo>>, Fault> {
    let library = api.library()?;
    let (_, found) = blocking(move || library.dissection(&name, &dissection)).await??;
    Ok(enveloped(shown_dissection(&found)))
}

pub(super) async fn stop_dissection(
    State(api): State<Arc<Api>>,
    Path((name, dissection)): Path<(String, String)>,
) -> Result<Json<Envelope<DissectionInfo>>, Fault> {
    let library = api.library()?;
    let ended = blocking(move || library.cancel(&name, &dissection)).await??;
    Ok(enveloped(shown_dissection(&ended)))
}

pub(super) async fn delete_dissection(
    State(api): State<Arc<Api>>,
    Path((name, dissection)): Path<(String, String)>,
) -> Result<Json<Envelope<bool>>, Fault> {
    let library = api.library()?;
    blocking(move || library.delete_dissection(&name, &dissection)).await??;
    Ok(enveloped(true))
}

/// What an import is called.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ImportQuery {
    name: String,
}

pub(super) async fn import(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ImportQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let library = api.library()?;
    tracing::info!(by = caller.name, name = query.name, "a capture file is imported");
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(PIECES);
    let read = blocking(move || {
        let from = Upload { receiver, piece: Bytes::new() };
        let file = CaptureFile::read_from(std::path::Path::new("the uploaded file"), Box::new(from))?;
        let made = library.import(&query.name, file)?;
        Ok::<_, SnapshotError>(shown(&made, &library))
    });
    let send = async move {
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            // The reader has ended: it says why.
            if sender.send(piece.map_err(std::io::Error::other)).await.is_err() {
                break;
            }
        }
    };
    let (made, ()) = tokio::join!(read, send);
    Ok((StatusCode::CREATED, enveloped(made??)).into_response())
}

/// A request's body for a thread that reads files.
struct Upload {
    receiver: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    piece: Bytes,
}

impl std::io::Read for Upload {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let len = to.len().min(self.piece.len());
        let piece = self.piece.split_to(len);
        to.iter_mut().zip(&piece).for_each(|(to, from)| *to = *from);
        Ok(len)
    }
}

/// A snapshot that is not there yet, or will not be.
fn shown_making(making: &Making) -> SnapshotInfo {
    SnapshotInfo {
        name: making.name.clone(),
        origin: "capture".to_owned(),
        state: if making.failure.is_empty() { "creating" } else { "failed" }.to_owned(),
        reason: making.failure.clone(),
        created_at: clock::rfc3339(making.since),
        ..SnapshotInfo::default()
    }
}

/// A snapshot as the API shows it.
pub(super) fn shown(snapshot: &Snapshot, library: &Library) -> SnapshotInfo {
    let moment = |at: Timestamp| (at != Timestamp(u64::MAX)).then(|| clock::rfc3339(at));
    let current = |found: &Dissection| {
        let live = library.dissection(&snapshot.name, &found.name);
        shown_dissection(&live.map_or_else(|_| found.clone(), |(_, live)| live))
    };
    SnapshotInfo {
        name: snapshot.name.clone(),
        note: snapshot.note.clone(),
        kfl: snapshot.kfl.clone(),
        origin: if snapshot.origin == Origin::Import { "import" } else { "capture" }.to_owned(),
        state: if snapshot.failure.is_empty() { "ready" } else { "failed" }.to_owned(),
        reason: snapshot.failure.clone(),
        created_at: clock::rfc3339(snapshot.created),
        from: (snapshot.from != Timestamp::ZERO).then(|| moment(snapshot.from)).flatten(),
        to: moment(snapshot.to),
        bytes: snapshot.bytes,
        packets: snapshot.packets,
        segments: snapshot.segments.len() as u64,
        dissections: snapshot.dissections.iter().map(current).collect(),
    }
}

fn shown_dissection(dissection: &Dissection) -> DissectionInfo {
    DissectionInfo {
        name: dissection.name.clone(),
        state: dissection.stage.name().to_owned(),
        progress: dissection.progress,
        packets: dissection.packets,
        bytes: dissection.bytes,
        entries: dissection.entries,
        protocols: dissection.protocols.clone(),
        errors: dissection.errors.clone(),
        resumed_entries: dissection.resumed,
        held_bytes: dissection.held,
        max_held_bytes: dissection.max_held,
    }
}
