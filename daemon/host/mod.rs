//! Answers which process, cgroup, container and systemd unit a pid stands for; read-only.
//!
//! `cgroup` only reads text, `process` only reads `/proc`, `inspector` remembers. Invariants: nothing
//! is written; a process may vanish between any two reads, and then what was read so far counts.

mod cgroup;
mod inspector;
mod process;
mod recent;

pub use self::cgroup::{CgroupFacts, container_of};
pub use self::inspector::{Inspector, Sighting};
pub use self::recent::RecentMap;
