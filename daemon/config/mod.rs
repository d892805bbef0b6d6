//! Turns files, environment and flags into one validated configuration.

mod role;

pub use role::{Role, UnknownRole};
