//! Stored calls in Kubeshark's shape: `GET /mcp/calls`, live ones or those of a dissection (`db=`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Api, blocking};
use crate::api::access::{Caller, hides_secrets};
use crate::api::control::{History, Scope};
use crate::api::fault::Fault;
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, Timestamp};
use crate::store::Grouping;
use crate::tap::{Look, Shape};

/// Calls of an answer when the request does not say how many.
const DEFAULT_LIMIT: usize = 100;
/// Most calls of an answer.
const MAX_LIMIT: usize = 1000;
/// Bytes of an answer: full calls hold bodies.
const MAX_BYTES: usize = 32 << 20;
/// Calls in memory at a time.
const CHUNK: usize = 50;

/// Which calls, as what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallsQuery {
    kfl: Option<String>,
    limit: Option<usize>,
    format: Option<String>,
    group_by: Option<String>,
    /// Milliseconds since 1970.
    start: Option<u64>,
    end: Option<u64>,
    /// `SNAPSHOT/DISSECTION`, or a snapshot for its newest dissection; the live calls without.
    db: Option<String>,
    /// The same, as some of Kubeshark's tools call it.
    snapshot_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Compact,
    Full,
    Raw,
}

/// What calls are counted by besides; on one node, two of three have one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupBy {
    Node,
    Namespace,
}

impl CallsQuery {
    fn format(&self) -> Result<Format, Fault> {
        match self.format.as_deref() {
            None | Some("" | "compact") => Ok(Format::Compact),
            Some("full") => Ok(Format::Full),
            Some("raw") => Ok(Format::Raw),
            Some(other) => Err(Fault::bad_request(format!(
                "format {other:?} is unknown; there are compact, full and raw"
            ))),
        }
    }

    fn group_by(&self) -> Result<Option<GroupBy>, Fault> {
        match self.group_by.as_deref() {
            None | Some("") => Ok(None),
            Some("node" | "worker") => Ok(Some(GroupBy::Node)),
            Some("ns") => Ok(Some(GroupBy::Namespace)),
            Some(other) => Err(Fault::bad_request(format!(
                "group_by {other:?} is unknown; there are node, ns and worker"
            ))),
        }
    }

    /// Filter and window as one filter.
    fn text(&self) -> Result<String, Fault> {
        if self.start.zip(self.end).is_some_and(|(start, end)| start > end) {
            return Err(Fault::bad_request("start must not lie behind end"));
        }
        let kfl = self.kfl.as_deref().unwrap_or_default().trim();
        let parts = [
            (!kfl.is_empty()).then(|| format!("({kfl})")),
            self.start.map(|start| format!("timestamp >= {start}")),
            // All of that millisecond: moments are finer.
            self.end.map(|end| format!("timestamp < {}", end.saturating_add(1))),
        ];
        Ok(parts.into_iter().flatten().collect::<Vec<_>>().join(" and "))
    }
}

pub(super) async fn calls(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<CallsQuery>, QueryRejection>,
) -> Result<Json<Value>, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let (format, group_by) = (query.format()?, query.group_by()?);
    // By itself first, so that an error names the place in what was sent.
    api.parse(query.kfl.as_deref().unwrap_or_default())
        .map_err(|error| Fault::bad_request(error.to_string()))?;
    let filter = api.parse(&query.text()?).map_err(|error| Fault::bad_request(error.to_string()))?;
    let most = filter.limit().map_or(MAX_LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT).min(most);
    let look = Look::new(Shape::Full, hides_secrets(caller.role)).redacting(&filter);
    let answer = blocking(move || {
        let history = api.history_of(query.db.as_deref().or(query.snapshot_id.as_deref()))?;
        answer(&*history, &filter, limit, format, group_by, &look)
    });
    Ok(Json(answer.await??))
}

fn answer(
    history: &dyn History,
    filter: &Filter,
    limit: usize,
    format: Format,
    group_by: Option<GroupBy>,
    look: &Look,
) -> Result<Value, Fault> {
    let (mut calls, mut groups): (Vec<Value>, BTreeMap<String, u64>) = Default::default();
    let (mut before, mut bytes) = (None, 0);
    while calls.len() < limit && bytes < MAX_BYTES {
        let page = history.newest_first(filter, before, (limit - calls.len()).min(CHUNK))?;
        for entry in &page.entries {
            let text = look.write(entry);
            bytes += text.len();
            // What was just written is JSON.
            let full: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(group_by) = group_by {
                let key = if group_by == GroupBy::Node { entry.node.name.to_string() } else { String::new() };
                *groups.entry(key).or_default() += 1;
            }
            calls.push(match format {
                Format::Compact => compact(entry, &full),
                Format::Full => whole(entry, &full),
                Format::Raw => full,
            });
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let scope = Scope { filter: filter.clone(), from: Timestamp::ZERO, to: Timestamp(u64::MAX) };
    let counted = history.statistics(scope, Grouping::default())?;
    // Calls may have come or gone between the two looks.
    let total = counted.value.total.tally.calls.max(calls.len() as u64);
    let truncated = !counted.complete || total > calls.len() as u64;
    let mut answer = json!({ "calls": calls, "total": total, "truncated": truncated });
    if let Some(fields) = answer.as_object_mut().filter(|_| group_by.is_some()) {
        fields.insert("groups".to_owned(), json!(groups));
    }
    Ok(answer)
}

/// The list's item; `full` is the entry as its reader may see it.
fn compact(entry: &Entry, full: &Value) -> Value {
    let end = |name: &str| {
        let end = &full[name];
        json!({
            "ip": end["ip"],
            // Numbers here, texts in entries.
            "port": end["port"].as_str().and_then(|port| port.parse::<u16>().ok()).unwrap_or(0),
            "name": end["name"],
            "pod": "",
            "ns": "",
        })
    };
    let mut dst = end("dst");
    if let Some(fields) = dst.as_object_mut() {
        fields.insert("svc".to_owned(), "".into());
        fields.insert("node".to_owned(), (*entry.node.name).into());
    }
    let path = full["request"]["path"].as_str().unwrap_or(entry.summary.as_str());
    json!({
        "id": full["id"],
        "ts": full["timestamp"],
        "src": end("src"),
        "dst": dst,
        "proto": full["protocol"]["name"],
        "method": entry.method,
        "path": path,
        "status": entry.status,
        "latency_ms": full["elapsedTime"],
    })
}

/// The item with headers and bodies.
fn whole(entry: &Entry, full: &Value) -> Value {
    let mut call = compact(entry, full);
    let body = |half: &str| {
        let half = &full[half];
        ["postData", "content"].iter().find_map(|name| half[*name]["text"].as_str()).unwrap_or("").to_owned()
    };
    let more = json!({
        "conn_id": entry.connection.0,
        "node_id": entry.node.name,
        "flow_id": entry.connection.0,
        "worker": entry.node.name,
        "req_headers": headers(&full["request"]),
        "resp_headers": headers(&full["response"]),
        "req_body": body("request"),
        "resp_body": body("response"),
        "req_size": entry.request_size,
        "resp_size": entry.response_size,
    });
    if let (Some(fields), Value::Object(more)) = (call.as_object_mut(), more) {
        fields.extend(more);
    }
    call
}

fn headers(message: &Value) -> Value {
    match &message["headers"] {
        headers @ Value::Object(_) => headers.clone(),
        _ => Value::Object(Map::new()),
    }
}
