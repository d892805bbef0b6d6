//! The full entry.

use jiff::fmt::temporal::DateTimePrinter;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::View;
use super::parts::{
    Capture, Failure, Node, ProtocolObject, Resolution, Text, Tls, elapsed_ms, source_code, state,
};
use super::redact::Redaction;
use super::tree::Tree;
use crate::dissect::registry;
use crate::model::{Entry, Timestamp};

/// An entry as `/api/wsFull` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Full<'a> {
    /// What is shown.
    pub entry: &'a Entry,
    /// To whom.
    pub view: &'a View,
}

impl Serialize for Full<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        self.identity(&mut out)?;
        self.call(&mut out)?;
        self.remarks(&mut out)?;
        out.end()
    }
}

impl Full<'_> {
    fn identity<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        let entry = self.entry;
        out.serialize_entry("id", &Text(&entry.id))?;
        out.serialize_entry("index", &entry.id.index)?;
        out.serialize_entry("stream", &*entry.id.stream)?;
        out.serialize_entry("worker", &*entry.id.node)?;
        out.serialize_entry("seq", &entry.seq)?;
        out.serialize_entry("connection", &entry.connection.0)?;
        out.serialize_entry("node", &Node(&entry.node))?;
        out.serialize_entry("protocol", &ProtocolObject(&entry.protocol))?;
        out.serialize_entry("tls", &entry.tls)?;
        out.serialize_entry("tlsInfo", &entry.tls_info.as_deref().map(Tls))?;
        out.serialize_entry("outgoing", &entry.outgoing)?;
        out.serialize_entry("namespace", "")?;
        out.serialize_entry("src", &Resolution { peer: &entry.src, whole: true })?;
        out.serialize_entry("dst", &Resolution { peer: &entry.dst, whole: true })
    }

    fn call<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        let entry = self.entry;
        let payloads = registry::protocol(&entry.protocol).map_or(&[][..], |protocol| protocol.payloads);
        out.serialize_entry("timestamp", &entry.timing.began().millis())?;
        out.serialize_entry("startTime", &Moment(entry.timing.began()))?;
        out.serialize_entry("elapsedTime", &elapsed_ms(entry))?;
        out.serialize_entry("request", &Tree::new(&entry.request, "request", payloads, *self.view))?;
        out.serialize_entry("response", &Tree::new(&entry.response, "response", payloads, *self.view))?;
        out.serialize_entry("requestRef", "")?;
        out.serialize_entry("responseRef", "")?;
        out.serialize_entry("requestSize", &entry.request_size)?;
        out.serialize_entry("responseSize", &entry.response_size)?;
        out.serialize_entry("size", &(entry.request_size + entry.response_size))
    }

    fn remarks<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        let entry = self.entry;
        out.serialize_entry("passed", &false)?;
        out.serialize_entry("failed", &false)?;
        out.serialize_entry("error", &Failure(entry))?;
        out.serialize_entry("events", &entry.events)?;
        out.serialize_entry("state", state(entry))?;
        out.serialize_entry("redacted", &(self.view.redact != Redaction::None))?;
        out.serialize_entry("entryFile", &Text(EntryFile(entry)))?;
        out.serialize_entry("record", "")?;
        out.serialize_entry("event", &())?;
        out.serialize_entry("eventRef", "")?;
        out.serialize_entry("base", &())?;
        out.serialize_entry("capture", &Capture(entry))?;
        out.serialize_entry("captureSource", &source_code(entry.capture.source))?;
        out.serialize_entry("checksums", &[(); 0])?;
        out.serialize_entry("duplicate", "")?;
        out.serialize_entry("data", &())?;
        out.serialize_entry("dataRef", "")?;
        out.serialize_entry("matcherKey", "")?;
        out.serialize_entry("networkProps", &Empty)?;
        out.serialize_entry("subProtocol", &Empty)
    }
}

/// `{}`.
struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

/// The stream with its dots replaced, and the index.
struct EntryFile<'a>(&'a Entry);

impl std::fmt::Display for EntryFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, part) in self.0.id.stream.split('.').enumerate() {
            f.write_str(if index > 0 { "_" } else { "" })?;
            f.write_str(part)?;
        }
        write!(f, "-{}_entry.json", self.0.id.index)
    }
}

/// RFC 3339 with nanoseconds, UTC.
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
        let moment = jiff::Timestamp::from_nanosecond(i128::from(self.0.nanos())).unwrap_or_default();
        serializer.serialize_str(&PRINTER.timestamp_to_string(&moment))
    }
}
