//! The KFL fields that WebSocket fills. A message is the request or the response, by its direction.

use crate::model::{Entry, Field, FieldValue, Value, fields, join, paths};

/// A member of the message, whichever way it went.
fn of<'a>(entry: &'a Entry, key: &str) -> FieldValue<'a> {
    if entry.protocol.as_str() != super::message::KEY.as_str() {
        return FieldValue::Missing;
    }
    let side = if entry.request.is_null() { &entry.response } else { &entry.request };
    side.get(key).map_or(FieldValue::Missing, FieldValue::of)
}

/// A member of the message of one way only.
fn only<'a>(entry: &Entry, side: &'a Value, key: &str) -> FieldValue<'a> {
    let is_ours = entry.protocol.as_str() == super::message::KEY.as_str();
    side.get(key).filter(|_| is_ours).map_or(FieldValue::Missing, FieldValue::of)
}

fn went(entry: &Entry, side: &Value) -> FieldValue<'static> {
    FieldValue::Bool(entry.protocol.as_str() == super::message::KEY.as_str() && !side.is_null())
}

/// Names of the reference's list of variables, and what belongs beside them.
const VARIABLES: &[Field] = fields! {
    "ws_opcode" Str "`text`, `binary`, `close`, `ping` or `pong`." r#"ws && ws_opcode == "text""#
        => |entry| of(entry, "opcode");
    "ws_request" Bool "From the client." "ws && ws_request" => |entry| went(entry, &entry.request);
    "ws_response" Bool "From the server." "ws && ws_response" => |entry| went(entry, &entry.response);
    "ws_path" Str "Path of the handshake, for messages of both directions." r#"ws_path == "/chat""#
        => |entry| of(entry, "path");
    "ws_host" Str "`Host` of the handshake." r#"ws_host == "chat.example.com""# => |entry| of(entry, "host");
    "ws_subprotocol" Str "Application protocol that the server chose." r#"ws_subprotocol == "graphql-ws""#
        => |entry| of(entry, "subprotocol");
    "ws_payload_data" Str "Payload of either direction, up to the limit on bodies." r#"ws_payload_data.contains("order")"#
        => |entry| of(entry, "payload");
    "ws_payload_length" Int "Bytes of the payload, decompressed, of either direction." "ws_payload_length > 65536"
        => |entry| of(entry, "payloadLength");
    "ws_request_payload_data" Str "Payload of the client's message, up to the limit on bodies." r#"ws_request_payload_data.contains("ping")"#
        => |entry| only(entry, &entry.request, "payload");
    "ws_response_payload_data" Str "Payload of the server's message, up to the limit on bodies." r#"ws_response_payload_data.contains("error")"#
        => |entry| only(entry, &entry.response, "payload");
    "ws_request_payload_length" Int "Bytes of the client's payload, decompressed." "ws_request_payload_length > 1000"
        => |entry| only(entry, &entry.request, "payloadLength");
    "ws_response_payload_length" Int "Bytes of the server's payload, decompressed." "ws_response_payload_length > 1000"
        => |entry| only(entry, &entry.response, "payloadLength");
    "ws_compressed" Bool "Sent with permessage-deflate." "ws && ws_compressed" => |entry| of(entry, "compressed");
    "ws_frames" Int "Frames of the message." "ws_frames > 1" => |entry| of(entry, "frames");
    "ws_close_code" Int "Code of a close message." "ws_close_code != 1000" => |entry| of(entry, "closeCode");
    "ws_close_reason" Str "Reason in a close message." r#"ws_close_reason.contains("timeout")"#
        => |entry| of(entry, "closeReason");
};

/// What the detail view shows.
const PATHS: &[Field] = paths! {
    "request.opcode" Str "WebSocket opcode of the client's message.";
    "request.host" Str "Host of the handshake of the client's WebSocket message.";
    "request.subprotocol" Str "Application protocol of the client's WebSocket message.";
    "request.frames" Int "Frames of the client's WebSocket message.";
    "request.compressed" Bool "The client's WebSocket message was compressed.";
    "request.payloadLength" Int "Bytes of the client's WebSocket payload.";
    "request.closeCode" Int "Code of the client's WebSocket close.";
    "request.closeCodeName" Str "Meaning of the client's WebSocket close code.";
    "request.closeReason" Str "Reason of the client's WebSocket close.";
    "request.mimeType" Str "Kind of the client's WebSocket payload.";
    "request.encoding" Str "`base64` where JSON carries the client's WebSocket payload so.";
    "request.masked" Bool "The client's WebSocket message was masked, as it must be.";
    "response.opcode" Str "WebSocket opcode of the server's message.";
    "response.path" Str "Path of the handshake of the server's WebSocket message.";
    "response.host" Str "Host of the handshake of the server's WebSocket message.";
    "response.subprotocol" Str "Application protocol of the server's WebSocket message.";
    "response.frames" Int "Frames of the server's WebSocket message.";
    "response.compressed" Bool "The server's WebSocket message was compressed.";
    "response.payloadLength" Int "Bytes of the server's WebSocket payload.";
    "response.closeCode" Int "Code of the server's WebSocket close.";
    "response.closeCodeName" Str "Meaning of the server's WebSocket close code.";
    "response.closeReason" Str "Reason of the server's WebSocket close.";
    "response.mimeType" Str "Kind of the server's WebSocket payload.";
    "response.encoding" Str "`base64` where JSON carries the server's WebSocket payload so.";
    "response.masked" Bool "The server's WebSocket message was masked, as it must not be.";
    "response.url" Str "Target of the handshake of the server's WebSocket message.";
};

/// All rows.
pub(super) static FIELDS: &[Field] = &join::<{ VARIABLES.len() + PATHS.len() }, _>(VARIABLES, PATHS);
