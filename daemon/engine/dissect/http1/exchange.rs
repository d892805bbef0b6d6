//! An HTTP/1 exchange on its way out: which version it is, and what of the matcher is shown.

use compact_str::CompactString;

use super::matcher::Exchange;
use crate::dissect::http::entry;
use crate::dissect::{Stage, Transaction};
use crate::limits::Limits;
use crate::model::{EntryError, ProtocolKey};

/// The stored key of HTTP/1.1.
const HTTP11: ProtocolKey = ProtocolKey::new("http");
/// The stored key of HTTP/1.0.
const HTTP10: ProtocolKey = ProtocolKey::new("http10");

/// The transaction of an exchange.
pub(super) fn transaction(exchange: Exchange, limits: &Limits) -> Transaction {
    let stage = if exchange.opened { Stage::Ended(exchange.id) } else { Stage::Whole };
    made(exchange, stage, limits)
}

/// The transaction of an exchange that goes on.
pub(super) fn open_transaction(exchange: &mut Exchange, limits: &Limits) -> Transaction {
    exchange.opened = true;
    made(exchange.clone(), Stage::Open(exchange.id), limits)
}

fn made(exchange: Exchange, stage: Stage, limits: &Limits) -> Transaction {
    let Exchange { request, response, interim, failure, events, .. } = exchange;
    let version = request.as_ref().or(response.as_ref()).map_or("", |message| message.version);
    let error =
        failure.map(|(kind, message)| EntryError { kind, message: CompactString::const_new(message) });
    let protocol = if version == "HTTP/1.0" { HTTP10 } else { HTTP11 };
    entry::transaction(protocol, entry::Exchange { stage, request, response, interim, error, events }, limits)
}
