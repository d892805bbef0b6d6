//! The KFL fields that HTTP fills.

use crate::model::{Field, FieldSource, FieldType};

const fn field(
    name: &'static str,
    ty: FieldType,
    path: &'static str,
    doc: &'static str,
    example: &'static str,
) -> Field {
    Field { name, ty, source: FieldSource::Path(path), doc, example }
}

/// A part of the message under its own path, of whatever type it has.
const fn part(path: &'static str, doc: &'static str, example: &'static str) -> Field {
    field(path, FieldType::Any, path, doc, example)
}

/// Names of the reference's list of variables; values come from the message trees.
pub(in crate::dissect) static FIELDS: &[Field] = &[
    field("method", FieldType::Str, "request.method", "HTTP method.", r#"method == "GET""#),
    field("url", FieldType::Str, "request.url", "Request target: path and query.", r#"url.contains("id=7")"#),
    field(
        "path",
        FieldType::Str,
        "request.path",
        "Path of the request target, as sent.",
        r#"path.startsWith("/api/")"#,
    ),
    field(
        "status_code",
        FieldType::Int,
        "response.status",
        "Status code; 0 without a response.",
        "status_code >= 500",
    ),
    field(
        "http_version",
        FieldType::Str,
        "request.httpVersion",
        "Version of the request.",
        r#"http_version == "HTTP/1.1""#,
    ),
    field(
        "query_string",
        FieldType::StrMap,
        "request.queryString",
        "Parameters of the URL.",
        r#"query_string["id"] == "7""#,
    ),
    field(
        "request.headers",
        FieldType::StrMap,
        "request.headers",
        "Headers of the request; names in any case.",
        r#"request.headers["user-agent"].contains("curl")"#,
    ),
    field(
        "response.headers",
        FieldType::StrMap,
        "response.headers",
        "Headers of the response; names in any case.",
        r#"response.headers["content-type"] == "text/html""#,
    ),
    field(
        "request.cookies",
        FieldType::StrMap,
        "request.cookies",
        "Cookies that the client sent.",
        r#""session" in request.cookies"#,
    ),
    field(
        "response.cookies",
        FieldType::StrMap,
        "response.cookies",
        "Cookies that the server set.",
        r#""session" in response.cookies"#,
    ),
    field(
        "request_headers_size",
        FieldType::Int,
        "request.headersSize",
        "Bytes of the request's head.",
        "request_headers_size > 8192",
    ),
    field(
        "request_body_size",
        FieldType::Int,
        "request.bodySize",
        "Bytes of the request's body as sent.",
        "request_body_size > 1000000",
    ),
    field(
        "response_headers_size",
        FieldType::Int,
        "response.headersSize",
        "Bytes of the response's head.",
        "response_headers_size > 8192",
    ),
    field(
        "response_body_size",
        FieldType::Int,
        "response.bodySize",
        "Bytes of the response's body as sent.",
        "response_body_size == 0",
    ),
    part("request.method", "HTTP method.", r#"request.method == "GET""#),
    part("request.url", "HTTP path and query.", r#"request.url == r"/v[0-9]+/""#),
    part(
        "request.targetUri",
        "HTTP request target as written.",
        r#"request.targetUri.startsWith("http://")"#,
    ),
    part("request.path", "HTTP path.", r#"request.path == "/catalogue""#),
    part(
        "request.pathSegments",
        "HTTP path split at `/`: `request.pathSegments[1]`, from 0.",
        r#"request.pathSegments[1] == "v1""#,
    ),
    part("request.queryString", "HTTP query parameters.", r#"request.queryString["a"] == "1""#),
    part("request.httpVersion", "`HTTP/1.1`.", r#"request.httpVersion == "HTTP/1.0""#),
    part("request.bodySize", "Bytes of the HTTP request body.", "request.bodySize > 1000"),
    part("request.headersSize", "Bytes of the HTTP request head.", "request.headersSize > 8192"),
    part("request.postData.text", "HTTP request body.", r#"request.postData.text.contains("password")"#),
    part(
        "request.postData.mimeType",
        "Content type of the HTTP request body.",
        r#"request.postData.mimeType == "application/json""#,
    ),
    part(
        "request.postData.params",
        "Form fields of the HTTP request body.",
        r#"request.postData.params.name == "user""#,
    ),
    part("response.status", "HTTP status code.", "response.status >= 500"),
    part("response.statusText", "HTTP reason phrase.", r#"response.statusText == "Not Found""#),
    part("response.httpVersion", "`HTTP/1.1`.", r#"response.httpVersion == "HTTP/1.0""#),
    part("response.bodySize", "Bytes of the HTTP answer body.", "response.bodySize == 0"),
    part("response.headersSize", "Bytes of the HTTP answer head.", "response.headersSize > 8192"),
    part("response.redirectURL", "HTTP redirect target.", r#"response.redirectURL.startsWith("/login")"#),
    part("response.content.text", "HTTP answer body.", r"response.content.text.json().a == 1"),
    part(
        "response.content.mimeType",
        "Content type of the HTTP answer body.",
        r#"response.content.mimeType == r"^text/""#,
    ),
    part(
        "response.content.size",
        "Bytes of the decoded HTTP answer body.",
        "response.content.size > 1000000",
    ),
    part(
        "response.content.encoding",
        "`base64` where JSON carries the body so.",
        r#"response.content.encoding == "base64""#,
    ),
];
