//! A GraphQL call in an HTTP request, and what came back (GraphQL over HTTP, draft of 2023).

use std::borrow::Cow;

use compact_str::CompactString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::document::{Operation, operations};
use crate::limits::graphql as limits;
use crate::model::{Map, Value};

/// One operation of a request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The document; empty where only its hash was sent.
    query: String,
    /// The operation that runs; none where only a hash was sent.
    operation: Option<Operation>,
    /// The name that was asked for.
    name: CompactString,
    variables: Json,
    /// Hash or id of a document that the server keeps.
    persisted: CompactString,
}

/// The members of a request.
#[derive(Debug, Default, Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    query: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "operationName")]
    operation_name: Option<Cow<'a, str>>,
    #[serde(default)]
    variables: Option<Json>,
    #[serde(default)]
    extensions: Option<Json>,
}

/// The calls of a JSON body: one, or a batch. `None`: it is not GraphQL.
pub(super) fn of_json(body: &[u8]) -> Option<Vec<Call>> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    let bodies = match first {
        b'{' => vec![serde_json::from_slice::<Body<'_>>(body).ok()?],
        b'[' => serde_json::from_slice::<Vec<Body<'_>>>(body).ok()?,
        _ => return None,
    };
    let calls: Option<Vec<Call>> = bodies.into_iter().take(limits::BATCH).map(call).collect();
    calls.filter(|calls| !calls.is_empty())
}

/// The call in parts: URL parameters, or a body that is the document itself.
pub(super) fn of_parts(query: &str, name: &str, variables: &str, extensions: &str) -> Option<Call> {
    call(Body {
        query: Some(Cow::Borrowed(query)).filter(|query| !query.is_empty()),
        operation_name: Some(Cow::Borrowed(name)).filter(|name| !name.is_empty()),
        variables: serde_json::from_str(variables).ok(),
        extensions: serde_json::from_str(extensions).ok(),
    })
}

fn call(body: Body<'_>) -> Option<Call> {
    let name = body.operation_name.unwrap_or_default();
    let persisted =
        body.extensions.as_ref().and_then(|it| it.get("persistedQuery")?.get("sha256Hash")?.as_str());
    let operation = match &body.query {
        Some(query) if !query.is_empty() => {
            let found = operations(query, false)?;
            let named = found.iter().position(|operation| operation.name == *name).unwrap_or(0);
            found.into_iter().nth(named)
        }
        _ => {
            persisted?;
            None
        }
    };
    Some(Call {
        persisted: persisted.unwrap_or_default().into(),
        query: body.query.unwrap_or_default().into_owned(),
        operation,
        name: name.as_ref().into(),
        variables: body.variables.unwrap_or_default(),
    })
}

impl Call {
    /// The name of the operation; its root fields where it has none.
    pub(super) fn summary(&self) -> CompactString {
        match &self.operation {
            _ if !self.name.is_empty() => self.name.clone(),
            Some(operation) if !operation.name.is_empty() => operation.name.clone(),
            Some(operation) => operation.fields.join(" ").into(),
            None => self.persisted.clone(),
        }
    }

    /// As it stands in the entry.
    pub(super) fn tree(&self) -> Map {
        let mut tree = Map::with_capacity(7);
        let operation = self.operation.as_ref();
        let name = operation.map(|it| it.name.clone()).filter(|name| !name.is_empty());
        tree.put("operationName", name.unwrap_or_else(|| self.name.clone()));
        tree.put("operationType", Value::from(operation.map_or("", |it| it.kind.name())));
        let fields = operation.map(|it| it.fields.as_slice()).unwrap_or_default();
        tree.put("fields", Value::List(fields.iter().map(|name| Value::Str(name.clone())).collect()));
        tree.put("query", Value::from(self.query.as_str()));
        tree.put("mimeType", Value::from("application/graphql"));
        let mut nodes = limits::NODES;
        tree.put("variables", value(&self.variables, limits::DEPTH, &mut nodes));
        if !self.persisted.is_empty() {
            tree.put("persistedQuery", self.persisted.clone());
        }
        tree
    }
}

/// JSON as a message tree; what lies too deep or comes too late is text.
fn value(json: &Json, depth: usize, nodes: &mut usize) -> Value {
    *nodes = nodes.saturating_sub(1);
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
        }
        Json::String(text) => Value::from(text.as_str()),
        other if depth == 0 || *nodes == 0 => Value::Str(other.to_string().into()),
        Json::Array(items) => Value::List(items.iter().map(|item| value(item, depth - 1, nodes)).collect()),
        Json::Object(items) => Value::Map(Map(items
            .iter()
            .map(|(key, item)| (key.as_str().into(), value(item, depth - 1, nodes)))
            .collect())),
    }
}

/// The members of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<IgnoredAny>,
    #[serde(default)]
    errors: Option<Vec<Json>>,
}

/// What an answer says beside its data. `None`: it is not a GraphQL answer.
pub(super) fn answer(body: &[u8]) -> Option<Map> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    let answers = match first {
        b'{' => vec![serde_json::from_slice::<Answer>(body).ok()?],
        b'[' => serde_json::from_slice::<Vec<Answer>>(body).ok()?,
        _ => return None,
    };
    let count: usize = answers.iter().map(|answer| answer.errors.as_ref().map_or(0, Vec::len)).sum();
    let errors = answers.iter().flat_map(|answer| answer.errors.iter().flatten()).take(limits::ERRORS);
    let errors: Vec<Map> = errors.map(error).collect();
    let messages = errors.iter().filter_map(|error| error.get("message").cloned()).collect();
    let mut tree = Map::with_capacity(4);
    tree.put("hasData", answers.iter().any(|answer| answer.data.is_some()));
    tree.put("errorCount", Value::Int(count as i64));
    tree.put("messages", Value::List(messages));
    tree.put("errors", Value::List(errors.into_iter().map(Value::Map).collect()));
    Some(tree)
}

fn error(json: &Json) -> Map {
    let text = |json: &Json| match json {
        Json::String(text) => CompactString::from(text.as_str()),
        other => other.to_string().into(),
    };
    let mut tree = Map::with_capacity(3);
    tree.put("message", json.get("message").map(text).unwrap_or_default());
    if let Some(Json::Array(path)) = json.get("path") {
        let parts: Vec<CompactString> = path.iter().take(limits::DEPTH).map(text).collect();
        tree.put("path", CompactString::from(parts.join(".")));
    }
    if let Some(code) = json.get("extensions").and_then(|extensions| extensions.get("code")) {
        tree.put("code", text(code));
    }
    tree
}
