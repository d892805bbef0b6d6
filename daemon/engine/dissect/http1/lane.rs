//! Where one direction stands: at a head, in a body, or searching for the next message.

use memchr::memchr;

use super::chunked::{ChunkDecoder, ChunkError};
use super::parser::Start;
use crate::dissect::http::lines::head_end;
use crate::dissect::http::message::Message;
use crate::limits::Limits;
use crate::model::Timestamp;

/// How the rest of a body is delimited.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// So many bytes are left.
    Length(u64),
    /// Chunks.
    Chunked(Box<ChunkDecoder>),
    /// The end of the connection.
    UntilClose,
}

/// What the next byte is part of.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// A head, or the space before one.
    Head,
    /// The body of the current message.
    Body(Body),
    /// Nothing known: searching for the start of a message.
    Resync,
    /// What follows the request with this id is decided by its answer (upgrade, CONNECT).
    Held(u64),
    /// The direction ended.
    Ended,
}

/// One direction's parsing state.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// Where the next byte stands.
    pub(super) state: State,
    /// Bytes of the offered input already searched for the end of a head or line.
    pub(super) scanned: usize,
    /// The offered input is known to begin with the start of a message.
    pub(super) started: bool,
    /// When the first byte of the current head came.
    pub(super) since: Option<Timestamp>,
    /// The direction was joined at something that looked like a message, so it may have been wrong.
    pub(super) joined: bool,
    /// Bytes searched without finding a message.
    pub(super) searched: usize,
}

/// What a head's bytes amount to so far.
pub(super) enum HeadFound {
    /// The head is complete and this long.
    Whole(usize),
    /// More bytes are needed.
    More,
    /// Not a message.
    Garbage,
    /// It is a message, but its head exceeds the limit.
    TooLong,
}

impl Lane {
    /// A lane at the start of a connection, or somewhere in it.
    pub(super) fn new(from_start: bool) -> Self {
        let state = if from_start { State::Head } else { State::Resync };
        Self { state, scanned: 0, started: false, since: None, joined: !from_start, searched: 0 }
    }

    /// Goes on with the next message.
    pub(super) fn next_message(&mut self) {
        self.enter(State::Head);
    }

    /// Searches for the next message.
    pub(super) fn resync(&mut self) {
        self.enter(State::Resync);
        self.joined = true;
    }

    /// Changes the state and forgets what was known about the offered bytes.
    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.scanned = 0;
        self.started = false;
        self.since = None;
    }

    /// Looks for a whole head at the front of `rest`; remembers what was searched.
    pub(super) fn find_head(
        &mut self,
        rest: &[u8],
        starts: fn(&[u8]) -> Start,
        max_head: usize,
    ) -> HeadFound {
        if !self.started {
            match starts(rest) {
                Start::Yes => self.started = true,
                Start::No => return HeadFound::Garbage,
                Start::More => {}
            }
        }
        match head_end(rest, self.scanned) {
            Some(end) if end > max_head => HeadFound::TooLong,
            Some(end) if self.started => HeadFound::Whole(end),
            Some(_) => HeadFound::Garbage,
            None if rest.len() >= max_head => HeadFound::TooLong,
            None => {
                self.scanned = rest.len();
                HeadFound::More
            }
        }
    }

    /// Searches `rest` for the start of a message: at its front and after each line end. Answers how many
    /// bytes are in front of it (the state is then `Head`) or how many hold nothing (still `Resync`).
    pub(super) fn search(&mut self, rest: &[u8], starts: fn(&[u8]) -> Start) -> usize {
        let mut at = 0;
        loop {
            match starts(&rest[at..]) {
                Start::Yes => {
                    self.next_message();
                    self.started = true;
                    return at;
                }
                // An unfinished line that may be one; a long line of that kind is not worth waiting for.
                Start::More if rest.len() - at < 8192 => return at,
                Start::More | Start::No => {}
            }
            match memchr(b'\n', &rest[at..]) {
                Some(end) if at + end + 1 < rest.len() => at += end + 1,
                _ => return rest.len(),
            }
        }
    }
}

impl Body {
    /// Takes body bytes from the front of `rest`. Answers how many, and whether the body is complete.
    pub(super) fn take(
        &mut self,
        rest: &[u8],
        mut message: Option<&mut Message>,
        limits: &Limits,
    ) -> Result<(usize, bool), ChunkError> {
        let result = match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= count as u64;
                push(&mut message, &rest[..count], limits);
                (count, *left == 0)
            }
            Self::UntilClose => {
                push(&mut message, rest, limits);
                (rest.len(), false)
            }
            Self::Chunked(decoder) => {
                let count = decoder.feed(rest, limits.max_head, |data| push(&mut message, data, limits))?;
                if let (true, Some(message)) = (decoder.is_done(), &mut message) {
                    message.add_trailers(&std::mem::take(&mut decoder.trailers), limits);
                }
                (count, decoder.is_done())
            }
        };
        if let Some(message) = message {
            message.wire += result.0 as u64;
        }
        Ok(result)
    }

    /// Passes over missing bytes. `Some(complete)`: the framing is still known.
    pub(super) fn skip(&mut self, bytes: u64, message: Option<&mut Message>) -> Option<bool> {
        let (missed, known) = match self {
            Self::Length(left) => {
                let missed = bytes.min(*left);
                let fits = bytes <= *left;
                *left -= missed;
                (missed, fits.then_some(*left == 0))
            }
            Self::UntilClose => (bytes, Some(false)),
            Self::Chunked(decoder) => (bytes, decoder.skip(bytes).then_some(false)),
        };
        if let Some(message) = message {
            message.miss(missed);
        }
        known
    }
}

fn push(message: &mut Option<&mut Message>, data: &[u8], limits: &Limits) {
    if let Some(message) = message {
        message.push(data, limits);
    }
}
