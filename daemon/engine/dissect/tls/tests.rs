//! Hellos of real stacks in any split, and bytes that are no TLS.
//!
//! `golden/*.txt` are connections recorded with tcpdump on loopback: one segment per line, `>` from the client.

use proptest::prelude::*;

use super::super::{Carrier, End, Input, Session};
use super::{begins_with_client_hello, suite_name, version_name};
use crate::limits::{self, Limits};
use crate::model::{Direction, Timestamp, TlsHandshake};

use Direction::{ToClient, ToServer};

/// curl 7.88 with OpenSSL 3.0, application protocols h2 and http/1.1; OpenSSL's server.
pub(crate) const TLS13: &str = include_str!("golden/tls13.txt");
/// The same, TLS 1.2 at most.
pub(crate) const TLS12: &str = include_str!("golden/tls12.txt");
/// The server wants another key share and asks for a second hello.
const RETRY: &str = include_str!("golden/retry.txt");
/// The client wants TLS 1.3, the server has 1.2.
const REFUSED: &str = include_str!("golden/refused.txt");
/// GnuTLS's command line client.
const GNUTLS: &str = include_str!("golden/gnutls.txt");
/// Two connections one after the other; the second resumes the session of the first.
const RESUMED: &str = include_str!("golden/resumed.txt");

/// The segments of a recording.
pub(crate) fn segments(recording: &str) -> Vec<(Direction, Vec<u8>)> {
    let line = |line: &str| {
        let (side, hex) = line.split_once(' ').unwrap();
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes = (0..hex.len() / 2).map(|index| digit(index * 2)).collect();
        (if side == ">" { ToServer } else { ToClient }, bytes)
    };
    recording.lines().map(line).collect()
}

/// What is known after each piece was fed, and whether it is all.
fn inspect(pieces: &[(Direction, Vec<u8>)], from_start: bool) -> Option<(TlsHandshake, bool)> {
    let mut session = Session::new(Carrier::Stream, 443, from_start);
    let (limits, mut out) = (Limits::default(), Vec::new());
    for (direction, bytes) in pieces {
        session.feed(*direction, Input::Bytes(bytes), Timestamp(1), &limits, &mut out);
    }
    assert!(out.is_empty());
    session.handshake().map(|(facts, settled)| (facts.clone(), settled))
}

fn facts(recording: &str) -> TlsHandshake {
    let (facts, settled) = inspect(&segments(recording), true).unwrap();
    assert!(settled);
    facts
}

#[test]
fn a_handshake_of_tls_1_3_is_read() {
    let facts = facts(TLS13);
    assert_eq!(facts.sni, "api.example.test");
    assert_eq!((facts.offered_version, facts.version), (0x0304, 0x0304));
    assert_eq!(facts.cipher_suite.map(suite_name).unwrap(), "TLS_AES_256_GCM_SHA384");
    assert_eq!(facts.offered_alpn, ["h2", "http/1.1"]);
    // The server's choice is encrypted.
    assert_eq!(facts.alpn, "");
    assert!(facts.offered_suites.contains(&0x1301) && !facts.retried && facts.alert.is_none());
    assert!(facts.ja4.starts_with("t13d") && facts.ja4[8..].starts_with("h2_"), "{}", facts.ja4);
}

#[test]
fn a_handshake_of_tls_1_2_tells_the_application_protocol() {
    let facts = facts(TLS12);
    assert_eq!(version_name(facts.version), "TLS 1.2");
    assert_eq!(facts.cipher_suite.map(suite_name).unwrap(), "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    assert_eq!((facts.alpn.as_str(), facts.sni.as_str()), ("http/1.1", "api.example.test"));
    assert!(facts.ja4.starts_with("t12d"));
}

#[test]
fn a_request_for_another_hello_is_not_the_answer() {
    let facts = facts(RETRY);
    assert!(facts.retried);
    assert_eq!((facts.version, facts.cipher_suite), (0x0304, Some(0x1302)));
}

#[test]
fn a_refused_handshake_tells_the_alert() {
    let facts = facts(REFUSED);
    assert_eq!((facts.alert, facts.version), (Some(70), 0));
    assert_eq!(facts.sni, "api.example.test");
}

#[test]
fn hellos_of_gnutls_and_of_a_resumed_session_are_read() {
    let gnutls = facts(GNUTLS);
    assert_eq!((gnutls.sni.as_str(), gnutls.version), ("api.example.test", 0x0304));
    let all = segments(RESUMED);
    let second =
        all.iter().rposition(|(direction, bytes)| *direction == ToServer && begins_with_client_hello(bytes));
    let (resumed, settled) = inspect(&all[second.unwrap()..], true).unwrap();
    assert!(settled);
    assert_eq!((resumed.sni.as_str(), resumed.version), ("", 0x0303));
    assert!(resumed.ja4.starts_with("t12i"));
}

#[test]
fn a_connection_joined_in_its_middle_is_tls_without_facts() {
    let all = segments(TLS13);
    let (facts, settled) = inspect(&all[all.len() - 2..], false).unwrap();
    assert!(settled);
    assert_eq!(facts, TlsHandshake::default());
}

#[test]
fn what_is_no_tls_is_not_taken_for_it() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01",
        b"\x16\x03\x01\xff\xff\x01\x00\x00",
        b"\x16\x03\x01\x00\x00\x01\x00\x00",
        b"\x16\x02\x01\x00\x10\x01\x00\x00",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"",
    ] {
        assert!(inspect(&[(ToServer, bytes.to_vec())], true).is_none(), "{bytes:?}");
    }
    assert!(!begins_with_client_hello(b"220 mail ready\r\n"));
}

#[test]
fn an_endless_hello_is_given_up() {
    let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    hello.resize(16_389, 0);
    let record = hello.clone();
    let mut session = Session::new(Carrier::Stream, 443, true);
    let (limits, mut out) = (Limits::default(), Vec::new());
    for _ in 0..10 {
        session.feed(ToServer, Input::Bytes(&record), Timestamp(1), &limits, &mut out);
        assert!(session.buffered() <= limits::tls::HELLO);
    }
    assert_eq!(session.handshake().unwrap().0, &TlsHandshake::default());
}

#[test]
fn lost_bytes_inside_encrypted_records_do_no_harm_and_others_end_the_reading() {
    let all = segments(TLS12);
    let (limits, mut out) = (Limits::default(), Vec::new());
    let mut session = Session::new(Carrier::Stream, 443, true);
    let (direction, hello) = &all[0];
    session.feed(*direction, Input::Bytes(hello), Timestamp(1), &limits, &mut out);
    session.feed(ToClient, Input::Gap(100), Timestamp(1), &limits, &mut out);
    let (facts, settled) = session.handshake().unwrap();
    assert!(settled);
    assert_eq!((facts.sni.as_str(), facts.version), ("api.example.test", 0));
}

proptest! {
    #[test]
    fn no_split_changes_what_is_read(
        which in 0..5_usize,
        sizes in proptest::collection::vec(1..200_usize, 1..40),
    ) {
        let recording = [TLS13, TLS12, RETRY, REFUSED, GNUTLS][which];
        let mut sizes = sizes.into_iter().cycle();
        let mut pieces = Vec::new();
        for (direction, bytes) in segments(recording) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                pieces.push((direction, piece.to_vec()));
                rest = more;
            }
        }
        prop_assert_eq!(inspect(&pieces, true).unwrap().0, facts(recording));
    }

    #[test]
    fn damaged_recordings_and_any_bytes_stay_within_bounds(
        which in 0..5_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        noise in proptest::collection::vec((any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
        from_start in any::<bool>(),
    ) {
        let mut pieces = segments([TLS13, TLS12, RETRY, REFUSED, GNUTLS][which]);
        for (at, value) in changes {
            let (_, bytes) = at.get_mut(&mut pieces[..]);
            let len = bytes.len();
            bytes[usize::from(value) * 7 % len] ^= value;
        }
        pieces.extend(noise.iter().map(|(up, _, bytes)| (if *up { ToServer } else { ToClient }, bytes.clone())));
        let mut session = Session::new(Carrier::Stream, 443, from_start);
        let (limits, mut out) = (Limits::default(), Vec::new());
        for (index, (direction, bytes)) in pieces.iter().enumerate() {
            session.feed(*direction, Input::Bytes(bytes), Timestamp(1), &limits, &mut out);
            if noise.get(index).is_some_and(|(_, gap, _)| *gap) {
                session.feed(*direction, Input::Gap(index as u64 * 50), Timestamp(1), &limits, &mut out);
            }
            prop_assert!(session.buffered() <= 2 * (limits.max_head + limits.max_detect + bytes.len()));
        }
        session.close(End::Closed, Timestamp(2), &limits, &mut out);
    }
}
