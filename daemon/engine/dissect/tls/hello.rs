//! The hellos of client and server (RFC 5246, 7.4.1; RFC 8446, 4.1).

use compact_str::CompactString;

use super::bytes::Reader;
use super::ja4::Fingerprint;
use crate::limits;
use crate::model::TlsHandshake;

/// Handshake message type of the client's hello.
pub(super) const CLIENT_HELLO: u8 = 1;
/// Handshake message type of the server's hello, and of its request for another one.
pub(super) const SERVER_HELLO: u8 = 2;

/// The random value that makes a server's hello a request for another hello (RFC 8446, 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

pub(super) const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// A value that clients send to keep servers tolerant; it means nothing (RFC 8701).
pub(super) const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Reads the body of a client's hello into `facts`. `None`: it is not one.
pub(super) fn client(body: &[u8], facts: &mut TlsHandshake) -> Option<()> {
    let mut hello = Reader::new(body);
    let legacy_version = hello.u16()?;
    hello.take(32)?;
    hello.short_vector()?;
    let suites = hello.vector()?;
    hello.short_vector()?;
    let mut print = Fingerprint { version: legacy_version, ..Fingerprint::default() };
    let known = suites.numbers().filter(|suite| !is_grease(*suite));
    facts.offered_suites = known.take(limits::tls::OFFERED_SUITES).collect();
    print.suites.clone_from(&facts.offered_suites);
    // Extensions are optional up to TLS 1.2.
    if let Some(mut extensions) = hello.vector() {
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.vector()?;
            if !is_grease(kind) && print.extensions.len() < limits::tls::EXTENSIONS {
                print.extensions.push(kind);
            }
            client_extension(kind, content, facts, &mut print);
        }
    }
    facts.offered_version = print.version;
    print.alpn = facts.offered_alpn.first().cloned().unwrap_or_default();
    facts.ja4 = print.text();
    Some(())
}

fn client_extension(kind: u16, mut content: Reader<'_>, facts: &mut TlsHandshake, print: &mut Fingerprint) {
    match kind {
        SERVER_NAME => {
            print.named = true;
            facts.sni = server_name(content).unwrap_or_default();
        }
        SIGNATURE_ALGORITHMS => {
            let list = content.vector().into_iter().flat_map(Reader::numbers);
            print.signatures = list.take(limits::tls::EXTENSIONS).collect();
        }
        ALPN => facts.offered_alpn = protocols(content),
        SUPPORTED_VERSIONS => {
            let list = content.short_vector().into_iter().flat_map(Reader::numbers);
            if let Some(highest) = list.filter(|version| !is_grease(*version)).max() {
                print.version = highest;
            }
        }
        _ => {}
    }
}

/// The first host name (RFC 6066, 3).
fn server_name(mut content: Reader<'_>) -> Option<CompactString> {
    let mut list = content.vector()?;
    if list.u8()? != 0 {
        return None;
    }
    let name = list.vector()?.rest();
    // A host name is ASCII; anything else is shown as what it is not.
    (name.len() <= limits::tls::NAME).then(|| CompactString::from_utf8_lossy(name))
}

/// Names of application protocols (RFC 7301, 3.1).
fn protocols(mut content: Reader<'_>) -> Vec<CompactString> {
    let Some(mut list) = content.vector() else { return Vec::new() };
    let mut names = Vec::new();
    while let Some(name) = list.short_vector()
        && names.len() < limits::tls::PROTOCOLS
    {
        let name = CompactString::from_utf8_lossy(name.rest());
        // The first name may be a GREASE value, which is not text.
        if !name.contains(char::REPLACEMENT_CHARACTER) {
            names.push(name);
        }
    }
    names
}

/// What a server's hello is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The final one.
    Accepted,
    /// A request for another client's hello; the server's own hello follows.
    Retry,
}

/// Reads the body of a server's hello into `facts`. `None`: it is not one.
pub(super) fn server(body: &[u8], facts: &mut TlsHandshake) -> Option<Answer> {
    let mut hello = Reader::new(body);
    let mut version = hello.u16()?;
    let random = hello.take(32)?;
    hello.short_vector()?;
    let suite = hello.u16()?;
    hello.u8()?;
    if let Some(mut extensions) = hello.vector() {
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let mut content = extensions.vector()?;
            match kind {
                SUPPORTED_VERSIONS => version = content.u16()?,
                ALPN => facts.alpn = protocols(content).into_iter().next().unwrap_or_default(),
                _ => {}
            }
        }
    }
    facts.version = version;
    facts.cipher_suite = Some(suite);
    if random == RETRY_RANDOM {
        facts.retried = true;
        return Some(Answer::Retry);
    }
    Some(Answer::Accepted)
}
