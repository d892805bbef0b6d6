//! Who gets in, and who does not.

use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// `nobody`, on any Debian.
const NOBODY: u32 = 65534;

fn token(served: &Served, name: &str, role: Role) -> String {
    served.fake.create(name, role, None).unwrap().token
}

/// Runs curl as another user; these tests need root, as the daemon does.
async fn curl(uid: u32, arguments: Vec<String>) -> String {
    let run = move || -> Output {
        Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()])
            .args(["curl", "-s", "-w", "\n%{http_code}"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_tcp_knows_root_from_nobody() {
    let served = serve(Options::default());
    let url = format!("http://{}/api/v1/tokens", served.tcp);
    assert!(curl(0, vec![url.clone()]).await.ends_with("\n200"));
    let refused = curl(NOBODY, vec![url]).await;
    assert!(refused.ends_with("\n403") && refused.contains("uid 65534 has no role"), "{refused}");
    assert!(curl(NOBODY, vec![format!("http://{}/api/health", served.tcp)]).await.ends_with("\n200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_tcp_on_ipv6_knows_root_from_nobody() {
    let served = serve(Options { address: Some("[::1]:0".parse().unwrap()), ..Options::default() });
    let url = format!("http://{}/api/info", served.tcp);
    assert!(curl(0, vec![url.clone()]).await.ends_with("\n200"));
    assert!(curl(NOBODY, vec![url]).await.ends_with("\n403"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_is_closed_to_others_by_mode_and_by_credentials() {
    use std::os::unix::fs::PermissionsExt;
    let served = serve(Options::default());
    let mode = std::fs::metadata(&served.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    std::fs::set_permissions(served.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let ask = || {
        let socket = served.socket.display().to_string();
        vec!["--unix-socket".to_owned(), socket, "http://localhost/api/info".to_owned()]
    };
    assert!(curl(0, ask()).await.ends_with("\n200"));
    assert!(curl(NOBODY, ask()).await.ends_with("\n000"));
    std::fs::set_permissions(&served.socket, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(curl(NOBODY, ask()).await.ends_with("\n403"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_map_lets_a_user_in_with_its_role_and_no_more() {
    let rule = RoleRule { subject: Subject::Group("nogroup".to_owned()), role: Role::Operator };
    let access = AccessConfig { roles: vec![rule], ..AccessConfig::default() };
    let served = serve(Options { access, ..Options::default() });
    let url = |path: &str| format!("http://{}{path}", served.tcp);
    let post = |path: &str| vec!["-X".to_owned(), "POST".to_owned(), url(path)];
    assert!(curl(NOBODY, post("/mcp/dissection/disable")).await.ends_with("\n200"));
    let refused = curl(NOBODY, vec![url("/api/v1/tokens")]).await;
    assert!(refused.ends_with("\n403") && refused.contains("needs the role admin"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_its_role_whoever_sends_it() {
    let served = serve(Options::default());
    let get = async |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        served.tcp_get(path, &[("authorization", &bearer)]).await.0.as_u16()
    };
    let viewer = token(&served, "v", Role::Viewer);
    let admin = token(&served, "a", Role::Admin);
    // The caller's own uid is root here: the weaker token counts.
    assert_eq!((get("/api/info", &viewer).await, get("/api/v1/tokens", &viewer).await), (200, 403));
    assert_eq!(get("/api/v1/tokens", &admin).await, 200);
    assert_eq!(get("/api/info", "rmr_wrong").await, 401);
    assert_eq!(served.tcp_get("/api/info", &[("authorization", "Basic eA==")]).await.0.as_u16(), 401);
    // In the query only for websockets, since queries end up in logs.
    assert_eq!(served.tcp_get(&format!("/api/v1/tokens?token={viewer}"), &[]).await.0.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_down_and_then_refused_unseen() {
    let served = serve(Options::default());
    let attempts: Vec<_> =
        (0..12).map(|_| served.tcp_get("/api/info", &[("authorization", "Bearer x")])).collect();
    let answers = futures_util::future::join_all(attempts).await;
    assert!(answers.iter().all(|(status, _)| status.as_u16() == 401 || status.as_u16() == 429));
    let admin = token(&served, "a", Role::Admin);
    let bearer = format!("Bearer {admin}");
    assert_eq!(served.tcp_get("/api/info", &[("authorization", &bearer)]).await.0.as_u16(), 429);
    assert_eq!(served.tcp_get("/api/info", &[]).await.0.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_no_secrets_in_stream_or_history() {
    use futures_util::StreamExt as _;
    let served = serve(Options::default());
    let viewer = token(&served, "v", Role::Viewer);
    served.fake.stored.lock().unwrap().push(entry(1, "/a", 200));
    let bearer = format!("Bearer {viewer}");
    let (_, page) = served.tcp_get("/api/v1/entries", &[("authorization", &bearer)]).await;
    assert!(page.contains("host-a/17c-1-1") && !page.contains("s3cret"), "{page}");
    let stream = TcpStream::connect(served.tcp).await.unwrap();
    let url = format!("ws://{}/api/wsFull?q=&token={viewer}", served.tcp);
    let mut socket = tokio_tungstenite::client_async(url, stream).await.unwrap().0;
    until("subscription", || served.tap.subscribers() == 1).await;
    served.tap.publish(&[entry(2, "/b", 200)]);
    let frame =
        tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap().into_text().unwrap();
    assert!(frame.contains("host-a/17c-1-2") && !frame.contains("s3cret"), "{frame}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_and_origins_are_refused_on_every_route_and_websockets() {
    let served = serve(Options::default());
    for path in ["/", "/api/health", "/api/info", "/nothing"] {
        assert_eq!(served.tcp_get(path, &[("host", "evil.example")]).await.0.as_u16(), 403, "{path}");
        assert_eq!(
            served.tcp_get(path, &[("origin", "http://evil.example")]).await.0.as_u16(),
            403,
            "{path}"
        );
    }
    let handshake = [
        ("origin", "http://evil.example"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(served.tcp_get("/api/wsFull", &handshake).await.0.as_u16(), 403);
    let own = format!("http://{}", served.tcp);
    assert_eq!(served.tcp_get("/api/info", &[("origin", &own)]).await.0.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_addresses_are_refused_without_tls_unless_told_to() {
    let listen = |allow_plaintext| ListenConfig {
        tcp: vec![TcpListen { address: "0.0.0.0:0".parse().unwrap(), tls: None }],
        allow_plaintext,
        ..ListenConfig::default()
    };
    let refused = Server::bind(&listen(false), Listeners::default()).unwrap_err();
    assert!(matches!(refused, ApiError::Plaintext { .. }));
    assert!(refused.to_string().contains("listen.tls-cert"), "{refused}");
    assert!(Server::bind(&listen(true), Listeners::default()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_with_the_configured_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let served = serve(Options { tls: Some(files), ..Options::default() });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(served.tcp).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let request =
        Request::builder().uri("/api/info").header("host", "localhost").body(Full::default()).unwrap();
    assert_eq!(send(stream, request).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_broken_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("none.pem"), key: folder.path().join("key.pem") };
    let tcp = vec![TcpListen { address: "127.0.0.1:0".parse().unwrap(), tls: Some(files) }];
    let error =
        Server::bind(&ListenConfig { tcp, ..ListenConfig::default() }, Listeners::default()).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_a_living_one_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remora.sock");
    let bind = || {
        let listen = ListenConfig { unix: Some(path.clone()), ..ListenConfig::default() };
        Server::bind(&listen, Listeners::default())
    };
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let living = bind().expect("nobody answers at the old one");
    assert!(matches!(bind(), Err(ApiError::SocketInUse { .. })));
    drop(living);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(), Err(ApiError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// A client that is gone by the time it is looked at must not be taken for root, which the kernel names
/// as the owner of sockets without a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_and_abandoned_by_nobody_does_nothing() {
    let served = serve(Options::default());
    let script = format!(
        "import socket\nfor _ in range(200):\n s=socket.create_connection(('127.0.0.1',{}))\n \
         s.sendall(b'POST /mcp/dissection/disable HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n')\n s.close()\n",
        served.tcp.port()
    );
    let run = move || {
        let mut child = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(served.get("/mcp/dissection").await.1["enabled"], true);
}
