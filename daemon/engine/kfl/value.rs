//! A value while a filter is evaluated: borrowed from the entry or the filter wherever possible.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use compact_str::CompactString;

use crate::model::{FieldValue, Value};

/// The text form of a value, never on the heap.
#[derive(Debug)]
pub(super) enum Text<'a> {
    Ref(&'a [u8]),
    /// A number or an address, written out.
    Short([u8; 48], usize),
}

impl Text<'_> {
    /// An address. The usual kind is written here, which is ten times as fast as its `Display`.
    fn address(ip: IpAddr) -> Option<Self> {
        let IpAddr::V4(ip) = ip else { return Self::written(ip) };
        let mut short = Short([0; 48], 0);
        for (index, octet) in ip.octets().into_iter().enumerate() {
            let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
            let first = if octet >= 100 {
                0
            } else if octet >= 10 {
                1
            } else {
                2
            };
            if index > 0 {
                short.push(b".")?;
            }
            short.push(digits.get(first..)?)?;
        }
        Some(Self::Short(short.0, short.1))
    }

    /// A whole number.
    fn number(number: i64) -> Option<Self> {
        let (mut digits, mut start) = ([0_u8; 20], 20);
        let mut rest = number.unsigned_abs();
        loop {
            start -= 1;
            *digits.get_mut(start)? = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let mut short = Short([0; 48], 0);
        if number < 0 {
            short.push(b"-")?;
        }
        short.push(digits.get(start..)?)?;
        Some(Self::Short(short.0, short.1))
    }

    fn written(value: impl fmt::Display) -> Option<Self> {
        let mut short = Short([0; 48], 0);
        write!(short, "{value}").ok()?;
        Some(Self::Short(short.0, short.1))
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ref(bytes) => bytes,
            Self::Short(bytes, length) => bytes.get(..*length).unwrap_or_default(),
        }
    }
}

/// A place to write a short text to; what does not fit is an error.
struct Short([u8; 48], usize);

impl Short {
    fn push(&mut self, text: &[u8]) -> Option<()> {
        let end = self.1 + text.len();
        self.0.get_mut(self.1..end)?.copy_from_slice(text);
        self.1 = end;
        Some(())
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).ok_or(fmt::Error)
    }
}

/// A value; `'e` is the entry and the filter.
#[derive(Clone, Debug)]
pub(super) enum Val<'e> {
    /// Not there, or not computable: the comparison it stands in is false.
    Missing,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'e str),
    Text(CompactString),
    Bytes(&'e [u8]),
    Ip(IpAddr),
    /// Nanoseconds since the epoch.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// A list or map of the message tree.
    Tree(&'e Value),
    /// A list or map made during evaluation.
    Owned(Rc<Value>),
    /// Two texts as a list; empty and equal ones do not count.
    Pair(&'e str, &'e str),
    /// A list made during evaluation.
    List(Rc<[Val<'e>]>),
    /// A map made during evaluation.
    Map(Rc<[(Val<'e>, Val<'e>)]>),
}

impl<'e> Val<'e> {
    /// A part of the message tree: scalars by themselves, so that only lists and maps are trees.
    pub(super) fn of(value: &'e Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Str(text) => Self::Str(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::List(_) | Value::Map(_) => Self::Tree(value),
        }
    }

    /// The same out of a tree that dies with the evaluation.
    pub(super) fn owned(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Str(text) => Self::Text(text.clone()),
            Value::Bytes(bytes) => Self::Text(CompactString::from_utf8_lossy(bytes)),
            Value::List(_) | Value::Map(_) => Self::Owned(Rc::new(value.clone())),
        }
    }

    pub(super) fn field(value: FieldValue<'e>) -> Self {
        match value {
            FieldValue::Missing => Self::Missing,
            FieldValue::Bool(flag) => Self::Bool(flag),
            FieldValue::Int(number) => Self::Int(number),
            FieldValue::Float(number) => Self::Float(number),
            FieldValue::Str(text) => Self::Str(text),
            FieldValue::Bytes(bytes) => Self::Bytes(bytes),
            FieldValue::Timestamp(at) => Self::Time(i64::try_from(at.nanos()).unwrap_or(i64::MAX)),
            FieldValue::Tree(value) => Self::of(value),
            FieldValue::Pair(first, second) => Self::Pair(first, second),
            FieldValue::Ip(ip) => Self::Ip(ip),
        }
    }

    /// The message tree behind a list or map, if there is one.
    pub(super) fn tree(&self) -> Option<&Value> {
        match self {
            Self::Tree(value) => Some(value),
            Self::Owned(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Pair(..) | Self::List(_)) || matches!(self.tree(), Some(Value::List(_)))
    }

    /// Whether it counts as true where a condition is wanted (KFL1: `request.path and ...`).
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Null => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) | Self::Time(number) | Self::Duration(number) => *number > 0,
            Self::Float(number) => *number > 0.0,
            Self::Ip(_) => true,
            other => other.size().is_some_and(|size| size > 0),
        }
    }

    /// Characters of a text, bytes of bytes, items of a list or map; `None` for anything else.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Str(text) => text.chars().count(),
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Ip(_) => self.text()?.len(),
            Self::Pair(first, second) => {
                usize::from(!first.is_empty()) + usize::from(!second.is_empty() && first != second)
            }
            Self::List(items) => items.len(),
            Self::Map(items) => items.len(),
            _ => match self.tree()? {
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                _ => return None,
            },
        })
    }

    /// The n-th item of a list.
    pub(super) fn item(&self, index: usize) -> Option<Val<'e>> {
        match self {
            Self::Tree(Value::List(items)) => items.get(index).map(Self::of),
            Self::Owned(value) => match &**value {
                Value::List(items) => items.get(index).map(Self::owned),
                _ => None,
            },
            Self::List(items) => items.get(index).cloned(),
            Self::Pair(first, second) => {
                let all = [*first, *second];
                let distinct = if first == second { &all[..1] } else { &all[..] };
                distinct.iter().filter(|text| !text.is_empty()).nth(index).copied().map(Self::Str)
            }
            _ => None,
        }
    }

    /// The n-th key of a map.
    pub(super) fn key(&self, index: usize) -> Option<Val<'e>> {
        match self {
            Self::Tree(Value::Map(map)) => map.0.get(index).map(|(key, _)| Self::Str(key)),
            Self::Owned(value) => match &**value {
                Value::Map(map) => map.0.get(index).map(|(key, _)| Self::Text(key.clone())),
                _ => None,
            },
            Self::Map(items) => items.get(index).map(|(key, _)| key.clone()),
            _ => None,
        }
    }

    /// What `exists` and its like walk over: items of a list, keys of a map.
    pub(super) fn member(&self, index: usize) -> Option<Val<'e>> {
        if self.is_list() { self.item(index) } else { self.key(index) }
    }

    /// The text form that KFL1 compares and searches; `None` for lists, maps and what is missing.
    pub(super) fn text(&self) -> Option<Text<'_>> {
        Some(match self {
            Self::Str(text) => Text::Ref(text.as_bytes()),
            Self::Text(text) => Text::Ref(text.as_bytes()),
            Self::Bytes(bytes) => Text::Ref(bytes),
            Self::Null => Text::Ref(b"null"),
            Self::Bool(flag) => Text::Ref(if *flag { b"true" } else { b"false" }),
            Self::Int(number) => return Text::number(*number),
            Self::Float(number) => return Text::written(float_text(*number)),
            Self::Ip(ip) => return Text::address(*ip),
            Self::Time(nanos) | Self::Duration(nanos) => return Text::number(nanos / 1_000_000),
            // An element of an XML document that has attributes is still its text.
            _ => Text::Ref(self.tree()?.get("#text")?.as_str()?.as_bytes()),
        })
    }

    /// The number that this is or that its text spells; moments and spans in milliseconds.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Self::Time(nanos) | Self::Duration(nanos) => Some(*nanos as f64 / 1e6),
            Self::Str(_) | Self::Text(_) | Self::Bytes(_) | Self::Tree(_) | Self::Owned(_) => {
                let text = self.text()?;
                // No number is longer; a body is not worth validating as text.
                if text.len() > 64 {
                    return None;
                }
                std::str::from_utf8(&text).ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        }
    }
}

/// A number in the shortest decimal form that fits; huge and tiny ones as powers of ten.
fn float_text(number: f64) -> impl fmt::Display {
    struct Shown(f64);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let plain = self.0 == 0.0 || (1e-5..1e15).contains(&self.0.abs());
            if plain { write!(f, "{}", self.0) } else { write!(f, "{:e}", self.0) }
        }
    }
    Shown(number)
}

/// Whether two values are equal; `None` when one of them is missing.
///
/// The one rule serves both dialects: typed operands have the same type by the time they come here,
/// so the conversions only ever apply where a KFL1 path is involved.
pub(super) fn equal(a: &Val<'_>, b: &Val<'_>) -> Option<bool> {
    match (a, b) {
        (Val::Missing, _) | (_, Val::Missing) => None,
        (Val::Int(a), Val::Int(b)) => Some(a == b),
        (Val::Str(a), Val::Str(b)) => Some(a == b),
        (Val::Bool(a), Val::Bool(b)) => Some(a == b),
        (Val::Ip(a), Val::Ip(b)) => Some(a == b),
        (Val::Time(a), Val::Time(b)) | (Val::Duration(a), Val::Duration(b)) => Some(a == b),
        (Val::Time(nanos) | Val::Duration(nanos), Val::Int(millis))
        | (Val::Int(millis), Val::Time(nanos) | Val::Duration(nanos)) => Some(nanos / 1_000_000 == *millis),
        (Val::Float(_) | Val::Int(_), Val::Float(_) | Val::Int(_)) => {
            Some(a.number()?.total_cmp(&b.number()?) == Ordering::Equal)
        }
        _ => match (a.is_list(), b.is_list()) {
            (true, true) => Some(lists_equal(a, b)),
            (true, false) => Some(any_item(a, |item| equal(item, b) == Some(true))),
            (false, true) => Some(any_item(b, |item| equal(a, item) == Some(true))),
            (false, false) => Some(scalars_equal(a, b)),
        },
    }
}

fn scalars_equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    if matches!((a, b), (Val::Float(_), _) | (_, Val::Float(_)))
        && let (Some(a), Some(b)) = (a.number(), b.number())
    {
        return a.total_cmp(&b) == Ordering::Equal;
    }
    if let (Some(a), Some(b)) = (a.text(), b.text()) {
        return *a == *b;
    }
    match (a, b) {
        (Val::Map(a), Val::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    let same = |(k, v): &(Val<'_>, Val<'_>)| {
                        equal(k, key) == Some(true) && equal(v, value) == Some(true)
                    };
                    b.iter().any(same)
                })
        }
        (Val::Map(map), other) | (other, Val::Map(map)) => other.tree().is_some_and(|tree| {
            other.size() == Some(map.len())
                && map.iter().all(|(key, value)| {
                    let Some(key) = key.text() else { return false };
                    let found = std::str::from_utf8(&key).ok().and_then(|key| tree.get(key));
                    found.is_some_and(|found| equal(&Val::owned(found), value) == Some(true))
                })
        }),
        _ => matches!((a.tree(), b.tree()), (Some(a), Some(b)) if a == b),
    }
}

fn lists_equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    let size = a.size().unwrap_or(0);
    size == b.size().unwrap_or(0)
        && (0..size).all(|index| match (a.item(index), b.item(index)) {
            (Some(a), Some(b)) => equal(&a, &b) == Some(true),
            _ => false,
        })
}

/// Whether `test` holds for an item of a list.
pub(super) fn any_item(list: &Val<'_>, test: impl Fn(&Val<'_>) -> bool) -> bool {
    (0..list.size().unwrap_or(0)).any(|index| list.item(index).is_some_and(|item| test(&item)))
}

/// The order of two scalars, `None` when they have none. `loose`: texts that spell numbers are numbers.
pub(super) fn order(a: &Val<'_>, b: &Val<'_>, loose: bool) -> Option<Ordering> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Time(a), Val::Time(b)) | (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Missing | Val::Null, _) | (_, Val::Missing | Val::Null) => None,
        _ => {
            let is_text =
                |value: &Val<'_>| matches!(value, Val::Str(_) | Val::Text(_) | Val::Bytes(_) | Val::Ip(_));
            let texts = is_text(a) && is_text(b);
            if (loose || !texts)
                && let (Some(a), Some(b)) = (a.number(), b.number())
            {
                return a.partial_cmp(&b);
            }
            if texts { Some((*a.text()?).cmp(&*b.text()?)) } else { None }
        }
    }
}

/// Whether `test` holds for the order of two values, or of any two items where lists are compared.
pub(super) fn ordered(a: &Val<'_>, b: &Val<'_>, loose: bool, test: fn(Ordering) -> bool) -> bool {
    match (a.is_list(), b.is_list()) {
        (false, false) => order(a, b, loose).is_some_and(test),
        (true, _) => any_item(a, |item| ordered(item, b, loose, test)),
        (false, true) => any_item(b, |item| ordered(a, item, loose, test)),
    }
}
