//! Counts, rates, error share and latencies of kept calls, by any fields and by time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::{Api, blocking, enveloped, window};
use crate::api::access::{Caller, hides_secrets};
use crate::api::control::{Gathered, Scope};
use crate::api::fault::Fault;
use crate::api::schema::Envelope;
use crate::engine::kfl::{Context, FieldReader, Macros};
use crate::engine::model::Timestamp;
use crate::runtime::clock;
use crate::store::{Group, Grouping, MAX_GROUPS, Statistics, Tally};

/// Groups of an answer when the request does not say how many.
const DEFAULT_GROUPS: usize = 100;
/// Most groups of an answer; with intervals it may hold a row for each in each.
const MAX_LISTED: usize = 1000;
/// Fields that groups may be made of.
const MAX_FIELDS: usize = 4;

/// What to count.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatsQuery {
    kfl: Option<String>,
    q: Option<String>,
    group_by: Option<String>,
    interval: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    snapshot: Option<String>,
}

/// What was counted of some calls.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    calls: u64,
    errors: u64,
    error_share: f64,
    rate: f64,
    request_bytes: u64,
    response_bytes: u64,
    latency: Option<LatencyRow>,
}

/// Microseconds; quantiles are off by 1.6 % at most, `max` is exact.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LatencyRow {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl LatencyRow {
    pub(super) fn of(tally: &Tally) -> Option<Self> {
        let quantile = |share| tally.latencies.quantile(share).map(micros);
        let max = micros(tally.latencies.max()?);
        Some(Self { p50: quantile(0.5)?, p90: quantile(0.9)?, p99: quantile(0.99)?, max })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, Serialize)]
struct Point {
    at: String,
    #[serde(flatten)]
    row: Row,
}

#[derive(Clone, Debug, Serialize)]
struct GroupRow {
    key: Vec<String>,
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<Point>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    from: Option<String>,
    to: Option<String>,
    complete: bool,
    group_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<u64>,
    total: Row,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<Point>,
    groups: Vec<GroupRow>,
    other: Option<Row>,
    other_groups: u64,
    other_groups_exact: bool,
    calls_without_interval: u64,
}

pub(super) async fn stats(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<StatsQuery>, QueryRejection>,
) -> Result<Json<Envelope<Stats>>, Fault> {
    let Query(query) = query.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
    let text = query.kfl.or(query.q).unwrap_or_default();
    let scope = scope(&api, &text, query.from.as_deref(), query.to.as_deref())?;
    let by = readers(&api, query.group_by.as_deref().unwrap_or_default(), &caller)?;
    let interval = query.interval.map(|text| window::span("interval", &text)).transpose()?;
    let limit = query.limit.unwrap_or(DEFAULT_GROUPS).min(MAX_LISTED);
    let names = by.iter().map(|reader| reader.name().to_owned()).collect();
    let (from, to) = (scope.from, scope.to);
    let grouping = Grouping { by, interval };
    let gathered = blocking(move || {
        let history = api.history_of(query.snapshot.as_deref())?;
        history.statistics(scope, grouping).map_err(Fault::from)
    });
    let gathered = gathered.await??;
    Ok(enveloped(answer(gathered, (from, to), names, interval, limit)))
}

/// The calls that a request is about.
pub(super) fn scope(api: &Api, text: &str, from: Option<&str>, to: Option<&str>) -> Result<Scope, Fault> {
    let filter = api.parse(text).map_err(|error| Fault::bad_request(error.to_string()))?;
    if filter.limit().is_some() {
        return Err(Fault::bad_request("limit() ends a list of entries; all that match are counted here"));
    }
    let from = from.map_or(Ok(Timestamp::ZERO), |text| window::moment("from", text))?;
    let to = to.map_or(Ok(Timestamp(u64::MAX)), |text| window::moment("to", text))?;
    if from >= to {
        return Err(Fault::bad_request("from must lie before to"));
    }
    Ok(Scope { filter, from, to })
}

/// The fields that groups are made of: a list with commas.
fn readers(api: &Api, text: &str, caller: &Caller) -> Result<Vec<FieldReader>, Fault> {
    let context = Context { now: clock::now(), macros: Macros::clone(&api.macros.load()) };
    let mut readers = Vec::new();
    for name in split(text) {
        let reader = FieldReader::parse(name, &context)
            .map_err(|error| Fault::bad_request(format!("group_by {name}: {error}")))?;
        if reader.reads_contents() && hides_secrets(caller.role) {
            return Err(Fault::forbidden(format!(
                "group_by {name} reads the contents of messages, which role operator may do; \
                 method, path, status_code and all fields outside of request and response are open to you"
            )));
        }
        readers.push(reader);
    }
    if readers.len() > MAX_FIELDS {
        return Err(Fault::bad_request(format!("group_by takes {MAX_FIELDS} fields at most")));
    }
    Ok(readers)
}

/// Splits at commas outside of brackets and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' | b'[' if !quoted => depth += 1,
            b')' | b']' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn answer(
    gathered: Gathered<Statistics>,
    (from, to): (Timestamp, Timestamp),
    group_by: Vec<String>,
    interval: Option<Duration>,
    limit: usize,
) -> Stats {
    let Gathered { value: counted, complete } = gathered;
    // The window asked for, where it has ends; that of the calls where it has none.
    let first = if from == Timestamp::ZERO || !complete { counted.first } else { Some(from) };
    let last = if to == Timestamp(u64::MAX) { counted.last } else { Some(to) };
    let span = last.zip(first).map_or(0, |(last, first)| last.since(first));
    let rows = Rows { seconds: (span as f64 / 1e9).max(1.0), interval };
    let mut groups: Vec<_> = counted.groups.into_iter().collect();
    groups.sort_unstable_by(|(a, left), (b, right)| {
        right.tally.calls.cmp(&left.tally.calls).then_with(|| a.cmp(b))
    });
    let known = groups.len();
    let rest = groups.split_off(limit.min(known));
    let mut other = counted.other;
    rest.iter().for_each(|(_, group)| other.absorb(&group.tally));
    Stats {
        from: first.map(clock::rfc3339),
        to: last.map(clock::rfc3339),
        complete,
        group_by,
        interval_seconds: interval.map(|interval| interval.as_secs()),
        total: rows.row(&counted.total.tally, rows.seconds),
        series: rows.series(&counted.total),
        groups: groups
            .iter()
            .map(|(key, group)| GroupRow {
                key: key.iter().map(ToString::to_string).collect(),
                row: rows.row(&group.tally, rows.seconds),
                series: rows.series(group),
            })
            .collect(),
        other: (other.calls > 0).then(|| rows.row(&other, rows.seconds)),
        other_groups: rest.len() as u64,
        other_groups_exact: known < MAX_GROUPS,
        calls_without_interval: counted.without_interval,
    }
}

/// What rows have in common.
struct Rows {
    seconds: f64,
    interval: Option<Duration>,
}

impl Rows {
    #[allow(clippy::unused_self, reason = "reads better beside `series`")]
    fn row(&self, tally: &Tally, seconds: f64) -> Row {
        Row {
            calls: tally.calls,
            errors: tally.errors,
            error_share: if tally.calls == 0 { 0.0 } else { tally.errors as f64 / tally.calls as f64 },
            rate: tally.calls as f64 / seconds,
            request_bytes: tally.request_bytes,
            response_bytes: tally.response_bytes,
            latency: LatencyRow::of(tally),
        }
    }

    fn series(&self, group: &Group) -> Vec<Point> {
        let seconds = self.interval.map_or(1.0, |interval| interval.as_secs_f64());
        let point = |(at, tally): (&Timestamp, &Tally)| Point {
            at: clock::rfc3339(*at),
            row: self.row(tally, seconds),
        };
        group.series.iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_commas_outside_of_brackets() {
        assert_eq!(
            split("method, request.headers[\"a,b\"],f(a,b)"),
            ["method", "request.headers[\"a,b\"]", "f(a,b)"]
        );
        assert!(split(" , ").is_empty());
        assert_eq!(split(")]\"x"), [")]\"x"]);
    }
}
