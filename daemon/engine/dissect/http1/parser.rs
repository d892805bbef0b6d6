//! HTTP/1 syntax without state: message starts, heads, and how a body is delimited (RFC 9112).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig};
use memchr::memchr;
use smallvec::SmallVec;

/// Headers parsed without touching the heap.
const INLINE_HEADERS: usize = 64;
/// Longest method. The longest registered one has 17 characters.
const MAX_METHOD: usize = 24;
/// Bytes of an unfinished request line with a known method that are believed without seeing its end.
const BELIEVED_LINE: usize = 2048;

/// Registered methods (IANA) and those of WebDAV that are seen in the wild.
const METHODS: &[&str] = &[
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "CONNECT",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "PURGE",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "M-SEARCH",
    "LINK",
    "UNLINK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "QUERY",
];

/// Whether bytes are the start of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Certainly.
    Yes,
    /// Certainly not.
    No,
    /// More bytes decide.
    More,
}

/// Whether `bytes` begin with a request line: a token, a target, `HTTP/1.x`.
pub(super) fn request_start(bytes: &[u8]) -> Start {
    let window = &bytes[..bytes.len().min(MAX_METHOD + 1)];
    let Some(space) = memchr(b' ', window) else {
        let plausible = window.len() <= MAX_METHOD && window.iter().all(|byte| is_method_byte(*byte));
        return if plausible { Start::More } else { Start::No };
    };
    let method = &bytes[..space];
    if method.is_empty() || !method.iter().all(|byte| is_method_byte(*byte)) {
        return Start::No;
    }
    let rest = &bytes[space + 1..];
    match memchr(b'\n', rest) {
        Some(end) if is_versioned(&rest[..end]) => Start::Yes,
        Some(_) => Start::No,
        None if rest.iter().take(BELIEVED_LINE).any(|byte| *byte < b' ' && *byte != b'\r') => Start::No,
        None if rest.len() >= BELIEVED_LINE => {
            let known = METHODS.iter().any(|name| name.as_bytes() == method);
            if known && (rest.starts_with(b"/") || rest.starts_with(b"http")) {
                Start::Yes
            } else {
                Start::No
            }
        }
        None => Start::More,
    }
}

/// Whether `bytes` begin with a status line: `HTTP/1.x` and three digits.
pub(super) fn response_start(bytes: &[u8]) -> Start {
    const PREFIX: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(PREFIX.len());
    if bytes[..common] != PREFIX[..common] {
        return Start::No;
    }
    let shape = |index: usize, byte: u8| match index {
        8 => byte == b' ',
        12 => matches!(byte, b' ' | b'\r' | b'\n'),
        _ => byte.is_ascii_digit(),
    };
    let rest = bytes.iter().enumerate().take(13).skip(PREFIX.len());
    if !rest.clone().all(|(index, byte)| shape(index, *byte)) {
        return Start::No;
    }
    if bytes.len() < 13 { Start::More } else { Start::Yes }
}

fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}

/// A request line's target and version: at least one byte, a space, `HTTP/1.x`.
fn is_versioned(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.len() > 9
        && line[line.len() - 1].is_ascii_digit()
        && line[..line.len() - 1].ends_with(b" HTTP/1.")
        && line.iter().all(|byte| *byte >= b' ')
}

/// A parsed head that borrows from the bytes.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Method and target, or empty for a response.
    pub(super) method: &'a str,
    /// Request target as sent.
    pub(super) target: &'a str,
    /// Status code; 0 for a request.
    pub(super) status: u16,
    /// Reason phrase.
    pub(super) reason: &'a str,
    /// Minor version: 0 or 1.
    pub(super) minor: u8,
    /// Header lines in order.
    pub(super) headers: SmallVec<[(&'a str, &'a [u8]); 24]>,
    /// Lines that are not headers were skipped.
    pub(super) sloppy: bool,
}

/// Why a head was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// More header lines than the limit.
    TooManyHeaders,
    /// Not HTTP.
    Malformed,
}

/// Replaces folded header lines (obs-fold, RFC 9112 5.2) by spaces; borrowed when there are none.
pub(super) fn unfold(head: &[u8]) -> Cow<'_, [u8]> {
    let folds = |end: usize| matches!(head.get(end + 1), Some(b' ' | b'\t'));
    if !memchr::memchr_iter(b'\n', head).any(folds) {
        return Cow::Borrowed(head);
    }
    let mut flat = head.to_vec();
    for at in 1..flat.len() {
        if flat[at - 1] == b'\n' && matches!(flat[at], b' ' | b'\t') {
            flat[at - 1] = b' ';
            flat[at] = b' ';
            if at > 1 && flat[at - 2] == b'\r' {
                flat[at - 2] = b' ';
            }
        }
    }
    Cow::Owned(flat)
}

/// Parses a whole head. `response`: it begins with a status line.
pub(super) fn parse_head(bytes: &[u8], response: bool, max_headers: usize) -> Result<Head<'_>, HeadError> {
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    config.allow_spaces_after_header_name_in_responses(true);
    match parse_inline(&config, bytes, response, max_headers) {
        Err(HeadError::Malformed) => {
            config.ignore_invalid_headers_in_requests(true).ignore_invalid_headers_in_responses(true);
            parse_inline(&config, bytes, response, max_headers).map(|head| Head { sloppy: true, ..head })
        }
        other => other,
    }
}

fn parse_inline<'a>(
    config: &ParserConfig,
    bytes: &'a [u8],
    response: bool,
    max_headers: usize,
) -> Result<Head<'a>, HeadError> {
    let mut few = [const { MaybeUninit::uninit() }; INLINE_HEADERS];
    match parse_into(config, bytes, response, &mut few) {
        Err(HeadError::TooManyHeaders) if max_headers > INLINE_HEADERS => {
            let mut many = vec![MaybeUninit::uninit(); max_headers];
            parse_into(config, bytes, response, &mut many)
        }
        other => other,
    }
}

fn parse_into<'a>(
    config: &ParserConfig,
    bytes: &'a [u8],
    response: bool,
    headers: &mut [MaybeUninit<Header<'a>>],
) -> Result<Head<'a>, HeadError> {
    let lines = |headers: &[Header<'a>]| headers.iter().map(|header| (header.name, header.value)).collect();
    if response {
        let mut parsed = httparse::Response::new(&mut []);
        complete(config.parse_response_with_uninit_headers(&mut parsed, bytes, headers))?;
        Ok(Head {
            method: "",
            target: "",
            status: parsed.code.unwrap_or(0),
            reason: parsed.reason.unwrap_or(""),
            minor: parsed.version.unwrap_or(1),
            headers: lines(parsed.headers),
            sloppy: false,
        })
    } else {
        let mut parsed = httparse::Request::new(&mut []);
        complete(config.parse_request_with_uninit_headers(&mut parsed, bytes, headers))?;
        Ok(Head {
            method: parsed.method.unwrap_or(""),
            target: parsed.path.unwrap_or(""),
            status: 0,
            reason: "",
            minor: parsed.version.unwrap_or(1),
            headers: lines(parsed.headers),
            sloppy: false,
        })
    }
}

fn complete(result: httparse::Result<usize>) -> Result<(), HeadError> {
    match result {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyHeaders),
        Ok(httparse::Status::Partial) | Err(_) => Err(HeadError::Malformed),
    }
}

/// What a head's headers say about the body and the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Framing {
    /// `Content-Length`, when all of its values agree.
    pub(super) length: Option<u64>,
    /// `Content-Length` was not a number, or its values differ.
    pub(super) bad_length: bool,
    /// `Transfer-Encoding` was sent.
    pub(super) transfer: bool,
    /// The last transfer coding is `chunked`.
    pub(super) chunked: bool,
    /// Transfer codings before `chunked`, which are undone like content codings.
    pub(super) codings: Vec<String>,
}

impl Framing {
    /// Reads the framing headers.
    pub(super) fn of(head: &Head<'_>) -> Self {
        let mut framing = Self::default();
        for (name, value) in &head.headers {
            if name.eq_ignore_ascii_case("content-length") {
                framing.add_length(value);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing.add_transfer(value);
            }
        }
        framing
    }

    fn add_length(&mut self, value: &[u8]) {
        for part in value.split(|byte| *byte == b',') {
            let digits = part.trim_ascii();
            let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
            match (valid.then_some(number).flatten(), self.length) {
                (Some(number), None) => self.length = Some(number),
                (Some(number), Some(earlier)) if number == earlier => {}
                _ => self.bad_length = true,
            }
        }
    }

    fn add_transfer(&mut self, value: &[u8]) {
        self.transfer = true;
        for part in value.split(|byte| *byte == b',') {
            let coding = String::from_utf8_lossy(part.trim_ascii()).to_ascii_lowercase();
            self.chunked = coding == "chunked";
            if !self.chunked && coding != "identity" && !coding.is_empty() && self.codings.len() < 8 {
                self.codings.push(coding);
            }
        }
    }
}
