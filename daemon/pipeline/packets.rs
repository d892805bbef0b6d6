//! The sink of the packet reader thread: routes packets to shards, in batches.

use std::sync::Arc;
use std::time::Duration;

use remora_engine::flow::{Routed, Router, RouterConfig};
use remora_engine::limits::Limits;
use remora_engine::model::{DropReason, Record, SocketEvent, Timestamp};

use super::shards::ShardInput;
use crate::archive::Feed;
use crate::capture;
use crate::runtime::{self, Capacity, Receiver, Sender};
use crate::telemetry::{Drops, Metric, Metrics};

/// Bytes that a queued packet costs beyond its payload.
const PACKET_OVERHEAD: usize = 192;

/// Socket events waiting for the router: it only needs them to guess roles, so losing some is harmless
/// and they are bounded tightly.
const ROUTER_EVENTS: Capacity = Capacity { bytes: 4 << 20, items: 32_768 };

/// How often idle connections are looked for while no packet comes: memory, not correctness.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Receives packets on the reader thread.
#[derive(Debug)]
pub struct PacketSink {
    router: Router,
    events: Receiver<SocketEvent>,
    pending_events: Vec<SocketEvent>,
    shards: Vec<Sender<ShardInput>>,
    batches: Vec<Vec<(ShardInput, usize)>>,
    raw: Option<Feed>,
    drops: Arc<Drops>,
    metrics: Arc<Metrics>,
    routed: u64,
}

impl PacketSink {
    /// A sink in front of `shards`, and where the socket reader leaves events for the router.
    pub(super) fn new(
        limits: &Limits,
        shards: Vec<Sender<ShardInput>>,
        raw: Option<Feed>,
        drops: Arc<Drops>,
        metrics: Arc<Metrics>,
    ) -> (Self, Sender<SocketEvent>) {
        let (sender, events) = runtime::queue("router-events", ROUTER_EVENTS);
        let router = Router::new(RouterConfig::new(shards.len(), limits));
        let batches = shards.iter().map(|_| Vec::with_capacity(256)).collect();
        (
            Self {
                router,
                events,
                pending_events: Vec::new(),
                shards,
                batches,
                raw,
                drops,
                metrics,
                routed: 0,
            },
            sender,
        )
    }

    fn take_socket_events(&mut self) {
        self.events.pop_batch(&mut self.pending_events, ROUTER_EVENTS.items, Duration::ZERO);
        for event in self.pending_events.drain(..) {
            self.router.socket_event(&event);
        }
    }
}

impl capture::Sink for PacketSink {
    fn record(&mut self, record: Record) {
        if let Some(raw) = &mut self.raw {
            raw.record(&record);
        }
        match record {
            Record::Packet(packet) => match self.router.route(packet) {
                Routed::To { shard, packet } => {
                    self.routed += 1;
                    let weight = packet.packet.data.len() + PACKET_OVERHEAD;
                    if let Some(batch) = self.batches.get_mut(shard) {
                        batch.push((ShardInput::Packet(packet), weight));
                    }
                }
                Routed::Dropped(reason) => self.drops.count(reason, 1),
            },
            Record::Loss(loss) => self.drops.count(loss.reason, loss.count),
            // The socket reader has its own sink.
            Record::Socket(_) | Record::Process(_) | Record::Tls(_) => {}
        }
    }

    fn flush(&mut self, now: Timestamp) {
        if let Some(raw) = &mut self.raw {
            raw.flush();
        }
        for (batch, shard) in self.batches.iter_mut().zip(&self.shards) {
            if !batch.is_empty() {
                let dropped = shard.push_all(batch);
                self.drops.count(DropReason::ShardQueueFull, dropped as u64);
            }
        }
        self.metrics.add(Metric::PipelinePackets, std::mem::take(&mut self.routed));
        self.take_socket_events();
        self.router.expire(now);
        self.metrics.set(Metric::PipelineConnections, self.router.connections() as u64);
    }

    fn patience(&self) -> Option<Duration> {
        (self.router.connections() > 0).then_some(EXPIRY_INTERVAL)
    }
}
