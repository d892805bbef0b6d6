//! Accepts connections and serves them until shutdown.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::listen::{ApiError, Bound, ListenConfig, bind};
use super::peer::{Peer, Transport};
use super::routes::{self, Api};
use crate::runtime::Shutdown;
use crate::runtime::activation::Listeners;
use crate::telemetry::Metric;

/// Connections per listener; further ones wait in the backlog. Separate per listener, so that whoever
/// fills the TCP port leaves the unix socket usable.
const MAX_CONNECTIONS: usize = 1024;

/// How long a client may take for a request's head, and a connection may idle between requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);

/// How long a TLS handshake may take.
const TLS_PATIENCE: Duration = Duration::from_secs(10);

/// How long running requests and websockets may take to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Wait after a failed accept: without descriptors the next call would fail at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound sockets.
#[derive(Debug)]
pub struct Server {
    bound: Vec<Bound>,
    allow_plaintext: bool,
}

impl Server {
    /// Takes over activated sockets and binds the configured rest. Must run inside a tokio runtime.
    pub fn bind(config: &ListenConfig, activated: Listeners) -> Result<Self, ApiError> {
        Ok(Self { bound: bind(config, activated)?, allow_plaintext: config.allow_plaintext })
    }

    /// How to reach it, one line per socket.
    pub fn addresses(&self) -> Vec<String> {
        self.bound.iter().map(Bound::address).collect()
    }

    /// The listening sockets, whose traffic capture leaves out.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.bound.iter().filter_map(Bound::descriptor)
    }

    /// Serves until the signal, then finishes what runs within a deadline.
    pub async fn serve(self, api: Arc<Api>, shutdown: Shutdown) {
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let serving = Arc::new(Serving {
            router: routes::router(Arc::clone(&api), &shutdown, alive.clone()),
            api,
            shutdown,
            allow_plaintext: self.allow_plaintext,
            _alive: alive,
        });
        let mut listeners = JoinSet::new();
        for bound in self.bound {
            listeners.spawn(Arc::clone(&serving).listen(bound));
        }
        while listeners.join_next().await.is_some() {}
        drop(serving);
        // Nothing is ever sent: the channel ends when the last connection lets go of its end.
        if tokio::time::timeout(DRAIN, ended.recv()).await.is_err() {
            tracing::warn!("some API connections did not finish in {DRAIN:?} and are cut");
        }
    }
}

struct Serving {
    router: Router,
    api: Arc<Api>,
    shutdown: Shutdown,
    allow_plaintext: bool,
    _alive: mpsc::Sender<()>,
}

impl Serving {
    async fn listen(self: Arc<Self>, bound: Bound) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.wait() => break,
                accepted = accept(&bound, &slots) => accepted,
            };
            match accepted {
                Ok(Some((socket, transport, slot))) => {
                    tokio::spawn(Arc::clone(&self).connection(socket, transport, slot));
                }
                // The client was gone before it was looked at.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(address = %bound.address(), %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        bound.clean_up();
    }

    async fn connection(self: Arc<Self>, socket: Socket, transport: Transport, slot: OwnedSemaphorePermit) {
        self.api.metrics.add(Metric::ApiConnections, 1);
        let serving = Arc::clone(&self);
        let identified = tokio::task::spawn_blocking(move || {
            Peer::identify(transport, &serving.api.access, serving.allow_plaintext)
        });
        if let Ok(peer) = identified.await {
            match socket {
                Socket::Unix(stream) => self.requests(stream, peer).await,
                Socket::Tcp(stream, None) => self.requests(stream, peer).await,
                Socket::Tcp(stream, Some(tls)) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_PATIENCE, tls.accept(stream)).await {
                        self.requests(stream, peer).await;
                    }
                }
            }
        }
        self.api.metrics.sub(Metric::ApiConnections, 1);
        drop(slot);
    }

    async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Peer) {
        let router = self.router.clone().layer(Extension(peer));
        let service = TowerToHyperService::new(router);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.shutdown.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "an API connection ended early");
        }
    }
}

enum Socket {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream, Option<tokio_rustls::TlsAcceptor>),
}

type Accepted = (Socket, Transport, OwnedSemaphorePermit);

async fn accept(bound: &Bound, slots: &Arc<Semaphore>) -> io::Result<Option<Accepted>> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    match bound {
        Bound::Unix { listener, .. } => {
            let (stream, _) = listener.accept().await?;
            let Ok(peer) = stream.peer_cred() else { return Ok(None) };
            Ok(Some((Socket::Unix(stream), Transport::Unix { uid: peer.uid(), gid: peer.gid() }, slot)))
        }
        Bound::Tcp { listener, tls, .. } => {
            let (stream, peer) = listener.accept().await?;
            // One frame per entry: waiting to fill a segment would only delay it.
            let _unsupported = stream.set_nodelay(true);
            let Ok(local) = stream.local_addr() else { return Ok(None) };
            Ok(Some((
                Socket::Tcp(stream, tls.clone()),
                Transport::Tcp { peer, local, tls: tls.is_some() },
                slot,
            )))
        }
    }
}
