//! Fields of HTTP and what rides on it.

use crate::model::{Entry, Field, FieldSource, FieldType, FieldValue, Value};

macro_rules! http {
    ($($name:literal $ty:ident $doc:literal $example:literal => $source:expr;)*) => {
        &[$(Field { name: $name, ty: FieldType::$ty, source: $source, doc: $doc, example: $example },)*]
    };
}

/// The bytes of a body: what the message says, else what was kept of it.
fn body_size<'a>(message: &'a Value, part: &str) -> FieldValue<'a> {
    match message.get("bodySize").and_then(Value::as_int) {
        Some(size) if size >= 0 => FieldValue::Int(size),
        _ => match message.get(part).and_then(|part| part.get("text")) {
            Some(Value::Bytes(bytes)) => FieldValue::Int(bytes.len() as i64),
            Some(Value::Str(text)) => FieldValue::Int(text.len() as i64),
            _ => FieldValue::Missing,
        },
    }
}

/// The path of an HTTP call; a summary stands in where a dissector gives no path.
fn path(entry: &Entry) -> FieldValue<'_> {
    entry.request.get("path").and_then(Value::as_str).map_or(FieldValue::Missing, FieldValue::Str)
}

fn grpc_method(entry: &Entry) -> FieldValue<'_> {
    match (entry.protocol.as_str(), path(entry)) {
        ("grpc", FieldValue::Str(path)) => FieldValue::Str(path.rsplit('/').next().unwrap_or_default()),
        _ => FieldValue::Missing,
    }
}

/// The `Grpc-Status` trailer; -1 where the call is not gRPC or has no such trailer.
fn grpc_status(entry: &Entry) -> FieldValue<'_> {
    let headers = entry.response.get("headers");
    let status = match headers {
        Some(Value::Map(headers)) if entry.protocol.as_str() == "grpc" => {
            headers.get_ignore_case("grpc-status")
        }
        _ => None,
    };
    let number = match status {
        Some(Value::Int(number)) => Some(*number),
        Some(Value::Str(text)) => text.trim().parse().ok(),
        _ => None,
    };
    FieldValue::Int(number.unwrap_or(if entry.protocol.as_str() == "grpc" { 0 } else { -1 }))
}

/// Rows of HTTP, gRPC and GraphQL.
pub(super) const FIELDS: &[Field] = http! {
    "method" Str "HTTP method; the verb of other protocols." r#"method == "GET""#
        => FieldSource::Get(|entry| FieldValue::Str(&entry.method));
    "url" Str "Path and query." r#"url.contains("/api")"# => FieldSource::Path("request.url");
    "path" Str "Path without the query." r#"path.startsWith("/api/v1/secrets")"# => FieldSource::Get(path);
    "status_code" Int "Status of the answer; 0 without one." "http && status_code >= 500"
        => FieldSource::Get(|entry| FieldValue::Int(entry.status));
    "http_version" Str "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`." r#"http_version == "HTTP/1.1""#
        => FieldSource::Path("request.httpVersion");
    "query_string" StrMap "Parameters of the URL." r#"query_string["page"] == "2""#
        => FieldSource::Path("request.queryString");
    "request.headers" StrMap "Headers of the request; the case of names does not matter." r#""authorization" in request.headers"#
        => FieldSource::Path("request.headers");
    "response.headers" StrMap "Headers of the answer; the case of names does not matter." r#"response.headers["content-type"] == "text/html""#
        => FieldSource::Path("response.headers");
    "request.cookies" StrMap "Cookies of the request." r#""session" in request.cookies"#
        => FieldSource::Path("request.cookies");
    "response.cookies" StrMap "Cookies that the answer sets." r#""session" in response.cookies"#
        => FieldSource::Path("response.cookies");
    "request_headers_size" Int "Bytes of the request's head." "request_headers_size > 8192"
        => FieldSource::Path("request.headersSize");
    "response_headers_size" Int "Bytes of the answer's head." "response_headers_size > 8192"
        => FieldSource::Path("response.headersSize");
    "request_body_size" Int "Bytes of the request's body." "request_body_size > 1000000"
        => FieldSource::Get(|entry| body_size(&entry.request, "postData"));
    "response_body_size" Int "Bytes of the answer's body." "response_body_size > 1000000"
        => FieldSource::Get(|entry| body_size(&entry.response, "content"));
    "grpc_method" Str "Last part of a gRPC call's path." r#"grpc && grpc_method == "SayHello""#
        => FieldSource::Get(grpc_method);
    "grpc_status" Int "`Grpc-Status` of the answer: 0 without the trailer, -1 where the call is not gRPC." "grpc && grpc_status != 0"
        => FieldSource::Get(grpc_status);
};
