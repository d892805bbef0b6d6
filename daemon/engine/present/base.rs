//! The list row.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::View;
use super::parts::{Capture, Failure, ProtocolObject, Resolution, Text, elapsed_ms, state};
use super::redact::{Redaction, without_query_secrets};
use crate::dissect::registry;
use crate::model::Entry;

/// An entry as `/api/ws` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// What is shown.
    pub entry: &'a Entry,
    /// To whom.
    pub view: &'a View,
}

impl Serialize for Base<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let columns = registry::protocol(&entry.protocol).map(|protocol| protocol.columns);
        let path = |path: fn(crate::dissect::Columns) -> &'static str| columns.map_or("", path);
        let summary = match self.view.redact {
            Redaction::None => (*entry.summary).into(),
            Redaction::Secrets => without_query_secrets(&entry.summary),
        };
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("id", &Text(&entry.id))?;
        out.serialize_entry("stream", &*entry.id.stream)?;
        out.serialize_entry("worker", &*entry.id.node)?;
        out.serialize_entry("seq", &entry.seq)?;
        out.serialize_entry("proto", &ProtocolObject(&entry.protocol))?;
        out.serialize_entry("tls", &entry.tls)?;
        out.serialize_entry("outgoing", &entry.outgoing)?;
        out.serialize_entry("summary", &summary)?;
        out.serialize_entry("summaryQuery", &Text(Query(path(|it| it.summary), Operand::Text(&summary))))?;
        out.serialize_entry("status", &entry.status)?;
        out.serialize_entry(
            "statusQuery",
            &Text(Query(path(|it| it.status), Operand::Number(entry.status))),
        )?;
        out.serialize_entry("method", &*entry.method)?;
        out.serialize_entry("methodQuery", &Text(Query(path(|it| it.method), Operand::Text(&entry.method))))?;
        out.serialize_entry("timestamp", &entry.timing.began().millis())?;
        out.serialize_entry("elapsedTime", &elapsed_ms(entry))?;
        out.serialize_entry("src", &Resolution { peer: &entry.src, whole: false })?;
        out.serialize_entry("dst", &Resolution { peer: &entry.dst, whole: false })?;
        out.serialize_entry("requestSize", &entry.request_size)?;
        out.serialize_entry("responseSize", &entry.response_size)?;
        out.serialize_entry("size", &(entry.request_size + entry.response_size))?;
        out.serialize_entry("passed", &false)?;
        out.serialize_entry("failed", &false)?;
        out.serialize_entry("error", &Failure(entry))?;
        out.serialize_entry("state", state(entry))?;
        out.serialize_entry("record", "")?;
        out.serialize_entry("event", &false)?;
        out.serialize_entry("capture", &Capture(entry))?;
        out.serialize_entry("checksums", &[(); 0])?;
        out.serialize_entry("duplicate", "")?;
        out.end()
    }
}

enum Operand<'a> {
    Text(&'a str),
    Number(i64),
}

/// `path == value` as KFL; empty where there is nothing to compare.
struct Query<'a>(&'static str, Operand<'a>);

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, &self.1) {
            ("", _) | (_, Operand::Text("") | Operand::Number(0)) => Ok(()),
            (path, Operand::Number(number)) => write!(f, "{path} == {number}"),
            (path, Operand::Text(text)) => write!(f, "{path} == {}", Quoted(text)),
        }
    }
}

/// A KFL string literal.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}
