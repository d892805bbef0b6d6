//! Which request a response answers: in order, with holes known, so that a loss never shifts a pair.
//!
//! HTTP/1 has no message identity. Order decides while everything was seen. After a hole the order is
//! unknown, and a pair is made only when the client takes turns (it never sent a request before the
//! answer to the one before had begun) and time agrees: a response answers the last request that began
//! before it. Otherwise both halves are shown alone.

use std::collections::VecDeque;

use crate::dissect::http::message::Message;
use crate::limits::Limits;
use crate::model::{EntryEvent, ErrorKind, Timestamp};

/// What decides how the answer to a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Any method whose response has a body.
    Plain,
    /// HEAD: the response has no body.
    Head,
    /// CONNECT: a 2xx response opens a tunnel.
    Connect,
    /// Asks for another protocol.
    Upgrade,
    /// The request was not seen.
    Unknown,
}

/// A request, its response, or both.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// Counts requests of the connection.
    pub(super) id: u64,
    /// Kind of request.
    pub(super) ask: Ask,
    /// First byte of the request.
    pub(super) start: Timestamp,
    /// When the exchange is shown if it is not over.
    pub(super) open_at: Timestamp,
    /// It was shown while it was open.
    pub(super) opened: bool,
    /// When the request is given up.
    pub(super) deadline: Timestamp,
    /// The request; gone once it was shown without an answer.
    pub(super) request: Option<Box<Message>>,
    /// The response.
    pub(super) response: Option<Box<Message>>,
    /// Bytes of interim (1xx) responses.
    pub(super) interim: u64,
    /// Why one half is missing.
    pub(super) failure: Option<(ErrorKind, &'static str)>,
    /// Facts about the pair.
    pub(super) events: Vec<EntryEvent>,
}

impl Exchange {
    /// Bytes of memory that it holds, roughly.
    pub(super) fn weight(&self) -> usize {
        [&self.request, &self.response].into_iter().flatten().map(|message| message.weight()).sum()
    }

    fn orphan(why: &'static str) -> Self {
        Self {
            id: 0,
            ask: Ask::Unknown,
            start: Timestamp::ZERO,
            open_at: Timestamp::ZERO,
            opened: false,
            deadline: Timestamp::ZERO,
            request: None,
            response: None,
            interim: 0,
            failure: Some((ErrorKind::PairNotFound, why)),
            events: Vec::new(),
        }
    }

    /// Moves everything but what frames a late answer into an exchange of its own, to be shown now.
    fn surrender(&mut self, kind: ErrorKind, why: &'static str) -> Self {
        let mut shown = Self {
            request: self.request.take(),
            events: std::mem::take(&mut self.events),
            response: None,
            failure: Some((kind, why)),
            ..*self
        };
        if let Some(request) = &mut shown.request {
            request.ended = true;
        }
        self.opened = false;
        self.failure = Some((ErrorKind::PairNotFound, "its request was given up before it came"));
        shown
    }
}

/// Requests that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    slots: VecDeque<Exchange>,
    /// So many slots at the front were shown already and only keep their place.
    ghosts: usize,
    /// So many slots at the front are not to be shown as open any more.
    opened: usize,
    /// After so many slots requests are missing; `None`: none are.
    sure: Option<usize>,
    /// Capture began mid-stream and nothing was matched yet.
    initial: bool,
    lost_responses: bool,
    /// Requests may be missing behind the last one that is known.
    lost_since_ask: bool,
    request_gap: u64,
    response_gap: u64,
    /// The client was seen sending a request before an earlier one was answered.
    pipelined: bool,
    /// Requests that began right after a response, and right after another request.
    turns: u32,
    overlaps: u32,
    last_was_response: Option<bool>,
    next_id: u64,
}

impl Matcher {
    /// A matcher; `from_start`: the first request of the connection will be seen.
    pub(super) fn new(from_start: bool) -> Self {
        Self { initial: !from_start, sure: (!from_start).then_some(0), ..Self::default() }
    }

    /// Bytes of memory that waiting requests hold, roughly.
    pub(super) fn weight(&self) -> usize {
        self.slots.iter().map(Exchange::weight).sum()
    }

    /// Adds a request whose head is complete. Answers its id; what had to be given up is in `shown`.
    pub(super) fn ask(
        &mut self,
        ask: Ask,
        request: Box<Message>,
        limits: &Limits,
        shown: &mut Vec<Exchange>,
    ) -> u64 {
        match self.last_was_response {
            Some(true) => self.turns = self.turns.saturating_add(1),
            Some(false) if !self.slots.is_empty() => self.overlaps = self.overlaps.saturating_add(1),
            _ => {}
        }
        self.last_was_response = Some(false);
        self.lost_since_ask = false;
        self.next_id += 1;
        self.slots.push_back(Exchange {
            id: self.next_id,
            ask,
            start: request.start,
            open_at: request.end.plus(limits.open_after),
            opened: false,
            deadline: request.end.plus(limits.answer_timeout),
            request: Some(request),
            response: None,
            interim: 0,
            failure: None,
            events: Vec::new(),
        });
        if self.slots.len() - self.ghosts > limits.max_pending {
            self.surrender_next(
                ErrorKind::Timeout,
                "too many requests wait for an answer",
                Some("max_pending"),
                shown,
            );
        }
        while self.ghosts > limits.max_pending {
            self.pop();
            self.sure = Some(0);
        }
        self.next_id
    }

    /// The exchange of a request that is still coming in.
    pub(super) fn last(&mut self, id: u64) -> Option<&mut Exchange> {
        self.slots.back_mut().filter(|slot| slot.id == id)
    }

    /// Whether a response that began now would better wait for its request, which cannot be far.
    pub(super) fn is_early(&self) -> bool {
        self.slots.is_empty() && !self.initial
    }

    /// Whether a response that began now would better wait until it is known whether requests are missing
    /// too: after a hole among the responses it may answer one that nobody saw.
    pub(super) fn is_doubtful(&self) -> bool {
        self.lost_responses && !self.lost_since_ask && !self.initial
    }

    /// The exchange that a final response answers, `start` being its first byte. One without a request
    /// says why.
    pub(super) fn claim(&mut self, start: Timestamp, shown: &mut Vec<Exchange>) -> Exchange {
        let claimed = if self.lost_responses || self.sure == Some(0) {
            self.claim_unsure(start, shown)
        } else {
            self.claim_next(start)
        };
        self.last_was_response = Some(true);
        claimed.unwrap_or_else(|| self.orphan())
    }

    fn claim_next(&mut self, start: Timestamp) -> Option<Exchange> {
        if self.slots.front().is_none_or(|slot| slot.start > start) {
            return None;
        }
        let claimed = self.pop();
        self.pipelined |= self.sure != Some(0) && self.slots.front().is_some_and(|slot| slot.start <= start);
        claimed
    }

    fn claim_unsure(&mut self, start: Timestamp, shown: &mut Vec<Exchange>) -> Option<Exchange> {
        let candidates = self.slots.iter().take_while(|slot| slot.start <= start).count();
        let takes_turns = !self.pipelined && self.turns > self.overlaps.saturating_mul(2);
        let first = self.initial && candidates == 1 && !self.pipelined && !self.lost_responses;
        // With both an answer and later requests missing, it may be the answer to one of those.
        let ambiguous = self.lost_responses && self.lost_since_ask;
        let certain = candidates > 0 && (takes_turns || first) && !ambiguous;
        for _ in 0..candidates - usize::from(certain) {
            self.drop_unmatched(shown);
        }
        if !certain {
            return None;
        }
        self.lost_responses = false;
        self.initial = false;
        self.sure = None;
        self.request_gap = 0;
        self.response_gap = 0;
        self.pop()
    }

    /// Shows the oldest request without an answer; its answer is missing or cannot be told.
    fn drop_unmatched(&mut self, shown: &mut Vec<Exchange>) {
        let ghost = self.ghosts > 0;
        let Some(mut slot) = self.pop() else { return };
        if ghost {
            return;
        }
        if self.response_gap > 0 {
            slot.events.push(EntryEvent::GapInResponse { bytes: self.response_gap });
        }
        shown.push(
            slot.surrender(ErrorKind::PairNotFound, "its answer lies in a gap or cannot be told from others"),
        );
    }

    /// Shows all requests without an answer: which of them would be answered next cannot be told.
    pub(super) fn give_up_all(&mut self, shown: &mut Vec<Exchange>) {
        while !self.slots.is_empty() {
            self.drop_unmatched(shown);
        }
    }

    fn orphan(&mut self) -> Exchange {
        let why = if self.initial { "its request came before capture" } else { "its request was not seen" };
        let mut orphan = Exchange::orphan(why);
        if self.initial {
            orphan.events.push(EntryEvent::MidStream);
        }
        if self.request_gap > 0 {
            orphan.events.push(EntryEvent::GapInRequest { bytes: self.request_gap });
        }
        orphan
    }

    fn pop(&mut self) -> Option<Exchange> {
        let slot = self.slots.pop_front();
        self.ghosts = self.ghosts.saturating_sub(1);
        self.opened = self.opened.saturating_sub(1);
        if let Some(sure) = &mut self.sure {
            *sure = sure.saturating_sub(1);
        }
        slot
    }

    /// Adds an interim response to the request that it must belong to.
    pub(super) fn interim(&mut self, wire: u64) {
        if let Some(slot) = self.slots.front_mut() {
            slot.interim += wire;
        }
    }

    /// Requests are missing after those that are known.
    pub(super) fn lost_requests(&mut self, bytes: u64) {
        self.sure = Some(self.sure.map_or(self.slots.len(), |sure| sure.min(self.slots.len())));
        self.lost_since_ask = true;
        self.request_gap = self.request_gap.saturating_add(bytes);
        self.last_was_response = None;
    }

    /// Responses are missing.
    pub(super) fn lost_responses(&mut self, bytes: u64) {
        self.lost_responses = true;
        self.response_gap = self.response_gap.saturating_add(bytes);
        self.last_was_response = None;
    }

    /// When the next request is shown although its answer has not begun.
    pub(super) fn next_open(&self) -> Option<Timestamp> {
        self.slots.get(self.opened).map(|slot| slot.open_at)
    }

    /// The requests that are to be shown open at `now`.
    pub(super) fn open(&mut self, now: Timestamp) -> impl Iterator<Item = &mut Exchange> {
        let from = self.opened;
        while self.next_open().is_some_and(|open| open <= now) {
            self.opened += 1;
        }
        self.slots.range_mut(from..self.opened)
    }

    /// When the oldest request is given up.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.slots.get(self.ghosts).map(|slot| slot.deadline)
    }

    /// Shows requests whose answer is overdue; they keep their place.
    pub(super) fn expire(&mut self, now: Timestamp, shown: &mut Vec<Exchange>) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.surrender_next(ErrorKind::Timeout, "no answer within the configured time", None, shown);
        }
    }

    fn surrender_next(
        &mut self,
        kind: ErrorKind,
        why: &'static str,
        limit: Option<&'static str>,
        shown: &mut Vec<Exchange>,
    ) {
        let Some(slot) = self.slots.get_mut(self.ghosts) else { return };
        if let Some(limit) = limit {
            slot.events.push(EntryEvent::LimitExceeded { limit: limit.into() });
        }
        shown.push(slot.surrender(kind, why));
        self.ghosts += 1;
        self.opened = self.opened.max(self.ghosts);
    }

    /// No more answers will come: shows what waits.
    pub(super) fn close(&mut self, kind: ErrorKind, why: &'static str, shown: &mut Vec<Exchange>) {
        while self.ghosts < self.slots.len() {
            self.surrender_next(kind, why, None, shown);
        }
        self.slots.clear();
        self.ghosts = 0;
        self.opened = 0;
    }
}
