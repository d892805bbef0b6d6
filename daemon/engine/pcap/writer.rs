//! Appends pcapng blocks to a buffer: what a segment and an export consist of.

use std::net::IpAddr;

use super::event::{self, Head};
use super::number;
use super::options;
use crate::limits::pcap::PACKET;
use crate::model::{AddrPort, Hook, Packet, Record, SocketTuple, Timestamp, TlsChunk, TlsEvent, TlsSecret};

/// Interface of raw IP packets in every file that Remora writes, and that of exported PDUs.
const PACKETS: u32 = 0;
const PLAINTEXT: u32 = 1;

/// Options of packet blocks.
const FLAGS: u16 = 2;
/// Options of interfaces.
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TIME_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
/// Options of sections.
const APPLICATION: u16 = 4;
/// Records of name resolution.
const NAME_V4: u16 = 1;
const NAME_V6: u16 = 2;
/// Options of statistics.
const STARTED: u16 = 2;
const ENDED: u16 = 3;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;

/// Tags of exported PDUs (`LINKTYPE_WIRESHARK_UPPER_PDU`), in network byte order.
const TAG_DISSECTOR: u16 = 12;
const TAG_SOURCE_V4: u16 = 20;
const TAG_SOURCE_V6: u16 = 22;
const TAG_PORT_TYPE: u16 = 24;
const TAG_SOURCE_PORT: u16 = 25;
const TAG_TARGET_PORT: u16 = 26;
const PORT_TYPE_TCP: u32 = 2;

/// Bytes of plaintext in one exported PDU: leaves room for the tags below what readers accept.
const PDU: usize = PACKET / 2;

/// Which way a packet goes, for readers that filter by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Arrives.
    Inbound,
    /// Leaves.
    Outbound,
}

impl From<Hook> for Direction {
    fn from(hook: Hook) -> Self {
        if hook == Hook::Egress { Self::Outbound } else { Self::Inbound }
    }
}

/// What is said of a file at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Moment of the first packet.
    pub first: Timestamp,
    /// Moment of the last packet.
    pub last: Timestamp,
    /// Packets that came.
    pub received: u64,
    /// Packets that came and are not in the file.
    pub dropped: u64,
}

/// Appends a block around what `body` appends.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    options::pad(out, out.len() - start);
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&len);
    }
    out.extend_from_slice(&len);
}

/// Begins a file: section, interfaces, who wrote it.
pub fn write_head(out: &mut Vec<u8>, head: &Head, application: &str) {
    block(out, number::SECTION, |out| {
        out.extend_from_slice(&number::BYTE_ORDER.to_le_bytes());
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        options::put(out, APPLICATION, application.as_bytes());
        options::put(out, number::COMMENT, format!("node {}", head.node).as_bytes());
        options::end(out);
    });
    let interfaces = [
        (number::RAW_IP, "sockets", "packets at the sockets of this host"),
        (number::UPPER_PDU, "tls", "plaintext at TLS libraries"),
    ];
    for (link, name, description) in interfaces {
        block(out, number::INTERFACE, |out| {
            out.extend_from_slice(&link.to_le_bytes());
            out.extend_from_slice(&[0; 6]);
            options::put(out, IF_NAME, name.as_bytes());
            options::put(out, IF_DESCRIPTION, description.as_bytes());
            options::put(out, IF_TIME_RESOLUTION, &[NANOSECONDS]);
            options::end(out);
        });
    }
    block(out, number::REMORA_EVENT, |out| event::put_head(out, head));
}

/// Appends a record.
pub fn write_record(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Packet(packet) => write_packet(out, packet, ""),
        Record::Tls(TlsEvent::Data(chunk)) => write_exported(out, chunk, None, ""),
        Record::Secret(secret) => write_secret(out, secret),
        other => write_event(out, other),
    }
}

/// Appends key material: readers open with it the packets that follow.
pub fn write_secret(out: &mut Vec<u8>, secret: &TlsSecret) {
    let mut line = secret.line().into_bytes();
    line.push(b'\n');
    block(out, number::SECRETS, |out| {
        out.extend_from_slice(&number::KEY_LOG.to_le_bytes());
        out.extend_from_slice(&(line.len() as u32).to_le_bytes());
        out.extend_from_slice(&line);
        options::pad(out, line.len());
        options::put(out, number::REMORA_SECRET, &secret.at.0.to_le_bytes());
        options::end(out);
    });
}

/// Appends a record that is no packet, no TLS plaintext and no secret; those are left out.
pub fn write_event(out: &mut Vec<u8>, record: &Record) {
    let mut body = Vec::with_capacity(128);
    if event::put_record(&mut body, record) {
        block(out, number::REMORA_EVENT, |out| out.extend_from_slice(&body));
    }
}

/// Appends a packet with everything known of it, and a comment for people if there is one.
pub fn write_packet(out: &mut Vec<u8>, packet: &Packet, comment: &str) {
    let data = packet.data.get(..packet.data.len().min(PACKET)).unwrap_or_default();
    let described = |out: &mut Vec<u8>| {
        let mut about = Vec::with_capacity(64);
        event::put_packet(&mut about, packet);
        options::put(out, number::REMORA_PACKET, &about);
    };
    framed(out, PACKETS, packet.at, packet.wire_len, &[data], |out| {
        common(out, packet.hook.into(), comment);
        described(out);
    });
}

/// Appends a piece of TLS plaintext, as exported PDUs of a protocol that its first bytes suggest. With
/// the socket's addresses, where they are known.
pub fn write_exported(out: &mut Vec<u8>, chunk: &TlsChunk, tuple: Option<SocketTuple>, comment: &str) {
    let mut tags = Vec::with_capacity(96);
    put_tag(&mut tags, TAG_DISSECTOR, dissector_of(&chunk.data).as_bytes());
    if let Some(tuple) = tuple {
        let (from, to) = match chunk.hook {
            Hook::Egress => (tuple.local, tuple.remote),
            Hook::Ingress => (tuple.remote, tuple.local),
        };
        put_tag(&mut tags, TAG_PORT_TYPE, &PORT_TYPE_TCP.to_be_bytes());
        put_end(&mut tags, TAG_SOURCE_V4, TAG_SOURCE_V6, TAG_SOURCE_PORT, from);
        put_end(&mut tags, TAG_SOURCE_V4 + 1, TAG_SOURCE_V6 + 1, TAG_TARGET_PORT, to);
    }
    tags.extend_from_slice(&[0; 4]);
    let mut skipped = 0_u64;
    let mut rest: &[u8] = &chunk.data;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(PDU));
        let mut about = Vec::with_capacity(64);
        event::put_chunk(&mut about, chunk, skipped);
        framed(out, PLAINTEXT, chunk.at, (tags.len() + piece.len()) as u32, &[&tags, piece], |out| {
            common(out, chunk.hook.into(), comment);
            options::put(out, number::REMORA_TLS, &about);
        });
        skipped += piece.len() as u64;
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
}

fn framed(
    out: &mut Vec<u8>,
    interface: u32,
    at: Timestamp,
    wire_len: u32,
    data: &[&[u8]],
    about: impl FnOnce(&mut Vec<u8>),
) {
    let len: usize = data.iter().map(|part| part.len()).sum();
    block(out, number::ENHANCED_PACKET, |out| {
        out.extend_from_slice(&interface.to_le_bytes());
        out.extend_from_slice(&((at.0 >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(at.0 as u32).to_le_bytes());
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&wire_len.max(len as u32).to_le_bytes());
        data.iter().for_each(|part| out.extend_from_slice(part));
        options::pad(out, len);
        about(out);
        options::end(out);
    });
}

fn common(out: &mut Vec<u8>, direction: Direction, comment: &str) {
    let flags: u32 = if direction == Direction::Outbound { 2 } else { 1 };
    options::put(out, FLAGS, &flags.to_le_bytes());
    if !comment.is_empty() {
        options::put(out, number::COMMENT, comment.as_bytes());
    }
}

fn put_tag(tags: &mut Vec<u8>, tag: u16, value: &[u8]) {
    tags.extend_from_slice(&tag.to_be_bytes());
    tags.extend_from_slice(&(value.len().next_multiple_of(4) as u16).to_be_bytes());
    tags.extend_from_slice(value);
    options::pad(tags, value.len());
}

fn put_end(tags: &mut Vec<u8>, v4: u16, v6: u16, port: u16, end: AddrPort) {
    match end.ip {
        IpAddr::V4(ip) => put_tag(tags, v4, &ip.octets()),
        IpAddr::V6(ip) => put_tag(tags, v6, &ip.octets()),
    }
    put_tag(tags, port, &u32::from(end.port).to_be_bytes());
}

/// Wireshark's name of the protocol that plaintext seems to speak.
fn dissector_of(data: &[u8]) -> &'static str {
    const HTTP: [&[u8]; 9] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT ", b"HTTP/1."];
    if HTTP.iter().any(|start| data.starts_with(start)) {
        "http"
    } else if data.starts_with(b"PRI * HTTP/2") {
        "http2"
    } else {
        "data"
    }
}

/// Appends names of addresses; other readers show them in place of the addresses.
pub fn write_names<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = (IpAddr, &'a str)>) {
    block(out, number::NAMES, |out| {
        for (ip, name) in names {
            let mut value = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            // Names end with a zero byte, so none may be inside.
            value.extend(name.bytes().filter(|byte| *byte != 0).take(255));
            value.push(0);
            options::put(out, if ip.is_ipv4() { NAME_V4 } else { NAME_V6 }, &value);
        }
        options::end(out);
    });
}

/// Appends what is known at the end of a file.
pub fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    let moment = |at: Timestamp| {
        let mut value = ((at.0 >> 32) as u32).to_le_bytes().to_vec();
        value.extend_from_slice(&(at.0 as u32).to_le_bytes());
        value
    };
    block(out, number::STATISTICS, |out| {
        out.extend_from_slice(&PACKETS.to_le_bytes());
        out.extend_from_slice(&moment(statistics.last));
        options::put(out, STARTED, &moment(statistics.first));
        options::put(out, ENDED, &moment(statistics.last));
        options::put(out, RECEIVED, &statistics.received.to_le_bytes());
        options::put(out, DROPPED, &statistics.dropped.to_le_bytes());
        options::end(out);
    });
}
