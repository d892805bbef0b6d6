//! The chunked transfer coding (RFC 9112 7.1): sizes, extensions, data, trailers; any split of the input.

/// Where in the coding the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk size.
    Size {
        value: u64,
        digits: u8,
    },
    /// After the size, up to the end of the line.
    Extension {
        value: u64,
    },
    /// In chunk data.
    Data {
        left: u64,
    },
    /// In the line end after chunk data.
    DataEnd,
    /// At or in a trailer line; `len` bytes of it were seen.
    Trailer {
        len: usize,
    },
    Done,
}

/// The bytes do not follow the coding, or a line exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkError(pub(super) &'static str);

/// An incremental decoder that buffers nothing but trailers.
#[derive(Clone, Debug)]
pub(super) struct ChunkDecoder {
    state: State,
    /// Bytes of the current size line, or of all trailers.
    overhead: usize,
    /// Trailer lines as sent.
    pub(super) trailers: Vec<u8>,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, overhead: 0, trailers: Vec::new() }
    }
}

impl ChunkDecoder {
    /// Whether the last chunk and the trailers are complete.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes up to the end of the body; data goes to `sink`. Answers how many it took. `max_line`
    /// bounds a size line and the trailers.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        max_line: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data { left } = &mut self.state {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
                sink(&input[at..at + count]);
                at += count;
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            self.byte(input[at], max_line)?;
            at += 1;
        }
        Ok(at)
    }

    /// Skips bytes that are missing. False: they reach beyond the current chunk, framing is lost.
    pub(super) fn skip(&mut self, count: u64) -> bool {
        match &mut self.state {
            State::Data { left } if count <= *left => {
                *left -= count;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                true
            }
            _ => false,
        }
    }

    fn byte(&mut self, byte: u8, max_line: usize) -> Result<(), ChunkError> {
        self.overhead += 1;
        if self.overhead > max_line {
            return Err(ChunkError("a chunk size line or the trailers are too long"));
        }
        self.state = match (self.state.clone(), byte) {
            (State::Size { value, digits }, byte) => self.size(value, digits, byte)?,
            (State::Extension { value }, b'\n') => self.data_or_trailers(value),
            (state @ State::Extension { .. }, _) => state,
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => {
                self.overhead = 0;
                State::Size { value: 0, digits: 0 }
            }
            (State::DataEnd, _) => return Err(ChunkError("chunk data is longer than its size")),
            (State::Trailer { len: 0 }, b'\n') => State::Done,
            (State::Trailer { len }, byte) => self.trailer(len, byte),
            (state @ (State::Data { .. } | State::Done), _) => state,
        };
        Ok(())
    }

    fn size(&mut self, value: u64, digits: u8, byte: u8) -> Result<State, ChunkError> {
        if let Some(digit) = (byte as char).to_digit(16) {
            let value = value.checked_mul(16).and_then(|value| value.checked_add(u64::from(digit)));
            let value = value.ok_or(ChunkError("a chunk size exceeds 64 bits"))?;
            return Ok(State::Size { value, digits: digits.saturating_add(1) });
        }
        match byte {
            _ if digits == 0 => Err(ChunkError("a chunk size has no digits")),
            b'\n' => Ok(self.data_or_trailers(value)),
            b'\r' | b';' | b' ' | b'\t' => Ok(State::Extension { value }),
            _ => Err(ChunkError("a chunk size has a strange digit")),
        }
    }

    fn data_or_trailers(&mut self, value: u64) -> State {
        self.overhead = 0;
        if value == 0 { State::Trailer { len: 0 } } else { State::Data { left: value } }
    }

    fn trailer(&mut self, len: usize, byte: u8) -> State {
        // A lone CR in front of LF is part of the line end, also of the empty line that ends the body.
        if byte == b'\r' {
            return State::Trailer { len };
        }
        self.trailers.push(byte);
        State::Trailer { len: if byte == b'\n' { 0 } else { len + 1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], split: usize) -> Result<(Vec<u8>, usize, bool, Vec<u8>), ChunkError> {
        let mut decoder = ChunkDecoder::default();
        let (mut body, mut taken) = (Vec::new(), 0);
        for piece in input.chunks(split) {
            taken += decoder.feed(piece, 1024, |data| body.extend_from_slice(data))?;
        }
        Ok((body, taken, decoder.is_done(), decoder.trailers))
    }

    #[test]
    fn any_split_gives_the_same_body_and_trailers() {
        let input = b"5;name=\"x\"\r\nhello\r\n6 \n world\n0\r\nA: 1\r\nB: 2\r\n\r\nGET /";
        for split in 1..input.len() {
            let (body, taken, done, trailers) = decode(input, split).expect("valid coding");
            assert_eq!(body, b"hello world");
            assert_eq!(taken, input.len() - 5);
            assert!(done);
            assert_eq!(trailers, b"A: 1\nB: 2\n");
        }
    }

    #[test]
    fn a_size_beyond_64_bits_is_refused() {
        assert!(decode(b"fffffffffffffffff\r\n", 3).is_err());
    }

    #[test]
    fn an_endless_extension_is_refused() {
        let mut input = b"1;".to_vec();
        input.resize(4096, b'x');
        assert!(decode(&input, 100).is_err());
    }

    #[test]
    fn a_gap_inside_a_chunk_keeps_the_framing_and_beyond_it_does_not() {
        let mut decoder = ChunkDecoder::default();
        decoder.feed(b"a\r\n01", 1024, |_| {}).expect("valid coding");
        assert!(decoder.clone().skip(8));
        assert!(!decoder.skip(9));
    }
}
