//! Golden captures of real peers (`tests/pcaps`): whole, in small segments, with losses, from the middle.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::limits::Limits;
use crate::model::{CaptureSource, DropReason, Entry, EntryEvent, NodeInfo, Packet, Record};
use crate::pcap::{Item, Reader};
use crate::present::{View, full_json};
use crate::replay::Replay;
use crate::shard::{ShardContext, Sink};
use crate::testing::{Tcp, from_file};
use crate::wire::{Headers, TcpFlags};

#[derive(Default)]
struct Kept(Vec<Entry>);

impl Sink for Kept {
    fn entry(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    fn loss(&mut self, _: DropReason, _: u64) {}
}

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/pcaps");
    let mut found = Vec::new();
    let folders =
        std::fs::read_dir(root).expect("the golden captures").map(|entry| entry.expect("an entry").path());
    for folder in folders.filter(|path| path.is_dir()) {
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")));
    }
    found.sort();
    assert!(found.len() >= 4, "captures are missing");
    found
}

fn packets(path: &Path) -> Vec<Packet> {
    let mut reader = Reader::new();
    reader.feed(&std::fs::read(path).expect("the capture"));
    let mut packets = Vec::new();
    while let Some(item) = reader.next_item().expect("a capture") {
        if let Item::Record(Record::Packet(packet)) = item {
            packets.push(packet);
        }
    }
    packets
}

fn replay(packets: Vec<Packet>) -> Vec<Entry> {
    let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
    let context = ShardContext { node, run: "file".into(), source: CaptureSource::File };
    let (mut replay, mut kept) = (Replay::new(Arc::new(Limits::default()), context), Kept::default());
    packets.into_iter().for_each(|packet| replay.record(Record::Packet(packet), &mut kept));
    replay.finish(&mut kept);
    kept.0
}

/// An entry without its moments and ids.
fn shown(entry: &Entry) -> Json {
    let full: Json = serde_json::from_str(&full_json(entry, &View::default())).expect("JSON");
    json!({
        "protocol": entry.protocol.as_str(),
        "method": entry.method.as_str(),
        "summary": entry.summary.as_str(),
        "status": entry.status,
        "src": entry.src.addr.to_string(),
        "dst": entry.dst.addr.to_string(),
        "sizes": [entry.request_size, entry.response_size],
        "request": full["request"],
        "response": full["response"],
        "error": full["error"],
        "events": full["events"],
    })
}

fn shown_all(entries: &[Entry]) -> Vec<Json> {
    entries.iter().map(shown).collect()
}

/// The same bytes in segments of `size` bytes.
fn resegmented(packets: &[Packet], size: usize) -> Vec<Packet> {
    let mut out = Vec::new();
    for packet in packets {
        let headers = Headers::of(packet).expect("a packet");
        let payload = headers.payload(&packet.data);
        let Some(tcp) = headers.tcp().filter(|_| !payload.is_empty()) else {
            out.push(packet.clone());
            continue;
        };
        let pieces = payload.chunks(size);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            let fin = if index == last { tcp.flags } else { TcpFlags(tcp.flags.0 & !TcpFlags::FIN.0) };
            let data = Tcp {
                src: headers.tuple.src,
                dst: headers.tuple.dst,
                seq: tcp.seq.0.wrapping_add((index * size) as u32),
                ack: tcp.ack.0,
                flags: fin,
                window: tcp.window,
                tsval: None,
                payload: piece.to_vec(),
            };
            out.push(from_file(packet.at, data.bytes()));
        }
    }
    out
}

#[test]
fn captures_of_real_peers_give_the_golden_entries() {
    let mut wrong = Vec::new();
    for path in captures() {
        let golden = path.with_extension("entries.json");
        let found = serde_json::to_string_pretty(&shown_all(&replay(packets(&path)))).expect("JSON") + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).expect("written");
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{}: {found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\n(BLESS=1 accepts)", wrong.join("\n"));
}

#[test]
fn small_segments_give_the_same_entries() {
    for path in captures() {
        let packets = packets(&path);
        let whole = shown_all(&replay(packets.clone()));
        for size in [1, 7, 100] {
            let found = shown_all(&replay(resegmented(&packets, size)));
            assert_eq!(found, whole, "{} in segments of {size}", path.display());
        }
    }
}

/// Each entry is one of `whole`, or says what it lacks.
fn assert_same_or_declared(found: &[Entry], whole: &[Json], what: &str) {
    for entry in found {
        let lacks = |event: &EntryEvent| !matches!(event, EntryEvent::LimitExceeded { .. });
        let declared = entry.error.is_some() || entry.events.iter().any(lacks);
        assert!(declared || whole.contains(&shown(entry)), "{what}: {:#}", shown(entry));
    }
}

#[test]
fn a_lost_packet_is_declared() {
    for path in captures() {
        let packets = packets(&path);
        let whole = shown_all(&replay(packets.clone()));
        for lost in 0..packets.len() {
            let mut rest = packets.clone();
            rest.remove(lost);
            let what = format!("{} without packet {lost}", path.display());
            assert_same_or_declared(&replay(rest), &whole, &what);
        }
    }
}

#[test]
fn joining_in_the_middle_is_declared() {
    for path in captures() {
        let packets = packets(&path);
        let whole = shown_all(&replay(packets.clone()));
        for from in 0..packets.len() {
            let what = format!("{} from packet {from}", path.display());
            assert_same_or_declared(&replay(packets.split_at(from).1.to_vec()), &whole, &what);
        }
    }
}
