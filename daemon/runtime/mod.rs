//! Threads, bounded queues, clock, shutdown, readiness, privileges.
