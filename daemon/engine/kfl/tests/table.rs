//! One table: what protocols, presentation and the schema name is what the language knows.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::sample::{dissected, golden, http};
use super::{assert_matches, filter};
use crate::dissect::{SectionContent, registry};
use crate::kfl::fields::find;
use crate::model::{Entry, FieldType};
use crate::present::{View, base_json, detail_json};

fn entries() -> Vec<(String, Entry)> {
    let mut entries = golden();
    let odd =
        http("PUT", "/a%20\"b'c\\d?x=1&x=2&y%22=%00&=e", 418, serde_json::json!({"X-\"Odd": "a\"b\\c"}));
    entries.push(("odd".into(), odd));
    let messages = crate::dissect::websocket::tests::golden_transactions();
    entries.extend(messages.into_iter().map(|call| ("websocket".into(), dissected(call))));
    let lookups = crate::dissect::dns::tests::golden_transactions();
    entries.extend(lookups.into_iter().map(|call| ("dns".into(), dissected(call))));
    let operations = crate::dissect::graphql::tests::golden_transactions();
    entries.extend(operations.into_iter().map(|call| ("graphql".into(), dissected(call))));
    entries
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).expect("JSON")
}

/// A value as a KFL literal.
fn literal(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(serde_json::to_string(text).expect("a literal")),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[test]
fn every_query_of_a_list_row_selects_its_entry() {
    let mut seen = 0;
    for (name, entry) in entries() {
        let base = parse(&base_json(&entry, &View::default()));
        for (query, value) in
            [("summaryQuery", "summary"), ("methodQuery", "method"), ("statusQuery", "status")]
        {
            let text = base[query].as_str().expect("a text");
            let nothing = base[value] == "" || base[value] == 0;
            assert_eq!(text.is_empty(), nothing, "{name}: {query} beside {}", base[value]);
            assert_matches(text, &entry);
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

/// Filters on other protocols than HTTP/1, and the summaries of all that match.
const FOUND: &[(&str, &[&str])] = &[
    ("ws && ws_request && ws_payload_length > 10", &["/chat"; 7]),
    ("ws_compressed && ws_response && ws_response_payload_length > 30", &["/chat"; 6]),
    (r#"ws_opcode == "close" && ws_close_code == 1000 && ws_close_reason == "done""#, &["/chat"]),
    (r#"ws_frames > 2 && ws_request_payload_data.contains("two")"#, &["/chat"]),
    (r#"dns && "A" in dns_question_types && size(dns_answers) > 1"#, &["www.example.com"]),
    ("dns && dns_response && !dns_request", &["who.example.com", "printer.local"]),
    (r#"dns_rcode == "NXDOMAIN" && status_code == 3 && dns_id == 2"#, &["no.example.com"]),
    ("dns_retries > 0", &["lost.example.com"]),
    (r#"mdns && "10.0.0.9" in dns_answers"#, &["printer.local"]),
    (
        r#"dns_extended_error == "DNSSEC Bogus" && dns_client_subnet.startsWith("192.0.2.")"#,
        &["www.example.com"],
    ),
    (
        r#"request.questions[0].name == "no.example.com" and response.code == "Non-Existent Domain""#,
        &["no.example.com"],
    ),
    (r#"response.answers.ip == "192.0.2.7""#, &["www.example.com"]),
    (r#"gql && gql_error_count > 0 && gql_errors.exists(e, e == "denied")"#, &["GetUser"]),
    (r#"gqlv1 && http && method == "POST" && gql_variables["id"] == "7""#, &["GetUser"]),
    (r#""user" in gql_fields && gql_operation_type == "query""#, &["GetUser"]),
    (r#"gql_operation == "a, M" and size(request.graphql.batch) == 2"#, &["a, M"]),
    ("gql && request.graphql.variables.x == 1", &["Get"]),
];

#[test]
fn filters_find_messages_lookups_and_operations() {
    let entries = entries();
    let entries: Vec<_> =
        entries.iter().filter(|(name, _)| ["websocket", "dns", "graphql"].contains(&name.as_str())).collect();
    let mut wrong = Vec::new();
    for (text, expected) in FOUND {
        let filter = filter(text);
        let found = entries.iter().filter(|(_, entry)| filter.matches(entry));
        let found: Vec<&str> = found.map(|(_, entry)| entry.summary.as_str()).collect();
        if found != *expected {
            wrong.push(format!("{text}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every table row and body of every detail view: path and shown value.
fn selectors(entry: &Entry) -> Vec<(String, Json)> {
    let detail = parse(&detail_json(entry, &View::default()));
    let sides = ["request", "response"].map(|side| detail["representation"][side].as_array().cloned());
    let mut found = Vec::new();
    for section in sides.into_iter().flatten().flatten() {
        match section["tableData"].as_array() {
            Some(rows) => found.extend(
                rows.iter()
                    .map(|row| (row["selector"].as_str().expect("text").to_owned(), row["value"].clone())),
            ),
            None => found.push((section["selector"].as_str().expect("text").to_owned(), Json::Null)),
        }
    }
    found
}

#[test]
fn every_selector_of_a_detail_view_finds_its_value() {
    let mut seen = 0;
    for (name, entry) in entries() {
        for (selector, value) in selectors(&entry) {
            let has = filter(&format!("has({selector})"));
            assert!(has.matches(&entry), "{name}: nothing at {selector}");
            let Some(literal) = literal(&value) else { continue };
            assert!(
                filter(&format!("{selector} == {literal}")).matches(&entry),
                "{name}: {selector} == {literal}"
            );
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn paths_of_protocols_are_rows_of_the_table() {
    for protocol in registry::PROTOCOLS {
        let columns = [protocol.columns.method, protocol.columns.summary, protocol.columns.status];
        let mut paths: Vec<&str> = columns.into_iter().chain(protocol.payloads.iter().copied()).collect();
        for section in protocol.sections {
            match section.content {
                SectionContent::Details(rows) => paths.extend(rows.iter().map(|(_, path)| path)),
                SectionContent::Table(path) => paths.push(path),
                SectionContent::Body(path, mime) => paths.extend([path, mime]),
            }
        }
        for path in paths.into_iter().filter(|path| !path.is_empty()) {
            let path = path.trim_end_matches('?');
            assert!(find(path).is_some(), "{path} is shown but is no row of the table");
        }
        for info in protocol.infos {
            assert!(find(info.macro_name).is_some_and(|row| row.field.ty == FieldType::Bool), "{}", info.key);
        }
    }
}

/// What an entry's JSON carries for programs and nobody filters by: looks, references, what is always empty.
const NOT_ASKED: &[&str] = &[
    "base",
    "captureSource",
    "checksums",
    "connection",
    "data",
    "dataRef",
    "duplicate",
    "entryFile",
    "event",
    "eventRef",
    "events",
    "failed",
    "matcherKey",
    "namespace",
    "networkProps",
    "passed",
    "record",
    "redacted",
    "requestRef",
    "responseRef",
    "subProtocol",
    "capture.proxy",
    "capture.vlan",
    "protocol.backgroundColor",
    "protocol.fontSize",
    "protocol.foregroundColor",
    "protocol.ports",
    "protocol.priority",
    "protocol.referenceLink",
    "src.cpuUsage",
    "src.memoryUsage",
    "dst.cpuUsage",
    "dst.memoryUsage",
];

/// Leaves of a schema: dotted path and its types.
fn leaves(schema: &Json, at: &str, found: &mut Vec<(String, Vec<String>)>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}{name}");
        if inner["properties"].is_object() {
            leaves(inner, &format!("{path}."), found);
            continue;
        }
        let types = match &inner["type"] {
            Json::Array(types) => types.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            Json::String(one) => vec![one.clone()],
            _ => Vec::new(),
        };
        found.push((path, types));
    }
}

#[test]
fn the_schema_names_what_the_table_knows_with_the_same_types() {
    let schema = parse(
        &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/entry.schema.json"))
            .expect("the schema"),
    );
    let mut found = Vec::new();
    leaves(&schema, "", &mut found);
    leaves(&schema["$defs"]["httpRequest"], "request.", &mut found);
    leaves(&schema["$defs"]["httpResponse"], "response.", &mut found);
    for side in ["request.", "response."] {
        leaves(&schema["$defs"]["wsMessage"], side, &mut found);
    }
    leaves(&schema["$defs"]["graphqlRequest"], "request.", &mut found);
    leaves(&schema["$defs"]["graphqlResponse"], "response.", &mut found);
    leaves(&schema["$defs"]["dnsRequest"], "request.", &mut found);
    leaves(&schema["$defs"]["dnsResponse"], "response.", &mut found);
    let known: BTreeSet<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let mut wrong: Vec<String> = NOT_ASKED
        .iter()
        .filter(|path| !known.contains(*path))
        .map(|path| format!("{path} is gone"))
        .collect();
    for (path, types) in &found {
        let Some(row) = find(path) else {
            let below = |field: &&crate::model::Field| field.name.starts_with(&format!("{path}."));
            if !NOT_ASKED.contains(&path.as_str()) && !crate::kfl::fields().any(|field| below(&field)) {
                wrong.push(format!("{path} is no row of the table"));
            }
            continue;
        };
        let fits = |name: &str| match row.field.ty {
            FieldType::Bool => name == "boolean",
            // Ports are texts in JSON and compare as numbers as well.
            FieldType::Int => name == "integer" || path.rsplit('.').next() == Some("port"),
            FieldType::Float => name == "number",
            FieldType::Str | FieldType::Bytes => name == "string",
            FieldType::Timestamp => name == "integer" || name == "string",
            FieldType::StrList => name == "array",
            FieldType::StrMap => name == "object",
            FieldType::Any => true,
        };
        if !types.iter().all(|name| name == "null" || fits(name)) {
            wrong.push(format!("{path} is {types:?}, in the table {}", row.field.ty.name()));
        }
    }
    // Untyped rows are message paths: for HTTP they are in the schema, under the name or its short form.
    for field in registry::PROTOCOLS.iter().flat_map(|protocol| protocol.fields) {
        if field.ty == FieldType::Any && !known.contains(field.name) {
            wrong.push(format!("{} is a row of the table but not in the schema", field.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
