//! The websocket contract.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::engine::model::DropReason;

type Socket<S> = WebSocketStream<S>;

async fn connect(served: &Served, path: &str) -> Socket<TcpStream> {
    let stream = TcpStream::connect(served.tcp).await.unwrap();
    tokio_tungstenite::client_async(format!("ws://{}{path}", served.tcp), stream).await.unwrap().0
}

async fn text<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> Json {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("expected text, got {other:?}"),
        }
    }
}

async fn closed<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> (CloseCode, String) {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time") {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code, frame.reason.to_string()),
            Some(Ok(Message::Text(_) | Message::Ping(_))) => {}
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}

async fn subscribed(served: &Served, count: usize) {
    until("subscription", || served.tap.subscribers() == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_text_frame_is_the_filter_and_only_what_matches_comes() {
    let served = serve(Options::default());
    let mut socket = connect(&served, "/api/wsFull").await;
    served.tap.publish(&[entry(1, "/before", 500)]);
    socket.send("response.status > 300".into()).await.unwrap();
    subscribed(&served, 1).await;
    served.tap.publish(&[entry(2, "/ok", 200), entry(3, "/gone", 404)]);
    let frame = text(&mut socket).await;
    assert_eq!(frame["id"], "host-a/17c-1-3");
    assert_eq!(frame["response"]["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_filter_matches_all_and_base_entries_come_on_ws() {
    let served = serve(Options::default());
    for path in ["/api/ws", "/ws"] {
        let mut socket = connect(&served, path).await;
        socket.send("".into()).await.unwrap();
        subscribed(&served, 1).await;
        served.tap.publish(&[entry(1, "/a", 200)]);
        let frame = text(&mut socket).await;
        assert_eq!((&frame["summary"], &frame["status"]), (&json!("/a"), &json!(200)));
        assert_eq!(frame.get("request"), None);
        drop(socket);
        subscribed(&served, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_may_come_in_the_query_and_over_the_unix_socket() {
    let served = serve(Options::default());
    let stream = UnixStream::connect(&served.socket).await.unwrap();
    let url = "ws://localhost/api/wsFull?q=response.status%20%3D%3D%20500";
    let mut socket = tokio_tungstenite::client_async(url, stream).await.unwrap().0;
    subscribed(&served, 1).await;
    served.tap.publish(&[entry(1, "/a", 200), entry(2, "/b", 500)]);
    assert_eq!(text(&mut socket).await["id"], "host-a/17c-1-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_filter_is_answered_with_a_close_frame_that_says_where_and_why() {
    let served = serve(Options::default());
    for path in ["/api/wsFull", "/api/ws?q=response.status%20%3D%3D%3D"] {
        let mut socket = connect(&served, path).await;
        if !path.contains('?') {
            socket.send("response.status === 5".into()).await.unwrap();
        }
        let (code, reason) = closed(&mut socket).await;
        assert_eq!(code, CloseCode::Policy);
        assert!(reason.starts_with("1:") && reason.len() <= 123 && reason.len() > 10, "{reason}");
    }
    until("cleanup", || served.tap.subscribers() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_text_frame_replaces_the_filter() {
    let served = serve(Options::default());
    let mut socket = connect(&served, "/api/wsFull").await;
    socket.send("response.status == 200".into()).await.unwrap();
    subscribed(&served, 1).await;
    served.tap.publish(&[entry(1, "/a", 200)]);
    assert_eq!(text(&mut socket).await["response"]["status"], 200);
    socket.send("response.status == 404".into()).await.unwrap();
    // The second filter is in place once a matching entry arrives; until then it may be either.
    let publisher = {
        let tap = served.tap.clone();
        tokio::spawn(async move {
            for seq in 2.. {
                tap.publish(&[entry(seq, "/b", 404)]);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    assert_eq!(text(&mut socket).await["response"]["status"], 404);
    publisher.abort();
    assert_eq!(served.tap.subscribers(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_the_stream_normally_after_that_many() {
    let served = serve(Options::default());
    let mut socket = connect(&served, "/api/wsFull").await;
    socket.send("limit(2)".into()).await.unwrap();
    subscribed(&served, 1).await;
    served.tap.publish(&(1..=5).map(|seq| entry(seq, "/a", 200)).collect::<Vec<_>>());
    assert_eq!(text(&mut socket).await["id"], "host-a/17c-1-1");
    assert_eq!(text(&mut socket).await["id"], "host-a/17c-1-2");
    assert_eq!(closed(&mut socket).await.0, CloseCode::Normal);
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_and_binary_frames_refused() {
    let served = serve(Options::default());
    let mut socket = connect(&served, "/api/ws").await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let pong = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    socket.send(Message::Binary(vec![1].into())).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, CloseCode::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_notices_is_told_of_losses_elsewhere_and_one_without_is_not() {
    let served = serve(Options {
        tap: TapConfig { loss_interval: Duration::from_millis(20), ..TapConfig::default() },
        ..Options::default()
    });
    let mut told = connect(&served, "/api/wsFull?q=&notices=1").await;
    let mut plain = connect(&served, "/api/wsFull?q=").await;
    subscribed(&served, 2).await;
    served.drops.count(DropReason::RingFull, 7);
    let notice = text(&mut told).await;
    assert_eq!(notice["notice"]["type"], "gap");
    assert_eq!((&notice["notice"]["reason"], &notice["notice"]["count"]), (&json!("ring_full"), &json!(7)));
    served.tap.publish(&[entry(1, "/a", 200)]);
    assert_eq!(text(&mut plain).await["id"], "host-a/17c-1-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_read_loses_its_own_entries_and_nobody_elses() {
    let served = serve(Options {
        tap: TapConfig { subscriber_bytes: 256 << 10, ..TapConfig::default() },
        ..Options::default()
    });
    let mut slow = connect(&served, "/api/wsFull?q=&notices=1").await;
    let mut fast = connect(&served, "/api/wsFull?q=").await;
    subscribed(&served, 2).await;
    let padding = "x".repeat(10_000);
    let mut seq = 0;
    // Socket buffers take some megabytes before the queue fills.
    while served.drops.get(DropReason::SubscriberSlow) < 100 {
        let batch: Vec<_> = (0..4).map(|index| entry(seq + index, &format!("/{padding}"), 200)).collect();
        served.tap.publish(&batch);
        for _ in 0..4 {
            assert_eq!(text(&mut fast).await["id"], format!("host-a/17c-1-{seq}"));
            seq += 1;
        }
        assert!(seq < 100_000, "the slow one never lost anything");
    }
    let lost_in_all = || served.drops.get(DropReason::SubscriberSlow);
    let (mut seen, mut told) = (0, 0);
    while seen + told < seq {
        let frame = text(&mut slow).await;
        match frame["notice"]["count"].as_u64() {
            Some(count) => told += count,
            None => seen += 1,
        }
    }
    assert_eq!(told, lost_in_all());
    assert_eq!(seen + told, seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_daemon_closes_streams_with_going_away() {
    let mut served = serve(Options::default());
    let mut socket = connect(&served, "/api/wsFull?q=").await;
    subscribed(&served, 1).await;
    served.shutdown.trigger("test");
    assert_eq!(closed(&mut socket).await.0, CloseCode::Away);
    drop(socket);
    tokio::time::timeout(PATIENCE, &mut served.serving).await.expect("the server ends").unwrap();
    assert!(!served.socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_to_a_stream_says_what_it_is() {
    let served = serve(Options::default());
    let (status, body) = served.get("/api/wsFull").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"]["message"].as_str().unwrap().contains("wscat"), "{body}");
}
