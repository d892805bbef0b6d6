//! Masks values of a full entry's JSON: what `redact("path", ...)` asks for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::ast::{Expr, ExprKind, SegmentKind};
use super::document;
use super::resolve::plain_step;
use super::select::{Alias, Step};
use crate::limits::kfl as limits;

/// What stands in the place of a masked value.
pub const REDACTED: &str = "[REDACTED]";

/// A path of the full entry whose values are masked.
#[derive(Clone, Debug, PartialEq)]
pub struct RedactPath {
    text: String,
    steps: Vec<RedactStep>,
}

#[derive(Clone, Debug, PartialEq)]
enum RedactStep {
    Step(Step),
    /// The text read as JSON.
    Json,
    /// The text read as XML.
    Xml,
}

impl RedactPath {
    /// The path as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads a path such as `request.headers["Authorization"]` or `response.body.json()..password`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a path such as request.path");
        let expr = super::parse::parse(text).map_err(|error| format!("bad path: {}", error.message))?;
        let expr = expr.ok_or_else(bad)?;
        let mut steps = Vec::new();
        let (root, segments) = match &expr.kind {
            ExprKind::Name(name) => (name, &[][..]),
            ExprKind::Chain(base, segments) => match &base.kind {
                ExprKind::Name(name) => (name, segments.as_slice()),
                _ => return Err(bad()),
            },
            _ => return Err(bad()),
        };
        let root = root_path(root).ok_or_else(|| unknown_root(root, &expr))?;
        steps.extend(
            root.split('.').map(|part| RedactStep::Step(Step::Member { name: part.into(), alias: None })),
        );
        for segment in segments {
            let first = steps.len() == 1;
            let headers = matches!(steps.last(), Some(RedactStep::Step(Step::Member { name, .. })) if name == "headers");
            match (&segment.kind, plain_step(segment, first, headers)) {
                (_, Some(step)) => steps.push(RedactStep::Step(step)),
                (SegmentKind::Method(name, args), _) if args.is_empty() && &*name.text == "json" => {
                    steps.push(RedactStep::Json);
                }
                (SegmentKind::Method(name, args), _) if args.is_empty() && &*name.text == "xml" => {
                    steps.push(RedactStep::Xml);
                }
                _ => return Err(bad()),
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// Where the full entry has what a filter calls `name`.
fn root_path(name: &str) -> Option<&str> {
    Some(match name {
        "request" | "response" | "src" | "dst" | "node" | "error" | "data" | "event" | "protocol"
        | "capture" | "id" | "stream" | "worker" | "namespace" | "record" | "entryFile" | "matcherKey"
        | "base" => name,
        "method" => "request.method",
        "url" => "request.url",
        "path" => "request.path",
        "query_string" => "request.queryString",
        "status_code" => "response.status",
        "node_name" => "node.name",
        "node_ip" => "node.ip",
        "error_type" => "error.type",
        "error_message" => "error.msg",
        "redis_key" => "request.key",
        _ => return None,
    })
}

fn unknown_root(name: &str, expr: &Expr) -> String {
    format!(
        "nothing of the entry is called `{name}` in `{expr}`; use a path of the full entry such as request.path"
    )
}

/// Replaces the values at `paths` by `[REDACTED]`, also inside of bodies that are JSON or XML.
///
/// A masked part of an XML body masks the whole body. A body that is not what its path says is
/// masked as a whole as well: what cannot be read cannot be shown safely.
pub fn redact_json(value: &mut Json, paths: &[RedactPath]) {
    for path in paths {
        redact(value, &path.steps);
    }
}

fn redact(value: &mut Json, steps: &[RedactStep]) {
    let Some((step, rest)) = steps.split_first() else {
        if !value.is_null() {
            *value = Json::String(REDACTED.to_owned());
        }
        return;
    };
    match step {
        RedactStep::Step(step) => redact_step(value, step, rest),
        RedactStep::Json => redact_text(value, rest),
        RedactStep::Xml => {
            if value.as_str().is_some_and(|text| !text.is_empty()) {
                *value = Json::String(REDACTED.to_owned());
            }
        }
    }
}

fn redact_step(value: &mut Json, step: &Step, rest: &[RedactStep]) {
    match (step, value) {
        (Step::Member { name, alias }, Json::Object(map)) => {
            if let Some(child) = map.get_mut(name.as_str()) {
                redact(child, rest);
            }
            match alias {
                Some(Alias::Name(other)) => {
                    if let Some(child) = map.get_mut(*other) {
                        redact(child, rest);
                    }
                }
                Some(Alias::Body) => {
                    for part in ["postData", "content"] {
                        if let Some(child) = map.get_mut(part).and_then(|part| part.get_mut("text")) {
                            redact(child, rest);
                        }
                    }
                }
                None => {}
            }
        }
        (Step::Header(name), Json::Object(map)) => {
            let named = map.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            for (_, child) in named {
                redact(child, rest);
            }
        }
        (Step::Item(index), Json::Array(items)) => {
            if let Some(item) = usize::try_from(*index).ok().and_then(|index| items.get_mut(index)) {
                redact(item, rest);
            }
        }
        (Step::All, Json::Array(items)) => items.iter_mut().for_each(|item| redact(item, rest)),
        (Step::All, Json::Object(map)) => map.values_mut().for_each(|child| redact(child, rest)),
        (Step::Member { .. } | Step::Header(_), Json::Array(items)) => {
            for item in items {
                redact_step(item, step, rest);
            }
        }
        (Step::Descend(name), value) => descend(value, name, rest),
        _ => {}
    }
}

/// Masks below every value of a name, at any depth; an explicit stack, for the depth is the entry's.
fn descend(value: &mut Json, name: &str, rest: &[RedactStep]) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Json::Object(map) => {
                for (key, child) in map.iter_mut() {
                    if key == name {
                        redact(child, rest);
                    }
                    open.push(child);
                }
            }
            Json::Array(items) => open.extend(items.iter_mut()),
            _ => {}
        }
    }
}

/// Masks inside of a text that is JSON, or base64 of it, and writes it back in the same form.
fn redact_text(value: &mut Json, rest: &[RedactStep]) {
    let Json::String(text) = value else { return redact(value, rest) };
    if text.is_empty() {
        return;
    }
    let masked = if text.len() > limits::DOCUMENT * 2 {
        None
    } else if let Some(mut tree) = structure(text.as_bytes()) {
        redact(&mut tree, rest);
        Some(tree.to_string())
    } else {
        document::base64_text(text.as_bytes()).and_then(|decoded| structure(&decoded)).map(|mut tree| {
            redact(&mut tree, rest);
            STANDARD.encode(tree.to_string())
        })
    };
    *text = masked.unwrap_or_else(|| REDACTED.to_owned());
}

fn structure(text: &[u8]) -> Option<Json> {
    let tree: Json = serde_json::from_slice(text).ok()?;
    (tree.is_object() || tree.is_array()).then_some(tree)
}
