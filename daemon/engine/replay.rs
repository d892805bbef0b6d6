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
}

impl Replay {
    /// Nothing seen yet. Nobody watches a replay, so each call comes once, when it is over.
    pub fn new(limits: Arc<Limits>, context: ShardContext) -> Self {
        let limits = Arc::new(Limits { open_after: Duration::MAX, ..(*limits).clone() });
        Self {
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
