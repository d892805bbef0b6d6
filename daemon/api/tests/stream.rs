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
    assert_eq!(text(&mut told).await, json!({ "notice": { "type": "live", "seq": 0 } }));
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
    // Numbers begin at 1, as in a store.
    let mut seq = 1;
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
    assert_eq!(text(&mut slow).await["notice"]["type"], "live");
    let lost_in_all = || served.drops.get(DropReason::SubscriberSlow);
    let (mut seen, mut told) = (0, 0);
    while seen + told < seq - 1 {
        let frame = text(&mut slow).await;
        match frame["notice"]["count"].as_u64() {
            Some(count) => told += count,
            // Any other notice is neither an entry nor a loss.
            None => seen += u64::from(frame["notice"].is_null()),
        }
    }
    assert_eq!(told, lost_in_all());
    assert_eq!(seen + told, seq - 1);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_a_number_gives_the_history_then_what_happens_each_once_and_in_order() {
    let served = serve(Options::default());
    let publish = |range: std::ops::RangeInclusive<u64>| {
        let batch: Vec<_> = range.map(|seq| entry(seq, "/a", 200)).collect();
        served.tap.publish(&batch);
        batch
    };
    let batch = publish(1..=40);
    served.fake.stored.lock().unwrap().extend(batch);
    // Published, and readable only after the subscription.
    let late = publish(41..=45);
    let mut socket = connect(&served, "/api/wsFull?from=3&notices=1&q=").await;
    let mut seen = Vec::new();
    for _ in 3..=40 {
        seen.push(text(&mut socket).await["seq"].as_u64().unwrap());
    }
    subscribed(&served, 1).await;
    publish(46..=50);
    served.fake.stored.lock().unwrap().extend(late);
    for _ in 41..=45 {
        seen.push(text(&mut socket).await["seq"].as_u64().unwrap());
    }
    assert_eq!(text(&mut socket).await, json!({ "notice": { "type": "live", "seq": 45 } }));
    for _ in 46..=50 {
        seen.push(text(&mut socket).await["seq"].as_u64().unwrap());
    }
    assert_eq!(seen, (3..=50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_history_and_what_happens_together() {
    let served = serve(Options::default());
    let batch: Vec<_> = (1..=3).map(|seq| entry(seq, "/a", 200)).collect();
    served.tap.publish(&batch);
    served.fake.stored.lock().unwrap().extend(batch);
    let mut socket = connect(&served, "/api/ws?from=1&q=limit(4)").await;
    for seq in 1..=3 {
        assert_eq!(text(&mut socket).await["seq"], seq);
    }
    subscribed(&served, 1).await;
    served.tap.publish(&[entry(4, "/a", 200), entry(5, "/a", 200)]);
    assert_eq!(text(&mut socket).await["seq"], 4);
    assert_eq!(closed(&mut socket).await.0, CloseCode::Normal);
    let mut socket = connect(&served, "/api/ws?from=1&q=limit(2)").await;
    assert_eq!(
        (text(&mut socket).await["seq"].clone(), text(&mut socket).await["seq"].clone()),
        (json!(1), json!(2))
    );
    assert_eq!(closed(&mut socket).await.0, CloseCode::Normal);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_mean_nothing_close_the_stream_and_say_which() {
    let served = serve(Options::default());
    for (query, part) in [
        ("from=yesterday", "yesterday"),
        ("fields=seq,respones", "respones"),
        ("format=xml", "xml"),
        ("snapshot=monday", "keeps no snapshots"),
    ] {
        let mut socket = connect(&served, &format!("/api/wsFull?{query}")).await;
        let (code, reason) = closed(&mut socket).await;
        assert_eq!(code, CloseCode::Policy);
        assert!(reason.contains(part), "{query}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_fields_come_alone_and_redacted_values_stay_hidden() {
    let served = serve(Options::default());
    let query = "fields=seq,request.path,request.headers.host&q=redact(%22request.path%22)";
    let mut socket = connect(&served, &format!("/api/wsFull?{query}")).await;
    let mut base = connect(&served, "/api/ws?fields=summary,status&q=").await;
    subscribed(&served, 2).await;
    served.tap.publish(&[entry(1, "/a", 200)]);
    let wanted =
        json!({ "seq": 1, "request": { "path": "[REDACTED]", "headers": { "Host": "shop.example" } } });
    assert_eq!(text(&mut socket).await, wanted);
    assert_eq!(text(&mut base).await, json!({ "summary": "/a", "status": 200 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_messagepack_say_the_same_as_json() {
    let served = serve(Options::default());
    let mut plain = connect(&served, "/api/wsFull?q=").await;
    let mut lines = connect(&served, "/api/wsFull?format=jsonl&q=").await;
    let mut packed = connect(&served, "/api/wsFull?format=msgpack&notices=1&q=").await;
    let mut chosen = connect(&served, "/api/wsFull?format=msgpack&fields=seq&q=").await;
    subscribed(&served, 4).await;
    served.tap.publish(&[entry(1, "/a", 200), entry(2, "/b", 404)]);
    let wanted = [text(&mut plain).await, text(&mut plain).await];
    let mut got = Vec::new();
    while got.len() < 2 {
        let Some(Ok(Message::Text(frame))) = lines.next().await else { panic!("a text frame") };
        assert!(frame.ends_with('\n'));
        got.extend(frame.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()));
    }
    assert_eq!(got, wanted);
    assert_eq!(unpacked(&mut packed).await["notice"]["type"], "live");
    for wanted in &wanted {
        assert_eq!(unpacked(&mut packed).await, *wanted);
    }
    assert_eq!(unpacked(&mut chosen).await, json!({ "seq": 1 }));
}

async fn unpacked<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> Json {
    match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time") {
        Some(Ok(Message::Binary(bytes))) => rmp_serde::from_slice(&bytes).unwrap(),
        other => panic!("expected a binary frame, got {other:?}"),
    }
}

/// Reads events until there are `count` data lines; `id` and data of each.
async fn events(served: &Served, path: &str, last: Option<&str>, count: usize) -> Vec<(String, Json)> {
    use http_body_util::BodyExt as _;
    let stream = UnixStream::connect(&served.socket).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = hyper::Request::builder().uri(path).header("host", "localhost");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let (mut text, mut seen) = (String::new(), Vec::new());
    while seen.len() < count {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("in time").unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        seen = text
            .split("\n\n")
            .filter_map(|event| event.split_once("\ndata: "))
            .map(|(head, data)| (head.to_owned(), serde_json::from_str(data).unwrap_or_default()))
            .collect();
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_have_ids_and_go_on_behind_the_last_one() {
    let served = serve(Options::default());
    let batch: Vec<_> = (1..=30).map(|seq| entry(seq, "/a", if seq % 2 == 0 { 500 } else { 200 })).collect();
    served.tap.publish(&batch);
    served.fake.stored.lock().unwrap().extend(batch);
    let path = "/api/v1/stream?kfl=response.status%20%3D%3D%20500&from=1&fields=response.status";
    let first = events(&served, path, None, 5).await;
    let wanted: Vec<_> = (1..=5)
        .map(|index| (format!("id: {}", index * 2), json!({ "response": { "status": 500 } })))
        .collect();
    assert_eq!(
        first
            .iter()
            .map(|(id, data)| (id.trim_start_matches(": entries follow\n\n").to_owned(), data.clone()))
            .take(5)
            .collect::<Vec<_>>(),
        wanted
    );
    let second = events(&served, path, Some("10"), 10).await;
    let ids: Vec<_> = second.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, (6..=15).map(|index| format!("id: {}", index * 2)).collect::<Vec<_>>());
    let (status, body) = served.get("/api/v1/stream?kfl=nonsense%20%3D%3D").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_numbering_is_told_and_everything_kept_comes() {
    let served = serve(Options::default());
    let batch: Vec<_> = (1..=2).map(|seq| entry(seq, "/a", 200)).collect();
    served.tap.publish(&batch);
    served.fake.stored.lock().unwrap().extend(batch);
    let mut socket = connect(&served, "/api/ws?from=seq:9000&notices=1&q=").await;
    assert_eq!(text(&mut socket).await["notice"]["type"], "missing");
    assert_eq!(
        (text(&mut socket).await["seq"].clone(), text(&mut socket).await["seq"].clone()),
        (json!(1), json!(2))
    );
}
