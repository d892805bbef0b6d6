//! A message tree as JSON, with secrets and payloads hidden where the view says so.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use smallvec::SmallVec;

use super::View;
use super::redact::{self, REDACTED, Redaction};
use crate::model::Value;

/// The part of a tree that stands under a path.
#[derive(Clone, Debug)]
pub(super) struct Tree<'a> {
    value: &'a Value,
    hide: bool,
    /// What is left of the payload paths below this place.
    payloads: SmallVec<[&'static str; 4]>,
    secret: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secret {
    /// Shown.
    No,
    /// A text that may hold a URL with secrets.
    Inside,
    /// As `Inside`, and the names below are those of query parameters.
    Parameters,
    /// All values below.
    Below,
}

impl<'a> Tree<'a> {
    /// The tree under `root` (`"request"`, `"response"`).
    pub(super) fn new(value: &'a Value, root: &str, payloads: &[&'static str], view: View) -> Self {
        let hide = view.redact == Redaction::Secrets;
        let payloads = if hide { below(payloads, root) } else { SmallVec::new() };
        Self { value, hide, payloads, secret: if hide { Secret::Inside } else { Secret::No } }
    }

    fn child(&self, key: &str, value: &'a Value) -> Self {
        if !self.hide {
            return Self { value, hide: false, payloads: SmallVec::new(), secret: Secret::No };
        }
        let sensitive = match self.secret {
            Secret::Below => true,
            Secret::Parameters => redact::is_sensitive_parameter(key),
            Secret::Inside | Secret::No => redact::is_secret_map(key) || redact::is_sensitive(key),
        };
        let secret = match sensitive {
            true => Secret::Below,
            false if redact::is_parameter_map(key) => Secret::Parameters,
            false => Secret::Inside,
        };
        Self { value, hide: true, payloads: below(&self.payloads, key), secret }
    }
}

/// Ends a payload path of a URL whose query alone is payload.
const QUERY: &str = "?";

/// Payload paths below `key`.
fn below(payloads: &[&'static str], key: &str) -> SmallVec<[&'static str; 4]> {
    let rest = payloads.iter().filter_map(|path| path.strip_prefix(key));
    rest.filter_map(|rest| if matches!(rest, "" | QUERY) { Some(rest) } else { rest.strip_prefix('.') })
        .collect()
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = self.payloads.iter().any(|rest| rest.is_empty());
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Map(_) if payload => serializer.serialize_map(Some(0))?.end(),
            Value::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map.iter() {
                    out.serialize_entry(key, &self.child(key, value))?;
                }
                out.end()
            }
            Value::List(_) if payload => serializer.serialize_seq(Some(0))?.end(),
            Value::List(values) => {
                let mut out = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    out.serialize_element(&Self { value, ..self.clone() })?;
                }
                out.end()
            }
            _ if payload => serializer.serialize_str(""),
            _ if self.secret == Secret::Below => serializer.serialize_str(REDACTED),
            Value::Str(text) if self.payloads.contains(&QUERY) => {
                let front = redact::without_query_secrets(text.split('?').next().unwrap_or_default());
                let hidden = if text.contains('?') { "?[REDACTED]" } else { "" };
                serializer.serialize_str(&format!("{front}{hidden}"))
            }
            Value::Str(text) if self.secret == Secret::Inside => {
                serializer.serialize_str(&redact::without_query_secrets(text))
            }
            Value::Str(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
        }
    }
}
