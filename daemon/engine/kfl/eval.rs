//! Evaluates a compiled filter against an entry.
//!
//! Two values only: what is missing or cannot be computed makes the condition it stands in false,
//! and `!` of that is true. So the order of operands never matters.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::ast::Binary;
use super::document;
use super::moment;
use super::program::{Const, Conversion, Pred, Quantifier, Source, Term, TextTest};
use super::select;
use super::value::{self, Val};
use super::work::Work;
use crate::limits::kfl as limits;
use crate::model::{Entry, FieldType, FieldValue, Value as Tree};

/// One evaluation: the entry, the variables of macros, and the work that is left.
pub(super) struct Env<'e> {
    entry: &'e Entry,
    locals: SmallVec<[Val<'e>; 2]>,
    /// Documents that were read, for when they are asked again.
    documents: SmallVec<[Document<'e>; 1]>,
    pub(super) work: Work,
}

/// A text of the entry read as JSON or XML.
struct Document<'e> {
    text: &'e [u8],
    format: Format,
    tree: Option<Rc<Tree>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Xml,
}

impl<'e> Env<'e> {
    pub(super) fn new(entry: &'e Entry) -> Self {
        Self { entry, locals: SmallVec::new(), documents: SmallVec::new(), work: Work::new() }
    }
}

impl Source {
    pub(super) fn value<'e>(&'e self, env: &mut Env<'e>) -> Val<'e> {
        match self {
            Self::Get(get, _) => Val::field(get(env.entry)),
            Self::Text(get) => Val::Text(get(env.entry)),
            Self::Request(steps) => select::select(&env.entry.request, steps, &mut env.work),
            Self::Response(steps) => select::select(&env.entry.response, steps, &mut env.work),
            Self::Nothing => Val::Missing,
        }
    }
}

impl Pred {
    /// Whether the condition holds.
    pub(super) fn holds<'e>(&'e self, env: &mut Env<'e>) -> bool {
        match self {
            Self::Const(flag) => *flag,
            Self::Flag(Source::Get(get, _)) => matches!(get(env.entry), FieldValue::Bool(true)),
            Self::Flag(source) => source.value(env).truth(),
            Self::Truth(term) => term.value(env).truth(),
            Self::Not(inner) => !inner.holds(env),
            Self::And(items) => items.iter().all(|item| item.holds(env)),
            Self::Or(items) => items.iter().any(|item| item.holds(env)),
            Self::Cond(branches, otherwise) => {
                for (condition, value) in branches {
                    if condition.holds(env) {
                        return value.holds(env);
                    }
                }
                otherwise.holds(env)
            }
            Self::Int { source: Source::Get(get, _), operator, value } => match get(env.entry) {
                FieldValue::Int(number) => holds_order(*operator, number.cmp(value)),
                FieldValue::Missing => holds_order(*operator, 0.cmp(value)),
                _ => false,
            },
            Self::Int { source, operator, value } => match source.value(env) {
                Val::Int(number) => holds_order(*operator, number.cmp(value)),
                Val::Missing => holds_order(*operator, 0.cmp(value)),
                _ => false,
            },
            Self::Text { source, value, ip, equal } => match (source.value(env), ip) {
                (Val::Str(text), _) => (*text == **value) == *equal,
                (Val::Ip(address), Some(ip)) => (address == *ip) == *equal,
                (Val::Missing, _) => value.is_empty() == *equal,
                (other, _) => other.text().is_some_and(|text| (*text == *value.as_bytes()) == *equal),
            },
            Self::Compare { operator, left, right, loose } => {
                let left = left.value(env);
                let right = right.value(env);
                compare(*operator, &left, &right, *loose, &mut env.work)
            }
            Self::Match { term, regex, negated } => {
                let value = term.value(env);
                match on_texts(&value, &mut env.work, limits::PARSE_BYTES_PER_UNIT, &|text| {
                    regex.is_match(text)
                }) {
                    Some(found) => found != *negated,
                    None => false,
                }
            }
            Self::Affix { term, wanted, at_end, octets } => match (term.value(env), octets) {
                (Val::Ip(IpAddr::V4(ip)), Some(octets)) => ip.octets().starts_with(octets),
                (value, _) => affixed(&value, wanted, *at_end, &mut env.work),
            },
            Self::Find { term, finder } => {
                let value = term.value(env);
                let find = |text: &[u8]| finder.find(text).is_some();
                on_texts(&value, &mut env.work, limits::SEARCH_BYTES_PER_UNIT, &find) == Some(true)
            }
            Self::Test { test, term, other } => {
                let value = term.value(env);
                let other = other.value(env);
                text_test(*test, &value, &other, &mut env.work)
            }
            Self::In { wanted, container, ignore_case } => {
                let wanted = wanted.value(env);
                let Term::List(items) = container else {
                    let container = container.value(env);
                    return select::contains(&container, &wanted, *ignore_case, &mut env.work) == Some(true);
                };
                items.iter().any(|item| value::equal(&item.value(env), &wanted) == Some(true))
            }
            Self::Network { term, networks } => {
                let value = term.value(env);
                in_networks(&value, networks)
            }
            Self::Has(term) => !matches!(term.value(env), Val::Missing),
            Self::Quantify { kind, list, slot, test } => quantify(*kind, list, *slot, test, env),
        }
    }
}

fn in_networks(value: &Val<'_>, networks: &[super::cidr::Network]) -> bool {
    let ip = match value {
        Val::Ip(ip) => Some(*ip),
        Val::Missing => None,
        other if other.is_list() => return value::any_item(other, |item| in_networks(item, networks)),
        other => other.text().and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()),
    };
    ip.is_some_and(|ip| networks.iter().any(|network| network.contains(ip)))
}

fn holds_order(operator: Binary, order: Ordering) -> bool {
    match operator {
        Binary::Eq => order.is_eq(),
        Binary::Ne => order.is_ne(),
        Binary::Lt => order.is_lt(),
        Binary::Le => order.is_le(),
        Binary::Gt => order.is_gt(),
        Binary::Ge => order.is_ge(),
        _ => false,
    }
}

fn compare(operator: Binary, left: &Val<'_>, right: &Val<'_>, loose: bool, work: &mut Work) -> bool {
    for side in [left, right] {
        if let Val::Tree(_) | Val::Owned(_) | Val::List(_) | Val::Map(_) = side
            && !work.spend(side.size().unwrap_or(0))
        {
            return false;
        }
    }
    match operator {
        Binary::Eq => value::equal(left, right) == Some(true),
        Binary::Ne => value::equal(left, right) == Some(false),
        Binary::Lt => value::ordered(left, right, loose, Ordering::is_lt),
        Binary::Le => value::ordered(left, right, loose, Ordering::is_le),
        Binary::Gt => value::ordered(left, right, loose, Ordering::is_gt),
        Binary::Ge => value::ordered(left, right, loose, Ordering::is_ge),
        _ => false,
    }
}

/// Whether `test` holds for the text of a value or of any item of a list; `None` without any text.
fn on_texts(
    value: &Val<'_>,
    work: &mut Work,
    bytes_per_unit: usize,
    test: &dyn Fn(&[u8]) -> bool,
) -> Option<bool> {
    if !value.is_list() {
        let text = value.text()?;
        let searched = text.get(..text.len().min(limits::SEARCH)).unwrap_or_default();
        return work.spend(searched.len() / bytes_per_unit).then(|| test(searched));
    }
    let mut any = None;
    for index in 0..value.size()? {
        let found = value.item(index).and_then(|item| {
            let text = item.text()?;
            work.spend(1 + text.len() / bytes_per_unit).then(|| test(&text))
        });
        if found == Some(true) {
            return found;
        }
        any = any.or(found);
    }
    any
}

fn affixed(value: &Val<'_>, wanted: &[u8], at_end: bool, work: &mut Work) -> bool {
    let test = |text: &[u8]| if at_end { text.ends_with(wanted) } else { text.starts_with(wanted) };
    match value {
        Val::Str(text) => test(text.as_bytes()),
        list if list.is_list() => on_texts(list, work, usize::MAX, &test) == Some(true),
        other => other.text().is_some_and(|text| test(&text)),
    }
}

fn text_test(test: TextTest, value: &Val<'_>, other: &Val<'_>, work: &mut Work) -> bool {
    let Some(wanted) = other.text() else { return false };
    let holds = |text: &[u8]| match test {
        TextTest::Contains => memchr::memmem::find(text, &wanted).is_some(),
        TextTest::StartsWith => text.starts_with(&wanted),
        TextTest::EndsWith => text.ends_with(&wanted),
    };
    if !work.spend(wanted.len() / limits::SEARCH_BYTES_PER_UNIT) {
        return false;
    }
    // Only a search looks at all of the text; the others at as much as is wanted.
    let per_unit = if test == TextTest::Contains { limits::SEARCH_BYTES_PER_UNIT } else { usize::MAX };
    if test == TextTest::EndsWith && !value.is_list() {
        return value.text().is_some_and(|text| text.ends_with(&wanted));
    }
    on_texts(value, work, per_unit, &holds) == Some(true)
}

fn quantify<'e>(kind: Quantifier, list: &'e Term, slot: usize, test: &'e Pred, env: &mut Env<'e>) -> bool {
    let list = list.value(env);
    let Some(size) = list.size() else { return false };
    if list.text().is_some() {
        return false;
    }
    let mut count = 0;
    for index in 0..size {
        let Some(item) = list.member(index) else { continue };
        if !bind(slot, item, env) {
            return false;
        }
        match (kind, test.holds(env)) {
            (Quantifier::Exists, true) => return true,
            (Quantifier::All, false) => return false,
            (Quantifier::ExistsOne, true) => count += 1,
            _ => {}
        }
    }
    match kind {
        Quantifier::Exists => false,
        Quantifier::All => true,
        Quantifier::ExistsOne => count == 1,
    }
}

/// Gives a variable its value for one round, which costs work; `false` when there is none left.
fn bind<'e>(slot: usize, item: Val<'e>, env: &mut Env<'e>) -> bool {
    while env.locals.len() <= slot {
        env.locals.push(Val::Missing);
    }
    if let Some(local) = env.locals.get_mut(slot) {
        *local = item;
    }
    env.work.spend(1)
}

impl Const {
    pub(super) fn value(&self) -> Val<'_> {
        match self {
            Self::Null => Val::Null,
            Self::Bool(flag) => Val::Bool(*flag),
            Self::Int(number) => Val::Int(*number),
            Self::Float(number) => Val::Float(*number),
            Self::Str(text) => Val::Str(text),
            Self::Bytes(bytes) => Val::Bytes(bytes),
            Self::Time(nanos) => Val::Time(*nanos),
            Self::Duration(nanos) => Val::Duration(*nanos),
        }
    }
}

/// What stands for a field that an entry does not have.
fn default<'e>(ty: FieldType) -> Val<'e> {
    match ty {
        FieldType::Bool => Val::Bool(false),
        FieldType::Int => Val::Int(0),
        FieldType::Float => Val::Float(0.0),
        FieldType::Str => Val::Str(""),
        FieldType::Bytes => Val::Bytes(b""),
        FieldType::Timestamp => Val::Time(0),
        FieldType::StrList => Val::Pair("", ""),
        FieldType::StrMap => Val::Map(Rc::new([])),
        FieldType::Any => Val::Missing,
    }
}

impl Term {
    /// Computes the value.
    pub(super) fn value<'e>(&'e self, env: &mut Env<'e>) -> Val<'e> {
        match self {
            Self::Const(constant) => constant.value(),
            Self::Field(source, ty) => match source.value(env) {
                Val::Missing => default(*ty),
                Val::Null if *ty != FieldType::Any => default(*ty),
                value => value,
            },
            Self::Local(slot) => env.locals.get(*slot).cloned().unwrap_or(Val::Missing),
            Self::Pred(pred) => Val::Bool(pred.holds(env)),
            Self::Select(base, steps) => {
                let base = base.value(env);
                select::select_from(&base, steps, &mut env.work)
            }
            Self::Index { base, key, ignore_case } => {
                let base = base.value(env);
                let key = key.value(env);
                select::index(&base, &key, *ignore_case, &mut env.work)
            }
            Self::Arithmetic(operator, left, right) => {
                let left = left.value(env);
                let right = right.value(env);
                arithmetic(*operator, &left, &right, &mut env.work)
            }
            Self::Negative(inner) => match inner.value(env) {
                Val::Int(number) => number.checked_neg().map_or(Val::Missing, Val::Int),
                Val::Duration(nanos) => nanos.checked_neg().map_or(Val::Missing, Val::Duration),
                other => other.number().map_or(Val::Missing, |number| Val::Float(-number)),
            },
            Self::Size(inner) => size(&inner.value(env), &mut env.work),
            Self::Lower(inner) => changed(&inner.value(env), &mut env.work, CompactString::to_lowercase),
            Self::Upper(inner) => changed(&inner.value(env), &mut env.work, CompactString::to_uppercase),
            Self::Convert(conversion, inner) => convert(*conversion, &inner.value(env)),
            Self::MapGet { map, key, default, ignore_case } => {
                let map = map.value(env);
                let key = key.value(env);
                match select::index(&map, &key, *ignore_case, &mut env.work) {
                    Val::Missing => default.value(env),
                    found => found,
                }
            }
            Self::List(items) => Val::List(items.iter().map(|item| item.value(env)).collect()),
            Self::Map(items) => {
                Val::Map(items.iter().map(|(key, value)| (key.value(env), value.value(env))).collect())
            }
            Self::Json(inner) => read(&inner.value(env), Format::Json, env),
            Self::Xml(inner) => read(&inner.value(env), Format::Xml, env),
            Self::Collect { list, slot, test, value } => collect(list, *slot, test, value, env),
            Self::Cond(branches, otherwise) => {
                for (condition, value) in branches {
                    if condition.holds(env) {
                        return value.value(env);
                    }
                }
                otherwise.value(env)
            }
            Self::TimePart(name, inner) => {
                let part = match inner.value(env) {
                    Val::Time(nanos) => moment::part(nanos, name),
                    Val::Duration(nanos) => moment::duration_part(nanos, name),
                    _ => None,
                };
                part.map_or(Val::Missing, Val::Int)
            }
        }
    }
}

fn size<'e>(value: &Val<'_>, work: &mut Work) -> Val<'e> {
    if let Some(text) = value.text()
        && !work.spend(text.len() / limits::SEARCH_BYTES_PER_UNIT)
    {
        return Val::Missing;
    }
    value.size().map_or(Val::Missing, |size| Val::Int(size as i64))
}

/// A text changed as a whole, at most the searched part of it; lists item by item.
fn changed<'e>(
    value: &Val<'e>,
    work: &mut Work,
    change: impl Fn(&CompactString) -> CompactString + Copy,
) -> Val<'e> {
    if value.is_list() {
        let items = (0..value.size().unwrap_or(0)).filter_map(|index| value.item(index));
        return Val::List(items.map(|item| changed_text(&item, work, change)).collect());
    }
    changed_text(value, work, change)
}

fn changed_text<'e>(
    value: &Val<'_>,
    work: &mut Work,
    change: impl Fn(&CompactString) -> CompactString,
) -> Val<'e> {
    let Some(text) = value.text() else { return Val::Missing };
    let part = text.get(..text.len().min(limits::SEARCH)).unwrap_or_default();
    if !work.spend(1 + part.len() / limits::PARSE_BYTES_PER_UNIT) {
        return Val::Missing;
    }
    Val::Text(change(&CompactString::from_utf8_lossy(part)))
}

fn read<'e>(value: &Val<'e>, format: Format, env: &mut Env<'e>) -> Val<'e> {
    let borrowed = match value {
        // A body that its dissector already decoded needs no reading.
        Val::Tree(_) => return value.clone(),
        Val::Str(text) => Some(text.as_bytes()),
        Val::Bytes(bytes) => Some(*bytes),
        _ => None,
    };
    let same = |known: &&Document<'e>| {
        known.format == format && borrowed.is_some_and(|text| std::ptr::eq(known.text, text))
    };
    if let Some(known) = env.documents.iter().find(same) {
        return known.tree.clone().map_or(Val::Missing, Val::Owned);
    }
    let Some(text) = value.text() else { return Val::Missing };
    if !env.work.spend(1 + text.len() / limits::PARSE_BYTES_PER_UNIT) {
        return Val::Missing;
    }
    let tree = match format {
        Format::Json => document::json(&text),
        Format::Xml => document::xml(&text),
    };
    let tree = tree.map(Rc::new);
    if let Some(text) = borrowed
        && env.documents.len() < limits::DOCUMENTS
    {
        env.documents.push(Document { text, format, tree: tree.clone() });
    }
    tree.map_or(Val::Missing, Val::Owned)
}

fn collect<'e>(list: &'e Term, slot: usize, test: &'e Pred, value: &'e Term, env: &mut Env<'e>) -> Val<'e> {
    let list = list.value(env);
    let Some(size) = list.size() else { return Val::Missing };
    if list.text().is_some() {
        return Val::Missing;
    }
    let mut made = Vec::new();
    for index in 0..size {
        let Some(item) = list.member(index) else { continue };
        if !bind(slot, item, env) {
            return Val::Missing;
        }
        if test.holds(env) {
            match value.value(env) {
                Val::Missing => return Val::Missing,
                value => made.push(value),
            }
        }
    }
    Val::List(made.into())
}

/// Sums, differences, products; `Missing` for what has none, on overflow and on division by zero.
pub(super) fn arithmetic<'e>(operator: Binary, left: &Val<'e>, right: &Val<'e>, work: &mut Work) -> Val<'e> {
    let done = match (left, right) {
        (Val::Missing, _) | (_, Val::Missing) => None,
        (Val::Int(a), Val::Int(b)) => whole(operator, *a, *b).map(Val::Int),
        (Val::Time(a), Val::Time(b)) if operator == Binary::Sub => Some(Val::Duration(a.saturating_sub(*b))),
        (Val::Time(_), _) | (_, Val::Time(_)) => moved(operator, left, right).map(Val::Time),
        (Val::Duration(a), Val::Duration(b)) => whole(operator, *a, *b).map(Val::Duration),
        (Val::Duration(a), Val::Int(b)) if matches!(operator, Binary::Mul | Binary::Div) => {
            whole(operator, *a, *b).map(Val::Duration)
        }
        _ if operator == Binary::Add && left.is_list() && right.is_list() => joined(left, right, work),
        _ => added_texts(operator, left, right, work).or_else(|| decimal(operator, left, right)),
    };
    done.unwrap_or(Val::Missing)
}

fn whole(operator: Binary, a: i64, b: i64) -> Option<i64> {
    match operator {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div => a.checked_div(b),
        Binary::Rem => a.checked_rem(b),
        _ => None,
    }
}

/// A moment moved by a span, or by a number of milliseconds.
fn moved(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Option<i64> {
    let nanos = |value: &Val<'_>| match value {
        Val::Time(nanos) | Val::Duration(nanos) => Some(*nanos),
        Val::Int(millis) => millis.checked_mul(moment::MILLI),
        _ => None,
    };
    match operator {
        Binary::Add => nanos(left)?.checked_add(nanos(right)?),
        Binary::Sub if matches!(left, Val::Time(_)) => nanos(left)?.checked_sub(nanos(right)?),
        _ => None,
    }
}

fn decimal<'e>(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Option<Val<'e>> {
    let (a, b) = (left.number()?, right.number()?);
    let result = match operator {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Rem => a % b,
        _ => return None,
    };
    result.is_finite().then_some(Val::Float(result))
}

fn added_texts<'e>(operator: Binary, left: &Val<'_>, right: &Val<'_>, work: &mut Work) -> Option<Val<'e>> {
    let is_text = |value: &Val<'_>| matches!(value, Val::Str(_) | Val::Text(_) | Val::Bytes(_) | Val::Ip(_));
    if operator != Binary::Add || !is_text(left) || !is_text(right) {
        return None;
    }
    let (a, b) = (left.text()?, right.text()?);
    if !work.spend(1 + (a.len() + b.len()) / limits::PARSE_BYTES_PER_UNIT) {
        return None;
    }
    let mut text = CompactString::from_utf8_lossy(&a);
    text.push_str(&CompactString::from_utf8_lossy(&b));
    Some(Val::Text(text))
}

fn joined<'e>(left: &Val<'e>, right: &Val<'e>, work: &mut Work) -> Option<Val<'e>> {
    let (a, b) = (left.size()?, right.size()?);
    if !work.spend(a + b) {
        return None;
    }
    let items =
        (0..a).filter_map(|index| left.item(index)).chain((0..b).filter_map(|index| right.item(index)));
    Some(Val::List(items.collect()))
}

pub(super) fn convert<'e>(conversion: Conversion, value: &Val<'e>) -> Val<'e> {
    let text = |value: &Val<'_>| value.text().map(|text| CompactString::from_utf8_lossy(&text));
    let converted = match (conversion, value) {
        (Conversion::Int, Val::Int(_)) | (Conversion::Float, Val::Float(_)) => Some(value.clone()),
        (Conversion::Int, Val::Time(nanos)) => Some(Val::Int(nanos / moment::MILLI)),
        (Conversion::Int, Val::Str(_) | Val::Text(_)) => {
            text(value).and_then(|text| text.trim().parse().ok()).map(Val::Int)
        }
        (Conversion::Int, _) => {
            value.number().filter(|number| number.abs() < 9e18).map(|number| Val::Int(number as i64))
        }
        (Conversion::Float, _) => value.number().map(Val::Float),
        (Conversion::Str, Val::Time(nanos)) => moment::written(*nanos).map(|text| Val::Text(text.into())),
        (Conversion::Str, _) => text(value).map(Val::Text),
        (Conversion::Bool, Val::Bool(_)) => Some(value.clone()),
        (Conversion::Bool, _) => match text(value).as_deref() {
            Some("true" | "1" | "t") => Some(Val::Bool(true)),
            Some("false" | "0" | "f") => Some(Val::Bool(false)),
            _ => None,
        },
        (Conversion::Time, Val::Time(_)) | (Conversion::Duration, Val::Duration(_)) => Some(value.clone()),
        (Conversion::Time, Val::Int(millis)) => millis.checked_mul(moment::MILLI).map(Val::Time),
        (Conversion::Time, _) => text(value).and_then(|text| moment::rfc3339(&text)).map(Val::Time),
        (Conversion::Duration, _) => text(value).and_then(|text| moment::duration(&text)).map(Val::Duration),
    };
    converted.unwrap_or(Val::Missing)
}
