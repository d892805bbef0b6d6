//! Speaks with the daemon over its unix socket or TCP.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use remora::api::schema::{Envelope, ErrorBody};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, http};

use crate::command::Connection;
use crate::failure::Failure;

/// Where Debian, and most others by a link, keep the trusted certificates.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Bytes of a file that are sent at once.
const UPLOAD_PIECE: usize = 256 << 10;

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An open stream of entries.
pub(crate) type Socket = WebSocketStream<Box<dyn Io>>;

enum Target {
    Unix(PathBuf),
    Tcp { address: String, authority: String, tls: Option<(TlsConnector, ServerName<'static>)> },
}

/// One daemon.
pub(crate) struct Client {
    target: Target,
    token: Option<String>,
}

/// What came of a file so far.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// Bytes.
    pub(crate) length: u64,
    tag: Option<String>,
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let target = match &connection.address {
            None => Target::Unix(connection.socket.clone()),
            Some(address) => tcp(address, connection.ca.as_deref())?,
        };
        Ok(Self { target, token: connection.token.clone() })
    }

    /// The `data` of an answer in the envelope.
    pub(crate) async fn data<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<Json>,
    ) -> Result<T, Failure> {
        let bytes = self.request(method, path, body).await?;
        let envelope: Envelope<T> =
            serde_json::from_slice(&bytes).map_err(|error| Failure::Answer(error.to_string()))?;
        envelope.data.ok_or_else(|| Failure::Answer("it has no data".to_owned()))
    }

    /// An answer without envelope.
    pub(crate) async fn plain(&self, method: &str, path: &str, body: Option<Json>) -> Result<Json, Failure> {
        let bytes = self.request(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::Answer(error.to_string()))
    }

    async fn request(&self, method: &str, path: &str, body: Option<Json>) -> Result<Bytes, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", self.host());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Answer(error.to_string()))?;
        let failed = |error: hyper::Error| Failure::Io(std::io::Error::other(error));
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            Ok::<_, Failure>((status, response.into_body().collect().await.map_err(failed)?.to_bytes()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let (status, bytes) = tokio::select! {
            done = exchange.as_mut() => done?,
            // Ends by itself only once everything was read, or with the error that the exchange reports.
            _ended = connection.as_mut() => exchange.await?,
        };
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
    }

    /// Writes an answer to a file as it comes, however long it is. Returns its length.
    pub(crate) async fn download(&self, path: &str, to: &mut dyn std::io::Write) -> Result<u64, Failure> {
        let mut got = Got::default();
        self.download_rest(path, &mut got, to).await?;
        Ok(got.length)
    }

    /// Writes what is missing of a file to `to` as it comes and counts it in `got`. An error of kind `Io`
    /// after the first bytes may be followed by another attempt.
    pub(crate) async fn download_rest(
        &self,
        path: &str,
        got: &mut Got,
        to: &mut dyn std::io::Write,
    ) -> Result<(), Failure> {
        let range = (got.length > 0).then(|| format!("bytes={}-", got.length));
        let headers = [("range", range.as_deref()), ("if-range", range.as_ref().and(got.tag.as_deref()))];
        let mut response = self.send_with("GET", path, &headers, Full::new(Bytes::new())).await?;
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        if got.length > 0 && response.status() != http::StatusCode::PARTIAL_CONTENT {
            return Err(Failure::Answer(
                "the file has changed since its beginning came; export it anew".to_owned(),
            ));
        }
        got.tag = tag;
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| Failure::Io(std::io::Error::other(error)))?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data)?;
                got.length += data.len() as u64;
            }
        }
        Ok(())
    }

    /// Sends a file as it is read and returns the `data` of the answer.
    pub(crate) async fn upload<T: DeserializeOwned>(&self, path: &str, file: &Path) -> Result<T, Failure> {
        let file = std::fs::File::open(file)?;
        let pieces = futures_util::stream::unfold(file, |mut file| async move {
            let mut piece = vec![0; UPLOAD_PIECE];
            let read = std::io::Read::read(&mut file, &mut piece);
            match read {
                Ok(0) => None,
                Ok(len) => {
                    piece.truncate(len);
                    Some((Ok(Frame::data(Bytes::from(piece))), file))
                }
                Err(error) => Some((Err(error), file)),
            }
        });
        let response = self.send("POST", path, StreamBody::new(Box::pin(pieces))).await?;
        let bytes = response.into_body().collect().await;
        let bytes = bytes.map_err(|error| Failure::Io(std::io::Error::other(error)))?.to_bytes();
        let envelope: Envelope<T> =
            serde_json::from_slice(&bytes).map_err(|error| Failure::Answer(error.to_string()))?;
        envelope.data.ok_or_else(|| Failure::Answer("it has no data".to_owned()))
    }

    /// The head of an answer; its body comes as it is read.
    async fn send<B>(&self, method: &str, path: &str, body: B) -> Result<Response<Incoming>, Failure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.send_with(method, path, &[], body).await
    }

    async fn send_with<B>(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, Option<&str>)],
        body: B,
    ) -> Result<Response<Incoming>, Failure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = Request::builder().method(method).uri(path).header("host", self.host());
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(*name, *value);
            }
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|error| Failure::Answer(error.to_string()))?;
        let failed = |error: hyper::Error| Failure::Io(std::io::Error::other(error));
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
        // Ends with the answer, or with the error that reading it reports.
        let _detached = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await.map_err(failed)?.to_bytes();
        Err(refused(status, &bytes))
    }

    /// Opens a stream of entries.
    pub(crate) async fn stream(&self, path: &str) -> Result<Socket, Failure> {
        let url = format!("ws://{}{path}", self.host());
        let mut request = url.into_client_request().map_err(|error| Failure::Answer(error.to_string()))?;
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse().map_err(|_| Failure::Refused(not_a_token()))?;
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        match tokio_tungstenite::client_async(request, self.connect().await?).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err(refused(response.status(), &body))
            }
            Err(error) => Err(Failure::Closed(error.to_string())),
        }
    }

    fn host(&self) -> &str {
        match &self.target {
            Target::Unix(_) => "localhost",
            Target::Tcp { authority, .. } => authority,
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Failure> {
        match &self.target {
            Target::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) => Err(Failure::NoDaemon { path: path.clone(), source }),
            },
            Target::Tcp { address, authority, tls } => {
                let stream = TcpStream::connect(authority.as_str()).await;
                let stream =
                    stream.map_err(|source| Failure::NoDaemonAt { address: address.clone(), source })?;
                let Some((connector, name)) = tls else { return Ok(Box::new(stream)) };
                match connector.connect(name.clone(), stream).await {
                    Ok(stream) => Ok(Box::new(stream)),
                    Err(error) => Err(Failure::Tls { address: address.clone(), reason: error.to_string() }),
                }
            }
        }
    }
}

fn tcp(address: &str, ca: Option<&Path>) -> Result<Target, Failure> {
    let wrong = || Failure::Address { address: address.to_owned() };
    let (scheme, authority) = address.split_once("://").unwrap_or(("http", address));
    let authority = authority.trim_end_matches('/').to_owned();
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = match scheme {
        "http" => None,
        "https" => Some((connector(address, ca)?, ServerName::try_from(host).map_err(|_| wrong())?)),
        _ => return Err(wrong()),
    };
    Ok(Target::Tcp { address: address.to_owned(), authority, tls })
}

fn connector(address: &str, ca: Option<&Path>) -> Result<TlsConnector, Failure> {
    let failed = |reason: String| Failure::Tls { address: address.to_owned(), reason };
    let file = ca.unwrap_or(Path::new(SYSTEM_CERTIFICATES));
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| {
        failed(format!("cannot read {}: {error}; --ca names another file", file.display()))
    })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let envelope: Option<Envelope<Json>> = serde_json::from_slice(body).ok();
    match envelope.and_then(|envelope| envelope.error) {
        Some(error) => Failure::Refused(error),
        None => Failure::Answer(format!("{status}: {}", String::from_utf8_lossy(body))),
    }
}

fn not_a_token() -> ErrorBody {
    ErrorBody {
        code: "UNAUTHORIZED".to_owned(),
        message: "the token has characters that no token has".to_owned(),
    }
}

/// Text for a query or a path segment.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ok = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_survive_the_query() {
        assert_eq!(encode("a == \"b&c\" + é"), "a%20%3D%3D%20%22b%26c%22%20%2B%20%C3%A9");
    }

    #[test]
    fn addresses_need_host_and_port() {
        for good in ["http://127.0.0.1:8899", "127.0.0.1:8899", "http://[::1]:8899/"] {
            assert!(tcp(good, None).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "ftp://a:1", "http://:80", "http://a:b"] {
            assert!(matches!(tcp(bad, None), Err(Failure::Address { .. })), "{bad}");
        }
    }
}
