//! Parts of messages that protocols without a dissector of their own name, and names for parts of any.
//!
//! Any path below `request` and `response` may be asked; a row makes it known to completion and docs.

use crate::model::{Field, paths};

/// The rows; those of a protocol move to its dissector when there is one.
pub(super) const FIELDS: &[Field] = paths! {
    "request.query" Any "HTTP query parameters: `request.query.a`, `request.query[\"a\"]`." "request.query.a > 42";
    "request.body" Any "Request body, whatever the protocol calls it." r#"request.body.contains("x")"#;
    "response.body" Any "Answer body, whatever the protocol calls it." "response.body.json().user.id == 7";
    "request.command" Any "Redis command." r#"request.command == "GET""#;
    "request.key" Any "Redis key." r#"request.key == r"^session:""#;
    "request.value" Any "Redis value." r#"request.value.contains("x")"#;
    "response.value" Any "Redis answer." r#"response.value == "OK""#;
    "request.apiKeyName" Any "Kafka API." r#"request.apiKeyName == "Produce""#;
    "request.clientID" Any "Kafka client." r#"request.clientID == "app""#;
    "request.payload" Any "Kafka request body." r#"request.payload.topics[0].topic == "orders""#;
    "response.payload" Any "Kafka answer body." "response.payload.errorCode == 2";
    "request.queue" Any "AMQP queue." r#"request.queue.startsWith("test")"#;
    "request.exchange" Any "AMQP exchange." r#"request.exchange == "orders""#;
    "request.routingKey" Any "AMQP routing key." r#"request.routingKey == "a.b""#;
};
