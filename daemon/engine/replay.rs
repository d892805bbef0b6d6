//! Turns a sequence of records into entries on one thread: what a file, a segment or a test needs.
//!
//! The same router and shard as live. Time is that of the records, so replaying takes as long as the
//! work takes and gives what would have come out live.

use std::sync::Arc;
use std::time::Duration;

use crate::flow::{Binder, Bound, Routed, Router, RouterConfig};
use crate::limits::Limits;
use crate::model::{Record, Timestamp, TlsEvent};
use crate::shard::{Shard, ShardContext, Sink};

/// How often idle connections are looked for, in the time of the records.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often plaintext that waits for its connection is looked at, in the time of the records.
const BINDER_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of packets and plaintext between two looks at what connections hold: so much may it be more than its
/// bound, and no more work is it than a few milliseconds a second.
const BOUND_INTERVAL: usize = 8 << 20;

/// Router and shard with a clock made of records.
#[derive(Debug)]
pub struct Replay {
    router: Router,
    shard: Shard,
    binder: Binder,
    bound: Bound,
    now: Timestamp,
    expire_at: Timestamp,
    bind_at: Timestamp,
    has_bound: bool,
    /// Bytes since the last look at the bound of memory.
    unbounded: usize,
    held: usize,
}

impl Replay {
    /// Nothing seen yet. Nobody watches a replay, so each call comes once, when it is over.
    pub fn new(limits: Arc<Limits>, context: ShardContext) -> Self {
        let limits = Arc::new(Limits { open_after: Duration::MAX, ..(*limits).clone() });
        Self {
            has_bound: limits.max_held < usize::MAX,
            unbounded: 0,
            held: 0,
            router: Router::new(RouterConfig::new(1, &limits)),
            shard: Shard::new(limits, context),
            binder: Binder::default(),
            bound: Bound::default(),
            now: Timestamp::ZERO,
            expire_at: Timestamp::ZERO,
            bind_at: Timestamp::ZERO,
        }
    }

    /// Takes the next record; what it completes goes to `sink` before this returns.
    pub fn record(&mut self, record: Record, sink: &mut dyn Sink) {
        // Records of different threads come a little out of order; time does not go back for that.
        self.now = self.now.max(record.at());
        if self.shard.next_deadline().is_some_and(|due| due <= self.now) {
            self.shard.advance(self.now, sink);
        }
        self.keep_bound(&record, sink);
        match record {
            Record::Packet(packet) => match self.router.route(packet) {
                Routed::To { packet, .. } => self.shard.packet(packet, sink),
                Routed::Dropped(reason) => sink.loss(reason, 1),
            },
            Record::Socket(event) => self.router.socket_event(&event),
            Record::Loss(loss) => sink.loss(loss.reason, loss.count),
            Record::Tls(event) => self.tls(event, sink),
            Record::Process(_) | Record::Secret(_) => {}
        }
        if self.binder.is_waiting() && self.now >= self.bind_at {
            self.retry(sink);
        }
        if self.now >= self.expire_at {
            self.router.expire(self.now);
            self.expire_at = self.now.plus(EXPIRY_INTERVAL);
        }
    }

    fn keep_bound(&mut self, record: &Record, sink: &mut dyn Sink) {
        self.unbounded += match record {
            Record::Packet(packet) => packet.data.len(),
            Record::Tls(TlsEvent::Data(chunk)) => chunk.data.len(),
            _ => 0,
        };
        if self.has_bound && self.unbounded >= BOUND_INTERVAL {
            self.unbounded = 0;
            self.held = self.shard.keep_bound(self.now, sink) + self.binder.held().1;
        }
    }

    /// Bytes that connections held when that was last looked at; zero without a bound.
    pub fn held(&self) -> usize {
        self.held
    }

    fn tls(&mut self, event: TlsEvent, sink: &mut dyn Sink) {
        self.binder.event(event, self.now, &self.router, &mut self.bound);
        self.take_bound(sink);
    }

    fn retry(&mut self, sink: &mut dyn Sink) {
        self.bind_at = self.now.plus(BINDER_INTERVAL);
        self.binder.retry(self.now, &self.router, &mut self.bound);
        self.take_bound(sink);
    }

    fn take_bound(&mut self, sink: &mut dyn Sink) {
        for (_, routed) in self.bound.routed.drain(..) {
            self.shard.tls(routed, sink);
        }
        for (reason, count) in self.bound.losses.drain(..) {
            sink.loss(reason, count);
        }
    }

    /// The latest moment seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Nothing more comes: what is unfinished is emitted.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        self.retry(sink);
        self.shard.finish(self.now, sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaptureSource, DropReason, Entry, NodeInfo};
    use crate::testing::{Talk, ms};

    #[derive(Default)]
    struct Kept(Vec<Entry>);

    impl Sink for Kept {
        fn entry(&mut self, entry: Entry) {
            self.0.push(entry);
        }

        fn loss(&mut self, reason: DropReason, count: u64) {
            assert_eq!(count, 0, "lost: {reason:?}");
        }
    }

    fn replay() -> Replay {
        let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
        let context = ShardContext { node, run: "file".into(), source: CaptureSource::File };
        Replay::new(Arc::new(Limits::default()), context)
    }

    #[test]
    fn a_call_in_a_file_becomes_an_entry() {
        let mut talk = Talk::local("10.0.0.1:1000", "10.0.0.2:80", 1);
        (talk.client, talk.server) = (None, None);
        let mut packets = talk.open();
        packets.extend(talk.say(true, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
        packets.extend(talk.say(false, b"HTTP/1.1 204 No Content\r\n\r\n"));
        let (mut replay, mut kept) = (replay(), Kept::default());
        packets.into_iter().for_each(|packet| replay.record(Record::Packet(packet), &mut kept));
        assert_eq!(kept.0.len(), 1);
        assert_eq!((kept.0[0].summary.as_str(), kept.0[0].status), ("/x", 204));
        assert_eq!(kept.0[0].capture.source, CaptureSource::File);
    }

    #[derive(Default)]
    struct Counted {
        entries: u64,
        given_up: u64,
    }

    impl Sink for Counted {
        fn entry(&mut self, _: Entry) {
            self.entries += 1;
        }

        fn loss(&mut self, reason: DropReason, count: u64) {
            assert_eq!(reason, DropReason::MemoryLimit);
            self.given_up += count;
        }
    }

    #[test]
    fn connections_that_hold_the_most_are_given_up_beyond_the_bound_and_counted() {
        let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
        let context = ShardContext { node, run: "file".into(), source: CaptureSource::File };
        let limits = Limits { max_held: 2 << 20, ..Limits::default() };
        let mut replay = Replay::new(Arc::new(limits), context);
        let mut counted = Counted::default();
        let mut most = 0;
        // Forty uploads at once, of which none ends: 24 MiB.
        let mut talks: Vec<Talk> = (0..40_u64)
            .map(|n| {
                let client: &str = format!("10.0.0.1:{}", 1000 + n).leak();
                let mut talk = Talk::local(client, "10.0.0.2:80", n * 2 + 1);
                (talk.client, talk.server) = (None, None);
                talk
            })
            .collect();
        for talk in &mut talks {
            let mut packets = talk.open();
            packets.extend(talk.say(true, b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n"));
            packets.into_iter().for_each(|packet| replay.record(Record::Packet(packet), &mut counted));
        }
        for _ in 0..600 {
            for talk in &mut talks {
                let packets = talk.say(true, &[b'x'; 1024]);
                packets.into_iter().for_each(|packet| replay.record(Record::Packet(packet), &mut counted));
            }
            most = most.max(replay.held());
        }
        assert!(most > 1 << 20 && most <= 2 << 20, "{most}");
        assert!(counted.given_up >= 20, "{}", counted.given_up);
        assert_eq!(counted.entries, counted.given_up, "what is given up is shown as far as it was seen");
    }

    #[test]
    fn an_unanswered_call_times_out_by_the_clock_of_the_records() {
        let mut talk = Talk::local("10.0.0.1:1000", "10.0.0.2:80", 1);
        let (mut replay, mut kept) = (replay(), Kept::default());
        let mut packets = talk.open();
        packets.extend(talk.say(true, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
        packets.into_iter().for_each(|packet| replay.record(Record::Packet(packet), &mut kept));
        assert!(kept.0.is_empty());
        let later = Record::Loss(crate::model::Loss { at: ms(70_000), reason: DropReason::Paused, count: 0 });
        replay.record(later, &mut kept);
        assert_eq!(kept.0.len(), 1);
        assert!(kept.0[0].error.is_some());
    }
}
