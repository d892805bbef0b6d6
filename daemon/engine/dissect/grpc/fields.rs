//! The KFL fields that gRPC adds to those of HTTP; `grpc_method` and `grpc_status` are common ones.

use crate::model::{Field, paths};

/// The rows.
pub(super) static FIELDS: &[Field] = paths! {
    "request.grpc.service" Str "gRPC service with its package." r#"request.grpc.service == "shop.Cart""#;
    "request.grpc.method" Str "gRPC method." r#"request.grpc.method.startsWith("Get")"#;
    "request.grpc.timeout" Str "Deadline as the client sent it: `100m`." r#"grpc && request.grpc.timeout == """#;
    "request.grpc.encoding" Str "What the client compresses messages with." r#"request.grpc.encoding == "gzip""#;
    "request.grpc.messageCount" Int "Messages from the client." "request.grpc.messageCount > 1";
    "request.grpc.messages" Any "Messages from the client: `size`, `compressed`, `type`, `fields` by name (with descriptors) or number." r#"request.grpc.messages[0].fields["1"] == "abc""#;
    "response.grpc.status" Int "gRPC status; absent without one." "response.grpc.status == 5";
    "response.grpc.statusName" Str "Name of the gRPC status." r#"response.grpc.statusName == "NOT_FOUND""#;
    "response.grpc.message" Str "What the server says about the status." r#"response.grpc.message.contains("quota")"#;
    "response.grpc.encoding" Str "What the server compresses messages with." r#"response.grpc.encoding == "gzip""#;
    "response.grpc.messageCount" Int "Messages from the server." "response.grpc.messageCount > 100";
    "response.grpc.trailers" StrMap "Trailers in the body: of gRPC-Web." r#"response.grpc.trailers["grpc-status"] == "5""#;
    "response.grpc.messages" Any "Messages from the server." "response.grpc.messages[0].size > 1000";
};
