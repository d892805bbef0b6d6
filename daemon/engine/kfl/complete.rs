//! Candidates for what stands at a place of an unfinished filter.

use std::ops::Range;

use super::error::floor_char;
use super::fields;
use super::functions::FUNCTIONS;
use super::token::{Tok, Token, tokens};
use crate::limits::kfl as limits;
use crate::model::FieldType;

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// A field of the table, or a well-known path of a message.
    Field,
    /// A function or method.
    Function,
    /// An operator or a keyword.
    Operator,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What to write.
    pub text: String,
    /// What it is.
    pub kind: CompletionKind,
    /// One sentence, with the type for fields.
    pub doc: String,
    /// The bytes of the filter that `text` replaces.
    pub replace: Range<usize>,
}

/// What may stand at a place.
enum Place<'a> {
    /// A condition or a value; what was written of its name.
    Operand(&'a str, usize),
    /// A member of what was written so far; the members of known fields are part of their names.
    Member(&'a str, usize, &'a str),
    Operator(&'a str, usize),
    Nothing,
}

/// Candidates at byte `pos` of `text`, in the order in which they should be offered.
pub fn complete(text: &str, pos: usize) -> Vec<Completion> {
    let before = &text[..floor_char(text, pos)];
    // A text that was begun before the place and does not end is not completed.
    let Ok(tokens) = tokens(before) else { return Vec::new() };
    let mut found = match place(before, &tokens) {
        Place::Operand(prefix, start) => operands(prefix, start),
        Place::Member(prefix, start, member) => members(prefix, start, member, before.len()),
        Place::Operator(prefix, start) => operators(prefix, start),
        Place::Nothing => Vec::new(),
    };
    found.truncate(limits::COMPLETIONS);
    found
}

fn place<'a>(before: &'a str, tokens: &[Token<'a>]) -> Place<'a> {
    let end = before.len();
    let in_comment = before.rsplit('\n').next().is_some_and(|line| {
        let last = tokens.last().map_or(0, |token| token.span.end as usize);
        let tail = before.get(last.max(end - line.len())..).unwrap_or_default();
        tail.trim_start().starts_with('#') || tail.trim_start().starts_with("//")
    });
    if in_comment {
        return Place::Nothing;
    }
    let Some(last) = tokens.last() else { return Place::Operand("", end) };
    let touches = last.span.end as usize == end;
    match (&last.tok, touches) {
        (Tok::Word(word), true) => {
            let start = last.span.start as usize;
            let chain = chain_start(tokens);
            if chain < tokens.len() - 1 {
                let from = tokens.get(chain).map_or(start, |token| token.span.start as usize);
                return Place::Member(before.get(from..).unwrap_or_default(), from, word);
            }
            if wants_operator(&tokens[..tokens.len() - 1]) {
                Place::Operator(word, start)
            } else {
                Place::Operand(word, start)
            }
        }
        (Tok::Sym("."), true) => {
            let chain = chain_start(tokens);
            let from = tokens.get(chain).map_or(end, |token| token.span.start as usize);
            Place::Member(before.get(from..).unwrap_or_default(), from, "")
        }
        (Tok::Sym(".."), true) => Place::Nothing,
        _ if wants_operator(tokens) => Place::Operator("", end),
        _ => Place::Operand("", end),
    }
}

/// Whether the tokens end with a whole operand.
fn wants_operator(tokens: &[Token<'_>]) -> bool {
    match tokens.last().map(|token| &token.tok) {
        None => false,
        Some(Tok::Word(word)) => !matches!(*word, "and" | "or" | "not" | "in"),
        Some(Tok::Sym(symbol)) => matches!(*symbol, ")" | "]" | "}"),
        Some(_) => true,
    }
}

/// Index of the first token of the chain of names and dots that the tokens end with.
fn chain_start(tokens: &[Token<'_>]) -> usize {
    let mut start = tokens.len();
    while let Some(token) = start.checked_sub(1).and_then(|at| tokens.get(at)) {
        let previous = start.checked_sub(2).and_then(|at| tokens.get(at));
        // Only a chain of plain names is looked at: what follows brackets has no known members.
        if !matches!(token.tok, Tok::Sym(".") | Tok::Word(_)) {
            break;
        }
        start -= 1;
        let goes_on = matches!(
            (&token.tok, previous.map(|token| &token.tok)),
            (Tok::Word(_), Some(Tok::Sym("."))) | (Tok::Sym("."), Some(Tok::Word(_)))
        );
        if !goes_on {
            break;
        }
    }
    start
}

fn doc_of(ty: FieldType, doc: &str) -> String {
    format!("{}: {doc}", ty.name())
}

fn operands(prefix: &str, start: usize) -> Vec<Completion> {
    let replace = start..start + prefix.len();
    let fits = |name: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let candidate =
        |text: &str, kind, doc: String| Completion { text: text.into(), kind, doc, replace: replace.clone() };
    let mut found: Vec<Completion> = fields::all()
        .filter(|field| fits(field.name))
        .map(|field| candidate(field.name, CompletionKind::Field, doc_of(field.ty, field.doc)))
        .collect();
    let functions = FUNCTIONS.iter().filter(|function| !function.is_method && fits(function.name));
    found.extend(functions.map(|function| {
        let doc = format!("{} For example {}", function.doc, function.usage);
        candidate(&format!("{}(", function.name), CompletionKind::Function, doc)
    }));
    for (word, doc) in [("not", "Turns a comparison around."), ("true", "Always."), ("false", "Never.")] {
        if fits(word) {
            found.push(candidate(word, CompletionKind::Operator, doc.into()));
        }
    }
    found
}

fn members(prefix: &str, start: usize, member: &str, end: usize) -> Vec<Completion> {
    let fits = |name: &str| name.len() > prefix.len() && name.starts_with(prefix);
    let mut found: Vec<Completion> = fields::all()
        .filter(|field| fits(field.name))
        .map(|field| Completion {
            text: field.name.into(),
            kind: CompletionKind::Field,
            doc: doc_of(field.ty, field.doc),
            replace: start..end,
        })
        .collect();
    let methods = FUNCTIONS.iter().filter(|function| function.is_method && function.name.starts_with(member));
    found.extend(methods.map(|function| Completion {
        text: format!("{}(", function.name),
        kind: CompletionKind::Function,
        doc: format!("{} For example {}", function.doc, function.usage),
        replace: end - member.len()..end,
    }));
    found
}

const OPERATORS: &[(&str, &str)] = &[
    ("and", "Both conditions hold; binds tighter than `or`. Also `&&`."),
    ("or", "One of the conditions holds. Also `||`."),
    ("==", "Equal; with r\"...\": the regular expression is found."),
    ("!=", "Not equal; with r\"...\": the regular expression is not found."),
    ("<", "Less."),
    ("<=", "Less or equal."),
    (">", "More."),
    (">=", "More or equal."),
    ("in", "An item of a list, or a key of a map."),
];

fn operators(prefix: &str, start: usize) -> Vec<Completion> {
    let fits = OPERATORS.iter().filter(|(text, _)| text.starts_with(prefix));
    fits.map(|(text, doc)| Completion {
        text: (*text).into(),
        kind: CompletionKind::Operator,
        doc: (*doc).into(),
        replace: start..start + prefix.len(),
    })
    .collect()
}
