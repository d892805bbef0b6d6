//! Records of another time as entries: dissects capture files and what raw capture kept.
//!
//! Invariant: what comes out is what would have come out live, because the same router, shards and
//! directory do it, and because the files hold what the host knew at the time.

mod capture_file;
mod dissector;

pub use self::capture_file::{CaptureFile, FileError};
pub use self::dissector::{Dissector, Losses};
