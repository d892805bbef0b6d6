//! Every cap that the engine enforces, with unit, reason and what happens beyond it.
//!
//! Invariant: no number of this kind lives anywhere else. Crossing one is an event on the entry or
//! a counted drop, never silence.

use std::time::Duration;

/// Caps that configuration may change. One value is shared by all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections per shard; the least recently active one is evicted beyond it.
    pub max_connections: usize,
    /// Bytes kept per message body; the rest is left out and marked.
    pub max_body: usize,
    /// Bytes that a body may grow to when its content coding is undone.
    pub max_decoded_body: usize,
    /// Bytes of an HTTP head (start line and headers); a longer one ends dissection of the stream.
    pub max_head: usize,
    /// Headers of one message. 512 is five times what browsers and proxies produce.
    pub max_headers: usize,
    /// Query, form and multipart parameters listed per message; the body itself stays whole.
    pub max_params: usize,
    /// Bytes shown of one multipart parameter's value.
    pub max_param_value: usize,
    /// Requests without an answer kept per connection (pipelining); the oldest is given up beyond it.
    pub max_pending: usize,
    /// Out-of-order bytes buffered per direction before the hole is declared a gap.
    pub max_out_of_order: usize,
    /// Out-of-order segments buffered per direction: bounds the work on tiny segments.
    pub max_out_of_order_segments: usize,
    /// Bytes looked at before a stream is declared to speak no known protocol.
    pub max_detect: usize,
    /// Bytes searched for the start of a message where a stream is joined in its middle or lost its
    /// framing; beyond it the stream stays unknown.
    pub max_resync: usize,
    /// How often a stream that stopped following its protocol is detected anew.
    pub max_redetect: u32,
    /// How long a hole is waited for once later data is there; packets on one host arrive in order,
    /// so a hole that lasts is a lost record.
    pub hole_patience: Duration,
    /// How long a request may wait for its answer before it is shown with a timeout error.
    pub answer_timeout: Duration,
    /// Idle time after which a connection without a seen end is forgotten.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_body: 1 << 20,
            max_decoded_body: 4 << 20,
            max_head: 256 << 10,
            max_headers: 512,
            max_params: 256,
            max_param_value: 4096,
            max_pending: 1024,
            max_out_of_order: 1 << 20,
            max_out_of_order_segments: 512,
            max_detect: 4096,
            max_resync: 8 << 20,
            max_redetect: 4,
            hole_patience: Duration::from_millis(200),
            answer_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(20 * 60),
        }
    }
}
