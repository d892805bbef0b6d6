//! Remora's own block: everything of a capture that is no packet, as numbered fields in fixed order.
//!
//! A body is a kind (1 byte), a version (1 byte, 1), two zero bytes, and the kind's fields. A reader that
//! does not know a kind or version passes over the block and counts it.

use std::net::IpAddr;
use std::sync::Arc;

use super::cursor::{Cursor, put_addr, put_ip, put_text, put_u8, put_u16, put_u32, put_u64, put_uid};
use crate::model::{
    CaptureSource, DropReason, Hook, Loss, OwnerEvidence, Process, ProcessEvent, ProcessKey, Record,
    SocketCookie, SocketEvent, SocketTuple, TcpState, Timestamp, TlsChunk, TlsEvent, TlsLibrary, TlsSession,
    TlsWitness,
};

const VERSION: u8 = 1;

const HEAD: u8 = 1;
const OWNER: u8 = 2;
const STATE: u8 = 3;
const DESTROYED: u8 = 4;
const EXEC: u8 = 5;
const EXIT: u8 = 6;
const DESCRIBED: u8 = 7;
const LOSS: u8 = 8;
const TLS_BOUND: u8 = 9;
const TLS_CLOSED: u8 = 10;

/// Who wrote a file, at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Name of the node.
    pub node: Arc<str>,
    /// Its main address.
    pub ip: IpAddr,
    /// How packets were captured.
    pub source: CaptureSource,
    /// When the file was begun.
    pub at: Timestamp,
}

/// What a block says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Head(Head),
    Record(Record),
}

fn begin(out: &mut Vec<u8>, kind: u8, at: Timestamp) {
    out.extend_from_slice(&[kind, VERSION, 0, 0]);
    put_u64(out, at.0);
}

pub(super) fn put_head(out: &mut Vec<u8>, head: &Head) {
    begin(out, HEAD, head.at);
    put_text(out, &head.node);
    put_ip(out, head.ip);
    put_u8(out, source_number(head.source));
}

/// Appends the body of a record that is no packet and no TLS plaintext; false for those.
pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) -> bool {
    match record {
        Record::Socket(event) => put_socket(out, event),
        Record::Process(event) => put_process(out, event),
        Record::Loss(loss) => {
            begin(out, LOSS, loss.at);
            put_text(out, loss.reason.name());
            put_u64(out, loss.count);
        }
        Record::Tls(TlsEvent::Bound { at, session, cookie, witness }) => {
            begin(out, TLS_BOUND, *at);
            put_session(out, session);
            put_u64(out, cookie.0);
            put_u8(out, witness_number(*witness));
        }
        Record::Tls(TlsEvent::Closed { at, session }) => {
            begin(out, TLS_CLOSED, *at);
            put_session(out, session);
        }
        Record::Packet(_) | Record::Tls(TlsEvent::Data(_)) | Record::Secret(_) => return false,
    }
    true
}

fn put_socket(out: &mut Vec<u8>, event: &SocketEvent) {
    match event {
        SocketEvent::Owner { at, cookie, process, ppid, uid, name, cgroup_id, netns, evidence } => {
            begin(out, OWNER, *at);
            put_u64(out, cookie.0);
            put_key(out, *process);
            put_u32(out, *ppid);
            put_uid(out, *uid);
            put_text(out, name);
            put_u64(out, *cgroup_id);
            put_u32(out, *netns);
            put_u8(out, evidence_number(*evidence));
        }
        SocketEvent::State { at, cookie, tuple, netns, state } => {
            begin(out, STATE, *at);
            put_u64(out, cookie.0);
            put_tuple(out, *tuple);
            put_u32(out, *netns);
            put_u8(out, state.0);
        }
        SocketEvent::Destroyed { at, cookie } => {
            begin(out, DESTROYED, *at);
            put_u64(out, cookie.0);
        }
    }
}

fn put_process(out: &mut Vec<u8>, event: &ProcessEvent) {
    match event {
        ProcessEvent::Exec { at, process, ppid, uid, name, cgroup_id, path } => {
            begin(out, EXEC, *at);
            put_key(out, *process);
            put_u32(out, *ppid);
            put_uid(out, *uid);
            put_text(out, name);
            put_u64(out, *cgroup_id);
            put_text(out, path);
        }
        ProcessEvent::Exit { at, process } => {
            begin(out, EXIT, *at);
            put_key(out, *process);
        }
        ProcessEvent::Described { at, process, description } => {
            begin(out, DESCRIBED, *at);
            put_key(out, *process);
            put_description(out, description);
        }
    }
}

fn put_description(out: &mut Vec<u8>, process: &Process) {
    put_u32(out, process.pid);
    put_u32(out, process.ppid);
    put_uid(out, process.uid);
    put_text(out, &process.name);
    put_text(out, &process.exe);
    put_u64(out, process.cgroup_id);
    put_text(out, &process.cgroup);
    put_text(out, &process.container_id);
    put_text(out, &process.unit);
    put_u32(out, process.netns);
}

fn put_key(out: &mut Vec<u8>, key: ProcessKey) {
    put_u32(out, key.pid);
    put_u64(out, key.started);
}

fn put_session(out: &mut Vec<u8>, session: &TlsSession) {
    put_key(out, session.process);
    put_u64(out, session.handle);
    put_u64(out, session.generation);
}

pub(super) fn put_tuple(out: &mut Vec<u8>, tuple: SocketTuple) {
    put_addr(out, tuple.local);
    put_addr(out, tuple.remote);
}

/// Appends what a piece of TLS plaintext has besides its time and its bytes.
pub(super) fn put_chunk(out: &mut Vec<u8>, chunk: &TlsChunk, skipped: u64) {
    put_session(out, &chunk.session);
    put_u8(out, library_number(chunk.library));
    put_u8(out, u8::from(chunk.hook == Hook::Egress));
    put_u64(out, chunk.offset.saturating_add(skipped));
    put_u8(out, u8::from(chunk.from_start));
    let (cookie, witness) =
        chunk.socket.map_or((0, 0), |(cookie, witness)| (cookie.0, witness_number(witness)));
    put_u8(out, u8::from(chunk.socket.is_some()));
    put_u64(out, cookie);
    put_u8(out, witness);
}

/// Reads a body; `None` if it is broken, or of a kind or version that is not known here.
pub(super) fn read(body: &[u8]) -> Option<Event> {
    let mut from = Cursor(body);
    let kind = from.u8()?;
    if from.u8()? != VERSION {
        return None;
    }
    from.take(2)?;
    let at = Timestamp(from.u64()?);
    let record = match kind {
        HEAD => return read_head(&mut from, at).map(Event::Head),
        OWNER | STATE | DESTROYED => Record::Socket(read_socket(kind, &mut from, at)?),
        EXEC | EXIT | DESCRIBED => Record::Process(read_process(kind, &mut from, at)?),
        LOSS => {
            let name = from.text()?;
            let reason = *DropReason::ALL.iter().find(|reason| reason.name() == name)?;
            Record::Loss(Loss { at, reason, count: from.u64()? })
        }
        TLS_BOUND => Record::Tls(TlsEvent::Bound {
            at,
            session: read_session(&mut from)?,
            cookie: SocketCookie(from.u64()?),
            witness: witness(from.u8()?)?,
        }),
        TLS_CLOSED => Record::Tls(TlsEvent::Closed { at, session: read_session(&mut from)? }),
        _ => return None,
    };
    Some(Event::Record(record))
}

fn read_head(from: &mut Cursor<'_>, at: Timestamp) -> Option<Head> {
    let node = from.text()?.into();
    Some(Head { node, ip: from.ip()?, source: source(from.u8()?)?, at })
}

fn read_socket(kind: u8, from: &mut Cursor<'_>, at: Timestamp) -> Option<SocketEvent> {
    let cookie = SocketCookie(from.u64()?);
    Some(match kind {
        OWNER => SocketEvent::Owner {
            at,
            cookie,
            process: read_key(from)?,
            ppid: from.u32()?,
            uid: read_uid(from)?.0,
            name: from.text()?.into(),
            cgroup_id: from.u64()?,
            netns: from.u32()?,
            evidence: evidence(from.u8()?)?,
        },
        STATE => SocketEvent::State {
            at,
            cookie,
            tuple: read_tuple(from)?,
            netns: from.u32()?,
            state: TcpState(from.u8()?),
        },
        _ => SocketEvent::Destroyed { at, cookie },
    })
}

fn read_process(kind: u8, from: &mut Cursor<'_>, at: Timestamp) -> Option<ProcessEvent> {
    let process = read_key(from)?;
    Some(match kind {
        EXEC => ProcessEvent::Exec {
            at,
            process,
            ppid: from.u32()?,
            uid: read_uid(from)?.0,
            name: from.text()?.into(),
            cgroup_id: from.u64()?,
            path: from.text()?.into(),
        },
        DESCRIBED => ProcessEvent::Described { at, process, description: Arc::new(read_description(from)?) },
        _ => ProcessEvent::Exit { at, process },
    })
}

fn read_description(from: &mut Cursor<'_>) -> Option<Process> {
    Some(Process {
        pid: from.u32()?,
        ppid: from.u32()?,
        uid: read_uid(from)?.0,
        name: from.text()?.into(),
        exe: from.text()?.into(),
        cgroup_id: from.u64()?,
        cgroup: from.text()?.into(),
        container_id: from.text()?.into(),
        unit: from.text()?.into(),
        netns: from.u32()?,
    })
}

/// A user id that may not be known.
struct Uid(Option<u32>);

fn read_uid(from: &mut Cursor<'_>) -> Option<Uid> {
    let (is_known, value) = (from.bool()?, from.u32()?);
    Some(Uid(is_known.then_some(value)))
}

fn read_key(from: &mut Cursor<'_>) -> Option<ProcessKey> {
    Some(ProcessKey { pid: from.u32()?, started: from.u64()? })
}

fn read_session(from: &mut Cursor<'_>) -> Option<TlsSession> {
    Some(TlsSession { process: read_key(from)?, handle: from.u64()?, generation: from.u64()? })
}

pub(super) fn read_tuple(from: &mut Cursor<'_>) -> Option<SocketTuple> {
    Some(SocketTuple { local: from.addr()?, remote: from.addr()? })
}

/// What stands beside a piece of TLS plaintext; its time and bytes are left empty.
pub(super) fn read_chunk(from: &mut Cursor<'_>) -> Option<TlsChunk> {
    let session = read_session(from)?;
    let library = library(from.u8()?)?;
    let hook = if from.bool()? { Hook::Egress } else { Hook::Ingress };
    let (offset, from_start) = (from.u64()?, from.bool()?);
    let has_socket = from.bool()?;
    let (cookie, number) = (SocketCookie(from.u64()?), from.u8()?);
    let socket = if has_socket { Some((cookie, witness(number)?)) } else { None };
    let (at, data) = (Timestamp::ZERO, bytes::Bytes::new());
    Some(TlsChunk { at, session, library, hook, offset, from_start, socket, data })
}

/// Numbers in files: never changed, only added to.
macro_rules! numbers {
    ($write:ident, $read:ident, $of:ty, $($number:literal => $value:path,)*) => {
        fn $write(value: $of) -> u8 {
            match value { $($value => $number,)* }
        }

        fn $read(number: u8) -> Option<$of> {
            match number { $($number => Some($value),)* _ => None }
        }
    };
}

numbers! { evidence_number, evidence, OwnerEvidence,
    0 => OwnerEvidence::Create,
    1 => OwnerEvidence::FileTable,
    2 => OwnerEvidence::Connect,
    3 => OwnerEvidence::Accept,
    4 => OwnerEvidence::DataTransfer,
}

numbers! { library_number, library, TlsLibrary,
    0 => TlsLibrary::OpenSsl,
    1 => TlsLibrary::BoringSsl,
    2 => TlsLibrary::LibreSsl,
    3 => TlsLibrary::GnuTls,
    4 => TlsLibrary::Nss,
    5 => TlsLibrary::Go,
    6 => TlsLibrary::Rustls,
}

numbers! { witness_number, witness, TlsWitness,
    0 => TlsWitness::Process,
    1 => TlsWitness::NearbyTransfer,
    2 => TlsWitness::Descriptor,
    3 => TlsWitness::InCall,
}

numbers! { source_number, source, CaptureSource,
    0 => CaptureSource::Unspecified,
    1 => CaptureSource::AfPacket,
    2 => CaptureSource::Ebpf,
    3 => CaptureSource::EbpfTls,
    4 => CaptureSource::File,
}

/// Appends what a packet has besides its time, lengths and bytes.
pub(super) fn put_packet(out: &mut Vec<u8>, packet: &crate::model::Packet) {
    let flags = u8::from(packet.hook == Hook::Egress) | u8::from(packet.socket.is_some()) << 1;
    put_u8(out, flags);
    put_u8(out, 0);
    put_u16(out, 0);
    put_u32(out, packet.ifindex);
    put_u64(out, packet.cookie.0);
    if let Some(tuple) = packet.socket {
        put_tuple(out, tuple);
    }
}

/// Hook, interface, cookie and socket of a packet.
pub(super) fn read_packet(from: &mut Cursor<'_>) -> Option<(Hook, u32, SocketCookie, Option<SocketTuple>)> {
    let flags = from.u8()?;
    from.take(3)?;
    let hook = if flags & 1 != 0 { Hook::Egress } else { Hook::Ingress };
    let (ifindex, cookie) = (from.u32()?, SocketCookie(from.u64()?));
    let socket = if flags & 2 != 0 { Some(read_tuple(from)?) } else { None };
    Some((hook, ifindex, cookie, socket))
}
