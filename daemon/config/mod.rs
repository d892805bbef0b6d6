//! Turns files, environment and flags into one validated configuration.
