//! Decodes what the rings deliver, and hands it to the sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Sink;
use super::bpf::{self, Batch, PacketDecoder, TlsDecoder};
use super::clock::Clock;
use super::scope::CgroupNotice;
use super::tls::{Census, Noticing};
use crate::engine::model::{OwnerEvidence, ProcessEvent, Record, SocketEvent};

/// Which rings a reader has.
#[derive(Debug)]
enum Rings {
    /// Ring 0: packets. Ring 1: plaintext of TLS.
    Packets { packets: PacketDecoder, tls: TlsDecoder, census: Option<Arc<Census>> },
    /// Ring 0: socket and process events.
    Sockets { listeners: Listeners },
}

/// Who within capture wants to know what processes do.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The search for TLS libraries.
    pub(super) tls: Option<Noticing>,
    /// The scope, which names units and containers.
    pub(super) cgroups: CgroupNotice,
}

/// Decodes the records of one reader's rings for one sink.
pub(super) struct Delivery {
    sink: Box<dyn Sink>,
    clock: Clock,
    rings: Rings,
    malformed: Arc<AtomicU64>,
}

impl Delivery {
    pub(super) fn packets(
        sink: Box<dyn Sink>,
        malformed: &Arc<AtomicU64>,
        census: Option<&Arc<Census>>,
    ) -> Self {
        let (packets, tls) = (PacketDecoder::default(), TlsDecoder::default());
        let rings = Rings::Packets { packets, tls, census: census.map(Arc::clone) };
        Self { sink, clock: Clock::new(), rings, malformed: Arc::clone(malformed) }
    }

    pub(super) fn sockets(sink: Box<dyn Sink>, malformed: &Arc<AtomicU64>, listeners: Listeners) -> Self {
        let rings = Rings::Sockets { listeners };
        Self { sink, clock: Clock::new(), rings, malformed: Arc::clone(malformed) }
    }

    /// Hands over socket events of before the start, which stand one after the other.
    pub(super) fn existing(&mut self, mut events: &[u8]) {
        while !events.is_empty() {
            let Some((record, size)) = bpf::socket_record(events, &self.clock) else {
                self.malformed.fetch_add(1, Ordering::Relaxed);
                break;
            };
            self.sink.record(record);
            events = events.get(size..).unwrap_or_default();
        }
        self.end();
    }
}

impl Batch for Delivery {
    fn record(&mut self, ring: usize, bytes: &[u8]) {
        let record = match &mut self.rings {
            Rings::Packets { packets, .. } if ring == 0 => {
                packets.decode(bytes, &self.clock).map(Record::Packet)
            }
            Rings::Packets { tls, census, .. } => tls.decode(bytes, &self.clock).map(|mut record| {
                if let (Some(census), Record::Tls(event)) = (census, &mut record) {
                    census.refine(event);
                }
                record
            }),
            Rings::Sockets { listeners } => bpf::socket_record(bytes, &self.clock).map(|(record, _)| {
                if let Record::Process(ProcessEvent::Exec { cgroup_id, .. }) = &record {
                    listeners.cgroups.used(*cgroup_id);
                }
                if let Some(tls) = &listeners.tls {
                    notice(tls, &record);
                }
                record
            }),
        };
        match record {
            Some(record) => self.sink.record(record),
            None => {
                self.malformed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn end(&mut self) -> Option<Duration> {
        let now = self.clock.tick();
        self.sink.flush(now);
        self.sink.patience()
    }
}

/// What may mean that a process has a TLS library that it did not have before.
fn notice(noticing: &Noticing, record: &Record) {
    match record {
        Record::Process(ProcessEvent::Exec { process, .. }) => noticing.exec(process.pid),
        Record::Process(ProcessEvent::Exit { process, .. }) => noticing.exit(process.pid),
        Record::Socket(SocketEvent::Owner { process, evidence, .. })
            if *evidence != OwnerEvidence::FileTable =>
        {
            noticing.socket(process.pid);
        }
        _ => {}
    }
}
