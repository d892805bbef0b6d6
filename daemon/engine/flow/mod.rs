//! Gives each packet its connection, pairs the two ends of a local one, and ages connections out.
