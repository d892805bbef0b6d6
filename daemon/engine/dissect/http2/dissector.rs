//! HTTP/2 on one connection: both lanes' frames, on their way to the streams.

use super::block::Block;
use super::frame::{self, FrameHeader, HEADER, PREFACE, flag, kind};
use super::lane::{Frame, Lane, State};
use super::search::{Found, search};
use super::streams::{Moment, Streams};
use crate::dissect::{Carrier, Dissector, End, Input, Opening, Output, Progress};
use crate::limits::Limits;
use crate::model::{Direction, ErrorKind, Timestamp};

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// HTTP/2 on one connection.
#[derive(Debug)]
pub(super) struct Http2 {
    lanes: [Lane; 2],
    streams: Streams,
}

/// What one step of a lane did.
enum Step {
    Took(usize),
    More,
    Desync,
}

impl Http2 {
    /// A dissector that joins at the start of the connection or somewhere in it.
    pub(super) fn new(opening: &Opening<'_>) -> Self {
        let lane = |direction| Lane::new(direction, opening.from_start);
        let mut streams = Streams::new(opening.from_start);
        if let (Carrier::Upgraded(_), Some(upgrade)) = (opening.carrier, opening.upgrade) {
            streams.begin_upgraded(upgrade.clone());
        }
        Self { lanes: [lane(Direction::ToServer), lane(Direction::ToClient)], streams }
    }

    fn step(&mut self, moment: Moment<'_>, rest: &[u8], out: &mut Output<'_>) -> Step {
        let limits = moment.limits;
        let lane = &mut self.lanes[moment.direction.index()];
        if rest.is_empty() {
            return Step::More;
        }
        match &mut lane.state {
            State::Ended => Step::Took(rest.len()),
            State::Preface => match Lane::is_preface(rest) {
                Some(true) => {
                    lane.state = State::Header;
                    Step::Took(PREFACE.len())
                }
                Some(false) => self.garbage(moment, rest),
                None => Step::More,
            },
            State::Header => {
                let start = *lane.since.get_or_insert(moment.at);
                let Some(header) = FrameHeader::parse(rest) else { return Step::More };
                if !header.is_possible() {
                    return self.garbage(moment, rest);
                }
                lane.since = None;
                self.begin(moment, Frame::new(header, start), out);
                Step::Took(HEADER)
            }
            State::Payload(frame) => {
                let piece = &rest[..rest.len().min(frame.left() as usize)];
                if frame.header.kind == kind::DATA {
                    let (id, data) = (frame.header.stream, frame.take_data(piece));
                    self.streams.data(moment, id, data, out.transactions);
                } else {
                    frame.take(piece, limits);
                }
                self.end_if_whole(moment, out);
                Step::Took(piece.len())
            }
            State::Resync => {
                let (taken, found) = match search(rest, limits.max_head / 2) {
                    Found::At(at) => (at, true),
                    Found::Nothing(at) => (at, false),
                };
                lane.searched = lane.searched.saturating_add(taken);
                if lane.searched > limits.max_resync {
                    return Step::Desync;
                }
                match (found, taken) {
                    (true, _) => {
                        lane.state = State::Header;
                        lane.searched = 0;
                        Step::Took(taken)
                    }
                    (false, 0) => Step::More,
                    (false, _) => Step::Took(taken),
                }
            }
        }
    }

    /// What cannot be a frame: the place of the next one is not known.
    fn garbage(&mut self, moment: Moment<'_>, rest: &[u8]) -> Step {
        let lane = &mut self.lanes[moment.direction.index()];
        lane.resync();
        // At least one byte is passed over, so that the search cannot find the same again.
        let taken = rest.len().min(1);
        lane.searched = lane.searched.saturating_add(taken);
        self.streams.lose(moment.direction, 0);
        if lane.searched > moment.limits.max_resync { Step::Desync } else { Step::Took(taken) }
    }

    /// A frame's header came.
    fn begin(&mut self, moment: Moment<'_>, frame: Frame, out: &mut Output<'_>) {
        let header = frame.header;
        if header.kind == kind::DATA {
            let wire = u64::from(header.length) + HEADER as u64;
            let first = Moment { at: frame.start, ..moment };
            let last = header.has(flag::END_STREAM);
            self.streams.data_frame(first, header.stream, (header.length, wire, last), out.transactions);
        }
        self.lanes[moment.direction.index()].state = State::Payload(frame);
        self.end_if_whole(moment, out);
    }

    fn end_if_whole(&mut self, moment: Moment<'_>, out: &mut Output<'_>) {
        let lane = &mut self.lanes[moment.direction.index()];
        match std::mem::replace(&mut lane.state, State::Header) {
            State::Payload(frame) if frame.left() == 0 => self.end(moment, &frame, out),
            other => lane.state = other,
        }
    }

    /// A frame came to its end.
    fn end(&mut self, moment: Moment<'_>, frame: &Frame, out: &mut Output<'_>) {
        let header = frame.header;
        let number = |at: usize| frame.payload.get(at..).and_then(frame::number);
        match header.kind {
            kind::DATA if header.has(flag::END_STREAM) => {
                self.streams.end(moment, header.stream, out.transactions);
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => self.block(moment, frame, out),
            kind::RST_STREAM => {
                // A hole in the frame leaves no doubt about the reset itself.
                let code = number(0).filter(|_| !frame.cut).unwrap_or(u32::MAX);
                self.streams.reset(moment, header.stream, code, out.transactions);
            }
            kind::SETTINGS if !frame.cut => {
                let window = frame::settings(&frame.payload).filter(|(id, _)| *id == INITIAL_WINDOW_SIZE);
                for (_, size) in window {
                    self.streams.windows.set_initial(moment.direction.flipped(), size);
                }
            }
            kind::GOAWAY => {
                if let (Some(last), Some(code)) = (number(0), number(4)) {
                    let debug = frame.payload.get(8..).unwrap_or_default();
                    self.streams.goaway(moment, (last & 0x7fff_ffff, code), debug, out.transactions);
                }
            }
            kind::WINDOW_UPDATE => {
                if let Some(more) = number(0) {
                    self.streams.window_update(moment, header.stream, more & 0x7fff_ffff);
                }
            }
            _ => {}
        }
    }

    /// A frame of a header block: the block begins, goes on, ends.
    fn block(&mut self, moment: Moment<'_>, frame: &Frame, out: &mut Output<'_>) {
        let header = frame.header;
        let lane = &mut self.lanes[moment.direction.index()];
        let mut block = match (header.kind, lane.block.take()) {
            (kind::CONTINUATION, Some(block)) if block.stream == header.stream => block,
            (kind::CONTINUATION, _) => return lane.decoder.lose(),
            (_, earlier) => {
                if earlier.is_some() {
                    lane.decoder.lose();
                }
                Block::new(header, &frame.payload, frame.start)
            }
        };
        block.push(frame, moment.limits);
        if !header.has(flag::END_HEADERS) {
            lane.block = Some(block);
            return;
        }
        let headers = block.decode(&mut lane.decoder, moment.limits);
        let weight = (block.start, block.wire);
        match (header.kind, block.promised) {
            (_, Some(id)) => self.streams.promise(moment, id, &headers, weight, out.transactions),
            (kind::PUSH_PROMISE, None) => {}
            _ => self.streams.headers(moment, block.stream, &headers, weight, out.transactions),
        }
        if block.end_stream {
            self.streams.end(moment, block.stream, out.transactions);
        }
    }

    fn gap(&mut self, moment: Moment<'_>, bytes: u64, out: &mut Output<'_>) {
        let lane = &mut self.lanes[moment.direction.index()];
        match &mut lane.state {
            State::Ended => {}
            State::Payload(frame) if bytes <= u64::from(frame.left()) => {
                let id = frame.header.stream;
                frame.taken += bytes as u32;
                frame.cut = true;
                frame.missing += bytes;
                match frame.header.kind {
                    kind::DATA => self.streams.miss(moment, id, bytes, out.transactions),
                    kind::SETTINGS | kind::WINDOW_UPDATE => self.streams.windows.certain = false,
                    _ => {}
                }
                self.end_if_whole(moment, out);
            }
            state => {
                if let State::Payload(frame) = state
                    && frame.header.kind == kind::DATA
                {
                    let (id, left) = (frame.header.stream, u64::from(frame.left()));
                    self.streams.miss(moment, id, left, out.transactions);
                }
                lane.resync();
                self.streams.lose(moment.direction, bytes);
            }
        }
    }

    fn eof(&mut self, moment: Moment<'_>, out: &mut Output<'_>) {
        let lane = &mut self.lanes[moment.direction.index()];
        lane.state = State::Ended;
        lane.block = None;
        if moment.direction == Direction::ToClient {
            let why = "closed by the server before it answered";
            let end = Some(Direction::ToClient);
            self.streams.close(end, ErrorKind::Connection, why, moment.limits, out.transactions);
        }
    }
}

impl Dissector for Http2 {
    fn held(&self) -> usize {
        self.streams.held()
    }

    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress {
        let limits: &Limits = out.limits;
        let moment = Moment { direction, at, limits };
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Gap(bytes) => {
                self.gap(moment, bytes, out);
                return Progress::Consumed(0);
            }
            Input::Eof => {
                self.eof(moment, out);
                return Progress::Consumed(0);
            }
        };
        let mut taken = 0;
        loop {
            match self.step(moment, &bytes[taken..], out) {
                Step::Took(count) => taken += count,
                Step::More => return Progress::Consumed(taken),
                Step::Desync => return Progress::Desync,
            }
        }
    }

    fn expire(&mut self, now: Timestamp, out: &mut Output<'_>) {
        self.streams.expire(now, out.limits, out.transactions);
    }

    fn close(&mut self, end: End, at: Timestamp, out: &mut Output<'_>) {
        self.streams.tunnels.close_all(end, at, out.limits, out.transactions);
        let (kind, why) = match end {
            End::Closed => (ErrorKind::Connection, "closed before the response was complete"),
            End::Reset(Direction::ToServer) => (ErrorKind::Connection, "reset by the client"),
            End::Reset(Direction::ToClient) => (ErrorKind::Connection, "reset by the server"),
            End::Expired => (ErrorKind::Timeout, "the connection fell silent"),
            End::CaptureEnd => (ErrorKind::PairNotFound, "capture ended before the end of the call"),
            End::Desync => (ErrorKind::Dissection, "the bytes stopped following HTTP/2"),
        };
        self.streams.close(None, kind, why, out.limits, out.transactions);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.streams.next_deadline()
    }
}
