//! Listening sockets handed over by systemd (`LISTEN_FDS`), sorted by kind.
//!
//! `listenfd` turns the numbers into owned sockets, after checking their kind, so that no unsafe
//! code is needed here.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// One inherited socket and the name its unit gave it (`FileDescriptorName=`; `unknown` without).
#[derive(Debug)]
pub struct Inherited<L> {
    /// Name of the socket unit or its `FileDescriptorName=`.
    pub name: String,
    /// The bound, listening socket.
    pub listener: L,
}

/// What systemd handed over. Both lists are empty outside of socket activation.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Unix stream sockets.
    pub unix: Vec<Inherited<UnixListener>>,
    /// TCP sockets.
    pub tcp: Vec<Inherited<TcpListener>>,
}

impl Listeners {
    /// Whether nothing was handed over, so that the configured addresses have to be bound.
    pub fn is_empty(&self) -> bool {
        self.unix.is_empty() && self.tcp.is_empty()
    }
}

/// Takes the sockets over and clears the variables, so it works once and only before any other
/// thread runs. A descriptor that is neither a unix nor a TCP stream socket is an error.
pub fn listeners() -> io::Result<Listeners> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    take(ListenFd::from_env(), &names)
}

fn take(mut sockets: ListenFd, names: &str) -> io::Result<Listeners> {
    let names: Vec<&str> = names.split(':').collect();
    let mut found = Listeners::default();
    for index in 0..sockets.len() {
        let name = names.get(index).filter(|name| !name.is_empty()).unwrap_or(&"unknown").to_string();
        if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
            listener.set_nonblocking(true)?;
            found.unix.push(Inherited { name, listener });
            continue;
        }
        match sockets.take_tcp_listener(index) {
            Ok(Some(listener)) => {
                listener.set_nonblocking(true)?;
                found.tcp.push(Inherited { name, listener });
            }
            Ok(None) => {}
            Err(error) => {
                let message =
                    format!("socket {index} ({name}) from systemd is not a stream listener: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_activation_there_is_nothing() {
        assert!(take(ListenFd::empty(), "").unwrap().is_empty());
    }
}
