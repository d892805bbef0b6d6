//! Resolves names and what is selected from them: variables, macros, fields, paths.

use std::sync::Arc;

use super::ast::{Expr, ExprKind, Name, Segment, SegmentKind};
use super::check::{Checked, Checker, Typed, shown};
use super::error::{KflError, Span, similar};
use super::fields::{self, Row};
use super::functions;
use super::kind::Kind;
use super::program::{Const, Source, Term};
use super::select::{Alias, Step};
use crate::limits::kfl as limits;
use crate::model::{FieldSource, FieldType};

impl Checker<'_> {
    /// A name with everything selected from it.
    pub(super) fn chain(
        &mut self,
        name: &Arc<str>,
        at: Span,
        segments: &[Segment],
        span: Span,
    ) -> Checked<Typed> {
        if let Some(variable) = self.scope.iter().rev().find(|variable| variable.name == *name) {
            let base = Typed::new(variable.kind, Term::Local(variable.slot), at);
            return self.segments(base, segments, span);
        }
        if let Some((text, expr)) = self.context.macros.find(name)
            && !self.expanding.contains(name)
        {
            let base = self.expand(name, text, expr, at)?;
            return self.segments(base, segments, span);
        }
        let names = dotted(name, segments);
        for taken in (0..=names.len()).rev() {
            let mut full = name.to_string();
            for part in names.iter().take(taken) {
                full.push('.');
                full.push_str(part);
            }
            if let Some(row) = fields::find(&full) {
                let (used, rest) = segments.split_at(taken);
                let end = used.last().map_or(at, |segment| segment.span);
                return self.row(row, rest, at.to(end), span);
            }
        }
        match &**name {
            "request" => self.path(Source::Request(Arc::default()), segments, at, span),
            "response" => self.path(Source::Response(Arc::default()), segments, at, span),
            _ => Err(self.unknown_name(name, &names, at, segments)),
        }
    }

    /// The value of a macro, checked where it is used.
    fn expand(&mut self, name: &Arc<str>, text: &Arc<str>, expr: Option<&Expr>, at: Span) -> Checked<Typed> {
        if self.expanding.len() >= limits::MACRO_DEPTH {
            let message = format!("macros use each other more than {} deep at `{name}`", limits::MACRO_DEPTH);
            return Err(KflError::new(at, message));
        }
        let Some(expr) = expr else { return Ok(Typed::new(Kind::Bool, Term::Const(Const::Bool(true)), at)) };
        if !self.macros.iter().any(|(known, _)| known == name) {
            self.macros.push((name.clone(), text.clone()));
        }
        self.expanding.push(name.clone());
        // A macro does not see the variables of the place that uses it.
        let scope = std::mem::take(&mut self.scope);
        let checked = self.check(expr);
        self.scope = scope;
        self.expanding.pop();
        match checked {
            Ok(typed) => Ok(Typed { span: at, ..typed }),
            Err(error) => Err(KflError {
                span: at.range(),
                message: format!("in the macro `{name}`: {}", error.message),
                ..error
            }),
        }
    }

    fn row(&mut self, row: Row, rest: &[Segment], at: Span, span: Span) -> Checked<Typed> {
        let field = row.field;
        let kind = Kind::of(field.ty);
        // What a message holds is not promised to be text: a repeated parameter is a list.
        let message_map = matches!(field.source, FieldSource::Path(_)) && field.ty == FieldType::StrMap;
        let source = match field.source {
            FieldSource::Get(get) => Source::Get(get, field.name),
            FieldSource::Text(get) => Source::Text(get),
            FieldSource::Planned => Source::Nothing,
            FieldSource::Path(path) => {
                let source = path_source(path);
                let goes_on = !matches!(rest, [] | [Segment { kind: SegmentKind::Method(..), .. }, ..]);
                if field.ty == FieldType::Any || (message_map && goes_on) {
                    return self.path(source, rest, at, span);
                }
                source
            }
        };
        let mut base = Typed::new(kind, Term::Field(source, field.ty), at);
        base.loose |= row.loose;
        base.headers = field.name.ends_with(".headers");
        if message_map {
            base.kind = Kind::Map(&Kind::Any);
        }
        base.unit = match field.name {
            "elapsed_time" => Some(1000),
            "elapsedTime" | "latency" => Some(1_000_000),
            _ => None,
        };
        self.segments(base, rest, span)
    }

    /// A path into the request or the response: as many segments as are plain go into one selection.
    fn path(&mut self, source: Source, segments: &[Segment], at: Span, span: Span) -> Checked<Typed> {
        let (start, is_request) = match &source {
            Source::Request(steps) => (steps.clone(), true),
            Source::Response(steps) => (steps.clone(), false),
            _ => (Arc::default(), true),
        };
        let mut steps: Vec<Step> = start.to_vec();
        let mut used = 0;
        for segment in segments {
            let Some(step) = plain_step(segment, steps.is_empty(), under_headers(&steps)) else { break };
            steps.push(step);
            used += 1;
        }
        let (path, rest) = segments.split_at(used);
        let end = path.last().map_or(at, |segment| segment.span);
        let headers = under_headers(&steps);
        let steps: Arc<[Step]> = steps.into();
        let source = if is_request { Source::Request(steps) } else { Source::Response(steps) };
        let mut base = Typed::new(Kind::Any, Term::Field(source, FieldType::Any), at.to(end));
        base.headers = headers;
        self.segments(base, rest, span)
    }

    /// Applies segments to a checked value, one after the other.
    pub(super) fn segments(&mut self, mut base: Typed, segments: &[Segment], span: Span) -> Checked<Typed> {
        for segment in segments {
            let at = base.span.to(segment.span);
            base = match &segment.kind {
                SegmentKind::Method(name, args) => self.method(base, name, args, at)?,
                _ => match plain_step(segment, false, base.headers) {
                    Some(step) => select(base, step, segment, at)?,
                    None => self.dynamic(base, segment, at)?,
                },
            };
        }
        // The whole of a chain is what an error should point at.
        base.span = if segments.is_empty() { base.span } else { span };
        Ok(base)
    }

    /// `base[expression]`
    fn dynamic(&mut self, base: Typed, segment: &Segment, at: Span) -> Checked<Typed> {
        let SegmentKind::Index(expr) = &segment.kind else {
            return Err(KflError::new(segment.span, "not a selection"));
        };
        let key = self.check(expr)?;
        let (kind, wanted) = match base.kind {
            Kind::List(held) => (*held, Kind::Int),
            Kind::Map(held) => (*held, Kind::Str),
            Kind::Any => (Kind::Any, Kind::Any),
            other => return Err(no_parts(segment, other)),
        };
        if !key.kind.comparable(wanted) && !key.is_loose() {
            let message = format!(
                "the index of a {} must be {}, {} is {}",
                base.kind.name(),
                wanted.name(),
                shown(expr),
                key.kind.name()
            );
            return Err(KflError::new(expr.span, message));
        }
        let ignore_case = base.headers;
        let term = Term::Index { base: Box::new(base.term), key: Box::new(key.term), ignore_case };
        Ok(Typed::new(kind, term, at))
    }

    fn unknown_name(&self, name: &str, names: &[&str], at: Span, segments: &[Segment]) -> KflError {
        let mut full = name.to_owned();
        for part in names {
            full.push('.');
            full.push_str(part);
        }
        let variables = self.scope.iter().map(|variable| &*variable.name);
        let mut known: Vec<&str> = fields::all().map(|field| field.name).chain(variables).collect();
        known.extend(self.context.macros.names());
        known.extend(["request", "response"]);
        let mut found = similar(&full, known.iter().copied());
        if found.is_empty() && !names.is_empty() {
            found = similar(name, known.iter().copied());
        }
        let end = segments.get(names.len().wrapping_sub(1)).map_or(at, |segment| segment.span);
        let mut error = KflError::new(at.to(end), format!("unknown name `{full}`"));
        if functions::find(name).is_some() {
            error = error.hint(format!("{name} is a function: {name}(...)"));
        }
        if !found.is_empty() {
            error = error.hint(format!("did you mean {}?", found.join(", ")));
        }
        let under = fields::all().filter(|field| field.name.ends_with(&format!(".{full}")));
        let mut under: Vec<&str> = under.map(|field| field.name).collect();
        under.retain(|field| !found.contains(field));
        under.truncate(4);
        if !under.is_empty() {
            error = error.hint(format!("there is {}", under.join(", ")));
        }
        if names.is_empty() {
            error = error.hint(format!("a text stands in quotes: \"{name}\""));
        }
        error
    }
}

/// The members that follow a name, as far as they are plain names: `.a` and `["a"]`.
fn dotted<'a>(name: &str, segments: &'a [Segment]) -> Vec<&'a str> {
    let indexed = matches!(name, "node" | "capture" | "src" | "dst" | "protocol" | "error");
    let part = |segment: &'a Segment| match &segment.kind {
        SegmentKind::Member(name) => Some(&*name.text),
        SegmentKind::Index(Expr { kind: ExprKind::Str(text), .. }) if indexed => Some(&**text),
        _ => None,
    };
    // No field has more parts.
    segments.iter().take(6).map_while(part).collect()
}

/// The source of a row that names a path, such as `request.headers`.
pub(super) fn path_source(path: &str) -> Source {
    let mut parts = path.split('.');
    let root = parts.next();
    let steps = parts.enumerate().map(|(depth, part)| {
        let alias = if depth == 0 { Alias::of(part) } else { None };
        Step::Member { name: part.into(), alias }
    });
    let steps = steps.collect();
    if root == Some("response") { Source::Response(steps) } else { Source::Request(steps) }
}

fn under_headers(steps: &[Step]) -> bool {
    matches!(steps, [Step::Member { name, .. }] if name == "headers")
}

/// A segment whose key is known now.
pub(super) fn plain_step(segment: &Segment, first: bool, headers: bool) -> Option<Step> {
    let member = |name: &Arc<str>| {
        if headers {
            Step::Header((&**name).into())
        } else {
            Step::Member { name: (&**name).into(), alias: if first { Alias::of(name) } else { None } }
        }
    };
    Some(match &segment.kind {
        SegmentKind::Member(Name { text, .. }) => member(text),
        SegmentKind::All => Step::All,
        SegmentKind::Descend(name) => Step::Descend((&*name.text).into()),
        SegmentKind::Index(expr) => match &expr.kind {
            ExprKind::Str(text) | ExprKind::Raw(text) => member(text),
            ExprKind::Int(index) => Step::Item(*index),
            _ => return None,
        },
        SegmentKind::Method(..) => return None,
    })
}

/// Adds a step to a value, where its type has parts of that kind.
fn select(base: Typed, step: Step, segment: &Segment, at: Span) -> Checked<Typed> {
    let kind = match (base.kind, &step) {
        (Kind::Any, _) | (Kind::List(_) | Kind::Map(_), Step::Descend(_)) => Kind::Any,
        (Kind::List(held), Step::Item(_)) => *held,
        (Kind::List(held) | Kind::Map(held), Step::All) => Kind::List(held),
        (Kind::Map(held), Step::Member { .. } | Step::Header(_)) => *held,
        (Kind::Map(_), Step::Item(_)) => Kind::Any,
        // Members of a list are those of its items, which only a list of anything may have.
        (Kind::List(&Kind::Any), Step::Member { .. }) => Kind::Any,
        (other, _) => return Err(no_parts(segment, other)),
    };
    let (loose, headers) = (base.loose, false);
    let term = match base.term {
        Term::Select(inner, steps) => {
            let mut steps = steps.to_vec();
            steps.push(step);
            Term::Select(inner, steps.into())
        }
        term => Term::Select(Box::new(term), vec![step].into()),
    };
    let mut typed = Typed::new(kind, term, at);
    typed.loose |= loose;
    typed.headers = headers;
    Ok(typed)
}

fn no_parts(segment: &Segment, kind: Kind) -> KflError {
    let what = match &segment.kind {
        SegmentKind::Member(name) | SegmentKind::Descend(name) => {
            format!("{} has no member `{}`", with_article(kind), name.text)
        }
        _ => format!("{} cannot be indexed", with_article(kind)),
    };
    let error = KflError::new(segment.span, what);
    match &segment.kind {
        SegmentKind::Member(name) if functions::method(&name.text).is_some() => {
            error.hint(format!("{} is a method: .{}(...)", name.text, name.text))
        }
        SegmentKind::Member(name) if kind == Kind::Bool => {
            error.hint(format!("a flag is a condition by itself: write and {}", name.text))
        }
        _ if matches!(kind, Kind::Str | Kind::Bytes) => {
            error.hint("a text has methods only: contains, startsWith, endsWith, matches, size, json")
        }
        _ => error.hint("compare it with something, such as == or >"),
    }
}

fn with_article(kind: Kind) -> String {
    let name = kind.name();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
