//! Header parsing on good, cut and hostile packets.

use proptest::prelude::*;

use super::*;
use crate::testing::{ACK, SYN, Tcp, addr, ip, udp};

fn parse(data: &[u8]) -> Result<Headers, HeaderError> {
    Headers::parse(data, data.len() as u32)
}

#[test]
fn tcp_over_ipv4_gives_tuple_flags_and_payload() {
    let data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"hello").bytes();
    let headers = parse(&data).unwrap();
    assert_eq!((headers.tuple.src, headers.tuple.dst), (addr("10.0.0.1:4000"), addr("10.0.0.2:80")));
    let tcp = headers.tcp().unwrap();
    assert_eq!((tcp.seq, tcp.ack, tcp.flags, tcp.window), (SeqNumber(7), SeqNumber(9), ACK, 512));
    assert_eq!(headers.payload(&data), b"hello");
    assert_eq!(headers.payload_len_on_wire, 5);
}

#[test]
fn syn_options_are_read() {
    let mut segment = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 0, SYN, b"");
    segment.tsval = Some(77);
    let headers = parse(&segment.bytes()).unwrap();
    let options = headers.tcp().unwrap().options;
    assert_eq!(options.mss, Some(1460));
    assert_eq!(options.window_scale, Some(7));
    assert!(options.sack_permitted);
    assert_eq!(options.timestamps, Some((77, 0)));
}

#[test]
fn truncated_capture_keeps_the_length_on_the_wire() {
    let data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, &[b'x'; 100]).bytes();
    let headers = Headers::parse(&data[..60], data.len() as u32).unwrap();
    assert_eq!((headers.payload_captured, headers.payload_len_on_wire), (20, 100));
}

#[test]
fn super_packet_beyond_the_length_field_uses_the_kernels_length() {
    let mut data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, &vec![b'x'; 70_000]).bytes();
    assert_eq!(parse(&data).unwrap().payload_len_on_wire, 70_000);
    data[2..4].fill(0);
    assert_eq!(parse(&data).unwrap().payload_len_on_wire, 70_000);
    let jumbo = Tcp::new("[fd00::1]:4000", "[fd00::2]:80", 7, 9, ACK, &vec![b'x'; 70_000]).bytes();
    assert_eq!(parse(&jumbo).unwrap().payload_len_on_wire, 70_000);
}

#[test]
fn zero_length_field_of_a_small_packet_uses_the_captured_length() {
    let mut data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"hello").bytes();
    data[2..4].fill(0);
    assert_eq!(parse(&data).unwrap().payload(&data), b"hello");
}

#[test]
fn padding_behind_the_packet_is_not_payload() {
    let mut data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"hi").bytes();
    data.extend([0; 4]);
    assert_eq!(parse(&data).unwrap().payload(&data), b"hi");
}

#[test]
fn ipv4_options_are_skipped() {
    let plain = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"hi").bytes();
    let mut data = plain[..20].to_vec();
    data[0] = 0x46;
    data[2..4].copy_from_slice(&((plain.len() + 4) as u16).to_be_bytes());
    data.extend([1, 1, 1, 0]);
    data.extend(&plain[20..]);
    assert_eq!(parse(&data).unwrap().payload(&data), b"hi");
}

#[test]
fn later_fragments_are_named_and_first_ones_are_read() {
    let mut data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"hi").bytes();
    data[6..8].copy_from_slice(&0x2000_u16.to_be_bytes());
    assert!(parse(&data).is_ok());
    data[6..8].copy_from_slice(&0x2001_u16.to_be_bytes());
    assert_eq!(parse(&data), Err(HeaderError::Fragment));
    assert_eq!(HeaderError::Fragment.drop_reason(), DropReason::Fragment);
}

#[test]
fn ipv6_extension_headers_are_followed_up_to_a_bound() {
    let plain = Tcp::new("[fd00::1]:4000", "[fd00::2]:80", 7, 9, ACK, b"hi").bytes();
    let with = |count: usize| {
        let mut body: Vec<u8> = Vec::new();
        for index in 0..count {
            let next = if index + 1 == count { 6 } else { 60 };
            body.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        body.extend(&plain[40..]);
        ip("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), 60, &body)
    };
    let data = with(3);
    let headers = parse(&data).unwrap();
    assert_eq!(headers.tuple.dst, addr("[fd00::2]:80"));
    assert_eq!(headers.payload(&data), b"hi");
    assert!(parse(&with(MAX_EXTENSION_HEADERS)).is_ok());
    assert!(parse(&with(MAX_EXTENSION_HEADERS + 1)).is_err());
}

#[test]
fn udp_icmp_and_unknown_protocols_are_flows_too() {
    let data = udp("10.0.0.1:4000", "10.0.0.2:53", b"query");
    let headers = parse(&data).unwrap();
    assert_eq!((headers.transport, headers.payload(&data)), (Transport::Udp, &b"query"[..]));
    let ping = ip("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 1, &[8, 0, 0, 0, 1, 2]);
    assert_eq!(parse(&ping).unwrap().transport, Transport::Icmp { kind: 8, code: 0 });
    let other = ip("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 89, b"ospf");
    assert_eq!(parse(&other).unwrap().transport, Transport::Other);
}

#[test]
fn mapped_addresses_become_ipv4() {
    let data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"").bytes();
    let source: std::net::Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
    let target: std::net::Ipv6Addr = "::ffff:10.0.0.2".parse().unwrap();
    let mapped = ip(source.into(), target.into(), 6, &data[20..]);
    assert_eq!(parse(&mapped).unwrap().tuple, parse(&data).unwrap().tuple);
}

#[test]
fn broken_headers_are_errors() {
    assert!(parse(&[]).is_err());
    assert_eq!(parse(&[0x10; 40]), Err(HeaderError::NotIp(1)));
    let mut data = Tcp::new("10.0.0.1:4000", "10.0.0.2:80", 7, 9, ACK, b"").bytes();
    data[32] = 0xf0;
    assert_eq!(parse(&data), Err(HeaderError::Broken("TCP")));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut data in proptest::collection::vec(any::<u8>(), 0..200),
                                     six in any::<bool>(), wire_len in any::<u32>()) {
        if let Some(first) = data.first_mut() {
            *first = if six { 0x60 } else { 0x45 };
        }
        if let Ok(headers) = Headers::parse(&data, wire_len) {
            prop_assert!(headers.payload_offset as usize + headers.payload_captured as usize <= data.len());
            prop_assert!(headers.payload_len_on_wire >= headers.payload_captured);
            prop_assert_eq!(headers.payload(&data).len(), headers.payload_captured as usize);
        }
    }
}
