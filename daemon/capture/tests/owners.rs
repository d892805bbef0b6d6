//! Who owns a socket: each way in which a process can come by one.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::support::*;
use crate::engine::model::{
    Hook, OwnerEvidence, ProcessEvent, Record, SocketCookie, SocketEvent, SocketTuple, TcpState,
};

/// The cookie of the socket at `local` of the connection with `remote`, from its packets.
fn cookie_at(seen: &Seen, local_port: u16, remote_port: u16) -> SocketCookie {
    seen.wait("packets of the connection", |records| {
        records.iter().find_map(|record| match record {
            Record::Packet(packet) => packet
                .socket
                .filter(|socket| (socket.local.port, socket.remote.port) == (local_port, remote_port))
                .map(|_| packet.cookie),
            _ => None,
        })
    })
}

/// Waits until `pid` is reported as owner of the socket with at least this evidence.
fn wait_owner(seen: &Seen, wanted: SocketCookie, pid: u32, least: OwnerEvidence) -> SocketEvent {
    seen.wait(&format!("{pid} as owner of {wanted:?} by {least:?}"), |records| {
        records.iter().find_map(|record| match record {
            Record::Socket(event @ SocketEvent::Owner { cookie, process, evidence, .. })
                if *cookie == wanted && process.pid == pid && *evidence >= least =>
            {
                Some(event.clone())
            }
            _ => None,
        })
    })
}

/// The server's socket of the only connection to `port`, by its packets.
fn server_cookie(seen: &Seen, port: u16) -> SocketCookie {
    seen.wait("the server's end", |records| {
        records.iter().find_map(|record| match record {
            Record::Packet(packet) => packet
                .socket
                .filter(|socket| socket.local.port == port && socket.remote.port != 0)
                .map(|_| packet.cookie),
            _ => None,
        })
    })
}

#[test]
fn root_a_mark_is_reached_when_all_events_before_it_were_delivered() {
    let (listener, port) = listener();
    let running = start_all();
    let events = running.capture.socket_events().expect("owners are seen on this kernel");
    let reached = |mark| {
        let deadline = Instant::now() + PATIENCE;
        while !events.has_reached(mark) {
            assert!(Instant::now() < deadline, "the reader did not wake up");
            std::thread::yield_now();
        }
    };
    for _ in 0..5 {
        // Nothing can be delivered meanwhile.
        let held = running.sockets.0.0.lock().expect("no panic");
        let (client, _server) = exchange(&listener, b"ask", b"answer");
        let client_port = client.local_addr().expect("connected").port();
        let mark = events.mark();
        assert!(!events.has_reached(mark));
        drop(held);
        reached(mark);
        let records = running.sockets.0.0.lock().expect("no panic");
        let is_it = |tuple: &SocketTuple| tuple.local.port == client_port && tuple.remote.port == port;
        let is_there = records
            .iter()
            .any(|record| matches!(record, Record::Socket(SocketEvent::State { tuple, .. }) if is_it(tuple)));
        assert!(is_there, "not delivered before the mark");
    }
    // Also of a reader that sleeps since nothing happens.
    reached(events.mark());
}

#[test]
fn root_connection_from_before_the_start_has_its_owner() {
    let (listener, port) = listener();
    let (mut client, mut server) = exchange(&listener, b"before", b"before");
    let client_port = client.local_addr().expect("connected").port();
    let running = start_all();
    let owner = running.sockets.wait("file table", |records| {
        records.iter().find_map(|record| match record {
            Record::Socket(SocketEvent::State { cookie, tuple, state, .. })
                if tuple.local.port == client_port
                    && tuple.remote.port == port
                    && *state == TcpState::ESTABLISHED =>
            {
                Some(*cookie)
            }
            _ => None,
        })
    });
    let event = wait_owner(&running.sockets, owner, std::process::id(), OwnerEvidence::FileTable);
    let SocketEvent::Owner { uid, netns, process, ppid, .. } = event else { panic!("{event:?}") };
    assert!(process.started > 0 && netns > 0 && ppid == std::os::unix::process::parent_id());
    assert_eq!(uid, Some(0));
    send(&mut client, &mut server, b"after");
    assert_eq!(cookie_at(&running.packets, client_port, port), owner);
}

#[test]
fn root_prefork_connection_belongs_to_the_worker() {
    let running = start_all();
    let server = Server::start("prefork");
    let worker = server.ask();
    assert_ne!(worker, server.child.id());
    let cookie = server_cookie(&running.packets, server.port);
    wait_owner(&running.sockets, cookie, worker, OwnerEvidence::DataTransfer);
}

#[test]
fn root_connection_handed_to_an_execed_child_belongs_to_it() {
    let running = start_all();
    let server = Server::start("handover");
    let child = server.ask();
    assert_ne!(child, server.child.id());
    let cookie = server_cookie(&running.packets, server.port);
    wait_owner(&running.sockets, cookie, child, OwnerEvidence::DataTransfer);
    running.sockets.wait("exec of the child", |records| {
        records.iter().find_map(|record| match record {
            Record::Process(ProcessEvent::Exec { process, path, .. }) if process.pid == child => {
                assert!(path.contains("python"), "{path}");
                Some(())
            }
            _ => None,
        })
    });
}

#[test]
fn root_udp_sender_is_known() {
    let running = start_all();
    let from = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let to = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let target: SocketAddr = to.local_addr().expect("bound");
    from.send_to(b"x", target).expect("sends");
    let cookie = running.packets.wait("datagram", |records| {
        let mut packets = records.iter().filter_map(|record| packet_of(record, target.port()));
        packets.find(|packet| packet.hook == Hook::Egress).map(|packet| packet.cookie)
    });
    wait_owner(&running.sockets, cookie, std::process::id(), OwnerEvidence::DataTransfer);
    drop(from);
    running.sockets.wait("end of the socket", |records| {
        let is_end = |record: &Record| matches!(record, Record::Socket(SocketEvent::Destroyed { cookie: gone, .. }) if *gone == cookie);
        records.iter().any(is_end).then_some(())
    });
}

#[test]
fn root_short_lived_client_is_known_with_its_executable() {
    let running = start_all();
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl")
        .args(["-s", "-m", CURL_PATIENCE, &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let pid = curl.id();
    let (mut server, peer) = listener.accept().expect("accepts");
    answer_http(&mut server);
    assert_eq!(curl.wait_with_output().expect("curl").stdout, b"hello");
    let cookie = cookie_at(&running.packets, peer.port(), port);
    let event = wait_owner(&running.sockets, cookie, pid, OwnerEvidence::Connect);
    let SocketEvent::Owner { name, ppid, process, .. } = event else { panic!("{event:?}") };
    assert_eq!((name.as_str(), ppid), ("curl", std::process::id()));
    running.sockets.wait("exec and exit of curl", |records| {
        let is_exec = |record: &Record| matches!(record, Record::Process(ProcessEvent::Exec { process: key, path, .. }) if *key == process && path.ends_with("/curl"));
        let is_exit = |record: &Record| matches!(record, Record::Process(ProcessEvent::Exit { process: key, .. }) if *key == process);
        (records.iter().any(is_exec) && records.iter().any(is_exit)).then_some(())
    });
}
