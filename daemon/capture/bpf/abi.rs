//! Turns bytes from the kernel into records; knows no map, no thread and no libbpf call.
//!
//! Field types and offsets come from the types that the build generates out of `bpf/abi/*.h`, so
//! the two sides cannot differ: a renamed or resized field does not compile.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use compact_str::CompactString;

use super::generated::{
    packet::types::{
        own_mark, packet_counter, packet_counters, packet_hook, packet_record, scope_list, scope_network4,
        scope_network6, scope_verdict,
    },
    socket::types::{
        socket_counter, socket_counters, socket_destroyed_event, socket_event_kind, socket_evidence,
        socket_exec_event, socket_exit_event, socket_owner_event, socket_state_event,
    },
};
use crate::capture::clock::Clock;
use crate::engine::model::{
    AddrPort, Hook, OwnerEvidence, Packet, ProcessEvent, ProcessKey, Record, SocketCookie, SocketEvent,
    SocketTuple, TcpState,
};

const _: () = {
    assert!(size_of::<packet_record>() == 72);
    assert!(size_of::<packet_counters>() == 8 * packet_counter::NR_PACKET_COUNTERS.0 as usize);
    assert!(size_of::<scope_network4>() == 8);
    assert!(size_of::<scope_network6>() == 20);
    assert!(size_of::<socket_owner_event>() == 72);
    assert!(size_of::<socket_state_event>() == 72);
    assert!(size_of::<socket_destroyed_event>() == 24);
    assert!(size_of::<socket_exec_event>() == 312);
    assert!(size_of::<socket_exit_event>() == 24);
    assert!(size_of::<socket_counters>() == 8 * socket_counter::NR_SOCKET_COUNTERS.0 as usize);
};

/// `AF_INET` and `AF_INET6` of Linux.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A scalar or byte array that can be read from any address.
pub(super) trait FromBytes: Sized {
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! scalar_from_bytes {
    ($($scalar:ty),*) => {$(
        impl FromBytes for $scalar {
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_ne_bytes(*bytes.first_chunk()?))
            }
        }
    )*};
}

scalar_from_bytes!(u8, u16, u32, u64);

impl<const N: usize> FromBytes for [u8; N] {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied()
    }
}

/// Reads a field at its offset; `_type` only names the field's type.
pub(super) fn read_at<T, F: FromBytes>(bytes: &[u8], offset: usize, _type: fn(&T) -> &F) -> Option<F> {
    F::from_bytes(bytes.get(offset..)?)
}

macro_rules! read {
    ($bytes:expr, $struct:ty, $field:ident) => {
        read_at($bytes, offset_of!($struct, $field), |it: &$struct| &it.$field)?
    };
}
pub(super) use read;

fn addr(family: u16, ip: [u8; 16], port: u16) -> Option<AddrPort> {
    match family {
        AF_INET => Some(AddrPort::new(IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])), port)),
        AF_INET6 => Some(AddrPort::new(IpAddr::V6(Ipv6Addr::from(ip)), port)),
        _ => None,
    }
}

/// Text up to the first NUL; what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> CompactString {
    let end = memchr_nul(bytes);
    CompactString::from_utf8_lossy(&bytes[..end])
}

fn memchr_nul(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())
}

/// Memory that packets are copied into: one allocation holds many packets.
#[derive(Debug, Default)]
pub(in crate::capture) struct Blocks {
    block: BytesMut,
}

impl Blocks {
    /// Bytes per block: hundreds of small packets per allocation, and yet a packet that somebody
    /// keeps does not hold much more than itself.
    const BLOCK: usize = 64 << 10;

    pub(super) fn copy(&mut self, data: &[u8]) -> Bytes {
        if data.len() > self.block.capacity() {
            self.block = BytesMut::with_capacity(data.len().max(Self::BLOCK));
        }
        self.block.extend_from_slice(data);
        self.block.split().freeze()
    }
}

/// Decodes records of `packet_ring`.
#[derive(Debug, Default)]
pub(in crate::capture) struct PacketDecoder {
    blocks: Blocks,
}

impl PacketDecoder {
    /// The packet in a record; `None` if the record is malformed.
    pub(in crate::capture) fn decode(&mut self, bytes: &[u8], clock: &Clock) -> Option<Packet> {
        let cap_len = read!(bytes, packet_record, cap_len) as usize;
        let data = bytes.get(size_of::<packet_record>()..)?.get(..cap_len)?;
        let family = read!(bytes, packet_record, family);
        let local =
            addr(family, read!(bytes, packet_record, local_ip), read!(bytes, packet_record, local_port));
        let remote =
            addr(family, read!(bytes, packet_record, remote_ip), read!(bytes, packet_record, remote_port));
        Some(Packet {
            at: clock.timestamp(read!(bytes, packet_record, ktime)),
            cookie: SocketCookie(read!(bytes, packet_record, cookie)),
            hook: match packet_hook(u32::from(read!(bytes, packet_record, hook))) {
                packet_hook::PACKET_INGRESS => Hook::Ingress,
                packet_hook::PACKET_EGRESS => Hook::Egress,
                _ => return None,
            },
            ifindex: read!(bytes, packet_record, ifindex),
            socket: local.zip(remote).map(|(local, remote)| SocketTuple { local, remote }),
            wire_len: read!(bytes, packet_record, wire_len),
            data: self.blocks.copy(data),
        })
    }
}

/// The record in an event of `socket_ring` or of the start-up iterator, and the bytes that it takes;
/// `None` if the event is malformed.
pub(in crate::capture) fn socket_record(bytes: &[u8], clock: &Clock) -> Option<(Record, usize)> {
    Some(match socket_event_kind(u32::from_bytes(bytes)?) {
        socket_event_kind::SOCKET_OWNER => {
            (Record::Socket(owner(bytes, clock)?), size_of::<socket_owner_event>())
        }
        socket_event_kind::SOCKET_STATE => {
            (Record::Socket(state(bytes, clock)?), size_of::<socket_state_event>())
        }
        socket_event_kind::SOCKET_DESTROYED => {
            (Record::Socket(destroyed(bytes, clock)?), size_of::<socket_destroyed_event>())
        }
        socket_event_kind::SOCKET_EXEC => {
            (Record::Process(exec(bytes, clock)?), size_of::<socket_exec_event>())
        }
        socket_event_kind::SOCKET_EXIT => {
            (Record::Process(exit(bytes, clock)?), size_of::<socket_exit_event>())
        }
        _ => return None,
    })
}

fn owner(bytes: &[u8], clock: &Clock) -> Option<SocketEvent> {
    Some(SocketEvent::Owner {
        at: clock.timestamp(read!(bytes, socket_owner_event, ktime)),
        cookie: SocketCookie(read!(bytes, socket_owner_event, cookie)),
        process: ProcessKey {
            pid: read!(bytes, socket_owner_event, tgid),
            started: read!(bytes, socket_owner_event, started),
        },
        ppid: read!(bytes, socket_owner_event, ppid),
        uid: Some(read!(bytes, socket_owner_event, uid)),
        name: text(&read!(bytes, socket_owner_event, comm)),
        cgroup_id: read!(bytes, socket_owner_event, cgroup_id),
        netns: read!(bytes, socket_owner_event, netns),
        evidence: match socket_evidence(read!(bytes, socket_owner_event, evidence)) {
            socket_evidence::EVIDENCE_CREATE => OwnerEvidence::Create,
            socket_evidence::EVIDENCE_FILE_TABLE => OwnerEvidence::FileTable,
            socket_evidence::EVIDENCE_CONNECT => OwnerEvidence::Connect,
            socket_evidence::EVIDENCE_ACCEPT => OwnerEvidence::Accept,
            socket_evidence::EVIDENCE_DATA => OwnerEvidence::DataTransfer,
            _ => return None,
        },
    })
}

fn state(bytes: &[u8], clock: &Clock) -> Option<SocketEvent> {
    let family = read!(bytes, socket_state_event, family);
    Some(SocketEvent::State {
        at: clock.timestamp(read!(bytes, socket_state_event, ktime)),
        cookie: SocketCookie(read!(bytes, socket_state_event, cookie)),
        tuple: SocketTuple {
            local: addr(
                family,
                read!(bytes, socket_state_event, local_ip),
                read!(bytes, socket_state_event, local_port),
            )?,
            remote: addr(
                family,
                read!(bytes, socket_state_event, remote_ip),
                read!(bytes, socket_state_event, remote_port),
            )?,
        },
        netns: read!(bytes, socket_state_event, netns),
        state: TcpState(u8::try_from(read!(bytes, socket_state_event, state)).ok()?),
    })
}

fn destroyed(bytes: &[u8], clock: &Clock) -> Option<SocketEvent> {
    Some(SocketEvent::Destroyed {
        at: clock.timestamp(read!(bytes, socket_destroyed_event, ktime)),
        cookie: SocketCookie(read!(bytes, socket_destroyed_event, cookie)),
    })
}

fn exec(bytes: &[u8], clock: &Clock) -> Option<ProcessEvent> {
    Some(ProcessEvent::Exec {
        at: clock.timestamp(read!(bytes, socket_exec_event, ktime)),
        process: ProcessKey {
            pid: read!(bytes, socket_exec_event, tgid),
            started: read!(bytes, socket_exec_event, started),
        },
        ppid: read!(bytes, socket_exec_event, ppid),
        uid: Some(read!(bytes, socket_exec_event, uid)),
        name: text(&read!(bytes, socket_exec_event, comm)),
        cgroup_id: read!(bytes, socket_exec_event, cgroup_id),
        path: text(&read!(bytes, socket_exec_event, path)),
    })
}

fn exit(bytes: &[u8], clock: &Clock) -> Option<ProcessEvent> {
    Some(ProcessEvent::Exit {
        at: clock.timestamp(read!(bytes, socket_exit_event, ktime)),
        process: ProcessKey {
            pid: read!(bytes, socket_exit_event, tgid),
            started: read!(bytes, socket_exit_event, started),
        },
    })
}

/// Sums of the packet counters over all CPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::capture) struct PacketCounts {
    pub(in crate::capture) seen: u64,
    pub(in crate::capture) bytes: u64,
    pub(in crate::capture) captured: u64,
    pub(in crate::capture) truncated: u64,
    pub(in crate::capture) ring_full: u64,
    pub(in crate::capture) unreadable: u64,
    pub(in crate::capture) not_ip: u64,
    pub(in crate::capture) excluded_own: u64,
    pub(in crate::capture) excluded_scope: u64,
}

/// Sum of the `index`-th u64 over all CPUs' values.
fn sum(per_cpu: &[Vec<u8>], index: u32) -> u64 {
    per_cpu.iter().filter_map(|value| u64::from_bytes(value.get(index as usize * 8..)?)).sum()
}

/// Reads the value of `packet_counters`.
pub(in crate::capture) fn packet_counts(per_cpu: &[Vec<u8>]) -> PacketCounts {
    let of = |counter: packet_counter| sum(per_cpu, counter.0);
    PacketCounts {
        seen: of(packet_counter::PACKET_SEEN),
        bytes: of(packet_counter::PACKET_BYTES),
        captured: of(packet_counter::PACKET_CAPTURED),
        truncated: of(packet_counter::PACKET_TRUNCATED),
        ring_full: of(packet_counter::PACKET_RING_FULL),
        unreadable: of(packet_counter::PACKET_UNREADABLE),
        not_ip: of(packet_counter::PACKET_NOT_IP),
        excluded_own: of(packet_counter::PACKET_EXCLUDED_OWN),
        excluded_scope: of(packet_counter::PACKET_EXCLUDED_SCOPE),
    }
}

/// Reads the value of `socket_counters`: events sent, events lost.
pub(in crate::capture) fn socket_counts(per_cpu: &[Vec<u8>]) -> (u64, u64) {
    (sum(per_cpu, socket_counter::SOCKET_EVENTS.0), sum(per_cpu, socket_counter::SOCKET_RING_FULL.0))
}

/// Values that the scope maps and `own_sockets` hold.
pub(in crate::capture) mod scope_bits {
    use super::{own_mark, scope_list, scope_verdict};

    pub(in crate::capture) const INCLUDE: u32 = scope_verdict::SCOPE_INCLUDE.0;
    pub(in crate::capture) const EXCLUDE: u32 = scope_verdict::SCOPE_EXCLUDE.0;
    pub(in crate::capture) const INCLUDE_CGROUPS: u32 = scope_list::SCOPE_INCLUDE_CGROUPS.0;
    pub(in crate::capture) const INCLUDE_PORTS: u32 = scope_list::SCOPE_INCLUDE_PORTS.0;
    pub(in crate::capture) const INCLUDE_NETWORKS: u32 = scope_list::SCOPE_INCLUDE_NETWORKS.0;
    pub(in crate::capture) const EXCLUDE_CGROUPS: u32 = scope_list::SCOPE_EXCLUDE_CGROUPS.0;
    pub(in crate::capture) const EXCLUDE_PORTS: u32 = scope_list::SCOPE_EXCLUDE_PORTS.0;
    pub(in crate::capture) const EXCLUDE_NETWORKS: u32 = scope_list::SCOPE_EXCLUDE_NETWORKS.0;
    pub(in crate::capture) const INCLUDE_USERS: u32 = scope_list::SCOPE_INCLUDE_USERS.0;
    pub(in crate::capture) const INCLUDE_EXECUTABLES: u32 = scope_list::SCOPE_INCLUDE_EXECUTABLES.0;
    pub(in crate::capture) const EXCLUDE_USERS: u32 = scope_list::SCOPE_EXCLUDE_USERS.0;
    pub(in crate::capture) const EXCLUDE_EXECUTABLES: u32 = scope_list::SCOPE_EXCLUDE_EXECUTABLES.0;
    pub(in crate::capture) const OWN_ALWAYS: u32 = own_mark::OWN_ALWAYS.0;
}

/// Key of a network in `scope_networks4` or `scope_networks6`.
pub(in crate::capture) fn scope_network_key(ip: IpAddr, prefix: u8) -> Vec<u8> {
    let mut key = u32::from(prefix).to_ne_bytes().to_vec();
    match ip {
        IpAddr::V4(ip) => key.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => key.extend_from_slice(&ip.octets()),
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_bytes(cap_len: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0_u8; size_of::<packet_record>()];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(offset_of!(packet_record, ktime), &1_000_u64.to_ne_bytes());
        put(offset_of!(packet_record, cookie), &7_u64.to_ne_bytes());
        put(offset_of!(packet_record, cap_len), &cap_len.to_ne_bytes());
        put(offset_of!(packet_record, wire_len), &cap_len.to_ne_bytes());
        put(offset_of!(packet_record, family), &AF_INET.to_ne_bytes());
        put(offset_of!(packet_record, local_port), &80_u16.to_ne_bytes());
        put(offset_of!(packet_record, hook), &[1]);
        put(offset_of!(packet_record, local_ip), &[127, 0, 0, 1]);
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn a_packet_record_decodes_and_ignores_the_unused_tail_of_its_class() {
        let packet = PacketDecoder::default()
            .decode(&packet_bytes(3, b"abc-rest-of-the-class"), &Clock::fixed(10))
            .expect("well formed");
        assert_eq!(packet.data.as_ref(), b"abc");
        assert_eq!(packet.at.nanos(), 1_010);
        assert_eq!(packet.cookie, SocketCookie(7));
        assert_eq!(packet.hook, Hook::Egress);
        assert_eq!(packet.socket.expect("inet").local.to_string(), "127.0.0.1:80");
    }

    #[test]
    fn every_cut_of_a_record_is_refused_without_a_panic() {
        let whole = packet_bytes(3, b"abc");
        for end in 0..whole.len() {
            assert!(
                PacketDecoder::default().decode(&whole[..end], &Clock::fixed(0)).is_none(),
                "cut at {end}"
            );
        }
        let event = vec![1_u8; size_of::<socket_exec_event>()];
        for kind in 0_u32..8 {
            for end in 0..event.len() {
                let mut cut = event[..end].to_vec();
                cut.splice(..end.min(4), kind.to_ne_bytes().into_iter().take(end.min(4)));
                if let Some((_, size)) = socket_record(&cut, &Clock::fixed(0)) {
                    assert!(size <= end, "kind {kind} took {size} of {end}");
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), kind in 0_u32..8) {
            let clock = Clock::fixed(0);
            if let Some(packet) = PacketDecoder::default().decode(&bytes, &clock) {
                assert!(packet.data.len() + size_of::<packet_record>() <= bytes.len());
            }
            let mut event = kind.to_ne_bytes().to_vec();
            event.extend_from_slice(&bytes);
            if let Some((_, size)) = socket_record(&event, &clock) {
                assert!(size <= event.len());
            }
        }
    }

    #[test]
    fn a_capture_length_beyond_the_record_is_malformed() {
        assert!(PacketDecoder::default().decode(&packet_bytes(4, b"abc"), &Clock::fixed(0)).is_none());
        assert!(PacketDecoder::default().decode(&packet_bytes(u32::MAX, b"abc"), &Clock::fixed(0)).is_none());
    }

    #[test]
    fn small_packets_share_one_block() {
        let mut blocks = Blocks::default();
        let (first, second) = (blocks.copy(b"one"), blocks.copy(b"two"));
        assert_eq!((first.as_ref(), second.as_ref()), (&b"one"[..], &b"two"[..]));
        assert_eq!(first.as_ptr() as usize + 3, second.as_ptr() as usize);
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mut ip = [0_u8; 16];
        ip[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(addr(AF_INET6, ip, 1).expect("inet6").to_string(), "10.0.0.1:1");
    }

    #[test]
    fn network_keys_have_the_layout_of_the_maps() {
        let key = scope_network_key("10.0.0.0".parse().expect("ip"), 8);
        assert_eq!(key.len(), size_of::<scope_network4>());
        assert_eq!(key[offset_of!(scope_network4, addr)..], [10, 0, 0, 0]);
        assert_eq!(scope_network_key("::1".parse().expect("ip"), 128).len(), size_of::<scope_network6>());
    }
}
