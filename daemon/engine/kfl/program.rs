//! A compiled filter: a tree of predicates over an entry, each leaf as special as it can be.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use memchr::memmem;

use super::ast::Binary;
use super::cidr::Network;
use super::select::Step;
use crate::model::{Entry, FieldType, FieldValue};

/// Where a term reads the entry.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A getter, and the name of its row.
    Get(for<'a> fn(&'a Entry) -> FieldValue<'a>, &'static str),
    Text(fn(&Entry) -> CompactString),
    /// Steps below the request's or the response's tree.
    Request(Arc<[Step]>),
    Response(Arc<[Step]>),
    /// Nothing fills it yet.
    Nothing,
}

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum Pred {
    Const(bool),
    /// A field of type bool.
    Flag(Source),
    /// The truth of a value of any type.
    Truth(Term),
    Not(Box<Pred>),
    And(Box<[Pred]>),
    Or(Box<[Pred]>),
    Cond(Box<[(Pred, Pred)]>, Box<Pred>),
    /// A number of the entry beside a constant.
    Int {
        source: Source,
        operator: Binary,
        value: i64,
    },
    /// A text of the entry beside a constant; `ip` where the constant is an address.
    Text {
        source: Source,
        value: Box<str>,
        ip: Option<IpAddr>,
        equal: bool,
    },
    /// Any two values. `loose`: texts that spell numbers are ordered as numbers.
    Compare {
        operator: Binary,
        left: Term,
        right: Term,
        loose: bool,
    },
    /// A text against a regular expression; on lists, any item. `negated`: none of the items.
    Match {
        term: Term,
        regex: regex::bytes::Regex,
        negated: bool,
    },
    /// A substring test with a constant.
    Find {
        term: Term,
        finder: Box<memmem::Finder<'static>>,
    },
    /// Whether a text begins, or ends, with a constant.
    Affix {
        term: Term,
        wanted: Box<[u8]>,
        at_end: bool,
        /// The octets that the constant spells (`192.168.`), for addresses.
        octets: Option<Box<[u8]>>,
    },
    /// A text test with any two terms.
    Test {
        test: TextTest,
        term: Term,
        other: Term,
    },
    In {
        wanted: Term,
        container: Term,
        ignore_case: bool,
    },
    Network {
        term: Term,
        networks: Box<[Network]>,
    },
    /// Whether there is a value.
    Has(Term),
    Quantify {
        kind: Quantifier,
        list: Term,
        slot: usize,
        test: Box<Pred>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    Exists,
    All,
    ExistsOne,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Const {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    Time(i64),
    Duration(i64),
}

/// A value to be computed.
#[derive(Clone, Debug)]
pub(super) enum Term {
    Const(Const),
    /// A field; the type says what stands for a missing value, `Any` lets it be missing.
    Field(Source, FieldType),
    /// A variable of `exists`, `map`, and so on.
    Local(usize),
    Pred(Box<Pred>),
    Select(Box<Term>, Arc<[Step]>),
    Index {
        base: Box<Term>,
        key: Box<Term>,
        ignore_case: bool,
    },
    Arithmetic(Binary, Box<Term>, Box<Term>),
    Negative(Box<Term>),
    Size(Box<Term>),
    Lower(Box<Term>),
    Upper(Box<Term>),
    Convert(Conversion, Box<Term>),
    MapGet {
        map: Box<Term>,
        key: Box<Term>,
        default: Box<Term>,
        ignore_case: bool,
    },
    List(Box<[Term]>),
    Map(Box<[(Term, Term)]>),
    Json(Box<Term>),
    Xml(Box<Term>),
    Collect {
        list: Box<Term>,
        slot: usize,
        test: Box<Pred>,
        value: Box<Term>,
    },
    Cond(Box<[(Pred, Term)]>, Box<Term>),
    TimePart(&'static str, Box<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    Int,
    Float,
    Str,
    Bool,
    Time,
    Duration,
}

impl Pred {
    /// A rank for the order of operands of `and` and `or`: cheap ones first. Conditions have no
    /// effects and no errors, so that their order cannot change the result.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Const(_) => 0,
            Self::Flag(source) => source.cost(),
            Self::Int { source, .. } => 1 + source.cost(),
            Self::Text { source, .. } => 2 + source.cost(),
            Self::Truth(term) | Self::Has(term) => 2 + term.cost(),
            Self::Not(inner) => inner.cost(),
            Self::And(items) | Self::Or(items) => items.iter().map(Self::cost).fold(0, u32::saturating_add),
            Self::Cond(branches, otherwise) => branches
                .iter()
                .map(|(condition, value)| condition.cost().saturating_add(value.cost()))
                .fold(otherwise.cost(), u32::saturating_add),
            Self::Compare { left, right, .. } => {
                3_u32.saturating_add(left.cost()).saturating_add(right.cost())
            }
            Self::Match { term, .. } => 50_u32.saturating_add(term.cost()),
            Self::Find { term, .. } => 10_u32.saturating_add(term.cost()),
            Self::Affix { term, .. } => 3_u32.saturating_add(term.cost()),
            Self::Test { test, term, other } => {
                let base: u32 = if *test == TextTest::Contains { 10 } else { 3 };
                base.saturating_add(term.cost()).saturating_add(other.cost())
            }
            Self::In { wanted, container, .. } => {
                5_u32.saturating_add(wanted.cost()).saturating_add(container.cost())
            }
            Self::Network { term, .. } => 4_u32.saturating_add(term.cost()),
            Self::Quantify { list, test, .. } => {
                test.cost().saturating_mul(8).saturating_add(20).saturating_add(list.cost())
            }
        }
    }
}

impl Source {
    fn cost(&self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Get(..) => 1,
            Self::Text(_) => 6,
            Self::Request(steps) | Self::Response(steps) => {
                let bodies = steps.iter().any(|step| match step {
                    Step::Member { name, .. } => name == "text" || name == "body",
                    _ => false,
                });
                let wide = !super::select::is_single(steps);
                4 + steps.len() as u32 * 2 + if bodies { 200 } else { 0 } + if wide { 100 } else { 0 }
            }
        }
    }
}

impl Term {
    fn cost(&self) -> u32 {
        match self {
            Self::Const(_) => 0,
            Self::Local(_) => 1,
            Self::Field(source, _) => source.cost(),
            Self::Pred(pred) => pred.cost(),
            Self::Select(base, steps) => base.cost().saturating_add(2 * steps.len() as u32),
            Self::Index { base, key, .. } => 4_u32.saturating_add(base.cost()).saturating_add(key.cost()),
            Self::Arithmetic(_, left, right) => {
                2_u32.saturating_add(left.cost()).saturating_add(right.cost())
            }
            Self::Negative(inner)
            | Self::Size(inner)
            | Self::Convert(_, inner)
            | Self::TimePart(_, inner) => 2_u32.saturating_add(inner.cost()),
            Self::Lower(inner) | Self::Upper(inner) => 10_u32.saturating_add(inner.cost()),
            Self::MapGet { map, key, default, .. } => {
                4_u32.saturating_add(map.cost()).saturating_add(key.cost()).saturating_add(default.cost())
            }
            Self::List(items) => items.iter().map(Self::cost).fold(2, u32::saturating_add),
            Self::Map(items) => items
                .iter()
                .map(|(key, value)| key.cost().saturating_add(value.cost()))
                .fold(2, u32::saturating_add),
            Self::Json(inner) | Self::Xml(inner) => 2000_u32.saturating_add(inner.cost()),
            Self::Collect { list, test, value, .. } => {
                let each = test.cost().saturating_add(value.cost()).saturating_mul(8);
                each.saturating_add(20).saturating_add(list.cost())
            }
            Self::Cond(branches, otherwise) => branches
                .iter()
                .map(|(condition, value)| condition.cost().saturating_add(value.cost()))
                .fold(otherwise.cost(), u32::saturating_add),
        }
    }
}
