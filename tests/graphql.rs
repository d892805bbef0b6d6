//! Issue 5: GraphQL calls of real clients and servers, over HTTP/1 and HTTP/2.

use serde_json::Value;

use crate::support::{Daemon, NodeServer, PythonServer, curl, until};

/// Answers what a small GraphQL server would.
const SERVER: &str = r"
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body):
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        one = lambda call: {'data': None, 'errors': [{'message': 'no such user', 'path': ['user']}]} \
            if 'Broken' in call.get('query', '') else {'data': {}}
        self.answer([one(call) for call in body] if isinstance(body, list) else one(body))
    def do_GET(self):
        self.answer({'data': {}})
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_port)
s.serve_forever()
";

fn post(port: u16, body: &str) {
    let url = format!("http://127.0.0.1:{port}/graphql");
    curl(&["-o", "/dev/null", "-H", "Content-Type: application/json", "-d", body, &url]);
}

#[test]
fn root_graphql_calls_are_named_and_stay_http() {
    let server = PythonServer::start(SERVER);
    let daemon = Daemon::start();
    let here = |filter: &str| format!("{filter} && dst.port == {}", server.port);
    let mut feed = daemon.feed(&here("gql"));
    let broken = here(r#"http && gql && gql_error_count > 0 && gql_errors.exists(e, e.contains("user"))"#);
    let mut broken = daemon.feed(&broken);
    let named = here(r#"gqlv1 && gql_operation_type == "mutation" && gql_variables["id"] == "7""#);
    let mut named = daemon.feed(&named);
    let bodies = [
        r#"{"query":"query Broken { user { id } }"}"#,
        r#"{"query":"mutation Rename($id: ID!) { rename(id: $id) { id } }","variables":{"id":"7"}}"#,
        r#"[{"query":"{ a }"},{"query":"{ b }"}]"#,
    ];
    // One by one: entries of different connections come in any order.
    let mut entries = Vec::new();
    for body in bodies {
        post(server.port, body);
        entries.push(feed.next());
    }
    let url = format!("http://127.0.0.1:{}/graphql?query=%7B+viewer+%7B+id+%7D+%7D", server.port);
    curl(&["-o", "/dev/null", &url]);
    entries.push(feed.next());
    let names: Vec<_> =
        entries.iter().map(|entry| entry["request"]["graphql"]["operationName"].clone()).collect();
    assert_eq!(names, ["Broken", "Rename", "", ""]);
    assert_eq!(entries[3]["request"]["graphql"]["fields"][0], "viewer");
    assert_eq!(entries[2]["request"]["graphql"]["batch"].as_array().map(Vec::len), Some(2));
    for entry in &entries {
        assert_eq!(entry["protocol"]["abbr"], "GQL");
        assert_eq!(entry["request"]["path"], "/graphql");
        assert_eq!(entry["response"]["status"], 200);
        assert_eq!(entry["error"], Value::Null);
    }
    assert_eq!(broken.next()["response"]["graphql"]["errors"][0]["message"], "no such user");
    assert_eq!(named.next()["id"], entries[1]["id"]);
}

#[test]
fn root_other_json_stays_http() {
    let server = PythonServer::start(SERVER);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("http and dst.port == {}", server.port));
    post(server.port, r#"{"query":"select 1"}"#);
    assert_eq!(feed.next()["protocol"]["abbr"], "HTTP");
}

#[test]
fn root_graphql_over_http2_is_named_and_hides_credentials_from_viewers() {
    let server = NodeServer::start("graphql.mjs", &[]);
    let daemon = Daemon::start();
    let mut feed = daemon.feed(&format!("gqlv2 && http2 && dst.port == {}", server.port()));
    let secret =
        format!("dst.port == {} && gqlv2 && gql_variables[\"password\"] == \"open sesame\"", server.port());
    let mut secret = daemon.feed(&secret);
    server.call(&[], &[]);
    let entries = feed.take(4);
    let names: Vec<_> =
        entries.iter().map(|entry| entry["request"]["graphql"]["operationName"].clone()).collect();
    assert_eq!(names, ["User", "Login", "User", ""]);
    assert_eq!(entries[2]["response"]["graphql"]["errors"][0]["message"], "no such user");
    assert_eq!(entries[3]["request"]["graphql"]["fields"][0], "user");
    for entry in &entries {
        assert_eq!(
            (&entry["protocol"]["abbr"], &entry["protocol"]["version"]),
            (&"GQL".into(), &"2.0".into())
        );
        assert_eq!(entry["response"]["status"], 200);
        assert_eq!(entry["error"], Value::Null);
    }
    assert_eq!(secret.next()["id"], entries[1]["id"]);

    let made = daemon.remora(&["token", "create", "--role", "viewer", "ci", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let bearer = format!("Authorization: Bearer {}", made["token"].as_str().expect("a token"));
    let query = "/api/v1/entries?kfl=gqlv2&view=full";
    // Entries are streamed a moment before they can be read.
    until("the stored entry", || daemon.get(query).text().contains("open sesame").then_some(()));
    let url = format!("http://{}{query}", daemon.tcp);
    // Not as root, who is known by the connection's owner.
    let nobody =
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", "curl", "-sS", "-H", &bearer, &url];
    let seen = std::process::Command::new("setpriv").args(nobody).output().expect("setpriv");
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(text.contains("Login") && text.contains("\"redacted\":true"), "{text}");
    assert!(!text.contains("open sesame") && !text.contains("$password"), "{text}");
}
