//! A filter ready to be used, and what it was parsed with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ast::Expr;
use super::check::Checker;
use super::error::KflError;
use super::eval::Env;
use super::parse::parse;
use super::program::Pred;
use super::redact::RedactPath;
use super::sketch::Sketch;
use crate::model::{Entry, Timestamp};

/// What the meaning of a filter's text depends on.
#[derive(Clone, Debug)]
pub struct Context {
    /// The moment that `now()` stands for.
    pub now: Timestamp,
    /// Names that stand for filters.
    pub macros: Macros,
}

impl Context {
    /// The default macros and the given moment.
    pub fn new(now: Timestamp) -> Self {
        Self { now, macros: Macros::default() }
    }
}

/// A macro: its text, and what it parses to (`None`: an empty filter, always true).
type Macro = (Arc<str>, Arc<str>, Option<Expr>);

/// Custom macros: names that stand for conditions. They are parsed, never replaced as text.
#[derive(Clone, Debug)]
pub struct Macros(Arc<Vec<Macro>>);

impl Macros {
    /// Parses macros given as names and texts. A name is one word and no keyword; the text's names
    /// and types are checked where the macro is used.
    pub fn parse<'a>(macros: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, KflError> {
        let mut parsed: Vec<Macro> = Vec::new();
        for (name, text) in macros {
            let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
                && !super::parse::KEYWORDS.contains(&name);
            if !is_word {
                let span = super::error::Span::default();
                return Err(KflError::new(span, format!("`{name}` cannot be the name of a macro")));
            }
            let expr = parse(text).map_err(|mut error| {
                error.message = format!("in the macro `{name}`: {}", error.message);
                error
            })?;
            parsed.retain(|(known, ..)| &**known != name);
            parsed.push((name.into(), text.into(), expr));
        }
        Ok(Self(Arc::new(parsed)))
    }

    pub(super) fn find(&self, name: &str) -> Option<(&Arc<str>, Option<&Expr>)> {
        self.0.iter().find(|(known, ..)| &**known == name).map(|(_, text, expr)| (text, expr.as_ref()))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|(name, ..)| &**name)
    }
}

impl Default for Macros {
    /// `https`: decrypted HTTP.
    fn default() -> Self {
        Self::parse([("https", "tls and http")]).unwrap_or_else(|_| Self(Arc::default()))
    }
}

/// A compiled filter. Cloning it is cheap.
#[derive(Clone)]
pub struct Filter(Arc<Inner>);

struct Inner {
    text: String,
    key: String,
    pred: Pred,
    limit: Option<u64>,
    redactions: Vec<RedactPath>,
    gave_up: AtomicU64,
}

impl Filter {
    /// Parses, checks and compiles a filter. An empty text matches everything.
    pub fn parse(text: &str, context: &Context) -> Result<Self, KflError> {
        let expr = parse(text)?;
        let mut checker = Checker::new(context);
        let pred = match &expr {
            None => Pred::Const(true),
            Some(expr) => checker.condition(expr).map_err(|error| error.located(text))?,
        };
        let mut key = expr.map_or_else(String::new, |expr| expr.to_string());
        for (name, text) in &checker.macros {
            key.extend(["\n", &**name, " = ", &**text]);
        }
        if checker.uses_now {
            key.extend(["\nnow = ", &context.now.nanos().to_string()]);
        }
        Ok(Self(Arc::new(Inner {
            text: text.to_owned(),
            key,
            pred,
            limit: checker.limit,
            redactions: checker.redactions,
            gave_up: AtomicU64::new(0),
        })))
    }

    /// Whether the entry matches. An entry that would take more work than allowed does not, and is
    /// counted in [`Filter::gave_up`].
    pub fn matches(&self, entry: &Entry) -> bool {
        let mut env = Env::new(entry);
        let holds = self.0.pred.holds(&mut env);
        if env.work.is_exhausted() {
            self.0.gave_up.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        holds
    }

    /// After how many sent entries the stream ends: the smallest `limit(n)`.
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// What to mask in every result, for [`super::redact_json`].
    pub fn redactions(&self) -> &[RedactPath] {
        &self.0.redactions
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Equal for filters that give equal answers to every entry, whatever their spelling: spaces,
    /// comments, `&&` or `and`.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// What can be said of many entries at once, or of one whose messages are not read yet.
    pub fn sketch(&self) -> Sketch {
        Sketch::new(&self.0.pred)
    }

    /// The compiled form, for tests.
    #[cfg(test)]
    pub(super) fn program(&self) -> String {
        format!("{:?}", self.0.pred)
    }

    /// Entries whose evaluation was given up because it took more work than allowed.
    pub fn gave_up(&self) -> u64 {
        self.0.gave_up.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.text).finish()
    }
}
