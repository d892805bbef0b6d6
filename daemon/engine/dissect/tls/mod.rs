//! TLS on the wire (RFC 5246, RFC 8446): what its handshake says in clear text.
//!
//! The dissector recognises records, reads the hellos and makes no transactions: calls come from the
//! plaintext that probes at TLS libraries deliver. Invariant: at most one hello per direction is buffered,
//! and nothing once both were read.

mod bytes;
mod hello;
mod inspector;
mod ja4;
mod names;
mod record;

#[cfg(test)]
pub(crate) mod tests;

pub use names::{alert_name, suite_name, version_name};

use self::record::Looks;
use super::{Carrier, Columns, Peek, Protocol, ProtocolInfo, Verdict};
use crate::model::L4;

/// TLS in the registry.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[ProtocolInfo {
        key: "tlsx",
        name: "tls",
        version: "",
        abbr: "TLS",
        long_name: "Transport Layer Security",
        macro_name: "tlsx",
        background: "#5E4FA2",
        foreground: "#ffffff",
        font_size: 12,
        reference: "https://datatracker.ietf.org/doc/html/rfc8446",
        ports: &[443, 8443],
        layer4: L4::TCP,
        priority: 0,
    }],
    over: &[Carrier::Stream],
    probe,
    open: |opening| Box::new(inspector::Inspector::new(opening)),
    fields: &[],
    columns: Columns { method: "", summary: "", status: "" },
    payloads: &[],
    sections: &[],
    names: None,
};

/// Whether a segment begins with a client's hello: TLS that starts on a connection which spoke something
/// else before (STARTTLS).
pub fn begins_with_client_hello(segment: &[u8]) -> bool {
    record::looks(segment) == Looks::ClientHello
}

fn probe(peek: &Peek<'_>) -> Verdict {
    let (asked, answered) = (record::looks(peek.to_server), record::looks(peek.to_client));
    match (asked, answered) {
        (Looks::No, _) | (_, Looks::No) => Verdict::No,
        (Looks::ClientHello, _) | (_, Looks::ServerHello) => Verdict::Yes,
        // Capture began mid-stream, and took the server for the client.
        (_, Looks::ClientHello) | (Looks::ServerHello, _) if !peek.from_start => Verdict::YesSwapped,
        (Looks::Record, _) | (_, Looks::Record) if !peek.from_start => Verdict::Yes,
        // A server may refuse the client's hello with an alert before the hello was captured.
        (Looks::Empty | Looks::More, Looks::Empty | Looks::More) => Verdict::NeedMore,
        _ => Verdict::No,
    }
}
