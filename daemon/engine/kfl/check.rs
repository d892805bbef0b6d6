//! Resolves names, checks types and compiles: from the syntax tree to a program.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use super::Context;
use super::ast::{Binary, Expr, ExprKind, Unary};
use super::error::{KflError, Span};
use super::eval::arithmetic;
use super::kind::Kind;
use super::moment;
use super::program::{Const, Pred, Term};
use super::redact::RedactPath;
use super::value::Val;
use super::work::Work;
use crate::limits::kfl as limits;
use crate::model::FieldType;

/// A checked expression.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) kind: Kind,
    pub(super) term: Term,
    pub(super) span: Span,
    /// Compares as KFL1 does.
    pub(super) loose: bool,
    /// It is an `r"..."`.
    pub(super) raw: bool,
    /// It is a map of headers: case of keys does not matter.
    pub(super) headers: bool,
    /// Nanoseconds per unit where an int stands for a span of time.
    pub(super) unit: Option<i64>,
}

impl Typed {
    pub(super) fn new(kind: Kind, term: Term, span: Span) -> Self {
        Self { kind, term, span, loose: kind == Kind::Any, raw: false, headers: false, unit: None }
    }

    fn constant(constant: Const, span: Span) -> Self {
        let kind = match &constant {
            Const::Null => Kind::Null,
            Const::Bool(_) => Kind::Bool,
            Const::Int(_) => Kind::Int,
            Const::Float(_) => Kind::Float,
            Const::Str(_) => Kind::Str,
            Const::Bytes(_) => Kind::Bytes,
            Const::Time(_) => Kind::Time,
            Const::Duration(_) => Kind::Duration,
        };
        Self::new(kind, Term::Const(constant), span)
    }

    pub(super) fn pred(pred: Pred, span: Span) -> Self {
        Self::new(Kind::Bool, Term::Pred(Box::new(pred)), span)
    }

    pub(super) fn literal(&self) -> Option<&Const> {
        match &self.term {
            Term::Const(constant) => Some(constant),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&Arc<str>> {
        match self.literal() {
            Some(Const::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether KFL1's conversions apply to it.
    pub(super) fn is_loose(&self) -> bool {
        self.loose || self.kind == Kind::Any
    }
}

/// A variable of a macro such as `exists`.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: Arc<str>,
    pub(super) slot: usize,
    pub(super) kind: Kind,
}

/// What is gathered while a filter is checked.
#[derive(Debug)]
pub(super) struct Checker<'c> {
    pub(super) context: &'c Context,
    pub(super) scope: Vec<Variable>,
    pub(super) slots: usize,
    pub(super) expanding: Vec<Arc<str>>,
    nodes: usize,
    regexes: usize,
    pub(super) limit: Option<u64>,
    pub(super) redactions: Vec<RedactPath>,
    pub(super) uses_now: bool,
    /// Macros that were used, with their texts: they belong to the filter's key.
    pub(super) macros: Vec<(Arc<str>, Arc<str>)>,
}

pub(super) type Checked<T> = Result<T, KflError>;

impl<'c> Checker<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self {
            context,
            scope: Vec::new(),
            slots: 0,
            expanding: Vec::new(),
            nodes: 0,
            regexes: 0,
            limit: None,
            redactions: Vec::new(),
            uses_now: false,
            macros: Vec::new(),
        }
    }

    /// Checks an expression that must be a condition.
    pub(super) fn condition(&mut self, expr: &Expr) -> Checked<Pred> {
        let typed = self.check(expr)?;
        Self::as_condition(typed, expr)
    }

    pub(super) fn as_condition(typed: Typed, expr: &Expr) -> Checked<Pred> {
        let span = typed.span;
        match typed.term {
            Term::Pred(pred) => Ok(*pred),
            Term::Const(Const::Bool(flag)) => Ok(Pred::Const(flag)),
            Term::Field(source, FieldType::Bool) => Ok(Pred::Flag(source)),
            term if typed.kind == Kind::Bool || typed.loose || typed.kind == Kind::Any => {
                Ok(Pred::Truth(term))
            }
            _ => {
                let message =
                    format!("{} is {}, a condition (bool) is needed", shown(expr), typed.kind.name());
                Err(KflError::new(span, message).hint("compare it with something, such as == or >"))
            }
        }
    }

    /// Checks any expression. Recursion is bounded by the brackets of the text.
    pub(super) fn check(&mut self, expr: &Expr) -> Checked<Typed> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            let message = format!("the filter has more than {} parts", limits::NODES);
            return Err(KflError::new(expr.span, message));
        }
        let span = expr.span;
        match &expr.kind {
            ExprKind::Null => Ok(Typed::constant(Const::Null, span)),
            ExprKind::Bool(flag) => Ok(Typed::constant(Const::Bool(*flag), span)),
            ExprKind::Int(number) => Ok(Typed::constant(Const::Int(*number), span)),
            ExprKind::Float(number) => Ok(Typed::constant(Const::Float(*number), span)),
            ExprKind::Str(text) => Ok(Typed::constant(Const::Str(text.clone()), span)),
            ExprKind::Bytes(bytes) => Ok(Typed::constant(Const::Bytes(bytes.clone()), span)),
            ExprKind::Raw(text) => Ok(Typed { raw: true, ..Typed::constant(Const::Str(text.clone()), span) }),
            ExprKind::List(items) => self.list(items, span),
            ExprKind::Map(items) => self.map(items, span),
            ExprKind::Name(name) => self.chain(name, span, &[], span),
            ExprKind::Call(name, args) => self.call(name, args, span),
            ExprKind::Chain(base, segments) => {
                if let ExprKind::Name(name) = &base.kind {
                    return self.chain(name, base.span, segments, span);
                }
                let base = self.check(base)?;
                self.segments(base, segments, span)
            }
            ExprKind::Unary(operators, operand) => self.unary(operators, operand, span),
            ExprKind::Not(count, operand) => {
                let pred = self.condition(operand)?;
                Ok(Typed::pred(if count % 2 == 1 { negated(pred) } else { pred }, span))
            }
            ExprKind::Binary(first, rest) => self.binary(first, rest),
            ExprKind::And(items) => {
                let items = items.iter().map(|item| self.condition(item)).collect::<Checked<Vec<_>>>()?;
                Ok(Typed::pred(all_of(items), span))
            }
            ExprKind::Or(items) => {
                let items = items.iter().map(|item| self.condition(item)).collect::<Checked<Vec<_>>>()?;
                Ok(Typed::pred(any_of(items), span))
            }
            ExprKind::Cond(branches, otherwise) => self.conditional(branches, otherwise, span),
        }
    }

    fn list(&mut self, items: &[Expr], span: Span) -> Checked<Typed> {
        let items = items.iter().map(|item| self.check(item)).collect::<Checked<Vec<_>>>()?;
        let kind = items.iter().map(|item| item.kind).reduce(Kind::either).unwrap_or(Kind::Any);
        let terms = items.into_iter().map(|item| item.term).collect();
        Ok(Typed::new(Kind::List(kind.held()), Term::List(terms), span))
    }

    fn map(&mut self, items: &[(Expr, Expr)], span: Span) -> Checked<Typed> {
        let mut terms = Vec::new();
        let mut kind: Option<Kind> = None;
        for (key, value) in items {
            let key = self.check(key)?;
            let value = self.check(value)?;
            kind = Some(kind.map_or(value.kind, |kind| kind.either(value.kind)));
            terms.push((key.term, value.term));
        }
        let held = kind.unwrap_or(Kind::Any).held();
        Ok(Typed::new(Kind::Map(held), Term::Map(terms.into()), span))
    }

    fn unary(&mut self, operators: &[Unary], operand: &Expr, span: Span) -> Checked<Typed> {
        let mut typed = self.check(operand)?;
        for operator in operators.iter().rev() {
            typed = match operator {
                Unary::Not => Typed::pred(negated(Self::as_condition(typed, operand)?), span),
                Unary::Neg if typed.kind.is_number() || typed.kind == Kind::Duration || typed.is_loose() => {
                    Typed::new(typed.kind, folded(Term::Negative(Box::new(typed.term))), span)
                }
                Unary::Neg => {
                    let message = format!("- needs a number, {} is {}", shown(operand), typed.kind.name());
                    return Err(KflError::new(span, message));
                }
            };
        }
        Ok(typed)
    }

    fn binary(&mut self, first: &Expr, rest: &[(Binary, Expr)]) -> Checked<Typed> {
        let mut left = self.check(first)?;
        let mut left_expr = first;
        for (index, (operator, expr)) in rest.iter().enumerate() {
            let right = self.check(expr).map_err(|error| match dashed(left_expr, rest.get(index..)) {
                Some(name) => error.hint(format!("a name with a dash stands in brackets: {name}")),
                None => error,
            })?;
            let span = left.span.to(right.span);
            left = match operator {
                Binary::In => contained(left, right, left_expr, expr, span)?,
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Rem => {
                    computed(*operator, left, right, left_expr, expr, span)?
                }
                _ => self.relation(*operator, left, right, left_expr, expr, span)?,
            };
            left_expr = expr;
        }
        Ok(left)
    }

    fn conditional(&mut self, branches: &[(Expr, Expr)], otherwise: &Expr, span: Span) -> Checked<Typed> {
        let mut checked = Vec::new();
        for (condition, value) in branches {
            checked.push((self.condition(condition)?, self.check(value)?, value));
        }
        let last = self.check(otherwise)?;
        let mut kind = last.kind;
        for (_, value, expr) in &checked {
            if !value.kind.comparable(kind) {
                let message = format!(
                    "{} is {} but {} is {}",
                    shown(expr),
                    value.kind.name(),
                    shown(otherwise),
                    kind.name()
                );
                return Err(KflError::new(value.span.to(last.span), message)
                    .hint("both sides of : must have one type"));
            }
            kind = value.kind.either(kind);
        }
        if kind == Kind::Bool {
            let branches = checked
                .into_iter()
                .map(|(condition, value, expr)| Ok((condition, Self::as_condition(value, expr)?)))
                .collect::<Checked<Vec<_>>>()?;
            let otherwise = Self::as_condition(last, otherwise)?;
            return Ok(Typed::pred(Pred::Cond(branches.into(), Box::new(otherwise)), span));
        }
        let branches = checked.into_iter().map(|(condition, value, _)| (condition, value.term)).collect();
        Ok(Typed::new(kind, Term::Cond(branches, Box::new(last.term)), span))
    }

    /// `== != < <= > >=`
    fn relation(
        &mut self,
        operator: Binary,
        left: Typed,
        right: Typed,
        a: &Expr,
        b: &Expr,
        span: Span,
    ) -> Checked<Typed> {
        let equality = matches!(operator, Binary::Eq | Binary::Ne);
        if equality && left.raw != right.raw {
            let (pattern, value, expr) = if left.raw { (left, right, b) } else { (right, left, a) };
            if let Kind::Map(_) = value.kind {
                let message =
                    format!("{} is {}, a regular expression needs a text", shown(expr), value.kind.name());
                return Err(KflError::new(span, message));
            }
            let regex = self.regex(&pattern)?;
            return Ok(Typed::pred(
                Pred::Match { term: value.term, regex, negated: operator == Binary::Ne },
                span,
            ));
        }
        // Constants stand on the right from here on.
        let (left, right, operator, a, b) = if left.literal().is_some() && right.literal().is_none() {
            (right, left, flipped(operator), b, a)
        } else {
            (left, right, operator, a, b)
        };
        let right = as_time(&left, right);
        let loose = left.is_loose() || right.is_loose();
        let ordered = equality || (left.kind.is_ordered() && right.kind.is_ordered());
        let fits = loose || (ordered && left.kind.comparable(right.kind));
        if !fits {
            return Err(mismatch(operator, &left, &right, a, b, span));
        }
        Ok(Typed::pred(compared(operator, left, right, loose), span))
    }

    /// Compiles a regular expression within bounds.
    pub(super) fn regex(&mut self, pattern: &Typed) -> Checked<regex::bytes::Regex> {
        let Some(text) = pattern.text() else {
            return Err(KflError::new(pattern.span, "a regular expression must be a literal text"));
        };
        self.regexes += 1;
        if self.regexes > limits::REGEXES {
            let message = format!("more than {} regular expressions in one filter", limits::REGEXES);
            return Err(KflError::new(pattern.span, message));
        }
        regex::bytes::RegexBuilder::new(text)
            .size_limit(limits::REGEX_SIZE)
            .dfa_size_limit(limits::REGEX_CACHE)
            .nest_limit(limits::REGEX_DEPTH)
            .build()
            .map_err(|error| {
                KflError::new(pattern.span, regex_message(&error))
                    .hint("a special character stands for itself after a backslash: r\"a\\(b\"")
            })
    }
}

fn regex_message(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression compiles to more than {} KiB", limits::REGEX_SIZE >> 10)
        }
        other => {
            // The library's message has several lines: pattern, marks, reason. The last is the reason.
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("bad regular expression: {reason}")
        }
    }
}

/// The text of an expression as an error message shows it.
pub(super) fn shown(expr: &Expr) -> String {
    let text: String = expr.to_string();
    if text.chars().count() > 40 {
        format!("`{}...`", text.chars().take(37).collect::<String>())
    } else {
        format!("`{text}`")
    }
}

/// `request.headers["content-type"]` for `request.headers.content-type`, which is a difference.
fn dashed(left: &Expr, rest: Option<&[(Binary, Expr)]>) -> Option<String> {
    let text = left.to_string();
    let (base, first) = text.rsplit_once('.')?;
    let mut name = first.to_owned();
    for (operator, expr) in rest? {
        match (&expr.kind, operator) {
            (ExprKind::Name(part), Binary::Sub) => name.extend(["-", part]),
            _ => break,
        }
    }
    let is_path = matches!(left.kind, ExprKind::Chain(..)) && name.len() > first.len();
    is_path.then(|| format!("{base}[\"{name}\"]"))
}

fn mismatch(operator: Binary, left: &Typed, right: &Typed, a: &Expr, b: &Expr, span: Span) -> KflError {
    let (left_kind, right_kind) = (left.kind.name(), right.kind.name());
    let message = format!(
        "cannot compare {left_kind} with {right_kind}: {} is {left_kind}, {} is {right_kind}",
        shown(a),
        shown(b)
    );
    let error = KflError::new(span, message);
    match (left.kind, right.kind) {
        (Kind::Int, Kind::Str) if right.text().is_some_and(|text| text.parse::<i64>().is_ok()) => {
            error.hint("write the number without quotes")
        }
        (Kind::Int, Kind::Str) if left.unit.is_some() => match right.text() {
            Some(text) if moment::duration(text).is_some() => {
                error.hint(format!("write a span of time as duration(\"{text}\")"))
            }
            _ => error.hint("write a span of time as duration(\"5s\")"),
        },
        (Kind::Int | Kind::Float, Kind::Str) => error.hint(format!("make a text of it: string({a})")),
        (Kind::Str, Kind::Int | Kind::Float) => error.hint(format!("write it in quotes: \"{b}\"")),
        (Kind::Time, Kind::Str) => {
            error.hint("write timestamp(\"2026-03-14T22:00:00Z\") or datetime(\"3/14/2026, 10:00:00 PM\")")
        }
        (Kind::List(_), _) if matches!(operator, Binary::Eq | Binary::Ne) => {
            error.hint("write value in list")
        }
        (Kind::Map(_), _) => error.hint("select a key first: map[\"key\"]"),
        (Kind::Bool, _) => error.hint("a flag is a condition by itself"),
        _ => error,
    }
}

pub(super) fn flipped(operator: Binary) -> Binary {
    match operator {
        Binary::Lt => Binary::Gt,
        Binary::Le => Binary::Ge,
        Binary::Gt => Binary::Lt,
        Binary::Ge => Binary::Le,
        other => other,
    }
}

/// Turns a constant beside a time into the same unit: numbers are milliseconds, texts RFC 3339,
/// spans become a number where the field counts microseconds or milliseconds.
fn as_time(left: &Typed, mut right: Typed) -> Typed {
    let constant = match (left.kind, right.literal(), left.unit) {
        (Kind::Time, Some(Const::Int(millis)), _) => Some(Const::Time(millis.saturating_mul(moment::MILLI))),
        (Kind::Time, Some(Const::Str(text)), _) if left.loose => {
            moment::rfc3339(text).or_else(|| moment::us_datetime(text)).map(Const::Time)
        }
        (Kind::Int, Some(Const::Duration(nanos)), Some(unit)) => Some(Const::Int(nanos / unit)),
        _ => None,
    };
    if let Some(constant) = constant {
        right = Typed::constant(constant, right.span);
    }
    right
}

/// The most special predicate for a comparison.
fn compared(operator: Binary, left: Typed, right: Typed, loose: bool) -> Pred {
    let equality = matches!(operator, Binary::Eq | Binary::Ne);
    match (left.term, right.term) {
        (Term::Field(source, FieldType::Int), Term::Const(Const::Int(value))) => {
            Pred::Int { source, operator, value }
        }
        (Term::Field(source, FieldType::Str), Term::Const(Const::Str(text))) if equality => {
            let ip: Option<IpAddr> = text.parse().ok();
            Pred::Text { source, value: (&*text).into(), ip, equal: operator == Binary::Eq }
        }
        (Term::Const(a), Term::Const(b)) if !loose => {
            let holds = constant_relation(operator, &a, &b);
            Pred::Const(holds)
        }
        (left, right) => Pred::Compare { operator, left, right, loose },
    }
}

fn constant_relation(operator: Binary, a: &Const, b: &Const) -> bool {
    let (a, b) = (a.value(), b.value());
    let order = |test: fn(Ordering) -> bool| super::value::ordered(&a, &b, false, test);
    match operator {
        Binary::Eq => super::value::equal(&a, &b) == Some(true),
        Binary::Ne => super::value::equal(&a, &b) == Some(false),
        Binary::Lt => order(Ordering::is_lt),
        Binary::Le => order(Ordering::is_le),
        Binary::Gt => order(Ordering::is_gt),
        Binary::Ge => order(Ordering::is_ge),
        _ => false,
    }
}

/// `wanted in container`
fn contained(wanted: Typed, container: Typed, a: &Expr, b: &Expr, span: Span) -> Checked<Typed> {
    let held = match container.kind {
        Kind::List(held) => *held,
        Kind::Map(_) => Kind::Str,
        Kind::Any => Kind::Any,
        other => {
            let message = format!("in needs a list or a map, {} is {}", shown(b), other.name());
            let error = KflError::new(span, message);
            let is_range = container.text().is_some_and(|text| super::cidr::Network::parse(text).is_some());
            return Err(match other {
                Kind::Str if is_range => error.hint(format!("write cidr({a}, {b})")),
                Kind::Str => error.hint("write text.contains(\"part\")"),
                _ => error.hint(format!("write the values in brackets: {a} in [{b}]")),
            });
        }
    };
    let loose = wanted.is_loose() || container.loose;
    if !wanted.kind.comparable(held) && !loose {
        let (wanted, container) = (wanted.kind.name(), container.kind.name());
        let message = format!(
            "cannot look for {wanted} in {container}: {} is {wanted}, {} is {container}",
            shown(a),
            shown(b)
        );
        return Err(KflError::new(span, message)
            .hint("what is looked for must have the type of the items; string() and int() convert"));
    }
    let ignore_case = container.headers;
    Ok(Typed::pred(Pred::In { wanted: wanted.term, container: container.term, ignore_case }, span))
}

/// The type of a sum, difference, product.
fn computed_kind(operator: Binary, a: Kind, b: Kind) -> Option<Kind> {
    match (a, b) {
        (Kind::Any, _) | (_, Kind::Any) => Some(Kind::Any),
        (Kind::Int, Kind::Int) => Some(Kind::Int),
        (a, b) if a.is_number() && b.is_number() => Some(Kind::Float),
        (Kind::Str, Kind::Str) if operator == Binary::Add => Some(Kind::Str),
        (Kind::Bytes, Kind::Bytes) if operator == Binary::Add => Some(Kind::Bytes),
        (Kind::List(a), Kind::List(b)) if operator == Binary::Add => Some(Kind::List(a.either(*b).held())),
        (Kind::Time, Kind::Time) if operator == Binary::Sub => Some(Kind::Duration),
        (Kind::Time, Kind::Duration | Kind::Int) if matches!(operator, Binary::Add | Binary::Sub) => {
            Some(Kind::Time)
        }
        (Kind::Duration | Kind::Int, Kind::Time) if operator == Binary::Add => Some(Kind::Time),
        (Kind::Duration, Kind::Duration) if matches!(operator, Binary::Add | Binary::Sub) => {
            Some(Kind::Duration)
        }
        (Kind::Duration, Kind::Int) if matches!(operator, Binary::Mul | Binary::Div) => Some(Kind::Duration),
        _ => None,
    }
}

fn computed(operator: Binary, left: Typed, right: Typed, a: &Expr, b: &Expr, span: Span) -> Checked<Typed> {
    let loose = left.is_loose() || right.is_loose();
    let Some(kind) = computed_kind(operator, left.kind, right.kind).or(loose.then_some(Kind::Any)) else {
        let (left, right) = (left.kind.name(), right.kind.name());
        let message =
            format!("no {left} {} {right}: {} is {left}, {} is {right}", operator.text(), shown(a), shown(b));
        return Err(KflError::new(span, message).hint("convert one side with string(), int() or double()"));
    };
    let term = folded(Term::Arithmetic(operator, Box::new(left.term), Box::new(right.term)));
    let mut typed = Typed::new(kind, term, span);
    typed.loose |= loose;
    Ok(typed)
}

/// The term, or its value where that does not depend on the entry.
pub(super) fn folded(term: Term) -> Term {
    let value = match &term {
        Term::Arithmetic(operator, left, right) => match (&**left, &**right) {
            (Term::Const(a), Term::Const(b)) => {
                arithmetic(*operator, &a.value(), &b.value(), &mut Work::new())
            }
            _ => return term,
        },
        Term::Negative(inner) => match &**inner {
            Term::Const(Const::Int(number)) => number.checked_neg().map_or(Val::Missing, Val::Int),
            Term::Const(Const::Float(number)) => Val::Float(-number),
            Term::Const(Const::Duration(nanos)) => Val::Duration(nanos.saturating_neg()),
            _ => return term,
        },
        Term::Convert(conversion, inner) => match &**inner {
            Term::Const(constant) => super::eval::convert(*conversion, &constant.value()),
            _ => return term,
        },
        _ => return term,
    };
    let constant = match value {
        Val::Int(number) => Const::Int(number),
        Val::Float(number) => Const::Float(number),
        Val::Bool(flag) => Const::Bool(flag),
        Val::Str(text) => Const::Str(text.into()),
        Val::Text(text) => Const::Str(text.as_str().into()),
        Val::Time(nanos) => Const::Time(nanos),
        Val::Duration(nanos) => Const::Duration(nanos),
        _ => return term,
    };
    Term::Const(constant)
}

pub(super) fn negated(pred: Pred) -> Pred {
    match pred {
        Pred::Const(flag) => Pred::Const(!flag),
        Pred::Not(inner) => *inner,
        other => Pred::Not(Box::new(other)),
    }
}

/// Operands of a nested `and` are taken in, constants are left out, cheap ones come first.
pub(super) fn all_of(items: Vec<Pred>) -> Pred {
    let mut flat = Vec::new();
    for item in items {
        match item {
            Pred::And(inner) => flat.extend(inner),
            Pred::Const(true) => {}
            Pred::Const(false) => return Pred::Const(false),
            other => flat.push(other),
        }
    }
    flat.sort_by_key(Pred::cost);
    match flat.len() {
        0 => Pred::Const(true),
        1 => flat.remove(0),
        _ => Pred::And(flat.into()),
    }
}

fn any_of(items: Vec<Pred>) -> Pred {
    let mut flat = Vec::new();
    for item in items {
        match item {
            Pred::Or(inner) => flat.extend(inner),
            Pred::Const(false) => {}
            Pred::Const(true) => return Pred::Const(true),
            other => flat.push(other),
        }
    }
    flat.sort_by_key(Pred::cost);
    match flat.len() {
        0 => Pred::Const(false),
        1 => flat.remove(0),
        _ => Pred::Or(flat.into()),
    }
}
