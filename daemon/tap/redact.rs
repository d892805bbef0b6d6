//! Applies a filter's `redact(...)` to an entry's JSON.

use serde_json::Value as Json;

use super::observed::Shape;
use crate::engine::kfl::{REDACTED, RedactPath, redact_json};

/// Keys of a base entry that repeat parts of the message.
const REPEATED: [&str; 6] = ["summary", "summaryQuery", "method", "methodQuery", "status", "statusQuery"];

/// The same JSON with the values at `paths`, which are paths of the full entry, masked. Text that
/// cannot be read back is not shown at all: what cannot be searched cannot be masked.
pub(super) fn apply(text: &str, shape: Shape, paths: &[RedactPath]) -> String {
    let Ok(mut json) = serde_json::from_str::<Json>(text) else { return "{}".to_owned() };
    match shape {
        Shape::Full => redact_full(&mut json, paths),
        Shape::Base => redact_base(&mut json, paths),
        Shape::Detail => {
            if let Some(full) = json.get_mut("data") {
                redact_full(full, paths);
            }
            if let Some(base) = json.get_mut("base") {
                redact_base(base, paths);
            }
            // Sections repeat the message under headings, where paths cannot be followed.
            if let Some(sections) = json.get_mut("representation") {
                *sections = Json::Object(serde_json::Map::new());
            }
        }
    }
    json.to_string()
}

fn redact_full(json: &mut Json, paths: &[RedactPath]) {
    redact_json(json, paths);
    if let Some(base) = json.get_mut("base") {
        redact_base(base, paths);
    }
}

/// A base entry has the ends and ids at the same paths as the full one; of the message it repeats a few
/// values under other names, which are masked unless the path is about headers or contents.
fn redact_base(json: &mut Json, paths: &[RedactPath]) {
    redact_json(json, paths);
    if paths.iter().any(|path| is_repeated(path.text())) {
        for key in REPEATED {
            if let Some(value) = json.get_mut(key).filter(|value| !value.is_null()) {
                *value = Json::String(REDACTED.to_owned());
            }
        }
    }
}

fn is_repeated(path: &str) -> bool {
    let outside = ["src", "dst", "node", "id", "stream", "worker", "capture", "protocol", "error"];
    let contents = ["headers", "cookies", "body", "postData", "content"];
    let mut words = path.split(|character: char| !character.is_alphanumeric() && character != '_');
    let root = words.next().unwrap_or_default();
    !outside.contains(&root) && !words.next().is_some_and(|word| contents.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_of_the_message_or_about_contents_leave_the_row_readable() {
        for path in
            ["src.name", "request.headers.Authorization", "response.content.text", "request.body.json()..x"]
        {
            assert!(!is_repeated(path), "{path}");
        }
        for path in ["request.path", "url", "request", "response.status", "request.queryString.token"] {
            assert!(is_repeated(path), "{path}");
        }
    }
}
