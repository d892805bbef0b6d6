//! The KFL fields that DNS fills.

use crate::model::{Entry, Field, FieldValue, Value, fields, join, paths};

fn is_ours(entry: &Entry) -> bool {
    matches!(entry.protocol.as_str(), "dns" | "mdns" | "llmnr")
}

/// A member of the query, or of the answer where no query was seen.
fn asked<'a>(entry: &'a Entry, key: &str) -> FieldValue<'a> {
    let side = if entry.request.is_null() { &entry.response } else { &entry.request };
    member(entry, side, key)
}

/// A member of the answer.
fn answered<'a>(entry: &'a Entry, key: &str) -> FieldValue<'a> {
    member(entry, &entry.response, key)
}

fn member<'a>(entry: &Entry, side: &'a Value, key: &str) -> FieldValue<'a> {
    side.get(key).filter(|_| is_ours(entry)).map_or(FieldValue::Missing, FieldValue::of)
}

/// A member of what EDNS says in the query or the answer.
fn edns<'a>(entry: &'a Entry, side: &'a Value, key: &str) -> FieldValue<'a> {
    let found = side.get("edns").and_then(|edns| edns.get(key)).filter(|_| is_ours(entry));
    found.map_or(FieldValue::Missing, FieldValue::of)
}

fn length(entry: &Entry, bytes: u64) -> FieldValue<'static> {
    if is_ours(entry) {
        FieldValue::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
    } else {
        FieldValue::Missing
    }
}

fn extended_error(entry: &Entry) -> FieldValue<'_> {
    let errors = entry.response.get("edns").and_then(|edns| edns.get("extendedErrors"));
    match errors.filter(|_| is_ours(entry)) {
        Some(Value::List(errors)) => {
            errors.first().and_then(|first| first.get("name")).map_or(FieldValue::Missing, FieldValue::of)
        }
        _ => FieldValue::Missing,
    }
}

/// Names of the reference's list of variables, and what belongs beside them.
const VARIABLES: &[Field] = fields! {
    "dns_questions" StrList "Names that were asked for." r#""google.com" in dns_questions"#
        => |entry| asked(entry, "names");
    "dns_question_types" StrList "Types that were asked for: A, AAAA, MX, ..." r#""A" in dns_question_types"#
        => |entry| asked(entry, "types");
    "dns_answers" StrList "Contents of the answer's records: addresses, names, texts." "dns_response && size(dns_answers) == 0"
        => |entry| answered(entry, "values");
    "dns_request" Bool "A question was seen." "dns && dns_request"
        => |entry| FieldValue::Bool(is_ours(entry) && !entry.request.is_null());
    "dns_response" Bool "An answer was seen." "dns && dns_response"
        => |entry| FieldValue::Bool(is_ours(entry) && !entry.response.is_null());
    "dns_request_length" Int "Bytes of the question." "dns_request_length > 100"
        => |entry| length(entry, entry.request_size);
    "dns_response_length" Int "Bytes of the answer." "dns_response_length > 512"
        => |entry| length(entry, entry.response_size);
    "dns_total_size" Int "Bytes of both." "dns_total_size > 512"
        => |entry| length(entry, entry.request_size.saturating_add(entry.response_size));
    "dns_name" Str "The name that was asked for first." r#"dns_name.endsWith(".internal")"#
        => |entry| if is_ours(entry) { FieldValue::Str(&entry.summary) } else { FieldValue::Missing };
    "dns_opcode" Str "`Query`, `Notify`, `Update`, ..." r#"dns_opcode == "Update""#
        => |entry| asked(entry, "opCode");
    "dns_rcode" Str "Mnemonic of the answer's code: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, ..." r#"dns_rcode == "NXDOMAIN""#
        => |entry| answered(entry, "rcode");
    "dns_id" Int "Number of the question." "dns_id == 4711" => |entry| asked(entry, "id");
    "dns_transport" Str "`udp` or `tcp`." r#"dns_transport == "tcp""# => |entry| asked(entry, "transport");
    "dns_truncated" Bool "The answer did not fit its datagram." "dns && dns_truncated"
        => |entry| answered(entry, "truncated");
    "dns_authoritative" Bool "The answer comes from the zone's own server." "dns && dns_authoritative"
        => |entry| answered(entry, "authoritative");
    "dns_authentic" Bool "The resolver vouches for the answer (DNSSEC)." "dns && !dns_authentic"
        => |entry| answered(entry, "authenticData");
    "dns_retries" Int "How often the question was sent before." "dns_retries > 0"
        => |entry| asked(entry, "retries");
    "dns_client_subnet" Str "Client subnet in the question: address, source and scope prefix length." r#"dns_client_subnet.startsWith("10.")"#
        => |entry| edns(entry, &entry.request, "clientSubnet");
    "dns_extended_error" Str "First extended error of the answer." r#"dns_extended_error == "DNSSEC Bogus""#
        => extended_error;
};

/// Parts of the messages.
const PATHS: &[Field] = paths! {
    "request.id" Int "Number of the DNS question." "request.id == 4711";
    "request.opCode" Str "DNS operation." r#"request.opCode == "Query""#;
    "request.transport" Str "`udp` or `tcp`: what the DNS question came on." r#"request.transport == "tcp""#;
    "request.recursionDesired" Bool "The DNS server is to ask others." "request.recursionDesired";
    "request.checkingDisabled" Bool "DNSSEC is left to the client." "request.checkingDisabled";
    "request.retries" Int "How often the DNS question was sent before." "request.retries > 0";
    "request.questions" Any "DNS questions: `request.questions[0].name`." r#"request.questions[0].name == "a.com""#;
    "request.names" StrList "Same as `dns_questions`, of a question that was seen." r#""a.com" in request.names"#;
    "request.types" StrList "Same as `dns_question_types`, of a question that was seen." r#""A" in request.types"#;
    "request.edns" Any "EDNS of a DNS question." "request.edns.dnssecOk";
    "response.id" Int "Number of the DNS answer." "response.id == 4711";
    "response.opCode" Str "DNS operation of the answer." r#"response.opCode == "Query""#;
    "response.transport" Str "`udp` or `tcp`: what the DNS answer came on." r#"response.transport == "tcp""#;
    "response.recursionDesired" Bool "The DNS server was to ask others." "response.recursionDesired";
    "response.names" StrList "Names in an answer whose question was not seen." r#""a.com" in response.names"#;
    "response.types" StrList "Types in an answer whose question was not seen." r#""A" in response.types"#;
    "response.values" StrList "Same as `dns_answers`." r#""10.0.0.7" in response.values"#;
    "response.code" Str "DNS response code in words." r#"response.code == "Non-Existent Domain""#;
    "response.rcode" Str "Mnemonic of the DNS response code." r#"response.rcode == "NXDOMAIN""#;
    "response.authoritative" Bool "The DNS answer comes from the zone's own server." "response.authoritative";
    "response.truncated" Bool "The DNS answer did not fit its datagram." "response.truncated";
    "response.recursionAvailable" Bool "The DNS server asks others." "!response.recursionAvailable";
    "response.authenticData" Bool "The resolver vouches for the DNS answer." "response.authenticData";
    "response.questions" Any "DNS questions repeated in an answer whose query was not seen." "size(response.questions) > 0";
    "response.answers" Any "DNS answers." "size(response.answers) > 1";
    "response.authorities" Any "Records of the servers that know, in a DNS answer." "size(response.authorities) > 0";
    "response.additionals" Any "Further records of a DNS answer." "size(response.additionals) > 0";
    "response.edns" Any "EDNS of a DNS answer." r#"response.edns.extendedErrors[0].name == "DNSSEC Bogus""#;
};

/// All rows.
pub(super) static FIELDS: &[Field] = &join::<{ VARIABLES.len() + PATHS.len() }, _>(VARIABLES, PATHS);
