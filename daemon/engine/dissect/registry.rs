//! The list of protocols: detection order, names, colours and KFL fields all derive from it.

use super::{Protocol, ProtocolInfo, dns, graphql, grpc, http1, http2, tls, websocket};
use crate::model::{Entry, NameFact, ProtocolKey};

/// Every protocol in the order in which detection asks them.
pub static PROTOCOLS: &[&Protocol] = &[
    &tls::PROTOCOL,
    &http2::PROTOCOL,
    &http1::PROTOCOL,
    &websocket::PROTOCOL,
    &dns::PROTOCOL,
    &grpc::PROTOCOL,
    &graphql::PROTOCOL,
];

/// How a protocol is shown, by its stored key.
pub fn info(key: &ProtocolKey) -> Option<&'static ProtocolInfo> {
    infos().find(|info| info.key == key.as_str())
}

/// The protocol that owns a stored key.
pub fn protocol(key: &ProtocolKey) -> Option<&'static Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.infos.iter().any(|info| info.key == key.as_str()))
}

/// Tells what an entry teaches about the names of addresses.
pub fn names(entry: &Entry, learn: &mut dyn FnMut(NameFact)) {
    if let Some(names) = protocol(&entry.protocol).and_then(|protocol| protocol.names) {
        names(entry, learn);
    }
}

/// All shown forms of all protocols.
pub fn infos() -> impl Iterator<Item = &'static ProtocolInfo> {
    PROTOCOLS.iter().flat_map(|protocol| protocol.infos)
}
