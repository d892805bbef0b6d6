//! A filter as it was written: the syntax tree, and its canonical text.
//!
//! Invariant: the depth of a tree is bounded by the brackets of its text, because chains of
//! operators, selections and prefixes are lists here and not nested nodes.

use std::fmt;
use std::sync::Arc;

use super::error::Span;

/// An expression with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub(super) span: Span,
    pub(super) kind: ExprKind,
}

/// A name with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Name {
    pub(super) span: Span,
    pub(super) text: Arc<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExprKind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// `r"..."`: a regular expression beside `==` and `!=`, a text without escapes elsewhere.
    Raw(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Name(Arc<str>),
    Call(Name, Vec<Arg>),
    /// A value and what is selected from it.
    Chain(Box<Expr>, Vec<Segment>),
    Unary(Vec<Unary>, Box<Expr>),
    /// `not`, which binds weaker than comparisons.
    Not(u32, Box<Expr>),
    /// Operators of one level, from left to right.
    Binary(Box<Expr>, Vec<(Binary, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// Conditions with their values, and the value when none holds.
    Cond(Vec<(Expr, Expr)>, Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) span: Span,
    pub(super) kind: SegmentKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SegmentKind {
    /// `.name`
    Member(Name),
    /// `.name(...)`
    Method(Name, Vec<Arg>),
    /// `[...]`
    Index(Expr),
    /// `.*` or `[*]`
    All,
    /// `..name`
    Descend(Name),
}

/// An argument, which KFL1 allows to be named.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arg {
    pub(super) name: Option<Name>,
    pub(super) value: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Neg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl Binary {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        }
    }

    /// Strength: 3 relations, 4 sums, 5 products.
    pub(super) const fn level(self) -> u8 {
        match self {
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::In => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Rem => 5,
        }
    }
}

impl ExprKind {
    /// Strength of the outermost operator: what has less needs brackets inside of what has more.
    fn level(&self) -> u8 {
        match self {
            Self::Cond(..) => 0,
            Self::Or(_) => 1,
            Self::And(_) | Self::Not(..) => 2,
            Self::Binary(_, rest) => rest.first().map_or(3, |(operator, _)| operator.level()),
            Self::Unary(..) => 6,
            Self::Int(number) if *number < 0 => 6,
            Self::Float(number) if number.is_sign_negative() => 6,
            _ => 7,
        }
    }
}

/// Writes `expr`, in brackets unless it binds at least as strongly as `level`.
fn inside(f: &mut fmt::Formatter<'_>, expr: &Expr, level: u8) -> fmt::Result {
    if expr.kind.level() >= level { write!(f, "{expr}") } else { write!(f, "({expr})") }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn arguments(f: &mut fmt::Formatter<'_>, args: &[Arg]) -> fmt::Result {
    f.write_str("(")?;
    separated(f, args, ", ", |f, arg| {
        if let Some(name) = &arg.name {
            write!(f, "{}: ", name.text)?;
        }
        write!(f, "{}", arg.value)
    })?;
    f.write_str(")")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Null => f.write_str("null"),
            ExprKind::Bool(flag) => write!(f, "{flag}"),
            ExprKind::Int(number) => write!(f, "{number}"),
            ExprKind::Float(number) => write!(f, "{number:?}"),
            ExprKind::Str(text) => quoted(f, text),
            ExprKind::Raw(text) => raw(f, text),
            ExprKind::Bytes(bytes) => quoted_bytes(f, bytes),
            ExprKind::List(items) => {
                f.write_str("[")?;
                separated(f, items, ", ", |f, item| write!(f, "{item}"))?;
                f.write_str("]")
            }
            ExprKind::Map(items) => {
                f.write_str("{")?;
                separated(f, items, ", ", |f, (key, value)| write!(f, "{key}: {value}"))?;
                f.write_str("}")
            }
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Call(name, args) => {
                f.write_str(&name.text)?;
                arguments(f, args)
            }
            ExprKind::Chain(base, segments) => {
                inside(f, base, 7)?;
                segments.iter().try_for_each(|segment| write!(f, "{segment}"))
            }
            ExprKind::Unary(operators, operand) => {
                for operator in operators {
                    f.write_str(if *operator == Unary::Not { "!" } else { "-" })?;
                }
                inside(f, operand, 7)
            }
            ExprKind::Not(count, operand) => {
                (0..*count).try_for_each(|_| f.write_str("not "))?;
                inside(f, operand, 3)
            }
            ExprKind::Binary(first, rest) => {
                let level = self.kind.level();
                inside(f, first, level + 1)?;
                rest.iter().try_for_each(|(operator, operand)| {
                    write!(f, " {} ", operator.text())?;
                    inside(f, operand, level + 1)
                })
            }
            ExprKind::And(items) => separated(f, items, " and ", |f, item| match item.kind {
                ExprKind::Not(..) => write!(f, "{item}"),
                _ => inside(f, item, 3),
            }),
            ExprKind::Or(items) => separated(f, items, " or ", |f, item| inside(f, item, 2)),
            ExprKind::Cond(branches, otherwise) => {
                for (condition, value) in branches {
                    inside(f, condition, 1)?;
                    f.write_str(" ? ")?;
                    inside(f, value, 1)?;
                    f.write_str(" : ")?;
                }
                inside(f, otherwise, 1)
            }
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            SegmentKind::Member(name) => write!(f, ".{}", name.text),
            SegmentKind::Method(name, args) => {
                write!(f, ".{}", name.text)?;
                arguments(f, args)
            }
            SegmentKind::Index(index) => write!(f, "[{index}]"),
            SegmentKind::All => f.write_str(".*"),
            SegmentKind::Descend(name) => write!(f, "..{}", name.text),
        }
    }
}

/// A text in double quotes with the escapes that the reader undoes.
pub(super) fn quoted(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            other if (other as u32) < 0x20 || other as u32 == 0x7f => write!(f, "\\u{:04x}", other as u32)?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// A raw text, in quotes that it does not contain itself; any text that was read has such quotes.
fn raw(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let fits = |quote: &str| {
        let one_line = quote.len() == 3 || quote == "`" || !text.contains('\n');
        one_line && !text.contains(quote) && !quote.chars().next().is_some_and(|first| text.ends_with(first))
    };
    let quote = ["\"", "'", "`", "\"\"\"", "'''"].into_iter().find(|quote| fits(quote)).unwrap_or("`");
    write!(f, "r{quote}{text}{quote}")
}

fn quoted_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("b\"")?;
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", *byte as char)?,
            0x20..=0x7e => write!(f, "{}", *byte as char)?,
            other => write!(f, "\\x{other:02x}")?,
        }
    }
    f.write_str("\"")
}
