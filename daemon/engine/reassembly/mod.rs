//! Turns TCP segments into ordered bytes and declared gaps, per direction.
