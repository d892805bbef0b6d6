//! Checks and compiles calls of functions and methods.

use std::sync::Arc;

use memchr::memmem;

use super::ast::{Arg, Expr, ExprKind, Name};
use super::check::{Checked, Checker, Typed, all_of, folded, shown};
use super::cidr::Network;
use super::error::{KflError, Span, similar};
use super::functions::{self, FUNCTIONS};
use super::kind::Kind;
use super::moment;
use super::program::{Const, Conversion, Pred, Quantifier, Term, TextTest};
use super::redact::RedactPath;

impl Checker<'_> {
    /// `name(args)`
    pub(super) fn call(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        if let Some((_, nanos)) = moment::UNITS.iter().find(|(unit, _)| *unit == &*name.text) {
            return self.moment_from_now(args, *nanos, name, span);
        }
        match &*name.text {
            "now" => {
                arity(name, args, 0..=0, span)?;
                self.uses_now = true;
                Ok(time(self.now(), span))
            }
            "timestamp" => self.moment_of(name, args, Conversion::Time, span),
            "duration" => self.moment_of(name, args, Conversion::Duration, span),
            "datetime" => {
                let text = self.literal_text(name, args, span)?;
                let nanos =
                    moment::us_datetime(&text).or_else(|| moment::rfc3339(&text)).ok_or_else(|| {
                        KflError::new(span, "datetime needs a text such as \"10/19/2021, 6:29:02.593 PM\"")
                            .hint(usage(name))
                    })?;
                Ok(time(nanos, span))
            }
            "limit" => self.limit_call(name, args, span),
            "redact" => self.redact_call(name, args, span),
            "record" => {
                self.literal_text(name, args, span)?;
                // No recording exists that an entry could belong to.
                Ok(Typed::pred(Pred::Const(false), span))
            }
            "cidr" => self.cidr(name, args, span),
            "map_get" => self.map_get(name, args, span),
            "has" => {
                arity(name, args, 1..=1, span)?;
                let value = self.argument(args, 0, name, span)?;
                let term = match value.term {
                    Term::Field(source, _) => Term::Field(source, crate::model::FieldType::Any),
                    other => other,
                };
                Ok(Typed::pred(Pred::Has(term), span))
            }
            "dyn" => {
                arity(name, args, 1..=1, span)?;
                let value = self.argument(args, 0, name, span)?;
                Ok(Typed { kind: Kind::Any, loose: true, span, ..value })
            }
            "int" | "uint" => self.conversion(name, args, Conversion::Int, Kind::Int, span),
            "double" => self.conversion(name, args, Conversion::Float, Kind::Float, span),
            "string" => self.conversion(name, args, Conversion::Str, Kind::Str, span),
            "bool" => self.conversion(name, args, Conversion::Bool, Kind::Bool, span),
            "size" | "lower" | "upper" | "matches" => {
                let Some((first, rest)) = args.split_first() else {
                    return Err(KflError::new(span, format!("{} needs an argument", name.text)));
                };
                let base = self.check(&first.value)?;
                self.method(base, name, rest, span)
            }
            _ => Err(unknown_call(name, false)),
        }
    }

    /// `base.name(args)`
    pub(super) fn method(&mut self, base: Typed, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        match &*name.text {
            "contains" => self.text_test(TextTest::Contains, base, name, args, span),
            "startsWith" => self.text_test(TextTest::StartsWith, base, name, args, span),
            "endsWith" => self.text_test(TextTest::EndsWith, base, name, args, span),
            "matches" => {
                arity(name, args, 1..=1, span)?;
                needs_text(&base, name)?;
                let pattern = self.argument(args, 0, name, span)?;
                let regex = self.regex(&pattern)?;
                Ok(Typed::pred(Pred::Match { term: base.term, regex, negated: false }, span))
            }
            "lower" | "lowerAscii" | "upper" | "upperAscii" => {
                arity(name, args, 0..=0, span)?;
                needs_text(&base, name)?;
                let is_lower = name.text.starts_with("lower");
                let inner = Box::new(base.term);
                let term = if is_lower { Term::Lower(inner) } else { Term::Upper(inner) };
                let kind = if base.kind == Kind::Bytes { Kind::Str } else { base.kind };
                Ok(Typed { loose: base.loose, ..Typed::new(kind, term, span) })
            }
            "size" => {
                arity(name, args, 0..=0, span)?;
                let sized =
                    matches!(base.kind, Kind::List(_) | Kind::Map(_)) || base.kind.is_text() || base.loose;
                if !sized {
                    let message = format!("size needs a text, a list or a map, not {}", base.kind.name());
                    return Err(KflError::new(base.span, message).hint("compare the value itself"));
                }
                Ok(Typed::new(Kind::Int, Term::Size(Box::new(base.term)), span))
            }
            "json" | "xml" => {
                arity(name, args, 0..=0, span)?;
                needs_text(&base, name)?;
                let inner = Box::new(base.term);
                let term = if &*name.text == "json" { Term::Json(inner) } else { Term::Xml(inner) };
                Ok(Typed::new(Kind::Any, term, span))
            }
            "exists" => self.quantifier(Quantifier::Exists, base, name, args, span),
            "all" => self.quantifier(Quantifier::All, base, name, args, span),
            "exists_one" | "existsOne" => self.quantifier(Quantifier::ExistsOne, base, name, args, span),
            "filter" | "map" => self.collection(base, name, args, span),
            part if part.starts_with("get") && functions::method(part).is_some() => {
                arity(name, args, 0..=0, span)?;
                let of_duration =
                    matches!(part, "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds");
                let fits = base.kind == Kind::Time
                    || base.kind == Kind::Any
                    || (base.kind == Kind::Duration && of_duration);
                // The table holds the name for as long as the program lives.
                let (true, Some(function)) = (fits, functions::method(part)) else {
                    let message = format!("{part} needs a timestamp, not {}", base.kind.name());
                    return Err(KflError::new(base.span, message));
                };
                Ok(Typed::new(Kind::Int, Term::TimePart(function.name, Box::new(base.term)), span))
            }
            _ => Err(unknown_call(name, true)),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.context.now.nanos()).unwrap_or(i64::MAX)
    }

    fn argument(&mut self, args: &[Arg], index: usize, name: &Name, span: Span) -> Checked<Typed> {
        match args.get(index) {
            Some(arg) => self.check(&arg.value),
            None => Err(KflError::new(span, format!("{} needs more arguments", name.text)).hint(usage(name))),
        }
    }

    fn literal_text(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Arc<str>> {
        arity(name, args, 1..=1, span)?;
        let value = self.argument(args, 0, name, span)?;
        value.text().cloned().ok_or_else(|| {
            let message = format!("{} needs a literal text, not {}", name.text, value.kind.name());
            KflError::new(value.span, message).hint(usage(name))
        })
    }

    /// `minutes(-5)`: so many units from now.
    fn moment_from_now(&mut self, args: &[Arg], unit: i64, name: &Name, span: Span) -> Checked<Typed> {
        arity(name, args, 1..=1, span)?;
        let value = self.argument(args, 0, name, span)?;
        self.uses_now = true;
        let moved = match value.literal() {
            Some(Const::Int(count)) => count.saturating_mul(unit),
            Some(Const::Float(count)) => (count * unit as f64) as i64,
            _ => {
                let message = format!("{} needs a literal number, not {}", name.text, value.kind.name());
                return Err(KflError::new(value.span, message).hint(usage(name)));
            }
        };
        Ok(time(self.now().saturating_add(moved), span))
    }

    /// `timestamp("...")` and `duration("...")`, of texts known now or later.
    fn moment_of(&mut self, name: &Name, args: &[Arg], conversion: Conversion, span: Span) -> Checked<Typed> {
        arity(name, args, 1..=1, span)?;
        let value = self.argument(args, 0, name, span)?;
        let is_time = conversion == Conversion::Time;
        let fits = value.kind.is_text()
            || value.is_loose()
            || (is_time && matches!(value.kind, Kind::Int | Kind::Time));
        if !fits {
            let message = format!("{} needs a text, not {}", name.text, value.kind.name());
            return Err(KflError::new(value.span, message).hint(usage(name)));
        }
        let at = value.span;
        let was_literal = value.literal().is_some();
        let term = folded(Term::Convert(conversion, Box::new(value.term)));
        if was_literal && !matches!(term, Term::Const(_)) {
            let message = if is_time {
                "not a moment such as \"2026-03-14T22:00:00Z\""
            } else {
                "not a span of time such as \"5m\" or \"1h30m\""
            };
            return Err(KflError::new(at, message).hint(usage(name)));
        }
        Ok(Typed::new(if is_time { Kind::Time } else { Kind::Duration }, term, span))
    }

    fn limit_call(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        arity(name, args, 1..=1, span)?;
        let value = self.argument(args, 0, name, span)?;
        let count = match value.literal() {
            Some(Const::Int(count)) => u64::try_from(*count).ok().filter(|count| *count > 0),
            _ => None,
        };
        let Some(count) = count else {
            return Err(KflError::new(value.span, "limit needs a number above 0").hint(usage(name)));
        };
        self.limit = Some(self.limit.map_or(count, |limit| limit.min(count)));
        Ok(Typed::pred(Pred::Const(true), span))
    }

    fn redact_call(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        if args.is_empty() {
            return Err(KflError::new(span, "redact needs paths").hint(usage(name)));
        }
        for arg in args {
            let value = self.check(&arg.value)?;
            let Some(text) = value.text().cloned() else {
                return Err(KflError::new(value.span, "redact needs literal texts").hint(usage(name)));
            };
            let path = RedactPath::parse(&text)
                .map_err(|message| KflError::new(value.span, message).hint(usage(name)))?;
            if !self.redactions.contains(&path) {
                self.redactions.push(path);
            }
        }
        Ok(Typed::pred(Pred::Const(true), span))
    }

    fn cidr(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        let address = self.argument(args, 0, name, span)?;
        let fits = address.kind == Kind::Str
            || address.is_loose()
            || matches!(address.kind, Kind::List(Kind::Str | Kind::Any));
        if !fits {
            let message = format!("cidr needs an address, not {}", address.kind.name());
            return Err(KflError::new(address.span, message).hint(usage(name)));
        }
        let mut networks = Vec::new();
        for arg in args.iter().skip(1) {
            let items = match &arg.value.kind {
                ExprKind::List(items) => items.as_slice(),
                _ => std::slice::from_ref(&arg.value),
            };
            for item in items {
                let value = self.check(item)?;
                let network = value.text().and_then(|text| Network::parse(text)).ok_or_else(|| {
                    KflError::new(value.span, format!("{} is not a range of addresses", shown(item)))
                        .hint(usage(name))
                })?;
                networks.push(network);
            }
        }
        if networks.is_empty() {
            return Err(KflError::new(span, "cidr needs at least one range").hint(usage(name)));
        }
        Ok(Typed::pred(Pred::Network { term: address.term, networks: networks.into() }, span))
    }

    fn map_get(&mut self, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        arity(name, args, 3..=3, span)?;
        if let Some(row) = self.map_of_rows(args, span)? {
            return Ok(row);
        }
        let map = self.argument(args, 0, name, span)?;
        let key = self.argument(args, 1, name, span)?;
        let default = self.argument(args, 2, name, span)?;
        let held = match map.kind {
            Kind::Map(held) => *held,
            Kind::Any => Kind::Any,
            other => {
                let message = format!("map_get needs a map, not {}", other.name());
                return Err(KflError::new(map.span, message).hint(usage(name)));
            }
        };
        if !key.kind.comparable(Kind::Str) {
            let message = format!("the key of a map is a string, not {}", key.kind.name());
            return Err(KflError::new(key.span, message));
        }
        if !default.kind.comparable(held) {
            let message = format!("the map holds {}, the default is {}", held.name(), default.kind.name());
            return Err(KflError::new(default.span, message).hint(usage(name)));
        }
        let kind = if held == Kind::Any { Kind::Any } else { held.either(default.kind) };
        let ignore_case = map.headers;
        let (map, key, default) = (Box::new(map.term), Box::new(key.term), Box::new(default.term));
        Ok(Typed::new(kind, Term::MapGet { map, key, default, ignore_case }, span))
    }

    /// `map_get(node, "name", "")`: `node` and `capture` are rows of the table and not maps.
    fn map_of_rows(&mut self, args: &[Arg], span: Span) -> Checked<Option<Typed>> {
        let [map, key, _] = args else { return Ok(None) };
        let (ExprKind::Name(map), ExprKind::Str(key)) = (&map.value.kind, &key.value.kind) else {
            return Ok(None);
        };
        if super::fields::find(map).is_some() || super::fields::find(&format!("{map}.{key}")).is_none() {
            return Ok(None);
        }
        let name = Name { span, text: key.clone() };
        let segment = super::ast::Segment { span, kind: super::ast::SegmentKind::Member(name) };
        self.chain(map, span, &[segment], span).map(Some)
    }

    fn conversion(
        &mut self,
        name: &Name,
        args: &[Arg],
        to: Conversion,
        kind: Kind,
        span: Span,
    ) -> Checked<Typed> {
        arity(name, args, 1..=1, span)?;
        let value = self.argument(args, 0, name, span)?;
        if matches!(value.kind, Kind::List(_) | Kind::Map(_) | Kind::Null) {
            let message = format!("{} cannot convert {}", name.text, value.kind.name());
            return Err(KflError::new(value.span, message));
        }
        Ok(Typed::new(kind, folded(Term::Convert(to, Box::new(value.term))), span))
    }

    fn text_test(
        &mut self,
        test: TextTest,
        base: Typed,
        name: &Name,
        args: &[Arg],
        span: Span,
    ) -> Checked<Typed> {
        arity(name, args, 1..=1, span)?;
        needs_text(&base, name)?;
        let other = self.argument(args, 0, name, span)?;
        if !other.kind.is_text() && !other.is_loose() {
            let message = format!("{} needs a text, {} is {}", name.text, shown_arg(args), other.kind.name());
            let error = KflError::new(other.span, message);
            let written = args.first().map(|arg| arg.value.to_string()).unwrap_or_default();
            return Err(match other.literal() {
                Some(_) => error.hint(format!("write it in quotes: \"{written}\"")),
                None => error.hint(format!("make a text of it: string({written})")),
            });
        }
        let needle = match other.literal() {
            Some(Const::Str(text)) => Some(text.as_bytes().to_vec()),
            Some(Const::Bytes(bytes)) => Some(bytes.to_vec()),
            _ => None,
        };
        let pred = match (test, needle) {
            (TextTest::Contains, Some(needle)) => {
                Pred::Find { term: base.term, finder: Box::new(memmem::Finder::new(&needle).into_owned()) }
            }
            (TextTest::StartsWith | TextTest::EndsWith, Some(needle)) => {
                let at_end = test == TextTest::EndsWith;
                let octets = if at_end { None } else { super::cidr::octets(&needle) };
                Pred::Affix { term: base.term, wanted: needle.into(), at_end, octets }
            }
            (_, None) => Pred::Test { test, term: base.term, other: other.term },
        };
        Ok(Typed::pred(pred, span))
    }

    /// The variable of `exists` and its like, and the type of what it stands for.
    fn variable(base: &Typed, name: &Name, args: &[Arg], span: Span) -> Checked<(Arc<str>, Kind)> {
        let kind = match base.kind {
            Kind::List(held) => *held,
            Kind::Map(_) => Kind::Str,
            Kind::Any => Kind::Any,
            other => {
                let message = format!("{} needs a list or a map, not {}", name.text, other.name());
                return Err(KflError::new(base.span, message));
            }
        };
        match args.first().map(|arg| &arg.value) {
            Some(Expr { kind: ExprKind::Name(variable), .. }) => Ok((variable.clone(), kind)),
            Some(other) => {
                Err(KflError::new(other.span, format!("{} needs a variable first", name.text))
                    .hint(usage(name)))
            }
            None => {
                Err(KflError::new(span, format!("{} needs a variable first", name.text)).hint(usage(name)))
            }
        }
    }

    /// Checks a body in which `variable` is known; returns its slot with the result.
    fn with_variable<T>(
        &mut self,
        (name, kind): (Arc<str>, Kind),
        body: impl FnOnce(&mut Self) -> Checked<T>,
    ) -> Checked<(usize, T)> {
        let slot = self.slots;
        self.slots += 1;
        self.scope.push(super::check::Variable { name, slot, kind });
        let checked = body(self);
        self.scope.pop();
        self.slots -= 1;
        Ok((slot, checked?))
    }

    fn quantifier(
        &mut self,
        kind: Quantifier,
        base: Typed,
        name: &Name,
        args: &[Arg],
        span: Span,
    ) -> Checked<Typed> {
        arity(name, args, 2..=2, span)?;
        let variable = Self::variable(&base, name, args, span)?;
        let (slot, test) = self.with_variable(variable, |checker| match args.get(1) {
            Some(arg) => checker.condition(&arg.value),
            None => Ok(Pred::Const(true)),
        })?;
        Ok(Typed::pred(Pred::Quantify { kind, list: base.term, slot, test: Box::new(test) }, span))
    }

    /// `filter(x, condition)`, `map(x, value)`, `map(x, condition, value)`
    fn collection(&mut self, base: Typed, name: &Name, args: &[Arg], span: Span) -> Checked<Typed> {
        let is_map = &*name.text == "map";
        arity(name, args, if is_map { 2..=3 } else { 2..=2 }, span)?;
        let variable = Self::variable(&base, name, args, span)?;
        let item = variable.1;
        let (slot, (test, kind, value)) = self.with_variable(variable, |checker| {
            let slot = checker.slots - 1;
            let body: Vec<&Expr> = args.iter().skip(1).map(|arg| &arg.value).collect();
            match (is_map, body.as_slice()) {
                (true, [value]) => {
                    checker.check(value).map(|value| (Pred::Const(true), value.kind, value.term))
                }
                (true, [test, value]) => {
                    let test = checker.condition(test)?;
                    checker.check(value).map(|value| (test, value.kind, value.term))
                }
                (_, [test, ..]) => Ok((all_of(vec![checker.condition(test)?]), item, Term::Local(slot))),
                (_, []) => Ok((Pred::Const(true), item, Term::Local(slot))),
            }
        })?;
        let (list, test, value) = (Box::new(base.term), Box::new(test), Box::new(value));
        Ok(Typed::new(Kind::List(kind.held()), Term::Collect { list, slot, test, value }, span))
    }
}

fn time(nanos: i64, span: Span) -> Typed {
    Typed::new(Kind::Time, Term::Const(Const::Time(nanos)), span)
}

fn shown_arg(args: &[Arg]) -> String {
    args.first().map_or_else(String::new, |arg| shown(&arg.value))
}

fn usage(name: &Name) -> String {
    let function = FUNCTIONS.iter().find(|function| function.name == &*name.text);
    function.map_or_else(String::new, |function| format!("for example {}", function.usage))
}

fn arity(name: &Name, args: &[Arg], allowed: std::ops::RangeInclusive<usize>, span: Span) -> Checked<()> {
    if allowed.contains(&args.len()) {
        return Ok(());
    }
    let wanted = match (*allowed.start(), *allowed.end()) {
        (0, 0) => "no arguments".to_owned(),
        (1, 1) => "one argument".to_owned(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, most) => format!("{least} or {most} arguments"),
    };
    let message = format!("{} takes {wanted}, here are {}", name.text, args.len());
    Err(KflError::new(span, message).hint(usage(name)))
}

fn needs_text(base: &Typed, name: &Name) -> Checked<()> {
    if base.kind.is_text()
        || base.loose
        || matches!(base.kind, Kind::List(Kind::Str | Kind::Bytes | Kind::Any))
    {
        return Ok(());
    }
    let error = KflError::new(base.span, format!("{} needs a text, not {}", name.text, base.kind.name()));
    Err(match base.kind {
        Kind::Bool => error.hint("a flag is a condition by itself"),
        Kind::Map(_) => error.hint("select a key first: map[\"key\"]"),
        Kind::List(_) => error.hint("ask its items: list.exists(x, x == 1)"),
        _ => error.hint(format!("make a text of it: string(...).{}(...)", name.text)),
    })
}

fn unknown_call(name: &Name, is_method: bool) -> KflError {
    let what = if is_method { "method" } else { "function" };
    let error = KflError::new(name.span, format!("unknown {what} `{}`", name.text));
    let known =
        FUNCTIONS.iter().filter(|function| function.is_method == is_method).map(|function| function.name);
    let found = similar(&name.text, known);
    if let Some(other) = FUNCTIONS.iter().find(|function| function.name == &*name.text) {
        return error.hint(format!("for example {}", other.usage));
    }
    if !found.is_empty() {
        return error.hint(format!("did you mean {}?", found.join(", ")));
    }
    let known = FUNCTIONS.iter().filter(|function| function.is_method == is_method);
    let first: Vec<&str> = known.map(|function| function.name).take(8).collect();
    error.hint(format!("{what}s are {} and others", first.join(", ")))
}
