//! What the handshake of a WebSocket says about all messages that follow it.

use compact_str::CompactString;

use crate::dissect::Upgrade;
use crate::model::{Direction, Value};

/// How one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deflate {
    /// Nothing is compressed.
    Off,
    /// Messages may be compressed; `takeover`: they refer to earlier ones.
    On { takeover: bool },
}

/// Facts of the handshake.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handshake {
    /// Whether its request was seen; if not, nobody knows the path.
    pub(super) seen: bool,
    /// Request target.
    pub(super) url: CompactString,
    /// Its path.
    pub(super) path: CompactString,
    /// `Host`.
    pub(super) host: CompactString,
    /// The application protocol that the server chose.
    pub(super) subprotocol: CompactString,
    /// By the direction in which the messages travel.
    deflate: [Deflate; 2],
}

impl Handshake {
    /// The facts in an HTTP exchange.
    pub(super) fn of(upgrade: &Upgrade) -> Self {
        let text = |key| upgrade.request.get(key).and_then(Value::as_str).unwrap_or("");
        let host = header(&upgrade.request, "host");
        Self {
            seen: !upgrade.request.is_null(),
            url: text("url").into(),
            path: text("path").into(),
            host: if host.is_empty() { header(&upgrade.request, ":authority") } else { host }.into(),
            subprotocol: header(&upgrade.response, "sec-websocket-protocol").into(),
            deflate: deflate_of(header(&upgrade.response, "sec-websocket-extensions")),
        }
    }

    /// What is assumed where the handshake was not seen: compression shows in the frames.
    pub(super) fn unknown() -> Self {
        Self {
            seen: false,
            url: CompactString::default(),
            path: CompactString::default(),
            host: CompactString::default(),
            subprotocol: CompactString::default(),
            deflate: [Deflate::On { takeover: true }; 2],
        }
    }

    /// How messages of `direction` are compressed.
    pub(super) fn deflate(&self, direction: Direction) -> Deflate {
        let [to_server, to_client] = self.deflate;
        match direction {
            Direction::ToServer => to_server,
            Direction::ToClient => to_client,
        }
    }
}

fn header<'a>(message: &'a Value, name: &str) -> &'a str {
    match message.get("headers") {
        Some(Value::Map(headers)) => headers.get_ignore_case(name).and_then(Value::as_str).unwrap_or(""),
        _ => "",
    }
}

/// `permessage-deflate; client_no_context_takeover; server_max_window_bits=10, other` (RFC 7692 7.1).
/// Window sizes do not matter to a decoder with the largest window.
fn deflate_of(extensions: &str) -> [Deflate; 2] {
    for extension in extensions.split(',') {
        let mut parts = extension.split(';').map(str::trim);
        if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
            continue;
        }
        let has = |wanted: &str| parts.clone().any(|part| part.eq_ignore_ascii_case(wanted));
        return [
            Deflate::On { takeover: !has("client_no_context_takeover") },
            Deflate::On { takeover: !has("server_no_context_takeover") },
        ];
    }
    [Deflate::Off; 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_for_each_side() {
        let on = |takeover| Deflate::On { takeover };
        assert_eq!(deflate_of(""), [Deflate::Off; 2]);
        assert_eq!(deflate_of("x-other"), [Deflate::Off; 2]);
        assert_eq!(deflate_of("permessage-deflate"), [on(true); 2]);
        assert_eq!(
            deflate_of("x-a; b, Permessage-Deflate; server_max_window_bits=10 ;client_no_context_takeover"),
            [on(false), on(true)]
        );
        assert_eq!(deflate_of("permessage-deflate;server_no_context_takeover"), [on(true), on(false)]);
    }
}
