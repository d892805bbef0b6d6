//! What a head says about its message: kind of request, deviations, how the body is delimited (RFC 9112 6.3).

use super::lane::Body;
use super::matcher::Ask;
use super::parser::{Framing, Head};
use crate::dissect::http::message::Message;
use crate::limits::Limits;
use crate::model::{Map, Timestamp};

/// A message from its head.
pub(super) fn message_of(
    head: &Head<'_>,
    framing: &Framing,
    head_size: usize,
    (start, end): (Timestamp, Timestamp),
    limits: &Limits,
) -> Message {
    let mut message = Message {
        method: head.method.into(),
        target: head.target.into(),
        status: head.status,
        reason: head.reason.into(),
        version: if head.minor == 0 { "HTTP/1.0" } else { "HTTP/1.1" },
        headers: Map::with_capacity(head.headers.len()),
        head_size: head_size as u64,
        wire: head_size as u64,
        start,
        end,
        ..Message::default()
    };
    for (name, value) in &head.headers {
        message.add_line(name, &String::from_utf8_lossy(value), limits);
    }
    message.codings.extend(framing.codings.iter().cloned());
    message
}

/// What decides how the answer to a request is framed.
pub(super) fn ask_of(head: &Head<'_>, message: &Message) -> Ask {
    match head.method {
        "HEAD" => Ask::Head,
        "CONNECT" => Ask::Connect,
        _ if !message.header("upgrade").is_empty() => Ask::Upgrade,
        _ => Ask::Plain,
    }
}

/// Notes on the message what deviates from the specification.
pub(super) fn note_deviations(message: &mut Message, head: &Head<'_>, framing: &Framing, folded: bool) {
    let deviations = [
        (head.sloppy, "a header line is malformed and was skipped"),
        (folded, "a header line is folded"),
        (framing.transfer && framing.length.is_some(), "both Transfer-Encoding and Content-Length"),
        (framing.transfer && head.minor == 0, "Transfer-Encoding in HTTP/1.0"),
        (framing.bad_length, "Content-Length is not one number"),
    ];
    for (_, what) in deviations.into_iter().filter(|(found, _)| *found) {
        message.anomaly(what);
    }
}

/// RFC 9112 6.3 for requests; `None`: no body.
pub(super) fn request_body(framing: &Framing) -> Option<Body> {
    match framing {
        Framing { chunked: true, .. } => Some(Body::Chunked(Box::default())),
        Framing { transfer: true, .. } => Some(Body::UntilClose),
        Framing { length: Some(0) | None, .. } => None,
        Framing { length: Some(length), .. } => Some(Body::Length(*length)),
    }
}

/// RFC 9112 6.3 for responses; `None`: no body.
pub(super) fn response_body(ask: Ask, status: u16, framing: &Framing) -> Option<Body> {
    match framing {
        _ if ask == Ask::Head || matches!(status, 100..=199 | 204 | 304) => None,
        _ if ask == Ask::Connect && (200..300).contains(&status) => None,
        Framing { chunked: true, .. } => Some(Body::Chunked(Box::default())),
        Framing { transfer: true, .. } | Framing { bad_length: true, .. } => Some(Body::UntilClose),
        Framing { length: Some(0), .. } => None,
        Framing { length: Some(length), .. } => Some(Body::Length(*length)),
        Framing { length: None, .. } => Some(Body::UntilClose),
    }
}
