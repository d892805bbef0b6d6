//! How an HTTP call of any version is shown: columns, payloads, blocks of the detail view.

use crate::dissect::{Columns, Section, SectionContent};
use crate::model::Direction;

/// Columns of a list row.
pub(in crate::dissect) const COLUMNS: Columns =
    Columns { method: "request.method", summary: "request.path", status: "response.status" };

/// Paths of payloads.
pub(in crate::dissect) const PAYLOADS: &[&str] =
    &["request.postData.params", "request.postData.text", "response.content.text"];

/// Blocks of the detail view.
pub(in crate::dissect) const SECTIONS: &[Section] = &[
    asked(
        "Details",
        SectionContent::Details(&[
            ("Method", "request.method"),
            ("Target URI", "request.targetUri"),
            ("Path", "request.path"),
            ("HTTP Version", "request.httpVersion"),
            ("Body Size (bytes)", "request.bodySize"),
        ]),
    ),
    asked("Path Segments", SectionContent::Table("request.pathSegments")),
    asked("Headers", SectionContent::Table("request.headers")),
    asked("Cookies", SectionContent::Table("request.cookies")),
    asked("Query String", SectionContent::Table("request.queryString")),
    asked("POST Data (parameters)", SectionContent::Table("request.postData.params")),
    asked("POST Data", SectionContent::Body("request.postData.text", "request.postData.mimeType")),
    answered(
        "Details",
        SectionContent::Details(&[
            ("Status", "response.status"),
            ("Status Text", "response.statusText"),
            ("HTTP Version", "response.httpVersion"),
            ("Body Size (bytes)", "response.bodySize"),
        ]),
    ),
    answered("Headers", SectionContent::Table("response.headers")),
    answered("Cookies", SectionContent::Table("response.cookies")),
    answered("Body", SectionContent::Body("response.content.text", "response.content.mimeType")),
];

/// A block of the request.
pub(in crate::dissect) const fn asked(title: &'static str, content: SectionContent) -> Section {
    Section { title, side: Direction::ToServer, content }
}

/// A block of the response.
pub(in crate::dissect) const fn answered(title: &'static str, content: SectionContent) -> Section {
    Section { title, side: Direction::ToClient, content }
}
