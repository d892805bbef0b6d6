//! What is written is read back equal.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Head, Item, Statistics, write_head, write_names, write_record, write_statistics};
use super::items;
use crate::model::{
    AddrPort, CaptureSource, DropReason, Hook, Loss, OwnerEvidence, Packet, Process, ProcessEvent,
    ProcessKey, Record, SocketCookie, SocketEvent, SocketTuple, TcpState, Timestamp, TlsChunk, TlsEvent,
    TlsLibrary, TlsSecret, TlsSession, TlsWitness,
};

fn head() -> Head {
    Head { node: "alpha".into(), ip: [10, 0, 0, 1].into(), source: CaptureSource::Ebpf, at: Timestamp(7) }
}

fn hook() -> impl Strategy<Value = Hook> {
    prop_oneof![Just(Hook::Ingress), Just(Hook::Egress)]
}

fn addr() -> impl Strategy<Value = AddrPort> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| AddrPort::new(ip, port))
}

fn tuple() -> impl Strategy<Value = SocketTuple> {
    (addr(), addr()).prop_map(|(local, remote)| SocketTuple { local, remote })
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = ProcessKey> {
    any::<(u32, u64)>().prop_map(|(pid, started)| ProcessKey { pid, started })
}

fn session() -> impl Strategy<Value = TlsSession> {
    (key(), any::<u64>(), any::<u64>()).prop_map(|(process, handle, generation)| TlsSession {
        process,
        handle,
        generation,
    })
}

fn witness() -> impl Strategy<Value = TlsWitness> {
    use TlsWitness::{Descriptor, InCall, NearbyTransfer, Process};
    prop::sample::select(vec![Process, NearbyTransfer, Descriptor, InCall])
}

fn library() -> impl Strategy<Value = TlsLibrary> {
    use TlsLibrary::{BoringSsl, GnuTls, Go, LibreSsl, Nss, OpenSsl, Rustls};
    prop::sample::select(vec![OpenSsl, BoringSsl, LibreSsl, GnuTls, Nss, Go, Rustls])
}

fn evidence() -> impl Strategy<Value = OwnerEvidence> {
    use OwnerEvidence::{Accept, Connect, Create, DataTransfer, FileTable};
    prop::sample::select(vec![Create, FileTable, Connect, Accept, DataTransfer])
}

fn at() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn cookie() -> impl Strategy<Value = SocketCookie> {
    any::<u64>().prop_map(SocketCookie)
}

fn packet() -> impl Strategy<Value = Record> {
    let socket = prop::option::of(tuple());
    (at(), cookie(), hook(), any::<u32>(), socket, 0..100_u32, bytes(200)).prop_map(
        |(at, cookie, hook, ifindex, socket, cut, data)| {
            let wire_len = data.len() as u32 + cut;
            Record::Packet(Packet { at, cookie, hook, ifindex, socket, wire_len, data })
        },
    )
}

fn secret() -> impl Strategy<Value = Record> {
    let label = prop::sample::select(TlsSecret::LABELS.to_vec());
    let secret = prop::collection::vec(any::<u8>(), 1..=TlsSecret::MAX_BYTES);
    (at(), label, any::<[u8; 32]>(), secret).prop_map(|(at, label, random, secret)| {
        Record::Secret(TlsSecret::new(at, label.as_bytes(), random, &secret).expect("a secret"))
    })
}

fn socket_event() -> impl Strategy<Value = Record> {
    let owner = (
        at(),
        cookie(),
        key(),
        any::<u32>(),
        any::<Option<u32>>(),
        ".{0,20}",
        any::<(u64, u32)>(),
        evidence(),
    )
        .prop_map(|(at, cookie, process, ppid, uid, name, (cgroup_id, netns), evidence)| {
            let name = name.into();
            SocketEvent::Owner { at, cookie, process, ppid, uid, name, cgroup_id, netns, evidence }
        });
    let state =
        (at(), cookie(), tuple(), any::<u32>(), any::<u8>()).prop_map(|(at, cookie, tuple, netns, state)| {
            SocketEvent::State { at, cookie, tuple, netns, state: TcpState(state) }
        });
    let end = (at(), cookie()).prop_map(|(at, cookie)| SocketEvent::Destroyed { at, cookie });
    prop_oneof![owner, state, end].prop_map(Record::Socket)
}

fn process_event() -> impl Strategy<Value = Record> {
    let exec = (at(), key(), any::<u32>(), any::<Option<u32>>(), ".{0,15}", any::<u64>(), ".{0,80}")
        .prop_map(|(at, process, ppid, uid, name, cgroup_id, path)| ProcessEvent::Exec {
            at,
            process,
            ppid,
            uid,
            name: name.into(),
            cgroup_id,
            path: path.into(),
        });
    let described = (at(), key(), any::<(u32, u32, Option<u32>, u64, u32)>(), ".{0,30}", ".{0,90}").prop_map(
        |(at, process, (pid, ppid, uid, cgroup_id, netns), text, path)| {
            let description = Process {
                pid,
                ppid,
                uid,
                name: text.as_str().into(),
                exe: path.as_str().into(),
                cgroup_id,
                cgroup: format!("/{text}").into(),
                container_id: text.as_str().into(),
                unit: path.as_str().into(),
                netns,
            };
            ProcessEvent::Described { at, process, description: Arc::new(description) }
        },
    );
    let exit = (at(), key()).prop_map(|(at, process)| ProcessEvent::Exit { at, process });
    prop_oneof![exec, described, exit].prop_map(Record::Process)
}

fn tls_event() -> impl Strategy<Value = Record> {
    let socket = prop::option::of((cookie(), witness()));
    let data = (at(), session(), library(), hook(), any::<(u64, bool)>(), socket, bytes(300)).prop_map(
        |(at, session, library, hook, (offset, from_start), socket, data)| {
            TlsEvent::Data(TlsChunk { at, session, library, hook, offset, from_start, socket, data })
        },
    );
    let bound = (at(), session(), cookie(), witness())
        .prop_map(|(at, session, cookie, witness)| TlsEvent::Bound { at, session, cookie, witness });
    let closed = (at(), session()).prop_map(|(at, session)| TlsEvent::Closed { at, session });
    prop_oneof![data, bound, closed].prop_map(Record::Tls)
}

fn loss() -> impl Strategy<Value = Record> {
    (at(), prop::sample::select(DropReason::ALL), any::<u64>())
        .prop_map(|(at, reason, count)| Record::Loss(Loss { at, reason, count }))
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![4 => packet(), 2 => socket_event(), 2 => process_event(), 2 => tls_event(), 1 => loss(), 1 => secret()]
}

proptest! {
    #[test]
    fn every_record_is_read_back_equal(
        records in prop::collection::vec(record(), 0..40), step in 1..3000_usize
    ) {
        let mut file = Vec::new();
        write_head(&mut file, &head(), "remora test");
        records.iter().for_each(|record| write_record(&mut file, record));
        write_names(&mut file, [([10, 0, 0, 1].into(), "alpha")]);
        write_statistics(&mut file, &Statistics { received: 1, ..Statistics::default() });
        let (mut found, tally, ended) = items(&file, step);
        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(tally.malformed, 0);
        prop_assert_eq!(found.remove(0), Item::Head(head()));
        let found: Vec<Record> = found
            .into_iter()
            .filter_map(|item| if let Item::Record(record) = item { Some(record) } else { None })
            .collect();
        prop_assert_eq!(found, records);
    }
}

#[test]
fn long_plaintext_is_written_in_pieces_that_follow_each_other() {
    let chunk = TlsChunk {
        at: Timestamp(5),
        session: TlsSession { process: ProcessKey::default(), handle: 1, generation: 0 },
        library: TlsLibrary::Go,
        hook: Hook::Egress,
        offset: 100,
        from_start: true,
        socket: None,
        data: vec![7_u8; 300_000].into(),
    };
    let mut file = Vec::new();
    write_head(&mut file, &head(), "remora test");
    write_record(&mut file, &Record::Tls(TlsEvent::Data(chunk)));
    let (found, _, ended) = items(&file, 65_536);
    assert_eq!(ended, Ok(()));
    let mut next = 100;
    for item in found {
        if let Item::Record(Record::Tls(TlsEvent::Data(chunk))) = item {
            assert_eq!(chunk.offset, next);
            next += chunk.data.len() as u64;
        }
    }
    assert_eq!(next, 300_100);
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_blocks_and_where_they_end() {
    let mut file = Vec::new();
    write_head(&mut file, &head(), "remora test");
    let mut ends = vec![0, file.len()];
    for count in 0..5 {
        let loss = Loss { at: Timestamp(count), reason: DropReason::RingFull, count };
        write_record(&mut file, &Record::Loss(loss));
        ends.push(file.len());
    }
    for cut in 0..file.len() {
        let mut reader = super::Reader::new();
        reader.feed(&file[..cut]);
        let mut events = 0;
        while let Some(item) = reader.next_item().unwrap() {
            events += usize::from(matches!(item, Item::Record(_)));
        }
        let position = reader.position() as usize;
        // The head consists of four blocks, so its cuts may lie between two of them.
        assert!(ends.contains(&position) || position < ends[1], "{cut} {position}");
        assert_eq!(events, ends.iter().filter(|end| **end > ends[1] && **end <= cut).count());
    }
}
