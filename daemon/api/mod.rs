//! Serves HTTP and websockets on unix and TCP sockets; the only user of axum and hyper's server.
//!
//! Request path: listener (`listen`, `server`) -> who is it (`peer`, `sock_diag`) -> may it (`guard`,
//! `access`) -> route (`routes`). What the routes need from the rest of the daemon they ask through the
//! traits of `control`, which `app` implements.
//!
//! Invariants: no route answers before Host and Origin are checked on TCP; no route but the open ones
//! (health, landing page, API description) answers a caller without a role; a caller that may not see
//! secrets never gets them, whichever route it asks.

mod access;
mod control;
mod fault;
mod guard;
mod listen;
mod peer;
pub mod routes;
pub mod schema;
mod server;
mod sock_diag;
mod throttle;
mod tls;

pub use access::{Access, AccessConfig, Caller, Role, RoleRule, Subject};
pub use control::{
    Control, ControlError, Gathered, History, Hole, Page, Scope, Span, Stored, Stretch, Tokens,
};
pub use listen::{ApiError, Bound, ListenConfig, TcpListen, TlsFiles};
pub use routes::Api;
pub use server::Server;

#[cfg(test)]
mod tests;
