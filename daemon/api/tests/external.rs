//! Clients that are not ours: npm's wscat and Python's websockets.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn wscat_streams_with_a_command_and_a_wait() {
    let served = serve(Options::default());
    let mut child = Command::new("wscat")
        .args([
            "--connect",
            &format!("ws://{}/api/wsFull", served.tcp),
            "-x",
            "response.status > 300",
            "-w",
            "2",
        ])
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("npm's wscat is installed");
    // wscat ends with its input; held open, it stays for the two seconds.
    let _keyboard = child.stdin.take();
    until("subscription", || served.tap.subscribers() == 1).await;
    served.tap.publish(&[entry(1, "/ok", 200), entry(2, "/gone", 404)]);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"host-a/17c-1-2\"") && !text.contains("/ok"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wscat_streams_interactively() {
    let served = serve(Options::default());
    let mut child = Command::new("script")
        .args(["-qefc", &format!("wscat --connect ws://{}/api/wsFull", served.tcp), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("util-linux' script is installed");
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = BufReader::new(child.stdout.take().unwrap()).lines();
    read_until(&mut screen, "Connected").await;
    keyboard.write_all(b"response.status > 300\n").await.unwrap();
    until("subscription", || served.tap.subscribers() == 1).await;
    served.tap.publish(&[entry(2, "/gone", 404)]);
    read_until(&mut screen, "host-a/17c-1-2").await;
}

async fn read_until(screen: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>, wanted: &str) {
    let found = async {
        while let Some(line) = screen.next_line().await.unwrap() {
            if line.contains(wanted) {
                return;
            }
        }
        panic!("{wanted:?} was not shown");
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("{wanted:?} was not shown in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_websockets_reads_entries_and_the_reason_of_a_refusal() {
    let served = serve(Options::default());
    let script = r#"
import asyncio, sys, websockets
async def main(url):
    async with websockets.connect(url) as ws:
        await ws.send("response.status == 404")
        print(await ws.recv())
    async with websockets.connect(url) as ws:
        await ws.send("response.status ===")
        try:
            await ws.recv()
        except websockets.ConnectionClosed as e:
            print(e.rcvd.code if hasattr(e, "rcvd") else e.code, e.rcvd.reason if hasattr(e, "rcvd") else e.reason)
asyncio.run(main(sys.argv[1]))
"#;
    let child = Command::new("/usr/bin/python3")
        .args(["-c", script, &format!("ws://{}/api/wsFull", served.tcp)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("subscription", || served.tap.subscribers() == 1).await;
    served.tap.publish(&[entry(2, "/gone", 404)]);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("host-a/17c-1-2") && text.contains("1008 1:"), "{text}");
}
