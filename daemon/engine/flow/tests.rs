//! Which packets belong together: pairing, NAT, listeners, namespaces, reuse, files, limits.

use std::time::Duration;

use super::*;
use crate::limits::Limits;
use crate::model::{Packet, SocketCookie, SocketEvent, SocketTuple, TcpState, Timestamp};
use crate::testing::{ACK, FIN_ACK, RST, SYN, SYN_ACK, Socket, Tcp, addr, from_file, ms, udp};

const C: &str = "10.0.0.1:40000";
const S: &str = "10.0.0.2:80";
const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

fn router() -> Router {
    Router::new(RouterConfig::new(4, &Limits::default()))
}

/// Connection, vantage, direction.
fn go(router: &mut Router, packet: Packet) -> (u64, u8, Direction) {
    match router.route(packet) {
        Routed::To { packet, .. } => (packet.connection.0, packet.vantage, packet.direction),
        Routed::Dropped(reason) => panic!("dropped: {reason:?}"),
    }
}

fn tcp(src: &str, dst: &str, seq: u32, ack: u32, flags: crate::wire::TcpFlags, payload: &[u8]) -> Vec<u8> {
    Tcp::new(src, dst, seq, ack, flags, payload).bytes()
}

/// A whole handshake and one exchange on one host; all packets must belong to one connection.
fn local_call(
    router: &mut Router,
    client: Socket,
    listener: Socket,
    child: Socket,
    c: &str,
    s: &str,
    isn: u32,
) -> u64 {
    let (up, down) = (isn + 1, isn + 5001);
    let syn = tcp(c, s, isn, 0, SYN, b"");
    let syn_ack = tcp(s, c, isn + 5000, up, SYN_ACK, b"");
    let ack = tcp(c, s, up, down, ACK, b"");
    let ask = tcp(c, s, up, down, ACK, b"ask");
    let answer = tcp(s, c, down, up + 3, ACK, b"answer");
    let (id, vantage, direction) = go(router, client.out(ms(0), syn.clone()));
    assert_eq!((vantage, direction), (0, UP));
    assert_eq!(go(router, listener.arrive(ms(0), syn)), (id, 1, UP));
    assert_eq!(go(router, listener.out(ms(0), syn_ack.clone())), (id, 1, DOWN));
    assert_eq!(go(router, client.arrive(ms(0), syn_ack)), (id, 0, DOWN));
    assert_eq!(go(router, client.out(ms(0), ack.clone())), (id, 0, UP));
    assert_eq!(go(router, listener.arrive(ms(0), ack)), (id, 1, UP));
    assert_eq!(go(router, client.out(ms(1), ask.clone())), (id, 0, UP));
    assert_eq!(go(router, child.arrive(ms(1), ask)), (id, 1, UP));
    assert_eq!(go(router, child.out(ms(2), answer.clone())), (id, 1, DOWN));
    assert_eq!(go(router, client.arrive(ms(2), answer)), (id, 0, DOWN));
    id
}

#[test]
fn both_ends_of_a_local_connection_are_one() {
    let mut router = router();
    let sockets = (Socket::connected(1, C, S), Socket::listener(2, "0.0.0.0:80"), Socket::connected(3, S, C));
    local_call(&mut router, sockets.0, sockets.1, sockets.2, C, S, 1000);
    assert_eq!(router.connections(), 1);
}

#[test]
fn both_ends_over_ipv6_are_one() {
    let (c, s) = ("[::1]:40000", "[::1]:80");
    let mut router = router();
    local_call(
        &mut router,
        Socket::connected(1, c, s),
        Socket::listener(2, "[::]:80"),
        Socket::connected(3, s, c),
        c,
        s,
        9,
    );
    assert_eq!(router.connections(), 1);
}

#[test]
fn first_data_under_the_listeners_cookie_stays_with_the_child() {
    let mut router = router();
    let (client, listener) = (Socket::connected(1, C, S), Socket::listener(2, "0.0.0.0:80"));
    let child = Socket::connected(3, S, C);
    let id = go(&mut router, client.out(ms(0), tcp(C, S, 10, 0, SYN, b""))).0;
    go(&mut router, listener.arrive(ms(0), tcp(C, S, 10, 0, SYN, b"")));
    go(&mut router, listener.out(ms(0), tcp(S, C, 50, 11, SYN_ACK, b"")));
    go(&mut router, client.out(ms(1), tcp(C, S, 11, 51, ACK, b"ask")));
    assert_eq!(go(&mut router, listener.arrive(ms(1), tcp(C, S, 11, 51, ACK, b"ask"))), (id, 1, UP));
    assert_eq!(go(&mut router, child.out(ms(2), tcp(S, C, 51, 14, ACK, b"answer"))), (id, 1, DOWN));
    assert_eq!(router.connections(), 1);
}

#[test]
fn remote_client_has_one_vantage_and_its_listener_is_aliased() {
    let mut router = router();
    let (listener, child) = (Socket::listener(2, "0.0.0.0:80"), Socket::connected(3, S, C));
    let (id, vantage, direction) = go(&mut router, listener.arrive(ms(0), tcp(C, S, 10, 0, SYN, b"")));
    assert_eq!((vantage, direction), (1, UP));
    go(&mut router, listener.out(ms(0), tcp(S, C, 50, 11, SYN_ACK, b"")));
    go(&mut router, listener.arrive(ms(1), tcp(C, S, 11, 51, ACK, b"")));
    assert_eq!(go(&mut router, child.arrive(ms(1), tcp(C, S, 11, 51, ACK, b"ask"))), (id, 1, UP));
    assert_eq!(go(&mut router, child.out(ms(1), tcp(S, C, 51, 14, ACK, b"answer"))), (id, 1, DOWN));
}

#[test]
fn same_tuple_in_two_namespaces_stays_two_connections() {
    let (c, s) = ("127.0.0.1:40000", "127.0.0.1:80");
    let mut router = router();
    let client = [1, 11].map(|cookie| Socket::connected(cookie, c, s));
    let listener = [2, 12].map(|cookie| Socket::listener(cookie, "127.0.0.1:80"));
    let child = [3, 13].map(|cookie| Socket::connected(cookie, s, c));
    let isn = [1000_u32, 3_000_000_000];
    let mut ids = [0; 2];
    for n in 0..2 {
        ids[n] = go(&mut router, client[n].out(ms(0), tcp(c, s, isn[n], 0, SYN, b""))).0;
    }
    assert_ne!(ids[0], ids[1]);
    for n in [1, 0] {
        assert_eq!(
            go(&mut router, listener[n].arrive(ms(0), tcp(c, s, isn[n], 0, SYN, b""))),
            (ids[n], 1, UP)
        );
    }
    for n in 0..2 {
        let syn_ack = tcp(s, c, isn[n] ^ 0xffff, isn[n] + 1, SYN_ACK, b"");
        assert_eq!(go(&mut router, listener[n].out(ms(0), syn_ack.clone())).0, ids[n]);
        assert_eq!(go(&mut router, client[n].arrive(ms(0), syn_ack)).0, ids[n]);
    }
    for n in [1, 0] {
        let ask = tcp(c, s, isn[n] + 1, (isn[n] ^ 0xffff) + 1, ACK, b"ask");
        assert_eq!(go(&mut router, client[n].out(ms(1), ask.clone())).0, ids[n]);
        assert_eq!(go(&mut router, child[n].arrive(ms(1), ask)), (ids[n], 1, UP));
    }
    assert_eq!(router.connections(), 2);
}

#[test]
fn same_tuple_in_two_namespaces_stays_two_connections_mid_stream() {
    let (c, s) = ("127.0.0.1:40000", "127.0.0.1:80");
    let mut router = router();
    let seqs = [(1000_u32, 77_u32), (2_000_000_000, 3_000_000_000)];
    let ids = [0, 1].map(|n: usize| {
        let ask = tcp(c, s, seqs[n].0, seqs[n].1, ACK, b"ask");
        go(&mut router, Socket::connected(1 + n as u64 * 10, c, s).out(ms(0), ask)).0
    });
    for n in [1, 0] {
        let ask = tcp(c, s, seqs[n].0, seqs[n].1, ACK, b"ask");
        assert_eq!(
            go(&mut router, Socket::connected(3 + n as u64 * 10, s, c).arrive(ms(0), ask)),
            (ids[n], 1, UP)
        );
    }
    assert_eq!(router.connections(), 2);
}

#[test]
fn output_dnat_is_one_connection() {
    let (service, real) = ("10.96.0.1:7031", "10.0.0.2:7001");
    let mut router = router();
    let client = Socket::connected(1, C, service);
    let (listener, child) = (Socket::listener(2, "0.0.0.0:7001"), Socket::connected(3, real, C));
    let id = go(&mut router, client.out(ms(0), tcp(C, real, 10, 0, SYN, b""))).0;
    assert_eq!(go(&mut router, listener.arrive(ms(0), tcp(C, real, 10, 0, SYN, b""))), (id, 1, UP));
    assert_eq!(go(&mut router, listener.out(ms(0), tcp(real, C, 50, 11, SYN_ACK, b""))), (id, 1, DOWN));
    assert_eq!(go(&mut router, client.arrive(ms(0), tcp(service, C, 50, 11, SYN_ACK, b""))), (id, 0, DOWN));
    assert_eq!(go(&mut router, client.out(ms(0), tcp(C, real, 11, 51, ACK, b"ask"))), (id, 0, UP));
    assert_eq!(go(&mut router, child.arrive(ms(0), tcp(C, real, 11, 51, ACK, b"ask"))), (id, 1, UP));
    assert_eq!(router.connections(), 1);
}

#[test]
fn nat_between_namespaces_is_seen_through_by_the_syn() {
    let (service, real, masked) = ("10.96.0.1:80", "10.1.0.9:8080", "10.1.0.1:55555");
    let mut router = router();
    let client = Socket::connected(1, C, service);
    let (listener, child) = (Socket::listener(2, "0.0.0.0:8080"), Socket::connected(3, real, masked));
    let syn = |src: &str, dst: &str, tsval| {
        let mut syn = Tcp::new(src, dst, 10, 0, SYN, b"");
        syn.tsval = Some(tsval);
        syn.bytes()
    };
    let id = go(&mut router, client.out(ms(0), syn(C, service, 5))).0;
    // The same numbers with another timestamp are another connection.
    assert_ne!(
        go(&mut router, Socket::listener(9, "0.0.0.0:81").arrive(ms(0), syn(masked, "10.1.0.9:81", 6))).0,
        id
    );
    assert_eq!(go(&mut router, listener.arrive(ms(0), syn(masked, real, 5))), (id, 1, UP));
    assert_eq!(go(&mut router, listener.out(ms(0), tcp(real, masked, 50, 11, SYN_ACK, b""))), (id, 1, DOWN));
    assert_eq!(go(&mut router, client.arrive(ms(0), tcp(service, C, 50, 11, SYN_ACK, b""))), (id, 0, DOWN));
    assert_eq!(go(&mut router, child.arrive(ms(1), tcp(masked, real, 11, 51, ACK, b"ask"))), (id, 1, UP));
    assert_eq!(router.connections(), 2);
}

#[test]
fn nat_is_seen_through_mid_stream_by_the_data() {
    let (service, real, masked) = ("10.96.0.1:80", "10.1.0.9:8080", "10.1.0.1:55555");
    let mut router = router();
    let (client, child) = (Socket::connected(1, C, service), Socket::connected(3, real, masked));
    // Both ends show something that cannot be compared before the first data passes.
    let id = go(&mut router, client.out(ms(0), tcp(C, service, 11, 51, ACK, b""))).0;
    assert_ne!(go(&mut router, child.arrive(ms(0), tcp(masked, real, 11, 51, ACK, b""))).0, id);
    assert_eq!(go(&mut router, client.out(ms(1), tcp(C, service, 11, 51, ACK, b"ask"))), (id, 0, UP));
    assert_eq!(go(&mut router, child.arrive(ms(1), tcp(masked, real, 11, 51, ACK, b"ask"))), (id, 1, UP));
    assert_eq!(go(&mut router, child.out(ms(2), tcp(real, masked, 51, 14, ACK, b"answer"))), (id, 1, DOWN));
    assert_eq!(router.connections(), 1);
    // The same at once, when the second end is new.
    let (other, far) =
        (Socket::connected(4, "10.0.0.1:40004", service), Socket::connected(5, real, "10.1.0.1:40005"));
    let id = go(&mut router, other.out(ms(3), tcp("10.0.0.1:40004", service, 900, 800, ACK, b"ask"))).0;
    assert_eq!(
        go(&mut router, far.arrive(ms(3), tcp("10.1.0.1:40005", real, 900, 800, ACK, b"ask"))),
        (id, 1, UP)
    );
    assert_eq!(router.connections(), 2);
}

#[test]
fn a_flood_of_openings_evicts_itself_first() {
    let mut config = RouterConfig::new(1, &Limits::default());
    config.max_connections = 16;
    let mut router = Router::new(config);
    let sockets = (Socket::connected(1, C, S), Socket::listener(2, "0.0.0.0:80"), Socket::connected(3, S, C));
    let id = local_call(&mut router, sockets.0, sockets.1, sockets.2, C, S, 1000);
    for n in 0..5000_u32 {
        let from = format!("10.9.{}.{}:1", n / 250, n % 250);
        go(&mut router, sockets.1.arrive(ms(u64::from(n) + 10), tcp(&from, S, n, 0, SYN, b"")));
    }
    assert_eq!(go(&mut router, sockets.0.out(ms(9000), tcp(C, S, 1004, 6007, ACK, b"more"))).0, id);
    assert!(router.queue_sizes().iter().all(|size| *size <= 2 * 16 + 1025));
}

#[test]
fn one_tuple_used_again_and_again_costs_no_more_than_another() {
    let mut router = router();
    for n in 0..5000_u32 {
        go(&mut router, from_file(ms(0), tcp(C, S, n * 10_000, 0, SYN, b"")));
    }
    assert!(router.most_twins() <= 16);
    router.expire(ms(100_000));
    router.expire(ms(100_000));
    assert_eq!(router.connections(), 0);
    assert_eq!(router.index_sizes(), [0; 5]);
}

#[test]
fn used_port_starts_a_new_connection() {
    let mut router = router();
    let listener = Socket::listener(2, "0.0.0.0:80");
    let old =
        local_call(&mut router, Socket::connected(1, C, S), listener, Socket::connected(3, S, C), C, S, 1000);
    let new = local_call(
        &mut router,
        Socket::connected(4, C, S),
        listener,
        Socket::connected(5, S, C),
        C,
        S,
        900_000,
    );
    assert_ne!(old, new);
    assert_eq!(router.connections(), 2);
}

#[test]
fn used_port_in_a_file_starts_a_new_connection() {
    let mut router = router();
    let first = go(&mut router, from_file(ms(0), tcp(C, S, 10, 0, SYN, b""))).0;
    assert_eq!(go(&mut router, from_file(ms(0), tcp(C, S, 10, 0, SYN, b""))), (first, 0, UP));
    assert_eq!(go(&mut router, from_file(ms(1), tcp(S, C, 50, 11, SYN_ACK, b""))), (first, 0, DOWN));
    let second = go(&mut router, from_file(ms(2), tcp(C, S, 99_999, 0, SYN, b""))).0;
    assert_ne!(first, second);
    assert_eq!(go(&mut router, from_file(ms(3), tcp(S, C, 7, 100_000, SYN_ACK, b""))), (second, 0, DOWN));
    router.expire(ms(10_000));
    assert_eq!(router.connections(), 1);
}

#[test]
fn mid_stream_roles_come_from_listeners_then_from_ports() {
    let mut router = router();
    let server = Socket::connected(3, "10.0.0.2:50000", "10.0.0.1:40000");
    let answer = || tcp("10.0.0.2:50000", "10.0.0.1:40000", 1, 1, ACK, b"answer");
    // By ports alone the higher one is taken for the client.
    assert_eq!(go(&mut router, server.out(ms(0), answer())).2, UP);
    let mut router = self::router();
    router.socket_event(&SocketEvent::State {
        at: ms(0),
        cookie: SocketCookie(9),
        tuple: SocketTuple { local: addr("0.0.0.0:50000"), remote: addr("0.0.0.0:0") },
        netns: 1,
        state: TcpState::LISTEN,
    });
    assert_eq!(go(&mut router, server.out(ms(0), answer())), (1, 1, DOWN));
    router.socket_event(&SocketEvent::Destroyed { at: ms(0), cookie: SocketCookie(9) });
    let (near, far) = ("10.0.0.2:50000", "10.0.0.1:40001");
    let late =
        go(&mut router, Socket::connected(5, near, far).out(ms(0), tcp(near, far, 1, 1, ACK, b"answer")));
    assert_eq!(late.2, UP);
}

#[test]
fn mid_stream_server_first_is_still_the_server() {
    let mut router = router();
    let (client, child) = (Socket::connected(1, C, S), Socket::connected(3, S, C));
    let answer = tcp(S, C, 51, 14, ACK, b"answer");
    let (id, vantage, direction) = go(&mut router, child.out(ms(0), answer.clone()));
    assert_eq!((vantage, direction), (1, DOWN));
    assert_eq!(go(&mut router, client.arrive(ms(0), answer)), (id, 0, DOWN));
}

#[test]
fn refused_connection_is_one() {
    let mut router = router();
    let (client, kernel) = (Socket::connected(1, C, S), Socket::listener(7, "0.0.0.0:0"));
    let id = go(&mut router, client.out(ms(0), tcp(C, S, 10, 0, SYN, b""))).0;
    let refusal = tcp(S, C, 0, 11, crate::wire::TcpFlags(RST.0 | ACK.0), b"");
    assert_eq!(go(&mut router, kernel.out(ms(0), refusal.clone())), (id, 1, DOWN));
    assert_eq!(go(&mut router, client.arrive(ms(0), refusal)), (id, 0, DOWN));
    router.expire(ms(10_000));
    assert_eq!(router.connections(), 0);
}

#[test]
fn datagrams_pair_when_the_same_one_shows_at_the_other_end() {
    let (c, s) = ("127.0.0.1:40000", "127.0.0.53:53");
    let mut router = router();
    let (client, server) = (Socket::connected(1, c, s), Socket::listener(2, s));
    let id = go(&mut router, client.out(ms(0), udp(c, s, b"query"))).0;
    assert_eq!(go(&mut router, server.arrive(ms(0), udp(c, s, b"query"))), (id, 1, UP));
    assert_eq!(go(&mut router, server.out(ms(0), udp(s, c, b"answer"))), (id, 1, DOWN));
    assert_eq!(go(&mut router, client.arrive(ms(0), udp(s, c, b"answer"))), (id, 0, DOWN));
    router.expire(ms(61_000));
    assert_eq!(router.connections(), 0);
}

#[test]
fn datagrams_of_one_tuple_in_two_namespaces_find_their_own_ends() {
    let (c, s) = ("127.0.0.1:40000", "127.0.0.53:53");
    let mut router = router();
    let client = [1, 11].map(|cookie| Socket::connected(cookie, c, s));
    let server = [2, 12].map(|cookie| Socket::listener(cookie, s));
    let query = [b"query 1", b"query 2"];
    let ids = [0, 1].map(|n: usize| go(&mut router, client[n].out(ms(0), udp(c, s, query[n]))).0);
    assert_ne!(ids[0], ids[1]);
    for n in [0, 1] {
        assert_eq!(go(&mut router, server[n].arrive(ms(0), udp(c, s, query[n]))), (ids[n], 1, UP));
        assert_eq!(go(&mut router, server[n].out(ms(0), udp(s, c, query[n]))), (ids[n], 1, DOWN));
    }
    // Where even the datagrams are alike, the latest one is meant: delivery on one host is at once.
    let mut router = self::router();
    for n in [0, 1] {
        let id = go(&mut router, client[n].out(ms(n as u64), udp(c, s, b"ping"))).0;
        assert_eq!(go(&mut router, server[n].arrive(ms(n as u64), udp(c, s, b"ping"))), (id, 1, UP));
    }
    assert_eq!(router.connections(), 2);
}

#[test]
fn both_ends_share_a_shard_and_new_connections_spread() {
    let mut router = router();
    let mut shards = [0; 4];
    for n in 0..40_u16 {
        let c = format!("10.0.0.1:{}", 40_000 + n);
        let syn = tcp(&c, S, u32::from(n) * 7, 0, SYN, b"");
        let shard = |routed| match routed {
            Routed::To { shard, .. } => shard,
            Routed::Dropped(reason) => panic!("{reason:?}"),
        };
        let at_client =
            shard(router.route(Socket::connected(u64::from(n) + 100, &c, S).out(ms(0), syn.clone())));
        let at_server = shard(router.route(Socket::listener(2, S).arrive(ms(0), syn)));
        assert_eq!(at_client, at_server);
        shards[at_client] += 1;
    }
    assert_eq!(shards, [10; 4]);
}

#[test]
fn full_table_evicts_the_least_recently_used_of_the_same_shard() {
    let mut config = RouterConfig::new(2, &Limits::default());
    config.max_connections = 4;
    let mut router = Router::new(config);
    let mut shard_of = Vec::new();
    for n in 0..200_u16 {
        let c = format!("10.0.0.1:{}", 1000 + n);
        let at = Timestamp(ms(0).0 + u64::from(n) * 2_000_000_000);
        let Routed::To { shard, packet } = router.route(from_file(at, tcp(&c, S, 1, 0, SYN, b""))) else {
            panic!()
        };
        shard_of.push(shard);
        let evicted = (n >= 4).then(|| crate::model::ConnectionId(u64::from(n) - 3));
        assert_eq!(packet.replaces, evicted);
        if let Some(evicted) = evicted {
            assert_eq!(shard_of[evicted.0 as usize - 1], shard);
        }
        assert!(router.connections() <= 4);
    }
    assert!(router.index_sizes().iter().all(|size| *size <= 4));
}

#[test]
fn ended_and_idle_connections_leave_nothing_behind() {
    let mut router = router();
    let sockets = (Socket::connected(1, C, S), Socket::listener(2, "0.0.0.0:80"), Socket::connected(3, S, C));
    local_call(&mut router, sockets.0, sockets.1, sockets.2, C, S, 1000);
    go(&mut router, sockets.0.out(ms(3), tcp(C, S, 1004, 6007, FIN_ACK, b"")));
    go(&mut router, sockets.2.out(ms(4), tcp(S, C, 6007, 1005, FIN_ACK, b"")));
    go(&mut router, from_file(ms(4), udp("10.0.0.7:1", "10.0.0.8:53", b"x")));
    router.expire(ms(3000));
    assert_eq!(router.connections(), 2);
    router.expire(ms(3004));
    assert_eq!(router.connections(), 1);
    router.expire(Timestamp(ms(0).0).plus(Duration::from_secs(7200)));
    assert_eq!(router.connections(), 0);
    assert_eq!(router.index_sizes(), [0; 5]);
}

#[test]
fn destroyed_socket_ends_its_lone_connection_after_a_linger() {
    let mut router = router();
    go(&mut router, Socket::connected(1, C, S).out(ms(0), tcp(C, S, 10, 20, ACK, b"x")));
    router.socket_event(&SocketEvent::Destroyed { at: ms(1), cookie: SocketCookie(1) });
    router.expire(ms(2));
    assert_eq!(router.connections(), 1);
    router.expire(ms(3001));
    assert_eq!(router.connections(), 0);
}

#[test]
fn broken_packets_are_dropped_with_a_reason() {
    let mut router = router();
    let Routed::Dropped(reason) = router.route(from_file(ms(0), vec![0x45; 8])) else { panic!() };
    assert_eq!(reason, DropReason::NotIp);
}
