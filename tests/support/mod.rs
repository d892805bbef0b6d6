//! What the black-box tests share: a daemon, real servers, namespaces, clients.

pub mod client;
pub mod daemon;
pub mod netns;
pub mod peers;
pub mod wait;

pub use client::{Feed, Reply};
pub use daemon::{Daemon, Options};
pub use netns::Netns;
pub use peers::{Nginx, PythonServer, curl, free_port};
pub use wait::until;
