//! Parts of messages that protocols without a dissector of their own name, and names for parts of any.
//!
//! Any path below `request` and `response` may be asked; a row makes it known to completion and docs.

use crate::model::{Field, FieldSource, FieldType};

macro_rules! paths {
    ($($path:literal $doc:literal $example:literal;)*) => {
        &[$(Field {
            name: $path,
            ty: FieldType::Any,
            source: FieldSource::Path($path),
            doc: $doc,
            example: $example,
        },)*]
    };
}

/// The rows; those of a protocol move to its dissector when there is one.
pub(super) const FIELDS: &[Field] = paths! {
    "request.query" "HTTP query parameters: `request.query.a`, `request.query[\"a\"]`." "request.query.a > 42";
    "request.body" "Request body, whatever the protocol calls it." r#"request.body.contains("x")"#;
    "response.body" "Answer body, whatever the protocol calls it." "response.body.json().user.id == 7";
    "request.command" "Redis command." r#"request.command == "GET""#;
    "request.key" "Redis key." r#"request.key == r"^session:""#;
    "request.value" "Redis value." r#"request.value.contains("x")"#;
    "response.value" "Redis answer." r#"response.value == "OK""#;
    "request.apiKeyName" "Kafka API." r#"request.apiKeyName == "Produce""#;
    "request.clientID" "Kafka client." r#"request.clientID == "app""#;
    "request.payload" "Kafka request body." r#"request.payload.topics[0].topic == "orders""#;
    "response.payload" "Kafka answer body." "response.payload.errorCode == 2";
    "request.queue" "AMQP queue." r#"request.queue.startsWith("test")"#;
    "request.exchange" "AMQP exchange." r#"request.exchange == "orders""#;
    "request.routingKey" "AMQP routing key." r#"request.routingKey == "a.b""#;
};
