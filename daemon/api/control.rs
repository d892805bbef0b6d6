//! What the routes need from the daemon; `app` implements it, tests fake it.

use std::sync::Arc;
use std::time::Duration;

use super::access::{Caller, Role};
use super::schema::{Doctor, Flow, NewToken, RawCapture, Status, TlsDoctor, TokenInfo};
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, EntryId, Timestamp};
use crate::store::{Grouping, Statistics, Topology};

/// Why the daemon could not do what a request asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request is not possible as written.
    #[error("{0}")]
    Invalid(String),
    /// It exists already, or something else is under way.
    #[error("{0}")]
    Conflict(String),
    /// That part of the daemon is off or broken at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else; logged, with the text shown to the caller.
    #[error("{0}")]
    Internal(String),
}

/// The running daemon. Calls are short and may come from any thread.
pub trait Control: Send + Sync {
    /// Stages, queues, drops, rungs.
    fn status(&self) -> Status;
    /// Whether packets are dissected.
    fn dissection_enabled(&self) -> bool;
    /// Pauses or resumes dissection, and announces it on the tap.
    fn set_dissection(&self, enabled: bool) -> Result<(), ControlError>;
    /// Somebody wants the calls since then: those that were captured and not dissected are made up for.
    fn look_back(&self, _from: Timestamp) {}
    /// What raw capture holds and does.
    fn raw_capture(&self) -> RawCapture {
        RawCapture::default()
    }
    /// Switches raw capture, for good.
    fn set_raw_capture(&self, _enabled: bool) -> Result<(), ControlError> {
        Err(ControlError::Unavailable("there is no raw capture here".to_owned()))
    }
    /// Live L4 connections.
    fn flows(&self) -> Vec<Flow>;
    /// Which mechanism does each job, and why not a better one.
    fn doctor(&self) -> Doctor;
    /// What is seen of the TLS of processes, and what is not, and why.
    fn tls(&self) -> TlsDoctor;
    /// All metrics in Prometheus' text format.
    fn metrics_text(&self) -> String;
}

/// Stored entries, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was found.
    pub entries: Vec<Arc<Entry>>,
    /// Where the next page begins (`before` of the next call); `None` when there is nothing older.
    pub next: Option<u64>,
}

/// Which stored entries a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Smallest `seq`.
    pub from: u64,
    /// Largest `seq`.
    pub until: u64,
    /// Calls that began before are left out.
    pub since: Timestamp,
}

/// Numbers between two entries that no stored entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last number before.
    pub after: u64,
    /// The first number behind.
    pub before: u64,
}

/// What a stretch of the history holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// A matching entry.
    Entry(Arc<Entry>),
    /// Something is not there: trimmed, or never stored.
    Hole(Hole),
}

/// Stored entries, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// What was found, in order.
    pub found: Vec<Stored>,
    /// Where the next stretch begins; beyond the span's end when it is complete.
    pub next: u64,
}

/// Calls to be counted.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Which.
    pub filter: Filter,
    /// From this moment on.
    pub from: Timestamp,
    /// Before this moment.
    pub to: Timestamp,
}

/// Something made of all calls of a scope, or of the newest of them when they were too many.
#[derive(Clone, Debug, Default)]
pub struct Gathered<T> {
    /// What was made.
    pub value: T,
    /// Whether all calls were looked at; older ones were not when this is false.
    pub complete: bool,
}

/// Entries that were kept. Calls may take long and are made on threads for blocking work.
pub trait History: Send + Sync {
    /// Up to `limit` matching entries with a `seq` below `before`. A search that looked at many
    /// entries without success may return early with fewer and `next` set.
    fn newest_first(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, ControlError>;
    /// Matching entries of the span, oldest first. Returns early with what it has after many entries
    /// or bytes. Entries published a moment ago may not be readable yet, see [`Self::newest_seq`].
    fn oldest_first(&self, filter: &Filter, span: Span) -> Result<Stretch, ControlError>;
    /// Number of the newest entry that can be read; they become readable in order.
    fn newest_seq(&self) -> Result<u64, ControlError>;
    /// Counts the calls of a scope by the values of fields.
    fn statistics(&self, _scope: Scope, _grouping: Grouping) -> Result<Gathered<Statistics>, ControlError> {
        Err(ControlError::Unavailable("entries are not kept here".to_owned()))
    }
    /// Who called whom in a scope.
    fn topology(&self, _scope: Scope) -> Result<Gathered<Topology>, ControlError> {
        Err(ControlError::Unavailable("entries are not kept here".to_owned()))
    }
    /// One entry.
    fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, ControlError>;
}

/// Bearer tokens. Calls may touch the disk and are made on threads for blocking work.
pub trait Tokens: Send + Sync {
    /// Whose token it is, if it is one; in constant time.
    fn verify(&self, token: &str) -> Option<Caller>;
    /// All tokens, without their secrets.
    fn list(&self) -> Result<Vec<TokenInfo>, ControlError>;
    /// Makes a token; the answer holds the only copy of its secret.
    fn create(&self, name: &str, role: Role, lifetime: Option<Duration>) -> Result<NewToken, ControlError>;
    /// Ends a token; `false` when there is none with that id or name.
    fn revoke(&self, id: &str) -> Result<bool, ControlError>;
}
