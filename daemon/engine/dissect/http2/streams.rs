//! The streams of a connection: which there are, what they cost, when they are given up.
//!
//! Invariant: at most `max_streams` streams, and `max_stream_bytes` bytes of headers and bodies plus one
//! message; every stream that had a frame of its own comes out exactly once, or twice when its request
//! was given up before its answer came.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use compact_str::{CompactString, format_compact};

use super::block::Headers;
use super::frame::error_name;
use super::stream::{Stream, reset_by};
use super::tunnels::Tunnels;
use super::window::{Stall, Windows};
use crate::dissect::{Carrier, End, Input, Transaction, Upgrade};
use crate::limits::{self, Limits};
use crate::model::{Direction, EntryError, EntryEvent, ErrorKind, Timestamp};

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    open: BTreeMap<u32, Box<Stream>>,
    /// When which stream is looked at again.
    deadlines: BTreeSet<(Timestamp, u32)>,
    /// Streams that ended not long ago, oldest first.
    ended: VecDeque<u32>,
    ended_set: HashSet<u32>,
    /// Bytes kept of all open streams.
    kept: usize,
    /// Bytes lost with their framing, per direction.
    lost: [u64; 2],
    /// The connection was joined late, and no request has been seen.
    joined: bool,
    /// Frames of streams whose start was not seen are to be expected.
    incomplete: bool,
    pub(super) windows: Windows,
    /// Streams that became connections of another protocol.
    pub(super) tunnels: Tunnels,
    /// Why the connection ends, if a side said so.
    goodbye: Option<CompactString>,
}

/// What a frame brings to the streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) direction: Direction,
    pub(super) at: Timestamp,
    pub(super) limits: &'a Limits,
}

impl Streams {
    /// No streams; `from_start`: the first frame of the connection will be seen.
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ended: VecDeque::new(),
            ended_set: HashSet::new(),
            kept: 0,
            lost: [0, 0],
            joined: !from_start,
            incomplete: !from_start,
            windows: Windows::new(from_start),
            tunnels: Tunnels::default(),
            goodbye: None,
        }
    }

    /// Bytes of memory that streams and tunnels hold, roughly.
    pub(super) fn held(&self) -> usize {
        self.kept + self.open.len() * size_of::<Stream>() + self.tunnels.held()
    }

    /// Stream 1 of a connection that an HTTP/1 request turned into this one.
    pub(super) fn begin_upgraded(&mut self, upgrade: Upgrade) {
        let mut stream = Stream::new(1, upgrade.timing.request_start, [0, 0]);
        stream.last = upgrade.timing.response_end;
        stream.upgrade = (!upgrade.request.is_null()).then(|| Box::new(upgrade));
        stream.asked = Some(stream.last);
        stream.end(Direction::ToServer, 0);
        self.open.insert(1, Box::new(stream));
    }

    /// Headers of a message. `times`: first byte and last byte of their frames.
    pub(super) fn headers(
        &mut self,
        moment: Moment<'_>,
        id: u32,
        headers: &Headers,
        (start, wire): (Timestamp, u64),
        out: &mut Vec<Transaction>,
    ) {
        if self.ended_set.contains(&id) {
            return;
        }
        let Moment { direction, at, limits } = moment;
        if direction == Direction::ToServer && headers.is_head() {
            self.joined = false;
        }
        let stream = self.begin(moment, id, start, out);
        let before = stream.kept();
        stream.headers(direction, headers, wire, (start, at), limits);
        stream.last = at;
        let more = stream.kept() - before;
        self.kept += more;
        self.arm(id, limits);
        while self.kept > limits.max_stream_bytes && self.open.len() > 1 {
            self.give_up_oldest("max_stream_bytes", limits, out);
        }
        if direction == Direction::ToClient {
            self.turn(id, limits, out);
        }
    }

    /// A granted extended CONNECT (RFC 8441) is a call that ends with its head; what follows on its stream is
    /// another protocol's.
    fn turn(&mut self, id: u32, limits: &Limits, out: &mut Vec<Transaction>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let Some(token) = stream.turned() else { return };
        if self.tunnels.is_full() {
            stream.events.push(EntryEvent::LimitExceeded { limit: "tunnels".into() });
            return;
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            stream.end(direction, self.lost[direction.index()]);
        }
        let before = out.len();
        self.finish(id, limits, out);
        let Some(call) = out.get(before) else { return };
        let upgrade = Upgrade {
            carrier: Carrier::Upgraded(token),
            request: call.request.clone(),
            response: call.response.clone(),
            timing: call.timing,
        };
        self.tunnels.begin(id, upgrade);
    }

    /// The request that a server made up, on the stream that will answer it.
    pub(super) fn promise(
        &mut self,
        moment: Moment<'_>,
        id: u32,
        headers: &Headers,
        (start, wire): (Timestamp, u64),
        out: &mut Vec<Transaction>,
    ) {
        let asked = Moment { direction: Direction::ToServer, ..moment };
        let joined = self.joined;
        self.headers(asked, id, headers, (start, wire), out);
        self.joined = joined;
        let lost = self.lost[0];
        if let Some(stream) = self.open.get_mut(&id) {
            stream.pushed = true;
            stream.end(Direction::ToServer, lost);
        }
    }

    /// A DATA frame begins: it counts against flow control, whatever comes of its bytes.
    pub(super) fn data_frame(
        &mut self,
        moment: Moment<'_>,
        id: u32,
        (length, wire, last): (u32, u64, bool),
        out: &mut Vec<Transaction>,
    ) {
        let Moment { direction, at, limits } = moment;
        if self.tunnels.has(id) {
            // It counts against the connection's window as any data does.
            return self.windows.sent(direction, id, &mut Stall::default(), length, at);
        }
        let known = self.open.contains_key(&id);
        if !known && (!self.incomplete || self.ended_set.contains(&id)) {
            return;
        }
        self.begin(moment, id, at, out);
        if !known {
            self.arm(id, limits);
        }
        if let Some(stream) = self.open.get_mut(&id) {
            let half = stream.half(direction);
            half.message(at).wire += wire;
            if !last {
                self.windows.sent(direction, id, &mut half.stall, length, at);
            }
        }
    }

    /// Bytes of a body.
    pub(super) fn data(&mut self, moment: Moment<'_>, id: u32, bytes: &[u8], out: &mut Vec<Transaction>) {
        if self.tunnels.has(id) {
            return self.tunnels.feed(moment, id, Input::Bytes(bytes), out);
        }
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.last = moment.at;
        let half = stream.half(moment.direction);
        // A quarter is for heads, so that long bodies do not push out whole calls.
        let room = (moment.limits.max_stream_bytes / 4 * 3).saturating_sub(self.kept);
        let message = half.message(moment.at);
        message.end = moment.at;
        let max = moment.limits.max_body.min(message.body.len().saturating_add(room));
        let kept = message.push_within(bytes, max);
        half.kept += kept;
        self.kept += kept;
    }

    /// Bytes of a body that never came, in a frame whose end is known.
    pub(super) fn miss(&mut self, moment: Moment<'_>, id: u32, bytes: u64, out: &mut Vec<Transaction>) {
        self.tunnels.feed(moment, id, Input::Gap(bytes), out);
        if let Some(stream) = self.open.get_mut(&id) {
            stream.last = moment.at;
            stream.half(moment.direction).message(moment.at).miss(bytes);
        }
    }

    /// A side ends its half of a stream.
    pub(super) fn end(&mut self, moment: Moment<'_>, id: u32, out: &mut Vec<Transaction>) {
        self.tunnels.feed(moment, id, Input::Eof, out);
        let lost = self.lost[moment.direction.index()];
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.last = moment.at;
        stream.end(moment.direction, lost);
        let orphan = stream.response().ended && !stream.has_request();
        if let Some(message) = &mut stream.half(moment.direction).message {
            message.end = moment.at;
        }
        if stream.is_complete() {
            self.finish(id, moment.limits, out);
        } else if orphan {
            self.arm(id, moment.limits);
        }
    }

    /// RST_STREAM.
    pub(super) fn reset(&mut self, moment: Moment<'_>, id: u32, code: u32, out: &mut Vec<Transaction>) {
        self.tunnels.close(id, End::Reset(moment.direction), moment.at, moment.limits, out);
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.last = moment.at;
        if !stream.response().ended {
            stream.fail(ErrorKind::Connection, reset_by(moment.direction, error_name(code)));
        } else if !stream.request().ended && code != 0 {
            let what = reset_by(moment.direction, error_name(code));
            stream.events.push(EntryEvent::Anomaly { what });
        }
        self.finish(id, moment.limits, out);
    }

    /// GOAWAY: streams of the other side above `last` will not be answered.
    pub(super) fn goaway(
        &mut self,
        moment: Moment<'_>,
        (last, code): (u32, u32),
        debug: &[u8],
        out: &mut Vec<Transaction>,
    ) {
        let who = if moment.direction == Direction::ToClient { "server" } else { "client" };
        let debug = &debug[..debug.len().min(limits::http2::DEBUG_DATA)];
        let debug = String::from_utf8_lossy(debug);
        let debug = if debug.is_empty() { String::new() } else { format!(" ({debug})") };
        let why = format_compact!("the {who} said goodbye: {}{debug}", error_name(code));
        self.goodbye = (code != 0).then(|| why.clone());
        let own = u32::from(moment.direction == Direction::ToClient);
        let above: Vec<u32> =
            self.open.range(last.saturating_add(1)..).map(|(id, _)| *id).filter(|id| id % 2 == own).collect();
        for id in above {
            if let Some(stream) = self.open.get_mut(&id) {
                stream.fail(ErrorKind::Connection, why.clone());
            }
            self.finish(id, moment.limits, out);
        }
    }

    /// WINDOW_UPDATE; it allows what flows against its own direction.
    pub(super) fn window_update(&mut self, moment: Moment<'_>, id: u32, more: u32) {
        let (direction, at) = (moment.direction.flipped(), moment.at);
        if id != 0 {
            if let Some(stream) = self.open.get_mut(&id) {
                self.windows.update_stream(direction, &mut stream.half(direction).stall, more, at);
            }
            return;
        }
        for id in self.windows.update_connection(direction, more) {
            if let Some(stream) = self.open.get_mut(&id) {
                self.windows.update_stream(direction, &mut stream.half(direction).stall, 0, at);
            }
        }
    }

    /// Frames of `direction` were lost, together with where the next one begins.
    pub(super) fn lose(&mut self, direction: Direction, bytes: u64) {
        let lost = &mut self.lost[direction.index()];
        // Even where nothing is missing but the way through, something may be.
        *lost = lost.saturating_add(bytes.max(1));
        self.incomplete = true;
        self.windows.certain = false;
        self.tunnels.lose(direction, bytes);
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Gives up what is overdue.
    pub(super) fn expire(&mut self, now: Timestamp, limits: &Limits, out: &mut Vec<Transaction>) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let lost = self.lost;
            let Some(stream) = self.open.get_mut(&id) else { continue };
            stream.armed = Timestamp::ZERO;
            if open_at(stream, limits).is_some_and(|open| open <= now) {
                out.push(stream.show_open(lost, limits));
            }
            match overdue(stream, now, lost, limits) {
                Overdue::Nothing => self.arm_after(id, now, limits),
                Overdue::Over => self.finish(id, limits, out),
                Overdue::Answer => {
                    let mut ghost = Stream::new(id, now, lost);
                    ghost.given_up = true;
                    ghost.end(Direction::ToServer, lost[0]);
                    stream.fail(ErrorKind::Timeout, "no answer within the configured time");
                    let given_up = std::mem::replace(&mut **stream, ghost);
                    self.kept = self.kept.saturating_sub(given_up.kept());
                    out.push(given_up.into_transaction(lost, limits));
                }
            }
        }
    }

    /// No more frames of `direction` will come, or none at all (`None`): what waits for them comes out.
    pub(super) fn close(
        &mut self,
        direction: Option<Direction>,
        kind: ErrorKind,
        why: &str,
        limits: &Limits,
        out: &mut Vec<Transaction>,
    ) {
        let why = self.goodbye.clone().unwrap_or_else(|| why.into());
        let waits =
            |stream: &Stream| direction.is_none_or(|direction| !stream.halves[direction.index()].ended);
        let ids: Vec<u32> = self.open.iter().filter(|(_, stream)| waits(stream)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(stream) = self.open.get_mut(&id)
                && !(stream.response().ended || stream.given_up && stream.response().message.is_none())
            {
                stream.error = stream.error.take().or(Some(EntryError { kind, message: why.clone() }));
            }
            self.finish(id, limits, out);
        }
    }

    /// The stream, which begins now if it has not.
    fn begin(
        &mut self,
        moment: Moment<'_>,
        id: u32,
        start: Timestamp,
        out: &mut Vec<Transaction>,
    ) -> &mut Stream {
        if !self.open.contains_key(&id) && self.open.len() >= moment.limits.max_streams {
            self.give_up_oldest("max_streams", moment.limits, out);
        }
        let (lost, joined) = (self.lost, self.joined);
        self.open.entry(id).or_insert_with(|| {
            let mut stream = Stream::new(id, start, lost);
            stream.joined = joined;
            Box::new(stream)
        })
    }

    fn give_up_oldest(&mut self, limit: &'static str, limits: &Limits, out: &mut Vec<Transaction>) {
        let Some((&id, _)) = self.open.first_key_value() else { return };
        if let Some(stream) = self.open.get_mut(&id) {
            stream.events.push(EntryEvent::LimitExceeded { limit: limit.into() });
            stream.fail(ErrorKind::Timeout, "given up: too many streams are open");
        }
        self.finish(id, limits, out);
    }

    /// Takes a stream out and shows its call.
    fn finish(&mut self, id: u32, limits: &Limits, out: &mut Vec<Transaction>) {
        let Some(stream) = self.open.remove(&id) else { return };
        self.deadlines.remove(&(stream.armed, id));
        self.kept = self.kept.saturating_sub(stream.kept());
        self.ended.push_back(id);
        self.ended_set.insert(id);
        if self.ended.len() > limits::http2::ENDED_STREAMS
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_set.remove(&oldest);
        }
        // What is left of a request that was shown before is its late answer, if that came.
        if !stream.given_up || stream.response().message.is_some() {
            out.push(stream.into_transaction(self.lost, limits));
        }
    }

    fn arm(&mut self, id: u32, limits: &Limits) {
        let Some(stream) = self.open.get(&id) else { return };
        let last = stream.last;
        self.arm_after(id, last, limits);
    }

    /// Keeps the stream's place in the queue of deadlines; `from`: what its waits are counted from.
    fn arm_after(&mut self, id: u32, from: Timestamp, limits: &Limits) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let deadline = match (patience(stream, limits), open_at(stream, limits)) {
            (Some(patience), _) => patience,
            (None, Some(open)) => open.min(from.plus(limits.answer_timeout)),
            (None, None) => from.plus(limits.answer_timeout),
        };
        if stream.armed == Timestamp::ZERO || deadline < stream.armed {
            self.deadlines.remove(&(stream.armed, id));
            stream.armed = deadline;
            self.deadlines.insert((deadline, id));
        }
    }
}

/// How far a stream is beyond its time.
enum Overdue {
    /// It is not.
    Nothing,
    /// Nothing more will come.
    Over,
    /// The request waited too long for its answer.
    Answer,
}

/// When an answer without a request stops waiting for it: the request may lie behind a hole that
/// reassembly has not given up yet.
fn patience(stream: &Stream, limits: &Limits) -> Option<Timestamp> {
    let waits = stream.response().ended && !stream.has_request() && !stream.given_up;
    waits.then(|| stream.last.plus(limits.hole_patience.saturating_mul(2)))
}

/// When a call that goes on is shown.
fn open_at(stream: &Stream, limits: &Limits) -> Option<Timestamp> {
    let asked = stream.asked.filter(|_| !stream.shown && stream.has_request())?;
    Some(asked.plus(limits.open_after))
}

fn overdue(stream: &Stream, now: Timestamp, lost: [u64; 2], limits: &Limits) -> Overdue {
    if let Some(patience) = patience(stream, limits) {
        return if patience <= now { Overdue::Over } else { Overdue::Nothing };
    }
    if stream.last.plus(limits.answer_timeout) > now {
        return Overdue::Nothing;
    }
    let answered = stream.response().message.is_some();
    // An end that was lost is never seen again.
    let doubtful = stream.halves.iter().zip(lost).any(|(half, lost)| !half.ended && half.lost[0] != lost);
    match (answered, doubtful) {
        (false, false) if stream.given_up => Overdue::Nothing,
        (false, false) if stream.request().ended => Overdue::Answer,
        (_, true) => Overdue::Over,
        _ => Overdue::Nothing,
    }
}
