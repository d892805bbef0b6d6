//! Turns events of `tls_ring` into records.

use std::mem::{offset_of, size_of};

use super::abi::{Blocks, FromBytes, read, read_at};
use super::generated::tls::types::{
    scope_executable, tls_counter, tls_counters, tls_event, tls_event_kind, tls_evidence, tls_family,
    tls_flag, tls_secret,
};
use crate::capture::clock::Clock;
use crate::engine::model::{
    Hook, ProcessKey, Record, SocketCookie, TlsChunk, TlsEvent, TlsLibrary, TlsSecret, TlsSession, TlsWitness,
};

const _: () = {
    assert!(size_of::<tls_event>() == 72);
    assert!(size_of::<tls_secret>() == 208);
    assert!(size_of::<scope_executable>() == 16);
    assert!(size_of::<tls_counters>() == 8 * tls_counter::NR_TLS_COUNTERS.0 as usize);
};

/// Decodes events of `tls_ring`.
#[derive(Debug, Default)]
pub(in crate::capture) struct TlsDecoder {
    blocks: Blocks,
}

impl TlsDecoder {
    /// What an event says; `None` if it is malformed. The library is the one that gave its interface
    /// the name.
    pub(in crate::capture) fn decode(&mut self, bytes: &[u8], clock: &Clock) -> Option<Record> {
        if read!(bytes, tls_event, kind) == tls_event_kind::TLS_SECRET.0 {
            return secret(bytes, clock).map(Record::Secret);
        }
        self.event(bytes, clock).map(Record::Tls)
    }

    fn event(&mut self, bytes: &[u8], clock: &Clock) -> Option<TlsEvent> {
        let at = clock.timestamp(read!(bytes, tls_event, ktime));
        let session = TlsSession {
            process: ProcessKey {
                pid: read!(bytes, tls_event, tgid),
                started: read!(bytes, tls_event, started),
            },
            handle: read!(bytes, tls_event, handle),
            generation: read!(bytes, tls_event, generation),
        };
        Some(match tls_event_kind(read!(bytes, tls_event, kind)) {
            tls_event_kind::TLS_DATA => {
                let cap_len = read!(bytes, tls_event, cap_len) as usize;
                let data = bytes.get(size_of::<tls_event>()..)?.get(..cap_len)?;
                let flags = read!(bytes, tls_event, flags);
                let has = |flag: tls_flag| flags & flag.0 != 0;
                TlsEvent::Data(TlsChunk {
                    at,
                    session,
                    library: library(read!(bytes, tls_event, family))?,
                    hook: if has(tls_flag::TLS_WRITTEN) { Hook::Egress } else { Hook::Ingress },
                    offset: read!(bytes, tls_event, offset),
                    from_start: has(tls_flag::TLS_FROM_START),
                    socket: socket(bytes)?,
                    data: self.blocks.copy(data),
                })
            }
            tls_event_kind::TLS_BOUND => {
                let (cookie, witness) = socket(bytes)??;
                TlsEvent::Bound { at, session, cookie, witness }
            }
            tls_event_kind::TLS_CLOSED => TlsEvent::Closed { at, session },
            _ => return None,
        })
    }
}

fn secret(bytes: &[u8], clock: &Clock) -> Option<TlsSecret> {
    let at = clock.timestamp(read!(bytes, tls_event, ktime));
    let part = |offset: usize, len: usize| bytes.get(offset..offset.checked_add(len)?);
    let label = part(offset_of!(tls_secret, label), size_of_val(&tls_secret::default().label))?;
    let label = label.split(|byte| *byte == 0).next()?;
    let random = part(offset_of!(tls_secret, client_random), 32)?.try_into().ok()?;
    let len = read!(bytes, tls_event, cap_len) as usize;
    let secret = part(offset_of!(tls_secret, secret), len.min(TlsSecret::MAX_BYTES))?;
    TlsSecret::new(at, label, random, secret)
}

fn library(family: u32) -> Option<TlsLibrary> {
    Some(match tls_family(family) {
        tls_family::TLS_OPENSSL => TlsLibrary::OpenSsl,
        tls_family::TLS_GNUTLS => TlsLibrary::GnuTls,
        tls_family::TLS_NSPR => TlsLibrary::Nss,
        tls_family::TLS_GO => TlsLibrary::Go,
        tls_family::TLS_RUSTLS => TlsLibrary::Rustls,
        _ => return None,
    })
}

/// The outer `None`: malformed.
#[allow(clippy::option_option, reason = "the inner one is a fact, the outer one an error")]
fn socket(bytes: &[u8]) -> Option<Option<(SocketCookie, TlsWitness)>> {
    let witness = match tls_evidence(read!(bytes, tls_event, evidence)) {
        tls_evidence::TLS_NO_EVIDENCE => return Some(None),
        tls_evidence::TLS_NEARBY_TRANSFER => TlsWitness::NearbyTransfer,
        tls_evidence::TLS_DESCRIPTOR => TlsWitness::Descriptor,
        tls_evidence::TLS_IN_CALL => TlsWitness::InCall,
        _ => return None,
    };
    Some(Some((SocketCookie(read!(bytes, tls_event, cookie)), witness)))
}

/// Sums of the counters over all CPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::capture) struct TlsCounts {
    pub(in crate::capture) calls: u64,
    pub(in crate::capture) bytes: u64,
    pub(in crate::capture) chunks: u64,
    pub(in crate::capture) ring_full: u64,
    pub(in crate::capture) unreadable: u64,
    pub(in crate::capture) over_budget: u64,
    pub(in crate::capture) disagreed: u64,
}

/// Sums per-CPU values of `tls_counters`.
pub(in crate::capture) fn tls_counts(per_cpu: &[Vec<u8>]) -> TlsCounts {
    let sum = |counter: tls_counter| {
        let offset = counter.0 as usize * size_of::<u64>();
        let value = |cpu: &Vec<u8>| cpu.get(offset..).and_then(u64::from_bytes).unwrap_or(0);
        per_cpu.iter().map(value).sum()
    };
    TlsCounts {
        calls: sum(tls_counter::TLS_CALLS),
        bytes: sum(tls_counter::TLS_BYTES),
        chunks: sum(tls_counter::TLS_CHUNKS),
        ring_full: sum(tls_counter::TLS_RING_FULL),
        unreadable: sum(tls_counter::TLS_UNREADABLE),
        over_budget: sum(tls_counter::TLS_OVER_BUDGET),
        disagreed: sum(tls_counter::TLS_DISAGREED),
    }
}

/// Key of a file in `scope_executables`, by major and minor number of its device, and inode.
pub(in crate::capture) fn scope_executable_key((major, minor): (u64, u64), inode: u64) -> Vec<u8> {
    // As the kernel keeps it: twelve bits and twenty.
    let device = (major as u32) << 20 | (minor as u32 & 0xf_ffff);
    let mut key = vec![0; size_of::<scope_executable>()];
    let mut put = |at: usize, bytes: &[u8]| key[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset_of!(scope_executable, inode), &inode.to_ne_bytes());
    put(offset_of!(scope_executable, device), &device.to_ne_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: tls_event_kind, evidence: tls_evidence, cap_len: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0_u8; size_of::<tls_event>()];
        let mut put =
            |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        put(offset_of!(tls_event, kind), kind.0);
        put(offset_of!(tls_event, family), tls_family::TLS_OPENSSL.0);
        put(offset_of!(tls_event, evidence), evidence.0);
        put(offset_of!(tls_event, flags), tls_flag::TLS_WRITTEN.0 | tls_flag::TLS_FROM_START.0);
        put(offset_of!(tls_event, cap_len), cap_len);
        put(offset_of!(tls_event, cookie), 7);
        put(offset_of!(tls_event, offset), 100);
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn a_chunk_has_its_bytes_its_place_and_its_witness() {
        let bytes = event(tls_event_kind::TLS_DATA, tls_evidence::TLS_IN_CALL, 3, b"abc and room");
        let Some(Record::Tls(TlsEvent::Data(chunk))) = TlsDecoder::default().decode(&bytes, &Clock::fixed(0))
        else {
            panic!("a chunk")
        };
        assert_eq!((chunk.data.as_ref(), chunk.offset, chunk.hook), (&b"abc"[..], 100, Hook::Egress));
        assert_eq!(chunk.socket, Some((SocketCookie(7), TlsWitness::InCall)));
        assert!(chunk.from_start);
    }

    #[test]
    fn a_secret_has_its_name_its_connection_and_its_bytes() {
        let mut rest = [0_u8; 40].to_vec();
        rest[..13].copy_from_slice(b"CLIENT_RANDOM");
        rest.extend([5; 32]);
        rest.extend([7; 64]);
        let bytes = event(tls_event_kind::TLS_SECRET, tls_evidence::TLS_NO_EVIDENCE, 48, &rest);
        let Some(Record::Secret(secret)) = TlsDecoder::default().decode(&bytes, &Clock::fixed(0)) else {
            panic!("a secret")
        };
        assert_eq!((secret.label, secret.client_random), ("CLIENT_RANDOM", [5; 32]));
        assert_eq!(secret.secret.as_ref(), [7; 48]);
        for end in 0..bytes.len() - 16 {
            assert!(TlsDecoder::default().decode(&bytes[..end], &Clock::fixed(0)).is_none(), "cut at {end}");
        }
        let nameless = event(tls_event_kind::TLS_SECRET, tls_evidence::TLS_NO_EVIDENCE, 48, &[1; 136]);
        assert!(TlsDecoder::default().decode(&nameless, &Clock::fixed(0)).is_none());
    }

    #[test]
    fn every_cut_of_an_event_is_refused_without_a_panic() {
        let whole = event(tls_event_kind::TLS_DATA, tls_evidence::TLS_NO_EVIDENCE, 3, b"abc");
        for end in 0..whole.len() {
            assert!(TlsDecoder::default().decode(&whole[..end], &Clock::fixed(0)).is_none(), "cut at {end}");
        }
        let bound = event(tls_event_kind::TLS_BOUND, tls_evidence::TLS_NO_EVIDENCE, 0, b"");
        assert!(TlsDecoder::default().decode(&bound, &Clock::fixed(0)).is_none(), "bound to nothing");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), kind in 0_u32..5) {
            let mut event = kind.to_ne_bytes().to_vec();
            event.extend_from_slice(&bytes);
            if let Some(Record::Tls(TlsEvent::Data(chunk))) = TlsDecoder::default().decode(&event, &Clock::fixed(0)) {
                assert!(chunk.data.len() + size_of::<tls_event>() <= event.len());
            }
        }
    }
}
