//! Threads, bounded queues, clock, shutdown, readiness, privileges.
//!
//! The foundation that everything with threads stands on. Knows nothing of packets or entries.
//! Invariants: the only caller of `std::thread` spawning, of the wall clock, of `sd_notify` and of
//! capability calls; every queue between threads is bounded and has a name (see [`queue`]).

pub mod activation;
pub mod clock;
mod exit_code;
pub mod notify;
mod priority;
pub mod privileges;
mod queue;
mod shutdown;
mod spawn;

pub use exit_code::ExitCode;
pub use priority::{lower_priority, priority};
pub use queue::{Capacity, Depth, Full, Popped, Probe, Receiver, Sender, queue};
pub use shutdown::Shutdown;
pub use spawn::{MAX_THREAD_NAME, guard_threads, spawn_thread};
