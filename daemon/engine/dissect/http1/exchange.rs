//! An HTTP/1 exchange on its way out: which version it is, and what of the matcher is shown.

use compact_str::CompactString;

use super::matcher::Exchange;
use crate::dissect::Transaction;
use crate::dissect::http::entry;
use crate::limits::Limits;
use crate::model::{EntryError, ProtocolKey};

/// The stored key of HTTP/1.1.
const HTTP11: ProtocolKey = ProtocolKey::new("http");
/// The stored key of HTTP/1.0.
const HTTP10: ProtocolKey = ProtocolKey::new("http10");

/// The transaction of an exchange.
pub(super) fn transaction(exchange: Exchange, limits: &Limits) -> Transaction {
    let Exchange { request, response, interim, failure, events, .. } = exchange;
    let version = request.as_ref().or(response.as_ref()).map_or("", |message| message.version);
    let error =
        failure.map(|(kind, message)| EntryError { kind, message: CompactString::const_new(message) });
    let protocol = if version == "HTTP/1.0" { HTTP10 } else { HTTP11 };
    entry::transaction(protocol, entry::Exchange { request, response, interim, error, events }, limits)
}
