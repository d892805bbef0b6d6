//! Any descriptor set, and any body of gRPC-Web read with it: no panic, and the call still comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::dissect::{Carrier, End, Input, Session};
use remora_engine::limits::Limits;
use remora_engine::model::{Direction, Timestamp};
use remora_engine::protobuf::DescriptorSet;

const SHOP: &[u8] = include_bytes!("../../pcaps/grpc/descriptors/shop.binpb");

// A byte with flags, one that splits the rest into a descriptor set and a body.
fuzz_target!(|data: &[u8]| {
    let [flags, part, rest @ ..] = data else { return };
    let (descriptors, body) = rest.split_at(rest.len() * usize::from(*part) / 256);
    let mut set = DescriptorSet::default();
    // What is refused leaves what was there.
    let _refused = set.add(descriptors);
    if flags & 1 == 0 {
        set.add(SHOP).expect("a small set");
    }
    let mut body = body.to_vec();
    if flags & 2 == 0 {
        let length = body.len() as u32;
        body.splice(..0, [&[0][..], &length.to_be_bytes()].concat());
    }
    let kind = if flags & 4 == 0 { "application/grpc-web" } else { "application/grpc-web-text" };
    let head = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    let ask = format!("POST /remora.test.Shop/Order HTTP/1.1\r\n{head}");
    let limits = Limits { max_decoded_body: 4096, ..Limits::default() };
    limits.schemas.replace(set);
    let mut session = Session::new(Carrier::Stream, 80, true);
    let mut out = Vec::new();
    for (direction, start) in [
        (Direction::ToServer, ask),
        (Direction::ToClient, format!("HTTP/1.1 200 OK\r\nGrpc-Encoding: gzip\r\n{head}")),
    ] {
        let bytes = [start.as_bytes(), &body].concat();
        session.feed(direction, Input::Bytes(&bytes), Timestamp(1), &limits, &mut out);
    }
    session.close(End::Closed, Timestamp(2), &limits, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].protocol.as_str(), "grpcweb1");
});
