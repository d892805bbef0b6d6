//! GraphQL over HTTP of any version: operations, variables and errors of a finished call.
//!
//! Invariant: what HTTP wrote stays as it is; a call becomes GraphQL only if it holds a document that
//! reads as one, or the hash of one.

mod call;
mod document;
mod fields;
mod refine;

#[cfg(test)]
pub(crate) mod tests;

pub(in crate::dissect) use self::refine::refine;

use super::http::view::{self, answered, asked};
use super::{Columns, Dissector, End, Input, Opening, Output, Peek, Progress, Protocol, ProtocolInfo};
use super::{Section, SectionContent, Verdict};
use crate::model::{Direction, L4, Timestamp, join};

const OVER_HTTP1: ProtocolInfo = ProtocolInfo {
    key: "gqlv1",
    name: "http",
    version: "1.1",
    abbr: "GQL",
    long_name: "Hypertext Transfer Protocol -- HTTP/1.1 [ GraphQL over HTTP/1.1 ]",
    macro_name: "gql",
    background: "#e10098",
    foreground: "#ffffff",
    font_size: 12,
    reference: "https://spec.graphql.org/",
    ports: &[80, 443, 8080],
    layer4: L4::TCP,
    priority: 0,
};

const OVER_HTTP2: ProtocolInfo = ProtocolInfo {
    key: "gqlv2",
    version: "2.0",
    long_name: "Hypertext Transfer Protocol Version 2 (HTTP/2) [ GraphQL over HTTP/2 ]",
    ports: &[80, 443, 8080, 50051],
    ..OVER_HTTP1
};

/// GraphQL in the registry. It rides in HTTP calls, so it is never found on a stream by itself.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[OVER_HTTP1, OVER_HTTP2],
    over: &[],
    probe: |_: &Peek<'_>| Verdict::No,
    open: |_: &Opening<'_>| Box::new(Never),
    fields: fields::FIELDS,
    columns: Columns { method: "request.method", summary: "gql_operation", status: "response.status" },
    payloads: PAYLOADS,
    sections: SECTIONS,
    names: None,
};

/// Documents may carry values as well; variables always do. Of a GET both are in the URL.
const ADDED_PAYLOADS: [&str; 8] = [
    "request.url?",
    "request.targetUri?",
    "request.queryString",
    "request.graphql.query",
    "request.graphql.variables",
    "request.graphql.batch",
    "response.graphql.messages",
    "response.graphql.errors",
];

const PAYLOADS: &[&str] =
    &join::<{ view::PAYLOADS.len() + ADDED_PAYLOADS.len() }, _>(view::PAYLOADS, &ADDED_PAYLOADS);

const ADDED_SECTIONS: [Section; 6] = [
    asked(
        "GraphQL",
        SectionContent::Details(&[
            ("Operation", "request.graphql.operationName"),
            ("Type", "request.graphql.operationType"),
            ("Persisted Query", "request.graphql.persistedQuery"),
        ]),
    ),
    asked("GraphQL Document", SectionContent::Body("request.graphql.query", "request.graphql.mimeType")),
    asked("GraphQL Variables", SectionContent::Table("request.graphql.variables")),
    asked("GraphQL Batch", SectionContent::Table("request.graphql.batch")),
    answered(
        "GraphQL",
        SectionContent::Details(&[
            ("Data", "response.graphql.hasData"),
            ("Errors", "response.graphql.errorCount"),
        ]),
    ),
    answered("GraphQL Errors", SectionContent::Table("response.graphql.errors")),
];

const SECTIONS: &[Section] =
    &join::<{ view::SECTIONS.len() + ADDED_SECTIONS.len() }, _>(&ADDED_SECTIONS, view::SECTIONS);

/// What no stream is given to.
#[derive(Debug)]
struct Never;

impl Dissector for Never {
    fn feed(&mut self, _: Direction, _: Input<'_>, _: Timestamp, _: &mut Output<'_>) -> Progress {
        Progress::Desync
    }

    fn expire(&mut self, _: Timestamp, _: &mut Output<'_>) {}

    fn close(&mut self, _: End, _: Timestamp, _: &mut Output<'_>) {}
}
