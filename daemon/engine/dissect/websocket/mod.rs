//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692): one entry per message.
//!
//! Invariant: framing is followed by lengths alone and payloads stream by, so a frame of any size costs
//! `limits.max_body` at most; a byte that depends on a lost compression context is never made up.

mod dissector;
mod fields;
mod frame;
mod handshake;
mod inflate;
mod lane;
mod message;

#[cfg(test)]
pub(crate) mod tests;

use self::frame::Start;
use super::{
    Carrier, Columns, Dissector, Opening, Peek, Protocol, ProtocolInfo, Section, SectionContent, Verdict,
};
use crate::model::{Direction, L4};

const WEBSOCKET: ProtocolInfo = ProtocolInfo {
    key: "ws",
    name: "ws",
    version: "13",
    abbr: "WS",
    long_name: "WebSocket Protocol",
    macro_name: "ws",
    background: "#7b4fb5",
    foreground: "#ffffff",
    font_size: 12,
    reference: "https://datatracker.ietf.org/doc/html/rfc6455",
    ports: &[80, 443, 8080],
    layer4: L4::TCP,
    priority: 1,
};

/// The carrier of what follows an upgrade.
const UPGRADED: Carrier = Carrier::Upgraded("websocket");

/// WebSocket in the registry.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[WEBSOCKET],
    over: &[UPGRADED, Carrier::Stream],
    probe,
    open,
    fields: fields::FIELDS,
    columns: Columns { method: "ws_opcode", summary: "ws_path", status: "" },
    payloads: &["request.payload", "request.closeReason", "response.payload", "response.closeReason"],
    sections: SECTIONS,
    names: None,
};

const SECTIONS: &[Section] = &[
    Section {
        title: "Details",
        side: Direction::ToServer,
        content: SectionContent::Details(&[
            ("Opcode", "request.opcode"),
            ("Path", "request.path"),
            ("Host", "request.host"),
            ("Subprotocol", "request.subprotocol"),
            ("Frames", "request.frames"),
            ("Compressed", "request.compressed"),
            ("Payload Length (bytes)", "request.payloadLength"),
            ("Close Code", "request.closeCode"),
            ("Close Code Name", "request.closeCodeName"),
            ("Close Reason", "request.closeReason"),
        ]),
    },
    Section {
        title: "Payload",
        side: Direction::ToServer,
        content: SectionContent::Body("request.payload", "request.mimeType"),
    },
    Section {
        title: "Details",
        side: Direction::ToClient,
        content: SectionContent::Details(&[
            ("Opcode", "response.opcode"),
            ("Path", "response.path"),
            ("Host", "response.host"),
            ("Subprotocol", "response.subprotocol"),
            ("Frames", "response.frames"),
            ("Compressed", "response.compressed"),
            ("Payload Length (bytes)", "response.payloadLength"),
            ("Close Code", "response.closeCode"),
            ("Close Code Name", "response.closeCodeName"),
            ("Close Reason", "response.closeReason"),
        ]),
    },
    Section {
        title: "Payload",
        side: Direction::ToClient,
        content: SectionContent::Body("response.payload", "response.mimeType"),
    },
];

fn open(opening: &Opening<'_>) -> Box<dyn Dissector> {
    Box::new(dissector::WebSocket::new(opening))
}

/// After the handshake everything is WebSocket. A connection that was joined later is recognised by a
/// whole text message: masked from the client, clear from the server.
fn probe(peek: &Peek<'_>) -> Verdict {
    if peek.carrier == UPGRADED {
        return Verdict::Yes;
    }
    if peek.from_start {
        return Verdict::No;
    }
    let looks = |bytes, direction| evident_text(bytes, direction);
    let (up, down) = (Direction::ToServer, Direction::ToClient);
    let straight = [looks(peek.to_server, up), looks(peek.to_client, down)];
    let swapped = [looks(peek.to_server, down), looks(peek.to_client, up)];
    match (straight, swapped) {
        (straight, _) if straight.contains(&Start::Yes) => Verdict::Yes,
        (_, swapped) if swapped.contains(&Start::Yes) => Verdict::YesSwapped,
        (one, other) if one.contains(&Start::More) || other.contains(&Start::More) => Verdict::NeedMore,
        _ => Verdict::No,
    }
}

/// A text message in one frame whose end is the end of what is there or the start of another frame.
fn evident_text(bytes: &[u8], direction: Direction) -> Start {
    const TEXT: u8 = 0x81;
    /// Shorter texts are no evidence.
    const SHORTEST: u8 = 4;
    match bytes {
        [] => Start::No,
        [TEXT] => Start::More,
        [TEXT, len, ..] if len & 0x7f >= SHORTEST => frame::start(bytes, direction, false),
        _ => Start::No,
    }
}
