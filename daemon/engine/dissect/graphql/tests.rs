//! GraphQL in HTTP/1 calls: every way to send it, what came back, and what is none.

use serde_json::json;

use crate::dissect::{Carrier, End, Input, Session, Transaction};
use crate::limits::Limits;
use crate::model::{Direction, Timestamp, Value};

fn http(head: &str, kind: &str, body: &str, answer: &str) -> Transaction {
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    let request = format!("{head} HTTP/1.1\r\nHost: a\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len());
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    let (limits, mut out) = (Limits::default(), Vec::new());
    let mut session = Session::new(Carrier::Stream, 80, true);
    for (direction, bytes) in [(Direction::ToServer, &request), (Direction::ToClient, &response)] {
        session.feed(direction, Input::Bytes(bytes.as_bytes()), Timestamp(1), &limits, &mut out);
    }
    session.close(End::Closed, Timestamp(2), &limits, &mut out);
    assert_eq!(out.len(), 1);
    out.remove(0)
}

fn post(body: &str, answer: &str) -> Transaction {
    http("POST /graphql", "application/json; charset=utf-8", body, answer)
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn facts(call: &Transaction) -> (&str, &str, &str) {
    let text = |path| at(&call.request, path).as_str().unwrap_or("");
    (call.summary.as_str(), text("graphql.operationName"), text("graphql.operationType"))
}

const QUERY: &str = "query GetUser($id: ID!) { user(id: $id) { name } }";

/// Entries for tests of what comes after dissection.
pub(crate) fn golden_transactions() -> Vec<Transaction> {
    let single =
        json!({"query": QUERY, "operationName": "GetUser", "variables": {"id": "7", "token": "s3cr3t"}});
    let failed = json!({"data": null, "errors": [{"message": "denied", "path": ["user", 0, "name"], "extensions": {"code": "FORBIDDEN"}}]});
    let batch = json!([{"query": "{ a }"}, {"query": "mutation M { b }"}]);
    vec![
        post(&single.to_string(), &failed.to_string()),
        post(&batch.to_string(), r#"[{"data":{"a":1}},{"data":{"b":2}}]"#),
        http(
            "GET /graphql?query=query%20Get%20%7B%20me%20%7B%20id%20%7D%20%7D&variables=%7B%22x%22%3A1%7D",
            "",
            "",
            "{\"data\":{}}",
        ),
        post(
            &json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "abc123"}}}).to_string(),
            "{\"data\":{}}",
        ),
    ]
}

#[test]
fn a_post_is_named_and_its_errors_are_listed() {
    let call = &golden_transactions()[0];
    assert_eq!((call.protocol.as_str(), call.method.as_str()), ("gqlv1", "POST"));
    assert_eq!(facts(call), ("GetUser", "GetUser", "query"));
    assert_eq!(at(&call.request, "graphql.variables.id"), &Value::from("7"));
    assert_eq!(at(&call.request, "path"), &Value::from("/graphql"));
    assert_eq!(at(&call.response, "graphql.errorCount"), &Value::Int(1));
    assert_eq!(at(&call.response, "graphql.hasData"), &Value::Bool(false));
    let Value::List(errors) = at(&call.response, "graphql.errors") else { panic!("{call:?}") };
    assert_eq!(errors[0].get("path"), Some(&Value::from("user.0.name")));
    assert_eq!(errors[0].get("code"), Some(&Value::from("FORBIDDEN")));
}

#[test]
fn batches_urls_and_persisted_queries_are_calls_too() {
    let calls = golden_transactions();
    assert_eq!(facts(&calls[1]).0, "a, M");
    assert!(matches!(at(&calls[1].request, "graphql.batch"), Value::List(items) if items.len() == 2));
    assert_eq!(facts(&calls[2]), ("Get", "Get", "query"));
    assert_eq!(at(&calls[2].request, "graphql.variables.x"), &Value::Int(1));
    assert_eq!(
        (facts(&calls[3]).0, at(&calls[3].request, "graphql.persistedQuery")),
        ("abc123", &Value::from("abc123"))
    );
}

#[test]
fn documents_and_uploads_are_calls_too() {
    let call = http("POST /q", "application/graphql", "mutation { add }", "{}");
    assert_eq!(facts(&call), ("add", "", "mutation"));
    let form = "--B\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"mutation Up { up }\",\"variables\":{\"file\":null}}\r\n--B--\r\n";
    let call = http("POST /q", "multipart/form-data; boundary=B", form, "{\"data\":{}}");
    assert_eq!(facts(&call), ("Up", "Up", "mutation"));
}

#[test]
fn the_operation_that_runs_is_the_named_one() {
    let body = json!({"query": "query A { a } mutation B { b }", "operationName": "B"}).to_string();
    assert_eq!(facts(&post(&body, "{}")), ("B", "B", "mutation"));
}

#[test]
fn other_json_stays_http() {
    let bodies = [
        json!({"query": "select 1"}),
        json!({"query": {"match_all": {}}}),
        json!({"query": ""}),
        json!({"a": "\"query\""}),
        json!([]),
        json!([1, 2]),
        json!("query"),
    ];
    for body in bodies {
        let call = post(&body.to_string(), "{}");
        assert_eq!((call.protocol.as_str(), call.summary.as_str()), ("http", "/graphql"), "{body}");
    }
    assert_eq!(post("{\"query\": \"{ a }\"", "{}").protocol.as_str(), "http");
    assert_eq!(http("GET /search?query=shoes", "", "", "{}").protocol.as_str(), "http");
    assert_eq!(http("POST /x", "text/plain", r#"{"query":"{ a }"}"#, "{}").protocol.as_str(), "http");
}

#[test]
fn answers_that_are_not_graphql_add_nothing() {
    let call = post(r#"{"query":"{ a }"}"#, "<html>bad gateway</html>");
    assert_eq!(call.protocol.as_str(), "gqlv1");
    assert!(at(&call.response, "graphql").is_null());
}

#[test]
fn deep_variables_become_text() {
    let deep = format!(r#"{{"query":"{{ a }}","variables":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let call = post(&deep, "{}");
    assert_eq!(call.protocol.as_str(), "gqlv1");
    let mut depth = 0;
    let mut value = at(&call.request, "graphql.variables");
    while let Value::List(items) = value {
        value = &items[0];
        depth += 1;
    }
    assert!(depth < 20 && matches!(value, Value::Str(_)), "{depth}");
}
