//! Every filter of the product's documents, with entries that it must and must not match.

use serde_json::json;

use super::sample::{bare, entry, http};
use super::{assert_differs, assert_matches};
use crate::model::{CaptureSource, Entry, EntryError, ErrorKind, Timestamp};

fn call(method: &str, url: &str, status: i64) -> Entry {
    http(method, url, status, json!({}))
}

fn with_header(name: &str, value: &str) -> Entry {
    http("GET", "/", 200, json!({ name: value }))
}

fn get(url: &str) -> Entry {
    call("GET", url, 200)
}

fn changed(mut entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    change(&mut entry);
    entry
}

fn lasting(micros: u64) -> Entry {
    changed(get("/"), |entry| {
        let start = entry.timing.request_start.nanos();
        entry.timing.response_end = Timestamp(start + micros * 1000);
    })
}

fn to_port(port: u16) -> Entry {
    changed(get("/"), |entry| entry.dst.addr.port = port)
}

fn at(nanos: u64) -> Entry {
    changed(bare("dns"), |entry| entry.timing.request_start = Timestamp(nanos))
}

/// A filter, an entry that it matches, and one that it does not.
struct Case(&'static str, Entry, Entry);

/// The filters of the second dialect on what has meaning now: calls, ends, processes, nodes.
fn kfl2() -> Vec<Case> {
    let dns = || bare("dns");
    let ok = || get("/");
    let body = |size: i64| {
        let response = json!({"status": 200, "bodySize": size});
        changed(get("/"), |entry| entry.response = super::sample::tree(&response))
    };
    let grpc = |path: &str, status: &str| {
        let headers = json!({"Content-Type": "application/grpc", "Grpc-Status": status});
        let entry_of = entry(
            "grpc",
            json!({"path": path, "method": "POST"}),
            json!({"status": 200, "headers": headers}),
        );
        changed(entry_of, |entry| {
            entry.method = "POST".into();
            entry.status = 200;
        })
    };
    let dst_dns = |name: &str| changed(get("/"), |entry| entry.dst.dns = name.into());
    vec![
        Case("http", ok(), dns()),
        Case("http", grpc("/a", "0"), dns()),
        Case("!http", dns(), ok()),
        Case("http && status_code == 500", call("GET", "/", 500), ok()),
        Case("http && status_code >= 400", call("GET", "/", 404), ok()),
        Case("http && status_code >= 400 && status_code < 500", call("GET", "/", 404), call("GET", "/", 500)),
        Case("http && status_code >= 500", call("GET", "/", 503), call("GET", "/", 404)),
        Case("http && status_code == 429", call("GET", "/", 429), ok()),
        Case("http && status_code != 200", call("GET", "/", 201), ok()),
        Case(r#"http && method == "GET""#, ok(), call("PUT", "/", 200)),
        Case(r#"http && method == "GET" && status_code >= 400"#, call("GET", "/", 400), ok()),
        Case(
            r#"http && method == "POST" && status_code >= 500 && path.contains("/api")"#,
            call("POST", "/api/x", 500),
            call("POST", "/x?/api", 500),
        ),
        Case(r#"http && url.contains("/api")"#, get("/x?/api"), get("/x")),
        Case(r#"http && method == "GET" && url.contains("/api")"#, get("/api"), call("PUT", "/api", 200)),
        Case(
            r#"http && url.matches(".*/api/v[0-9]+/users.*")"#,
            get("/api/v2/users/7"),
            get("/api/vx/users"),
        ),
        Case(r#"http && !path.contains("/health")"#, get("/x"), get("/health")),
        Case(r#"http && "authorization" in request.headers"#, with_header("Authorization", "x"), ok()),
        Case(
            r#"http && request.headers["content-type"] == "application/json""#,
            with_header("Content-Type", "application/json"),
            ok(),
        ),
        Case(
            r#"http && map_get(request.headers, "user-agent", "").contains("Mozilla/4.0")"#,
            with_header("User-Agent", "Mozilla/4.0 (x)"),
            ok(),
        ),
        Case(
            r#"http && map_get(request.headers, "accept", "").contains("dns-json")"#,
            with_header("accept", "application/dns-json"),
            with_header("accept", "text/html"),
        ),
        Case(
            r#"http && map_get(request.headers, "upgrade", "") == "websocket""#,
            with_header("Upgrade", "websocket"),
            ok(),
        ),
        Case(
            r#"http && map_get(request.headers, "authorization", "").startsWith("AWS4-HMAC-SHA256")"#,
            with_header("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
            with_header("Authorization", "Bearer x"),
        ),
        Case(
            r#"http && "x-aws-ec2-metadata-token-ttl-seconds" in request.headers"#,
            with_header("X-aws-ec2-metadata-token-ttl-seconds", "60"),
            ok(),
        ),
        Case(r#"http && path.contains("/meta-data/iam")"#, get("/latest/meta-data/iam/x"), ok()),
        Case(
            r#"http && path.startsWith("/api/v1/secrets")"#,
            get("/api/v1/secrets?x=1"),
            get("/x/api/v1/secrets"),
        ),
        Case(r#"http && path == "/.env""#, get("/.env"), get("/.envx")),
        Case(r#"http && path == "/actuator/info""#, get("/actuator/info"), ok()),
        Case("http && response_body_size > 1000000", body(1_000_001), body(1_000_000)),
        Case("http && elapsed_time > 5000000", lasting(5_000_001), lasting(5_000_000)),
        Case("elapsed_time > 2000000", lasting(2_000_001), lasting(10)),
        Case("gql && status_code >= 400", changed(bare("gql"), |e| e.status = 400), call("GET", "/", 400)),
        Case(
            r#"gql && method == "POST" && status_code >= 400"#,
            changed(bare("gql"), |entry| {
                entry.status = 400;
                entry.method = "POST".into();
            }),
            call("POST", "/", 400),
        ),
        Case("grpc", grpc("/a", "0"), ok()),
        Case("grpc && grpc_status != 0", grpc("/a", "5"), grpc("/a", "0")),
        Case("grpc && grpc_status == 5", grpc("/a", "5"), grpc("/a", "14")),
        Case("grpc && grpc_status == 14", grpc("/a", "14"), grpc("/a", "5")),
        Case(
            r#"grpc && grpc_method == "SayHello""#,
            grpc("/pkg.Greeter/SayHello", "0"),
            grpc("/pkg.Greeter/Say", "0"),
        ),
        Case(
            r#"grpc && grpc_method.contains("Create")"#,
            grpc("/p.S/CreateUser", "0"),
            grpc("/p.Create/User", "0"),
        ),
        Case(
            r#"grpc && grpc_method.contains("Reflection")"#,
            grpc("/p.S/ServerReflectionInfo", "0"),
            grpc("/p.S/X", "0"),
        ),
        Case(r#"grpc && method == "POST" && status_code == 200"#, grpc("/p.S/X", "0"), ok()),
        Case("grpc && elapsed_time > 1000000", grpc("/p.S/X", "0"), lasting(2_000_000)),
        Case(
            "tls && http && status_code >= 500",
            changed(call("GET", "/", 500), |entry| entry.tls = true),
            call("GET", "/", 500),
        ),
        Case(
            r#"capture_source == "ebpf_tls""#,
            changed(ok(), |entry| entry.capture.source = CaptureSource::EbpfTls),
            ok(),
        ),
        Case("dst.port == 80 || dst.port == 443 || dst.port == 8080", to_port(443), to_port(444)),
        Case("dst.port >= 8000 && dst.port <= 9000", to_port(8500), to_port(9001)),
        Case(
            r#"src.ip.startsWith("192.168.")"#,
            ok(),
            changed(ok(), |entry| entry.src.addr.ip = [10, 192, 168, 1].into()),
        ),
        Case(
            r#"dst.ip == "169.254.169.254""#,
            changed(ok(), |entry| entry.dst.addr.ip = [169, 254, 169, 254].into()),
            ok(),
        ),
        Case("dst.port == 3333", to_port(3333), ok()),
        Case("dst.port == 4444", to_port(4444), ok()),
        Case(r#"node_name == "web-1""#, ok(), changed(ok(), other_node)),
        Case(r#"local_process_name == "nginx""#, changed(ok(), |entry| entry.outgoing = false), ok()),
        Case(r#"remote_process_name.contains("ngin")"#, ok(), changed(ok(), |entry| entry.outgoing = false)),
        Case(r#"dst.dns == "db.example.com""#, dst_dns("db.example.com"), dst_dns("x.example.com")),
        Case(
            r#"src.dns.contains("example.com") || dst.dns.contains("example.com")"#,
            dst_dns("a.example.com"),
            dst_dns("a.internal"),
        ),
        Case(r#""db.example.com" in dns_resolutions"#, dst_dns("db.example.com"), dst_dns("")),
        Case(r#"dst.dns != "" && !dst.dns.endsWith(".internal")"#, dst_dns("a.com"), dst_dns("a.internal")),
        Case(r#"dst.name.contains("payment")"#, ok(), changed(ok(), |entry| entry.dst.name = "x".into())),
        Case(
            r#"http && status_code >= 500 || (tcp && tcp_error_type != "")"#,
            call("GET", "/", 500),
            bare("tcp"),
        ),
        Case(
            r#"timestamp > now() - duration("5m")"#,
            at(super::NOW.nanos() - 299_000_000_000),
            at(super::NOW.nanos() - 301_000_000_000),
        ),
        Case("timestamp >= now()", at(super::NOW.nanos()), at(super::NOW.nanos() - 1)),
        Case(
            r#"timestamp >= timestamp("2026-03-14T22:00:00Z") && timestamp <= timestamp("2026-03-14T23:00:00Z")"#,
            ok(),
            at(super::NOW.nanos() + 3_600_000_000_000),
        ),
        Case(
            r#"src.ip.startsWith("192.168.") && http && method == "POST" && url.contains("/api")"#,
            call("POST", "/api", 200),
            call("POST", "/x", 200),
        ),
    ]
}

fn other_node(entry: &mut Entry) {
    entry.node =
        std::sync::Arc::new(crate::model::NodeInfo { name: "web-2".into(), ip: [10, 0, 0, 2].into() });
}

#[test]
fn kfl2_examples_match_what_they_say() {
    for Case(text, yes, no) in kfl2() {
        assert_matches(text, &yes);
        assert_differs(text, &no);
    }
}

#[test]
fn an_empty_filter_matches_everything() {
    for text in ["", "  \n", "// only a comment", "# as well"] {
        assert_matches(text, &bare("dns"));
    }
}

/// A filter of the second dialect on fields that nothing fills yet, the protocol of an entry, and
/// what the defaults answer for it.
const PLANNED: &[(&str, &str, bool)] = &[
    ("dns && dns_request", "dns", false),
    (r#"dns && "google.com" in dns_questions"#, "dns", false),
    (r#"dns && dns_questions.exists(q, q.contains("minexmr"))"#, "dns", false),
    ("dns && dns_response && status_code != 0", "dns", false),
    ("dns && dns_response && size(dns_answers) == 0", "dns", false),
    ("dns && !dns_response && size(dns_answers) == 0", "dns", true),
    ("dns && dns_response && size(dns_answers) > 0", "dns", false),
    (r#"dns && "A" in dns_question_types"#, "dns", false),
    ("dns && size(dns_questions) > 1", "dns", false),
    ("dns && size(dns_questions) <= 1", "dns", true),
    (r#"tlsx && src.pod.namespace == "production""#, "tlsx", false),
    (r#"tlsx && tlsx_sni.contains("amazonaws.com")"#, "tlsx", false),
    (r#"tlsx && tlsx_cipher_suites.exists(s, s.contains("RC4"))"#, "tlsx", false),
    (r#"tlsx && tlsx_cipher_suites.all(s, s.contains("RC4"))"#, "tlsx", true),
    (r#"src.pod.name == "web-server-123""#, "http", false),
    (r#"dst.pod.namespace == "production""#, "http", false),
    (r#"src.service.name == "api-gateway" && dst.service.name == "user-service""#, "http", false),
    (r#""production" in namespaces"#, "http", false),
    (r#""orders" in pods"#, "http", false),
    ("src.pod.namespace != dst.pod.namespace", "http", false),
    ("src.pod.namespace == dst.pod.namespace", "http", true),
    ("src.service.namespace != dst.service.namespace", "http", false),
    (r#"!(src.pod.namespace == "kube-system")"#, "http", true),
    (r#"map_get(local_labels, "app", "") == "checkout""#, "http", false),
    (r#"map_get(local_labels, "app", "none") == "none""#, "http", true),
    (r#""tier" in local_labels"#, "http", false),
    (r#"map_get(remote_labels, "version", "") == "canary""#, "http", false),
    (r#"node_name == "ip-10-0-25-170.ec2.internal""#, "http", false),
    (r#"remote_process_name.contains("postgres")"#, "http", false),
    (r#"redis && redis_type == "GET""#, "redis", false),
    (r#"redis && redis_type == "GET" && redis_key.startsWith("session:")"#, "redis", false),
    (r#"redis && redis_command.contains("DEL")"#, "redis", false),
    ("redis && redis_total_size > 10000", "redis", false),
    ("redis && redis_total_size < 10000", "redis", true),
    (r#"kafka && kafka_api_key_name == "PRODUCE""#, "kafka", false),
    (r#"kafka && kafka_request_summary.contains("orders")"#, "kafka", false),
    (r#"kafka && kafka_client_id == "payment-processor""#, "kafka", false),
    ("kafka && kafka_size > 10000", "kafka", false),
    (r#"amqp && amqp_method == "basic.publish""#, "amqp", false),
    (r#"ldap && ldap_type == "bind""#, "ldap", false),
    (r#"radius && radius_code_name == "Access-Request""#, "radius", false),
    (r#"diameter && diameter_method.contains("Credit")"#, "diameter", false),
    (r#"mongodb && mongodb_command == "find" && mongodb_collection == "users""#, "mongodb", false),
    ("mongodb && !mongodb_success", "mongodb", true),
    (r#"mysql && mysql_query.contains("SELECT") && !mysql_success"#, "mysql", false),
    ("mysql && mysql_error_code != 0", "mysql", false),
    (r#"postgresql && postgresql_error_code != """#, "postgresql", false),
    (r#"postgresql && postgresql_query.contains("UNION SELECT")"#, "postgresql", false),
    (r#"postgresql && postgresql_user == "admin""#, "postgresql", false),
    (r#"tcp && tcp_error_type != """#, "tcp", false),
    ("udp && udp_length > 1000", "udp", false),
    (r#"conn && conn_state == "open" && conn_local_bytes > 1000000"#, "tcp-conn", false),
    (r#"conn && "HTTP" in conn_l7_detected"#, "tcp-conn", false),
    (r#"tcp_conn && conn_state == "closed""#, "tcp-conn", false),
    (r#"tcp_conn && conn_state == """#, "tcp-conn", true),
    ("flow && flow_local_pps > 1000", "tcp-flow", false),
    ("tcp_flow && flow_local_bps > 5000000", "tcp-flow", false),
    (r#"flow && flow_state == "closed" && "TLS" in flow_l7_detected"#, "udp-flow", false),
    (
        r#"dst.pod.name == "bifrost-0" && http && dst.port == 8000 && path.contains("/v1/chat/completions")"#,
        "http",
        false,
    ),
];

#[test]
fn fields_that_nothing_fills_have_their_defaults() {
    for (text, protocol, expected) in PLANNED {
        let entry = bare(protocol);
        if *expected { assert_matches(text, &entry) } else { assert_differs(text, &entry) }
    }
}

/// The filters of the first dialect.
fn kfl1() -> Vec<Case> {
    let ok = || get("/");
    let five = r#"(http and request.method == "PUT") or (amqp and request.queue.startsWith("test")) or
        (kafka and response.payload.errorCode == 2) or (redis and request.key == "example") or
        (grpc and request.headers[":path"] == r".*foo.*")"#;
    let mixed = r#"http and request.method == "GET" and request.path != "/example" and
        (request.query.a > 42 or request.headers["x"] == "y")"#;
    let fields = r#"http and (request.query["x"] == response.headers["y"] or response.content.text.contains(request.query["x"]))"#;
    let xml = r#"response.body.xml().bookstore.book[1].title == "Harry Potter""#;
    let books = json!({"content": {"text": "bytes:<?xml version=\"1.0\"?><bookstore><!-- c --><book><title lang=\"en\">Everyday Italian</title></book><book category=\"c\"><title lang=\"en\">Harry Potter</title></book></bookstore>"}});
    let actuator = r#"!request.path.startsWith("/actuator") and http and dst.name != "pgadmin.development""#;
    let broken = |kind| {
        changed(ok(), |entry| entry.error = Some(EntryError { kind, message: "reset by the server".into() }))
    };
    vec![
        Case("response.status > 300", call("GET", "/", 404), ok()),
        Case("response.status > 300", call("GET", "/", 301), bare("dns")),
        Case(
            r#"response.status > 300 and node.name == "web-1""#,
            call("GET", "/", 404),
            changed(call("GET", "/", 404), other_node),
        ),
        Case(r#"http and response.status == r"4.*""#, call("GET", "/", 404), call("GET", "/", 500)),
        Case(mixed, get("/x?a=43"), get("/x?a=41")),
        Case(mixed, with_header("X", "y"), get("/example?a=43")),
        Case(r#"http and request.path == "/catalogue""#, get("/catalogue"), get("/catalogue/1")),
        Case(
            r#"http and request.headers["Accept"] == r"application/json.*""#,
            with_header("accept", "application/json; q=1"),
            with_header("accept", "text/html"),
        ),
        Case("timestamp >= now()", at(super::NOW.nanos()), ok()),
        Case(r#"timestamp > datetime("10/19/2021, 6:29:02 PM")"#, ok(), at(1_634_668_142_000_000_000)),
        Case(five, call("PUT", "/", 200), ok()),
        Case(
            five,
            entry("amqp", json!({"queue": "test1"}), json!(null)),
            entry("amqp", json!({"queue": "a"}), json!(null)),
        ),
        Case(
            five,
            entry("kafka", json!({}), json!({"payload": {"errorCode": 2}})),
            entry("kafka", json!({}), json!({"payload": {"errorCode": 3}})),
        ),
        Case(
            five,
            entry("redis", json!({"key": "example"}), json!({})),
            entry("redis", json!({"key": "b"}), json!({})),
        ),
        Case(
            five,
            entry("grpc", json!({"headers": {":path": "/a.foo/B"}}), json!({})),
            entry("grpc", json!({"headers": {":path": "/a/B"}}), json!({})),
        ),
        Case(fields, get("/?x=b"), get("/?x=zzz")),
        Case(fields, get("/?x=somevalue"), ok()),
        Case(
            r#"request.path.startsWith("something")"#,
            entry("http", json!({"path": "something/1"}), json!({})),
            ok(),
        ),
        Case(r#"response.content.text.json().some.path == "somevalue""#, ok(), bare("http")),
        Case(r"response.content.text.json()..id == 7", ok(), bare("http")),
        Case(r#"response.content.text.json()..tags == "y""#, ok(), bare("http")),
        Case(xml, entry("http", json!({}), books), ok()),
        Case(r#"request.pathSegments[1] == "v1""#, get("/api/v1"), get("/v1/api")),
        Case(r#"request.path.* == "v1""#, entry("http", json!({"path": ["a", "v1"]}), json!({})), get("/v1")),
        Case(r#"request.pathSegments.* == "v1""#, get("/a/b/v1"), get("/a/b")),
        Case(
            r#"dst.name == "carts.sock-shop""#,
            changed(ok(), |entry| entry.dst.name = "carts.sock-shop".into()),
            ok(),
        ),
        Case(r#"http and redact("request.path", "src.name")"#, ok(), bare("dns")),
        Case("http and limit(100)", ok(), bare("dns")),
        Case("!error", ok(), broken(ErrorKind::Timeout)),
        Case("!icmp", ok(), bare("icmp")),
        Case("!tcp", ok(), bare("tcp")),
        Case("response.status > 400 or error or icmp or tcp", call("GET", "/", 500), ok()),
        Case("response.status > 400 or error or icmp or tcp", bare("icmp"), ok()),
        Case("response.status > 400 or error or icmp or tcp", broken(ErrorKind::Connection), ok()),
        Case(
            r#"(response.status == 500) and (request.headers["User-Agent"] == "kube-probe/1.27+") and (src.name == "node-exporter")"#,
            changed(http("GET", "/", 500, json!({"user-agent": "kube-probe/1.27+"})), |entry| {
                entry.src.name = "node-exporter".into();
            }),
            call("GET", "/", 500),
        ),
        Case(actuator, get("/x"), get("/actuator/health")),
        Case(
            "request.year == request.salesYear",
            entry("x", json!({"year": 2020, "salesYear": "2020"}), json!({})),
            ok(),
        ),
        Case("elapsedTime > 5", ok(), lasting(5000)),
        Case(r#"request.queryString["a"] == "1""#, get("/?a=1"), get("/?a=2")),
        Case("timestamp > minutes(-20)", ok(), at(1)),
        Case("timestamp > 1678675066172", ok(), at(1_678_675_066_172_000_000)),
        Case("http2", bare("http2"), ok()),
        Case(
            r#"request.command == "GET" and request.key == r"^session:""#,
            entry("redis", json!({"command": "GET", "key": "session:1"}), json!({})),
            entry("redis", json!({"command": "GET", "key": "x:session:1"}), json!({})),
        ),
        Case(
            r#"request.apiKeyName == "Produce" and request.payload.topics[0].topic == "orders""#,
            entry(
                "kafka",
                json!({"apiKeyName": "Produce", "payload": {"topics": [{"topic": "orders"}]}}),
                json!({}),
            ),
            entry("kafka", json!({"apiKeyName": "Produce", "payload": {"topics": []}}), json!({})),
        ),
        Case(
            r#"amqp and request.method == "basic publish""#,
            entry("amqp", json!({"method": "basic publish"}), json!({})),
            entry("amqp", json!({"method": "basic deliver"}), json!({})),
        ),
        Case(
            r#"request.questions[0].name == "a.com" and dns"#,
            entry("dns", json!({"questions": [{"name": "a.com"}]}), json!({})),
            entry("dns", json!({"questions": [{"name": "b.com"}]}), json!({})),
        ),
    ]
}

#[test]
fn kfl1_examples_match_what_they_say() {
    for Case(text, yes, no) in kfl1() {
        assert_matches(text, &yes);
        assert_differs(text, &no);
    }
}

#[test]
fn no_entry_belongs_to_a_recording_yet() {
    assert_differs(r#"record("recording_1") and tls"#, &changed(get("/"), |entry| entry.tls = true));
}

#[test]
fn a_bare_path_of_unknown_root_is_refused_with_a_reason() {
    // A unit test of the old parser, on a document that is no entry.
    let error = super::refused("year == salesYear");
    assert_eq!(error.message, "unknown name `year`");
    assert_eq!(error.span, 0..4);
}

/// All 112 filters of the second dialect, as the documents print them.
pub(super) const KFL2: &[&str] = &[
    "",
    "http",
    "!http",
    "http && status_code == 500",
    "http && status_code >= 400",
    "http && status_code >= 400 && status_code < 500",
    "http && status_code >= 500",
    "http && status_code == 429",
    "http && status_code != 200",
    r#"http && method == "GET""#,
    r#"http && method == "GET" && status_code >= 400"#,
    r#"http && method == "POST" && status_code >= 500 && path.contains("/api")"#,
    r#"http && url.contains("/api")"#,
    r#"http && method == "GET" && url.contains("/api")"#,
    r#"http && url.matches(".*/api/v[0-9]+/users.*")"#,
    r#"http && !path.contains("/health")"#,
    r#"http && "authorization" in request.headers"#,
    r#"http && request.headers["content-type"] == "application/json""#,
    r#"http && map_get(request.headers, "user-agent", "").contains("Mozilla/4.0")"#,
    r#"http && map_get(request.headers, "accept", "").contains("dns-json")"#,
    r#"http && map_get(request.headers, "upgrade", "") == "websocket""#,
    r#"http && map_get(request.headers, "authorization", "").startsWith("AWS4-HMAC-SHA256")"#,
    r#"http && "x-aws-ec2-metadata-token-ttl-seconds" in request.headers"#,
    r#"http && path.contains("/meta-data/iam")"#,
    r#"http && path.startsWith("/api/v1/secrets")"#,
    r#"http && path == "/.env""#,
    r#"http && path == "/actuator/info""#,
    "http && response_body_size > 1000000",
    "http && elapsed_time > 5000000",
    "elapsed_time > 2000000",
    "gql && status_code >= 400",
    r#"gql && method == "POST" && status_code >= 400"#,
    "grpc",
    "grpc && grpc_status != 0",
    "grpc && grpc_status == 5",
    "grpc && grpc_status == 14",
    r#"grpc && grpc_method == "SayHello""#,
    r#"grpc && grpc_method.contains("Create")"#,
    r#"grpc && grpc_method.contains("Reflection")"#,
    r#"grpc && method == "POST" && status_code == 200"#,
    "grpc && elapsed_time > 1000000",
    "dns && dns_request",
    r#"dns && "google.com" in dns_questions"#,
    r#"dns && dns_questions.exists(q, q.contains("minexmr"))"#,
    "dns && dns_response && status_code != 0",
    "dns && dns_response && size(dns_answers) == 0",
    "dns && dns_response && size(dns_answers) > 0",
    r#"dns && "A" in dns_question_types"#,
    "dns && size(dns_questions) > 1",
    "tls && http && status_code >= 500",
    r#"capture_source == "ebpf_tls""#,
    r#"tlsx && src.pod.namespace == "production""#,
    r#"tlsx && tlsx_sni.contains("amazonaws.com")"#,
    r#"tlsx && tlsx_cipher_suites.exists(s, s.contains("RC4"))"#,
    "dst.port == 80 || dst.port == 443 || dst.port == 8080",
    "dst.port >= 8000 && dst.port <= 9000",
    r#"src.ip.startsWith("192.168.")"#,
    r#"dst.ip == "169.254.169.254""#,
    "dst.port == 3333",
    "dst.port == 4444",
    r#"src.pod.name == "web-server-123""#,
    r#"dst.pod.namespace == "production""#,
    r#"src.service.name == "api-gateway" && dst.service.name == "user-service""#,
    r#""production" in namespaces"#,
    r#""orders" in pods"#,
    "src.pod.namespace != dst.pod.namespace",
    "src.service.namespace != dst.service.namespace",
    r#"!(src.pod.namespace == "kube-system")"#,
    r#"map_get(local_labels, "app", "") == "checkout""#,
    r#""tier" in local_labels"#,
    r#"map_get(remote_labels, "version", "") == "canary""#,
    r#"node_name == "ip-10-0-25-170.ec2.internal""#,
    r#"local_process_name == "nginx""#,
    r#"remote_process_name.contains("postgres")"#,
    r#"dst.dns == "db.example.com""#,
    r#"src.dns.contains("example.com") || dst.dns.contains("example.com")"#,
    r#""db.example.com" in dns_resolutions"#,
    r#"dst.dns != "" && !dst.dns.endsWith(".internal")"#,
    r#"dst.name.contains("payment")"#,
    r#"redis && redis_type == "GET""#,
    r#"redis && redis_type == "GET" && redis_key.startsWith("session:")"#,
    r#"redis && redis_command.contains("DEL")"#,
    "redis && redis_total_size > 10000",
    r#"kafka && kafka_api_key_name == "PRODUCE""#,
    r#"kafka && kafka_request_summary.contains("orders")"#,
    r#"kafka && kafka_client_id == "payment-processor""#,
    "kafka && kafka_size > 10000",
    r#"amqp && amqp_method == "basic.publish""#,
    r#"ldap && ldap_type == "bind""#,
    r#"radius && radius_code_name == "Access-Request""#,
    r#"diameter && diameter_method.contains("Credit")"#,
    r#"mongodb && mongodb_command == "find" && mongodb_collection == "users""#,
    "mongodb && !mongodb_success",
    r#"mysql && mysql_query.contains("SELECT") && !mysql_success"#,
    "mysql && mysql_error_code != 0",
    r#"postgresql && postgresql_error_code != """#,
    r#"postgresql && postgresql_query.contains("UNION SELECT")"#,
    r#"postgresql && postgresql_user == "admin""#,
    r#"tcp && tcp_error_type != """#,
    r#"http && status_code >= 500 || (tcp && tcp_error_type != "")"#,
    "udp && udp_length > 1000",
    r#"conn && conn_state == "open" && conn_local_bytes > 1000000"#,
    r#"conn && "HTTP" in conn_l7_detected"#,
    r#"tcp_conn && conn_state == "closed""#,
    "flow && flow_local_pps > 1000",
    "tcp_flow && flow_local_bps > 5000000",
    r#"flow && flow_state == "closed" && "TLS" in flow_l7_detected"#,
    r#"timestamp > now() - duration("5m")"#,
    "timestamp >= now()",
    r#"timestamp >= timestamp("2026-03-14T22:00:00Z") && timestamp <= timestamp("2026-03-14T23:00:00Z")"#,
    r#"src.ip.startsWith("192.168.") && http && method == "POST" && url.contains("/api")"#,
    r#"dst.pod.name == "bifrost-0" && http && dst.port == 8000 && path.contains("/v1/chat/completions")"#,
];

#[test]
fn every_documented_filter_is_accepted() {
    assert_eq!(KFL2.len(), 112);
    for text in KFL2 {
        super::filter(text);
    }
}

#[test]
fn every_example_of_a_field_is_accepted() {
    for field in crate::kfl::fields() {
        super::filter(field.example);
    }
    for function in crate::kfl::functions::FUNCTIONS {
        super::filter(function.usage);
    }
}

#[test]
fn every_documented_filter_has_a_case() {
    let cases: Vec<&str> =
        kfl2().iter().map(|case| case.0).chain(PLANNED.iter().map(|case| case.0)).collect();
    for text in KFL2.iter().filter(|text| !text.is_empty()) {
        assert!(cases.contains(text), "no case for {text}");
    }
}
