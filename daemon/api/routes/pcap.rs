//! Packets as files: of snapshots and of raw capture, whole or in ranges.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::entries::parse_id;
use super::{Api, blocking, window};
use crate::api::access::Caller;
use crate::api::fault::Fault;
use crate::engine::model::AddrPort;
use crate::snapshot::{About, Export, Format, Library, Scope, SnapshotError, Wanted};

/// Pieces of an export that wait for the caller.
const PIECES: usize = 4;

/// Which part of a snapshot, or of raw capture, is wanted as a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    format: Option<String>,
    #[serde(alias = "start_time")]
    from: Option<String>,
    #[serde(alias = "end_time")]
    to: Option<String>,
    kfl: Option<String>,
    entry: Option<String>,
    scope: Option<String>,
    connection: Option<String>,
    nodes: Option<String>,
    bpf_filter: Option<String>,
}

impl ExportQuery {
    fn format(&self) -> Result<Format, Fault> {
        match self.format.as_deref() {
            None | Some("pcapng") => Ok(Format::Pcapng),
            Some("pcap") => Ok(Format::Pcap),
            Some(other) => {
                Err(Fault::bad_request(format!("format {other:?} is unknown; there are pcapng and pcap")))
            }
        }
    }

    fn scope(&self) -> Result<Scope, Fault> {
        match (self.scope.as_deref(), &self.entry) {
            (None | Some("call"), _) => Ok(Scope::Call),
            (Some("connection"), Some(_)) => Ok(Scope::Connection),
            (Some("flow"), Some(_)) => Ok(Scope::Flow),
            (Some("connection" | "flow"), None) => {
                Err(Fault::bad_request("scope says how much of what `entry` belongs to; add entry=ID"))
            }
            (Some(other), _) => Err(Fault::bad_request(format!(
                "scope {other:?} is unknown; there are call, connection and flow"
            ))),
        }
    }

    /// Kubeshark's parameters: what cannot be done is refused rather than left out.
    fn check(&self, api: &Api) -> Result<(), Fault> {
        if self.bpf_filter.as_deref().is_some_and(|filter| !filter.trim().is_empty()) {
            return Err(Fault::bad_request(
                "bpf_filter is not available: choose connections with kfl, or filter the file with tcpdump -r FILE",
            ));
        }
        let node = api.control.status().node;
        let mut nodes = self.nodes.iter().flat_map(|nodes| nodes.split(',')).map(str::trim);
        if let Some(other) = nodes.find(|name| !name.is_empty() && *name != node) {
            return Err(Fault::bad_request(format!(
                "this daemon has packets of node {node:?} alone, not of {other:?}"
            )));
        }
        Ok(())
    }

    /// May read the store.
    fn wanted(&self, api: &Api, snapshot: Option<&str>) -> Result<Wanted, Fault> {
        self.check(api)?;
        let moment =
            |name, text: &Option<String>| text.as_deref().map(|text| window::moment(name, text)).transpose();
        let kfl = self.kfl.as_deref().filter(|text| !text.trim().is_empty());
        let filter = kfl.map(|text| api.parse(text)).transpose();
        Ok(Wanted {
            format: self.format()?,
            from: moment("from", &self.from)?,
            to: moment("to", &self.to)?,
            filter: filter.map_err(|error| Fault::bad_request(error.to_string()))?,
            about: self.about(api, snapshot)?,
        })
    }

    fn about(&self, api: &Api, snapshot: Option<&str>) -> Result<Option<About>, Fault> {
        let scope = self.scope()?;
        match (&self.entry, &self.connection) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(Fault::bad_request("entry and connection do not go together: leave one out"))
            }
            (Some(id), None) => {
                let id = parse_id(id)?;
                // The entry may be one of the snapshot's or one that was made live.
                let later = snapshot.and_then(|name| api.history_of(Some(name)).ok());
                let found = later.and_then(|history| history.get(&id).ok().flatten());
                let found = match found {
                    Some(found) => Some(found),
                    None => api.history.get(&id)?,
                };
                let missing =
                    || Fault::not_found(format!("there is no entry {id}; it may have been trimmed"));
                found.map(|entry| Some(About::entry(&entry, scope))).ok_or_else(missing)
            }
            (None, Some(id)) => {
                let flows = api.control.flows();
                let found = flows.iter().find(|flow| flow.id == *id);
                let ends = found.and_then(|flow| {
                    let end = |ip: &str, port| Some(AddrPort { ip: ip.parse().ok()?, port });
                    Some((end(&flow.client.ip, flow.client.port)?, end(&flow.server.ip, flow.server.port)?))
                });
                let missing = || {
                    Fault::not_found(format!(
                        "there is no open connection {id}; of one that has ended, name a call: entry=ID&scope=connection"
                    ))
                };
                ends.map(|(client, server)| Some(About::connection(client, server))).ok_or_else(missing)
            }
        }
    }
}

/// Packets of raw capture as it is now.
pub(super) async fn raw(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    query: Result<Query<ExportQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    file(state.0, &caller.0, None, query, &method, &headers).await
}

/// Packets of a snapshot.
pub(super) async fn of_snapshot(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    Path(name): Path<String>,
    query: Result<Query<ExportQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    file(state.0, &caller.0, Some(name), query, &method, &headers).await
}

async fn file(
    api: Arc<Api>,
    caller: &Caller,
    snapshot: Option<String>,
    query: Result<Query<ExportQuery>, QueryRejection>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let library = api.library()?;
    let name = snapshot.clone().unwrap_or_else(|| "remora".to_owned());
    tracing::info!(by = caller.name, name, "packets are exported");
    let of = Arc::clone(&library);
    let (export, format) = blocking(move || {
        let wanted = query.wanted(&api, snapshot.as_deref())?;
        let export = match &snapshot {
            Some(name) => of.export(name, &wanted),
            None => of.export_raw(&wanted),
        };
        Ok::<_, Fault>((export?, wanted.format))
    })
    .await??;
    answer(library, export, &about_file(format, &name), method, headers).await
}

fn about_file(format: Format, name: &str) -> [(header::HeaderName, String); 2] {
    let (kind, extension) = match format {
        Format::Pcapng => ("application/x-pcapng", "pcapng"),
        Format::Pcap => ("application/vnd.tcpdump.pcap", "pcap"),
    };
    let disposition = format!("attachment; filename=\"{name}.{extension}\"");
    [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)]
}

/// The file, or the part of it that is asked for (RFC 9110 section 14).
async fn answer(
    library: Arc<Library>,
    export: Export,
    kind: &[(header::HeaderName, String); 2],
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let tag = format!("\"{:016x}\"", export.tag());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    let wanted = text(header::RANGE).filter(|_| is_same).and_then(Range::parse);
    let about = [(header::ETAG, tag), (header::ACCEPT_RANGES, "bytes".to_owned())];
    let Some(wanted) = wanted else {
        let length = if method == Method::HEAD {
            let (of, export) = (Arc::clone(&library), export.again());
            Some(blocking(move || of.export_length(&export)).await??)
        } else {
            library.known_export_length(&export)
        };
        let mut response = (kind.clone(), about, pieces(export, Some(library))).into_response();
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        return Ok(response);
    };
    let (of, again) = (library, export.again());
    let length = blocking(move || of.export_length(&again)).await??;
    let Some((start, end)) = wanted.within(length) else {
        let range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, about, range).into_response());
    };
    let part = [
        (header::CONTENT_RANGE, format!("bytes {start}-{}/{length}", end - 1)),
        (header::CONTENT_LENGTH, (end - start).to_string()),
    ];
    let body = pieces(export.part(start, end), None);
    Ok((StatusCode::PARTIAL_CONTENT, kind.clone(), about, part, body).into_response())
}

/// The file, made on a thread for such work as fast as the caller takes it. `whole`: who remembers the
/// length when it is at its end.
fn pieces(mut export: Export, whole: Option<Arc<Library>>) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, SnapshotError>>(PIECES);
    let _detached = tokio::task::spawn_blocking(move || {
        loop {
            let piece = match export.next_piece() {
                Ok(Some(piece)) => Ok(Bytes::from(piece)),
                Ok(None) => {
                    whole.iter().for_each(|library| library.note_export_length(&export));
                    return;
                }
                // The answer breaks off, so that nobody takes it for whole.
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

/// The bytes that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// From here on, up to and with the second if there is one.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Range {
    /// Reads one range. `None` for everything else, which is then answered with the whole file, as the
    /// standard has it.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() {
            return last.parse().ok().map(Self::Last);
        }
        let first = first.parse().ok()?;
        if last.is_empty() {
            return Some(Self::From(first, None));
        }
        let last = last.parse().ok()?;
        (first <= last).then_some(Self::From(first, Some(last)))
    }

    /// First byte and the one behind the last, of a file of this length; `None` if it has none of them.
    fn within(self, length: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::From(first, last) => {
                (first, last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        (start < end).then_some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_cut_to_the_file() {
        let within = |text| Range::parse(text).map(|range: Range| range.within(100));
        assert_eq!(within("bytes=0-"), Some(Some((0, 100))));
        assert_eq!(within("bytes=10-19"), Some(Some((10, 20))));
        assert_eq!(within("bytes=90-1000"), Some(Some((90, 100))));
        assert_eq!(within("bytes=-10"), Some(Some((90, 100))));
        assert_eq!(within("bytes=-1000"), Some(Some((0, 100))));
        for beyond in ["bytes=100-", "bytes=200-300", "bytes=-0"] {
            assert_eq!(within(beyond), Some(None), "{beyond}");
        }
        for whole in ["", "bytes", "bytes=", "bytes=-", "bytes=x-", "bytes=5-4", "bytes=0-1,3-4", "lines=0-"]
        {
            assert_eq!(within(whole), None, "{whole}");
        }
    }
}
