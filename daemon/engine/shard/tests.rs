//! From packets to entries.
