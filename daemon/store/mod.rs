//! Entries, tokens and settings in redb; the only user of redb.
