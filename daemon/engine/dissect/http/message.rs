//! A request or response of any version while it comes in: head, bounded body, sizes, moments.

use compact_str::CompactString;

use super::content;
use crate::limits::Limits;
use crate::model::{EntryEvent, Map, Timestamp, Value};

/// One half of an exchange.
#[derive(Clone, Debug, Default)]
pub(in crate::dissect) struct Message {
    /// Method; empty for a response.
    pub(in crate::dissect) method: CompactString,
    /// Request target as sent.
    pub(in crate::dissect) target: CompactString,
    /// Status code; 0 for a request.
    pub(in crate::dissect) status: u16,
    /// Reason phrase.
    pub(in crate::dissect) reason: CompactString,
    /// `HTTP/1.1`, `HTTP/2`.
    pub(in crate::dissect) version: &'static str,
    /// Headers (and later trailers) by name as sent; repeated ones joined with `,`.
    pub(in crate::dissect) headers: Map,
    /// Cookies by name.
    pub(in crate::dissect) cookies: Map,
    /// Bytes of the head.
    pub(in crate::dissect) head_size: u64,
    /// Bytes of the body on the wire without transfer coding, missing ones included.
    pub(in crate::dissect) body_size: u64,
    /// Bytes of the whole message that were seen.
    pub(in crate::dissect) wire: u64,
    /// The kept start of the body.
    pub(in crate::dissect) body: Vec<u8>,
    /// Body bytes that were seen and left out.
    pub(in crate::dissect) cut: u64,
    /// Bytes that never came.
    pub(in crate::dissect) gap: u64,
    /// Content and transfer codings in the order in which they were applied.
    pub(in crate::dissect) codings: Vec<String>,
    /// Nothing more is coming: whole, or cut short.
    pub(in crate::dissect) ended: bool,
    /// First byte.
    pub(in crate::dissect) start: Timestamp,
    /// Last byte so far.
    pub(in crate::dissect) end: Timestamp,
    /// Deviations.
    pub(in crate::dissect) events: Vec<EntryEvent>,
}

impl Message {
    /// Bytes of memory that it holds, roughly: a head takes about twice its length on the wire.
    pub(in crate::dissect) fn weight(&self) -> usize {
        size_of::<Self>() + 2 * self.head_size as usize + self.body.capacity()
    }

    /// Adds a line of the head: cookies and content codings are read from it too.
    pub(in crate::dissect) fn add_line(&mut self, name: &str, value: &str, limits: &Limits) {
        let answer = self.status != 0;
        if name.eq_ignore_ascii_case(if answer { "set-cookie" } else { "cookie" }) {
            if !add_cookies(&mut self.cookies, value, answer, limits) {
                self.events.push(EntryEvent::LimitExceeded { limit: "max_params".into() });
            }
        } else if name.eq_ignore_ascii_case("content-encoding") {
            self.codings.extend(content::codings(value).take(8));
        }
        add_header(&mut self.headers, name, value);
    }

    /// Adds what deviates.
    pub(in crate::dissect) fn anomaly(&mut self, what: &str) {
        self.events.push(EntryEvent::Anomaly { what: what.into() });
    }

    /// Takes body bytes; keeps them up to the limit, and none after a gap.
    pub(in crate::dissect) fn push(&mut self, data: &[u8], limits: &Limits) {
        self.push_within(data, limits.max_body);
    }

    /// The same with another cap on what is kept of the whole body. Answers how many bytes were kept.
    pub(in crate::dissect) fn push_within(&mut self, data: &[u8], max: usize) -> usize {
        self.body_size += data.len() as u64;
        // What follows bytes that are not there would seem to follow what is before them.
        let whole = self.gap == 0 && self.cut == 0;
        let room = if whole { max.saturating_sub(self.body.len()) } else { 0 };
        let kept = room.min(data.len());
        self.body.extend_from_slice(&data[..kept]);
        self.cut += (data.len() - kept) as u64;
        kept
    }

    /// Notes body bytes that never came.
    pub(in crate::dissect) fn miss(&mut self, bytes: u64) {
        self.gap = self.gap.saturating_add(bytes);
        self.body_size = self.body_size.saturating_add(bytes);
    }

    /// Adds trailer lines to the headers.
    pub(in crate::dissect) fn add_trailers(&mut self, lines: &[u8], limits: &Limits) {
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            if self.headers.len() >= limits.max_headers {
                return self.events.push(EntryEvent::LimitExceeded { limit: "max_headers".into() });
            }
            let name = String::from_utf8_lossy(line[..colon].trim_ascii());
            let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii());
            add_header(&mut self.headers, &name, &value);
        }
    }

    /// A header's value by name, ignoring case.
    pub(in crate::dissect) fn header(&self, name: &str) -> &str {
        self.headers.get_ignore_case(name).and_then(Value::as_str).unwrap_or("")
    }
}

/// Adds a header; repeated ones are joined.
fn add_header(headers: &mut Map, name: &str, value: &str) {
    let earlier = headers.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match earlier {
        Some((_, Value::Str(text))) => {
            // Cookies are the one list that commas do not separate (RFC 9113 8.2.3).
            text.push_str(if name == "cookie" { "; " } else { "," });
            text.push_str(value);
        }
        _ => headers.push(name, value),
    }
}

/// `Cookie: a=1; b=2`, or the one pair of `Set-Cookie: a=1; Path=/`. False: there are too many.
fn add_cookies(cookies: &mut Map, value: &str, first_only: bool, limits: &Limits) -> bool {
    for pair in value.split(';').take(if first_only { 1 } else { usize::MAX }) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            continue;
        }
        if cookies.len() >= limits.max_params {
            return false;
        }
        match cookies.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, Value::Str(text))) => {
                text.push(',');
                text.push_str(value);
            }
            _ => cookies.push(name, value),
        }
    }
    true
}
