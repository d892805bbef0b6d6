//! How protocols are called: `protocol`, `protocol.name`, `protocol.abbr` and so on.

use crate::model::Entry;

/// The names of one protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) abbr: &'static str,
    pub(super) version: &'static str,
    pub(super) long_name: &'static str,
    pub(super) macro_name: &'static str,
    pub(super) layer4: &'static str,
}

macro_rules! names {
    ($($key:literal $name:literal $abbr:literal $version:literal $long:literal $macro:literal $layer4:literal;)*) => {
        &[$(Names {
            key: $key,
            name: $name,
            abbr: $abbr,
            version: $version,
            long_name: $long,
            macro_name: $macro,
            layer4: $layer4,
        },)*]
    };
}

const NAMES: &[Names] = names! {
    "http" "http" "HTTP" "1.1" "Hypertext Transfer Protocol -- HTTP/1.1" "http" "tcp";
    "http10" "http" "HTTP" "1.0" "Hypertext Transfer Protocol -- HTTP/1.0" "http" "tcp";
    "http2" "http" "HTTP/2" "2.0" "Hypertext Transfer Protocol Version 2 (HTTP/2)" "http2" "tcp";
    "grpc" "http" "gRPC" "2.0" "gRPC over HTTP/2" "grpc" "tcp";
    "gql" "http" "GQL" "1.1" "GraphQL over HTTP/1.1" "gql" "tcp";
    "gqlv1" "http" "GQL" "1.1" "GraphQL over HTTP/1.1" "gql" "tcp";
    "gqlv2" "http" "GQL" "2.0" "GraphQL over HTTP/2" "gql" "tcp";
    "ws" "ws" "WS" "13" "WebSocket" "ws" "tcp";
    "amqp" "amqp" "AMQP" "0-9-1" "Advanced Message Queuing Protocol 0-9-1" "amqp" "tcp";
    "kafka" "kafka" "KAFKA" "12" "Apache Kafka Protocol" "kafka" "tcp";
    "redis" "redis" "REDIS" "3.x" "Redis Serialization Protocol" "redis" "tcp";
    "dns" "dns" "DNS" "0" "Domain Name System" "dns" "udp";
    "tlsx" "tlsx" "TLS" "1.x" "TLS handshake" "tlsx" "tcp";
    "ldap" "ldap" "LDAP" "3" "Lightweight Directory Access Protocol" "ldap" "tcp";
    "radius" "radius" "RADIUS" "1" "Remote Authentication Dial-In User Service" "radius" "udp";
    "diameter" "diameter" "DIAMETER" "1" "Diameter" "diameter" "tcp";
    "mongodb" "mongodb" "MONGODB" "" "MongoDB Wire Protocol" "mongodb" "tcp";
    "mysql" "mysql" "MYSQL" "" "MySQL Client/Server Protocol" "mysql" "tcp";
    "postgresql" "postgresql" "POSTGRESQL" "3.0" "PostgreSQL Frontend/Backend Protocol" "postgresql" "tcp";
    "icmp" "icmp" "ICMP" "" "Internet Control Message Protocol" "icmp" "icmp";
    "sctp" "sctp" "SCTP" "" "Stream Control Transmission Protocol" "sctp" "sctp";
    "tcp" "tcp" "TCP" "" "Transmission Control Protocol" "tcp" "tcp";
    "udp" "udp" "UDP" "" "User Datagram Protocol" "udp" "udp";
    "tcp-conn" "tcp-conn" "TCP" "" "TCP connection" "tcp_conn" "tcp";
    "udp-conn" "udp-conn" "UDP" "" "UDP connection" "udp_conn" "udp";
    "tcp-flow" "tcp-flow" "TCP" "" "TCP flow" "tcp_flow" "tcp";
    "udp-flow" "udp-flow" "UDP" "" "UDP flow" "udp_flow" "udp";
};

const UNKNOWN: Names =
    Names { key: "", name: "", abbr: "", version: "", long_name: "", macro_name: "", layer4: "" };

/// The names of the entry's protocol; empty ones for a key that this version does not know.
pub(super) fn names(entry: &Entry) -> &'static Names {
    NAMES.iter().find(|names| names.key == entry.protocol.as_str()).unwrap_or(&UNKNOWN)
}
