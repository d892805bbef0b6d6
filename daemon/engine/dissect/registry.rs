//! The list of protocols: detection order, names, colours and KFL fields all derive from it.

use super::{Protocol, ProtocolInfo, grpc, http1, http2, tls};
use crate::model::ProtocolKey;

/// Every protocol in the order in which detection asks them.
pub static PROTOCOLS: &[&Protocol] = &[&tls::PROTOCOL, &http2::PROTOCOL, &http1::PROTOCOL, &grpc::PROTOCOL];

/// How a protocol is shown, by its stored key.
pub fn info(key: &ProtocolKey) -> Option<&'static ProtocolInfo> {
    infos().find(|info| info.key == key.as_str())
}

/// The protocol that owns a stored key.
pub fn protocol(key: &ProtocolKey) -> Option<&'static Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.infos.iter().any(|info| info.key == key.as_str()))
}

/// All shown forms of all protocols.
pub fn infos() -> impl Iterator<Item = &'static ProtocolInfo> {
    PROTOCOLS.iter().flat_map(|protocol| protocol.infos)
}
