//! gRPC-Web: what differs from gRPC (PROTOCOL-WEB.md of grpc/grpc): any version of HTTP, base64, trailers in the
//! body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Whether a content type is one of gRPC-Web.
pub(super) fn is_web(content_type: &str) -> bool {
    starts(content_type, "application/grpc-web")
}

/// A body as it is without base64, where its content type says that it has it.
pub(super) fn without_base64<'b>(content_type: &str, body: &'b [u8]) -> Cow<'b, [u8]> {
    if !starts(content_type, "application/grpc-web-text") {
        return Cow::Borrowed(body);
    }
    let mut plain = Vec::with_capacity(body.len() / 4 * 3);
    // Each piece that was sent may have its own padding, so groups of four are undone one by one.
    for group in body.chunks_exact(4) {
        let mut bytes = [0; 3];
        match STANDARD.decode_slice(group, &mut bytes) {
            Ok(count) => plain.extend_from_slice(&bytes[..count]),
            Err(_) => break,
        }
    }
    Cow::Owned(plain)
}

fn starts(text: &str, front: &str) -> bool {
    text.get(..front.len()).is_some_and(|start| start.eq_ignore_ascii_case(front))
}
