//! `fields=a.b,c`: which parts of an entry's JSON a subscriber gets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::observed::Shape;

/// The schema of a full entry.
const SCHEMA: &str = include_str!("../../docs/entry.schema.json");

/// Paths of one projection: more is no selection.
const MAX_FIELDS: usize = 64;

/// Names of one path.
const MAX_DEPTH: usize = 16;

/// Keys of a base entry.
const BASE_KEYS: [&str; 28] = [
    "capture",
    "checksums",
    "dst",
    "duplicate",
    "elapsedTime",
    "error",
    "event",
    "failed",
    "id",
    "method",
    "methodQuery",
    "outgoing",
    "passed",
    "proto",
    "record",
    "requestSize",
    "responseSize",
    "seq",
    "size",
    "src",
    "status",
    "statusQuery",
    "stream",
    "summary",
    "summaryQuery",
    "timestamp",
    "tls",
    "worker",
];

/// A selection of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    children: Vec<(String, Self)>,
}

/// Why a selection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// The entry has no such part.
    #[error("fields: an entry of this stream has no {path:?}; see docs/entry.schema.json")]
    Unknown {
        /// As it was written.
        path: String,
    },
    /// It is too long.
    #[error("fields: at most {MAX_FIELDS} paths of at most {MAX_DEPTH} names each")]
    TooMany,
}

impl Projection {
    /// Reads comma-separated paths such as `seq,src.name,request.headers.Host`.
    pub fn parse(text: &str, shape: Shape) -> Result<Self, ProjectionError> {
        let mut all = Self::default();
        for (number, path) in text.split(',').map(str::trim).enumerate() {
            let steps: Vec<&str> = path.split('.').collect();
            if number >= MAX_FIELDS || steps.len() > MAX_DEPTH {
                return Err(ProjectionError::TooMany);
            }
            if !is_known(&steps, shape) {
                return Err(ProjectionError::Unknown { path: path.to_owned() });
            }
            all.add(&steps);
        }
        Ok(all)
    }

    /// A path that ends inside of another one's way selects all that is there.
    fn add(&mut self, steps: &[&str]) {
        let mut at = self;
        for (number, step) in steps.iter().enumerate() {
            let found = at.children.iter().position(|(name, _)| name == step);
            let index = match found {
                // All of it is selected already.
                Some(index) if at.children.get(index).is_some_and(|(_, child)| child.children.is_empty()) => {
                    return;
                }
                Some(index) => index,
                None => {
                    at.children.push(((*step).to_owned(), Self::default()));
                    at.children.len() - 1
                }
            };
            let Some((_, child)) = at.children.get_mut(index) else { return };
            if number + 1 == steps.len() {
                child.children.clear();
            }
            at = child;
        }
    }

    /// The selected parts of an entry's JSON, in the order of the selection. Parts that this entry
    /// does not have are left out.
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(256);
        self.write(text, false, &mut out);
        out
    }

    // Recursion ends with the selection, which is at most MAX_DEPTH deep.
    fn write(&self, text: &str, headers: bool, out: &mut String) {
        if self.children.is_empty() {
            out.push_str(text);
            return;
        }
        match text.as_bytes().first() {
            Some(b'{') => self.write_object(text, headers, out),
            Some(b'[') => self.write_array(text, headers, out),
            // A null on the way, such as the response of a call without one, is what there is.
            _ => out.push_str(text),
        }
    }

    fn write_object(&self, text: &str, headers: bool, out: &mut String) {
        let parts: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).unwrap_or_default();
        out.push('{');
        let start = out.len();
        for (name, child) in &self.children {
            let found = match parts.get_key_value(name.as_str()) {
                None if headers => parts.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)),
                found => found,
            };
            let Some((key, part)) = found else { continue };
            if out.len() > start {
                out.push(',');
            }
            // Cannot fail: a text.
            out.push_str(&serde_json::to_string(key).unwrap_or_default());
            out.push(':');
            child.write(part.get(), name == "headers", out);
        }
        out.push('}');
    }

    fn write_array(&self, text: &str, headers: bool, out: &mut String) {
        let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            self.write(item.get(), headers, out);
        }
        out.push(']');
    }
}

/// Whether an entry of this shape may have something there. Below `request` and `response` each
/// protocol has its own parts, so anything may be there.
fn is_known(steps: &[&str], shape: Shape) -> bool {
    static PARSED: LazyLock<Json> = LazyLock::new(|| serde_json::from_str(SCHEMA).unwrap_or_default());
    let Some((root, rest)) = steps.split_first() else { return false };
    let name = match (shape, *root) {
        (Shape::Base, root) if !BASE_KEYS.contains(&root) => return false,
        (Shape::Base, "proto") => "protocol",
        // Plain values that the full entry does not have.
        (Shape::Base, "status" | "statusQuery" | "summary" | "summaryQuery" | "method" | "methodQuery") => {
            return rest.is_empty();
        }
        (Shape::Base | Shape::Full, root) => root,
        (Shape::Detail, _) => return false,
    };
    let mut at = PARSED.get("properties").and_then(|properties| properties.get(name));
    for step in rest {
        let Some(schema) = at else { return false };
        let schema = if schema.get("items").is_some() { &schema["items"] } else { schema };
        match schema.get("properties") {
            Some(properties) => {
                at = properties.get(step);
                if at.is_none() && schema.get("additionalProperties").is_none() {
                    return !step.is_empty();
                }
            }
            None => return is_open(schema) && !step.is_empty(),
        }
    }
    at.is_some()
}

/// Whether the schema says nothing about the parts of an object.
fn is_open(schema: &Json) -> bool {
    match &schema["type"] {
        Json::String(name) => name == "object",
        Json::Array(names) => names.iter().any(|name| name == "object"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"seq":7,"src":{"ip":"10.0.0.1","name":"a, \"b\""},"request":{"headers":{"Host":"x","accept":"*"},"path":"/"},"response":null,"events":[{"type":"mid_stream"},{"type":"anomaly","what":"w"}]}"#;

    fn project(fields: &str) -> String {
        Projection::parse(fields, Shape::Full).unwrap().apply(ENTRY)
    }

    #[test]
    fn selected_parts_come_in_the_order_of_the_selection() {
        assert_eq!(project("request.path,seq"), r#"{"request":{"path":"/"},"seq":7}"#);
        assert_eq!(project("src"), r#"{"src":{"ip":"10.0.0.1","name":"a, \"b\""}}"#);
        assert_eq!(project("src.ip , src"), project("src"));
        assert_eq!(project("src,src.ip"), project("src"));
        assert_eq!(project("src.ip,src.name"), project("src.ip, src.name"));
        assert_eq!(project("response.status,request.cookies"), r#"{"response":null,"request":{}}"#);
        assert_eq!(project("request.headers.host"), r#"{"request":{"headers":{"Host":"x"}}}"#);
        assert_eq!(project("events.type"), r#"{"events":[{"type":"mid_stream"},{"type":"anomaly"}]}"#);
    }

    #[test]
    fn what_no_entry_has_is_refused_by_name() {
        for (fields, shape) in [
            ("respones", Shape::Full),
            ("seq,src.nmae", Shape::Full),
            ("", Shape::Full),
            ("src.", Shape::Full),
            ("seq.x", Shape::Full),
            ("request.path", Shape::Base),
            ("status.x", Shape::Base),
        ] {
            let error = Projection::parse(fields, shape).unwrap_err();
            assert!(matches!(error, ProjectionError::Unknown { .. }), "{fields}: {error}");
        }
        let many = vec!["seq"; MAX_FIELDS + 1].join(",");
        assert_eq!(Projection::parse(&many, Shape::Full), Err(ProjectionError::TooMany));
        for fields in ["request.any.thing", "dst.processName", "protocol.abbr", "events.what"] {
            assert!(Projection::parse(fields, Shape::Full).is_ok(), "{fields}");
        }
        assert!(Projection::parse("seq,proto.name,dst.ip,status", Shape::Base).is_ok());
    }
}
