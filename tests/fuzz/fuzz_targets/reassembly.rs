//! Arbitrary cuts of two known streams, from two vantages: each byte comes out once, in order, or lies in
//! a declared gap, and no gap covers a byte that was there before it was declared.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, DropReason, Timestamp};
use remora_engine::reassembly::{Reassembler, Segment, StreamSink};
use remora_engine::wire::{SeqNumber, TcpFlags, TcpHeader};

/// Bytes of each stream.
const LEN: usize = 4096;

fn byte(position: usize) -> u8 {
    (position * 7 + position / 256) as u8
}

/// What is known of one direction.
struct Half {
    base: u32,
    /// Where the next byte handed out must stand; unknown until the direction is open.
    next: Option<usize>,
    offered: Box<[bool; LEN]>,
    fins: usize,
}

impl Half {
    fn new(base: u32) -> Self {
        Self { base, next: None, offered: Box::new([false; LEN]), fins: 0 }
    }
}

struct Model([Half; 2]);

impl StreamSink for Model {
    fn data(&mut self, direction: Direction, bytes: &[u8], _: Timestamp) {
        let half = &mut self.0[direction.index()];
        let next = half.next.expect("nothing comes before the start is known");
        assert!(!bytes.is_empty() && half.fins == 0);
        for (n, got) in bytes.iter().enumerate() {
            assert_eq!(*got, byte(next + n), "at {}", next + n);
            assert!(half.offered[next + n], "{} was never sent", next + n);
        }
        half.next = Some(next + bytes.len());
    }

    fn gap(&mut self, direction: Direction, len: u64, _: DropReason, _: Timestamp) {
        let half = &mut self.0[direction.index()];
        let next = half.next.expect("nothing comes before the start is known");
        let end = next + len as usize;
        assert!(len > 0 && half.fins == 0 && end <= LEN);
        assert!(!half.offered[next..end].contains(&true), "the gap {next}..{end} covers what was there");
        half.next = Some(end);
    }

    fn fin(&mut self, direction: Direction, _: Timestamp) {
        let half = &mut self.0[direction.index()];
        assert_eq!((half.next, half.fins), (Some(LEN), 0));
        half.fins = 1;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((head, mut steps)) = data.split_first_chunk::<10>() else { return };
    let base = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let mut model = Model([Half::new(base(0)), Half::new(base(4))]);
    let limits = Limits {
        max_out_of_order: 16 + usize::from(head[8]) * 16,
        max_out_of_order_segments: 1 + usize::from(head[9] & 15),
        ..Limits::default()
    };
    let mut stream = Reassembler::default();
    let mut now = 1_000_000_000;
    while let Some((step, rest)) = steps.split_first_chunk::<6>() {
        steps = rest;
        let direction = if step[0] & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        now += u64::from(step[0] >> 4) * 5_000_000;
        let at = Timestamp(now);
        if step[0] & 2 != 0 {
            stream.advance(at, &limits, &mut model);
            continue;
        }
        let start = (usize::from(step[1]) << 4 | usize::from(step[2] >> 4)).min(LEN);
        let on_wire = (usize::from(step[3]) * 2).min(LEN - start);
        let captured = if step[0] & 4 == 0 { on_wire } else { on_wire / 2 };
        let fin = step[0] & 8 != 0 && start + on_wire == LEN;
        let peer = &model.0[direction.flipped().index()];
        // The first acknowledgement may come before the peer's first byte, but it cannot open that half.
        let ack = peer.next.map(|next| SeqNumber(peer.base) + (next + usize::from(step[4])).min(LEN) as u32);
        let half = &mut model.0[direction.index()];
        if on_wire > 0 || fin {
            half.next.get_or_insert(start);
            let next = half.next.unwrap_or(start);
            // What comes behind its turn is not expected to be used.
            for position in start.max(next)..start + captured {
                half.offered[position] = true;
            }
        }
        let header = TcpHeader {
            seq: SeqNumber(half.base) + start as u32,
            ack: ack.unwrap_or_default(),
            flags: TcpFlags(if fin { 1 } else { 0 } | if ack.is_some() { 0x10 } else { 0 }),
            ..TcpHeader::default()
        };
        let payload: Vec<u8> = (start..start + captured).map(byte).collect();
        let sent_here = step[5] & 1 != 0;
        let len_on_wire = on_wire as u32;
        let segment =
            Segment { header: &header, payload: &payload, len_on_wire, at, sent_here, ack_counts: step[5] & 2 == 0 };
        stream.segment(direction, &segment, &limits, &mut model);
        // One segment more than the limit: the one that makes room is let in.
        assert!(stream.buffered() <= limits.max_out_of_order + 512 * 2, "{} bytes", stream.buffered());
    }
    stream.close(Timestamp(now), &mut model);
    assert!(stream.is_ended() && stream.buffered() == 0);
    assert_eq!(stream.next_deadline(&limits), None);
});
