//! The static types of expressions.

use crate::model::FieldType;

/// A static type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Str,
    Bytes,
    Time,
    Duration,
    List(&'static Kind),
    Map(&'static Kind),
    /// Known only when an entry is there.
    Any,
}

impl Kind {
    pub(super) const fn of(ty: FieldType) -> Self {
        match ty {
            FieldType::Bool => Self::Bool,
            FieldType::Int => Self::Int,
            FieldType::Float => Self::Float,
            FieldType::Str => Self::Str,
            FieldType::Bytes => Self::Bytes,
            FieldType::Timestamp => Self::Time,
            FieldType::StrList => Self::List(&Self::Str),
            FieldType::StrMap => Self::Map(&Self::Str),
            FieldType::Any => Self::Any,
        }
    }

    /// Name in messages.
    pub(super) fn name(self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool => "bool".into(),
            Self::Int => "int".into(),
            Self::Float => "float".into(),
            Self::Str => "string".into(),
            Self::Bytes => "bytes".into(),
            Self::Time => "timestamp".into(),
            Self::Duration => "duration".into(),
            Self::List(&Self::Any) => "list".into(),
            Self::List(item) => format!("list of {}", item.name()),
            Self::Map(&Self::Any) => "map".into(),
            Self::Map(item) => format!("map of {}", item.name()),
            Self::Any => "any".into(),
        }
    }

    /// This type as what a list or map holds; lists of lists hold anything.
    pub(super) const fn held(self) -> &'static Self {
        match self {
            Self::Null => &Self::Null,
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Float => &Self::Float,
            Self::Str => &Self::Str,
            Self::Bytes => &Self::Bytes,
            Self::Time => &Self::Time,
            Self::Duration => &Self::Duration,
            Self::List(_) | Self::Map(_) | Self::Any => &Self::Any,
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    pub(super) const fn is_text(self) -> bool {
        matches!(self, Self::Str | Self::Bytes | Self::Any)
    }

    /// Whether values of both types can be equal.
    pub(super) fn comparable(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (a, b) if a.is_number() && b.is_number() => true,
            (Self::Time, Self::Int) | (Self::Int, Self::Time) => true,
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.comparable(*b),
            (a, b) => a == b,
        }
    }

    /// Whether values of this type have an order.
    pub(super) const fn is_ordered(self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_) | Self::Null)
    }

    /// The type of either of two values.
    pub(super) fn either(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::List(_), Self::List(_)) => Self::List(&Self::Any),
            (Self::Map(_), Self::Map(_)) => Self::Map(&Self::Any),
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Any,
        }
    }
}
