//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Invariant: a request and a response are paired only when that is certain (see `matcher`); bodies
//! are kept up to `limits.max_body` while they stream by, never buffered whole.

mod chunked;
mod dissector;
mod exchange;
mod framing;
mod lane;
mod matcher;
mod parser;

#[cfg(test)]
pub(crate) mod tests;

use self::parser::Start;
use super::http::{fields, view};
use super::{Carrier, Dissector, Opening, Peek, Protocol, ProtocolInfo, Verdict};
use crate::model::L4;

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
    columns: view::COLUMNS,
    payloads: view::PAYLOADS,
    sections: view::SECTIONS,
    names: None,
};

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
