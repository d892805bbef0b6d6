//! Reads capture files as records, a piece at a time.

use std::collections::VecDeque;

use bytes::Bytes;

use super::cursor::Cursor;
use super::event::{self, Event, Head};
use super::fragments::Fragments;
use super::framing::{Endian, Framing, Piece};
use super::link::{self, NoPacket};
use super::options::Options;
use super::section::{Framed, Section};
use super::unwrap::{Layer, layer};
use super::{PcapError, classic, number};
use crate::limits::pcap::LAYERS;
use crate::model::{Hook, Packet, Record, SocketCookie, Timestamp, TlsEvent, TlsSecret};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A Remora wrote this file; its records follow.
    Head(Head),
    /// Something captured.
    Record(Record),
}

/// What was in a file and did not become a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that became records.
    pub packets: u64,
    /// Frames of link types that are not understood.
    pub unknown_link: u64,
    /// Frames that carry something else than IP.
    pub not_ip: u64,
    /// Blocks of packets or events that contradict themselves.
    pub malformed: u64,
    /// Fragments of datagrams that were never whole.
    pub fragments: u64,
}

/// Reads one file. Feed it bytes and take items until it wants more.
#[derive(Debug, Default)]
pub struct Reader {
    framing: Framing,
    section: Section,
    /// A classic file: link type, byte order and whether time has nanoseconds.
    classic: Option<(u16, super::framing::Endian, bool)>,
    fragments: Fragments,
    ready: VecDeque<Item>,
    tally: Tally,
}

impl Reader {
    /// A reader at the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file, best some 100 KiB at a time. Take all items before the next ones.
    pub fn feed(&mut self, data: &[u8]) {
        self.framing.feed(data);
    }

    /// The next item; `None`: feed more.
    pub fn next_item(&mut self) -> Result<Option<Item>, PcapError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.framing.next_piece()? {
                None => return Ok(None),
                Some(piece) => self.piece(piece),
            }
        }
    }

    /// The file has ended; an error if that was inside of a block.
    pub fn finish(&self) -> Result<(), PcapError> {
        if self.framing.is_empty() {
            return Ok(());
        }
        Err(PcapError::Truncated { offset: self.framing.position() })
    }

    /// Bytes of whole blocks so far: where a file that was cut off can be cut cleanly.
    pub fn position(&self) -> u64 {
        self.framing.position()
    }

    /// What was read and what was left out so far.
    pub fn tally(&self) -> Tally {
        Tally { fragments: self.fragments.lost(), ..self.tally }
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::ClassicHead { endian, nanos, link } => self.classic = Some((link as u16, endian, nanos)),
            Piece::ClassicPacket(packet) => self.classic_packet(&packet),
            Piece::Block { kind: number::SECTION, .. } => self.section = Section::default(),
            Piece::Block { kind: number::INTERFACE, endian, body } => {
                if !self.section.interface(&body, endian) {
                    self.tally.malformed += 1;
                }
            }
            Piece::Block { kind: number::REMORA_EVENT, body, .. } => match event::read(&body) {
                Some(Event::Head(head)) => self.ready.push_back(Item::Head(head)),
                Some(Event::Record(record)) => self.ready.push_back(Item::Record(record)),
                None => self.tally.malformed += 1,
            },
            Piece::Block { kind, endian, body }
                if matches!(kind, number::ENHANCED_PACKET | number::PACKET | number::SIMPLE_PACKET) =>
            {
                match self.section.packet(kind, endian, &body) {
                    Some(framed) => self.framed(framed, endian),
                    None => self.tally.malformed += 1,
                }
            }
            Piece::Block { kind: number::SECRETS, endian, body } => {
                let secret = secret_of(&body, endian);
                self.ready.extend(secret.map(|secret| Item::Record(Record::Secret(secret))));
            }
            // Names, statistics and what others have for themselves.
            Piece::Block { .. } => {}
        }
    }

    fn classic_packet(&mut self, packet: &Bytes) {
        let Some((link, endian, nanos)) = self.classic else { return };
        let field = |at| endian.u32(packet, at).unwrap_or_default();
        let at = classic::moment(field(0), field(4), nanos);
        // The piece has its 16 bytes of header: `Framing` cut it so.
        self.frame(at, link, field(12), packet.slice(16.min(packet.len())..));
    }

    fn framed(&mut self, framed: Framed, endian: super::framing::Endian) {
        for (code, value) in Options::new(&framed.options, endian) {
            let mut from = Cursor(value);
            let record = match code {
                number::REMORA_PACKET => {
                    event::read_packet(&mut from).map(|(hook, ifindex, cookie, socket)| {
                        let Framed { at, wire_len, ref data, .. } = framed;
                        let data = data.clone();
                        Record::Packet(Packet { at, cookie, hook, ifindex, socket, wire_len, data })
                    })
                }
                number::REMORA_TLS => event::read_chunk(&mut from).and_then(|mut chunk| {
                    chunk.at = framed.at;
                    chunk.data = behind_tags(&framed.data)?;
                    Some(Record::Tls(TlsEvent::Data(chunk)))
                }),
                _ => continue,
            };
            match record {
                Some(record) => {
                    self.tally.packets += u64::from(matches!(record, Record::Packet(_)));
                    self.ready.push_back(Item::Record(record));
                }
                None => self.tally.malformed += 1,
            }
            return;
        }
        self.frame(framed.at, framed.link, framed.wire_len, framed.data);
    }

    /// A frame of another program's file.
    fn frame(&mut self, at: Timestamp, link: u16, wire_len: u32, frame: Bytes) {
        let whole = frame.len();
        let packet = match link::packet_of(link, frame) {
            Ok(packet) => packet,
            Err(NoPacket::UnknownLink) => {
                self.tally.unknown_link += 1;
                return;
            }
            Err(NoPacket::NotIp) => {
                self.tally.not_ip += 1;
                return;
            }
        };
        if let Some((data, wire_len)) = self.unwrap(at, wire_len, whole, packet) {
            self.tally.packets += 1;
            self.ready.push_back(Item::Record(Record::Packet(Packet {
                at,
                cookie: SocketCookie(0),
                hook: Hook::Ingress,
                ifindex: 0,
                socket: None,
                wire_len,
                data,
            })));
        }
    }

    /// Takes tunnels off and puts fragments together; `None`: more fragments are needed.
    fn unwrap(&mut self, at: Timestamp, wire_len: u32, whole: usize, packet: Bytes) -> Option<(Bytes, u32)> {
        // What the file cut off lies behind the innermost packet too.
        let cut = (wire_len as usize).saturating_sub(whole);
        let mut packet = packet;
        for _ in 0..LAYERS {
            match layer(&packet) {
                // A part of which bytes are missing is no use to the others.
                Layer::Fragment(_) if cut > 0 => break,
                Layer::Fragment(fragment) => packet = self.fragments.add(at, fragment)?,
                Layer::Tunnel(inner) => packet = inner,
                Layer::Plain => break,
            }
        }
        let wire_len = (packet.len() + cut) as u32;
        Some((packet, wire_len))
    }
}

/// What follows the tags of an exported PDU.
fn behind_tags(data: &Bytes) -> Option<Bytes> {
    let mut at = 0;
    loop {
        let tag = u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?);
        let len = usize::from(u16::from_be_bytes(data.get(at + 2..at + 4)?.try_into().ok()?));
        at += 4 + len;
        if tag == 0 {
            return (at <= data.len()).then(|| data.slice(at..));
        }
    }
}

/// A secret that Remora wrote. Those in other programs' files stay there.
fn secret_of(body: &[u8], endian: Endian) -> Option<TlsSecret> {
    if endian.u32(body, 0)? != number::KEY_LOG {
        return None;
    }
    let len = endian.u32(body, 4)? as usize;
    let line = body.get(8..len.checked_add(8)?)?;
    let options = body.get(8 + len.checked_next_multiple_of(4)?..)?;
    let (_, at) = Options::new(options, endian).find(|(code, _)| *code == number::REMORA_SECRET)?;
    TlsSecret::of_line(Timestamp(endian.u64(at, 0)?), line)
}
