//! Undoes content codings, with one cap on how far a body may grow.

use std::io::{self, Read};

/// Codings that may be stacked; more is an attack.
const MAX_CODINGS: usize = 4;
/// log2 of the largest zstd window. 8 MiB is what RFC 8878 asks decoders to support.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Buffer between a decoder and its input.
const BUFFER: usize = 4096;

/// Why a body stays as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dissect) struct NotDecoded {
    /// The coding that failed.
    pub(in crate::dissect) coding: String,
    /// For a person.
    pub(in crate::dissect) reason: String,
}

/// The codings of a `Content-Encoding` value in the order in which they were applied.
pub(in crate::dissect) fn codings(value: &str) -> impl Iterator<Item = String> + '_ {
    value
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
}

/// Undoes `codings` (in the order in which they were applied). `complete`: the whole body is there; if
/// not, what can be decoded of it is the answer.
pub(in crate::dissect) fn decode(
    body: &[u8],
    codings: &[String],
    complete: bool,
    max: usize,
) -> Result<Vec<u8>, NotDecoded> {
    let fail = |coding: &str, reason: String| NotDecoded { coding: coding.to_owned(), reason };
    if codings.len() > MAX_CODINGS {
        return Err(fail(&codings.join(", "), format!("more than {MAX_CODINGS} codings")));
    }
    let mut current: Option<Vec<u8>> = None;
    for coding in codings.iter().rev() {
        let input = current.as_deref().unwrap_or(body);
        let mut decoder = open(input, coding).map_err(|reason| fail(coding, reason.to_string()))?;
        let output =
            read_capped(&mut *decoder, complete, max).map_err(|reason| fail(coding, reason.to_string()))?;
        drop(decoder);
        current = Some(output);
    }
    Ok(current.unwrap_or_default())
}

fn open<'a>(input: &'a [u8], coding: &str) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match coding {
        "gzip" | "x-gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        // "deflate" is zlib by specification and raw deflate by some servers.
        "deflate" if is_zlib(input) => Box::new(flate2::bufread::ZlibDecoder::new(input)),
        "deflate" => Box::new(flate2::bufread::DeflateDecoder::new(input)),
        "br" => Box::new(brotli_decompressor::Decompressor::new(input, BUFFER)),
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => return Err(io::Error::other("the coding is not known")),
    })
}

fn is_zlib(input: &[u8]) -> bool {
    matches!(input, [first, second, ..]
        if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31))
}

/// Reads to the end or the cap; the only place where decoded bytes come from.
fn read_capped(decoder: &mut dyn Read, complete: bool, max: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    let mut buffer = [0; BUFFER];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(output),
            Ok(count) if output.len() + count > max => {
                return Err(io::Error::other(format!("it grows beyond {max} bytes")));
            }
            Ok(count) => output.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if !complete && !output.is_empty() => return Ok(output),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn stacked_codings_are_undone_in_reverse_order() {
        let inner = zstd::encode_all(&b"hello"[..], 3).expect("in memory");
        assert_eq!(decode(&gzip(&inner), &list(&["zstd", "gzip"]), true, 100).expect("valid"), b"hello");
    }

    #[test]
    fn deflate_is_understood_with_and_without_zlib_wrapping() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"hello hello").expect("in memory");
        let zlib = zlib.finish().expect("in memory");
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(b"hello hello").expect("in memory");
        let raw = raw.finish().expect("in memory");
        for body in [zlib, raw] {
            assert_eq!(decode(&body, &list(&["deflate"]), true, 100).expect("valid"), b"hello hello");
        }
    }

    #[test]
    fn brotli_is_understood() {
        // "hello" as one uncompressed meta-block: window bits 16, length 5, then an empty last block.
        let body = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(decode(&body, &list(&["br"]), true, 100).expect("valid"), b"hello");
    }

    /// 16 MiB of zeros as brotli.
    const BROTLI_BOMB: [u8; 27] = [
        0xcb, 0xff, 0xff, 0x3f, 0xf8, 0x27, 0x00, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 0x2f, 0xff, 0xff, 0xff,
        0xf0, 0x4f, 0x00, 0xc4, 0x61, 0x11, 0x80, 0xee, 0xfd, 0x1f,
    ];

    #[test]
    fn bombs_stop_at_the_cap() {
        let zeros = vec![0; 10 << 20];
        let zstd = zstd::encode_all(&zeros[..], 3).expect("in memory");
        for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd), ("br", BROTLI_BOMB.to_vec())] {
            let error = decode(&bomb, &list(&[coding]), true, 1 << 20).expect_err("beyond the cap");
            assert!(error.reason.contains("grows beyond"), "{error:?}");
        }
    }

    #[test]
    fn a_zstd_window_beyond_the_limit_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("in memory");
        encoder.window_log(27).expect("valid");
        encoder.write_all(&vec![7; 1 << 20]).expect("in memory");
        let body = encoder.finish().expect("in memory");
        assert!(decode(&body, &list(&["zstd"]), true, 4 << 20).is_err());
    }

    #[test]
    fn a_cut_body_gives_what_can_be_decoded() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let body = gzip(&text);
        let cut = &body[..body.len() / 2];
        let part = decode(cut, &list(&["gzip"]), false, 1 << 20).expect("a prefix");
        assert!(text.starts_with(&part) && !part.is_empty());
        assert!(decode(cut, &list(&["gzip"]), true, 1 << 20).is_err());
    }

    #[test]
    fn an_unknown_coding_is_named() {
        let error = decode(b"x", &list(&["snappy"]), true, 100).expect_err("unknown");
        assert_eq!(error.coding, "snappy");
    }
}
