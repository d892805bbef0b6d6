//! The store's promises: what was committed stays, what is old goes, a bad disk harms nothing else.

mod crash;
mod disk;
mod entries;
mod kill;
mod search;
mod tokens;
mod versions;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Reader, Store, StoreConfig, StoreError, Writer, ZoneMap};
use crate::engine::model::{
    CaptureInfo, ConnectionId, DropReason, Entry, EntryId, NodeInfo, Peer, ProtocolKey, Timestamp, Timing,
    Value,
};
use crate::runtime::clock;
use crate::telemetry::{Drops, Metrics};

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Arc::new(Drops::new())))
}

fn entry(seq: u64) -> Arc<Entry> {
    entry_with(seq, "http", clock::now(), 10)
}

/// An entry whose body has `body` bytes that do not compress.
fn entry_with(seq: u64, protocol: &'static str, at: Timestamp, body: usize) -> Arc<Entry> {
    let node: Arc<str> = "node-1".into();
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(body)
    .collect();
    Arc::new(Entry {
        id: EntryId { node: Arc::clone(&node), stream: format!("run-{}", seq / 7).into(), index: seq % 7 },
        seq,
        protocol: ProtocolKey::new(protocol),
        node: Arc::new(NodeInfo { name: node, ip: [127, 0, 0, 1].into() }),
        src: Peer::default(),
        dst: Peer::default(),
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing { request_start: at, response_end: at, ..Timing::default() },
        method: "GET".into(),
        summary: format!("/item/{seq}").into(),
        status: 200,
        request: Value::Null,
        response: Value::Bytes(noise.into()),
        request_size: 100,
        response_size: body as u64,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(seq / 7),
        capture: CaptureInfo::default(),
    })
}

fn append(writer: &mut Writer, seqs: std::ops::RangeInclusive<u64>) {
    writer.append(&seqs.map(entry).collect::<Vec<_>>()).unwrap();
}

fn page(reader: &Reader, before: Option<u64>, limit: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut visit = |entry: Arc<Entry>| {
        seqs.push(entry.seq);
        if seqs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    reader.newest_first(before, &mut visit, None).unwrap();
    seqs
}

fn all(reader: &Reader) -> Vec<u64> {
    page(reader, None, usize::MAX)
}

fn descending(from: u64, to: u64) -> Vec<u64> {
    (to..=from).rev().collect()
}
