//! Issue 5: WebSocket messages of real peers, compressed and through a proxy.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Nginx, PythonServer};

/// Answers each text with its own; says hello first. The argument is the compression.
const SERVER: &str = r#"
import asyncio, websockets
async def serve(socket, *_):
    await socket.send('{"kind":"hello","from":"server"}')
    async for text in socket:
        await socket.send(text if isinstance(text, bytes) else '{"kind":"echo","of":%s}' % text)
async def main():
    server = await websockets.serve(serve, '127.0.0.1', 0, compression=COMPRESSION)
    print(server.sockets[0].getsockname()[1])
    await asyncio.Future()
asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], compression=COMPRESSION) as socket:
        await socket.recv()
        for number in range(5):
            await socket.send('{"kind":"ask","number":%d}' % number)
            await socket.recv()
        await socket.ping(b'still there')
        await socket.send(bytes(range(256)))
        await socket.recv()
        await socket.send('"%s"' % ('x' * 200000))
        await socket.recv()
asyncio.run(main())
"#;

fn start_server(compression: &str) -> PythonServer {
    PythonServer::start(&SERVER.replace("COMPRESSION", compression))
}

fn talk(url: &str, compression: &str) {
    let program = CLIENT.replace("COMPRESSION", compression);
    let output =
        Command::new("/usr/bin/python3").args(["-c", &program, url]).output().expect("start python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text_of(entry: &Value) -> &str {
    let side = if entry["request"].is_null() { &entry["response"] } else { &entry["request"] };
    side["payload"].as_str().expect("a payload")
}

/// Texts of the entries of one direction, without control messages.
fn texts<'a>(entries: &'a [Value], side: &str) -> Vec<&'a str> {
    let of_side = entries.iter().filter(|entry| !entry[side].is_null());
    of_side.filter(|entry| entry[side]["opcode"] == "text").map(text_of).collect()
}

fn assert_conversation(entries: &[Value], path: &str, compressed: bool) {
    let asked: Vec<String> = (0..5).map(|number| format!(r#"{{"kind":"ask","number":{number}}}"#)).collect();
    let sent = texts(entries, "request");
    assert_eq!(&sent[..5], &asked[..]);
    assert_eq!(sent[5].len(), 200_002);
    let answers = texts(entries, "response");
    assert_eq!(answers[0], r#"{"kind":"hello","from":"server"}"#);
    assert_eq!(answers[5], format!(r#"{{"kind":"echo","of":{}}}"#, asked[4]));
    assert_eq!(answers[6].len(), 200_002 + 21);
    for entry in entries {
        let side = if entry["request"].is_null() { "response" } else { "request" };
        assert_eq!(entry["protocol"]["macro"], "ws");
        assert_eq!(entry[side]["path"], path, "{entry}");
        assert_eq!(entry["error"], Value::Null, "{entry}");
        assert_eq!(entry["events"].as_array().map(Vec::len), Some(0), "{entry}");
        if entry[side]["opcode"] == "text" {
            assert_eq!(entry[side]["compressed"], compressed, "{entry}");
        }
    }
    for opcode in ["ping", "pong", "binary", "close"] {
        let found =
            |entry: &Value| ["request", "response"].iter().any(|side| entry[*side]["opcode"] == opcode);
        assert!(entries.iter().any(found), "no {opcode}");
    }
}

/// Messages of [`CLIENT`]: 7 each way, ping and pong, two closes, and the greeting.
const MESSAGES: usize = 7 * 2 + 2 + 2 + 1;

#[test]
fn root_messages_are_entries_compressed_or_not() {
    let daemon = Daemon::start();
    for (compression, compressed) in [("None", false), ("'deflate'", true)] {
        let server = start_server(compression);
        let mut feed = daemon.feed(&format!("ws and dst.port == {}", server.port));
        talk(&format!("ws://127.0.0.1:{}/chat?room=7", server.port), compression);
        let entries = feed.take(MESSAGES);
        assert_conversation(&entries, "/chat", compressed);
        assert!(feed.is_quiet(Duration::from_millis(300)), "more entries than messages");
    }
}

#[test]
fn root_messages_through_a_proxy_are_seen_on_both_of_its_sides() {
    let server = start_server("'deflate'");
    let nginx = Nginx::start(&format!(
        "location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        server.port
    ));
    let daemon = Daemon::start();
    let mut front = daemon.feed(&format!("ws_path == \"/live\" and dst.port == {}", nginx.port));
    let mut back = daemon.feed(&format!("ws_path == \"/live\" and dst.port == {}", server.port));
    talk(&format!("ws://127.0.0.1:{}/live", nginx.port), "'deflate'");
    assert_conversation(&front.take(MESSAGES), "/live", true);
    assert_conversation(&back.take(MESSAGES), "/live", true);
}

#[test]
fn root_filters_find_messages_by_their_direction_and_content() {
    let server = start_server("'deflate'");
    let daemon = Daemon::start();
    // Others on this host may have such conversations, too.
    let feed = |filter: &str| daemon.feed(&format!("dst.port == {} && {filter}", server.port));
    let mut asks = feed(r#"ws && ws_request && ws_request_payload_data.contains("\"number\":3")"#);
    let mut echo = feed(r#"ws_opcode == "text" && ws_response && ws_response_payload_length > 100000"#);
    talk(&format!("ws://127.0.0.1:{}/x", server.port), "'deflate'");
    assert_eq!(text_of(&asks.next()), r#"{"kind":"ask","number":3}"#);
    assert_eq!(text_of(&echo.next()).len(), 200_023);
}
