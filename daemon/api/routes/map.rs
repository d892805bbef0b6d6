//! The service map: who called whom, made of kept calls.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::stats::{LatencyRow, scope};
use super::{Api, blocking, enveloped};
use crate::api::control::Gathered;
use crate::api::fault::Fault;
use crate::api::schema::Envelope;
use crate::engine::model::ProtocolKey;
use crate::store::{NodeKey, Tally, Topology};

/// Edges of an answer when the request does not say how many.
const DEFAULT_EDGES: usize = 500;
/// Most edges of an answer.
const MAX_LISTED: usize = 5000;

/// Which calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MapQuery {
    kfl: Option<String>,
    q: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    snapshot: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Node {
    id: String,
    name: String,
    kind: &'static str,
    ips: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Edge {
    src: String,
    dst: String,
    protocol: String,
    calls: u64,
    errors: u64,
    request_bytes: u64,
    response_bytes: u64,
    latency: Option<LatencyRow>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Map {
    complete: bool,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    other_calls: u64,
}

pub(super) async fn map(
    State(api): State<Arc<Api>>,
    query: Result<Query<MapQuery>, QueryRejection>,
) -> Result<Json<Envelope<Map>>, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let text = query.kfl.or(query.q).unwrap_or_default();
    let scope = scope(&api, &text, query.from.as_deref(), query.to.as_deref())?;
    let limit = query.limit.unwrap_or(DEFAULT_EDGES).min(MAX_LISTED);
    let gathered = blocking(move || {
        let history = api.history_of(query.snapshot.as_deref())?;
        history.topology(scope).map_err(Fault::from)
    });
    let gathered = gathered.await??;
    Ok(enveloped(answer(gathered, limit)))
}

fn answer(gathered: Gathered<Topology>, limit: usize) -> Map {
    let Topology { nodes, edges, other } = gathered.value;
    let mut edges: Vec<((NodeKey, NodeKey, ProtocolKey), Tally)> = edges.into_iter().collect();
    edges.sort_unstable_by(|(a, left), (b, right)| right.calls.cmp(&left.calls).then_with(|| a.cmp(b)));
    let rest = edges.split_off(limit.min(edges.len()));
    let shown: BTreeSet<&NodeKey> = edges.iter().flat_map(|((src, dst, _), _)| [src, dst]).collect();
    Map {
        complete: gathered.complete,
        nodes: shown.iter().map(|key| node(key, &nodes)).collect(),
        other_calls: other.calls + rest.iter().map(|(_, tally)| tally.calls).sum::<u64>(),
        edges: edges
            .iter()
            .map(|((src, dst, protocol), tally)| Edge {
                src: id(src),
                dst: id(dst),
                protocol: protocol.as_str().to_owned(),
                calls: tally.calls,
                errors: tally.errors,
                request_bytes: tally.request_bytes,
                response_bytes: tally.response_bytes,
                latency: LatencyRow::of(tally),
            })
            .collect(),
    }
}

fn node(key: &NodeKey, nodes: &HashMap<NodeKey, crate::store::Node>) -> Node {
    let known = nodes.get(key);
    Node {
        id: id(key),
        name: known.map_or_else(|| key.1.to_string(), |node| node.name.to_string()),
        kind: key.0.name(),
        ips: known.into_iter().flat_map(|node| &node.ips).map(ToString::to_string).collect(),
    }
}

fn id((kind, name): &NodeKey) -> String {
    format!("{}:{name}", kind.name())
}
