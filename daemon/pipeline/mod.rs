//! Threads and bounded queues between capture and the sinks; no parsing, no storage format, no HTTP.
