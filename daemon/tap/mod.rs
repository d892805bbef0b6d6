//! Live observers of entries: filter, bounded queue, notices.
//!
//! [`Tap::publish`] hands batches to one group per distinct filter; a group evaluates its filter once
//! for all its subscribers in a task of its own and never waits for any of them. A subscriber that
//! does not read keeps what fits into its queue and loses the newest, counted and, when it asked for
//! notices, told at the place where the entries are missing. Frames are written by the first
//! subscriber that needs one and shared by all with the same view.
//!
//! Invariants: `publish` never blocks and runs no filter; a slow reader or an expensive filter costs
//! only its own group's entries and a bounded number of bytes.

mod bus;
mod group;
mod inbox;
mod notice;
mod observed;
mod outbox;
mod projection;
mod redact;
mod stream;

pub use bus::{Subscription, Tap, TapConfig, TapError};
pub use notice::Notice;
pub use observed::{Encoding, Look, Observed, Shape};
pub use projection::{Projection, ProjectionError};
pub use stream::{End, Item, Stream};

#[cfg(test)]
mod tests;
