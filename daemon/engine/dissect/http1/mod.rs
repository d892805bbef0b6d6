//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Invariant: a request and a response are paired only when that is certain (see `matcher`); bodies
//! are kept up to `limits.max_body` while they stream by, never buffered whole.

mod chunked;
mod content;
mod dissector;
mod entry;
mod fields;
mod framing;
mod lane;
mod matcher;
mod message;
mod params;
mod parser;

#[cfg(test)]
pub(crate) mod tests;

use self::parser::Start;
use super::{
    Carrier, Columns, Dissector, Opening, Peek, Protocol, ProtocolInfo, Section, SectionContent, Verdict,
};
use crate::model::{Direction, L4};

const HTTP11: ProtocolInfo = ProtocolInfo {
    key: "http",
    name: "http",
    version: "1.1",
    abbr: "HTTP",
    long_name: "Hypertext Transfer Protocol -- HTTP/1.1",
    macro_name: "http",
    background: "#416CDE",
    foreground: "#ffffff",
    font_size: 12,
    reference: "https://datatracker.ietf.org/doc/html/rfc9112",
    ports: &[80, 443, 8080],
    layer4: L4::TCP,
    priority: 0,
};

const HTTP10: ProtocolInfo = ProtocolInfo {
    key: "http10",
    version: "1.0",
    long_name: "Hypertext Transfer Protocol -- HTTP/1.0",
    reference: "https://datatracker.ietf.org/doc/html/rfc1945",
    ..HTTP11
};

/// HTTP/1 in the registry.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[HTTP11, HTTP10],
    over: &[Carrier::Stream],
    probe,
    open,
    fields: fields::FIELDS,
    columns: Columns { method: "request.method", summary: "request.path", status: "response.status" },
    payloads: &["request.postData.params", "request.postData.text", "response.content.text"],
    sections: SECTIONS,
};

const SECTIONS: &[Section] = &[
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

const fn asked(title: &'static str, content: SectionContent) -> Section {
    Section { title, side: Direction::ToServer, content }
}

const fn answered(title: &'static str, content: SectionContent) -> Section {
    Section { title, side: Direction::ToClient, content }
}

fn open(opening: &Opening<'_>) -> Box<dyn Dissector> {
    Box::new(dissector::Http1::new(opening))
}

/// A request line or a status line at the start of either direction; the roles follow from which is where.
fn probe(peek: &Peek<'_>) -> Verdict {
    let asked = starts(peek.to_server, parser::request_start);
    let answered = starts(peek.to_client, parser::response_start);
    if asked == Start::Yes || answered == Start::Yes {
        return Verdict::Yes;
    }
    let swapped_asked = starts(peek.to_client, parser::request_start);
    let swapped_answered = starts(peek.to_server, parser::response_start);
    if swapped_asked == Start::Yes || swapped_answered == Start::Yes {
        return Verdict::YesSwapped;
    }
    let open = |start: Start| start == Start::More;
    let straight = open(asked) && (open(answered) || !peek.from_start);
    let swapped = open(swapped_asked) && (open(swapped_answered) || !peek.from_start);
    let late = !peek.from_start && (open(answered) || open(swapped_answered));
    if straight || swapped || late { Verdict::NeedMore } else { Verdict::No }
}

/// Nothing yet is open; leading line ends are skipped as RFC 9112 2.2 asks.
fn starts(bytes: &[u8], is: fn(&[u8]) -> Start) -> Start {
    let space = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    is(&bytes[space..])
}
