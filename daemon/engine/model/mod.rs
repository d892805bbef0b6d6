//! The nouns every layer agrees on: records in, entries out.
//!
//! Plain data. Units are fixed: time is nanoseconds since the Unix epoch (UTC), durations are
//! nanoseconds, sizes are bytes, ports are `u16`. Other units appear only where an API is written.

mod addr;
mod entry;
mod field;
mod identity;
mod loss;
mod record;
mod time;
mod tls;
mod value;

pub use addr::{AddrPort, Direction, FiveTuple, Hook, L4, SocketTuple};
pub use entry::{
    CaptureInfo, CaptureSource, ConnectionId, Entry, EntryError, EntryEvent, EntryId, ErrorKind, NodeInfo,
    Peer, ProtocolKey, Timing,
};
pub use field::{Field, FieldSource, FieldType, FieldValue};
pub(crate) use field::{fields, join, paths};
pub use identity::{NameFact, Process, ProcessKey, SocketCookie};
pub use loss::{DropReason, Loss, Stage};
pub use record::{OwnerEvidence, Packet, ProcessEvent, Record, SocketEvent, TcpState};
pub use time::Timestamp;
pub use tls::{TlsChunk, TlsEvent, TlsHandshake, TlsInfo, TlsLibrary, TlsSecret, TlsSession, TlsWitness};
pub use value::{Map, Value};
