//! What a socket on this host would take of what arrives: tells forged and stale segments from real ones.
//!
//! Capture sees packets before TCP judges them. What a socket sent itself nobody can forge, so its own
//! acknowledgements and windows are the yardstick (RFC 9293, 3.10.7.4; RFC 5961).

use super::Fit;
use crate::wire::{Headers, SeqNumber, TcpFlags, TcpHeader};

/// The largest shift (RFC 7323), taken when the socket's SYN was not seen: the window may be as large.
const MAX_SHIFT: u8 = 14;
/// Least room that is granted behind the window and behind what was sent: capture may have lost what moved
/// them on.
const MIN_SLACK: u32 = 64 << 10;
/// Most data that a SYN carries (RFC 7413) and its answer may leave unacknowledged.
const MAX_SYN_DATA: i32 = 64 << 10;
/// How far a reset may lie before the last acknowledgement: after a FIN the kernel takes it one earlier.
const RESET_BEHIND: i32 = 1;

/// What one socket acknowledged and offered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceiveWindow {
    offer: Option<Offer>,
    shift: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    /// Furthest position that it acknowledged.
    acked: SeqNumber,
    /// First position behind the furthest window.
    edge: SeqNumber,
    /// Bytes of the last window.
    size: u32,
}

impl ReceiveWindow {
    /// Learns from a segment that the socket sent.
    pub(super) fn sent(&mut self, tcp: &TcpHeader) {
        let opens = tcp.flags.has(TcpFlags::SYN);
        if opens {
            self.shift = Some(tcp.options.window_scale.unwrap_or(0).min(MAX_SHIFT));
        }
        let Some(acked) = tcp.acknowledged() else { return };
        let shift = if opens { 0 } else { self.shift.unwrap_or(MAX_SHIFT) };
        let size = u32::from(tcp.window) << shift;
        let edge = acked + size;
        self.offer = Some(match self.offer {
            Some(offer) => Offer { acked: offer.acked.max(acked), edge: offer.edge.max(edge), size },
            None => Offer { acked, edge, size },
        });
    }

    /// How far a segment that arrives at the socket is believed. `reached`: the furthest position known of
    /// the segment's own direction and of the one that the socket sends in.
    pub(super) fn judge(
        &self,
        headers: &Headers,
        tcp: &TcpHeader,
        reached: (Option<SeqNumber>, Option<SeqNumber>),
    ) -> Fit {
        let (arrived, sent) = reached;
        let Some(offer) = self.offer else {
            // The answer to a SYN must name it (or data sent along with it); nothing else is known yet.
            let foreign = tcp
                .acknowledged()
                .zip(sent)
                .is_some_and(|(ack, sent)| !(0..=MAX_SYN_DATA).contains(&sent.distance(ack)));
            let answers = tcp.flags.accepts() || tcp.flags.has(TcpFlags::RST);
            return if self.shift.is_some() && answers && foreign { Fit::Nothing } else { Fit::Whole };
        };
        if tcp.flags.has(TcpFlags::RST) {
            let end = arrived.map_or(offer.acked, |arrived| arrived.max(offer.acked));
            let fits = tcp.seq.distance(offer.acked) >= -RESET_BEHIND && !tcp.seq.after(end);
            return if fits { Fit::Whole } else { Fit::Nothing };
        }
        let takes_room = tcp.sequence_len(headers.payload_len_on_wire) > 0;
        let last = offer.edge + offer.size.max(MIN_SLACK);
        if takes_room && tcp.seq.after(last) {
            return Fit::Nothing;
        }
        // A SYN inside a stream is answered with a challenge, whatever its position (RFC 5961, 4).
        if tcp.flags.opens() && tcp.seq.after(offer.acked) {
            return Fit::Nothing;
        }
        // Capture may have lost a little of what was sent; with a position that fits as well, a guess that
        // hits this range is unlikely.
        let unsent = tcp.acknowledged().zip(sent).is_some_and(|(ack, sent)| ack.after(sent + MIN_SLACK));
        let astray = tcp.seq.after(last) || (tcp.seq + MIN_SLACK).before(offer.acked);
        if unsent || astray { Fit::WithoutAck } else { Fit::Whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ACK, RST, SYN, SYN_ACK, Tcp};

    const C: &str = "10.0.0.1:40000";
    const S: &str = "10.0.0.2:80";

    fn segment(seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> Headers {
        let data = Tcp::new(S, C, seq, ack, flags, payload).bytes();
        Headers::parse(&data, data.len() as u32).unwrap()
    }

    fn judge(window: &ReceiveWindow, headers: &Headers, arrived: u32, sent: u32) -> Fit {
        window.judge(headers, headers.tcp().unwrap(), (Some(SeqNumber(arrived)), Some(SeqNumber(sent))))
    }

    /// Took everything before 1000 and offers 512 << 7 more; sent everything before 500.
    fn window() -> ReceiveWindow {
        let mut window = ReceiveWindow::default();
        window.sent(segment(499, 0, SYN, b"").tcp().unwrap());
        window.sent(segment(500, 1000, ACK, b"").tcp().unwrap());
        window
    }

    #[test]
    fn data_counts_up_to_the_window_and_some_room() {
        for (seq, fit) in [
            (900, Fit::Whole),
            (1000, Fit::Whole),
            (1000 + (512 << 7), Fit::Whole),
            (1000 + 2 * (512 << 7) + 1, Fit::Nothing),
        ] {
            assert_eq!(judge(&window(), &segment(seq, 500, ACK, b"x"), 1000, 500), fit, "{seq}");
        }
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_do_not_count() {
        let ack =
            |seq: u32, ack, payload: &[u8]| judge(&window(), &segment(seq, ack, ACK, payload), 1000, 500);
        assert_eq!(ack(1000, 500 + MIN_SLACK + 1, b"x"), Fit::WithoutAck);
        // Capture may have lost what is acknowledged here.
        assert_eq!(ack(1000, 500 + MIN_SLACK, b"x"), Fit::Whole);
        assert_eq!(ack(1000, 500, b"x"), Fit::Whole);
        // At a position that the socket does not take, no acknowledgement counts.
        assert_eq!(ack(1000_u32.wrapping_sub(MIN_SLACK + 1), 501, b""), Fit::WithoutAck);
        assert_eq!(ack(1000 + (1 << 20), 501, b""), Fit::WithoutAck);
    }

    #[test]
    fn resets_count_between_what_was_acknowledged_and_what_arrived() {
        for (seq, fit) in [
            (998, Fit::Nothing),
            (999, Fit::Whole),
            (1000, Fit::Whole),
            (1050, Fit::Whole),
            (1051, Fit::Nothing),
        ] {
            assert_eq!(judge(&window(), &segment(seq, 0, RST, b""), 1050, 500), fit, "{seq}");
        }
    }

    #[test]
    fn answers_to_a_syn_must_name_it() {
        let mut window = ReceiveWindow::default();
        let refusal = |ack| segment(0, ack, RST.with(ACK), b"");
        // Nothing sent was seen: anything may be true.
        assert_eq!(judge(&window, &refusal(7), 0, 500), Fit::Whole);
        window.sent(segment(499, 0, SYN, b"").tcp().unwrap());
        assert_eq!(judge(&window, &refusal(500), 0, 500), Fit::Whole);
        assert_eq!(judge(&window, &refusal(501), 0, 500), Fit::Nothing);
        assert_eq!(judge(&window, &segment(9, 501, SYN_ACK, b""), 0, 500), Fit::Nothing);
        assert_eq!(judge(&window, &segment(9, 500, SYN_ACK, b""), 0, 500), Fit::Whole);
    }

    #[test]
    fn a_syn_inside_a_stream_counts_for_nothing() {
        assert_eq!(judge(&window(), &segment(1001, 0, SYN, b""), 1000, 500), Fit::Nothing);
    }
}
