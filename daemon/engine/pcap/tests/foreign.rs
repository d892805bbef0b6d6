//! Files of other programs: byte orders, resolutions, link types, tunnels, fragments.

use super::super::{Item, Reader};
use super::items;
use crate::model::{Packet, Record, Timestamp};
use crate::testing::{ip, udp};
use crate::wire::Headers;

const CLIENT: &str = "10.0.0.1:1000";
const SERVER: &str = "10.0.0.2:53";

fn plain() -> Vec<u8> {
    udp(CLIENT, SERVER, b"question")
}

fn packets(file: &[u8]) -> Vec<Packet> {
    let (found, _, ended) = items(file, 100);
    assert_eq!(ended, Ok(()));
    found
        .into_iter()
        .filter_map(|item| if let Item::Record(Record::Packet(packet)) = item { Some(packet) } else { None })
        .collect()
}

/// A classic file of frames of one link type.
fn classic(link: u16, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_be_bytes().to_vec();
    file.extend([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
    file.extend(u32::from(link).to_be_bytes());
    for frame in frames {
        file.extend([0, 0, 0, 10, 0, 0, 0, 5]);
        file.extend((frame.len() as u32).to_be_bytes());
        file.extend((frame.len() as u32).to_be_bytes());
        file.extend(frame);
    }
    file
}

fn after(head: &[u8], rest: Vec<u8>) -> Vec<u8> {
    [head.to_vec(), rest].concat()
}

fn ethernet(kind: u16, rest: Vec<u8>) -> Vec<u8> {
    after(&[&[2; 12], &kind.to_be_bytes()[..]].concat(), rest)
}

#[test]
fn a_big_endian_file_with_microseconds_is_read() {
    let found = packets(&classic(101, &[plain()]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].at, Timestamp(10_000_005_000));
    assert_eq!(found[0].data, plain());
    assert!(!found[0].cookie.is_known());
}

#[test]
fn link_types_tags_and_tunnels_are_taken_off() {
    let ipv6 = udp("[fd00::1]:1", "[fd00::2]:2", b"x");
    let sll = |kind: u16| [vec![0; 14], kind.to_be_bytes().to_vec()].concat();
    let gre = |words: &[u8], rest: Vec<u8>| {
        ip([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 47, &after(words, rest))
    };
    let vxlan = after(&[8, 0, 0, 0, 0, 0, 5, 0], ethernet(0x0800, plain()));
    for (link, frame, packet) in [
        (1, ethernet(0x0800, plain()), plain()),
        (1, ethernet(0x8100, after(&[0, 5, 8, 0], plain())), plain()),
        (1, ethernet(0x88a8, after(&[0, 5, 0x81, 0, 0, 6, 0x86, 0xdd], ipv6.clone())), ipv6.clone()),
        (1, ethernet(0x8847, after(&[0, 1, 0x01, 64], plain())), plain()),
        (0, after(&[2, 0, 0, 0], plain()), plain()),
        (0, after(&[0, 0, 0, 30], ipv6.clone()), ipv6.clone()),
        (108, after(&[0, 0, 0, 2], plain()), plain()),
        (12, plain(), plain()),
        (228, plain(), plain()),
        (229, ipv6.clone(), ipv6.clone()),
        (113, after(&sll(0x0800), plain()), plain()),
        (113, after(&sll(0x8100), after(&[0, 5, 8, 0], plain())), plain()),
        (276, after(&[&[8, 0][..], &[0; 18]].concat(), plain()), plain()),
        (101, gre(&[0, 0, 8, 0], plain()), plain()),
        (101, gre(&[0x20, 0, 0x86, 0xdd, 0, 0, 0, 9], ipv6.clone()), ipv6.clone()),
        (101, gre(&[0, 0, 0x65, 0x58], ethernet(0x0800, plain())), plain()),
        (101, udp("192.0.2.1:9999", "192.0.2.2:4789", &vxlan), plain()),
        (101, ip([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 4, &plain()), plain()),
        (101, ip([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 41, &ipv6), ipv6.clone()),
    ] {
        let found = packets(&classic(link, std::slice::from_ref(&frame)));
        assert_eq!(found.len(), 1, "link type {link}: {frame:02x?}");
        assert_eq!(found[0].data, packet, "link type {link}");
        assert_eq!(found[0].wire_len as usize, packet.len());
    }
}

#[test]
fn what_is_no_ip_is_counted() {
    let file = classic(1, &[ethernet(0x0806, vec![0; 28]), ethernet(0x0800, plain())]);
    let (found, tally, _) = items(&file, 7);
    assert_eq!((found.len(), tally.packets, tally.not_ip), (1, 1, 1));
    let (found, tally, _) = items(&classic(127, &[plain()]), 7);
    assert_eq!((found.len(), tally.unknown_link), (0, 1));
}

/// The fragments of an IPv4 packet with `step` bytes of payload each, a multiple of eight.
fn fragments(packet: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (head, body) = packet.split_at(20);
    let parts: Vec<&[u8]> = body.chunks(step).collect();
    let fragment = |index: usize, part: &[u8]| {
        let mut out = head.to_vec();
        out[2..4].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
        let more = if index + 1 < parts.len() { 0x2000 } else { 0 };
        out[6..8].copy_from_slice(&((index * step / 8) as u16 | more).to_be_bytes());
        after(&out, part.to_vec())
    };
    parts.iter().enumerate().map(|(index, part)| fragment(index, part)).collect()
}

#[test]
fn fragments_become_one_packet_in_any_order() {
    let body: Vec<u8> = (0..4000).map(|n| n as u8).collect();
    let packet = udp(CLIENT, SERVER, &body);
    let mut parts = fragments(&packet, 1480);
    for _ in 0..parts.len() {
        parts.rotate_left(1);
        let mut twice = parts.clone();
        twice.insert(1, parts[0].clone());
        let found = packets(&classic(101, &twice));
        assert_eq!(found.len(), 1);
        let headers = Headers::of(&found[0]).unwrap();
        assert_eq!(headers.payload(&found[0].data), body);
    }
    let (found, tally, _) = items(&classic(101, &parts[1..]), 100);
    assert_eq!((found.len(), tally.fragments), (0, parts.len() as u64 - 1));
}

#[test]
fn ipv6_fragments_become_one_packet() {
    let whole = udp("[fd00::1]:7", "[fd00::2]:9", &[5; 64]);
    let fragment = |offset: u16, more: u16, part: &[u8]| {
        let mut out = whole[..40].to_vec();
        out[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
        out[6] = 44;
        out.extend([17, 0]);
        out.extend((offset | more).to_be_bytes());
        out.extend([0, 0, 0, 9]);
        after(&out, part.to_vec())
    };
    let parts = [fragment(0, 1, &whole[40..80]), fragment(40, 0, &whole[80..])];
    let found = packets(&classic(101, &parts));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].data, whole);
}

#[test]
fn overlapping_fragments_are_thrown_away() {
    let mut parts = fragments(&udp(CLIENT, SERVER, &[1; 3000]), 1480);
    let shifted = u16::from_be_bytes([parts[1][6], parts[1][7]]) - 1;
    parts[1][6..8].copy_from_slice(&shifted.to_be_bytes());
    assert!(packets(&classic(101, &parts)).is_empty());
}

/// A pcapng block in big-endian order.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (12 + body.len().next_multiple_of(4)) as u32;
    let mut out = [kind.to_be_bytes(), len.to_be_bytes()].concat();
    out.extend(body);
    out.resize(len as usize - 4, 0);
    out.extend(len.to_be_bytes());
    out
}

fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_be_bytes().to_vec();
    body.extend([0, 1, 0, 0]);
    body.extend([0xff; 8]);
    block(0x0a0d_0d0a, &body)
}

fn interface(link: u16, resolution: u8) -> Vec<u8> {
    let mut body = link.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 1, resolution, 0, 0, 0, 0, 0, 0, 0]);
    block(1, &body)
}

fn enhanced(interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
    let mut body = interface.to_be_bytes().to_vec();
    body.extend(ticks.to_be_bytes());
    body.extend((frame.len() as u32).to_be_bytes());
    body.extend((frame.len() as u32).to_be_bytes());
    body.extend(frame);
    block(6, &body)
}

#[test]
fn sections_interfaces_and_resolutions_are_kept_apart() {
    let frame = ethernet(0x0800, plain());
    let file = [
        section(),
        interface(1, 3),
        interface(101, 0x8a),
        block(0xbad, &[0, 0, 1, 2, 3, 4]),
        enhanced(1, 3 << 9, &plain()),
        enhanced(0, 2500, &frame),
        enhanced(9, 1, &frame),
        section(),
        interface(101, 12),
        enhanced(0, 7_000_000_000_123, &plain()),
        block(3, &[&(plain().len() as u32).to_be_bytes()[..], &plain()].concat()),
    ]
    .concat();
    let found = packets(&file);
    let times: Vec<u64> = found.iter().map(|packet| packet.at.0).collect();
    assert_eq!(times, [1_500_000_000, 2_500_000_000, 7_000_000_000, 7_000_000_000]);
    assert!(found.iter().all(|packet| packet.data == plain()));
    let mut reader = Reader::new();
    reader.feed(&file);
    while reader.next_item().unwrap().is_some() {}
    assert_eq!(reader.tally().malformed, 1, "the packet of an interface that does not exist");
}
