//! The sink of the packet reader thread: routes packets and TLS plaintext to shards, in batches.

use std::sync::Arc;
use std::time::Duration;

use remora_engine::flow::{Binder, Bound, Routed, RoutedTls, Router, RouterConfig, TlsNews};
use remora_engine::limits::Limits;
use remora_engine::model::{DropReason, Record, SocketEvent, Timestamp, TlsEvent};

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

/// Bytes that a queued piece of plaintext costs beyond its data.
const PLAINTEXT_OVERHEAD: usize = 160;

/// How often plaintext that waits for its connection is looked at while nothing comes.
const BINDER_INTERVAL: Duration = Duration::from_millis(50);

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
    binder: Binder,
    bound: Bound,
    /// Plaintext for the shards; apart from packets, since its losses have another name.
    plaintext: Vec<Vec<(ShardInput, usize)>>,
    /// The moment of the last flush.
    now: Timestamp,
    drops: Arc<Drops>,
    metrics: Arc<Metrics>,
    routed: u64,
    tls_pieces: u64,
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
        let sink = Self {
            router,
            events,
            pending_events: Vec::new(),
            batches: shards.iter().map(|_| Vec::with_capacity(256)).collect(),
            binder: Binder::default(),
            bound: Bound::default(),
            plaintext: shards.iter().map(|_| Vec::new()).collect(),
            now: Timestamp::ZERO,
            shards,
            raw,
            drops,
            metrics,
            routed: 0,
            tls_pieces: 0,
        };
        (sink, sender)
    }

    fn count_tls(&mut self) {
        self.metrics.add(Metric::PipelineTlsPieces, std::mem::take(&mut self.tls_pieces));
        let disagreements = std::mem::take(&mut self.bound.disagreements);
        self.metrics.add(Metric::PipelineTlsDisagreements, disagreements);
        self.metrics.set(Metric::PipelineTlsSessions, self.binder.sessions() as u64);
        self.metrics.set(Metric::PipelineTlsHeldBytes, self.binder.held().1 as u64);
    }

    fn take_tls(&mut self, event: TlsEvent) {
        let at = match &event {
            TlsEvent::Data(chunk) => chunk.at,
            TlsEvent::Bound { at, .. } | TlsEvent::Closed { at, .. } => *at,
        };
        self.binder.event(event, self.now.max(at), &self.router, &mut self.bound);
        self.take_bound();
    }

    /// Sorts what the binder hands out.
    fn take_bound(&mut self) {
        self.tls_pieces += self.bound.routed.len() as u64;
        for (shard, routed) in self.bound.routed.drain(..) {
            if let Some(batch) = self.plaintext.get_mut(shard) {
                let weight = weight_of(&routed);
                batch.push((ShardInput::Tls(routed), weight));
            }
        }
        for (reason, count) in self.bound.losses.drain(..) {
            self.drops.count(reason, count);
        }
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
            Record::Tls(event) => self.take_tls(event),
            Record::Loss(loss) => self.drops.count(loss.reason, loss.count),
            // The socket reader has its own sink; key material is for raw capture alone.
            Record::Socket(_) | Record::Process(_) | Record::Secret(_) => {}
        }
    }

    fn flush(&mut self, now: Timestamp) {
        if let Some(raw) = &mut self.raw {
            raw.flush();
        }
        self.now = now;
        self.binder.retry(now, &self.router, &mut self.bound);
        self.take_bound();
        for (batch, shard) in self.batches.iter_mut().zip(&self.shards) {
            if !batch.is_empty() {
                let dropped = shard.push_all(batch);
                self.drops.count(DropReason::ShardQueueFull, dropped as u64);
            }
        }
        // After the packets, so that a shard knows the connection.
        for (batch, shard) in self.plaintext.iter_mut().zip(&self.shards) {
            if !batch.is_empty() {
                let dropped = shard.push_all(batch);
                self.drops.count(DropReason::TlsQueueFull, dropped as u64);
            }
        }
        self.metrics.add(Metric::PipelinePackets, std::mem::take(&mut self.routed));
        self.count_tls();
        self.take_socket_events();
        self.router.expire(now);
        self.metrics.set(Metric::PipelineConnections, self.router.connections() as u64);
    }

    fn patience(&self) -> Option<Duration> {
        if self.binder.is_waiting() {
            return Some(BINDER_INTERVAL);
        }
        (self.router.connections() > 0).then_some(EXPIRY_INTERVAL)
    }
}

fn weight_of(routed: &RoutedTls) -> usize {
    match &routed.news {
        TlsNews::Data(chunk, _) => chunk.data.len() + PLAINTEXT_OVERHEAD,
        TlsNews::Closed(..) | TlsNews::Revoked(..) => PLAINTEXT_OVERHEAD,
    }
}
