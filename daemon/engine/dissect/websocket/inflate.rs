//! permessage-deflate (RFC 7692) for one direction, with a context that may have been lost.
//!
//! Messages refer back to the last 32 KiB of earlier ones. Where those were not captured, two decoders
//! run whose unknown past is filled differently: where both agree, the byte does not depend on the past;
//! once they agreed on a whole window, the context is known again.

use flate2::{Decompress, FlushDecompress, Status};

/// Reach of a back reference.
const WINDOW: usize = 32 << 10;
/// Input per step: bounds what one step may grow to (about a thousand times).
const STEP: usize = 512;
/// Output per call of the decoder.
const BUFFER: usize = 8 << 10;
/// What a sender leaves out at the end of each message (RFC 7692 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Stands for a byte that is not known.
const UNKNOWN: u8 = b'?';

/// What became of a compressed message.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoded {
    /// The first bytes, as many as are kept.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the whole.
    pub(super) total: u64,
    /// Bytes that refer to what was not captured.
    pub(super) unknown: u64,
    /// Why decoding stopped.
    pub(super) failed: Option<Failed>,
}

/// Why a message was not decoded to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It grows beyond so many bytes.
    TooLong(usize),
    /// It is not deflate.
    Malformed,
    /// Bytes in it are missing.
    Gap,
}

/// Caps on one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// Bytes kept.
    pub(super) keep: usize,
    /// Bytes decoded.
    pub(super) decode: usize,
}

/// The decoder of one direction.
#[derive(Debug)]
pub(super) struct Inflater {
    /// Messages refer to earlier ones.
    takeover: bool,
    past: Past,
}

#[derive(Debug)]
enum Past {
    Known(Box<Decompress>),
    /// Two decoders with different fillings, and how many bytes they agreed on last.
    Lost {
        one: Box<Decompress>,
        other: Box<Decompress>,
        agreed: usize,
    },
}

impl Past {
    fn fresh() -> Self {
        Self::Known(Box::new(Decompress::new(false)))
    }

    fn lost() -> Self {
        Self::Lost { one: Box::new(filled(0x00)), other: Box::new(filled(0xff)), agreed: 0 }
    }
}

/// A decoder whose window holds nothing but `byte`.
fn filled(byte: u8) -> Decompress {
    let mut decoder = Decompress::new(false);
    // A stored block: type 0, its length, the length's complement.
    let mut block = vec![0x00, 0x00, 0x80, 0xff, 0x7f];
    block.resize(block.len() + WINDOW, byte);
    let mut sink = Vec::new();
    let done = run(&mut decoder, &block, &mut sink);
    debug_assert!(done.is_ok() && sink.len() == WINDOW);
    decoder
}

/// Feeds all of `input`. `Ok(Some(left))`: the sender ended its stream, so many bytes are left over.
fn run(decoder: &mut Decompress, mut input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ()> {
    let mut buffer = [0; BUFFER];
    loop {
        let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(input, &mut buffer, FlushDecompress::Sync);
        let taken = usize::try_from(decoder.total_in() - before_in).map_err(drop)?;
        let made = usize::try_from(decoder.total_out() - before_out).map_err(drop)?;
        out.extend_from_slice(buffer.get(..made).unwrap_or_default());
        input = input.get(taken..).unwrap_or_default();
        match status {
            Ok(Status::StreamEnd) => return Ok(Some(input.len())),
            // A full buffer may hide more output.
            Ok(_) if made == buffer.len() || (!input.is_empty() && taken + made > 0) => {}
            Ok(_) => return if input.is_empty() { Ok(None) } else { Err(()) },
            Err(_) => return Err(()),
        }
    }
}

impl Inflater {
    /// A decoder. `from_start`: no message came before. `takeover`: messages refer to earlier ones.
    pub(super) fn new(from_start: bool, takeover: bool) -> Self {
        Self { takeover, past: if from_start || !takeover { Past::fresh() } else { Past::lost() } }
    }

    /// Messages were missed: what they left behind is not known any more.
    pub(super) fn lose(&mut self) {
        self.past = if self.takeover { Past::lost() } else { Past::fresh() };
    }

    /// Takes bytes of a message.
    pub(super) fn push(&mut self, mut input: &[u8], message: &mut Decoded, caps: Caps) {
        while !input.is_empty() && message.failed.is_none() {
            let (step, rest) = input.split_at(input.len().min(STEP));
            input = rest;
            self.step(step, message, caps);
        }
    }

    /// The message is over.
    pub(super) fn finish(&mut self, message: &mut Decoded, caps: Caps) {
        self.push(&TAIL, message, caps);
        if message.failed.is_some() {
            self.lose();
        } else if !self.takeover {
            self.past = Past::fresh();
        }
    }

    fn step(&mut self, mut input: &[u8], message: &mut Decoded, caps: Caps) {
        loop {
            let mut made = Vec::new();
            let ended = match &mut self.past {
                Past::Known(decoder) => run(decoder, input, &mut made),
                Past::Lost { one, other, agreed } => {
                    let mut doubt = Vec::new();
                    let ended = run(one, input, &mut made);
                    let same = run(other, input, &mut doubt) == ended && made.len() == doubt.len();
                    message.unknown += compare(&mut made, &doubt, agreed);
                    if same { ended } else { Err(()) }
                }
            };
            if matches!(self.past, Past::Lost { agreed, .. } if agreed >= WINDOW) {
                self.settle();
            }
            message.total += made.len() as u64;
            let room = caps.keep.saturating_sub(message.bytes.len());
            message.bytes.extend(made.into_iter().take(room));
            match ended {
                Err(()) => message.failed = Some(Failed::Malformed),
                _ if message.total > caps.decode as u64 => {
                    message.failed = Some(Failed::TooLong(caps.decode));
                }
                Ok(Some(left)) => {
                    // The next block starts a new stream whose past is this one's, which is out of reach.
                    self.past = if self.takeover { Past::lost() } else { Past::fresh() };
                    let from = input.len() - left;
                    input = input.get(from..).unwrap_or_default();
                    if left > 0 {
                        continue;
                    }
                }
                Ok(None) => {}
            }
            return;
        }
    }

    /// Both decoders hold the same window: one is enough.
    fn settle(&mut self) {
        if let Past::Lost { one, .. } = std::mem::replace(&mut self.past, Past::fresh()) {
            self.past = Past::Known(one);
        }
    }
}

/// Marks the bytes that the decoders disagree on; returns how many.
fn compare(made: &mut [u8], doubt: &[u8], agreed: &mut usize) -> u64 {
    let mut unknown = 0;
    for (one, other) in made.iter_mut().zip(doubt) {
        if one == other {
            *agreed += 1;
        } else {
            *one = UNKNOWN;
            *agreed = 0;
            unknown += 1;
        }
    }
    unknown
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    const CAPS: Caps = Caps { keep: 1 << 20, decode: 4 << 20 };

    /// A sender's side.
    pub(in super::super) struct Deflater(Compress);

    impl Deflater {
        pub(in super::super) fn new() -> Self {
            Self(Compress::new(Compression::best(), false))
        }

        pub(in super::super) fn message(&mut self, text: &[u8]) -> Vec<u8> {
            let mut out = Vec::with_capacity(text.len() + 1024);
            let before = self.0.total_in();
            while self.0.total_in() - before < text.len() as u64 {
                let from = (self.0.total_in() - before) as usize;
                self.0.compress_vec(&text[from..], &mut out, FlushCompress::None).expect("in memory");
                out.reserve(1024);
            }
            self.0.compress_vec(b"", &mut out, FlushCompress::Sync).expect("in memory");
            assert!(out.ends_with(&TAIL), "{out:x?}");
            out.truncate(out.len() - TAIL.len());
            out
        }
    }

    fn decode(inflater: &mut Inflater, message: &[u8], piece: usize) -> Decoded {
        let mut decoded = Decoded::default();
        for piece in message.chunks(piece) {
            inflater.push(piece, &mut decoded, CAPS);
        }
        inflater.finish(&mut decoded, CAPS);
        decoded
    }

    const TEXTS: [&[u8]; 3] = [
        b"{\"kind\":\"greeting\",\"name\":\"first\"}",
        b"{\"kind\":\"greeting\",\"name\":\"second\"}",
        b"bye",
    ];

    #[test]
    fn messages_refer_to_earlier_ones_however_they_are_cut() {
        for piece in [1, 7, 1000] {
            let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new(true, true));
            for text in TEXTS {
                let decoded = decode(&mut inflater, &deflater.message(text), piece);
                assert_eq!((decoded.bytes.as_slice(), decoded.unknown, decoded.failed), (text, 0, None));
            }
        }
    }

    #[test]
    fn without_takeover_each_message_stands_alone() {
        let mut inflater = Inflater::new(false, false);
        for text in TEXTS {
            let decoded = decode(&mut inflater, &Deflater::new().message(text), 9);
            assert_eq!((decoded.bytes.as_slice(), decoded.unknown), (text, 0));
        }
    }

    #[test]
    fn a_lost_context_never_makes_up_bytes_and_heals() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new(false, true));
        deflater.message(TEXTS[0]);
        let text = TEXTS[1];
        let decoded = decode(&mut inflater, &deflater.message(text), 100);
        assert_eq!((decoded.total, decoded.bytes.len()), (text.len() as u64, text.len()));
        assert!(decoded.unknown > 0 && decoded.unknown < text.len() as u64);
        for (found, sent) in decoded.bytes.iter().zip(text) {
            assert!(found == sent || *found == UNKNOWN);
        }
        let mut noise = 1_u32;
        let long: Vec<u8> = (0..50_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        decode(&mut inflater, &deflater.message(&long), 1000);
        assert!(matches!(inflater.past, Past::Known(_)));
        let decoded = decode(&mut inflater, &deflater.message(&long[20_000..40_000]), 1000);
        assert_eq!((decoded.bytes.as_slice(), decoded.unknown), (&long[20_000..40_000], 0));
    }

    #[test]
    fn bombs_stop_at_the_cap_and_garbage_is_told() {
        let bomb = Deflater::new().message(&vec![0; 8 << 20]);
        let decoded = decode(&mut Inflater::new(true, true), &bomb, bomb.len());
        assert_eq!((decoded.failed, decoded.bytes.len()), (Some(Failed::TooLong(CAPS.decode)), CAPS.keep));
        assert!(decoded.total < (CAPS.decode + (2 << 20)) as u64);
        let decoded = decode(&mut Inflater::new(true, true), &[0xff; 40], 40);
        assert_eq!(decoded.failed, Some(Failed::Malformed));
    }

    #[test]
    fn a_final_block_ends_a_stream_and_not_the_connection() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
        std::io::Write::write_all(&mut encoder, b"hello hello").expect("in memory");
        let mut message = encoder.finish().expect("in memory");
        message.push(0);
        let mut inflater = Inflater::new(true, true);
        let decoded = decode(&mut inflater, &message, 3);
        assert_eq!((decoded.bytes.as_slice(), decoded.failed), (&b"hello hello"[..], None));
        let decoded = decode(&mut inflater, &Deflater::new().message(b"alone"), 3);
        assert_eq!((decoded.bytes.as_slice(), decoded.failed), (&b"alone"[..], None));
    }
}
