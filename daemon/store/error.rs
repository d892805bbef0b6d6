//! What can go wrong with the store, and what to do about it.

use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or the file cannot be made or opened.
    #[error(
        "cannot open the store at {path}: {source}; check the directory's owner and free space, or set store.path"
    )]
    Open {
        /// Directory or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error(
        "the store {path} is in use by another process; stop the other remorad or set another store.path"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A newer release wrote the file.
    #[error(
        "the store {path} has schema {found}, this release knows up to {supported}; start the newer release, or move the file away to begin a new one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Newest version that this release reads.
        supported: u64,
    },
    /// The file is damaged, or is no store.
    #[error(
        "the store {path} is damaged: {reason}; move it away (mv {path} {path}.damaged) and start again: stored entries, tokens and settings begin anew"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The disk refused. Retried by the writer; entries that cannot wait are counted as dropped.
    #[error("the store could not {operation}: {source}")]
    Failed {
        /// What it tried.
        operation: &'static str,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// An earlier failure closed the database and it has not come back yet. Retryable.
    #[error("the store is unavailable: {reason}; it is tried again every few seconds")]
    Unavailable {
        /// The earlier failure.
        reason: String,
    },
    /// A second writer was asked for.
    #[error("the store already has a writer")]
    WriterTaken,
    /// A value could not be encoded: a bug.
    #[error("cannot encode {what}: {reason}")]
    Encode {
        /// Which value.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// No token has this id.
    #[error("there is no token {id}; `remora token list` shows all")]
    UnknownToken {
        /// As asked.
        id: u64,
    },
    /// The token cannot be made as asked.
    #[error("cannot create the token: {reason}")]
    TokenRefused {
        /// Why not.
        reason: String,
    },
}

impl StoreError {
    /// For `map_err`: a redb error during `operation`.
    pub(super) fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Failed { operation, source: Box::new(source.into()) }
    }

    /// Whether the disk had no room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Failed { source, .. } => matches!(
                source.as_ref(),
                redb::Error::Io(error)
                    if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            ),
            _ => false,
        }
    }
}
