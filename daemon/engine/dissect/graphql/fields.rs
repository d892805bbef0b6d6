//! The KFL fields that GraphQL fills.

use crate::model::{Entry, Field, FieldSource, FieldType, FieldValue, join, paths};

fn operation(entry: &Entry) -> FieldValue<'_> {
    match entry.protocol.as_str() {
        "gqlv1" | "gqlv2" => FieldValue::Str(&entry.summary),
        _ => FieldValue::Missing,
    }
}

const OPERATION: Field = Field {
    name: "gql_operation",
    ty: FieldType::Str,
    source: FieldSource::Get(operation),
    doc: "Name of the operation; its root fields where it has none, the names of a batch with commas.",
    example: r#"gql_operation == "GetUser""#,
};

const PATHS: &[Field] = paths! {
    "gql_operation_name" Str "request.graphql.operationName" "Name of the operation." r#"gql_operation_name == "GetUser""#;
    "gql_operation_type" Str "request.graphql.operationType" "`query`, `mutation` or `subscription`." r#"gql_operation_type == "mutation""#;
    "gql_fields" StrList "request.graphql.fields" "Fields that are asked of the root." r#""checkout" in gql_fields"#;
    "gql_query" Str "request.graphql.query" "The document." r#"gql_query.contains("password")"#;
    "gql_variables" StrMap "request.graphql.variables" "Variables." r#"gql_variables["id"] == "7""#;
    "gql_persisted" Str "request.graphql.persistedQuery" "Hash of a document that the server keeps." r#"gql_persisted != """#;
    "gql_errors" StrList "response.graphql.messages" "Messages of the answer's errors." r#"gql_errors.exists(e, e.contains("denied"))"#;
    "gql_error_count" Int "response.graphql.errorCount" "Number of the answer's errors, whatever the HTTP status." "gql && gql_error_count > 0";
    "request.graphql.operationName" Str "request.graphql.operationName" "Same as `gql_operation_name`." r#"request.graphql.operationName == "GetUser""#;
    "request.graphql.operationType" Str "request.graphql.operationType" "Same as `gql_operation_type`." r#"request.graphql.operationType == "query""#;
    "request.graphql.fields" StrList "request.graphql.fields" "Same as `gql_fields`." r#""user" in request.graphql.fields"#;
    "request.graphql.query" Str "request.graphql.query" "Same as `gql_query`." r#"request.graphql.query.contains("user")"#;
    "request.graphql.mimeType" Str "request.graphql.mimeType" "`application/graphql`, for those who show the document." r#"request.graphql.mimeType == "application/graphql""#;
    "request.graphql.persistedQuery" Str "request.graphql.persistedQuery" "Same as `gql_persisted`." r#"request.graphql.persistedQuery != """#;
    "request.graphql.variables" Any "request.graphql.variables" "Variables, with all their parts." "request.graphql.variables.id == 7";
    "request.graphql.batch" Any "request.graphql.batch" "All operations of a batch." "size(request.graphql.batch) > 1";
    "response.graphql.hasData" Bool "response.graphql.hasData" "The answer holds data." "!response.graphql.hasData";
    "response.graphql.errorCount" Int "response.graphql.errorCount" "Same as `gql_error_count`." "response.graphql.errorCount > 0";
    "response.graphql.messages" StrList "response.graphql.messages" "Same as `gql_errors`." "size(response.graphql.messages) > 0";
    "response.graphql.errors" Any "response.graphql.errors" "Errors with message, path and code." r#"response.graphql.errors[0].code == "FORBIDDEN""#;
};

/// All rows.
pub(super) static FIELDS: &[Field] = &join::<{ PATHS.len() + 1 }, _>(&[OPERATION], PATHS);
