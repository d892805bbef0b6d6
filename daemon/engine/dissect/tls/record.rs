//! The record layer (RFC 8446, 5.1): headers, and what may begin with one.

use super::hello::{CLIENT_HELLO, SERVER_HELLO};
use crate::limits;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    Heartbeat,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of content.
    pub(super) len: usize,
}

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Header(Header),
    /// It may be a header once more is there.
    More,
    Other,
}

/// Reads a header.
pub(super) fn header(bytes: &[u8]) -> Found {
    let kind = match bytes.first() {
        None => return Found::More,
        Some(20) => Kind::ChangeCipherSpec,
        Some(21) => Kind::Alert,
        Some(22) => Kind::Handshake,
        Some(23) => Kind::ApplicationData,
        Some(24) => Kind::Heartbeat,
        Some(_) => return Found::Other,
    };
    // The version of records is frozen at values from 3.0 to 3.3; some early 1.3 stacks wrote 3.4.
    if bytes.get(1).is_some_and(|major| *major != 3) || bytes.get(2).is_some_and(|minor| *minor > 4) {
        return Found::Other;
    }
    match bytes.get(3..HEADER) {
        Some([high, low]) => {
            let len = usize::from(*high) << 8 | usize::from(*low);
            let empty = len == 0 && kind != Kind::ApplicationData;
            if len > limits::tls::RECORD || empty {
                Found::Other
            } else {
                Found::Header(Header { kind, len })
            }
        }
        _ => Found::More,
    }
}

/// How sure it is that some bytes are the start of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// There are none.
    Empty,
    /// Not like it.
    No,
    /// Like it so far.
    More,
    ClientHello,
    ServerHello,
    /// A record from the middle of a connection.
    Record,
}

/// What bytes at the front of a direction look like.
pub(super) fn looks(bytes: &[u8]) -> Looks {
    let header = match header(bytes) {
        Found::Header(header) => header,
        Found::More if bytes.is_empty() => return Looks::Empty,
        Found::More => return Looks::More,
        Found::Other => return Looks::No,
    };
    let next = bytes.get(HEADER + header.len..).map(self::header);
    if next == Some(Found::Other) {
        return Looks::No;
    }
    match header.kind {
        // A hello's length has three bytes and never more than a few KiB, so its highest one is 0.
        Kind::Handshake => match (bytes.get(HEADER), bytes.get(HEADER + 1)) {
            (None, _) => Looks::More,
            (Some(&CLIENT_HELLO), None | Some(0)) => Looks::ClientHello,
            (Some(&SERVER_HELLO), None | Some(0)) => Looks::ServerHello,
            _ => Looks::Record,
        },
        _ => Looks::Record,
    }
}
