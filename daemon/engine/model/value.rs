//! The tree that a dissector writes a message into: JSON's shapes plus integers and bytes.
//!
//! One generic tree, not a type per protocol, so that a new protocol adds a folder and a line: KFL
//! paths, redaction, storage and JSON work on any of them. Keys are short and mostly stored inline.

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A value in a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(CompactString),
    /// A long text or binary content, shared and not copied; JSON writes base64.
    Bytes(Bytes),
    /// An ordered list.
    List(Vec<Value>),
    /// An ordered set of named values.
    Map(Map),
}

impl Value {
    /// Bytes of memory that it holds: exact for texts and bytes, and a size per value. Values are a few levels
    /// deep and built by dissectors, so an explicit stack stays tiny.
    pub fn weight(&self) -> usize {
        let mut total = 0;
        let mut stack = vec![self];
        while let Some(value) = stack.pop() {
            total += std::mem::size_of::<Self>();
            match value {
                Self::Str(text) => total += text.len(),
                Self::Bytes(bytes) => total += bytes.len(),
                Self::List(items) => stack.extend(items),
                Self::Map(map) => stack.extend(map.iter().map(|(_, value)| value)),
                Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => {}
            }
        }
        total
    }

    /// The value under `key`, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text, when this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when this is a whole number.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether this is absent.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<CompactString> for Value {
    fn from(text: CompactString) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

/// Named values in the order they were written. Lookup is linear: messages have a dozen keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Map(pub Vec<(CompactString, Value)>);

impl Map {
    /// An empty map with room for `capacity` keys.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The value under exactly `key`; the first if a key came twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value under `key` ignoring ASCII case, for header names.
    pub fn get_ignore_case(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// Adds a key without looking for an earlier one.
    pub fn push(&mut self, key: impl Into<CompactString>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// Adds a key with a `'static` name, which is never copied.
    pub fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push((CompactString::const_new(key), value.into()));
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
