//! What an entry keeps beside its messages because every protocol has it, and what gRPC adds.

use crate::model::{Entry, Field, FieldValue, Value, fields};

/// gRPC and gRPC-Web.
fn is_grpc(entry: &Entry) -> bool {
    matches!(entry.protocol.as_str(), "grpc" | "grpcweb1" | "grpcweb2")
}

fn grpc_method(entry: &Entry) -> FieldValue<'_> {
    match entry.request.get("path").and_then(Value::as_str) {
        Some(path) if is_grpc(entry) => FieldValue::Str(path.rsplit('/').next().unwrap_or_default()),
        _ => FieldValue::Missing,
    }
}

/// The `Grpc-Status` trailer; 0 without it, -1 where the call is not gRPC.
fn grpc_status(entry: &Entry) -> FieldValue<'_> {
    if !is_grpc(entry) {
        return FieldValue::Int(-1);
    }
    // gRPC-Web has its trailers in the body.
    let status = entry.response.get("grpc").and_then(|grpc| grpc.get("status"));
    let status = status.or_else(|| match entry.response.get("headers") {
        Some(Value::Map(headers)) => headers.get_ignore_case("grpc-status"),
        _ => None,
    });
    let number = match status {
        Some(Value::Int(number)) => Some(*number),
        Some(Value::Str(text)) => text.trim().parse().ok(),
        _ => None,
    };
    FieldValue::Int(number.unwrap_or(0))
}

/// Rows of the verb and the outcome.
pub(super) const FIELDS: &[Field] = fields! {
    "method" Str "HTTP method; the verb of other protocols." r#"method == "GET""#
        => |entry| FieldValue::Str(&entry.method);
    "status_code" Int "Status of the answer; 0 without one." "http && status_code >= 500"
        => |entry| FieldValue::Int(entry.status);
    "grpc_method" Str "Last part of a gRPC call's path." r#"grpc && grpc_method == "SayHello""#
        => grpc_method;
    "grpc_status" Int "`Grpc-Status` of the answer: 0 without the trailer, -1 where the call is not gRPC." "grpc && grpc_status != 0"
        => grpc_status;
};
