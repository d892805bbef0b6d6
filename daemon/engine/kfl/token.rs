//! Cuts a filter's text into tokens with their places.

use std::fmt;
use std::sync::Arc;

use super::error::{KflError, Span};
use crate::limits::kfl as limits;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok<'a> {
    /// A name or a keyword.
    Word(&'a str),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Raw(Arc<str>),
    Bytes(Arc<[u8]>),
    /// An operator or a bracket.
    Sym(&'static str),
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) tok: Tok<'a>,
    pub(super) span: Span,
}

impl PartialEq for Token<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.tok == other.tok
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tok {
            Tok::Word(word) => write!(f, "`{}`", clip(word)),
            Tok::Int(number) => write!(f, "number {number}"),
            Tok::Float(number) => write!(f, "number {number}"),
            Tok::Str(text) => write!(f, "text \"{}\"", clip(text)),
            Tok::Raw(text) => write!(f, "raw text \"{}\"", clip(text)),
            Tok::Bytes(_) => f.write_str("bytes"),
            Tok::Sym(symbol) => write!(f, "`{symbol}`"),
        }
    }
}

/// The first 24 characters: error messages stay short.
fn clip(text: &str) -> String {
    text.chars().take(24).collect()
}

/// Symbols, longer ones before their beginnings.
const SYMBOLS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "..", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    "{", "}", ".", ",", "?", ":",
];

/// Cuts `text` into tokens; refuses what is too long, too deep or not a token.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, KflError> {
    if text.len() > limits::TEXT {
        let message = format!("the filter has {} bytes, at most {} are allowed", text.len(), limits::TEXT);
        return Err(KflError::new(Span::new(limits::TEXT, text.len()), message));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    while let Some(token) = lexer.token()? {
        found.push(token);
    }
    check_nesting(&found)?;
    Ok(found)
}

/// Refuses what would make later stages recurse too deeply.
fn check_nesting(tokens: &[Token<'_>]) -> Result<(), KflError> {
    let (mut depth, mut prefixes) = (0_usize, 0_usize);
    for token in tokens {
        let is_prefix = matches!(token.tok, Tok::Sym("!" | "-") | Tok::Word("not"));
        prefixes = if is_prefix { prefixes + 1 } else { 0 };
        match token.tok {
            Tok::Sym("(" | "[" | "{") => depth += 1,
            Tok::Sym(")" | "]" | "}") => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::DEPTH {
            let message = format!("more than {} brackets within brackets", limits::DEPTH);
            return Err(KflError::new(token.span, message));
        }
        if prefixes > limits::PREFIXES {
            let message = format!("more than {} prefix operators in a row", limits::PREFIXES);
            return Err(KflError::new(token.span, message));
        }
    }
    Ok(())
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        // `at` only ever moves by whole characters of `text`.
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|character| !test(character)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") && !self.rest().starts_with('#') {
                return;
            }
            self.take_while(|character| character != '\n');
        }
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, KflError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let second = self.rest().as_bytes().get(1).copied().unwrap_or(0);
        let tok =
            if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit() && !self.after_value()) {
                self.number()?
            } else if matches!(first, '"' | '\'' | '`') {
                self.text_literal()?
            } else if matches!(first, 'r' | 'R' | 'b' | 'B') && self.starts_prefixed_text() {
                self.prefixed_text()?
            } else if first.is_ascii_alphabetic() || first == '_' || first == '$' {
                Tok::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$'))
            } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
                self.at += symbol.len();
                Tok::Sym(symbol)
            } else {
                return Err(unknown(first, Span::new(start, start + first.len_utf8())));
            };
        Ok(Some(Token { tok, span: Span::new(start, self.at) }))
    }

    /// Whether the byte before ends a value, so that a dot here selects and does not begin a number.
    fn after_value(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.text.as_bytes().get(at));
        before.is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b')' | b']' | b'}' | b'.')
        })
    }

    fn number(&mut self) -> Result<Tok<'a>, KflError> {
        let start = self.at;
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.at += 2;
            let digits = self.take_while(|character| character.is_ascii_hexdigit());
            return self.whole(start, i64::from_str_radix(digits, 16).ok());
        }
        self.take_while(|character| character.is_ascii_digit());
        let mut float = false;
        let next = self.rest().as_bytes();
        if next.first() == Some(&b'.') && next.get(1).is_some_and(u8::is_ascii_digit) {
            float = true;
            self.at += 1;
            self.take_while(|character| character.is_ascii_digit());
        }
        let exponent = self.rest().as_bytes();
        if matches!(exponent.first(), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(exponent.get(1), Some(b'+' | b'-')));
            if exponent.get(1 + signed).is_some_and(u8::is_ascii_digit) {
                float = true;
                self.at += 1 + signed;
                self.take_while(|character| character.is_ascii_digit());
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if float { self.decimal(start, text) } else { self.whole(start, text.parse().ok()) }
    }

    fn decimal(&mut self, start: usize, text: &str) -> Result<Tok<'a>, KflError> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.no_unit(start)?;
                Ok(Tok::Float(number))
            }
            _ => Err(KflError::new(Span::new(start, self.at), "number is too large")),
        }
    }

    fn whole(&mut self, start: usize, number: Option<i64>) -> Result<Tok<'a>, KflError> {
        if matches!(self.rest().as_bytes().first(), Some(b'u' | b'U')) {
            self.at += 1;
        }
        self.no_unit(start)?;
        let span = Span::new(start, self.at);
        number.map(Tok::Int).ok_or_else(|| {
            KflError::new(span, "number does not fit 64 bits").hint(format!("the largest is {}", i64::MAX))
        })
    }

    /// `5m` is a mistake for `duration("5m")`, and `5abc` for something else.
    fn no_unit(&mut self, start: usize) -> Result<(), KflError> {
        let unit = self.take_while(|character| character.is_ascii_alphanumeric() || character == '_');
        if unit.is_empty() {
            return Ok(());
        }
        let error = KflError::new(Span::new(start, self.at), format!("`{}` after a number", clip(unit)));
        let is_duration = matches!(unit, "h" | "m" | "s" | "ms" | "us" | "ns");
        Err(if is_duration { error.hint("write a span of time as duration(\"5m\")") } else { error })
    }

    fn starts_prefixed_text(&self) -> bool {
        let rest = self.rest().as_bytes();
        let second_prefix = matches!(rest.get(1), Some(b'r' | b'R' | b'b' | b'B'));
        let quote = rest.get(1 + usize::from(second_prefix)).copied();
        matches!(quote, Some(b'"' | b'\'' | b'`'))
    }

    fn prefixed_text(&mut self) -> Result<Tok<'a>, KflError> {
        let (mut raw, mut bytes) = (false, false);
        let start = self.at;
        while let Some(prefix) =
            self.rest().bytes().next().filter(|byte| !matches!(byte, b'"' | b'\'' | b'`'))
        {
            raw |= prefix.eq_ignore_ascii_case(&b'r');
            bytes |= prefix.eq_ignore_ascii_case(&b'b');
            self.at += 1;
        }
        let (content, quote) = self.quoted(start, raw)?;
        if bytes {
            let decoded = if raw { content.as_bytes().to_vec() } else { self.unescape(content, true)? };
            return Ok(Tok::Bytes(decoded.into()));
        }
        // A backtick text has no escapes in any case, so `r` before it only marks the regular expression.
        debug_assert!(raw || quote == "`");
        Ok(Tok::Raw(content.into()))
    }

    fn text_literal(&mut self) -> Result<Tok<'a>, KflError> {
        let (content, quote) = self.quoted(self.at, false)?;
        if quote == "`" {
            return Ok(Tok::Str(content.into()));
        }
        let decoded = self.unescape(content, false)?;
        // Escapes of texts are written as whole characters, so this is UTF-8.
        Ok(Tok::Str(String::from_utf8_lossy(&decoded).as_ref().into()))
    }

    /// What stands between quotes, with escapes as written, and the quote.
    fn quoted(&mut self, start: usize, raw: bool) -> Result<(&'a str, &'static str), KflError> {
        let quotes = ["\"\"\"", "'''", "\"", "'", "`"];
        let quote = quotes.into_iter().find(|quote| self.rest().starts_with(*quote)).unwrap_or("\"");
        self.at += quote.len();
        let content = self.at;
        let escapes = !raw && quote != "`";
        loop {
            if self.rest().starts_with(quote) {
                let text = self.text.get(content..self.at).unwrap_or_default();
                self.at += quote.len();
                return Ok((text, quote));
            }
            match self.rest().chars().next() {
                Some('\\') if escapes => {
                    let escaped = self.rest().chars().nth(1).map_or(0, char::len_utf8);
                    self.at += 1 + escaped;
                }
                Some('\n') if quote.len() == 1 && quote != "`" => break,
                Some(character) => self.at += character.len_utf8(),
                None => break,
            }
        }
        let message = format!("text begun with {quote} does not end");
        Err(KflError::new(Span::new(start, self.at), message).hint(format!("add the closing {quote}")))
    }

    /// Undoes the escapes of `content`, which is a part of the text.
    fn unescape(&self, content: &'a str, bytes: bool) -> Result<Vec<u8>, KflError> {
        let offset = content.as_ptr() as usize - self.text.as_ptr() as usize;
        let mut out = Vec::with_capacity(content.len());
        let mut rest = content;
        while let Some(at) = rest.find('\\') {
            out.extend_from_slice(rest.get(..at).unwrap_or_default().as_bytes());
            rest = rest.get(at + 1..).unwrap_or_default();
            let here = offset + content.len() - rest.len() - 1;
            let used = escape(rest, bytes, &mut out).map_err(|message| {
                KflError::new(Span::new(here, here + 2), message).hint("write \\\\ for a backslash")
            })?;
            rest = rest.get(used..).unwrap_or_default();
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }
}

/// Undoes one escape; `rest` begins after the backslash. Returns how many bytes of it were used.
fn escape(rest: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, String> {
    let Some(first) = rest.chars().next() else { return Err("text ends with a backslash".into()) };
    let plain = match first {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'v' => 11,
        '\\' | '"' | '\'' | '`' | '?' | '/' => first as u8,
        'x' | 'X' => return number(rest, 1, 2, 16, bytes, out),
        'u' => return number(rest, 1, 4, 16, false, out),
        'U' => return number(rest, 1, 8, 16, false, out),
        '0'..='3' => return number(rest, 0, 3, 8, bytes, out),
        other => return Err(format!("unknown escape \\{other}")),
    };
    out.push(plain);
    Ok(1)
}

fn number(
    rest: &str,
    skip: usize,
    digits: usize,
    radix: u32,
    byte: bool,
    out: &mut Vec<u8>,
) -> Result<usize, String> {
    let code = rest.get(skip..skip + digits).and_then(|text| u32::from_str_radix(text, radix).ok());
    let code = code.ok_or_else(|| format!("the escape needs {digits} digits"))?;
    if byte && let Ok(byte) = u8::try_from(code) {
        out.push(byte);
        return Ok(skip + digits);
    }
    let character = char::from_u32(code).ok_or("the escape names no character")?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(skip + digits)
}

fn unknown(character: char, span: Span) -> KflError {
    let error = KflError::new(span, format!("unexpected character `{}`", character.escape_default()));
    match character {
        '=' => error.hint("write == to compare"),
        '&' => error.hint("write && or and"),
        '|' => error.hint("write || or or"),
        '~' => error.hint("write == r\"...\" or .matches(\"...\") for a regular expression"),
        _ => error,
    }
}
