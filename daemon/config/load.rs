//! Reads all sources into one configuration, and writes it out again.

use std::collections::HashMap;
use std::fmt::Write as _;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::sources::{Text, key_of_variable};
use super::{Config, ConfigErrors, Key, Problem, Sources, validate};

/// Where each key that was set comes from.
pub(super) type Origins = HashMap<&'static str, String>;

impl Config {
    /// The configuration that `sources` give, or everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut loading = Loading::default();
        for text in sources.texts(&mut loading.problems) {
            loading.file(&text);
        }
        for (name, value) in &sources.environment {
            loading.variable(name, value);
        }
        for (flag, key, value) in &sources.flags {
            loading.text(flag, key, value);
        }
        // What is set wrongly still has its default here, so no follow-up errors are reported.
        validate::validate(&loading.config, &loading.origins, &mut loading.problems);
        if loading.problems.is_empty() { Ok(loading.config) } else { Err(ConfigErrors(loading.problems)) }
    }

    /// The effective configuration as a file that would give it, every key with its value.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in Key::ALL {
            let (under, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if under != section {
                // Writing to a String cannot fail.
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ok = writeln!(text, "{gap}[{under}]");
                section = under;
            }
            let value = (key.get)(self).map_or_else(|error| format!("# {error}"), |value| inline(&value));
            let _ok = writeln!(text, "{name} = {value}");
        }
        text
    }
}

/// A value on one line, tables in braces.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let pairs: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", Value::String(key.clone()), inline(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[derive(Default)]
struct Loading {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Loading {
    fn file(&mut self, file: &Text) {
        let origin = |at: usize| format!("{}:{}", file.path.display(), line_of(&file.text, at));
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.problem(origin(at), error.message().to_owned());
        }
        // A text that is no TOML yields at best a part of what was meant.
        if errors.is_empty() {
            self.table("", table.get_ref(), &origin);
        }
    }

    // Recursion is bounded: it descends only along the names of sections, two levels deep.
    fn table(&mut self, section: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> String) {
        for (name, value) in table {
            let path = if section.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{section}.{}", name.get_ref())
            };
            let at = origin(name.span().start);
            match (Key::named(&path), value.get_ref()) {
                (Some(key), value) => match owned(value) {
                    Ok(value) => self.set(key, value, at),
                    Err(message) => self.problem(at, format!("{path}: {message}")),
                },
                (None, DeValue::Table(inner)) if Key::is_section(&path) => self.table(&path, inner, origin),
                (None, _) => self.unknown(at, &path),
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        if let Some(key) = key_of_variable(name) {
            self.text(name, &key, value);
        }
    }

    /// A value given as text: TOML if it is that (`true`, `["a", "b"]`), else the text itself, else a
    /// list of texts with commas between them.
    fn text(&mut self, origin: &str, name: &str, text: &str) {
        let Some(key) = Key::named(name) else { return self.unknown(origin.to_owned(), name) };
        let list = text.split(',').map(|item| Value::String(item.trim().to_owned())).collect();
        let toml = text.parse::<Value>().ok();
        let forms = toml.into_iter().chain([Value::String(text.to_owned()), Value::Array(list)]);
        let mut first_error = None;
        for form in forms {
            match (key.set)(&mut self.config, form) {
                Ok(()) => {
                    self.origins.insert(key.name, origin.to_owned());
                    return;
                }
                Err(error) => drop(first_error.get_or_insert(error).len()),
            }
        }
        self.problem(origin.to_owned(), format!("{name}: {}", first_error.unwrap_or_default()));
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: String) {
        match (key.set)(&mut self.config, value) {
            Ok(()) => drop(self.origins.insert(key.name, origin)),
            Err(message) => self.problem(origin, format!("{}: {message}", key.name)),
        }
    }

    fn unknown(&mut self, origin: String, name: &str) {
        let hint =
            Key::nearest(name).map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
        self.problem(origin, format!("unknown key {name}{hint}"));
    }

    fn problem(&mut self, origin: String, message: String) {
        self.problems.push(Problem { origin, message });
    }
}

/// Line number of a byte offset, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

// Recursion is bounded by the TOML parser's own limit on nesting.
fn owned(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| format!("the number {number} is too large"))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(parsed.map_err(|_| format!("{number} is no number"))?)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(moment) => Value::Datetime(*moment),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| owned(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let pairs =
                table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), owned(value.get_ref())?)));
            Value::Table(pairs.collect::<Result<_, String>>()?)
        }
    })
}
