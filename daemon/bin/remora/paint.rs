//! Colours, and text that cannot harm a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use crate::command::When;

/// Whether stdout gets colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn new(when: When) -> Self {
        let on = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                // https://no-color.org: present and not empty.
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                    && std::io::stdout().is_terminal()
            }
        };
        Self { on }
    }

    #[cfg(test)]
    pub(crate) const OFF: Self = Self { on: false };

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text from the network: what a terminal would obey (escape sequences, line breaks, direction marks)
/// is written as `\u{..}`.
pub(crate) fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let marks =
            matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || marks {
            let _ok = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// As [`safe`], with line breaks and tabs left alone.
pub(crate) fn safe_lines(text: &str) -> String {
    text.split('\n')
        .map(|line| line.trim_end_matches('\r').split('\t').map(safe).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Bytes for people: `512 B`, `1.5 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(safe("/a\x1b[2J\r\nb\u{202e}"), "/a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}");
        assert_eq!(safe_lines("a\tb\r\nc\x07"), "a\tb\nc\\u{7}");
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        assert_eq!([0, 1023, 1536, 3 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]);
    }
}
