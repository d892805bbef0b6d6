//! What is wrong with a filter, where, and what would be right.

use std::fmt;
use std::ops::Range;

use crate::limits::kfl as limits;

/// Bytes of the filter's text, from and to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u32,
    /// Byte after the last one.
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// From the start of this to the end of `other`.
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Why a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KflError {
    /// Byte offsets of the offending text.
    pub span: Range<usize>,
    /// Line of its first byte, from 1.
    pub line: usize,
    /// Column of its first byte in characters, from 1.
    pub column: usize,
    /// What is wrong, without the position.
    pub message: String,
    /// What could stand there instead; empty when that is not a matter of syntax.
    pub expected: Vec<String>,
    /// Ways out: similar names, the right spelling.
    pub hints: Vec<String>,
}

impl std::error::Error for KflError {}

impl KflError {
    /// An error without position in lines; [`KflError::located`] adds it.
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span: span.range(),
            line: 1,
            column: 1,
            message: one_line(message.into()),
            expected: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(one_line(hint.into()));
        self
    }

    /// Clamps the span to `text` and fills line and column from it.
    pub(super) fn located(mut self, text: &str) -> Self {
        let start = floor_char(text, self.span.start);
        let end = floor_char(text, self.span.end).max(start);
        let before = &text[..start];
        self.span = start..end;
        self.line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        self.column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        self
    }

    /// The message cut to what a websocket close frame carries: at most 120 bytes, position first.
    pub fn short(&self) -> String {
        let mut text = format!("{}:{}: {}", self.line, self.column, self.message);
        if let Some(hint) = self.hints.first()
            && text.len() + 2 + hint.len() <= limits::SHORT_ERROR
        {
            text.push_str("; ");
            text.push_str(hint);
        }
        if text.len() > limits::SHORT_ERROR {
            text.truncate(floor_char(&text, limits::SHORT_ERROR - 3));
            text.push_str("...");
        }
        text
    }
}

/// A text that is quoted in a message may hold anything; a message is one line.
fn one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

/// The last character boundary of `text` that is not after `at`.
pub(super) fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for KflError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}, column {}", self.message, self.line, self.column)?;
        for hint in &self.hints {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Names out of `known` that a person may have meant by `name`, best first, at most three.
pub(super) fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = fold(name);
    if wanted.is_empty() || wanted.len() > 64 {
        return Vec::new();
    }
    let allowed = (wanted.len() / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let folded = fold(candidate);
            let mut distance = edits(&wanted, &folded);
            // A word of the known name, or the start of it, was probably meant.
            if wanted.len() >= 4 && (folded.starts_with(&wanted) || folded.ends_with(&wanted)) {
                distance = distance.min(allowed);
            }
            (distance <= allowed).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(3);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Lower case without separators: `statusCode` and `status_code` are the same word.
fn fold(name: &str) -> Vec<u8> {
    name.bytes().filter(|byte| *byte != b'_' && *byte != b'.').map(|byte| byte.to_ascii_lowercase()).collect()
}

/// Levenshtein distance with neighbouring letters swapped counted as one edit.
fn edits(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > 4 {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
