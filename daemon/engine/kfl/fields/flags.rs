//! Flags that say what an entry is: `http`, `redis`, `tls`, `error`.

use crate::model::{Entry, Field, FieldSource, FieldType, FieldValue};

/// Whether the entry's protocol is one of `keys`.
fn is<'a>(entry: &'a Entry, keys: &[&str]) -> FieldValue<'a> {
    FieldValue::Bool(keys.contains(&entry.protocol.as_str()))
}

macro_rules! flags {
    ($($name:literal $doc:literal $($key:literal)+;)*) => {
        &[
            $(Field {
                name: $name,
                ty: FieldType::Bool,
                source: FieldSource::Get(|entry| is(entry, &[$($key),+])),
                doc: $doc,
                example: $name,
            },)*
            Field {
                name: "tls",
                ty: FieldType::Bool,
                source: FieldSource::Get(|entry| FieldValue::Bool(entry.tls)),
                doc: "Decrypted traffic: the bytes were read at a TLS library.",
                example: "tls and http",
            },
            Field {
                name: "error",
                ty: FieldType::Bool,
                source: FieldSource::Get(|entry| FieldValue::Bool(entry.error.is_some())),
                doc: "The call has no complete answer: reset, timeout, not readable, other half not seen.",
                example: "!error",
            },
        ]
    };
}

/// Rows of flags.
pub(super) const FIELDS: &[Field] = flags! {
    "http" "HTTP of any version, gRPC and GraphQL included." "http" "http10" "http2" "grpc" "grpcweb1" "grpcweb2" "gql" "gqlv1" "gqlv2";
    "http2" "HTTP/2, gRPC included." "http2" "grpc" "grpcweb2" "gqlv2";
    "grpc" "gRPC and gRPC-Web; `http` holds as well." "grpc" "grpcweb1" "grpcweb2";
    "gql" "GraphQL; `http` holds as well." "gql" "gqlv1" "gqlv2";
    "gqlv1" "GraphQL over HTTP/1." "gql" "gqlv1";
    "gqlv2" "GraphQL over HTTP/2." "gqlv2";
    "ws" "WebSocket messages." "ws";
    "dns" "DNS, multicast DNS and LLMNR." "dns" "mdns" "llmnr";
    "mdns" "Multicast DNS; `dns` holds as well." "mdns";
    "llmnr" "Link-local multicast name resolution; `dns` holds as well." "llmnr";
    "tlsx" "TLS handshakes." "tlsx";
    "redis" "Redis." "redis";
    "kafka" "Kafka." "kafka";
    "amqp" "AMQP 0-9-1." "amqp";
    "ldap" "LDAP." "ldap";
    "radius" "RADIUS." "radius";
    "diameter" "Diameter." "diameter";
    "mongodb" "MongoDB." "mongodb";
    "mysql" "MySQL." "mysql";
    "postgresql" "PostgreSQL." "postgresql";
    "icmp" "ICMP." "icmp";
    "sctp" "SCTP." "sctp";
    "tcp" "TCP payload that no dissector understands." "tcp";
    "udp" "UDP payload that no dissector understands." "udp";
    "syscall" "System call events." "syscall";
    "conn" "Connections." "tcp-conn" "udp-conn";
    "tcp_conn" "TCP connections." "tcp-conn";
    "udp_conn" "UDP connections." "udp-conn";
    "flow" "Flows." "tcp-flow" "udp-flow";
    "tcp_flow" "TCP flows." "tcp-flow";
    "udp_flow" "UDP flows." "udp-flow";
};
