//! Queries and answers as entries: the trees that Kubeshark's users know, and what belongs beside them.

use compact_str::CompactString;

use super::message::{Message, Question, Record};
use super::names::{code_names, opcode_name, type_name};
use crate::dissect::{Stage, Transaction};
use crate::limits::dns as limits;
use crate::model::{EntryError, EntryEvent, ErrorKind, Map, ProtocolKey, Timestamp, Timing, Value};

/// Which of the protocols with these messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// The stored key.
    pub(super) key: ProtocolName,
    /// What it rides on.
    pub(super) over_tcp: bool,
}

/// Protocols with DNS messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtocolName {
    Dns,
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// Link-local multicast name resolution (RFC 4795).
    Llmnr,
}

impl ProtocolName {
    /// The stored key.
    pub(super) const fn key(self) -> ProtocolKey {
        ProtocolKey::new(match self {
            Self::Dns => "dns",
            Self::Mdns => "mdns",
            Self::Llmnr => "llmnr",
        })
    }
}

/// A message with its moments and its size.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) message: Message,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Bytes on the wire.
    pub(super) size: u64,
}

impl Half {
    /// Appends the next part of a zone.
    pub(super) fn extend(&mut self, more: Self) {
        self.end = more.end;
        self.size += more.size;
        self.message.malformed = self.message.malformed.or(more.message.malformed);
        self.message.left_out += more.message.left_out;
        for (records, more) in self.message.sections.iter_mut().zip(more.message.sections) {
            let room = limits::RECORDS.saturating_sub(records.len());
            self.message.left_out += more.len().saturating_sub(room);
            records.extend(more.into_iter().take(room));
        }
    }
}

/// The entry of a query, its answer, or both.
pub(super) fn transaction(
    service: Service,
    query: Option<Half>,
    answer: Option<Half>,
    error: Option<(ErrorKind, &'static str)>,
) -> Transaction {
    let shown = query.as_ref().or(answer.as_ref()).map(|half| &half.message);
    let opcode = shown.map_or(0, |message| message.header.opcode());
    let summary = shown.map(summary_of).unwrap_or_default();
    let mut done = Transaction {
        stage: Stage::Whole,
        protocol: service.key.key(),
        method: opcode_name(opcode),
        summary,
        status: 0,
        request: Value::Null,
        response: Value::Null,
        request_size: 0,
        response_size: 0,
        timing: Timing::default(),
        error: error.map(|(kind, message)| EntryError { kind, message: CompactString::const_new(message) }),
        events: Vec::new(),
    };
    let asked = query.is_some();
    if let Some(query) = query {
        done.timing.request_start = query.start;
        done.timing.request_end = query.end;
        done.request_size = query.size;
        note(&query.message, &mut done);
        done.request = Value::Map(request(query.message, service));
    }
    if let Some(answer) = answer {
        done.timing.response_start = answer.start;
        done.timing.response_end = answer.end;
        done.response_size = answer.size;
        done.status = i64::from(answer.message.code());
        note(&answer.message, &mut done);
        done.response = Value::Map(response(answer.message, service, asked));
    }
    done
}

/// The name that it is about.
fn summary_of(message: &Message) -> CompactString {
    let record =
        || message.sections.iter().flatten().next()?.tree.get("name")?.as_str().map(CompactString::from);
    let question = message.questions.first().map(|question| question.name.clone());
    question.or_else(record).unwrap_or_default()
}

fn note(message: &Message, done: &mut Transaction) {
    if let Some(what) = message.malformed {
        done.events.push(EntryEvent::Anomaly { what: what.into() });
    }
    if message.left_out > 0 {
        done.events.push(EntryEvent::LimitExceeded { limit: "dns_records".into() });
    }
}

fn request(message: Message, service: Service) -> Map {
    let mut tree = Map::with_capacity(12);
    put_header(&mut tree, &message, service);
    tree.put("checkingDisabled", message.header.flag(4));
    put_questions(&mut tree, &message.questions);
    let has_records = message.sections.iter().any(|records| !records.is_empty());
    if let Some(edns) = message.edns {
        tree.put("edns", edns.tree);
    }
    // Updates and notifications carry records; queries do not.
    if has_records {
        put_sections(&mut tree, message.sections);
    }
    tree
}

fn response(message: Message, service: Service, asked: bool) -> Map {
    let (mnemonic, text) = code_names(message.code());
    let mut tree = Map::with_capacity(18);
    put_header(&mut tree, &message, service);
    tree.put("code", text);
    tree.put("rcode", mnemonic);
    tree.put("authoritative", message.header.flag(10));
    tree.put("truncated", message.header.flag(9));
    tree.put("recursionAvailable", message.header.flag(7));
    tree.put("authenticData", message.header.flag(5));
    if !asked {
        put_questions(&mut tree, &message.questions);
    }
    let values = message.sections.first().into_iter().flatten();
    let values = values.filter_map(|record| record.tree.get("data").cloned()).collect();
    tree.put("values", Value::List(values));
    if let Some(edns) = message.edns {
        tree.put("edns", edns.tree);
    }
    put_sections(&mut tree, message.sections);
    tree
}

fn put_header(tree: &mut Map, message: &Message, service: Service) {
    tree.put("id", Value::Int(i64::from(message.header.id)));
    tree.put("opCode", opcode_name(message.header.opcode()));
    tree.put("transport", Value::from(if service.over_tcp { "tcp" } else { "udp" }));
    tree.put("recursionDesired", message.header.flag(8));
}

fn put_questions(tree: &mut Map, questions: &[Question]) {
    tree.put("questions", Value::List(questions.iter().map(Question::tree).collect()));
    tree.put("names", Value::List(questions.iter().map(|it| Value::Str(it.name.clone())).collect()));
    tree.put("types", Value::List(questions.iter().map(|it| Value::Str(type_name(it.kind))).collect()));
}

fn put_sections(tree: &mut Map, sections: [Vec<Record>; 3]) {
    for (key, records) in ["answers", "authorities", "additionals"].into_iter().zip(sections) {
        tree.put(key, Value::List(records.into_iter().map(|record| Value::Map(record.tree)).collect()));
    }
}
