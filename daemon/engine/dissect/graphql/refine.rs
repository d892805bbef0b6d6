//! Recognises GraphQL in a finished HTTP call of any version, and adds what it found.

use memchr::memmem;

use super::call::{self, Call};
use crate::dissect::Transaction;
use crate::limits::{Limits, graphql as limits};
use crate::model::{Map, ProtocolKey, Value};

/// GraphQL over HTTP/1.
const OVER_HTTP1: ProtocolKey = ProtocolKey::new("gqlv1");
/// GraphQL over HTTP/2.
const OVER_HTTP2: ProtocolKey = ProtocolKey::new("gqlv2");

/// Makes the call a GraphQL call if it is one. What HTTP put into it stays.
pub(in crate::dissect) fn refine(transaction: &mut Transaction, _limits: &Limits) -> bool {
    let Some(calls) = calls(&transaction.request) else { return false };
    let Some(first) = calls.first() else { return false };
    transaction.summary = match calls.len() {
        1 => first.summary(),
        _ => calls.iter().map(Call::summary).collect::<Vec<_>>().join(", ").into(),
    };
    let mut graphql = first.tree();
    if calls.len() > 1 {
        graphql.put("batch", Value::List(calls.iter().map(|call| Value::Map(call.tree())).collect()));
    }
    add(&mut transaction.request, graphql);
    let answer = match transaction.response.get("content").and_then(|content| content.get("text")) {
        Some(text) => bytes(text).filter(|body| body.len() <= limits::BODY).and_then(call::answer),
        None => None,
    };
    if let Some(answer) = answer {
        add(&mut transaction.response, answer);
    }
    transaction.protocol = if transaction.protocol.as_str() == "http2" { OVER_HTTP2 } else { OVER_HTTP1 };
    true
}

fn add(side: &mut Value, graphql: Map) {
    if let Value::Map(tree) = side {
        tree.put("graphql", graphql);
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Str(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn calls(request: &Value) -> Option<Vec<Call>> {
    match text(request, "method") {
        "POST" => posted(request),
        "GET" => in_url(request),
        _ => None,
    }
}

fn posted(request: &Value) -> Option<Vec<Call>> {
    let post = request.get("postData")?;
    let kind = text(post, "mimeType").split(';').next().unwrap_or("").trim();
    let is = |wanted: &str| kind.eq_ignore_ascii_case(wanted);
    if is("application/graphql") {
        return call::of_parts(text(post, "text"), "", "", "").map(|call| vec![call]);
    }
    if is("multipart/form-data") {
        return uploaded(post);
    }
    let json =
        kind.len() >= 4 && kind.get(kind.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case("json"));
    if !json && !kind.is_empty() {
        return None;
    }
    let body = bytes(post.get("text")?)?;
    // Most JSON has neither, and is not worth reading.
    let hints = [&b"\"query\""[..], b"\"persistedQuery\""];
    if body.len() > limits::BODY || !hints.iter().any(|hint| memmem::find(body, hint).is_some()) {
        return None;
    }
    call::of_json(body)
}

/// Files beside the call (GraphQL multipart request): the call is the form's field `operations`.
fn uploaded(post: &Value) -> Option<Vec<Call>> {
    let Value::List(params) = post.get("params")? else { return None };
    let field = params.iter().find(|param| text(param, "name") == "operations")?;
    call::of_json(text(field, "value").as_bytes())
}

fn in_url(request: &Value) -> Option<Vec<Call>> {
    let parameters = request.get("queryString")?;
    let (query, extensions) = (text(parameters, "query"), text(parameters, "extensions"));
    if query.is_empty() && !extensions.contains("persistedQuery") {
        return None;
    }
    let (name, variables) = (text(parameters, "operationName"), text(parameters, "variables"));
    call::of_parts(query, name, variables, extensions).map(|call| vec![call])
}
