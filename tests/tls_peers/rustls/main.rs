//! An HTTPS server and a client with rustls: `threads` on blocking sockets, `tasks` with tokio.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// Takes any certificate.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn server_config() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file("cert.pem").expect("cert.pem")];
    let key = PrivateKeyDer::from_pem_file("key.pem").expect("key.pem");
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("key pair"))
}

fn client_config() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    Arc::new(builder.with_no_client_auth())
}

/// The first line of a head, and how long its body is.
fn first_and_length(head: &[String]) -> (String, usize) {
    let length = head
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok());
    (head[0].trim_end().to_owned(), length.unwrap_or(0))
}

fn answer_to(first: &str, port: u16, asked: &str) -> String {
    let (target, _) = first.rsplit_once(' ').expect("a request");
    let body = format!("{target} from {port}: {asked}");
    format!("HTTP/1.1 203 Mine\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn request(path: &str, asked: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{asked}", asked.len())
}

fn told(first: &str, body: &str) -> String {
    format!("{} {body}", first.split(' ').nth(1).expect("a status"))
}

/// A whole message; `None` at the end.
fn message(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let (first, length) = first_and_length(&head);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, String::from_utf8(body).expect("text")))
}

fn serve_threads() {
    let (config, listener) = (server_config(), TcpListener::bind("127.0.0.1:0").expect("bind"));
    println!("{}", listener.local_addr().expect("address").port());
    for stream in listener.incoming() {
        let (stream, config) = (stream.expect("accept"), config.clone());
        std::thread::spawn(move || {
            let port = stream.peer_addr().expect("address").port();
            let session = ServerConnection::new(config).expect("session");
            let mut reader = BufReader::new(StreamOwned::new(session, stream));
            while let Some((first, asked)) = message(&mut reader) {
                reader.get_mut().write_all(answer_to(&first, port, &asked).as_bytes()).expect("answer");
                reader.get_mut().flush().expect("answer");
            }
        });
    }
}

fn ask_threads(port: u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let name = ServerName::try_from("localhost").expect("name");
    let session = ClientConnection::new(client_config(), name).expect("session");
    let mut reader = BufReader::new(StreamOwned::new(session, stream));
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let words: Vec<_> = line.split(' ').collect();
        reader.get_mut().write_all(request(words[1], words[2]).as_bytes()).expect("ask");
        reader.get_mut().flush().expect("ask");
        let (first, body) = message(&mut reader).expect("an answer");
        println!("{}", told(&first, &body));
    }
}

async fn message_of<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R) -> Option<(String, String)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let (first, length) = first_and_length(&head);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some((first, String::from_utf8(body).expect("text")))
}

/// With room for as many as may connect at once.
fn listen() -> tokio::net::TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    socket.listen(4096).expect("listen")
}

async fn serve_tasks() {
    let acceptor = tokio_rustls::TlsAcceptor::from(server_config());
    let listener = listen();
    println!("{}", listener.local_addr().expect("address").port());
    loop {
        let (stream, peer) = listener.accept().await.expect("accept");
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut reader = tokio::io::BufReader::new(stream);
            while let Some((first, asked)) = message_of(&mut reader).await {
                let answer = answer_to(&first, peer.port(), &asked);
                reader.get_mut().write_all(answer.as_bytes()).await.expect("answer");
                reader.get_mut().flush().await.expect("answer");
            }
        });
    }
}

type Connection = tokio::io::BufReader<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

async fn connect(port: u16) -> Connection {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let name = ServerName::try_from("localhost").expect("name");
    let stream = tokio_rustls::TlsConnector::from(client_config()).connect(name, stream).await;
    tokio::io::BufReader::new(stream.expect("handshake"))
}

/// Makes one of the calls of `many`, and gives the connection back.
async fn call_of_many(mut reader: Connection, n: usize, half: char) -> Connection {
    let own = reader.get_ref().get_ref().0.local_addr().expect("address").port();
    let (path, asked) = (format!("/many/{n}-{half}"), format!("<{n}{half}>").repeat(1 + n % 50));
    let asking = request(&path, &asked).replacen("Host: x", &format!("Host: x\r\nX-Port: {own}"), 1);
    reader.get_mut().write_all(asking.as_bytes()).await.expect("ask");
    reader.get_mut().flush().await.expect("ask");
    let (_, body) = message_of(&mut reader).await.expect("an answer");
    assert_eq!(body, format!("POST {path} from {own}: {asked}"));
    reader
}

/// So many connections at once, each with a call, and then another one.
async fn many(port: u16, count: usize) {
    let connecting: Vec<_> = (0..count).map(|_| tokio::spawn(connect(port))).collect();
    let mut open = Vec::new();
    for one in connecting {
        open.push(one.await.expect("a connection"));
    }
    for half in ['a', 'b'] {
        let numbered = open.drain(..).enumerate();
        let calling: Vec<_> = numbered.map(|(n, one)| tokio::spawn(call_of_many(one, n, half))).collect();
        for one in calling {
            open.push(one.await.expect("a call"));
        }
    }
}

async fn ask_tasks(port: u16) {
    let mut connection = None;
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let words: Vec<_> = line.split(' ').collect();
        if words[0] == "many" {
            many(port, words[1].parse().expect("a number")).await;
            println!("done");
            continue;
        }
        if connection.is_none() {
            connection = Some(connect(port).await);
        }
        let reader = connection.as_mut().expect("connected");
        reader.get_mut().write_all(request(words[1], words[2]).as_bytes()).await.expect("ask");
        reader.get_mut().flush().await.expect("ask");
        let (first, body) = message_of(reader).await.expect("an answer");
        println!("{}", told(&first, &body));
    }
}

fn main() {
    default_provider().install_default().expect("provider");
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let port = |word: &str| word.parse().expect("a port");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build().expect("runtime");
    match words[..] {
        ["threads", "serve"] => serve_threads(),
        ["threads", "ask", at] => ask_threads(port(at)),
        ["tasks", "serve"] => runtime.block_on(serve_tasks()),
        ["tasks", "ask", at] => runtime.block_on(ask_tasks(port(at))),
        _ => panic!("threads|tasks serve|ask PORT"),
    }
}
