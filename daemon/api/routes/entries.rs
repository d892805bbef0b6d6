//! Stored entries: newest first with a cursor, and one by its id.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Api, blocking};
use crate::api::access::{Caller, hides_secrets};
use crate::api::control::History;
use crate::api::fault::Fault;
use crate::engine::kfl::Filter;
use crate::engine::model::EntryId;
use crate::tap::{Look, Shape};

/// Entries of a page when the request does not say how many.
const DEFAULT_LIMIT: usize = 100;

/// Most entries of a page.
const MAX_LIMIT: usize = 1000;

/// Bytes of a page: entries hold bodies, so a page may be complete before its limit.
const MAX_PAGE_BYTES: usize = 32 << 20;

/// Entries in memory at a time.
const CHUNK: usize = 50;

/// Which page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    kfl: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
    before: Option<u64>,
    view: Option<String>,
    snapshot: Option<String>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let shape = shape(query.view.as_deref())?;
    let text = query.kfl.or(query.q).unwrap_or_default();
    let filter = api.parse(&text).map_err(|error| Fault::bad_request(error.to_string()))?;
    let most = filter.limit().map_or(MAX_LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT).min(most);
    let look = Look::new(shape, hides_secrets(caller.role)).redacting(&filter);
    let body = blocking(move || {
        let history = api.history_of(query.snapshot.as_deref())?;
        page_json(&*history, &filter, query.before, limit, &look)
    });
    Ok(json(body.await??))
}

/// The envelope around a page, written by hand since each entry is JSON already. Gathers a few entries
/// at a time, so that a page of large ones is never in memory as a whole.
fn page_json(
    history: &dyn History,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
    look: &Look,
) -> Result<String, Fault> {
    let mut text = String::from("{\"success\":true,\"data\":{\"entries\":[");
    let (mut next, mut left) = (before, limit);
    loop {
        let page = history.newest_first(filter, next, left.min(CHUNK))?;
        next = page.next;
        let found = page.entries.len();
        for entry in page.entries {
            if left < limit {
                text.push(',');
            }
            left = left.saturating_sub(1);
            text.push_str(&look.write(&entry));
        }
        // Fewer than asked for: the search took long enough, or nothing is left.
        if next.is_none() || left == 0 || found < CHUNK || text.len() > MAX_PAGE_BYTES {
            break;
        }
    }
    text.push_str("],\"next\":");
    match next {
        // A string, since JavaScript loses digits of larger numbers.
        Some(seq) => {
            // Writing into a String cannot fail.
            let _ok = write!(text, "\"{seq}\"");
        }
        None => text.push_str("null"),
    }
    text.push_str("},\"error\":null}");
    Ok(text)
}

/// How one entry is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneQuery {
    view: Option<String>,
    q: Option<String>,
    snapshot: Option<String>,
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let shape = shape(query.view.as_deref())?;
    // A filter's redact() applies here too, so that a reader sees what the stream showed.
    let text = query.q.unwrap_or_default();
    let filter = api.parse(&text).map_err(|error| Fault::bad_request(error.to_string()))?;
    let look = Look::new(shape, hides_secrets(caller.role)).redacting(&filter);
    let wanted = parse_id(&id)?;
    let found = blocking(move || {
        let history = api.history_of(query.snapshot.as_deref())?;
        history.get(&wanted).map_err(Fault::from)
    });
    let found = found.await??;
    let entry =
        found.ok_or_else(|| Fault::not_found(format!("there is no entry {id}; it may have been trimmed")))?;
    Ok(json(format!("{{\"success\":true,\"data\":{},\"error\":null}}", look.write(&entry))))
}

/// `{node}/{stream}-{index}`.
pub(super) fn parse_id(text: &str) -> Result<EntryId, Fault> {
    let parsed = text.rsplit_once('/').and_then(|(node, rest)| {
        let (stream, index) = rest.rsplit_once('-')?;
        let index = index.parse().ok()?;
        (!node.is_empty() && !stream.is_empty()).then(|| EntryId {
            node: node.into(),
            stream: stream.into(),
            index,
        })
    });
    parsed.ok_or_else(|| {
        Fault::bad_request(format!("{text:?} is no entry id; ids look like NODE/STREAM-INDEX"))
    })
}

fn shape(view: Option<&str>) -> Result<Shape, Fault> {
    match view {
        None | Some("full") => Ok(Shape::Full),
        Some("base") => Ok(Shape::Base),
        Some("detail") => Ok(Shape::Detail),
        Some(other) => {
            Err(Fault::bad_request(format!("view {other:?} is unknown; there are full, base and detail")))
        }
    }
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_slashes_and_dashes_in_their_parts_are_read_from_the_end() {
        let id = parse_id("a/b-c/17c-9-12").unwrap();
        assert_eq!((&*id.node, id.stream.as_str(), id.index), ("a/b-c", "17c-9", 12));
        assert_eq!(id.to_string(), "a/b-c/17c-9-12");
        for wrong in ["", "/", "a", "a/b", "a/-1", "/b-1", "a/b-x", "a/b-99999999999999999999"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
