//! Queries that wait for their answers: matched by id and question, within one flow.

use std::collections::VecDeque;

use super::entry::{Half, Service, transaction};
use super::message::{Message, Question, Record};
use crate::dissect::{Output, Transaction};
use crate::limits::{Limits, dns as limits};
use crate::model::{EntryEvent, ErrorKind, Timestamp, Value};

/// A query without its answer yet.
#[derive(Debug)]
struct Pending {
    query: Half,
    deadline: Timestamp,
    /// How often it was sent before.
    retries: u32,
    /// What came of a zone transfer so far.
    transfer: Option<Half>,
}

/// All that is under way on a flow.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    waiting: VecDeque<Pending>,
    /// What was answered last, to know a repeated answer.
    answered: VecDeque<(u16, Option<Question>)>,
}

fn same(message: &Message, id: u16, question: Option<&Question>) -> bool {
    if message.header.id != id {
        return false;
    }
    match (message.questions.first(), question) {
        (Some(one), Some(other)) => one.is(other),
        // Servers that refuse may leave the question out.
        _ => true,
    }
}

impl Matcher {
    /// A query. One that was sent before and is still unanswered is given up.
    pub(super) fn ask(&mut self, service: Service, query: Half, out: &mut Output<'_>) {
        let (id, question) = (query.message.header.id, query.message.questions.first());
        let mut retries = 0;
        if let Some(at) = self.waiting.iter().position(|open| same(&open.query.message, id, question))
            && let Some(first) = self.waiting.remove(at)
        {
            retries = first.retries + 1;
            give_up(first, service, (ErrorKind::Timeout, "sent again before it was answered"), None, out);
        }
        if self.waiting.len() >= out.limits.max_pending
            && let Some(oldest) = self.waiting.pop_front()
        {
            let limit = EntryEvent::LimitExceeded { limit: "max_pending".into() };
            give_up(oldest, service, (ErrorKind::PairNotFound, "too many queries wait"), Some(limit), out);
        }
        let deadline = query.end.plus(out.limits.lookup_timeout);
        self.waiting.push_back(Pending { query, deadline, retries, transfer: None });
    }

    /// An answer.
    pub(super) fn answer(&mut self, service: Service, answer: Half, out: &mut Output<'_>) {
        let (id, question) = (answer.message.header.id, answer.message.questions.first());
        let Some(at) = self.waiting.iter().position(|open| same(&open.query.message, id, question)) else {
            return self.unasked(service, answer, out);
        };
        let Some(mut open) = self.waiting.remove(at) else { return };
        let Some(answer) = merge(&mut open, answer, out.limits) else {
            // More of the zone is to come; what waits stays in the order of the deadlines.
            self.waiting.push_back(open);
            return;
        };
        if self.answered.len() >= limits::ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((id, open.query.message.questions.first().cloned()));
        let mut done = transaction(service, Some(open.query), Some(answer), None);
        note_retries(&mut done, open.retries);
        out.transactions.push(done);
    }

    fn unasked(&mut self, service: Service, answer: Half, out: &mut Output<'_>) {
        let known = self.answered.iter().any(|(id, question)| same(&answer.message, *id, question.as_ref()));
        let why = if known { "the answer came before" } else { "its query was not captured" };
        out.transactions.push(transaction(service, None, Some(answer), Some((ErrorKind::PairNotFound, why))));
    }

    /// Gives up what waited too long.
    pub(super) fn expire(&mut self, now: Timestamp, service: Service, out: &mut Output<'_>) {
        while self.waiting.front().is_some_and(|open| open.deadline <= now) {
            if let Some(open) = self.waiting.pop_front() {
                give_up(open, service, (ErrorKind::Timeout, "no answer in time"), None, out);
            }
        }
    }

    /// Gives up everything.
    pub(super) fn close(
        &mut self,
        service: Service,
        kind: ErrorKind,
        why: &'static str,
        out: &mut Output<'_>,
    ) {
        for open in std::mem::take(&mut self.waiting) {
            give_up(open, service, (kind, why), None, out);
        }
    }

    /// Bytes of memory that it holds, roughly: read, a record takes several times its bytes on the wire.
    pub(super) fn held(&self) -> usize {
        const GROWTH: u64 = 8;
        let size = |open: &Pending| open.query.size + open.transfer.as_ref().map_or(0, |half| half.size);
        usize::try_from(self.waiting.iter().map(size).sum::<u64>() * GROWTH).unwrap_or(usize::MAX)
    }

    /// When something is to be given up.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.waiting.front().map(|open| open.deadline)
    }
}

fn give_up(
    open: Pending,
    service: Service,
    error: (ErrorKind, &'static str),
    event: Option<EntryEvent>,
    out: &mut Output<'_>,
) {
    let mut done = transaction(service, Some(open.query), open.transfer, Some(error));
    note_retries(&mut done, open.retries);
    done.events.extend(event);
    out.transactions.push(done);
}

fn note_retries(done: &mut Transaction, retries: u32) {
    if let (Value::Map(tree), 1..) = (&mut done.request, retries) {
        tree.put("retries", Value::Int(i64::from(retries)));
    }
}

/// An answer that is whole; the parts of a zone transfer (RFC 5936 2.2) are kept together until its end.
fn merge(open: &mut Pending, answer: Half, limits: &Limits) -> Option<Half> {
    let asks_zone = open.query.message.questions.first().is_some_and(Question::is_transfer);
    if !asks_zone || answer.message.code() != 0 {
        return Some(answer);
    }
    let alone = open.transfer.is_none() && is_up_to_date(&open.query.message, &answer.message);
    let whole = match open.transfer.take() {
        None => answer,
        Some(mut whole) => {
            whole.extend(answer);
            whole
        }
    };
    if alone || is_complete(&whole.message) {
        return Some(whole);
    }
    open.deadline = whole.end.plus(limits.lookup_timeout);
    open.transfer = Some(whole);
    None
}

const SOA: u16 = 6;

/// A zone ends with the record that it began with.
fn is_complete(message: &Message) -> bool {
    let [answers, ..] = &message.sections;
    let data = |record: &Record| record.tree.get("data").cloned();
    match (answers.first(), answers.last()) {
        (Some(first), Some(last)) => {
            answers.len() > 1 && last.kind == SOA && data(first) == data(last) || message.left_out > 0
        }
        _ => true,
    }
}

/// Nothing changed since the version that the client has (RFC 1995 4).
fn is_up_to_date(query: &Message, answer: &Message) -> bool {
    let [answers, ..] = &answer.sections;
    let incremental = query.questions.first().is_some_and(|question| question.kind == 251);
    incremental && answers.len() == 1
}
