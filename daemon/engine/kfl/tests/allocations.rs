//! Proves that evaluating a filter on the common path does not allocate.

#[path = "../../benches/kfl/workload.rs"]
mod workload;

use remora_engine::kfl::{Context, Filter};
use remora_engine::model::Timestamp;

fn filter(text: &str) -> Filter {
    Filter::parse(text, &Context::new(Timestamp(1_773_527_400_000_000_000)))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Allocations of one evaluation for each of the entries, after a first one that may fill caches.
fn allocations(text: &str) -> u64 {
    let (filter, entries) = (filter(text), workload::entries());
    let run = || entries.iter().filter(|entry| filter.matches(entry)).count();
    run();
    allocation_counter::measure(|| {
        std::hint::black_box(run());
    })
    .count_total
}

/// Filters of the common path beside those of the bench: every kind of condition on entries.
const COMMON: &[&str] = &[
    "http and not error",
    "status >= 400 and response.status != 404",
    r#"src.ip == "192.168.1.5" or dst.ip != "::1""#,
    r#"dst.ip.endsWith(".7") or dst.ip.contains("0.0")"#,
    r#"src.ip == r"192\.168\..*""#,
    r#"cidr(src.ip, "192.168.0.0/16", "fd00::/8")"#,
    r#"src.ip in ["10.0.0.1", "192.168.1.5"]"#,
    r#"dst.port in [80, 443, 8080] and dst.port == "8080""#,
    r#"request.query.page > 1 or request.queryString["size"] == 20"#,
    r#"request.headers.Host == "shop.example.com" and "cookie" in request.headers"#,
    r#"map_get(request.headers, "accept", "") == "*/*""#,
    r#"request.pathSegments[1] == "v1" and "users" in request.pathSegments"#,
    r#"request.pathSegments.exists(part, part.startsWith("user"))"#,
    r#"request.pathSegments.* == "v1""#,
    "size(request.headers) > 3 and size(request.pathSegments) < 9",
    r#"lower(request.headers["content-type"]) == "application/json""#,
    r#"lower(method) == "get" and src.name.upper() == "CURL""#,
    r#"path == "/health" ? status == 200 : status >= 400"#,
    r#"timestamp > now() - duration("5m") and elapsed_time > duration("1ms")"#,
    r"elapsedTime * 2 > 20 and request_size + response_size > 100",
    r#"dns_resolutions.size() == 0 and !("a" in namespaces)"#,
    r#"src.process.name == dst.process.name or src.name != "x""#,
    r#"string(status_code).startsWith("4")"#,
    r"timestamp.getHours() >= 8 and has(request.postData.text)",
    r#"request.body.size() > 5 and response.body == r"stock""#,
    r#"dst.name.endsWith(src.name) or src.ip + ":1" == "192.168.1.5:1""#,
    r#"id == "web-1/1f-3-0""#,
];

#[test]
fn common_filters_do_not_allocate() {
    let bench = workload::CASES.iter().map(|case| case.kfl).filter(|text| !text.contains(".json()"));
    let texts = COMMON.iter().copied().chain(bench);
    let wrong: Vec<String> = texts
        .map(|text| (allocations(text), text))
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} allocations: {text}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_document_is_read_once_however_often_it_is_asked() {
    let once = allocations("response.body.json().user.id == 8");
    let thrice = allocations(
        "response.body.json().user.id == 8 or response.body.json().user.id == 9 or response.content.text.json().x == 1",
    );
    assert!(once > 0 && thrice <= once * 2, "{once} allocations, asked thrice {thrice}");
}
