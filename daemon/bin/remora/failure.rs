//! Why a command did not work, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;

use remora::api::schema::ErrorBody;
use remora::runtime::ExitCode as Code;

/// Each names the thing, the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no daemon answers at {path}: {source}\n{}", start_hint(.source))]
    NoDaemon { path: PathBuf, source: std::io::Error },
    #[error(
        "no daemon answers at {address}: {source}; check the address, and `systemctl status remorad` there"
    )]
    NoDaemonAt { address: String, source: std::io::Error },
    #[error("--address {address:?} is not of the form http://HOST:PORT or https://HOST:PORT")]
    Address { address: String },
    #[error("cannot speak TLS with {address}: {reason}")]
    Tls { address: String, reason: String },
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    #[error("the filter is wrong: {0}")]
    Filter(String),
    #[error("the daemon closed the stream: {0}")]
    Closed(String),
    #[error("the daemon's answer was not understood: {0}; are `remora` and `remorad` of the same version?")]
    Answer(String),
    #[error(transparent)]
    File(#[from] remora::snapshot::FileError),
    #[error(transparent)]
    Descriptors(#[from] remora::config::descriptors::DescriptorsError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn start_hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "Your user may not use the socket: run as root, or join the group: sudo usermod -aG remora \"$USER\" (then \
             log in again)."
        }
        _ => {
            "Start it with `systemctl start remorad`, or `remorad` as root in the foreground; --socket or --address \
             point elsewhere."
        }
    }
}

impl Failure {
    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        // `remora tail | head` is not worth a word.
        if !matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            eprintln!("remora: {self}");
        }
        self.code().into()
    }

    fn code(&self) -> Code {
        match self {
            Self::NoDaemon { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Code::NoPermission
            }
            Self::NoDaemon { .. } | Self::NoDaemonAt { .. } | Self::Tls { .. } | Self::Closed(_) => {
                Code::Unavailable
            }
            Self::Address { .. } => Code::Usage,
            Self::Refused(body) => match body.code.as_str() {
                "UNAUTHORIZED" | "FORBIDDEN" => Code::NoPermission,
                "BAD_REQUEST" | "NOT_FOUND" | "CONFLICT" => Code::Data,
                "TOO_MANY_REQUESTS" => Code::TemporaryFailure,
                _ => Code::Unavailable,
            },
            Self::Filter(_) => Code::Data,
            Self::File(remora::snapshot::FileError::Content { .. }) => Code::Data,
            Self::File(_) | Self::Descriptors(_) => Code::Io,
            Self::Answer(_) => Code::Software,
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Code::Ok,
            Self::Io(_) => Code::Io,
        }
    }
}
