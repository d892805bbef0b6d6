//! Binds the sockets: unix with its group and mode, TCP with or without TLS.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::tls;
use crate::runtime::activation::Listeners;

/// Only owner and group may connect; the role decides what they may do.
const SOCKET_MODE: u32 = 0o660;

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenConfig {
    /// Path of the unix socket; `None`: none.
    pub unix: Option<PathBuf>,
    /// Group of the socket file, by name or number; without such a group it stays root's.
    pub group: Option<String>,
    /// TCP addresses.
    pub tcp: Vec<TcpListen>,
    /// Whether non-loopback addresses may be served without TLS.
    pub allow_plaintext: bool,
}

/// One TCP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpListen {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// Certificate and key; `None`: no TLS.
    pub tls: Option<TlsFiles>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody answers at the unix socket.
    #[error("another daemon answers at {path}; stop it or set another listen.unix")]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket has its name.
    #[error("{path} exists and is not a socket; remove it or set another listen.unix")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The unix socket could not be made.
    #[error("cannot listen on {path}: {source}; check that its folder exists and can be written")]
    Unix {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The TCP socket could not be made.
    #[error("cannot listen on {address}: {source}; is another program using it? set another listen.tcp")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Tokens and payloads would go over the network readable by anybody.
    #[error(
        "refusing to listen on {address} without TLS: tokens and payloads could be read on the way; set listen.tls-cert and listen.tls-key, or \
         listen.allow-plaintext = true if something else protects the way"
    )]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use {path} for TLS: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A socket from systemd cannot be used.
    #[error("cannot use socket {name} from systemd: {source}")]
    Activated {
        /// Its name in the unit.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// A bound socket.
pub enum Bound {
    /// Unix; with the file to remove at the end, unless systemd owns it.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Shown to people.
        path: PathBuf,
        /// The file's inode when it is ours to remove.
        ours: Option<u64>,
    },
    /// TCP.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// Where it really listens.
        address: SocketAddr,
        /// How to speak TLS.
        tls: Option<TlsAcceptor>,
    },
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address())
    }
}

impl Bound {
    /// How to reach it: `unix:/run/remora/remora.sock`, `http://127.0.0.1:8899`.
    pub fn address(&self) -> String {
        match self {
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
            Self::Tcp { address, tls, .. } => {
                format!("{}://{address}", if tls.is_some() { "https" } else { "http" })
            }
        }
    }

    /// The socket, if it is one whose traffic capture could see.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp { listener, .. } => Some(listener.as_fd()),
        }
    }

    /// Removes the unix socket's file if it is still the one that was made.
    pub(super) fn clean_up(&self) {
        if let Self::Unix { path, ours: Some(inode), .. } = self
            && std::fs::symlink_metadata(path).is_ok_and(|file| file.ino() == *inode)
        {
            // Left behind it is stale and the next start removes it.
            let _removed = std::fs::remove_file(path);
        }
    }
}

/// Binds everything configured that systemd has not handed over already. Needs a tokio runtime.
pub(super) fn bind(config: &ListenConfig, activated: Listeners) -> Result<Vec<Bound>, ApiError> {
    let mut bound = Vec::new();
    let (unix_given, tcp_given) = (!activated.unix.is_empty(), !activated.tcp.is_empty());
    for inherited in activated.unix {
        bound.push(inherited_unix(inherited.name, inherited.listener)?);
    }
    for inherited in activated.tcp {
        bound.push(inherited_tcp(config, inherited.name, inherited.listener)?);
    }
    if let Some(path) = config.unix.as_ref().filter(|_| !unix_given) {
        bound.push(bind_unix(path, config.group.as_deref())?);
    }
    for listen in config.tcp.iter().filter(|_| !tcp_given) {
        bound.push(bind_tcp(config, listen)?);
    }
    Ok(bound)
}

fn inherited_unix(name: String, listener: StdUnixListener) -> Result<Bound, ApiError> {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_path_buf));
    let path = path.unwrap_or_else(|| PathBuf::from(&name));
    listener.set_nonblocking(true).map_err(|source| ApiError::Activated { name: name.clone(), source })?;
    let listener = UnixListener::from_std(listener).map_err(|source| ApiError::Activated { name, source })?;
    Ok(Bound::Unix { listener, path, ours: None })
}

fn inherited_tcp(config: &ListenConfig, name: String, listener: StdTcpListener) -> Result<Bound, ApiError> {
    let failed = |source| ApiError::Activated { name: name.clone(), source };
    let address = listener.local_addr().map_err(failed)?;
    // TLS as configured for this very address, or for the same port.
    let same = |listen: &&TcpListen| listen.address == address || listen.address.port() == address.port();
    let tls =
        acceptor_for(config, address, config.tcp.iter().find(same).and_then(|listen| listen.tls.as_ref()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    Ok(Bound::Tcp { listener, address, tls })
}

fn bind_tcp(config: &ListenConfig, listen: &TcpListen) -> Result<Bound, ApiError> {
    let failed = |source| ApiError::Tcp { address: listen.address, source };
    let tls = acceptor_for(config, listen.address, listen.tls.as_ref())?;
    let listener = StdTcpListener::bind(listen.address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    Ok(Bound::Tcp { listener, address, tls })
}

fn acceptor_for(
    config: &ListenConfig,
    address: SocketAddr,
    files: Option<&TlsFiles>,
) -> Result<Option<TlsAcceptor>, ApiError> {
    match files {
        Some(files) => tls::acceptor(&files.certificate, &files.key).map(Some),
        None if address.ip().to_canonical().is_loopback() || config.allow_plaintext => Ok(None),
        None => Err(ApiError::Plaintext { address }),
    }
}

/// Makes the socket under another name and moves it into place once mode and group are right, so that
/// nobody else can connect in between.
fn bind_unix(path: &Path, group: Option<&str>) -> Result<Bound, ApiError> {
    let failed = |source| ApiError::Unix { path: path.to_owned(), source };
    check_stale(path)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    // A leftover of a killed run that had the same pid.
    let _removed = std::fs::remove_file(&fresh);
    let listener = StdUnixListener::bind(&fresh).map_err(failed)?;
    let placed = settle(&fresh, path, group);
    if placed.is_err() {
        let _removed = std::fs::remove_file(&fresh);
    }
    let inode = placed.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    Ok(Bound::Unix { listener, path: path.to_owned(), ours: Some(inode) })
}

fn settle(fresh: &Path, path: &Path, group: Option<&str>) -> io::Result<u64> {
    std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    if let Some(gid) = group.and_then(group_id) {
        // Without the group only root may connect, which is safe, so it is no reason not to serve.
        if let Err(error) = std::os::unix::fs::chown(fresh, None, Some(gid)) {
            tracing::warn!(gid, %error, "the unix socket could not be given to its group: only root may use it");
        }
    }
    std::fs::rename(fresh, path)?;
    Ok(std::fs::symlink_metadata(path)?.ino())
}

fn group_id(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let found = Group::from_name(group).ok().flatten();
    if found.is_none() {
        tracing::info!(group, "there is no such group, so only root may use the unix socket");
    }
    found.map(|group| group.gid.as_raw())
}

/// A socket file that nobody answers at is left over from a killed run and will be replaced.
fn check_stale(path: &Path) -> Result<(), ApiError> {
    let Ok(file) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(ApiError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(ApiError::SocketInUse { path: path.to_owned() }),
        Err(source) => Err(ApiError::Unix { path: path.to_owned(), source }),
    }
}
