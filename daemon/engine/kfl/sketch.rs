//! What a filter asks, for whoever keeps many entries: can a set of them hold a match, does one whose
//! messages are not read yet?
//!
//! A sketch is the filter's skeleton of `and`, `or`, `not`; each condition in it is judged by facts. It
//! never errs towards "no": what is not known counts as possible.

use smallvec::SmallVec;

use super::ast::Binary;
use super::eval::Env;
use super::fields;
use super::program::{Const, Pred, Source, Term};
use super::select::Step;
use crate::model::{
    CaptureInfo, ConnectionId, Entry, EntryId, FieldType, NodeInfo, Peer, ProtocolKey, Timing, Value,
};

/// Where a text would have to be for a condition to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The field of this name.
    Field(&'a str),
    /// Somewhere in the request or the response.
    Message,
}

/// What is known of a set of entries. Every answer may be "not known".
pub trait Facts {
    /// Protocols that occur.
    fn protocols(&self) -> Option<&[ProtocolKey]>;
    /// The value of a flag that all entries agree on.
    fn flag(&self, field: &str) -> Option<bool>;
    /// Bounds of a number, inclusive; moments in ns since 1970.
    fn range(&self, field: &str) -> Option<(i64, i64)>;
    /// Whether any text at this place may contain `needle`. Only asked of texts that are stored as they
    /// are: a number that reads like the needle need not be thought of.
    fn may_contain(&self, place: Place<'_>, needle: &[u8]) -> bool;
}

/// What is known before the messages of an entry are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not match, whatever its messages are.
    No,
    /// That depends on its messages.
    Open,
    /// It matches, whatever its messages are.
    Yes,
}

/// Members of messages that an entry may keep outside of them as well, as (is it the request, name):
/// a partial entry that has them in its trees has them as they are.
const MIRRORED: [(bool, &str); 3] = [(true, "method"), (true, "path"), (false, "status")];

/// Fields whose getters read the messages.
const READ_MESSAGES: [&str; 2] = ["grpc_method", "grpc_status"];

/// The skeleton of a filter.
#[derive(Clone, Debug)]
pub struct Sketch(Node);

#[derive(Clone, Debug)]
enum Node {
    Const(bool),
    Leaf { pred: Pred, needs: Needs },
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// What of the messages a condition reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Members that may be there before the rest, by index in [`MIRRORED`].
    mirrored: SmallVec<[usize; 2]>,
    /// Anything else.
    messages: bool,
}

/// What a condition may come out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Possible {
    yes: bool,
    no: bool,
}

impl Possible {
    const OPEN: Self = Self { yes: true, no: true };

    fn of(flag: bool) -> Self {
        Self { yes: flag, no: !flag }
    }

    /// True may be impossible; false never is.
    fn if_any(yes: bool) -> Self {
        Self { yes, no: true }
    }
}

impl Sketch {
    pub(super) fn new(pred: &Pred) -> Self {
        Self(Node::new(pred))
    }

    /// Whether any entry of a set with these facts may match.
    pub fn could_match(&self, facts: &dyn Facts) -> bool {
        self.0.possible(&|pred, _| from_facts(pred, facts)).yes
    }

    /// Whether an entry matches whose messages are not read: they are `Null`, or hold only the request's
    /// method and path and the response's status.
    pub fn judge(&self, partial: &Entry) -> Verdict {
        let possible = self.0.possible(&|pred, needs| {
            if !needs.met_by(partial) {
                return Possible::OPEN;
            }
            let mut env = Env::new(partial);
            let holds = pred.holds(&mut env);
            if env.work.is_exhausted() { Possible::OPEN } else { Possible::of(holds) }
        });
        match possible {
            Possible { yes: true, no: true } => Verdict::Open,
            Possible { yes: true, .. } => Verdict::Yes,
            Possible { yes: false, .. } => Verdict::No,
        }
    }

    /// Whether the answer may depend on the messages, the three members of [`Self::judge`] included.
    pub fn reads_messages(&self) -> bool {
        self.0.reads_messages()
    }
}

impl Node {
    fn new(pred: &Pred) -> Self {
        match pred {
            Pred::Const(flag) => Self::Const(*flag),
            Pred::Not(inner) => Self::Not(Box::new(Self::new(inner))),
            Pred::And(items) => Self::And(items.iter().map(Self::new).collect()),
            Pred::Or(items) => Self::Or(items.iter().map(Self::new).collect()),
            other => {
                let mut needs = Needs::default();
                needs.add_pred(other);
                Self::Leaf { pred: other.clone(), needs }
            }
        }
    }

    fn possible(&self, leaf: &dyn Fn(&Pred, &Needs) -> Possible) -> Possible {
        match self {
            Self::Const(flag) => Possible::of(*flag),
            Self::Leaf { pred, needs } => leaf(pred, needs),
            Self::Not(inner) => {
                let Possible { yes, no } = inner.possible(leaf);
                Possible { yes: no, no: yes }
            }
            Self::And(items) => {
                let mut all = Possible { yes: true, no: false };
                for item in items {
                    let item = item.possible(leaf);
                    if !item.yes {
                        return Possible::of(false);
                    }
                    all.no |= item.no;
                }
                all
            }
            Self::Or(items) => {
                let mut any = Possible { yes: false, no: true };
                for item in items {
                    let item = item.possible(leaf);
                    if !item.no {
                        return Possible::of(true);
                    }
                    any.yes |= item.yes;
                }
                any
            }
        }
    }

    fn reads_messages(&self) -> bool {
        match self {
            Self::Const(_) => false,
            Self::Leaf { needs, .. } => needs.any(),
            Self::Not(inner) => inner.reads_messages(),
            Self::And(items) | Self::Or(items) => items.iter().any(Self::reads_messages),
        }
    }
}

impl Needs {
    /// Whether anything of the messages is read.
    pub(super) fn any(&self) -> bool {
        self.messages || !self.mirrored.is_empty()
    }

    /// Whether anything is read that is in messages only.
    pub(super) fn beyond_mirrored(&self) -> bool {
        self.messages
    }

    /// Whether a partial entry has all of it.
    pub(super) fn met_by(&self, partial: &Entry) -> bool {
        !self.messages
            && self.mirrored.iter().filter_map(|index| MIRRORED.get(*index)).all(|(is_request, name)| {
                let tree = if *is_request { &partial.request } else { &partial.response };
                tree.get(name).is_some()
            })
    }

    pub(super) fn add_source(&mut self, source: &Source) {
        let (is_request, steps) = match source {
            Source::Request(steps) => (true, steps),
            Source::Response(steps) => (false, steps),
            Source::Get(_, name) => {
                self.messages |= READ_MESSAGES.contains(name);
                return;
            }
            // Texts are made of ids and names.
            Source::Text(_) | Source::Nothing => return,
        };
        let member = match &**steps {
            [Step::Member { name, .. }] => {
                MIRRORED.iter().position(|(side, known)| *side == is_request && known == name)
            }
            _ => None,
        };
        match member {
            Some(index) => self.mirrored.push(index),
            None => self.messages = true,
        }
    }

    fn add_pred(&mut self, pred: &Pred) {
        match pred {
            Pred::Const(_) => {}
            Pred::Flag(source) | Pred::Int { source, .. } | Pred::Text { source, .. } => {
                self.add_source(source);
            }
            Pred::Truth(term) | Pred::Has(term) => self.add_term(term),
            Pred::Not(inner) => self.add_pred(inner),
            Pred::And(items) | Pred::Or(items) => items.iter().for_each(|item| self.add_pred(item)),
            Pred::Compare { left, right, .. } => self.add_terms([left, right]),
            Pred::Match { term, .. }
            | Pred::Find { term, .. }
            | Pred::Affix { term, .. }
            | Pred::Network { term, .. } => {
                self.add_term(term);
            }
            Pred::Test { term, other, .. } => self.add_terms([term, other]),
            Pred::In { wanted, container, .. } => self.add_terms([wanted, container]),
            // Rare in filters over a history; reading the messages is always right.
            Pred::Cond(..) | Pred::Quantify { .. } => self.messages = true,
        }
    }

    fn add_terms(&mut self, terms: [&Term; 2]) {
        for term in terms {
            self.add_term(term);
        }
    }

    pub(super) fn add_term(&mut self, term: &Term) {
        match term {
            Term::Const(_) => {}
            Term::Field(source, _) => self.add_source(source),
            Term::Pred(pred) => self.add_pred(pred),
            Term::Negative(inner)
            | Term::Size(inner)
            | Term::Lower(inner)
            | Term::Upper(inner)
            | Term::Convert(_, inner)
            | Term::TimePart(_, inner) => self.add_term(inner),
            Term::Arithmetic(_, left, right) => {
                self.add_term(left);
                self.add_term(right);
            }
            Term::List(items) => items.iter().for_each(|item| self.add_term(item)),
            _ => self.messages = true,
        }
    }
}

fn from_facts(pred: &Pred, facts: &dyn Facts) -> Possible {
    match pred {
        Pred::Flag(Source::Get(_, name)) => flag(name, pred, facts),
        Pred::Int { source: Source::Get(_, name), operator, value } => {
            facts.range(name).map_or(Possible::OPEN, |range| ordered(*operator, range, *value))
        }
        Pred::Compare {
            operator,
            left: Term::Field(Source::Get(_, name), FieldType::Timestamp | FieldType::Int),
            right: Term::Const(Const::Time(value) | Const::Int(value)),
            ..
        } => facts.range(name).map_or(Possible::OPEN, |range| ordered(*operator, range, *value)),
        Pred::Text { source, value, equal: true, ip: None } => {
            Possible::if_any(holds_text(source, value.as_bytes(), facts))
        }
        Pred::Compare { operator: Binary::Eq, left, right: Term::Const(Const::Str(text)), .. } => {
            may_hold(left, text.as_bytes(), facts)
        }
        Pred::Find { term, finder } => may_hold(term, finder.needle(), facts),
        Pred::Affix { term, wanted, .. } => may_hold(term, wanted, facts),
        Pred::Test { term, other: Term::Const(Const::Str(text)), .. } => {
            may_hold(term, text.as_bytes(), facts)
        }
        Pred::In { wanted, container: Term::List(items), .. } => {
            Possible::if_any(items.iter().any(|item| match item {
                Term::Const(Const::Str(text)) => may_hold(wanted, text.as_bytes(), facts).yes,
                _ => true,
            }))
        }
        _ => Possible::OPEN,
    }
}

fn flag(name: &str, pred: &Pred, facts: &dyn Facts) -> Possible {
    if let Some(agreed) = facts.flag(name) {
        return Possible::of(agreed);
    }
    let (true, Some(protocols)) = (fields::is_protocol_flag(name), facts.protocols()) else {
        return Possible::OPEN;
    };
    let mut possible = Possible { yes: false, no: false };
    for protocol in protocols {
        let entry = bare(protocol);
        let holds = pred.holds(&mut Env::new(&entry));
        possible.yes |= holds;
        possible.no |= !holds;
    }
    possible
}

/// An entry of which only the protocol is known.
fn bare(protocol: &ProtocolKey) -> Entry {
    let node = NodeInfo { name: "".into(), ip: [0, 0, 0, 0].into() };
    Entry {
        id: EntryId::default(),
        seq: 0,
        protocol: protocol.clone(),
        node: node.into(),
        src: Peer::default(),
        dst: Peer::default(),
        outgoing: false,
        tls: false,
        tls_info: None,
        timing: Timing::default(),
        method: "".into(),
        summary: "".into(),
        status: 0,
        request: Value::Null,
        response: Value::Null,
        request_size: 0,
        response_size: 0,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(0),
        capture: CaptureInfo::default(),
    }
}

fn ordered(operator: Binary, (least, most): (i64, i64), value: i64) -> Possible {
    let inside = least <= value && value <= most;
    let (yes, no) = match operator {
        Binary::Eq => (inside, !(least == value && most == value)),
        Binary::Ne => (!(least == value && most == value), inside),
        Binary::Lt => (least < value, most >= value),
        Binary::Le => (least <= value, most > value),
        Binary::Gt => (most > value, least <= value),
        Binary::Ge => (most >= value, least < value),
        _ => (true, true),
    };
    Possible { yes, no }
}

/// A condition that needs the text in the term's value.
fn may_hold(term: &Term, needle: &[u8], facts: &dyn Facts) -> Possible {
    let mut part = term;
    while let Term::Select(whole, _) = part {
        part = whole;
    }
    let Term::Field(source, _) = part else { return Possible::OPEN };
    Possible::if_any(holds_text(source, needle, facts))
}

fn holds_text(source: &Source, needle: &[u8], facts: &dyn Facts) -> bool {
    let place = match source {
        Source::Get(_, name) => Place::Field(name),
        Source::Request(_) | Source::Response(_) => Place::Message,
        Source::Text(_) | Source::Nothing => return true,
    };
    reads_like_a_constant(needle) || facts.may_contain(place, needle)
}

/// Whether a value that is not stored as text may have this in its text form: a number, `true`, `null`.
fn reads_like_a_constant(needle: &[u8]) -> bool {
    let number = needle.iter().all(|byte| {
        matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') || byte.is_ascii_whitespace()
    });
    let word = ["true", "false", "null", "NaN", "inf"]
        .iter()
        .any(|word| memchr::memmem::find(word.as_bytes(), needle).is_some());
    number || word
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::sample;
    use super::*;
    use crate::kfl::{Context, Filter, fields as all_fields};
    use crate::model::{FieldSource, FieldValue, Map, Timestamp};

    fn without_messages(entry: &Entry) -> Entry {
        Entry { request: Value::Null, response: Value::Null, ..entry.clone() }
    }

    fn stub(entry: &Entry) -> Entry {
        let part = |tree: &Value, names: &[&str]| {
            let parts = names.iter().filter_map(|name| Some(((*name).into(), tree.get(name)?.clone())));
            Value::Map(Map(parts.collect()))
        };
        Entry {
            request: part(&entry.request, &["method", "path"]),
            response: part(&entry.response, &["status"]),
            ..entry.clone()
        }
    }

    #[test]
    fn only_the_listed_fields_read_messages() {
        let mut full = sample::http("GET", "/a?b=c", 404, json!({"Grpc-Status": "5"}));
        full.response = sample::tree(&json!({"headers": {"Grpc-Status": "5"}}));
        for protocol in ["http", "grpc"] {
            full.protocol = ProtocolKey::new(protocol);
            let partial = without_messages(&full);
            for field in all_fields() {
                let FieldSource::Get(get) = field.source else { continue };
                let same = format!("{:?}", get(&full)) == format!("{:?}", get(&partial));
                let tree = matches!(get(&full), FieldValue::Tree(_));
                assert!(
                    (same && !tree) || READ_MESSAGES.contains(&field.name),
                    "{} reads a message",
                    field.name
                );
            }
        }
    }

    #[test]
    fn the_judgement_of_a_partial_entry_agrees_with_the_whole() {
        let entries = [
            sample::http("GET", "/users/1", 200, json!({"Host": "a"})),
            sample::http("POST", "/orders", 500, json!({"Host": "b"})),
            sample::entry("redis", json!({"command": "GET", "key": "k"}), json!({"value": 1})),
        ];
        let filters = [
            ("http", true),
            ("!http", true),
            ("redis and src.port > 1", true),
            ("status_code >= 500", true),
            ("response.status == 500", false),
            ("http and request.path == \"/orders\"", false),
            ("request.headers[\"Host\"] == \"a\"", false),
            ("redis or request.method == \"GET\"", false),
            ("!(request.path.startsWith(\"/u\"))", false),
            ("request.body.contains(\"b\")", false),
            ("timestamp > now() - duration(\"5m\")", true),
            ("\"session\" in request.cookies", false),
        ];
        for (text, light) in filters {
            let filter = Filter::parse(text, &Context::new(Timestamp(9))).unwrap();
            let sketch = filter.sketch();
            assert_eq!(sketch.reads_messages(), !light, "{text}");
            for entry in &entries {
                for partial in [without_messages(entry), stub(entry)] {
                    let expected = if filter.matches(entry) { Verdict::Yes } else { Verdict::No };
                    let verdict = sketch.judge(&partial);
                    assert!(
                        verdict == expected || (verdict == Verdict::Open && !light),
                        "{text}: {verdict:?}"
                    );
                }
            }
        }
        let filter = Filter::parse("response.status == 500", &Context::new(Timestamp(9))).unwrap();
        assert_eq!(filter.sketch().judge(&stub(&entries[1])), Verdict::Yes);
        assert_eq!(filter.sketch().judge(&stub(&entries[0])), Verdict::No);
    }

    struct Known;

    impl Facts for Known {
        fn protocols(&self) -> Option<&[ProtocolKey]> {
            const ONLY: &[ProtocolKey] = &[ProtocolKey::new("http")];
            Some(ONLY)
        }

        fn flag(&self, field: &str) -> Option<bool> {
            (field == "tls").then_some(false)
        }

        fn range(&self, field: &str) -> Option<(i64, i64)> {
            (field == "status_code").then_some((200, 404))
        }

        fn may_contain(&self, _: Place<'_>, needle: &[u8]) -> bool {
            needle == b"/users"
        }
    }

    #[test]
    fn facts_rule_out_what_cannot_be() {
        let could = |text: &str| {
            Filter::parse(text, &Context::new(Timestamp(9))).unwrap().sketch().could_match(&Known)
        };
        for text in [
            "redis",
            "!http",
            "tls",
            "status_code >= 500",
            "http and status_code < 200",
            "path == \"/x\"",
            "redis or path.contains(\"nothing\")",
            "path in [\"/a\", \"/b\"]",
            "!(status_code < 500)",
        ] {
            assert!(!could(text), "{text}");
        }
        for text in [
            "http",
            "!redis",
            "!tls",
            "status_code == 300",
            "path == \"/users\"",
            "request.n == \"12\"",
            "path != \"/x\"",
            "path == \"/x\" or http",
            "path in [\"/a\", \"/users\"]",
            "src.port == 7",
            "",
            "!(path == \"/x\")",
            "path == r\"/x\"",
        ] {
            assert!(could(text), "{text}");
        }
    }
}
