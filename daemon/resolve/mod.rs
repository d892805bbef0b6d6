//! Names the ends of an entry from what host and capture know.
//!
//! Invariants: naming never blocks on the system (processes are inspected by the thread that brings
//! the events); memory is bounded; a socket's owner is the one with the best evidence.

mod directory;
mod names;
mod sockets;

pub use self::directory::Directory;
