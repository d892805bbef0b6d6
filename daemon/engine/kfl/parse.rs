//! The grammar of both dialects, over tokens, with `combine`.
//!
//! ```text
//! expr    = chain { "?" chain ":" chain }
//! chain   = operand { operator operand }          folded by strength afterwards, without recursion
//! operand = { "!" | "-" | "not" } primary { segment }
//! segment = "." name [ args ] | ".." name | "." "*" | "[" ( "*" | expr ) "]"
//! primary = literal | name [ args ] | "(" expr ")" | "[" list "]" | "{" entries "}"
//! ```

use combine::easy::{Errors, Info};
use combine::parser::choice::{choice, optional};
use combine::parser::repeat::{many, sep_end_by};
use combine::{Parser, StdParseResult, attempt, easy, eof, parser, satisfy_map};

use super::ast::{Arg, Binary, Expr, ExprKind, Name, Segment, SegmentKind, Unary};
use super::error::{KflError, Span};
use super::token::{Tok, Token, tokens};

type Input<'a> = easy::Stream<&'a [Token<'a>]>;
type Parsed<'a, T> = StdParseResult<T, Input<'a>>;

/// Words that cannot be names of fields.
pub(super) const KEYWORDS: &[&str] = &["and", "or", "not", "in", "true", "false", "null", "nil"];

/// Parses a filter; `None` for one without any token, which matches everything.
pub(super) fn parse(text: &str) -> Result<Option<Expr>, KflError> {
    let tokens = tokens(text).map_err(|error| error.located(text))?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let parsed = (parser(expr), eof().expected("an operator")).parse(easy::Stream(&tokens[..]));
    parsed.map(|((expr, ()), _)| Some(expr)).map_err(|errors| syntax_error(text, &tokens, errors))
}

/// Turns combine's collected errors into one with a place in the text.
fn syntax_error<'a>(
    text: &str,
    tokens: &'a [Token<'a>],
    errors: Errors<Token<'a>, &'a [Token<'a>], combine::stream::PointerOffset<[Token<'a>]>>,
) -> KflError {
    // The position is a distance in bytes.
    let index = errors.position.translate_position(tokens) / size_of::<Token<'_>>().max(1);
    let found = tokens.get(index);
    let span = found.map_or(Span::new(text.len(), text.len()), |token| token.span);
    let mut message = None;
    let mut expected: Vec<String> = Vec::new();
    for error in &errors.errors {
        match error {
            easy::Error::Expected(Info::Static(name)) => expected.push((*name).to_owned()),
            easy::Error::Expected(Info::Owned(name)) => expected.push(name.clone()),
            easy::Error::Message(Info::Static(text)) => message = Some((*text).to_owned()),
            _ => {}
        }
    }
    let expected = plain(expected);
    let what = message.unwrap_or_else(|| match found {
        Some(token) => format!("unexpected {token}"),
        None => "the filter ends too early".to_owned(),
    });
    let listed = expected.join(", ");
    let message = if listed.is_empty() { what } else { format!("{what}, expected {listed}") };
    let mut error = KflError::new(span, message);
    error.expected = expected;
    if let Some(hint) =
        found.and_then(|token| misplaced(token, index.checked_sub(1).and_then(|at| tokens.get(at))))
    {
        error = error.hint(hint);
    }
    error.located(text)
}

/// What a person wants to read of what could stand there: a value may begin with any bracket, and
/// wherever an operator may stand a selection may as well.
fn plain(mut expected: Vec<String>) -> Vec<String> {
    let obvious: &[&str] = if expected.iter().any(|name| name == "a value" || name == "a field") {
        expected = vec!["a value".to_owned()];
        &[]
    } else if expected.iter().any(|name| name == "an operator") {
        &["`.`", "`..`", "`[`", "`(`"]
    } else {
        &[]
    };
    expected.retain(|name| !obvious.contains(&name.as_str()));
    expected.sort_unstable();
    expected.dedup();
    expected
}

/// What was probably meant by a token at a place where it cannot stand.
fn misplaced(token: &Token<'_>, before: Option<&Token<'_>>) -> Option<String> {
    let Tok::Word(word) = token.tok else { return None };
    match word {
        "contains" | "startsWith" | "endsWith" | "matches" => {
            Some(format!("write it as a method: field.{word}(\"...\")"))
        }
        "is" => Some("write == to compare".into()),
        "AND" | "OR" | "NOT" | "IN" => Some(format!("write {}", word.to_ascii_lowercase())),
        "like" | "LIKE" => Some("write .matches(\"...\") or == r\"...\"".into()),
        _ if before.is_some_and(|token| matches!(token.tok, Tok::Word(_) | Tok::Sym(")" | "]"))) => {
            Some("join two conditions with and or or".into())
        }
        _ => None,
    }
}

/// A symbol, with its place.
fn symbol<'a>(symbol: &'static str, shown: &'static str) -> impl Parser<Input<'a>, Output = Span> {
    satisfy_map(move |token: Token<'a>| (token.tok == Tok::Sym(symbol)).then_some(token.span)).expected(shown)
}

/// Any name that is not a keyword.
fn name<'a>() -> impl Parser<Input<'a>, Output = Name> {
    satisfy_map(|token: Token<'a>| match token.tok {
        Tok::Word(word) if !KEYWORDS.contains(&word) => Some(Name { span: token.span, text: word.into() }),
        _ => None,
    })
    .expected("a field")
}

/// A name after a dot, where keywords are names as well.
fn member_name<'a>() -> impl Parser<Input<'a>, Output = Name> {
    satisfy_map(|token: Token<'a>| match token.tok {
        Tok::Word(word) => Some(Name { span: token.span, text: word.into() }),
        _ => None,
    })
    .expected("a name after the dot")
}

fn literal<'a>() -> impl Parser<Input<'a>, Output = Expr> {
    satisfy_map(|token: Token<'a>| {
        let kind = match token.tok {
            Tok::Int(number) => ExprKind::Int(number),
            Tok::Float(number) => ExprKind::Float(number),
            Tok::Str(text) => ExprKind::Str(text),
            Tok::Raw(text) => ExprKind::Raw(text),
            Tok::Bytes(bytes) => ExprKind::Bytes(bytes),
            Tok::Word("true") => ExprKind::Bool(true),
            Tok::Word("false") => ExprKind::Bool(false),
            Tok::Word("null" | "nil") => ExprKind::Null,
            _ => return None,
        };
        Some(Expr { span: token.span, kind })
    })
    .expected("a value")
}

/// An operator between operands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Infix {
    And,
    Or,
    Binary(Binary),
}

fn infix<'a>() -> impl Parser<Input<'a>, Output = Infix> {
    satisfy_map(|token: Token<'a>| {
        Some(match token.tok {
            Tok::Sym("&&") | Tok::Word("and") => Infix::And,
            Tok::Sym("||") | Tok::Word("or") => Infix::Or,
            Tok::Sym("==") => Infix::Binary(Binary::Eq),
            Tok::Sym("!=") => Infix::Binary(Binary::Ne),
            Tok::Sym("<") => Infix::Binary(Binary::Lt),
            Tok::Sym("<=") => Infix::Binary(Binary::Le),
            Tok::Sym(">") => Infix::Binary(Binary::Gt),
            Tok::Sym(">=") => Infix::Binary(Binary::Ge),
            Tok::Word("in") => Infix::Binary(Binary::In),
            Tok::Sym("+") => Infix::Binary(Binary::Add),
            Tok::Sym("-") => Infix::Binary(Binary::Sub),
            Tok::Sym("*") => Infix::Binary(Binary::Mul),
            Tok::Sym("/") => Infix::Binary(Binary::Div),
            Tok::Sym("%") => Infix::Binary(Binary::Rem),
            _ => return None,
        })
    })
    .expected("an operator")
}

/// A prefix operator; `None` for the weak `not`.
fn prefix<'a>() -> impl Parser<Input<'a>, Output = (Option<Unary>, Span)> {
    satisfy_map(|token: Token<'a>| match token.tok {
        Tok::Sym("!") => Some((Some(Unary::Not), token.span)),
        Tok::Sym("-") => Some((Some(Unary::Neg), token.span)),
        Tok::Word("not") => Some((None, token.span)),
        _ => None,
    })
    .expected("a value")
}

fn expr<'a>(input: &mut Input<'a>) -> Parsed<'a, Expr> {
    let branch = (symbol("?", "an operator"), parser(chain), symbol(":", "`:`"), parser(chain));
    (parser(chain), many::<Vec<_>, _, _>(branch))
        .map(|(first, branches)| {
            let mut conditions = Vec::new();
            let mut last = first;
            for (_, value, _, otherwise) in branches {
                conditions.push((std::mem::replace(&mut last, otherwise), value));
            }
            match conditions.first() {
                None => last,
                Some((first, _)) => {
                    Expr { span: first.span.to(last.span), kind: ExprKind::Cond(conditions, Box::new(last)) }
                }
            }
        })
        .parse_stream(input)
        .into_result()
}

/// An operand with the number of `not` before it.
struct Operand {
    nots: u32,
    start: Span,
    expr: Expr,
}

fn chain<'a>(input: &mut Input<'a>) -> Parsed<'a, Expr> {
    (parser(operand), many::<Vec<_>, _, _>((infix(), parser(operand))))
        .map(|(first, rest)| fold_or(first, rest))
        .parse_stream(input)
        .into_result()
}

fn operand<'a>(input: &mut Input<'a>) -> Parsed<'a, Operand> {
    (many::<Vec<_>, _, _>(prefix()), parser(postfix))
        .map(|(prefixes, value)| apply_prefixes(&prefixes, value))
        .parse_stream(input)
        .into_result()
}

fn apply_prefixes(prefixes: &[(Option<Unary>, Span)], value: Expr) -> Operand {
    let start = prefixes.first().map_or(value.span, |(_, span)| *span);
    let nots = prefixes.iter().take_while(|(operator, _)| operator.is_none()).count();
    // A `not` after `!` or `-` has nothing weaker to reach for: it is a `!`.
    let tight: Vec<Unary> =
        prefixes[nots..].iter().map(|(operator, _)| operator.unwrap_or(Unary::Not)).collect();
    let tight_start = prefixes.get(nots).map_or(value.span, |(_, span)| *span);
    let expr = if tight.is_empty() { value } else { unary(tight, tight_start, value) };
    Operand { nots: nots as u32, start, expr }
}

/// Prefix operators applied; a minus before a number makes it a negative number.
fn unary(operators: Vec<Unary>, start: Span, value: Expr) -> Expr {
    let span = start.to(value.span);
    let only_minus = operators.iter().all(|operator| *operator == Unary::Neg);
    let odd = operators.len() % 2 == 1;
    let kind = match value.kind {
        ExprKind::Int(number) if only_minus => ExprKind::Int(if odd { -number } else { number }),
        ExprKind::Float(number) if only_minus => ExprKind::Float(if odd { -number } else { number }),
        kind => ExprKind::Unary(operators, Box::new(Expr { span: value.span, kind })),
    };
    Expr { span, kind }
}

fn postfix<'a>(input: &mut Input<'a>) -> Parsed<'a, Expr> {
    (parser(primary), many::<Vec<_>, _, _>(parser(segment)))
        .map(|(base, segments)| match segments.last() {
            None => base,
            Some(last) => {
                let span = base.span.to(last.span);
                Expr { span, kind: ExprKind::Chain(Box::new(base), segments) }
            }
        })
        .parse_stream(input)
        .into_result()
}

fn segment<'a>(input: &mut Input<'a>) -> Parsed<'a, Segment> {
    let dotted = symbol(".", "`.`").and(choice((
        symbol("*", "`*`").map(|span| Segment { span, kind: SegmentKind::All }),
        (member_name(), optional(parser(arguments))).map(|(name, args)| match args {
            None => Segment { span: name.span, kind: SegmentKind::Member(name) },
            Some((args, end)) => Segment { span: name.span.to(end), kind: SegmentKind::Method(name, args) },
        }),
    )));
    let descend = (symbol("..", "`..`"), member_name())
        .map(|(start, name)| Segment { span: start.to(name.span), kind: SegmentKind::Descend(name) });
    let inner = choice((symbol("*", "`*`").map(|_| SegmentKind::All), parser(expr).map(SegmentKind::Index)));
    let index = (symbol("[", "`[`"), inner, symbol("]", "`]`"))
        .map(|(start, kind, end)| Segment { span: start.to(end), kind });
    choice((dotted.map(|(dot, segment)| Segment { span: dot.to(segment.span), ..segment }), descend, index))
        .parse_stream(input)
        .into_result()
}

/// Arguments in brackets and the place of the closing one.
fn arguments<'a>(input: &mut Input<'a>) -> Parsed<'a, (Vec<Arg>, Span)> {
    let named = attempt((name(), symbol(":", "`:`"))).map(|(name, _)| name);
    let argument = (optional(named), parser(expr)).map(|(name, value)| Arg { name, value });
    let list = sep_end_by::<Vec<_>, _, _, _>(argument, symbol(",", "`,`"));
    (symbol("(", "`(`"), list, symbol(")", "`)`"))
        .map(|(_, args, end)| (args, end))
        .parse_stream(input)
        .into_result()
}

fn primary<'a>(input: &mut Input<'a>) -> Parsed<'a, Expr> {
    let named = (name(), optional(parser(arguments))).map(|(name, args)| match args {
        None => Expr { span: name.span, kind: ExprKind::Name(name.text) },
        Some((args, end)) => Expr { span: name.span.to(end), kind: ExprKind::Call(name, args) },
    });
    let bracketed = (symbol("(", "`(`"), parser(expr), symbol(")", "`)`"))
        .map(|(start, expr, end)| Expr { span: start.to(end), kind: expr.kind });
    let items = sep_end_by::<Vec<_>, _, _, _>(parser(expr), symbol(",", "`,`"));
    let list = (symbol("[", "`[`"), items, symbol("]", "`]`"))
        .map(|(start, items, end)| Expr { span: start.to(end), kind: ExprKind::List(items) });
    choice((literal(), named, bracketed, list, parser(braces))).parse_stream(input).into_result()
}

/// `{key: value}` is a map, `{a, b}` is a set, which is a list here.
fn braces<'a>(input: &mut Input<'a>) -> Parsed<'a, Expr> {
    let item = (parser(expr), optional((symbol(":", "`:`"), parser(expr)).map(|(_, value)| value)));
    let items = sep_end_by::<Vec<(Expr, Option<Expr>)>, _, _, _>(item, symbol(",", "`,`"));
    (symbol("{", "`{`"), items, symbol("}", "`}`"))
        .and_then(|(start, items, end)| {
            let span = start.to(end);
            let values = items.iter().filter(|(_, value)| value.is_some()).count();
            let kind = if values == items.len() {
                ExprKind::Map(items.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
            } else if values == 0 {
                ExprKind::List(items.into_iter().map(|(item, _)| item).collect())
            } else {
                return Err(easy::Error::Message(Info::Static(
                    "either all items in braces have a value or none: {\"a\": 1} or {1, 2}",
                )));
            };
            Ok(Expr { span, kind })
        })
        .parse_stream(input)
        .into_result()
}

/// Splits at the operators for which `test` holds.
fn split(first: Operand, rest: Vec<(Infix, Operand)>, at: Infix) -> Vec<(Operand, Vec<(Infix, Operand)>)> {
    let mut groups = vec![(first, Vec::new())];
    for (operator, operand) in rest {
        match groups.last_mut() {
            Some((_, group)) if operator != at => group.push((operator, operand)),
            _ => groups.push((operand, Vec::new())),
        }
    }
    groups
}

/// The single item itself, or all of them under `join`.
fn joined(mut items: Vec<Expr>, join: fn(Vec<Expr>) -> ExprKind) -> Expr {
    let span = items.iter().map(|item| item.span).reduce(Span::to).unwrap_or_default();
    match items.pop() {
        Some(only) if items.is_empty() => only,
        Some(last) => {
            items.push(last);
            Expr { span, kind: join(items) }
        }
        None => Expr { span, kind: ExprKind::Bool(true) },
    }
}

fn fold_or(first: Operand, rest: Vec<(Infix, Operand)>) -> Expr {
    let groups = split(first, rest, Infix::Or);
    joined(groups.into_iter().map(|(first, rest)| fold_and(first, rest)).collect(), ExprKind::Or)
}

fn fold_and(first: Operand, rest: Vec<(Infix, Operand)>) -> Expr {
    let groups = split(first, rest, Infix::And);
    joined(groups.into_iter().map(|(first, rest)| fold_not(first, rest)).collect(), ExprKind::And)
}

/// Applies the `not`s before the first operand to the whole comparison.
fn fold_not(first: Operand, rest: Vec<(Infix, Operand)>) -> Expr {
    let (nots, start) = (first.nots, first.start);
    let operands = rest
        .into_iter()
        .filter_map(|(operator, operand)| match operator {
            Infix::Binary(binary) => Some((binary, negated(operand))),
            Infix::And | Infix::Or => None,
        })
        .collect();
    let expr = fold_level(first.expr, operands, 3);
    if nots == 0 {
        expr
    } else {
        Expr { span: start.to(expr.span), kind: ExprKind::Not(nots, Box::new(expr)) }
    }
}

/// An operand inside a comparison: a `not` there reaches no further than it.
fn negated(operand: Operand) -> Expr {
    if operand.nots == 0 {
        return operand.expr;
    }
    let span = operand.start.to(operand.expr.span);
    Expr { span, kind: ExprKind::Unary(vec![Unary::Not; operand.nots as usize], Box::new(operand.expr)) }
}

/// Folds operators of `level` and stronger; recursion ends with the strongest level.
fn fold_level(first: Expr, rest: Vec<(Binary, Expr)>, level: u8) -> Expr {
    if rest.is_empty() || level > 5 {
        return first;
    }
    let mut groups = vec![(None, first, Vec::new())];
    for (operator, operand) in rest {
        match groups.last_mut() {
            Some((_, _, group)) if operator.level() > level => group.push((operator, operand)),
            _ => groups.push((Some(operator), operand, Vec::new())),
        }
    }
    let mut folded =
        groups.into_iter().map(|(operator, first, rest)| (operator, fold_level(first, rest, level + 1)));
    // `groups` begins with one element.
    let Some((_, first)) = folded.next() else { return Expr { span: Span::default(), kind: ExprKind::Null } };
    let rest: Vec<(Binary, Expr)> = folded.filter_map(|(operator, expr)| Some((operator?, expr))).collect();
    match rest.last() {
        None => first,
        Some((_, last)) => {
            let span = first.span.to(last.span);
            Expr { span, kind: ExprKind::Binary(Box::new(first), rest) }
        }
    }
}
