//! One direction of a WebSocket: frames into messages.

use super::frame::{self, Header, MAX_HEADER, Opcode, Parsed, Start, unmask};
use super::handshake::{Deflate, Handshake};
use super::inflate::{Caps, Failed, Inflater};
use super::message::Message;
use crate::dissect::Transaction;
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp};

/// Bytes of payload that are unmasked at once.
const PIECE: usize = 8 << 10;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Took(usize),
    More,
    Desync,
}

/// Where in the framing a lane is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A frame's header is next.
    Header,
    /// Within a frame.
    Payload(Frame),
    /// The framing is lost.
    Resync,
}

/// The frame that is coming in.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: Option<[u8; 4]>,
    /// Bytes of its payload that passed.
    offset: u64,
    /// Bytes of its payload to come.
    left: u64,
}

/// What a lane needs of its surroundings.
pub(super) struct Context<'a> {
    pub(super) handshake: &'a Handshake,
    pub(super) limits: &'a Limits,
    pub(super) out: &'a mut Vec<Transaction>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    direction: Direction,
    state: State,
    /// The data message that is coming in.
    message: Option<Message>,
    /// The control message within it.
    control: Option<Message>,
    /// Made with the first compressed message.
    inflater: Option<Inflater>,
    /// All messages so far were seen.
    whole: bool,
    /// First byte of the header that is coming in.
    since: Option<Timestamp>,
    /// What the next message declares about what came before it.
    declare: Vec<EntryEvent>,
    /// Bytes passed over in search of a frame.
    searched: usize,
}

impl Lane {
    /// Bytes of memory that it holds, roughly.
    pub(super) fn held(&self) -> usize {
        // The window of 32 KiB and the tables of a decoder.
        const INFLATER: usize = 48 << 10;
        let messages = self.message.iter().chain(&self.control).map(Message::weight).sum::<usize>();
        messages + if self.inflater.is_some() { INFLATER } else { 0 }
    }

    /// A lane that begins with the first frame, or somewhere.
    pub(super) fn new(direction: Direction, from_start: bool) -> Self {
        Self {
            direction,
            state: if from_start { State::Header } else { State::Resync },
            message: None,
            control: None,
            inflater: None,
            whole: from_start,
            since: None,
            declare: Vec::new(),
            searched: 0,
        }
    }

    /// Takes what it can of `rest`.
    pub(super) fn step(&mut self, rest: &[u8], at: Timestamp, context: &mut Context<'_>) -> Step {
        match self.state {
            // A frame without payload ends at once, before anything else comes.
            State::Payload(frame) => self.payload(frame, rest, at, context),
            _ if rest.is_empty() => Step::More,
            State::Header => self.header(rest, at, context),
            State::Resync => self.search(rest, at, context),
        }
    }

    fn header(&mut self, rest: &[u8], at: Timestamp, context: &mut Context<'_>) -> Step {
        let since = *self.since.get_or_insert(at);
        let deflate = context.handshake.deflate(self.direction) != Deflate::Off;
        let header = match Header::parse(rest.get(..rest.len().min(MAX_HEADER)).unwrap_or_default(), deflate)
        {
            Parsed::Header(header) => header,
            Parsed::More => return Step::More,
            Parsed::Bad => {
                self.break_off(ErrorKind::Dissection, "its next frame is malformed", context);
                self.resync(0);
                return Step::Took(0);
            }
        };
        self.since = None;
        self.enter(&header, since, context);
        let (message, frame) = (self.current(header.opcode), Frame::of(&header));
        if let Some(message) = message {
            message.frames += 1;
            message.wire += header.size as u64;
            message.len = message.len.saturating_add(header.len);
            message.end = at;
        }
        self.state = State::Payload(frame);
        Step::Took(header.size)
    }

    /// Opens the message that the frame belongs to.
    fn enter(&mut self, header: &Header, since: Timestamp, context: &mut Context<'_>) {
        let open = self.message.is_some();
        if header.opcode == Opcode::Continuation && open {
            return;
        }
        let mut message = Message::new(header.opcode, header.compressed, header.mask.is_some(), since);
        if !context.handshake.seen {
            message.events.push(EntryEvent::MidStream);
        }
        message.events.append(&mut self.declare);
        if header.mask.is_some() != (self.direction == Direction::ToServer) {
            let what = if header.mask.is_some() {
                "a masked frame from the server"
            } else {
                "a frame from the client that is not masked"
            };
            message.events.push(EntryEvent::Anomaly { what: what.into() });
        }
        if header.opcode.is_control() {
            self.control = Some(message);
            return;
        }
        if open {
            self.break_off(ErrorKind::Dissection, "another message began before its last frame", context);
        }
        if header.opcode == Opcode::Continuation {
            message
                .events
                .push(EntryEvent::Anomaly { what: "the first frames of the message were not seen".into() });
        }
        self.message = Some(message);
    }

    fn current(&mut self, opcode: Opcode) -> Option<&mut Message> {
        if opcode.is_control() { self.control.as_mut() } else { self.message.as_mut() }
    }

    fn payload(&mut self, mut frame: Frame, rest: &[u8], at: Timestamp, context: &mut Context<'_>) -> Step {
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(rest.len());
        if count == 0 && frame.left > 0 {
            return Step::More;
        }
        for piece in rest.get(..count).unwrap_or_default().chunks(PIECE) {
            self.take(&frame, piece, context);
            frame.offset += piece.len() as u64;
        }
        frame.left -= count as u64;
        if let Some(message) = self.current(frame.opcode) {
            message.wire += count as u64;
            message.end = at;
        }
        self.state = State::Payload(frame);
        if frame.left == 0 {
            self.end_frame(frame, context);
        }
        Step::Took(count)
    }

    /// Unmasks and decodes what is wanted of a piece.
    fn take(&mut self, frame: &Frame, piece: &[u8], context: &Context<'_>) {
        let limits = context.limits;
        let whole = self.whole;
        let takeover = context.handshake.deflate(self.direction) != Deflate::On { takeover: false };
        let message = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
        let Some(message) = message else { return };
        let wanted = message.wants(piece.len(), limits);
        if message.decoded.is_none() && !message.has_gap() {
            message.cut += (piece.len() - wanted) as u64;
        }
        let piece = piece.get(..wanted).unwrap_or_default();
        let clear = |bytes: &mut [u8]| {
            if let Some(mask) = frame.mask {
                unmask(bytes, mask, frame.offset);
            }
        };
        if let Some(decoded) = &mut message.decoded {
            let mut piece = piece.to_vec();
            clear(&mut piece);
            let inflater = self.inflater.get_or_insert_with(|| Inflater::new(whole, takeover));
            inflater.push(&piece, decoded, caps(limits));
        } else {
            let from = message.payload.len();
            message.payload.extend_from_slice(piece);
            clear(message.payload.get_mut(from..).unwrap_or_default());
        }
    }

    fn end_frame(&mut self, frame: Frame, context: &mut Context<'_>) {
        self.state = State::Header;
        self.searched = 0;
        if frame.opcode.is_control() {
            if let Some(message) = self.control.take() {
                self.show(message, context);
            }
        } else if frame.fin
            && let Some(mut message) = self.message.take()
        {
            if let (Some(decoded), Some(inflater)) = (&mut message.decoded, &mut self.inflater) {
                inflater.finish(decoded, caps(context.limits));
            }
            self.show(message, context);
        }
    }

    fn show(&self, message: Message, context: &mut Context<'_>) {
        context.out.push(message.finish(self.direction, context.handshake));
    }

    /// The open messages will not be completed.
    fn break_off(&mut self, kind: ErrorKind, why: &'static str, context: &mut Context<'_>) {
        for message in [self.control.take(), self.message.take()].into_iter().flatten() {
            let mut message = message;
            if message.decoded.is_some() {
                self.lose_context();
            }
            message.error = Some((kind, why));
            self.show(message, context);
        }
    }

    fn lose_context(&mut self) {
        self.whole = false;
        if let Some(inflater) = &mut self.inflater {
            inflater.lose();
        }
    }

    /// The framing is lost; `bytes` never came.
    fn resync(&mut self, bytes: u64) {
        self.state = State::Resync;
        self.since = None;
        self.lose_context();
        if bytes == 0 {
            if self.declare.is_empty() {
                self.declare.push(EntryEvent::Anomaly { what: "bytes before it were no frames".into() });
            }
            return;
        }
        // Many holes in a row are one: a line for each would grow without bound.
        let known = self.declare.iter_mut().find_map(|event| match event {
            EntryEvent::GapInRequest { bytes } | EntryEvent::GapInResponse { bytes } => Some(bytes),
            _ => None,
        });
        match (known, self.direction) {
            (Some(known), _) => *known = known.saturating_add(bytes),
            (None, Direction::ToServer) => self.declare.push(EntryEvent::GapInRequest { bytes }),
            (None, Direction::ToClient) => self.declare.push(EntryEvent::GapInResponse { bytes }),
        }
    }

    fn search(&mut self, rest: &[u8], at: Timestamp, context: &Context<'_>) -> Step {
        let deflate = context.handshake.deflate(self.direction) != Deflate::Off;
        for from in 0..rest.len() {
            match frame::start(rest.get(from..).unwrap_or_default(), self.direction, deflate) {
                Start::No => {}
                Start::More if from == 0 => return Step::More,
                Start::More => return self.pass(from, context.limits),
                Start::Yes => {
                    self.state = State::Header;
                    self.since = Some(at);
                    return Step::Took(from);
                }
            }
        }
        self.pass(rest.len(), context.limits)
    }

    fn pass(&mut self, count: usize, limits: &Limits) -> Step {
        self.searched = self.searched.saturating_add(count);
        if self.searched > limits.max_resync { Step::Desync } else { Step::Took(count) }
    }

    /// `bytes` never came.
    pub(super) fn gap(&mut self, bytes: u64, context: &mut Context<'_>) {
        if let State::Payload(mut frame) = self.state
            && bytes <= frame.left
        {
            frame.left -= bytes;
            frame.offset += bytes;
            self.state = State::Payload(frame);
            self.miss(frame.opcode, bytes);
            if frame.left == 0 {
                self.end_frame(frame, context);
            }
            return;
        }
        if let State::Payload(frame) = self.state {
            self.miss(frame.opcode, frame.left);
        }
        self.break_off(ErrorKind::Dissection, "its last frames were not captured", context);
        self.resync(bytes);
    }

    fn miss(&mut self, opcode: Opcode, bytes: u64) {
        let Some(message) = self.current(opcode) else { return };
        message.gap = message.gap.saturating_add(bytes);
        if let Some(decoded) = &mut message.decoded {
            decoded.failed.get_or_insert(Failed::Gap);
            self.lose_context();
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, kind: ErrorKind, why: &'static str, context: &mut Context<'_>) {
        self.break_off(kind, why, context);
        self.state = State::Resync;
    }
}

impl Frame {
    fn of(header: &Header) -> Self {
        Self { opcode: header.opcode, fin: header.fin, mask: header.mask, offset: 0, left: header.len }
    }
}

fn caps(limits: &Limits) -> Caps {
    Caps { keep: limits.max_body, decode: limits.max_decoded_body }
}
