//! Remora's daemon: table of contents. Bytes become entries in the `remora-engine` crate; everything
//! with I/O, privilege or threads is here. Layers: see ARCHITECTURE.md; `tests/tidy.rs` enforces them.

#![deny(unsafe_code)]
// The bans of clippy.toml are for the daemon; tests start threads and programs as they need.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod api;
pub mod app;
pub mod archive;
pub mod capture;
pub mod config;
pub mod host;
pub mod pipeline;
pub mod resolve;
pub mod runtime;
pub mod snapshot;
pub mod store;
pub mod tap;
pub mod telemetry;

pub use remora_engine as engine;
