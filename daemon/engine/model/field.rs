//! What a field of the filter language is: the one row from which everything about it derives.
//!
//! Fields common to all entries are listed in `kfl::fields`, those of a protocol in its own
//! dissector folder. Parser, type checker, completion, documentation and selectors read these rows.

use std::net::IpAddr;

use compact_str::CompactString;

use super::{Entry, Timestamp, Value};

/// The static type of a field: which operators it takes, and its value where an entry lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// True or false.
    Bool,
    /// 64-bit signed integer.
    Int,
    /// Floating point number.
    Float,
    /// Text.
    Str,
    /// Raw bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// List of texts.
    StrList,
    /// Text to text.
    StrMap,
    /// Anything: the untyped remainder of a message (`request.…`, `response.…`).
    Any,
}

/// A borrowed value of a field.
#[derive(Clone, Copy, Debug)]
pub enum FieldValue<'a> {
    /// The entry does not have it: the type's default applies.
    Missing,
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// A moment.
    Timestamp(Timestamp),
    /// A part of the message tree (lists and maps included).
    Tree(&'a Value),
    /// Two texts as a list, for `namespaces`, `pods`, `services`.
    Pair(&'a str, &'a str),
    /// An address; text to the language, but never written out on the common path.
    Ip(IpAddr),
}

impl<'a> FieldValue<'a> {
    /// A part of a message: scalars by themselves, so that the quick ways of evaluation take them.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Missing,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Str(text) => Self::Str(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::List(_) | Value::Map(_) => Self::Tree(value),
        }
    }
}

/// Where a field's value comes from.
#[derive(Clone, Copy, Debug)]
pub enum FieldSource {
    /// Computed from the entry without allocating.
    Get(for<'a> fn(&'a Entry) -> FieldValue<'a>),
    /// A text put together from the entry; allocates beyond 24 bytes.
    Text(fn(&Entry) -> CompactString),
    /// A dotted path into the message tree: `request.…` or `response.…`.
    Path(&'static str),
    /// Known to the language, but nothing produces it yet: always the type's default.
    Planned,
}

/// One row of the table of fields.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in KFL, dotted where the language has it so.
    pub name: &'static str,
    /// Static type.
    pub ty: FieldType,
    /// Where the value comes from.
    pub source: FieldSource,
    /// One sentence; units where the type does not carry them.
    pub doc: &'static str,
    /// A filter that uses it.
    pub example: &'static str,
}

impl FieldType {
    /// Name in error messages and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Str => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::StrList => "list of strings",
            Self::StrMap => "map of strings",
            Self::Any => "any",
        }
    }
}

/// Rows whose values are computed: `"name" Type "doc" "example" => getter;`.
macro_rules! fields {
    ($($name:literal $ty:ident $doc:literal $example:literal => $get:expr;)*) => {
        &[$($crate::model::Field {
            name: $name,
            ty: $crate::model::FieldType::$ty,
            source: $crate::model::FieldSource::Get($get),
            doc: $doc,
            example: $example,
        },)*]
    };
}

/// Rows whose values stand in the message tree: `"name" Type "path" "doc" "example";`, the path left out where it is
/// the name, and the example where it is that there is a value.
macro_rules! paths {
    ($($name:literal $ty:ident $path:literal $doc:literal $example:literal;)*) => {
        &[$($crate::model::Field {
            name: $name,
            ty: $crate::model::FieldType::$ty,
            source: $crate::model::FieldSource::Path($path),
            doc: $doc,
            example: $example,
        },)*]
    };
    ($($path:literal $ty:ident $doc:literal $example:literal;)*) => {
        $crate::model::paths! { $($path $ty $path $doc $example;)* }
    };
    ($($path:literal $ty:ident $doc:literal;)*) => {
        &[$($crate::model::Field {
            name: $path,
            ty: $crate::model::FieldType::$ty,
            source: $crate::model::FieldSource::Path($path),
            doc: $doc,
            example: concat!("has(", $path, ")"),
        },)*]
    };
}
pub(crate) use {fields, paths};

/// Two lists in a row; `N` is the length of both. The first may not be empty.
pub(crate) const fn join<const N: usize, T: Copy>(one: &[T], other: &[T]) -> [T; N] {
    let mut all = [one[0]; N];
    let mut index = 0;
    while index < N {
        all[index] = if index < one.len() { one[index] } else { other[index - one.len()] };
        index += 1;
    }
    all
}
