//! Sharing, order, losses and bounds of the tap.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::engine::kfl::{Context, Filter};
use crate::engine::model::{
    AddrPort, CaptureInfo, ConnectionId, DropReason, Entry, EntryId, NodeInfo, Peer, ProtocolKey, Timestamp,
    Timing, Value,
};
use crate::telemetry::Drops;

const PATIENCE: Duration = Duration::from_secs(20);

fn entry(seq: u64, status: i64) -> Arc<Entry> {
    let peer = |port| Peer { addr: AddrPort::new("127.0.0.1".parse().unwrap(), port), ..Peer::default() };
    Arc::new(Entry {
        id: EntryId { node: "n".into(), stream: "s".into(), index: seq },
        seq,
        protocol: ProtocolKey::new("http"),
        node: Arc::new(NodeInfo { name: "n".into(), ip: "127.0.0.1".parse().unwrap() }),
        src: peer(1),
        dst: peer(2),
        outgoing: true,
        tls: false,
        tls_info: None,
        timing: Timing::default(),
        method: "GET".into(),
        summary: "/".into(),
        status,
        request: Value::Null,
        response: Value::Null,
        request_size: 0,
        response_size: 0,
        error: None,
        events: Vec::new(),
        connection: ConnectionId(1),
        capture: CaptureInfo::default(),
    })
}

fn batch(from: u64, to: u64) -> Vec<Arc<Entry>> {
    (from..=to).map(|seq| entry(seq, 200)).collect()
}

fn subscription(text: &str) -> Subscription {
    let filter = Filter::parse(text, &Context::new(Timestamp::ZERO)).unwrap();
    Subscription { filter, from_seq: None, notices: false, max_bytes: None }
}

fn tap(config: TapConfig) -> (Tap, Arc<Drops>) {
    let drops = Arc::new(Drops::new());
    (Tap::new(config, Arc::clone(&drops)), drops)
}

async fn next(stream: &mut Stream) -> Option<Item> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an item in time")
}

async fn seq(stream: &mut Stream) -> u64 {
    match next(stream).await {
        Some(Item::Entry(observed)) => observed.entry().seq,
        other => panic!("expected an entry, got {other:?}"),
    }
}

#[tokio::test]
async fn filters_that_mean_the_same_are_one_group_and_share_frames() {
    let (tap, _) = tap(TapConfig::default());
    let mut one = tap.subscribe(subscription("http  and status_code == 200")).unwrap();
    let mut two = tap.subscribe(subscription("http && status_code == 200 // same")).unwrap();
    assert_eq!((tap.filters(), tap.subscribers()), (1, 2));
    let look = Look::new(Shape::Base, false);
    tap.publish(&batch(1, 1));
    let mut frames = Vec::new();
    for stream in [&mut one, &mut two] {
        let Some(Item::Entry(observed)) = next(stream).await else { panic!("an entry") };
        frames.push(observed.frame(&look));
    }
    assert_eq!(frames[0].as_ptr(), frames[1].as_ptr());
    drop(one);
    assert_eq!((tap.filters(), tap.subscribers()), (1, 1));
    drop(two);
    assert_eq!((tap.filters(), tap.subscribers()), (0, 0));
}

#[tokio::test]
async fn every_matching_entry_comes_once_and_in_order() {
    let (tap, drops) = tap(TapConfig::default());
    let mut stream = tap.subscribe(subscription("http")).unwrap();
    for start in (1..=2000).step_by(500) {
        tap.publish(&batch(start, start + 499));
    }
    for wanted in 1..=2000 {
        assert_eq!(seq(&mut stream).await, wanted);
    }
    assert_eq!((drops.get(DropReason::SubscriberSlow), tap.delivered(), tap.newest()), (0, 2000, 2000));
}

#[tokio::test]
async fn a_reader_that_resumes_gets_nothing_twice() {
    let (tap, _) = tap(TapConfig::default());
    let mut stream = tap.subscribe(Subscription { from_seq: Some(5), ..subscription("") }).unwrap();
    tap.publish(&batch(1, 6));
    assert_eq!((seq(&mut stream).await, seq(&mut stream).await), (5, 6));
}

#[tokio::test]
async fn a_limit_counts_for_each_subscriber_of_a_group() {
    let (tap, _) = tap(TapConfig::default());
    let mut streams: Vec<_> = (0..2).map(|_| tap.subscribe(subscription("limit(2)")).unwrap()).collect();
    tap.publish(&batch(1, 5));
    for stream in &mut streams {
        assert_eq!((seq(stream).await, seq(stream).await), (1, 2));
        assert!(next(stream).await.is_none());
        assert_eq!(stream.end(), End::Limit);
    }
}

#[tokio::test]
async fn a_gap_stands_where_entries_are_missing_and_counts_them() {
    let (tap, drops) = tap(TapConfig { subscriber_bytes: 30_000, ..TapConfig::default() });
    let mut stream = tap.subscribe(Subscription { notices: true, ..subscription("") }).unwrap();
    tap.publish(&batch(1, 100));
    let mut seen = 0;
    let lost = loop {
        match next(&mut stream).await {
            Some(Item::Entry(observed)) => {
                seen += 1;
                assert_eq!(observed.entry().seq, seen, "the oldest are kept");
            }
            Some(Item::Notice(Notice::Gap { reason, count, .. })) => {
                assert_eq!(reason, DropReason::SubscriberSlow);
                break count;
            }
            other => panic!("unexpected {other:?}"),
        }
    };
    assert!(seen > 0 && lost > 0);
    assert_eq!((seen + lost, drops.get(DropReason::SubscriberSlow)), (100, lost));
    tap.publish(&batch(101, 101));
    assert_eq!(seq(&mut stream).await, 101);
}

#[tokio::test]
async fn a_group_that_cannot_keep_up_loses_for_its_own_subscribers_only() {
    let (tap, drops) = tap(TapConfig { group_bytes: 1, ..TapConfig::default() });
    let mut slow = tap.subscribe(Subscription { notices: true, ..subscription("http") }).unwrap();
    // No await in between: the evaluating task cannot run, so the second batch finds the inbox full.
    tap.publish(&batch(1, 10));
    tap.publish(&batch(11, 20));
    let mut other = tap.subscribe(subscription("response.status == 200 or true")).unwrap();
    tap.publish(&batch(21, 21));
    assert_eq!(seq(&mut other).await, 21);
    let (mut seen, mut told) = (0, 0);
    while seen + told < 21 {
        match next(&mut slow).await {
            Some(Item::Entry(_)) => seen += 1,
            Some(Item::Notice(Notice::Gap { count, .. })) => told += count,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((seen, told, drops.get(DropReason::SubscriberSlow)), (10, 11, 11));
}

#[tokio::test]
async fn subscribers_are_limited_and_places_are_given_back() {
    let (tap, _) = tap(TapConfig { max_subscribers: 1, ..TapConfig::default() });
    let first = tap.subscribe(subscription("")).unwrap();
    assert!(matches!(tap.subscribe(subscription("")), Err(TapError::TooManySubscribers { limit: 1 })));
    drop(first);
    assert!(tap.subscribe(subscription("")).is_ok());
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_alive_when_asked_to() {
    let config = TapConfig { heartbeat: Duration::ZERO, ..TapConfig::default() };
    let (tap, _) = tap(config);
    tap.publish(&batch(7, 7));
    let mut stream = tap.subscribe(Subscription { notices: true, ..subscription("") }).unwrap();
    assert!(matches!(next(&mut stream).await, Some(Item::Notice(Notice::Heartbeat { seq: 7 }))));
}

#[tokio::test]
async fn what_the_reader_had_elsewhere_does_not_come_again_and_counts_for_the_limit() {
    let (tap, _) = tap(TapConfig::default());
    tap.publish(&batch(1, 3));
    let mut stream = tap.subscribe(subscription("limit(4)")).unwrap();
    assert_eq!(stream.edge(), 3);
    tap.publish(&batch(3, 6));
    stream.go_on_after(3, 3);
    assert_eq!(seq(&mut stream).await, 4);
    assert!(next(&mut stream).await.is_none());
}
