//! Black-box tests: a real remorad, a real kernel, real servers and clients.
//!
//! Every test starts what it needs on ports of its own and stops it again. Tests whose names contain
//! `root_` need root and load BPF programs; none of them is ever skipped.

// The bans of clippy.toml are about the daemon; tests start programs and threads.
#![allow(clippy::disallowed_methods)]

mod support;

mod access;
mod attribution;
mod capture_files;
mod delayed_dissection;
mod dns;
mod graphql;
mod grpc_calls;
mod history;
mod http2_calls;
mod http_calls;
mod lifecycle;
mod loss;
mod scope;
mod snapshots;
mod soak;
mod stream;
mod systemd;
mod tidy;
mod tls;
mod tls_harm;
mod tls_keylog;
mod tls_stacks;
mod tls_together;
mod websocket;
