//! GraphQL documents: which operations they hold (GraphQL specification, October 2021, 2.2 to 2.3).
//!
//! Only what names an operation is read: one pass over the bytes, no tree.

use compact_str::CompactString;

use crate::limits::graphql as limits;

/// Kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "query" => Self::Query,
            "mutation" => Self::Mutation,
            "subscription" => Self::Subscription,
            _ => return None,
        })
    }

    /// Its keyword.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// Empty where it has none.
    pub(super) name: CompactString,
    /// Fields that it asks of the root, without aliases.
    pub(super) fields: Vec<CompactString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Mark(u8),
    Spread,
    /// A number or a text.
    Literal,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_ignored(&mut self) {
        loop {
            let rest = self.rest();
            let ignored = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | '\u{feff}');
            let trimmed = rest.trim_start_matches(ignored);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    /// The next token. `None`: the end, or what is no GraphQL.
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_ignored();
        let rest = self.rest();
        let first = *rest.as_bytes().first()?;
        let (token, len) = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Word(rest.get(..end)?), end)
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
                (Token::Literal, rest.find(|c: char| !is_part(c)).unwrap_or(rest.len()))
            }
            b'"' => (Token::Literal, text_len(rest)?),
            b'.' if rest.starts_with("...") => (Token::Spread, 3),
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
                (Token::Mark(first), 1)
            }
            _ => return None,
        };
        self.at += len;
        Some(token)
    }
}

/// Bytes of a text with its quotes, in one line or as a block.
fn text_len(rest: &str) -> Option<usize> {
    if let Some(block) = rest.strip_prefix("\"\"\"") {
        let mut from = 0;
        loop {
            let end = from + block.get(from..)?.find("\"\"\"")?;
            if !block.get(..end)?.ends_with('\\') {
                return Some(end + 6);
            }
            from = end + 3;
        }
    }
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return Some(at + 1),
            b'\n' | b'\r' => return None,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    None
}

/// The operations of a document, in their order. `None`: it is no executable document. `cut`: its end is
/// missing, so that what is there is enough.
pub(super) fn operations(text: &str, cut: bool) -> Option<Vec<Operation>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_ignored();
        if lexer.rest().is_empty() {
            return (!found.is_empty()).then_some(found);
        }
        let mut operation =
            Operation { kind: Kind::Query, name: CompactString::default(), fields: Vec::new() };
        let is_operation = match lexer.next()? {
            Token::Mark(b'{') => return_to(&mut lexer),
            Token::Word("fragment") => false,
            Token::Word(word) => {
                operation.kind = Kind::of(word)?;
                lexer.skip_ignored();
                let named = lexer.rest().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if named && let Some(Token::Word(name)) = lexer.next() {
                    operation.name = name.into();
                }
                true
            }
            _ => return None,
        };
        let whole = body(&mut lexer, &mut operation.fields);
        if is_operation && found.len() < limits::OPERATIONS && (whole || cut || !operation.fields.is_empty())
        {
            found.push(operation);
        }
        if !whole {
            return (cut && !found.is_empty()).then_some(found);
        }
    }
}

/// The bracket was the first of a selection without a head.
fn return_to(lexer: &mut Lexer<'_>) -> bool {
    lexer.at -= 1;
    true
}

/// Passes over what belongs to a definition, up to the end of its selection. False: it has none.
fn body(lexer: &mut Lexer<'_>, fields: &mut Vec<CompactString>) -> bool {
    let (mut braces, mut parens) = (0_usize, 0_usize);
    // What came before the token: after these a word is no field.
    let mut before = Token::Literal;
    while let Some(token) = lexer.next() {
        match token {
            Token::Mark(b'(' | b'[') => parens += 1,
            Token::Mark(b')' | b']') => parens = parens.saturating_sub(1),
            // An object among arguments or default values.
            Token::Mark(b'{') if parens > 0 => parens += 1,
            Token::Mark(b'}') if parens > 0 => parens -= 1,
            Token::Mark(b'{') => braces += 1,
            Token::Mark(b'}') => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return true;
                }
            }
            Token::Mark(b':') if braces == 1 && parens == 0 => drop(fields.pop()),
            Token::Word(word)
                if braces == 1 && parens == 0 && is_field(before) && fields.len() < limits::FIELDS =>
            {
                fields.push(word.into());
            }
            _ => {}
        }
        before = match (before, token) {
            // `... on Type`
            (Token::Spread, Token::Word("on")) => Token::Spread,
            (_, token) => token,
        };
    }
    false
}

fn is_field(before: Token<'_>) -> bool {
    !matches!(before, Token::Spread | Token::Mark(b'@' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<Vec<String>> {
        let one = |it: Operation| format!("{} {}: {}", it.kind.name(), it.name, it.fields.join(" "));
        operations(text, false).map(|found| found.into_iter().map(one).collect())
    }

    #[test]
    fn operations_are_named_with_their_root_fields() {
        let cases: &[(&str, &[&str])] = &[
            ("{ hero { name } }", &["query : hero"]),
            (
                "query Get($id: ID! = \"}\", $o: In = {a: {b: 1}}) @cached { user(id: $id, x: {y: [1]}) { id } me: viewer { id } }",
                &["query Get: user viewer"],
            ),
            (
                "# first\nmutation Add { add(text: \"\"\"a } \\\"\"\" b\"\"\") { ...F } } fragment F on Item { id }",
                &["mutation Add: add"],
            ),
            (
                "fragment F on X { a } subscription { tick ... on Q { z } ... F other @include(if: $a) }",
                &["subscription : tick other"],
            ),
            ("query A { a } query B { b }", &["query A: a", "query B: b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text).as_deref().unwrap_or_default(), *expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "",
            "select * from t",
            "query",
            "{ a",
            "fragment F on X { a }",
            "{\"a\": 1",
            "type A { b: C }",
            "hello",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
        assert_eq!(operations("query Q { a b(", true).map(|found| found.len()), Some(1));
    }

    #[test]
    fn hostile_documents_cost_one_pass() {
        let deep = "{a".repeat(200_000);
        assert_eq!(operations(&deep, false), None);
        let many = "query A { a } ".repeat(10_000);
        assert_eq!(operations(&many, false).map(|found| found.len()), Some(limits::OPERATIONS));
    }
}
