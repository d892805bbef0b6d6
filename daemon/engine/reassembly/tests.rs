//! Reassembly of split, repeated, reordered, lost, cut and conflicting segments.

use proptest::prelude::*;

use super::*;
use crate::testing::{ACK, FIN_ACK, RST, SYN, SYN_ACK, ms};

const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Per direction: bytes, with `None` for each byte of a gap.
    bytes: [Vec<Option<u8>>; 2],
    fins: [usize; 2],
    reasons: Vec<DropReason>,
}

impl StreamSink for Seen {
    fn data(&mut self, direction: Direction, bytes: &[u8], _: Timestamp) {
        assert!(!bytes.is_empty());
        self.bytes[direction.index()].extend(bytes.iter().copied().map(Some));
    }

    fn gap(&mut self, direction: Direction, len: u64, reason: DropReason, _: Timestamp) {
        assert!(len > 0);
        self.bytes[direction.index()].extend((0..len).map(|_| None));
        self.reasons.push(reason);
    }

    fn fin(&mut self, direction: Direction, _: Timestamp) {
        self.fins[direction.index()] += 1;
    }
}

impl Seen {
    fn text(&self, direction: Direction) -> String {
        self.bytes[direction.index()].iter().map(|byte| byte.map_or('.', char::from)).collect()
    }
}

struct Rig {
    reassembler: Reassembler,
    seen: Seen,
    limits: Limits,
}

impl Rig {
    fn new() -> Self {
        Self { reassembler: Reassembler::default(), seen: Seen::default(), limits: Limits::default() }
    }

    #[allow(clippy::too_many_arguments, reason = "one short line per segment in the tests")]
    fn cut(
        &mut self,
        dir: Direction,
        flags: TcpFlags,
        seq: u32,
        ack: u32,
        payload: &[u8],
        wire: usize,
        at: u64,
    ) {
        let header = TcpHeader { seq: SeqNumber(seq), ack: SeqNumber(ack), flags, ..TcpHeader::default() };
        let segment = Segment {
            header: &header,
            payload,
            len_on_wire: wire as u32,
            at: ms(at),
            sent_here: false,
            ack_counts: true,
        };
        self.reassembler.segment(dir, &segment, &self.limits, &mut self.seen);
    }

    fn send(&mut self, dir: Direction, flags: TcpFlags, seq: u32, ack: u32, payload: &[u8], at: u64) {
        self.cut(dir, flags, seq, ack, payload, payload.len(), at);
    }

    fn up(&mut self, seq: u32, payload: &[u8]) {
        self.send(UP, ACK, seq, 0, payload, 0);
    }

    fn advance(&mut self, at: u64) {
        self.reassembler.advance(ms(at), &self.limits, &mut self.seen);
    }

    fn text(&self) -> String {
        self.seen.text(UP)
    }
}

#[test]
fn handshake_data_and_both_fins_end_the_connection() {
    let mut rig = Rig::new();
    rig.send(UP, SYN, 10, 0, b"", 0);
    rig.send(DOWN, SYN_ACK, 50, 11, b"", 0);
    rig.send(UP, ACK, 11, 51, b"ask", 1);
    rig.send(DOWN, ACK, 51, 14, b"answer", 2);
    rig.send(UP, FIN_ACK, 14, 57, b"", 3);
    assert!(!rig.reassembler.is_ended());
    rig.send(DOWN, FIN_ACK, 57, 15, b"!", 4);
    assert_eq!((rig.seen.text(UP), rig.seen.text(DOWN)), ("ask".into(), "answer!".into()));
    assert_eq!(rig.seen.fins, [1, 1]);
    assert!(rig.reassembler.is_ended());
}

#[test]
fn second_vantage_and_retransmissions_add_nothing() {
    let mut rig = Rig::new();
    for _ in 0..2 {
        rig.send(UP, SYN, 10, 0, b"", 0);
        rig.up(11, b"abc");
        rig.up(14, b"def");
    }
    rig.up(11, b"abcdefg");
    assert_eq!(rig.text(), "abcdefg");
}

#[test]
fn data_ahead_waits_for_the_hole_to_be_filled() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.up(14, b"ef");
    rig.up(18, b"ij");
    assert_eq!(rig.text(), "ab");
    rig.up(12, b"cdefgh");
    assert_eq!(rig.text(), "abcdefghij");
    assert_eq!(rig.reassembler.buffered(), 0);
    assert_eq!(rig.reassembler.next_deadline(&rig.limits), None);
}

#[test]
fn hole_becomes_a_gap_when_patience_is_over() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.up(15, b"fg");
    assert_eq!(rig.reassembler.next_deadline(&rig.limits), Some(ms(200)));
    rig.advance(199);
    assert_eq!(rig.text(), "ab");
    rig.advance(200);
    assert_eq!(rig.text(), "ab...fg");
    assert_eq!(rig.seen.reasons, [DropReason::SequenceHole]);
}

#[test]
fn acknowledged_hole_is_given_up_sooner() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.up(15, b"fg");
    rig.send(DOWN, ACK, 1, 17, b"", 1);
    rig.advance(10);
    assert_eq!(rig.text(), "ab");
    rig.advance(11);
    assert_eq!(rig.text(), "ab...fg");
}

#[test]
fn acknowledgement_reveals_a_lost_tail() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.send(DOWN, ACK, 1, 15, b"", 1);
    rig.advance(11);
    assert_eq!(rig.text(), "ab...");
}

#[test]
fn acknowledged_fin_is_not_a_missing_byte() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.send(UP, FIN_ACK, 15, 0, b"", 0);
    rig.send(DOWN, ACK, 1, 16, b"", 1);
    rig.advance(500);
    assert_eq!(rig.text(), "ab...");
    assert_eq!(rig.seen.fins, [1, 0]);
}

#[test]
fn cut_packet_is_completed_by_the_other_vantage() {
    let mut rig = Rig::new();
    rig.cut(UP, ACK, 10, 0, b"ab", 5, 0);
    rig.up(15, b"fg");
    assert_eq!(rig.text(), "ab");
    rig.up(10, b"abcde");
    assert_eq!(rig.text(), "abcdefg");
}

#[test]
fn cut_packet_leaves_a_gap_of_the_missing_tail() {
    let mut rig = Rig::new();
    rig.cut(UP, ACK, 10, 0, b"ab", 5, 0);
    rig.up(15, b"fg");
    rig.advance(200);
    assert_eq!(rig.text(), "ab...fg");
}

#[test]
fn first_bytes_win_over_conflicting_ones() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.up(14, b"EF");
    rig.up(12, b"cdxxgh");
    rig.up(10, b"zzzz");
    assert_eq!(rig.text(), "abcdEFgh");
}

#[test]
fn conflicting_pieces_behind_a_hole_keep_the_first() {
    let mut rig = Rig::new();
    rig.up(10, b"a");
    rig.up(13, b"D");
    rig.up(15, b"F");
    rig.up(12, b"cdefg");
    rig.up(11, b"b");
    assert_eq!(rig.text(), "abcDeFg");
}

#[test]
fn keep_alives_and_window_probes_are_ignored() {
    let mut rig = Rig::new();
    rig.up(10, b"abc");
    rig.up(12, b"");
    rig.up(12, b"\0");
    rig.up(13, b"d");
    assert_eq!(rig.text(), "abcd");
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut rig = Rig::new();
    rig.send(UP, SYN, u32::MAX - 2, 0, b"", 0);
    rig.up(0, b"cd");
    rig.up(u32::MAX - 1, b"ab");
    rig.up(2, b"e");
    assert_eq!(rig.text(), "abcde");
}

#[test]
fn stream_begins_in_the_middle_with_its_first_payload() {
    let mut rig = Rig::new();
    rig.up(100, b"");
    rig.up(99, b"\0");
    rig.up(100, b"data");
    assert_eq!(rig.text(), "\0data");
}

#[test]
fn syn_inside_a_stream_changes_nothing() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.send(UP, SYN, 7000, 0, b"", 0);
    rig.up(12, b"cd");
    assert_eq!(rig.text(), "abcd");
}

#[test]
fn data_on_the_syn_counts_from_the_position_behind_it() {
    let mut rig = Rig::new();
    rig.send(UP, SYN, 10, 0, b"ab", 0);
    rig.up(13, b"cd");
    assert_eq!(rig.text(), "abcd");
}

#[test]
fn reset_hands_out_what_is_buffered() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.up(14, b"ef");
    rig.send(DOWN, RST, 1, 0, b"", 1);
    assert_eq!(rig.text(), "ab..ef");
    assert_eq!(rig.reassembler.reset(), Some(DOWN));
    assert!(rig.reassembler.is_ended());
}

#[test]
fn blind_reset_is_not_believed() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.send(UP, RST, 900_000_000, 0, b"", 1);
    rig.up(12, b"cd");
    assert_eq!((rig.text().as_str(), rig.reassembler.reset()), ("abcd", None));
}

#[test]
fn full_buffer_gives_up_the_oldest_hole() {
    let mut rig = Rig::new();
    rig.limits.max_out_of_order = 4;
    rig.up(10, b"ab");
    rig.up(14, b"ef");
    rig.up(18, b"ij");
    assert_eq!(rig.text(), "ab");
    rig.up(22, b"mn");
    assert_eq!(rig.text(), "ab..ef");
    rig.up(40, b"much too much");
    assert!(rig.reassembler.buffered() <= 4);
    assert!(rig.seen.reasons.iter().all(|reason| *reason == DropReason::ReassemblyLimit));
    assert_eq!(rig.text(), format!("ab..ef..ij..mn{}much too much", ".".repeat(16)));
}

#[test]
fn number_of_pieces_is_bounded() {
    let mut rig = Rig::new();
    rig.limits.max_out_of_order_segments = 8;
    rig.up(0, b"a");
    for index in 1..1000 {
        rig.up(index * 3, b"x");
    }
    assert!(rig.reassembler.buffered() <= 8);
}

#[test]
fn progress_renews_patience_so_that_a_stray_cannot_skip_live_data() {
    let mut rig = Rig::new();
    rig.up(10, b"ab");
    rig.send(UP, ACK, 1000, 0, b"stray", 0);
    rig.send(UP, ACK, 12, 0, b"cd", 150);
    rig.advance(250);
    rig.send(UP, ACK, 14, 0, b"ef", 300);
    assert_eq!(rig.text(), "abcdef");
}

/// A segment of the stream: start, length, captured part, position in the shuffled order.
#[derive(Clone, Debug)]
struct Cut {
    start: usize,
    len: usize,
    captured: usize,
    order: u32,
}

fn cuts(total: usize) -> impl Strategy<Value = Vec<Cut>> {
    let one =
        (0..total, 1_usize..40, 0_usize..60, 0_u32..8).prop_map(move |(start, len, captured, jitter)| {
            let len = len.min(total - start);
            Cut { start, len, captured: captured.min(len), order: start as u32 / 10 + jitter }
        });
    proptest::collection::vec(one, 0..120)
}

proptest! {
    /// Random split, overlap, duplication (two vantages are just duplicates), reorder, loss, cut.
    #[test]
    fn every_position_is_the_right_byte_or_in_a_declared_gap(mut cuts in cuts(600), isn in any::<u32>(),
            small in any::<bool>(), ack_every in 1_usize..20) {
        let stream: Vec<u8> = (0..600_usize).map(|at| (at * 7 % 251) as u8).collect();
        cuts.sort_by_key(|cut| cut.order);
        let mut rig = Rig::new();
        if small {
            rig.limits.max_out_of_order = 64;
            rig.limits.max_out_of_order_segments = 4;
        }
        rig.send(UP, SYN, isn, 0, b"", 0);
        let base = isn.wrapping_add(1);
        let mut present = vec![false; 600];
        let mut acked = 0;
        for (index, cut) in cuts.iter().enumerate() {
            present[cut.start..cut.start + cut.captured].fill(true);
            let payload = &stream[cut.start..cut.start + cut.captured];
            rig.cut(UP, ACK, base.wrapping_add(cut.start as u32), 0, payload, cut.len, index as u64);
            if index % ack_every == 0 {
                acked = acked.max(cut.start);
                rig.send(DOWN, ACK, 1, base.wrapping_add(acked as u32), b"", index as u64);
            }
            if small {
                prop_assert!(rig.reassembler.buffered() <= 64);
            }
        }
        rig.send(UP, FIN_ACK, base.wrapping_add(600), 0, b"", 1000);
        rig.advance(10_000);
        let seen = &rig.seen.bytes[0];
        prop_assert_eq!(seen.len(), 600);
        for (at, byte) in seen.iter().enumerate() {
            if let Some(byte) = byte {
                prop_assert!(present[at]);
                prop_assert_eq!(*byte, stream[at]);
            }
        }
        prop_assert_eq!(rig.seen.fins[0], 1);
        prop_assert_eq!(rig.reassembler.buffered(), 0);
    }

    /// With time standing still, gaps are exactly the bytes that never came.
    #[test]
    fn gaps_are_exactly_what_never_came(mut cuts in cuts(600), isn in any::<u32>()) {
        let stream: Vec<u8> = (0..600_usize).map(|at| (at * 7 % 251) as u8).collect();
        cuts.sort_by_key(|cut| cut.order);
        let mut rig = Rig::new();
        rig.send(UP, SYN, isn, 0, b"", 0);
        let base = isn.wrapping_add(1);
        let mut expected: Vec<Option<u8>> = vec![None; 600];
        for cut in &cuts {
            for at in cut.start..cut.start + cut.captured {
                expected[at] = Some(stream[at]);
            }
            let payload = &stream[cut.start..cut.start + cut.captured];
            rig.cut(UP, ACK, base.wrapping_add(cut.start as u32), 0, payload, cut.len, 0);
        }
        rig.send(UP, FIN_ACK, base.wrapping_add(600), 0, b"", 0);
        rig.reassembler.close(ms(0), &mut rig.seen);
        prop_assert_eq!(&rig.seen.bytes[0], &expected);
    }
}
