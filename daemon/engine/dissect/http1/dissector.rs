//! HTTP/1 on one connection: both lanes' state machines around the matcher.

use super::exchange::{open_transaction, transaction};
use super::framing::{ask_of, message_of, note_deviations, request_body, response_body};
use super::lane::{Body, HeadFound, Lane, State};
use super::matcher::{Ask, Exchange, Matcher};
use super::parser::{self, Framing, HeadError};
use crate::dissect::http::message::Message;
use crate::dissect::{Carrier, Dissector, End, Input, Opening, Output, Progress, Upgrade};
use crate::limits::Limits;
use crate::model::{Direction, EntryEvent, ErrorKind, Timestamp};

/// Upgrade tokens that a protocol of the registry may ride on; any other ends dissection.
const TOKENS: &[&str] = &["websocket", "h2c"];

/// HTTP/1 on one connection.
#[derive(Debug)]
pub(super) struct Http1 {
    requests: Lane,
    responses: Lane,
    matcher: Matcher,
    /// The request that is coming in.
    asking: u64,
    /// The exchange whose response is coming in.
    answering: Option<Exchange>,
    /// An exchange that was answered before its request was complete.
    finishing: Option<Exchange>,
    /// When a response that came before its request stops waiting.
    patience: Option<Timestamp>,
    /// The next response may not wait.
    hurry: bool,
    /// What the matcher gave up, on its way out.
    shown: Vec<Exchange>,
}

/// What one step of a lane did.
enum Step {
    Took(usize),
    More,
    Wait,
    Desync,
    HandOver(usize, Box<Upgrade>),
}

impl Http1 {
    /// A dissector that joins at the start of the connection or somewhere in it.
    pub(super) fn new(opening: &Opening<'_>) -> Self {
        Self {
            requests: Lane::new(opening.from_start),
            responses: Lane::new(opening.from_start),
            matcher: Matcher::new(opening.from_start),
            asking: 0,
            answering: None,
            finishing: None,
            patience: None,
            hurry: false,
            shown: Vec::new(),
        }
    }

    fn run(&mut self, direction: Direction, bytes: &[u8], at: Timestamp, out: &mut Output<'_>) -> Progress {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let step = match direction {
                Direction::ToServer => self.request_step(rest, at, out),
                Direction::ToClient => self.response_step(rest, at, out),
            };
            self.show(out);
            match step {
                Step::Took(count) => taken += count,
                Step::More => return Progress::Consumed(taken),
                Step::Wait => return Progress::Wait(taken),
                Step::Desync => return Progress::Desync,
                Step::HandOver(count, upgrade) => return Progress::HandOver(taken + count, upgrade),
            }
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::ToServer => &mut self.requests,
            Direction::ToClient => &mut self.responses,
        }
    }

    fn show(&mut self, out: &mut Output<'_>) {
        for exchange in self.shown.drain(..) {
            out.transactions.push(transaction(exchange, out.limits));
        }
    }

    /// What is not a message: a search where the lane was joined by guess, else the end of HTTP/1.
    fn garbage(&mut self, direction: Direction, rest: &[u8], limits: &Limits) -> Step {
        let lane = self.lane(direction);
        // At least the line that misled is passed over, so that the search cannot find it again.
        let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        lane.searched = lane.searched.saturating_add(line);
        if !lane.joined || lane.searched > limits.max_resync {
            return Step::Desync;
        }
        lane.resync();
        self.lost(direction, 0);
        Step::Took(line)
    }

    fn lost(&mut self, direction: Direction, bytes: u64) {
        match direction {
            Direction::ToServer => self.matcher.lost_requests(bytes),
            Direction::ToClient => {
                // The response that was in a hurry is gone.
                self.hurry = false;
                self.patience = None;
                self.matcher.lost_responses(bytes);
            }
        }
    }

    /// Steps that are the same in both directions. `None`: a head is next.
    fn common_step(
        &mut self,
        direction: Direction,
        rest: &[u8],
        at: Timestamp,
        limits: &Limits,
    ) -> Option<Step> {
        let lane = self.lane(direction);
        match lane.state {
            State::Ended => Some(if rest.is_empty() { Step::More } else { Step::Took(rest.len()) }),
            _ if rest.is_empty() => Some(Step::More),
            State::Resync => {
                let starts = starts_of(direction);
                let count = lane.search(rest, starts);
                lane.searched = lane.searched.saturating_add(count);
                let found = matches!(lane.state, State::Head);
                Some(match (found, count) {
                    _ if lane.searched > limits.max_resync => Step::Desync,
                    (true, _) => {
                        lane.searched = 0;
                        Step::Took(count)
                    }
                    (false, 0) => Step::More,
                    (false, _) => Step::Took(count),
                })
            }
            State::Head => {
                let space = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                if space > 0 && !lane.started && lane.scanned == 0 {
                    return Some(Step::Took(space));
                }
                lane.since.get_or_insert(at);
                None
            }
            State::Held(_) | State::Body(_) => None,
        }
    }

    fn request_step(&mut self, rest: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        if let Some(step) = self.common_step(Direction::ToServer, rest, at, out.limits) {
            return step;
        }
        match &mut self.requests.state {
            State::Body(_) => self.request_body(rest, at, out),
            State::Held(id) => {
                let id = *id;
                if self.matcher.last(id).is_some_and(|slot| slot.request.is_some()) {
                    return Step::Wait;
                }
                self.requests.next_message();
                Step::Took(0)
            }
            _ => match self.requests.find_head(rest, parser::request_start, out.limits.max_head) {
                HeadFound::Whole(end) => self.request_head(&rest[..end], at, out),
                HeadFound::More => Step::More,
                HeadFound::Garbage => self.garbage(Direction::ToServer, rest, out.limits),
                HeadFound::TooLong => self.request_refused(rest, "max_head", at, out),
            },
        }
    }

    fn request_head(&mut self, bytes: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        let flat = parser::unfold(bytes);
        let head = match parser::parse_head(&flat, false, out.limits.max_headers) {
            Ok(head) => head,
            Err(HeadError::TooManyHeaders) => return self.request_refused(bytes, "max_headers", at, out),
            Err(HeadError::Malformed) => return self.garbage(Direction::ToServer, bytes, out.limits),
        };
        let framing = Framing::of(&head);
        let since = self.requests.since.unwrap_or(at);
        let mut message = Box::new(message_of(&head, &framing, bytes.len(), (since, at), out.limits));
        note_deviations(&mut message, &head, &framing, matches!(flat, std::borrow::Cow::Owned(_)));
        let ask = ask_of(&head, &message);
        let body = request_body(&framing);
        message.ended = body.is_none();
        self.asking = self.matcher.ask(ask, message, out.limits, &mut self.shown);
        match body {
            Some(body) => self.requests.enter(State::Body(body)),
            None => self.request_done(ask),
        }
        Step::Took(bytes.len())
    }

    /// A request that exceeds a limit is shown by its first line; what follows it cannot be followed.
    fn request_refused(
        &mut self,
        rest: &[u8],
        limit: &'static str,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Step {
        let line = memchr::memchr(b'\n', rest).map_or(&[][..], |end| &rest[..=end]);
        let head = [line, b"\r\n"].concat();
        let since = self.requests.since.unwrap_or(at);
        if let Ok(head) = parser::parse_head(&head, false, 0) {
            let mut message =
                Box::new(message_of(&head, &Framing::default(), rest.len(), (since, at), out.limits));
            message.events.push(EntryEvent::LimitExceeded { limit: limit.into() });
            message.ended = true;
            self.matcher.ask(Ask::Plain, message, out.limits, &mut self.shown);
        }
        Step::Desync
    }

    fn request_done(&mut self, ask: Ask) {
        match ask {
            Ask::Connect | Ask::Upgrade => self.requests.enter(State::Held(self.asking)),
            _ => self.requests.next_message(),
        }
    }

    /// The message that is coming in, wherever its exchange stands by now.
    fn incoming(&mut self) -> Option<&mut Exchange> {
        let id = self.asking;
        let answered = [&mut self.answering, &mut self.finishing];
        let answered = answered.into_iter().flatten().find(|exchange| exchange.id == id);
        answered.or_else(|| self.matcher.last(id))
    }

    fn request_body(&mut self, rest: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        let State::Body(mut body) = std::mem::replace(&mut self.requests.state, State::Head) else {
            return Step::Desync;
        };
        let deadline = at.plus(out.limits.answer_timeout);
        let message = self.incoming().and_then(|exchange| {
            exchange.deadline = deadline;
            exchange.request.as_deref_mut()
        });
        let (message, result) = match message {
            Some(message) => {
                message.end = at;
                let result = body.take(rest, Some(message), out.limits);
                (true, result)
            }
            None => (false, body.take(rest, None, out.limits)),
        };
        match result {
            Err(error) => {
                if let (true, Some(request)) =
                    (message, self.incoming().and_then(|open| open.request.as_deref_mut()))
                {
                    request.anomaly(error.0);
                }
                self.end_request(out);
                self.garbage(Direction::ToServer, rest, out.limits)
            }
            Ok((count, true)) => {
                let ask = self.incoming().map_or(Ask::Plain, |exchange| exchange.ask);
                self.end_request(out);
                self.request_done(ask);
                Step::Took(count)
            }
            Ok((count, false)) => {
                self.requests.state = State::Body(body);
                Step::Took(count)
            }
        }
    }

    /// The incoming request is over, whole or not.
    fn end_request(&mut self, out: &mut Output<'_>) {
        if let Some(request) = self.incoming().and_then(|exchange| exchange.request.as_deref_mut()) {
            request.ended = true;
        }
        if let Some(exchange) = self.finishing.take() {
            out.transactions.push(transaction(exchange, out.limits));
        }
    }

    fn response_step(&mut self, rest: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        if let Some(step) = self.common_step(Direction::ToClient, rest, at, out.limits) {
            return step;
        }
        if let State::Body(_) = self.responses.state {
            return self.response_body(rest, at, out);
        }
        if parser::response_start(rest) != parser::Start::No && self.must_wait(at, out.limits) {
            return Step::Wait;
        }
        match self.responses.find_head(rest, parser::response_start, out.limits.max_head) {
            HeadFound::Whole(end) => self.response_head(&rest[..end], at, out),
            HeadFound::More => Step::More,
            HeadFound::Garbage => self.garbage(Direction::ToClient, rest, out.limits),
            HeadFound::TooLong => {
                self.limit_answer("max_head");
                Step::Desync
            }
        }
    }

    /// A response without any known request waits a moment: its request may lie behind a hole that
    /// reassembly has not given up yet.
    fn must_wait(&mut self, at: Timestamp, limits: &Limits) -> bool {
        let (early, doubtful) = (self.matcher.is_early(), self.matcher.is_doubtful());
        let waits = (early || doubtful) && !self.hurry && !matches!(self.requests.state, State::Ended);
        if waits {
            // The response acknowledges its request, so a hole there is given up soon.
            let hole = if early { limits.hole_patience } else { limits.acked_hole_patience };
            let patience = hole.saturating_mul(2);
            self.patience.get_or_insert(self.responses.since.unwrap_or(at).plus(patience));
        } else {
            self.patience = None;
        }
        waits
    }

    fn limit_answer(&mut self, limit: &'static str) {
        let start = self.responses.since.unwrap_or_default();
        let mut exchange = self.matcher.claim(start, &mut self.shown);
        exchange.events.push(EntryEvent::LimitExceeded { limit: limit.into() });
        exchange.failure = Some((ErrorKind::Dissection, "the head of the response exceeds a limit"));
        if let Some(request) = &mut exchange.request {
            request.ended = true;
            self.shown.push(exchange);
        }
    }

    fn response_head(&mut self, bytes: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        let flat = parser::unfold(bytes);
        let head = match parser::parse_head(&flat, true, out.limits.max_headers) {
            Ok(head) => head,
            Err(HeadError::TooManyHeaders) => {
                self.limit_answer("max_headers");
                return Step::Desync;
            }
            Err(HeadError::Malformed) => return self.garbage(Direction::ToClient, bytes, out.limits),
        };
        if head.status < 200 && head.status != 101 {
            self.matcher.interim(bytes.len() as u64);
            self.responses.next_message();
            return Step::Took(bytes.len());
        }
        let framing = Framing::of(&head);
        let since = self.responses.since.unwrap_or(at);
        let mut message = Box::new(message_of(&head, &framing, bytes.len(), (since, at), out.limits));
        note_deviations(&mut message, &head, &framing, matches!(flat, std::borrow::Cow::Owned(_)));
        self.hurry = false;
        let mut exchange = self.matcher.claim(since, &mut self.shown);
        let body = response_body(exchange.ask, head.status, &framing);
        let turned = head.status == 101 || exchange.ask == Ask::Connect && (200..300).contains(&head.status);
        exchange.response = Some(message);
        self.answering = Some(exchange);
        match body {
            _ if turned => return self.hand_over(bytes.len(), out),
            Some(body) => self.responses.enter(State::Body(body)),
            None => self.end_response(out),
        }
        Step::Took(bytes.len())
    }

    fn hand_over(&mut self, taken: usize, out: &mut Output<'_>) -> Step {
        let Some(mut exchange) = self.answering.take() else { return Step::Desync };
        let token = exchange.response.as_ref().map_or("", |response| response.header("upgrade"));
        let token = TOKENS.iter().copied().find(|known| known.eq_ignore_ascii_case(token)).unwrap_or("");
        let carrier = if exchange.ask == Ask::Connect { Carrier::Stream } else { Carrier::Upgraded(token) };
        if let Some(request) = &mut exchange.request {
            request.ended = true;
        }
        self.show(out);
        let transaction = transaction(exchange, out.limits);
        let upgrade = Upgrade {
            carrier,
            request: transaction.request.clone(),
            response: transaction.response.clone(),
            timing: transaction.timing,
        };
        out.transactions.push(transaction);
        Step::HandOver(taken, Box::new(upgrade))
    }

    fn response_body(&mut self, rest: &[u8], at: Timestamp, out: &mut Output<'_>) -> Step {
        let State::Body(mut body) = std::mem::replace(&mut self.responses.state, State::Head) else {
            return Step::Desync;
        };
        if self.is_bodyless_orphan(&body, rest) {
            self.end_response(out);
            return Step::Took(0);
        }
        let mut message = self.answering.as_mut().and_then(|exchange| exchange.response.as_deref_mut());
        if let Some(message) = &mut message {
            message.end = at;
        }
        match body.take(rest, message, out.limits) {
            Err(error) => {
                if let Some(response) = self.answering.as_mut().and_then(|open| open.response.as_deref_mut())
                {
                    response.anomaly(error.0);
                }
                self.fail_answer(ErrorKind::Dissection, "the chunked body is malformed");
                self.end_response(out);
                self.garbage(Direction::ToClient, rest, out.limits)
            }
            Ok((count, true)) => {
                self.end_response(out);
                Step::Took(count)
            }
            Ok((count, false)) => {
                self.responses.state = State::Body(body);
                Step::Took(count)
            }
        }
    }

    /// The answer to an unseen request has a length but, as after HEAD, the next response follows at once.
    fn is_bodyless_orphan(&self, body: &Body, rest: &[u8]) -> bool {
        let untouched = |exchange: &Exchange| {
            exchange.ask == Ask::Unknown
                && exchange.response.as_ref().is_some_and(|response| response.body_size == 0)
        };
        matches!(body, Body::Length(_))
            && self.answering.as_ref().is_some_and(untouched)
            && parser::response_start(rest) == parser::Start::Yes
    }

    fn fail_answer(&mut self, kind: ErrorKind, why: &'static str) {
        if let Some(exchange) = &mut self.answering {
            exchange.failure.get_or_insert((kind, why));
        }
    }

    /// The incoming response is over, whole or not: shows the exchange unless its request still comes.
    fn end_response(&mut self, out: &mut Output<'_>) {
        self.responses.next_message();
        let Some(mut exchange) = self.answering.take() else { return };
        if let Some(response) = &mut exchange.response {
            response.ended = true;
        }
        if exchange.request.as_ref().is_none_or(|request| request.ended) {
            self.show(out);
            out.transactions.push(transaction(exchange, out.limits));
        } else {
            self.finishing = Some(exchange);
        }
    }

    fn gap(&mut self, direction: Direction, bytes: u64, out: &mut Output<'_>) {
        self.stop_waiting(direction);
        let mut state = std::mem::replace(&mut self.lane(direction).state, State::Resync);
        let known = match &mut state {
            State::Ended => Some(false),
            State::Body(body) => body.skip(bytes, self.message(direction)),
            State::Head | State::Resync | State::Held(_) => None,
        };
        match known {
            Some(false) => self.lane(direction).state = state,
            Some(true) => self.end_message(direction, out),
            None => {
                if matches!(state, State::Body(_)) {
                    self.end_message(direction, out);
                }
                self.lane(direction).resync();
                self.lost(direction, bytes);
                if direction == Direction::ToClient && matches!(self.requests.state, State::Held(_)) {
                    self.release();
                }
            }
        }
    }

    /// The answer that decides what follows a request may be lost: what follows is read as it comes.
    fn release(&mut self) {
        self.matcher.give_up_all(&mut self.shown);
        self.requests.next_message();
    }

    fn message(&mut self, direction: Direction) -> Option<&mut Message> {
        match direction {
            Direction::ToServer => self.incoming().and_then(|exchange| exchange.request.as_deref_mut()),
            Direction::ToClient => {
                self.answering.as_mut().and_then(|exchange| exchange.response.as_deref_mut())
            }
        }
    }

    fn end_message(&mut self, direction: Direction, out: &mut Output<'_>) {
        match direction {
            Direction::ToServer => {
                let ask = self.incoming().map_or(Ask::Plain, |exchange| exchange.ask);
                self.end_request(out);
                self.request_done(ask);
            }
            Direction::ToClient => self.end_response(out),
        }
    }

    /// Input of `direction` after what waited: what waited is decided or gone.
    fn stop_waiting(&mut self, direction: Direction) {
        if direction == Direction::ToClient {
            self.patience = None;
        }
    }

    fn eof(&mut self, direction: Direction, out: &mut Output<'_>) {
        self.stop_waiting(direction);
        let state = std::mem::replace(&mut self.lane(direction).state, State::Ended);
        match (direction, state) {
            (Direction::ToServer, State::Body(_)) => {
                if let Some(request) = self.message(direction) {
                    request.anomaly("the client closed before the request was complete");
                }
                self.end_request(out);
            }
            (Direction::ToServer, _) => {}
            (Direction::ToClient, state) => {
                if !matches!(state, State::Body(Body::UntilClose)) {
                    self.fail_answer(ErrorKind::Connection, "closed before the response was complete");
                }
                self.end_response(out);
                self.responses.state = State::Ended;
                self.matcher.close(
                    ErrorKind::Connection,
                    "closed by the server before it answered",
                    &mut self.shown,
                );
            }
        }
        self.show(out);
    }
}

impl Dissector for Http1 {
    fn held(&self) -> usize {
        let under_way = [&self.answering, &self.finishing].into_iter().flatten();
        under_way.map(Exchange::weight).sum::<usize>() + self.matcher.weight()
    }

    fn feed(
        &mut self,
        direction: Direction,
        input: Input<'_>,
        at: Timestamp,
        out: &mut Output<'_>,
    ) -> Progress {
        match input {
            Input::Bytes(bytes) => return self.run(direction, bytes, at, out),
            Input::Gap(bytes) => self.gap(direction, bytes, out),
            Input::Eof => self.eof(direction, out),
        }
        self.show(out);
        Progress::Consumed(0)
    }

    fn expire(&mut self, now: Timestamp, out: &mut Output<'_>) {
        let answered = [&mut self.answering, &mut self.finishing].into_iter().flatten();
        let answered = answered.filter(|exchange| is_to_open(exchange) && exchange.open_at <= now);
        for exchange in answered.chain(self.matcher.open(now)) {
            out.transactions.push(open_transaction(exchange, out.limits));
        }
        self.matcher.expire(now, &mut self.shown);
        self.hurry |= self.patience.is_some_and(|patience| patience <= now);
        self.show(out);
    }

    fn close(&mut self, end: End, _at: Timestamp, out: &mut Output<'_>) {
        let (kind, why, partial) = match end {
            End::Closed => {
                (ErrorKind::Connection, "closed before it was answered", "closed before it was complete")
            }
            End::Reset(Direction::ToServer) => {
                (ErrorKind::Connection, "reset by the client", "reset by the client")
            }
            End::Reset(Direction::ToClient) => {
                (ErrorKind::Connection, "reset by the server", "reset by the server")
            }
            End::Expired => (ErrorKind::Timeout, "the connection fell silent", "the connection fell silent"),
            End::CaptureEnd => {
                (ErrorKind::PairNotFound, "capture ended before the answer", "capture ended before its end")
            }
            End::Desync => (
                ErrorKind::Dissection,
                "the bytes stopped following HTTP/1",
                "the bytes stopped following HTTP/1",
            ),
        };
        let whole = matches!(self.responses.state, State::Body(Body::UntilClose)) && end == End::Closed;
        if !whole {
            self.fail_answer(kind, partial);
        }
        self.end_response(out);
        if let Some(mut exchange) = self.finishing.take() {
            exchange.failure.get_or_insert((kind, partial));
            out.transactions.push(transaction(exchange, out.limits));
        }
        self.matcher.close(kind, why, &mut self.shown);
        self.show(out);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let answered = [&self.answering, &self.finishing].into_iter().flatten();
        let open = answered.filter(|exchange| is_to_open(exchange)).map(|exchange| exchange.open_at).min();
        let waits = [self.matcher.next_deadline(), self.matcher.next_open(), self.patience, open];
        waits.into_iter().flatten().min()
    }

    fn unblock(&mut self, direction: Direction) {
        match direction {
            Direction::ToServer => self.requests.next_message(),
            Direction::ToClient => self.hurry = true,
        }
    }
}

/// Whether an exchange is shown once it has been open for long: it has a request and was not shown yet.
fn is_to_open(exchange: &Exchange) -> bool {
    exchange.request.is_some() && !exchange.opened
}

fn starts_of(direction: Direction) -> fn(&[u8]) -> parser::Start {
    match direction {
        Direction::ToServer => parser::request_start,
        Direction::ToClient => parser::response_start,
    }
}
