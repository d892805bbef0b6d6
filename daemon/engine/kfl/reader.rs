//! Reads one field of entries by its name, for grouping.

use compact_str::CompactString;

use super::check::Checker;
use super::error::KflError;
use super::eval::Env;
use super::filter::Context;
use super::parse::parse;
use super::program::Term;
use super::sketch::Needs;
use super::value::Val;
use crate::model::Entry;

/// Bytes of a group's text; what is longer is cut.
const MAX_KEY: usize = 256;

/// The text of a field's value. Lists give their first item.
pub type Key = CompactString;

/// Reads a field, or any other expression that has a value.
#[derive(Clone, Debug)]
pub struct FieldReader {
    text: String,
    term: Term,
    needs: Needs,
}

impl FieldReader {
    /// Parses the name of a field, a path such as `request.headers["Host"]`, or an expression.
    pub fn parse(text: &str, context: &Context) -> Result<Self, KflError> {
        let expr = parse(text)?;
        let Some(expr) = &expr else {
            return Err(KflError::new(super::error::Span::default(), "the name of a field is missing"));
        };
        let term = Checker::new(context).check(expr).map_err(|error| error.located(text))?.term;
        let mut needs = Needs::default();
        needs.add_term(&term);
        Ok(Self { text: text.trim().to_owned(), term, needs })
    }

    /// What was parsed.
    pub fn name(&self) -> &str {
        &self.text
    }

    /// Whether it may read the messages.
    pub fn reads_messages(&self) -> bool {
        self.needs.any()
    }

    /// Whether it may read more of the messages than method, path and status: what may be a secret.
    pub fn reads_contents(&self) -> bool {
        self.needs.beyond_mirrored()
    }

    /// Whether a partial entry (see [`super::Sketch::judge`]) has all that is read.
    pub fn is_met_by(&self, partial: &Entry) -> bool {
        self.needs.met_by(partial)
    }

    /// The value's text; empty where the entry has none.
    pub fn read(&self, entry: &Entry) -> Key {
        let mut env = Env::new(entry);
        let value = self.term.value(&mut env);
        let value = if value.is_list() { value.item(0).unwrap_or(Val::Missing) } else { value };
        if matches!(value, Val::Null) {
            return Key::default();
        }
        value.text().map_or_else(Key::default, |text| {
            Key::from_utf8_lossy(text.get(..text.len().min(MAX_KEY)).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::sample;
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn fields_paths_and_expressions_are_read_as_text() {
        let entry = sample::http("GET", "/a/b?x=1", 404, json!({"Host": "shop"}));
        let read = |text: &str| FieldReader::parse(text, &Context::new(Timestamp(9))).unwrap().read(&entry);
        for (text, expected) in [
            ("method", "GET"),
            ("status_code", "404"),
            ("src.ip", "192.168.1.5"),
            ("dst.process.name", "nginx"),
            ("request.headers[\"host\"]", "shop"),
            ("request.pathSegments", "a"),
            ("request.nothing", ""),
            ("http", "true"),
            ("response.status", "404"),
            ("elapsed_time / 1000000", "2"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for wrong in ["", "nosuch", "method =="] {
            assert!(FieldReader::parse(wrong, &Context::new(Timestamp(9))).is_err(), "{wrong}");
        }
    }
}
