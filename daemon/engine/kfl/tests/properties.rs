//! Properties: no text and no entry upsets the language; printing and parsing are inverse.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::sample::{bare, http};
use super::{context, filter};
use crate::kfl::ast::{Arg, Binary, Expr, ExprKind, Name, Segment, SegmentKind, Unary};
use crate::kfl::error::Span;
use crate::kfl::parse::parse;
use crate::kfl::{Filter, complete};

fn at(kind: ExprKind) -> Expr {
    Expr { span: Span::default(), kind }
}

fn word() -> impl Strategy<Value = Name> {
    prop_oneof![Just("a"), Just("http"), Just("request"), Just("status_code"), Just("x1"), Just("contains")]
        .prop_map(|text| Name { span: Span::default(), text: text.into() })
}

fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        Just(ExprKind::Null),
        any::<bool>().prop_map(ExprKind::Bool),
        (i64::MIN + 1..i64::MAX).prop_map(ExprKind::Int),
        (-1e9..1e9_f64).prop_map(ExprKind::Float),
        ".{0,8}".prop_map(|text| ExprKind::Str(text.into())),
        "[a-z.*\\\\\"']{0,6}".prop_map(|text| ExprKind::Raw(text.into())),
        any::<[u8; 3]>().prop_map(|bytes| ExprKind::Bytes(Arc::from(bytes.as_slice()))),
        word().prop_map(|name| ExprKind::Name(name.text)),
    ]
    .prop_map(at)
}

/// What a chain may begin with and `!` may stand before.
fn is_primary(expr: &Expr) -> bool {
    !matches!(expr.kind, ExprKind::Chain(..))
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Int(_) | ExprKind::Float(_))
}

fn binary() -> impl Strategy<Value = Vec<Binary>> {
    prop_oneof![
        prop::collection::vec(
            prop::sample::select(vec![Binary::Eq, Binary::Lt, Binary::In, Binary::Ne, Binary::Ge]),
            1..3
        ),
        prop::collection::vec(prop::sample::select(vec![Binary::Add, Binary::Sub]), 1..3),
        prop::collection::vec(prop::sample::select(vec![Binary::Mul, Binary::Div, Binary::Rem]), 1..3),
    ]
}

fn args(inner: impl Strategy<Value = Expr> + Clone) -> impl Strategy<Value = Vec<Arg>> {
    prop::collection::vec(
        (prop::option::of(word()), inner).prop_map(|(name, value)| Arg { name, value }),
        0..3,
    )
}

fn expr() -> impl Strategy<Value = Expr> {
    literal().prop_recursive(5, 48, 4, |inner| {
        let segment = prop_oneof![
            word().prop_map(SegmentKind::Member),
            word().prop_map(SegmentKind::Descend),
            Just(SegmentKind::All),
            inner.clone().prop_map(SegmentKind::Index),
            (word(), args(inner.clone())).prop_map(|(name, args)| SegmentKind::Method(name, args)),
        ]
        .prop_map(|kind| Segment { span: Span::default(), kind });
        let unary = prop::sample::select(vec![Unary::Not, Unary::Neg]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(ExprKind::List),
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(ExprKind::Map),
            (word(), args(inner.clone())).prop_map(|(name, args)| ExprKind::Call(name, args)),
            (inner.clone().prop_filter("primary", is_primary), prop::collection::vec(segment, 1..4))
                .prop_map(|(base, segments)| ExprKind::Chain(Box::new(base), segments)),
            (
                prop::collection::vec(unary, 1..3),
                inner.clone().prop_filter("no sign of its own", |expr| !is_number(expr))
            )
                .prop_map(|(operators, operand)| ExprKind::Unary(operators, Box::new(operand))),
            (1_u32..3, inner.clone().prop_filter("one not", |expr| !matches!(expr.kind, ExprKind::Not(..))))
                .prop_map(|(count, operand)| ExprKind::Not(count, Box::new(operand))),
            (inner.clone(), binary(), prop::collection::vec(inner.clone(), 2)).prop_map(
                |(first, operators, operands)| {
                    ExprKind::Binary(Box::new(first), operators.into_iter().zip(operands).collect())
                }
            ),
            prop::collection::vec(inner.clone(), 2..4).prop_map(ExprKind::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(ExprKind::Or),
            (prop::collection::vec((inner.clone(), inner.clone()), 1..3), inner)
                .prop_map(|(branches, otherwise)| ExprKind::Cond(branches, Box::new(otherwise))),
        ]
        .prop_map(at)
    })
}

/// Something like a filter: words of the language in any order.
fn almost() -> impl Strategy<Value = String> {
    let words = vec![
        "http",
        "and",
        "or",
        "!",
        "not",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        ".",
        "..",
        "*",
        "?",
        ":",
        ",",
        "+",
        "-",
        "/",
        "%",
        "1",
        "2.5",
        "\"a\"",
        "r\"a.*\"",
        "request",
        "response",
        "headers",
        "body",
        "json()",
        "xml()",
        "status_code",
        "src.ip",
        "timestamp",
        "now()",
        "duration(\"5m\")",
        "exists",
        "map",
        "x",
        "contains",
        "limit(3)",
        "redact(\"request.path\")",
        "size",
        "local_labels",
        "namespaces",
        "https",
        "true",
        "null",
        "&&",
        "||",
        "cidr",
        "\"10.0.0.0/8\"",
        "matches",
        "//c\n",
        "#c\n",
    ];
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.join(" "))
}

fn try_out(text: &str) {
    match Filter::parse(text, &context()) {
        Ok(filter) => {
            filter.matches(&http("GET", "/a?x=1", 200, json!({"A": "b"})));
            filter.matches(&bare("dns"));
        }
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len());
            assert!(text.get(error.span.clone()).is_some(), "span cuts a character");
            assert!(error.short().len() <= 120);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    for position in [0, text.len() / 2, text.len(), text.len() + 9] {
        complete(text, position);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_gives_a_filter_or_an_error(text in ".{0,200}") {
        try_out(&text);
    }

    #[test]
    fn arbitrary_words_give_a_filter_or_an_error(text in almost()) {
        try_out(&text);
    }

    #[test]
    fn a_printed_tree_parses_to_itself(expr in expr()) {
        let printed = expr.to_string();
        let again = parse(&printed);
        prop_assert!(again.is_ok(), "{printed}: {again:?}");
        let again = again.ok().flatten().map(|mut expr| {
            strip(&mut expr);
            expr
        });
        prop_assert_eq!(again.as_ref(), Some(&expr), "{}", printed);
    }
}

/// Forgets all places.
fn strip(expr: &mut Expr) {
    expr.span = Span::default();
    match &mut expr.kind {
        ExprKind::List(items) | ExprKind::And(items) | ExprKind::Or(items) => {
            items.iter_mut().for_each(strip);
        }
        ExprKind::Map(items) => items.iter_mut().for_each(|(key, value)| {
            strip(key);
            strip(value);
        }),
        ExprKind::Call(name, args) => strip_args(name, args),
        ExprKind::Chain(base, segments) => {
            strip(base);
            for segment in segments {
                segment.span = Span::default();
                match &mut segment.kind {
                    SegmentKind::Member(name) | SegmentKind::Descend(name) => name.span = Span::default(),
                    SegmentKind::Method(name, args) => strip_args(name, args),
                    SegmentKind::Index(index) => strip(index),
                    SegmentKind::All => {}
                }
            }
        }
        ExprKind::Unary(_, operand) | ExprKind::Not(_, operand) => strip(operand),
        ExprKind::Binary(first, rest) => {
            strip(first);
            for (_, operand) in rest {
                strip(operand);
            }
        }
        ExprKind::Cond(branches, otherwise) => {
            for (condition, value) in branches {
                strip(condition);
                strip(value);
            }
            strip(otherwise);
        }
        _ => {}
    }
}

fn strip_args(name: &mut Name, args: &mut [Arg]) {
    name.span = Span::default();
    for arg in args {
        if let Some(name) = &mut arg.name {
            name.span = Span::default();
        }
        strip(&mut arg.value);
    }
}

#[test]
fn filters_of_one_meaning_share_their_key() {
    assert_eq!(
        filter("http && status_code==500").key(),
        filter("http and // why\n status_code == 500").key()
    );
    assert_ne!(filter("http").key(), filter("dns").key());
}
