//! HTTP/2 (RFC 9113) in clear text: with prior knowledge, after an upgrade, inside decrypted TLS.
//!
//! Invariant: a request and a response are paired by their stream and nothing else. Bodies are kept up to
//! `limits.max_body` while they stream by; a connection costs `max_streams` streams and
//! `max_stream_bytes` bytes at most, whatever its peers do.

mod block;
mod dissector;
mod fields;
mod frame;
mod hpack;
mod lane;
mod search;
mod stream;
mod streams;
mod tunnels;
mod window;

#[cfg(test)]
mod tests;

use self::frame::{FrameHeader, HEADER, kind};
use self::lane::Lane;
use self::search::{Start, role, starts};
use super::http::view;
use super::{Carrier, Dissector, Opening, Peek, Protocol, ProtocolInfo, Verdict};
use crate::model::L4;

/// Bytes of a server's first SETTINGS frame that are believed: there are not many settings.
const MAX_FIRST_SETTINGS: u32 = 256;

/// How an HTTP/2 call is shown.
pub(super) const INFO: ProtocolInfo = ProtocolInfo {
    key: "http2",
    name: "http",
    version: "2.0",
    abbr: "HTTP/2",
    long_name: "Hypertext Transfer Protocol Version 2 (HTTP/2)",
    macro_name: "http2",
    background: "#244c5a",
    foreground: "#ffffff",
    font_size: 11,
    reference: "https://datatracker.ietf.org/doc/html/rfc9113",
    ports: &[80, 443, 8080],
    layer4: L4::TCP,
    priority: 0,
};

/// HTTP/2 in the registry.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[INFO],
    over: &[Carrier::Stream, Carrier::Upgraded("h2c")],
    probe,
    open,
    fields: fields::FIELDS,
    columns: view::COLUMNS,
    payloads: view::PAYLOADS,
    sections: view::SECTIONS,
    names: None,
};

/// A fresh dissector.
pub(super) fn open(opening: &Opening<'_>) -> Box<dyn Dissector> {
    Box::new(dissector::Http2::new(opening))
}

/// The client's preface or the server's settings at the start; anywhere else a frame at the front of
/// either direction.
fn probe(peek: &Peek<'_>) -> Verdict {
    if !peek.from_start {
        return probe_middle(peek);
    }
    if !peek.to_server.is_empty() {
        return match Lane::is_preface(peek.to_server) {
            Some(true) => Verdict::Yes,
            Some(false) => Verdict::No,
            None => Verdict::NeedMore,
        };
    }
    // The server may speak first: it knows from TLS or the upgrade that this is HTTP/2.
    match FrameHeader::parse(peek.to_client) {
        Some(header) if is_first_settings(header) => Verdict::Yes,
        Some(_) => Verdict::No,
        None if [0, 0].starts_with(&peek.to_client[..peek.to_client.len().min(2)]) => Verdict::NeedMore,
        None => Verdict::No,
    }
}

fn is_first_settings(header: FrameHeader) -> bool {
    header.kind == kind::SETTINGS
        && header.flags == 0
        && header.is_possible()
        && header.length <= MAX_FIRST_SETTINGS
}

/// The preface may come after something was lost; else the first frames decide, also on which side the
/// client is.
fn probe_middle(peek: &Peek<'_>) -> Verdict {
    let sides = [peek.to_server, peek.to_client].map(middle);
    for (bytes, side, other) in
        [(peek.to_server, sides[0], Verdict::YesSwapped), (peek.to_client, sides[1], Verdict::Yes)]
    {
        if side == Start::Yes {
            // An answer that goes to the server says that the sides are the wrong way round.
            return match first_role(bytes) {
                Some(false) => other,
                Some(true) if other == Verdict::Yes => Verdict::YesSwapped,
                _ => Verdict::Yes,
            };
        }
    }
    if sides.contains(&Start::More) { Verdict::NeedMore } else { Verdict::No }
}

fn middle(bytes: &[u8]) -> Start {
    match Lane::is_preface(bytes) {
        _ if bytes.is_empty() => Start::No,
        Some(true) => Start::Yes,
        None => Start::More,
        Some(false) => starts(bytes, MAX_MIDDLE),
    }
}

/// Longest first frame that detection believes: it sees no more than `limits.max_detect` bytes.
const MAX_MIDDLE: usize = 16 << 10;

/// Whether the first frame is a request's (true) or a response's (false), if it says.
fn first_role(bytes: &[u8]) -> Option<bool> {
    if Lane::is_preface(bytes) == Some(true) {
        return Some(true);
    }
    let header = FrameHeader::parse(bytes).filter(|header| header.kind == kind::HEADERS)?;
    let payload = bytes.get(HEADER..HEADER + header.length as usize)?;
    role(frame::fragment(header, payload)?)
}
