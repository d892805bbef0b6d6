//! Fields that the language knows and types, but that nothing fills yet: always the type's default.
//!
//! When a dissector comes that fills one, its own row takes over and the one here is deleted.

use super::Group;
use crate::model::{Field, FieldSource, FieldType};

macro_rules! planned {
    ($($name:literal $ty:ident $doc:literal $example:literal;)*) => {
        &[$(Field {
            name: $name,
            ty: FieldType::$ty,
            source: FieldSource::Planned,
            doc: $doc,
            example: $example,
        },)*]
    };
}

const fn group(title: &'static str, fields: &'static [Field]) -> Group {
    Group { title, loose: false, fields }
}

const fn loose(title: &'static str, fields: &'static [Field]) -> Group {
    Group { title, loose: true, fields }
}

/// The groups, in the order of the documentation.
pub(super) const GROUPS: [Group; 15] = [
    group("Kubernetes", KUBERNETES),
    loose("Kubernetes paths", KUBERNETES_PATHS),
    group("Common, not filled yet", COMMON),
    loose("Paths of the full entry, not filled yet", ENTRY),
    group("TLS handshakes, not filled yet", TLS),
    group("L4", L4),
    group("Connections and flows", FLOWS),
    group("Redis", REDIS),
    group("Kafka", KAFKA),
    group("AMQP", AMQP),
    group("LDAP", LDAP),
    group("RADIUS and Diameter", RADIUS),
    group("MongoDB", MONGODB),
    group("MySQL", MYSQL),
    group("PostgreSQL", POSTGRESQL),
];

const KUBERNETES: &[Field] = planned! {
    "src.pod.name" Str "Pod that asked." r#"src.pod.name == "web-server-123""#;
    "dst.pod.name" Str "Pod that was asked." r#"dst.pod.name == "bifrost-0""#;
    "src.pod.namespace" Str "Namespace of the pod that asked." r#"src.pod.namespace == "production""#;
    "dst.pod.namespace" Str "Namespace of the pod that was asked." r#"dst.pod.namespace == "production""#;
    "src.service.name" Str "Service that asked." r#"src.service.name == "api-gateway""#;
    "dst.service.name" Str "Service that was asked." r#"dst.service.name == "user-service""#;
    "src.service.namespace" Str "Namespace of the service that asked." r#"src.service.namespace == "shop""#;
    "dst.service.namespace" Str "Namespace of the service that was asked." r#"dst.service.namespace == "shop""#;
    "src.namespace" Str "Namespace of the pod, else of the service, that asked." r#"src.namespace == "shop""#;
    "dst.namespace" Str "Namespace of the pod, else of the service, that was asked." r#"dst.namespace == "shop""#;
    "namespaces" StrList "Namespaces of both ends." r#""production" in namespaces"#;
    "pods" StrList "Pods of both ends." r#""orders" in pods"#;
    "services" StrList "Services of both ends." r#""cart" in services"#;
    "local_labels" StrMap "Labels of the end on this node." r#"map_get(local_labels, "app", "") == "checkout""#;
    "remote_labels" StrMap "Labels of the other end." r#"map_get(remote_labels, "version", "") == "canary""#;
    "local_annotations" StrMap "Annotations of the end on this node." r#""team" in local_annotations"#;
    "remote_annotations" StrMap "Annotations of the other end." r#""team" in remote_annotations"#;
    "local_resolution_status" Str "Why the end on this node has no name." r#"local_resolution_status != """#;
    "remote_resolution_status" Str "Why the other end has no name." r#"remote_resolution_status != """#;
};

const KUBERNETES_PATHS: &[Field] = planned! {
    "namespace" Str "Namespace of the end that was asked (older name)." r#"namespace == "shop""#;
    "src.pod.metadata" Any "`metadata` of the Pod object of the end that asked." r#"src.pod.metadata.labels.app == "web""#;
    "src.pod.spec" Any "`spec` of the Pod object of the end that asked." r#"src.pod.spec.nodeName == "n1""#;
    "src.pod.status" Any "`status` of the Pod object of the end that asked." r#"src.pod.status.phase == "Running""#;
    "dst.pod.metadata" Any "`metadata` of the Pod object of the end that was asked." r#"dst.pod.metadata.labels.app == "web""#;
    "dst.pod.spec" Any "`spec` of the Pod object of the end that was asked." r#"dst.pod.spec.nodeName == "n1""#;
    "dst.pod.status" Any "`status` of the Pod object of the end that was asked." r#"dst.pod.status.phase == "Running""#;
    "src.pod.metadata.name" Str "Same as `src.pod.name`." r#"src.pod.metadata.name == "web""#;
    "dst.pod.metadata.name" Str "Same as `dst.pod.name`." r#"dst.pod.metadata.name == "web""#;
    "src.pod.metadata.namespace" Str "Same as `src.pod.namespace`." r#"src.pod.metadata.namespace == "shop""#;
    "dst.pod.metadata.namespace" Str "Same as `dst.pod.namespace`." r#"dst.pod.metadata.namespace == "shop""#;
    "src.service.metadata" Any "`metadata` of the Service object of the end that asked." r#"src.service.metadata.labels.app == "web""#;
    "src.service.spec" Any "`spec` of the Service object of the end that asked." r#"src.service.spec.nodeName == "n1""#;
    "src.service.status" Any "`status` of the Service object of the end that asked." r#"src.service.status.phase == "Running""#;
    "dst.service.metadata" Any "`metadata` of the Service object of the end that was asked." r#"dst.service.metadata.labels.app == "web""#;
    "dst.service.spec" Any "`spec` of the Service object of the end that was asked." r#"dst.service.spec.nodeName == "n1""#;
    "dst.service.status" Any "`status` of the Service object of the end that was asked." r#"dst.service.status.phase == "Running""#;
    "src.endpointSlice" Any "EndpointSlice of the end that asked." r#"src.endpointSlice.metadata.name == "cart""#;
    "dst.endpointSlice" Any "EndpointSlice of the end that was asked." r#"dst.endpointSlice.metadata.name == "cart""#;
    "src.resolutionMechanism" Str "How the end that asked was named." r#"src.resolutionMechanism == "ip""#;
    "dst.resolutionMechanism" Str "How the end that was asked was named." r#"dst.resolutionMechanism == "ip""#;
};

const COMMON: &[Field] = planned! {
    "has_pcap" Bool "Packets of the entry are kept." "has_pcap";
};

const ENTRY: &[Field] = planned! {
    "passed" Bool "Set by scripts." "passed";
    "failed" Bool "Set by scripts." "failed";
    "record" Str "Recording that the entry belongs to." r#"record == "r1""#;
    "duplicate" Str "Id of the entry's twin." r#"duplicate == """#;
    "entryFile" Str "File of the entry." r#"entryFile == "x""#;
    "matcherKey" Str "Pairing key." r#"matcherKey == "x""#;
    "event" Any "Body of one-sided events." r#"event.type == "syscall""#;
    "data" Any "Body of one-sided protocols." r"data.type == 8";
    "checksums" StrList "Checksums of both halves." r#""ab" in checksums"#;
};

const TLS: &[Field] = planned! {
    "tlsx_cipher_suites" StrList "Cipher suites that the client offered." r#"tlsx_cipher_suites.exists(s, s.contains("RC4"))"#;
    "tlsx_info" Str "`ClientHello` or `ServerHello`." r#"tlsx_info == "ClientHello""#;
};

const L4: &[Field] = planned! {
    "tcp_method" Str "Kind of TCP entry." r#"tcp_method != """#;
    "tcp_payload" Bytes "TCP payload." r#"tcp_payload.contains("GET")"#;
    "tcp_error_type" Str "Kind of TCP error." r#"tcp && tcp_error_type != """#;
    "tcp_error_message" Str "TCP error for a person." r#"tcp_error_message != """#;
    "udp_length" Int "Length of the datagram." "udp && udp_length > 1000";
    "udp_checksum" Int "Checksum of the datagram." "udp_checksum != 0";
    "udp_payload" Bytes "UDP payload." r#"udp_payload.startsWith(b"\x00")"#;
    "sctp_checksum" Int "Checksum." "sctp_checksum != 0";
    "sctp_length" Int "Length of the chunk." "sctp_length > 100";
    "sctp_chunk_type" Str "Type of the chunk." r#"sctp_chunk_type == "DATA""#;
    "icmp_type" Str "Type of the message." r#"icmp_type == "EchoRequest""#;
    "icmp_version" Int "4 or 6." "icmp_version == 6";
    "icmp_length" Int "Length of the message." "icmp_length > 64";
};

const FLOWS: &[Field] = planned! {
    "conn_state" Str "`open`, `in_progress` or `closed`." r#"conn && conn_state == "open""#;
    "conn_local_pkts" Int "Packets from the end on this node." "conn_local_pkts > 1000";
    "conn_local_bytes" Int "Bytes from the end on this node." "conn_local_bytes > 1000000";
    "conn_remote_pkts" Int "Packets from the other end." "conn_remote_pkts > 1000";
    "conn_remote_bytes" Int "Bytes from the other end." "conn_remote_bytes > 1000000";
    "conn_l7_detected" StrList "Protocols found in the connection." r#""HTTP" in conn_l7_detected"#;
    "conn_group_id" Int "Group of connections." "conn_group_id == 7";
    "flow_state" Str "`open`, `in_progress` or `closed`." r#"flow && flow_state == "closed""#;
    "flow_local_pkts" Int "Packets from the end on this node." "flow_local_pkts > 1000";
    "flow_local_bytes" Int "Bytes from the end on this node." "flow_local_bytes > 1000000";
    "flow_remote_pkts" Int "Packets from the other end." "flow_remote_pkts > 1000";
    "flow_remote_bytes" Int "Bytes from the other end." "flow_remote_bytes > 1000000";
    "flow_local_pps" Int "Packets per second from the end on this node." "flow && flow_local_pps > 1000";
    "flow_local_bps" Int "Bytes per second from the end on this node." "tcp_flow && flow_local_bps > 5000000";
    "flow_remote_pps" Int "Packets per second from the other end." "flow_remote_pps > 1000";
    "flow_remote_bps" Int "Bytes per second from the other end." "flow_remote_bps > 5000000";
    "flow_l7_detected" StrList "Protocols found in the flow." r#""TLS" in flow_l7_detected"#;
    "flow_group_id" Int "Group of flows." "flow_group_id == 7";
};

const REDIS: &[Field] = planned! {
    "redis_type" Str "Command verb." r#"redis && redis_type == "GET""#;
    "redis_command" Str "Whole command line." r#"redis && redis_command.contains("DEL")"#;
    "redis_key" Str "Key, at most 64 bytes." r#"redis_key.startsWith("session:")"#;
    "redis_request_size" Int "Bytes of the command." "redis_request_size > 1000";
    "redis_response_size" Int "Bytes of the answer." "redis_response_size > 1000";
    "redis_total_size" Int "Bytes of both." "redis && redis_total_size > 10000";
};

const KAFKA: &[Field] = planned! {
    "kafka_api_key" Int "API number of the Kafka protocol: 0 is Produce, 1 is Fetch." "kafka && kafka_api_key == 0";
    "kafka_api_key_name" Str "API name in capitals." r#"kafka && kafka_api_key_name == "PRODUCE""#;
    "kafka_client_id" Str "Client id." r#"kafka_client_id == "payment-processor""#;
    "kafka_size" Int "Bytes of the request." "kafka && kafka_size > 10000";
    "kafka_request" Bool "A request was seen." "kafka && kafka_request";
    "kafka_response" Bool "An answer was seen." "kafka && kafka_response";
    "kafka_request_summary" Str "Topics." r#"kafka_request_summary.contains("orders")"#;
    "kafka_request_size" Int "Bytes of the request." "kafka_request_size > 1000";
    "kafka_response_size" Int "Bytes of the answer." "kafka_response_size > 1000";
};

const AMQP: &[Field] = planned! {
    "amqp_method" Str "Method with a dot." r#"amqp && amqp_method == "basic.publish""#;
    "amqp_summary" Str "Exchange, queue or the like." r#"amqp_summary.contains("orders")"#;
    "amqp_request" Bool "A request was seen." "amqp && amqp_request";
    "amqp_response" Bool "An answer was seen." "amqp && amqp_response";
    "amqp_request_length" Int "Bytes of the request." "amqp_request_length > 1000";
    "amqp_response_length" Int "Bytes of the answer." "amqp_response_length > 1000";
    "amqp_total_size" Int "Bytes of both." "amqp_total_size > 1000";
};

const LDAP: &[Field] = planned! {
    "ldap_type" Str "Operation." r#"ldap && ldap_type == "bind""#;
    "ldap_summary" Str "Name or filter." r#"ldap_summary.contains("admin")"#;
    "ldap_request" Bool "A request was seen." "ldap && ldap_request";
    "ldap_response" Bool "An answer was seen." "ldap && ldap_response";
    "ldap_request_length" Int "Bytes of the request." "ldap_request_length > 1000";
    "ldap_response_length" Int "Bytes of the answer." "ldap_response_length > 1000";
    "ldap_total_size" Int "Bytes of both." "ldap_total_size > 1000";
};

const RADIUS: &[Field] = planned! {
    "radius_code" Int "Code." "radius && radius_code == 1";
    "radius_code_name" Str "Name of the code." r#"radius_code_name == "Access-Request""#;
    "radius_request" Bool "A request was seen." "radius && radius_request";
    "radius_response" Bool "An answer was seen." "radius && radius_response";
    "radius_request_authenticator" Str "Authenticator in hex." r#"radius_request_authenticator != """#;
    "radius_request_length" Int "Bytes of the request." "radius_request_length > 100";
    "radius_response_length" Int "Bytes of the answer." "radius_response_length > 100";
    "radius_total_size" Int "Bytes of both." "radius_total_size > 100";
    "diameter_method" Str "Command." r#"diameter && diameter_method.contains("Credit")"#;
    "diameter_summary" Str "Session or realm." r#"diameter_summary != """#;
    "diameter_request" Bool "A request was seen." "diameter && diameter_request";
    "diameter_response" Bool "An answer was seen." "diameter && diameter_response";
    "diameter_request_length" Int "Bytes of the request." "diameter_request_length > 100";
    "diameter_response_length" Int "Bytes of the answer." "diameter_response_length > 100";
    "diameter_total_size" Int "Bytes of both." "diameter_total_size > 100";
};

const MONGODB: &[Field] = planned! {
    "mongodb_command" Str "Command." r#"mongodb && mongodb_command == "find""#;
    "mongodb_database" Str "Database." r#"mongodb_database == "shop""#;
    "mongodb_collection" Str "Collection." r#"mongodb_collection == "users""#;
    "mongodb_opcode" Str "Opcode." r#"mongodb_opcode == "OP_MSG""#;
    "mongodb_request_size" Int "Bytes of the command." "mongodb_request_size > 1000";
    "mongodb_response_size" Int "Bytes of the answer." "mongodb_response_size > 1000";
    "mongodb_total_size" Int "Bytes of both." "mongodb_total_size > 1000";
    "mongodb_success" Bool "The command succeeded." "mongodb && !mongodb_success";
    "mongodb_error_code" Int "Error code." "mongodb_error_code != 0";
    "mongodb_error_message" Str "Error for a person." r#"mongodb_error_message != """#;
    "mongodb_error_code_name" Str "Name of the error." r#"mongodb_error_code_name == "NotFound""#;
};

const MYSQL: &[Field] = planned! {
    "mysql_command" Str "Protocol command." r#"mysql && mysql_command == "COM_QUERY""#;
    "mysql_query" Str "Statement." r#"mysql_query.contains("SELECT")"#;
    "mysql_database" Str "Database." r#"mysql_database == "shop""#;
    "mysql_statement_id" Int "Prepared statement." "mysql_statement_id == 3";
    "mysql_request_size" Int "Bytes of the command." "mysql_request_size > 1000";
    "mysql_response_size" Int "Bytes of the answer." "mysql_response_size > 1000";
    "mysql_total_size" Int "Bytes of both." "mysql_total_size > 1000";
    "mysql_success" Bool "The command succeeded." "mysql && !mysql_success";
    "mysql_error_code" Int "Error code." "mysql && mysql_error_code != 0";
    "mysql_error_message" Str "Error for a person." r#"mysql_error_message != """#;
};

const POSTGRESQL: &[Field] = planned! {
    "postgresql_command" Str "Command tag, such as `SELECT`." r#"postgresql && postgresql_command == "SELECT""#;
    "postgresql_query" Str "Statement." r#"postgresql_query.contains("UNION SELECT")"#;
    "postgresql_database" Str "Database." r#"postgresql_database == "shop""#;
    "postgresql_user" Str "User." r#"postgresql && postgresql_user == "admin""#;
    "postgresql_request_size" Int "Bytes of the command." "postgresql_request_size > 1000";
    "postgresql_response_size" Int "Bytes of the answer." "postgresql_response_size > 1000";
    "postgresql_total_size" Int "Bytes of both." "postgresql_total_size > 1000";
    "postgresql_success" Bool "The command succeeded." "postgresql && !postgresql_success";
    "postgresql_error_code" Str "SQLSTATE." r#"postgresql && postgresql_error_code != """#;
    "postgresql_error_message" Str "Error for a person." r#"postgresql_error_message != """#;
};
