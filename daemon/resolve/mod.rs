//! Names the ends of an entry from what host and capture know; never blocks.
