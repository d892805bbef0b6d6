//! What the black-box tests share: a daemon, real servers, namespaces, clients.

pub(crate) mod cgroup;
pub(crate) mod client;
pub(crate) mod conversations;
pub(crate) mod daemon;
pub(crate) mod machine;
pub(crate) mod netns;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod tls;
pub(crate) mod wait;

pub(crate) use cgroup::Cgroup;
pub(crate) use client::Feed;
pub(crate) use conversations::conversations;
pub(crate) use daemon::{Daemon, Options};
pub(crate) use machine::Machine;
pub(crate) use netns::Netns;
pub(crate) use peers::{GrpcServer, Nginx, NodeServer, PythonServer, curl};
pub(crate) use ports::free_port;
pub(crate) use wait::{until, until_within};
