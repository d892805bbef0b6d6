//! Names metrics, sets up logs, counts drops.
//!
//! Invariant: the name of a metric is a row of one table ([`Metric`], [`Family`]), never a string at
//! the place of use, so documentation, status and `/metrics` cannot differ.

mod drops;
pub mod logs;
mod metrics;

pub use drops::Drops;
pub use metrics::{Family, Kind, Metric, Metrics, Observed};
