//! JA4: a fingerprint of a TLS client by what it offers, whatever order it offers it in.
//!
//! `t13d1516h2_8daaf6152771_02713d6af862`: transport, version, name or address, counts of suites and
//! extensions, application protocol; digest of the sorted suites; digest of the sorted extensions and
//! the signature algorithms.

use std::fmt::Write as _;

use compact_str::{CompactString, format_compact};
use sha2::{Digest as _, Sha256};

use super::hello::{ALPN, SERVER_NAME};

/// What a hello says that counts.
#[derive(Debug, Default)]
pub(super) struct Fingerprint {
    /// The highest version offered.
    pub(super) version: u16,
    /// It names a server.
    pub(super) named: bool,
    pub(super) suites: Vec<u16>,
    pub(super) extensions: Vec<u16>,
    /// In the client's order.
    pub(super) signatures: Vec<u16>,
    /// The first application protocol.
    pub(super) alpn: CompactString,
}

impl Fingerprint {
    pub(super) fn text(&self) -> CompactString {
        let version = match self.version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let named = if self.named { 'd' } else { 'i' };
        let (suites, extensions) = (self.suites.len().min(99), self.extensions.len().min(99));
        let mut sorted = self.suites.clone();
        sorted.sort_unstable();
        let suite_digest = digest(&hex_list(&sorted));
        let mut sorted: Vec<u16> =
            self.extensions.iter().copied().filter(|kind| !matches!(*kind, SERVER_NAME | ALPN)).collect();
        sorted.sort_unstable();
        let mut listed = hex_list(&sorted);
        if !self.signatures.is_empty() {
            listed.push('_');
            listed.push_str(&hex_list(&self.signatures));
        }
        let extension_digest = if sorted.is_empty() { digest("") } else { digest(&listed) };
        let alpn = self.protocol();
        format_compact!("t{version}{named}{suites:02}{extensions:02}{alpn}_{suite_digest}_{extension_digest}")
    }

    /// First and last character of the application protocol; of its hexadecimal form where either is
    /// not alphanumeric.
    fn protocol(&self) -> CompactString {
        let (Some(first), Some(last)) = (self.alpn.bytes().next(), self.alpn.bytes().next_back()) else {
            return CompactString::const_new("00");
        };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            format_compact!("{}{}", char::from(first), char::from(last))
        } else {
            format_compact!("{:x}{:x}", first >> 4, last & 15)
        }
    }
}

fn hex_list(numbers: &[u16]) -> String {
    let mut text = String::with_capacity(numbers.len() * 5);
    for (index, number) in numbers.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{number:04x}");
    }
    text
}

/// The first 12 hexadecimal digits of the SHA-256; zeros for nothing.
fn digest(text: &str) -> CompactString {
    if text.is_empty() {
        return CompactString::const_new("000000000000");
    }
    Sha256::digest(text).iter().take(6).fold(CompactString::default(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the fingerprint's description.
    #[test]
    fn the_published_example_comes_out() {
        let print = Fingerprint {
            version: 0x0304,
            named: true,
            suites: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
                0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
                0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: "h2".into(),
        };
        assert_eq!(print.text(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_hello_without_anything_has_zeros() {
        let print = Fingerprint { version: 0x0303, suites: vec![0x002f], ..Fingerprint::default() };
        assert!(print.text().starts_with("t12i010000_"), "{}", print.text());
        assert!(print.text().ends_with("_000000000000"));
        let odd = Fingerprint { alpn: "\u{1}x-".into(), ..Fingerprint::default() };
        assert!(odd.text().starts_with("t00i00000d_"), "{}", odd.text());
    }
}
