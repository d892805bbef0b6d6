//! The REST routes: shapes, errors, paging.

use serde_json::json;

use super::*;

fn stored(served: &Served, count: u64) {
    let entries = (1..=count).map(|seq| entry(seq, "/a", if seq % 2 == 0 { 200 } else { 404 }));
    served.fake.stored.lock().unwrap().extend(entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_info_come_in_the_envelope() {
    let served = serve(Options::default());
    let (status, health) = served.get("/api/health").await;
    assert_eq!((status, &health["success"], &health["error"]), (StatusCode::OK, &json!(true), &Json::Null));
    assert_eq!(health["data"]["status"], "healthy");
    assert!(health["data"]["timestamp"].as_str().unwrap().ends_with('Z'));
    let (_, info) = served.get("/api/info").await;
    assert_eq!(info["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["data"]["uptime"], "0s");
    assert!(info["data"]["startedAt"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_wrong_methods_answer_in_the_envelope() {
    let served = serve(Options::default());
    let (status, body) = served.get("/api/v1/nothing").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("NOT_FOUND")));
    let (status, body) = served.unix(Method::DELETE, "/api/health", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(body.contains("METHOD_NOT_ALLOWED"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_come_newest_first_and_page_by_cursor_without_gap_or_double() {
    let served = serve(Options::default());
    stored(&served, 25);
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let (status, page) = served.get(&format!("/api/v1/entries?limit=10{before}")).await;
        assert_eq!(status, StatusCode::OK);
        for entry in page["data"]["entries"].as_array().unwrap() {
            seen.push(entry["id"].as_str().unwrap().rsplit_once('-').unwrap().1.parse::<u64>().unwrap());
        }
        match page["data"]["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_selects_stored_entries_and_a_bad_one_is_a_bad_request() {
    let served = serve(Options::default());
    stored(&served, 4);
    let (_, page) = served.get("/api/v1/entries?kfl=response.status%20%3D%3D%20404").await;
    assert_eq!(page["data"]["entries"].as_array().unwrap().len(), 2);
    let (status, body) = served.get("/api/v1/entries?kfl=response.status%20%3D%3D%3D").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("BAD_REQUEST")));
    for wrong in ["limit=x", "before=-1", "view=odd", "unknown=1"] {
        assert_eq!(
            served.get(&format!("/api/v1/entries?{wrong}")).await.0,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_is_found_by_its_id_plain_and_encoded() {
    let served = serve(Options::default());
    stored(&served, 2);
    for path in
        ["host-a/17c-1-2", "host-a%2F17c-1-2", "host-a/17c-1-2?view=detail", "host-a/17c-1-2?view=base"]
    {
        let (status, body) = served.get(&format!("/api/v1/entries/{path}")).await;
        assert_eq!((status, &body["success"]), (StatusCode::OK, &json!(true)), "{path}");
        assert!(body.to_string().contains("host-a/17c-1-2"), "{body}");
    }
    assert_eq!(served.get("/api/v1/entries/host-a/17c-1-9").await.0, StatusCode::NOT_FOUND);
    assert_eq!(served.get("/api/v1/entries/nonsense").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filters_redactions_apply_to_stored_entries() {
    let served = serve(Options::default());
    served.fake.stored.lock().unwrap().push(entry(1, "/secret-path", 200));
    let filter = "redact(%22request.path%22,%22request.url%22)";
    let (_, page) = served.get(&format!("/api/v1/entries?view=base&kfl={filter}")).await;
    assert_eq!(page["data"]["entries"][0]["summary"], "[REDACTED]", "{page}");
    assert!(!page.to_string().contains("secret-path"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_filtered_sorted_and_cut() {
    let served = serve(Options::default());
    let (_, all) = served.get("/api/v1/flows?limit=2").await;
    assert_eq!((&all["data"]["total"], &all["data"]["truncated"]), (&json!(3), &json!(true)));
    assert_eq!(all["data"]["flows"][0]["client"]["bytes"], 3);
    let (_, one) = served.get("/api/v1/flows?port=40001&ip=127.0.0.1").await;
    assert_eq!(one["data"]["flows"].as_array().unwrap().len(), 1);
    assert_eq!(served.get("/api/v1/flows?ip=nonsense").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_has_kubesharks_shape_and_says_where() {
    let served = serve(Options::default());
    let (_, good) = served.get("/api/query/validate?q=http").await;
    assert_eq!((&good["valid"], &good["message"]), (&json!(true), &json!("")));
    let (_, bad) = served.get("/api/query/validate?q=http%20and%20respons.status%20%3D%3D%20200").await;
    assert_eq!(bad["valid"], false);
    assert!(bad["span"]["start"].as_u64().unwrap() >= 9 && bad["hints"].is_array(), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_and_completions_are_listed() {
    let served = serve(Options::default());
    let (_, fields) = served.get("/api/v1/kfl/fields").await;
    assert!(
        fields["data"].as_array().unwrap().iter().any(|field| field["name"] == "status_code"),
        "{fields}"
    );
    let (_, completion) = served.get("/api/v1/kfl/complete?q=http%20and%20status_c&pos=17").await;
    assert_eq!(completion["data"]["replace"], json!({ "start": 9, "end": 17 }), "{completion}");
    assert_eq!(completion["data"]["candidates"][0]["text"], "status_code");
}

#[tokio::test(flavor = "multi_thread")]
async fn dissection_is_switched_and_readers_with_notices_hear_of_it() {
    let served = serve(Options::default());
    let filter = Filter::parse("", &crate::engine::kfl::Context::new(Timestamp::ZERO)).unwrap();
    let subscription = crate::tap::Subscription { filter, from_seq: None, notices: true, max_bytes: None };
    let mut stream = served.tap.subscribe(subscription).unwrap();
    assert_eq!(served.get("/mcp/dissection").await.1, json!({ "enabled": true }));
    let (_, body) = served.unix(Method::POST, "/mcp/dissection/disable", "").await;
    assert_eq!(body, r#"{"success":true,"enabled":false}"#);
    assert_eq!(served.get("/mcp/dissection").await.1, json!({ "enabled": false }));
    served.tap.announce(&crate::tap::Notice::Paused);
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(matches!(item, Some(crate::tap::Item::Notice(crate::tap::Notice::Paused))), "{item:?}");
    served.unix(Method::POST, "/mcp/dissection/enable", "").await;
    assert_eq!(served.get("/api/v1/status").await.1["data"]["dissectionEnabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_doctor_metrics_landing_page_and_description_answer() {
    let served = serve(Options::default());
    assert_eq!(served.get("/api/v1/status").await.1["data"]["stream"]["subscribers"], 0);
    assert_eq!(served.get("/api/v1/doctor").await.1["data"]["healthy"], true);
    assert_eq!(served.get("/api/v1/doctor/tls").await.1["data"]["processes"][0]["pid"], 7);
    for (path, part) in
        [("/metrics", "remora_drops_total"), ("/", "remora tail"), ("/openapi.yaml", "openapi: 3.")]
    {
        let (status, body) = served.unix(Method::GET, path, "").await;
        assert!(status == StatusCode::OK && body.contains(part), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_described_path_exists() {
    let described = include_str!("../../../docs/openapi.yaml");
    let routes = include_str!("../routes/mod.rs");
    let paths: Vec<&str> =
        described.lines().filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':')).collect();
    let mut served: Vec<String> = Vec::new();
    for line in routes.lines().filter_map(|line| line.trim().strip_prefix(".route(\"/")) {
        served.push(line.split('"').next().unwrap().replace("{*id}", "{id}"));
    }
    for path in &served {
        assert!(paths.contains(&path.as_str()), "/{path} is not in docs/openapi.yaml");
    }
    for path in paths {
        assert!(served.iter().any(|known| known == path), "/{path} is described but not served");
    }
}
