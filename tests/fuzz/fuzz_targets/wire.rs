//! Arbitrary packets through header parsing, routing, reassembly and dissection: no panic, bounded work.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use remora_engine::flow::{Routed, Router, RouterConfig};
use remora_engine::limits::Limits;
use remora_engine::model::{
    AddrPort, CaptureSource, DropReason, Entry, Hook, NodeInfo, Packet, SocketCookie, SocketTuple, Timestamp,
};
use remora_engine::shard::{Shard, ShardContext, Sink};

struct Discard;

impl Sink for Discard {
    fn entry(&mut self, _: Entry) {}
    fn loss(&mut self, _: DropReason, _: u64) {}
}

/// Each packet: one byte of length, one of circumstances, then the packet from its IP header on.
fn packets(mut input: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut at = Timestamp(1_700_000_000_000_000_000);
    while let [len, how, rest @ ..] = input {
        let (data, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        input = rest;
        at = Timestamp(at.0 + u64::from(how >> 4) * 50_000_000);
        let local = AddrPort::new([127, 0, 0, 1].into(), 80);
        let remote = AddrPort::new([127, 0, 0, 1].into(), if how & 4 == 0 { 0 } else { 40_000 });
        packets.push(Packet {
            at,
            cookie: SocketCookie(u64::from(how & 3)),
            hook: if how & 8 == 0 { Hook::Ingress } else { Hook::Egress },
            ifindex: 1,
            socket: (how & 3 != 0).then_some(SocketTuple { local, remote }),
            wire_len: data.len() as u32 + u32::from(how & 3),
            data: data.to_vec().into(),
        });
    }
    packets
}

fuzz_target!(|input: &[u8]| {
    let limits = Limits { max_connections: 8, max_out_of_order: 512, ..Limits::default() };
    let node = Arc::new(NodeInfo { name: "fuzz".into(), ip: [127, 0, 0, 1].into() });
    let mut router = Router::new(RouterConfig::new(1, &limits));
    let context = ShardContext { node, run: "r".into(), source: CaptureSource::File };
    let mut shard = Shard::new(Arc::new(limits), context);
    let mut last = Timestamp::ZERO;
    for packet in packets(input) {
        last = packet.at;
        router.expire(last);
        shard.advance(last, &mut Discard);
        if let Routed::To { packet, .. } = router.route(packet) {
            shard.packet(packet, &mut Discard);
        }
    }
    shard.finish(last, &mut Discard);
    assert_eq!(shard.connections(), 0);
});
