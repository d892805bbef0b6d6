//! Facts about the TLS of decrypted calls. Empty where the bytes were not encrypted.

use compact_str::{CompactString, format_compact};

use crate::dissect::tls::{suite_name, version_name};
use crate::model::{Entry, Field, FieldSource, FieldType, FieldValue, TlsInfo, fields};

/// A fact, where the call was decrypted.
fn fact<'a>(entry: &'a Entry, get: fn(&'a TlsInfo) -> FieldValue<'a>) -> FieldValue<'a> {
    entry.tls_info.as_deref().map_or(FieldValue::Missing, get)
}

fn sni(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| FieldValue::Str(&info.handshake.sni))
}

fn alpn(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| FieldValue::Str(&info.alpn))
}

fn ja4(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| FieldValue::Str(&info.handshake.ja4))
}

fn library(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| info.library.map_or(FieldValue::Missing, |library| FieldValue::Str(library.name())))
}

fn witness(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| info.witness.map_or(FieldValue::Missing, |witness| FieldValue::Str(witness.name())))
}

fn version_code(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| FieldValue::Int(i64::from(info.handshake.version)))
}

fn suite_code(entry: &Entry) -> FieldValue<'_> {
    fact(entry, |info| {
        info.handshake.cipher_suite.map_or(FieldValue::Missing, |suite| FieldValue::Int(i64::from(suite)))
    })
}

fn size(entry: &Entry, size: u64) -> FieldValue<'_> {
    if entry.tls { FieldValue::Int(size as i64) } else { FieldValue::Missing }
}

fn version(entry: &Entry) -> CompactString {
    entry.tls_info.as_ref().map(|info| version_name(info.handshake.version)).unwrap_or_default()
}

fn suite(entry: &Entry) -> CompactString {
    let number = entry.tls_info.as_ref().and_then(|info| info.handshake.cipher_suite);
    number.map(suite_name).unwrap_or_default()
}

/// The first of server name, application protocol and cipher suite that is known.
fn summary(entry: &Entry) -> CompactString {
    let Some(info) = &entry.tls_info else { return CompactString::default() };
    let known = [&info.handshake.sni, &info.alpn].into_iter().find(|text| !text.is_empty());
    known.cloned().unwrap_or_else(|| suite(entry))
}

fn details(entry: &Entry) -> CompactString {
    let (version, suite) = (version(entry), suite(entry));
    let space = if version.is_empty() || suite.is_empty() { "" } else { " " };
    format_compact!("{version}{space}{suite}")
}

macro_rules! texts {
    ($($name:literal $doc:literal $example:literal => $get:expr;)*) => {
        &[$(Field {
            name: $name,
            ty: FieldType::Str,
            source: FieldSource::Text($get),
            doc: $doc,
            example: $example,
        },)*]
    };
}

/// Rows whose values are put together.
pub(super) const TEXTS: &[Field] = texts! {
    "tls.version" "Version in use: `TLS 1.3`, `TLS 1.2`." r#"tls.version == "TLS 1.2""# => version;
    "tls.cipher_suite" "Cipher suite in use, by its IANA name." r#"tls.cipher_suite.contains("CHACHA20")"# => suite;
    "tlsInfo.version" "Same as `tls.version`." r#"tlsInfo.version == "TLS 1.2""# => version;
    "tlsInfo.cipherSuite" "Same as `tls.cipher_suite`." r#"tlsInfo.cipherSuite.contains("CBC")"# => suite;
    "tls_summary" "Server name, else application protocol, else cipher suite." r#"tls_summary != """# => summary;
    "tls_info" "Version and cipher suite." r#"tls_info.contains("TLS 1.2")"# => details;
    "tlsx_summary" "Same as `tls_summary`." r#"tlsx_summary != """# => summary;
};

/// Rows whose values stand in the entry.
pub(super) const FIELDS: &[Field] = fields! {
    "tls.sni" Str "Server name that the client asked for." r#"tls.sni.endsWith(".amazonaws.com")"# => sni;
    "tls.alpn" Str "Application protocol; under TLS 1.3 the one that was offered and is spoken." r#"tls.alpn == "h2""# => alpn;
    "tls.ja4" Str "JA4 fingerprint of the client's hello." r#"tls.ja4.startsWith("t13d")"#
        => ja4;
    "tls.library" Str "Stack at which the plaintext was read: `openssl`, `boringssl`, `libressl`, `gnutls`, `nss`, `go`, `rustls`." r#"tls.library == "go""#
        => library;
    "tls.witness" Str "How the plaintext was tied to its connection: `in_call`, `descriptor`, `nearby_transfer`, `process` (a guess)." r#"tls.witness == "process""#
        => witness;
    "tls_request_size" Int "Bytes of the decrypted request." "tls_request_size > 0" => |entry| size(entry, entry.request_size);
    "tls_response_size" Int "Bytes of the decrypted answer." "tls_response_size > 0" => |entry| size(entry, entry.response_size);
    "tls_total_size" Int "Bytes of both." "tls_total_size > 0"
        => |entry| size(entry, entry.request_size.saturating_add(entry.response_size));
    "tlsx_sni" Str "Same as `tls.sni`." r#"tlsx_sni.contains("amazonaws.com")"# => sni;
    "tlsx_alpn" Str "Same as `tls.alpn`." r#"tlsx_alpn == "h2""# => alpn;
    "tlsx_version" Int "Version in use, by its number: 771 is TLS 1.2, 772 is TLS 1.3." "tlsx_version == 772"
        => version_code;
    "tlsx_cipher_suite" Int "Cipher suite in use, by its number." "tlsx_cipher_suite == 4865"
        => suite_code;
    "tlsInfo.sni" Str "Same as `tls.sni`." r#"tlsInfo.sni == "example.com""# => sni;
    "tlsInfo.versionCode" Int "Same as `tlsx_version`." "tlsInfo.versionCode == 772" => version_code;
    "tlsInfo.cipherSuiteCode" Int "Same as `tlsx_cipher_suite`." "tlsInfo.cipherSuiteCode == 4865" => suite_code;
    "tlsInfo.alpn" Str "Same as `tls.alpn`." r#"tlsInfo.alpn == "h2""# => alpn;
    "tlsInfo.ja4" Str "Same as `tls.ja4`." r#"tlsInfo.ja4 != """# => ja4;
    "tlsInfo.library" Str "Same as `tls.library`." r#"tlsInfo.library == "openssl""# => library;
    "capture.witness" Str "Same as `tls.witness`." r#"capture.witness == "in_call""# => witness;
};
