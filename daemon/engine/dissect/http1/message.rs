//! A request or response while its bytes come in: head as model values, bounded body, sizes, moments.

use compact_str::CompactString;

use super::content;
use super::parser::{Framing, Head};
use crate::limits::Limits;
use crate::model::{EntryEvent, Map, Timestamp, Value};

/// One half of an exchange.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// Method; empty for a response.
    pub(super) method: CompactString,
    /// Request target as sent.
    pub(super) target: CompactString,
    /// Status code; 0 for a request.
    pub(super) status: u16,
    /// Reason phrase.
    pub(super) reason: CompactString,
    /// HTTP/1.`minor`.
    pub(super) minor: u8,
    /// Headers (and later trailers) by name as sent; repeated ones joined with `,`.
    pub(super) headers: Map,
    /// Cookies by name.
    pub(super) cookies: Map,
    /// Bytes of the head.
    pub(super) head_size: u64,
    /// Bytes of the body on the wire without transfer coding, missing ones included.
    pub(super) body_size: u64,
    /// Bytes of the whole message that were seen.
    pub(super) wire: u64,
    /// The kept start of the body.
    pub(super) body: Vec<u8>,
    /// Body bytes that were seen and left out.
    pub(super) cut: u64,
    /// Bytes that never came.
    pub(super) gap: u64,
    /// Content and transfer codings in the order in which they were applied.
    pub(super) codings: Vec<String>,
    /// Nothing more is coming: whole, or cut short.
    pub(super) ended: bool,
    /// First byte.
    pub(super) start: Timestamp,
    /// Last byte so far.
    pub(super) end: Timestamp,
    /// Deviations.
    pub(super) events: Vec<EntryEvent>,
}

impl Message {
    /// A message from its head.
    pub(super) fn new(
        head: &Head<'_>,
        framing: &Framing,
        head_size: usize,
        (start, end): (Timestamp, Timestamp),
        limits: &Limits,
    ) -> Self {
        let mut message = Self {
            method: head.method.into(),
            target: head.target.into(),
            status: head.status,
            reason: head.reason.into(),
            minor: head.minor,
            headers: Map::with_capacity(head.headers.len()),
            head_size: head_size as u64,
            wire: head_size as u64,
            start,
            end,
            ..Self::default()
        };
        let cookie_header = if head.status == 0 { "cookie" } else { "set-cookie" };
        for (name, value) in &head.headers {
            let text = String::from_utf8_lossy(value);
            if name.eq_ignore_ascii_case(cookie_header) {
                let all = add_cookies(&mut message.cookies, &text, head.status != 0, limits);
                if !all {
                    message.events.push(EntryEvent::LimitExceeded { limit: "max_params".into() });
                }
            } else if name.eq_ignore_ascii_case("content-encoding") {
                message.codings.extend(content::codings(&text).take(8));
            }
            add_header(&mut message.headers, name, &text);
        }
        message.codings.extend(framing.codings.iter().cloned());
        message
    }

    /// Adds what deviates.
    pub(super) fn anomaly(&mut self, what: &str) {
        self.events.push(EntryEvent::Anomaly { what: what.into() });
    }

    /// Takes body bytes; keeps them up to the limit, and none after a gap.
    pub(super) fn push(&mut self, data: &[u8], limits: &Limits) {
        self.body_size += data.len() as u64;
        let room = if self.gap > 0 { 0 } else { limits.max_body.saturating_sub(self.body.len()) };
        let kept = room.min(data.len());
        self.body.extend_from_slice(&data[..kept]);
        self.cut += (data.len() - kept) as u64;
    }

    /// Notes body bytes that never came.
    pub(super) fn miss(&mut self, bytes: u64) {
        self.gap = self.gap.saturating_add(bytes);
        self.body_size = self.body_size.saturating_add(bytes);
    }

    /// Adds trailer lines to the headers.
    pub(super) fn add_trailers(&mut self, lines: &[u8], limits: &Limits) {
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
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get_ignore_case(name).and_then(Value::as_str).unwrap_or("")
    }
}

fn add_header(headers: &mut Map, name: &str, value: &str) {
    let earlier = headers.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match earlier {
        Some((_, Value::Str(text))) => {
            text.push(',');
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
