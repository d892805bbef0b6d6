//! Kept calls as one document: HTTP archive (HAR 1.2) or JSON lines.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Api, blocking, window};
use crate::api::access::{Caller, hides_secrets};
use crate::api::control::{ControlError, History, Span, Stored};
use crate::api::fault::Fault;
use crate::engine::kfl::Filter;
use crate::engine::model::Timestamp;
use crate::tap::{Look, Shape};

/// Pieces that wait for the caller.
const PIECES: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// Which calls, as what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    format: Option<String>,
    kfl: Option<String>,
    q: Option<String>,
    snapshot: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Har,
    Lines,
}

pub(super) async fn export(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let (format, kind) = match query.format.as_deref() {
        None | Some("har") => (Format::Har, "application/json"),
        Some("jsonl") => (Format::Lines, "application/x-ndjson"),
        Some(other) => {
            return Err(Fault::bad_request(format!("format {other:?} is unknown; there are har and jsonl")));
        }
    };
    let text = query.kfl.or(query.q).unwrap_or_default();
    let filter = api.parse(&text).map_err(|error| Fault::bad_request(error.to_string()))?;
    let since = query.from.map_or(Ok(Timestamp::ZERO), |text| window::moment("from", &text))?;
    let until = query.to.map_or(Ok(Timestamp(u64::MAX)), |text| window::moment("to", &text))?;
    let look = Look::new(Shape::Full, hides_secrets(caller.role)).redacting(&filter);
    let history = blocking(move || api.history_of(query.snapshot.as_deref())).await??;
    let (sender, receiver) = mpsc::channel(PIECES);
    let mut document =
        Document { filter, look, format, window: (since, until), text: String::new(), count: 0, sender };
    let _detached = tokio::task::spawn_blocking(move || document.write(&*history));
    let pieces =
        stream::unfold(receiver, |mut receiver: mpsc::Receiver<Result<Bytes, ControlError>>| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
}

/// A document under way.
struct Document {
    filter: Filter,
    look: Look,
    format: Format,
    window: (Timestamp, Timestamp),
    text: String,
    count: u64,
    sender: mpsc::Sender<Result<Bytes, ControlError>>,
}

impl Document {
    fn write(&mut self, history: &dyn History) {
        if self.format == Format::Har {
            let creator = json!({ "name": "remora", "version": env!("CARGO_PKG_VERSION") });
            self.text = format!("{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"entries\":[");
        }
        match self.entries(history) {
            // Nobody listens any more.
            Ok(false) => return,
            Ok(true) => {
                if self.format == Format::Har {
                    self.text.push_str("]}}");
                }
            }
            // The answer breaks off, so that nobody takes it for whole.
            Err(error) => {
                let _gone = self.sender.blocking_send(Err(error));
                return;
            }
        }
        self.send();
    }

    /// False when the caller is gone.
    fn entries(&mut self, history: &dyn History) -> Result<bool, ControlError> {
        let newest = history.newest_seq()?;
        let mut next = 0;
        while next <= newest {
            let span = Span { from: next, until: newest, since: self.window.0 };
            let stretch = history.oldest_first(&self.filter, span)?;
            for found in stretch.found {
                let Stored::Entry(entry) = found else { continue };
                if entry.timing.began() > self.window.1 {
                    continue;
                }
                self.entry(&self.look.write(&entry));
                if self.filter.limit().is_some_and(|limit| self.count >= limit) {
                    return Ok(true);
                }
                if self.text.len() >= PIECE && !self.send() {
                    return Ok(false);
                }
            }
            next = stretch.next.max(next + 1);
        }
        Ok(true)
    }

    fn entry(&mut self, json: &str) {
        if self.format == Format::Lines {
            self.text.push_str(json);
            self.text.push('\n');
            self.count += 1;
            return;
        }
        let Ok(entry) = serde_json::from_str::<Value>(json) else { return };
        let Some(har) = har_of(&entry) else { return };
        if self.count > 0 {
            self.text.push(',');
        }
        self.text.push_str(&har.to_string());
        self.count += 1;
    }

    fn send(&mut self) -> bool {
        let piece = Bytes::from(std::mem::take(&mut self.text));
        self.sender.blocking_send(Ok(piece)).is_ok()
    }
}

/// An HTTP call as HAR has it; `None` for other protocols and calls whose request was not seen.
fn har_of(entry: &Value) -> Option<Value> {
    if entry["protocol"]["macro"] != "http" && entry["protocol"]["name"] != "http"
        || entry["request"].is_null()
    {
        return None;
    }
    let elapsed = entry["elapsedTime"].as_f64().unwrap_or(0.0);
    Some(json!({
        "startedDateTime": entry["startTime"],
        "time": elapsed,
        "request": message(&entry["request"]),
        "response": if entry["response"].is_null() { no_response() } else { message(&entry["response"]) },
        "cache": {},
        "timings": { "send": 0, "wait": elapsed, "receive": 0 },
        "serverIPAddress": entry["dst"]["ip"],
        "connection": entry["connection"].to_string(),
        "_remora": {
            "id": entry["id"],
            "src": entry["src"]["name"],
            "dst": entry["dst"]["name"],
            "error": entry["error"],
        },
    }))
}

/// Entries have HAR's members; maps become lists.
fn message(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(fields) = message.as_object_mut() {
        for name in ["headers", "cookies", "queryString"] {
            let list = pairs(fields.get(name).unwrap_or(&Value::Null));
            fields.insert(name.to_owned(), list);
        }
        fields.entry("redirectURL").or_insert_with(|| "".into());
        if fields.get("postData").is_some_and(Value::is_null) {
            fields.remove("postData");
        }
    }
    message
}

fn pairs(map: &Value) -> Value {
    let mut list = Vec::new();
    for (name, value) in map.as_object().into_iter().flatten() {
        let values = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
        list.extend(values.into_iter().map(|value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            json!({ "name": name, "value": text })
        }));
    }
    Value::Array(list)
}

/// HAR asks for one; a status of 0 says that there was none.
fn no_response() -> Value {
    json!({
        "status": 0, "statusText": "", "httpVersion": "", "headers": [], "cookies": [],
        "content": { "size": 0, "mimeType": "" }, "redirectURL": "", "headersSize": -1, "bodySize": -1,
    })
}
