//! What an entry keeps beside its messages because every protocol has it, and what gRPC adds.

use super::common::fields;
use crate::model::{Entry, Field, FieldSource, FieldType, FieldValue, Value};

fn grpc_method(entry: &Entry) -> FieldValue<'_> {
    match entry.request.get("path").and_then(Value::as_str) {
        Some(path) if entry.protocol.as_str() == "grpc" => {
            FieldValue::Str(path.rsplit('/').next().unwrap_or_default())
        }
        _ => FieldValue::Missing,
    }
}

/// The `Grpc-Status` trailer; 0 without it, -1 where the call is not gRPC.
fn grpc_status(entry: &Entry) -> FieldValue<'_> {
    if entry.protocol.as_str() != "grpc" {
        return FieldValue::Int(-1);
    }
    let status = match entry.response.get("headers") {
        Some(Value::Map(headers)) => headers.get_ignore_case("grpc-status"),
        _ => None,
    };
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
