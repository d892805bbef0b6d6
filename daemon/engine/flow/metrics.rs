//! What TCP's headers tell about the health of a connection.
//!
//! Both sockets of a local connection show every segment, so everything is counted per vantage and
//! reported once: the largest of the vantages' counts, which is the one that missed least.

use serde::Serialize;

use crate::model::{Direction, Hook, Timestamp};
use crate::wire::{Headers, SeqNumber, TcpFlags, TcpHeader};

/// Duplicate acknowledgements that make a sender repeat at once (RFC 5681, 3.2).
const FAST_RETRANSMIT_ACKS: u32 = 3;
/// A segment before the furthest one that comes this soon behind it was reordered, not repeated.
const REORDER_NANOS: u64 = 3_000_000;
/// A jump beyond any window is another stream's packet.
const MAX_JUMP: i32 = 1 << 30;

/// Bits of `connection_completeness`.
mod seen {
    pub(super) const SYN: u8 = 1;
    pub(super) const SYN_ACK: u8 = 2;
    pub(super) const ACK: u8 = 4;
    pub(super) const DATA: u8 = 8;
    pub(super) const FIN: u8 = 16;
    pub(super) const RST: u8 = 32;
}

/// One direction as one vantage saw it.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Furthest position seen.
    next: Option<SeqNumber>,
    next_at: Timestamp,
    /// Last acknowledgement that the sender of this direction sent.
    ack: Option<SeqNumber>,
    window: u16,
    scale: Option<u8>,
    repeated_acks: u32,
    /// A segment whose acknowledgement is awaited: its end and when it passed.
    timed: Option<(SeqNumber, Timestamp)>,
    retransmissions: u32,
    fast_retransmissions: u32,
    out_of_order: u32,
    missing_segments: u32,
    dup_acks: u32,
    zero_windows: u32,
    window_full: u32,
    keepalives: u32,
    resets: u32,
    fins: u32,
    payload: u64,
    windows: u64,
    window_samples: u32,
}

/// Counters of one connection.
#[derive(Clone, Debug, Default)]
pub struct TcpMetrics {
    /// By vantage, then direction.
    lanes: [[Lane; 2]; 2],
    completeness: u8,
    syn_at: Option<Timestamp>,
    /// Per vantage: when the SYN and the SYN-ACK passed.
    handshake: [[Option<Timestamp>; 2]; 2],
    initial_rtt: Option<u64>,
    handshake_time: Option<u64>,
    first_request: Option<Timestamp>,
    first_response: Option<Timestamp>,
    first_seen: Timestamp,
    last_seen: Timestamp,
    rtt_min: u64,
    rtt_max: u64,
    rtt_sum: u64,
    rtt_samples: u32,
    rtt_last: u64,
    jitter_sum: u64,
}

/// The metrics as `GET /api/v1/flows` shows them, with the names and units of Kubeshark's
/// `tcp_metrics`; both directions together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TcpReport {
    /// Segments sent again.
    pub retransmissions: u32,
    /// Those sent again because of duplicate acknowledgements.
    pub fast_retransmissions: u32,
    /// Retransmissions per segment.
    pub retransmission_rate: f64,
    /// Times a receiver closed its window.
    pub zero_window_events: u32,
    /// Segments that filled the receiver's window.
    pub window_full_events: u32,
    /// Shift count that the client announced.
    pub window_scale: u32,
    /// Mean advertised window in bytes.
    pub avg_receive_window: u32,
    /// Segments that arrived behind later ones.
    pub out_of_order: u32,
    /// Repeated acknowledgements.
    pub dup_acks: u32,
    /// Times that segments were skipped.
    pub missing_segments: u32,
    /// Resets.
    pub rst_count: u32,
    /// FINs.
    pub fin_count: u32,
    /// Keep-alive probes.
    pub keepalive_count: u32,
    /// 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST.
    pub connection_completeness: u8,
    /// Opening to the first sign that it arrived back, microseconds.
    pub initial_rtt_us: u64,
    /// SYN to the handshake's last ACK, microseconds.
    pub handshake_time_us: u64,
    /// First to last packet, microseconds.
    pub connection_time_us: u64,
    /// First request byte to first response byte, microseconds.
    pub time_to_first_byte_us: u64,
    /// Microseconds.
    pub rtt_min_us: u64,
    /// Microseconds.
    pub rtt_max_us: u64,
    /// Microseconds.
    pub rtt_avg_us: u64,
    /// Number of round trips measured.
    pub rtt_samples: u32,
    /// Mean difference of successive round trips, microseconds.
    pub jitter_us: u64,
    /// Payload bytes without repetitions.
    pub goodput_bytes: u64,
}

impl TcpMetrics {
    /// Takes one segment that `vantage` showed. `hook` is `None` for an observer without a socket.
    pub fn segment(
        &mut self,
        vantage: u8,
        direction: Direction,
        hook: Option<Hook>,
        headers: &Headers,
        at: Timestamp,
    ) {
        let Some(tcp) = headers.tcp() else { return };
        if self.first_seen == Timestamp::ZERO {
            self.first_seen = at;
        }
        self.last_seen = self.last_seen.max(at);
        self.note_life(vantage, direction, hook, tcp, headers.payload_len_on_wire, at);
        let [client, server] = &mut self.lanes;
        let [up, down] = if vantage == 0 { client } else { server };
        let (own, other) = if direction == Direction::ToServer { (up, down) } else { (down, up) };
        own.take_flags(tcp);
        own.take_payload(other, tcp, headers.payload_len_on_wire, at, hook == Some(Hook::Egress));
        let sample = own.take_ack(other, tcp, headers.payload_len_on_wire, at);
        // Only where the data left is the way to the peer and back in the sample.
        if let Some(sample) = sample.filter(|_| hook != Some(Hook::Egress)) {
            self.add_rtt(sample);
        }
    }

    /// The metrics so far.
    pub fn report(&self) -> TcpReport {
        let count = |pick: fn(&Lane) -> u32| self.both(|lane| u64::from(pick(lane))) as u32;
        let retransmissions = count(|lane| lane.retransmissions);
        let segments = self.both(|lane| u64::from(lane.window_samples));
        let (windows, samples) = self.lanes.iter().flatten().fold((0, 0), |(sum, samples), lane| {
            (sum + lane.windows, samples + u64::from(lane.window_samples))
        });
        TcpReport {
            retransmissions,
            fast_retransmissions: count(|lane| lane.fast_retransmissions),
            retransmission_rate: if segments == 0 {
                0.0
            } else {
                f64::from(retransmissions) / segments as f64
            },
            zero_window_events: count(|lane| lane.zero_windows),
            window_full_events: count(|lane| lane.window_full),
            window_scale: self.lanes.iter().filter_map(|[up, _]| up.scale).max().unwrap_or(0).into(),
            avg_receive_window: u32::try_from(windows.checked_div(samples).unwrap_or(0)).unwrap_or(u32::MAX),
            out_of_order: count(|lane| lane.out_of_order),
            dup_acks: count(|lane| lane.dup_acks),
            missing_segments: count(|lane| lane.missing_segments),
            rst_count: count(|lane| lane.resets),
            fin_count: count(|lane| lane.fins),
            keepalive_count: count(|lane| lane.keepalives),
            connection_completeness: self.completeness,
            initial_rtt_us: micros(self.initial_rtt.unwrap_or(0)),
            handshake_time_us: micros(self.handshake_time.unwrap_or(0)),
            connection_time_us: micros(self.last_seen.since(self.first_seen)),
            time_to_first_byte_us: micros(
                self.first_response
                    .zip(self.first_request)
                    .map_or(0, |(response, request)| response.since(request)),
            ),
            rtt_min_us: micros(self.rtt_min),
            rtt_max_us: micros(self.rtt_max),
            rtt_avg_us: micros(self.rtt_sum.checked_div(u64::from(self.rtt_samples)).unwrap_or(0)),
            rtt_samples: self.rtt_samples,
            jitter_us: micros(
                self.jitter_sum.checked_div(u64::from(self.rtt_samples).saturating_sub(1)).unwrap_or(0),
            ),
            goodput_bytes: self.both(|lane| lane.payload),
        }
    }

    /// Sum over the directions of the larger of the two vantages' values.
    fn both(&self, pick: impl Fn(&Lane) -> u64) -> u64 {
        let [[client_up, client_down], [server_up, server_down]] = &self.lanes;
        pick(client_up).max(pick(server_up)) + pick(client_down).max(pick(server_down))
    }

    fn note_life(
        &mut self,
        vantage: u8,
        direction: Direction,
        hook: Option<Hook>,
        tcp: &TcpHeader,
        payload: u32,
        at: Timestamp,
    ) {
        let flags = tcp.flags;
        let answered = self.completeness & seen::SYN_ACK != 0;
        let unfinished = self.completeness & seen::ACK == 0 || self.initial_rtt.is_none();
        if flags.has(TcpFlags::SYN) || (answered && unfinished) {
            self.note_handshake(vantage, direction, hook, flags, at);
        }
        if payload > 0 {
            self.completeness |= seen::DATA;
            match direction {
                Direction::ToServer => self.first_request.get_or_insert(at),
                Direction::ToClient => self.first_response.get_or_insert(at),
            };
        }
        if flags.has(TcpFlags::FIN) {
            self.completeness |= seen::FIN;
        }
        if flags.has(TcpFlags::RST) {
            self.completeness |= seen::RST;
        }
    }

    fn note_handshake(
        &mut self,
        vantage: u8,
        direction: Direction,
        hook: Option<Hook>,
        flags: TcpFlags,
        at: Timestamp,
    ) {
        let [client, server] = &mut self.handshake;
        let [syn, syn_ack] = if vantage == 0 { client } else { server };
        if flags.opens() {
            self.completeness |= seen::SYN;
            // A repeated SYN makes the sample ambiguous, so the last one counts here.
            *syn = Some(at);
            self.syn_at.get_or_insert(at);
        } else if flags.accepts() {
            self.completeness |= seen::SYN_ACK;
            *syn_ack = Some(at);
            // At the client's socket this is the whole way; an observer in between waits for the ACK.
            if vantage == 0
                && hook.is_some()
                && let Some(syn) = *syn
            {
                self.initial_rtt.get_or_insert(at.since(syn));
            }
        } else if direction == Direction::ToServer && flags.has(TcpFlags::ACK) {
            self.completeness |= seen::ACK;
            if let Some(start) = self.syn_at {
                self.handshake_time.get_or_insert(at.since(start));
            }
            let from = if hook.is_some() { *syn_ack } else { *syn };
            if let Some(start) = from.filter(|_| vantage == 1 || hook.is_none()) {
                self.initial_rtt.get_or_insert(at.since(start));
            }
        }
    }

    fn add_rtt(&mut self, sample: u64) {
        if self.rtt_samples == 0 {
            self.rtt_min = sample;
        } else {
            self.jitter_sum = self.jitter_sum.saturating_add(sample.abs_diff(self.rtt_last));
        }
        self.rtt_min = self.rtt_min.min(sample);
        self.rtt_max = self.rtt_max.max(sample);
        self.rtt_sum = self.rtt_sum.saturating_add(sample);
        self.rtt_samples = self.rtt_samples.saturating_add(1);
        self.rtt_last = sample;
    }
}

impl Lane {
    fn take_flags(&mut self, tcp: &TcpHeader) {
        if tcp.flags.has(TcpFlags::SYN) {
            self.scale = tcp.options.window_scale;
        }
        self.resets += u32::from(tcp.flags.has(TcpFlags::RST));
        let was_open = self.window != 0 || self.window_samples == 0;
        if tcp.window == 0 && was_open && !tcp.flags.has(TcpFlags::RST) && !tcp.flags.has(TcpFlags::SYN) {
            self.zero_windows += 1;
        }
        self.windows = self.windows.saturating_add(self.scaled(tcp));
        self.window_samples = self.window_samples.saturating_add(1);
    }

    /// The advertised window in bytes; a SYN's own window is never scaled.
    fn scaled(&self, tcp: &TcpHeader) -> u64 {
        let shift = if tcp.flags.has(TcpFlags::SYN) { 0 } else { self.scale.unwrap_or(0) };
        u64::from(tcp.window) << shift
    }

    /// Compares the segment's place with what passed before. `at_sender`: it cannot be reordered yet.
    fn take_payload(&mut self, other: &Self, tcp: &TcpHeader, payload: u32, at: Timestamp, at_sender: bool) {
        let len = tcp.sequence_len(payload);
        let end = tcp.seq + len;
        let Some(next) = self.next else {
            if len > 0 {
                self.next = Some(end);
                self.next_at = at;
                self.payload += u64::from(payload);
                self.fins += u32::from(tcp.flags.has(TcpFlags::FIN));
                self.timed = Some((end, at));
            }
            return;
        };
        let ahead = tcp.seq.distance(next);
        if tcp.flags.has(TcpFlags::RST) || ahead.abs() > MAX_JUMP {
            return;
        }
        if ahead == -1 && payload <= 1 && !tcp.flags.has(TcpFlags::SYN) && !tcp.flags.has(TcpFlags::FIN) {
            self.keepalives += 1;
            return;
        }
        if len == 0 {
            return;
        }
        if ahead > 0 {
            self.missing_segments += 1;
        }
        if end.after(next) {
            self.payload += u64::from(payload.min(end.distance(next) as u32));
            self.next = Some(end);
            self.next_at = at;
            self.fins += u32::from(tcp.flags.has(TcpFlags::FIN));
            if self.timed.is_none() && ahead >= 0 {
                self.timed = Some((end, at));
            }
            self.note_full_window(other, end);
        } else {
            self.note_repetition(other, at, at_sender);
        }
    }

    fn note_full_window(&mut self, other: &Self, end: SeqNumber) {
        // Without the receiver's shift count its window is not known.
        if let (Some(ack), Some(shift)) = (other.ack, other.scale)
            && u64::from(end.distance(ack).unsigned_abs()) == u64::from(other.window) << shift
        {
            self.window_full += 1;
        }
    }

    fn note_repetition(&mut self, other: &Self, at: Timestamp, at_sender: bool) {
        if !at_sender && self.missing_segments > self.out_of_order && at.since(self.next_at) < REORDER_NANOS {
            self.out_of_order += 1;
            return;
        }
        self.retransmissions += 1;
        if other.repeated_acks + 1 >= FAST_RETRANSMIT_ACKS {
            self.fast_retransmissions += 1;
        }
        // Its acknowledgement could belong to either copy (RFC 6298, 3).
        self.timed = None;
    }

    /// Takes the acknowledgement for the other direction; returns a round trip that it completes.
    fn take_ack(&mut self, other: &mut Self, tcp: &TcpHeader, payload: u32, at: Timestamp) -> Option<u64> {
        let ack = tcp.acknowledged()?;
        let pure = tcp.sequence_len(payload) == 0 && !tcp.flags.has(TcpFlags::RST);
        let outstanding = other.next.is_some_and(|next| next.after(ack));
        if pure && outstanding && self.ack == Some(ack) && self.window == tcp.window {
            self.dup_acks += 1;
            self.repeated_acks = self.repeated_acks.saturating_add(1);
        } else if self.ack != Some(ack) {
            self.repeated_acks = 0;
        }
        self.ack = Some(ack);
        self.window = tcp.window;
        let (end, sent) = other.timed?;
        if ack.before(end) {
            return None;
        }
        other.timed = None;
        Some(at.since(sent))
    }
}

const fn micros(nanos: u64) -> u64 {
    nanos / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ACK, RST, SYN, SYN_ACK, Tcp, ms};

    const C: &str = "10.0.0.1:40000";
    const S: &str = "10.0.0.2:80";

    /// Segments at the client's socket: milliseconds, whether to the server, the segment.
    fn report(segments: &[(u64, bool, Tcp)]) -> TcpReport {
        let mut metrics = TcpMetrics::default();
        for (at, up, segment) in segments {
            let data = segment.bytes();
            let headers = Headers::parse(&data, data.len() as u32).unwrap();
            let direction = if *up { Direction::ToServer } else { Direction::ToClient };
            let hook = if *up { Hook::Egress } else { Hook::Ingress };
            metrics.segment(0, direction, Some(hook), &headers, ms(*at));
        }
        metrics.report()
    }

    fn up(at: u64, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> (u64, bool, Tcp) {
        (at, true, Tcp::new(C, S, seq, ack, flags, payload))
    }

    fn down(at: u64, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> (u64, bool, Tcp) {
        (at, false, Tcp::new(S, C, seq, ack, flags, payload))
    }

    #[test]
    fn times_of_a_call_are_measured_at_the_client() {
        let report = report(&[
            up(0, 10, 0, SYN, b""),
            down(3, 50, 11, SYN_ACK, b""),
            up(4, 11, 51, ACK, b""),
            up(5, 11, 51, ACK, b"ask"),
            down(7, 51, 14, ACK, b""),
            down(15, 51, 14, ACK, b"answer"),
            up(15, 14, 57, ACK, b""),
        ]);
        assert_eq!((report.initial_rtt_us, report.handshake_time_us), (3000, 4000));
        assert_eq!((report.time_to_first_byte_us, report.connection_time_us), (10_000, 15_000));
        assert_eq!((report.rtt_samples, report.rtt_min_us, report.rtt_max_us), (2, 2000, 3000));
        assert_eq!((report.jitter_us, report.goodput_bytes, report.connection_completeness), (1000, 9, 15));
    }

    #[test]
    fn refused_connection_is_33_and_data_then_reset_is_47() {
        let refused = report(&[up(0, 10, 0, SYN, b""), down(1, 0, 11, RST.with(ACK), b"")]);
        assert_eq!((refused.connection_completeness, refused.rst_count), (33, 1));
        let reset = report(&[
            up(0, 10, 0, SYN, b""),
            down(1, 50, 11, SYN_ACK, b""),
            up(1, 11, 51, ACK, b""),
            up(1, 11, 51, ACK, b"ask"),
            down(2, 51, 14, RST, b""),
        ]);
        assert_eq!(reset.connection_completeness, 47);
        assert_eq!(report(&[up(0, 11, 51, ACK, b"ask")]).connection_completeness, 8);
    }

    #[test]
    fn duplicate_acknowledgements_make_a_fast_retransmission() {
        let mut segments =
            vec![down(0, 50, 11, ACK, b""), up(1, 11, 50, ACK, b"ab"), up(1, 13, 50, ACK, b"cd")];
        segments.extend((0..4).map(|n| down(2 + n, 50, 11, ACK, b"")));
        segments.push(up(7, 11, 50, ACK, b"ab"));
        let report = report(&segments);
        assert_eq!((report.dup_acks, report.retransmissions, report.fast_retransmissions), (4, 1, 1));
        assert_eq!((report.rtt_samples, report.goodput_bytes), (0, 4));
    }

    #[test]
    fn reordered_segment_is_no_retransmission() {
        let report = report(&[
            down(0, 50, 11, ACK, b"ab"),
            down(1, 54, 11, ACK, b"ef"),
            down(2, 52, 11, ACK, b"cd"),
            down(30, 50, 11, ACK, b"ab"),
        ]);
        assert_eq!((report.missing_segments, report.out_of_order, report.retransmissions), (1, 1, 1));
    }

    #[test]
    fn keep_alives_and_closed_windows_are_counted() {
        let mut closed = down(3, 50, 13, ACK, b"");
        closed.2.window = 0;
        let again = closed.clone();
        let report = report(&[
            up(0, 11, 50, ACK, b"ab"),
            down(1, 50, 13, ACK, b""),
            up(2, 12, 50, ACK, b""),
            closed,
            again,
        ]);
        assert_eq!((report.keepalive_count, report.zero_window_events, report.retransmissions), (1, 1, 0));
    }
}
