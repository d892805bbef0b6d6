//! Which plaintext goes where: late sockets, late packets, reuse, contradictions, bounds.

use std::time::Duration;

use super::*;
use crate::flow::{Routed, RouterConfig};
use crate::limits::Limits;
use crate::testing::{ACK, SYN, Socket, Tcp, Tls, ms};

const S: &str = "10.0.0.2:443";

struct Rig {
    router: Router,
    binder: Binder,
    out: Bound,
}

impl Rig {
    fn new() -> Self {
        let router = Router::new(RouterConfig::new(4, &Limits::default()));
        Self { router, binder: Binder::default(), out: Bound::default() }
    }

    /// A packet of a socket is routed; returns its connection.
    fn packet(&mut self, cookie: u64) -> u64 {
        let local = format!("10.0.0.1:{}", 10_000 + cookie % 50_000);
        let data = Tcp::new(&local, S, cookie as u32 * 1000, 0, SYN, b"").bytes();
        let packet = Socket::connected(cookie, &local, S).out(ms(0), data);
        let Routed::To { packet, .. } = self.router.route(packet) else { panic!("dropped") };
        packet.connection.0
    }

    fn event(&mut self, event: TlsEvent) {
        self.binder.event(event, ms(0), &self.router, &mut self.out);
    }

    fn retry(&mut self, at: u64) {
        self.binder.retry(ms(at), &self.router, &mut self.out);
    }

    /// What came out: connection and text, or what else happened.
    fn taken(&mut self) -> Vec<(u64, String)> {
        let show = |news: TlsNews| match news {
            TlsNews::Data(chunk, witness) => {
                format!("{} {}", String::from_utf8_lossy(&chunk.data), witness.name())
            }
            TlsNews::Closed(..) => "closed".into(),
            TlsNews::Revoked(..) => "revoked".into(),
        };
        self.out.routed.drain(..).map(|(_, routed)| (routed.connection.0, show(routed.news))).collect()
    }

    fn lost(&self, reason: DropReason) -> u64 {
        self.out.losses.iter().filter(|(lost, _)| *lost == reason).map(|(_, count)| count).sum()
    }

    fn assert_empty(&self) {
        assert_eq!((self.binder.held(), self.binder.is_waiting()), ((0, 0), false));
    }
}

#[test]
fn plaintext_goes_where_the_packets_of_its_socket_go() {
    let mut rig = Rig::new();
    let connections = [1, 2].map(|cookie| rig.packet(cookie));
    let mut tls = [Tls::new(0xa0, 1), Tls::new(0xb0, 2)];
    for n in [1, 0] {
        let event = tls[n].writes(ms(1), b"ask");
        rig.event(event);
    }
    let said = "ask in_call".to_owned();
    assert_eq!(rig.taken(), [(connections[1], said.clone()), (connections[0], said)]);
    rig.assert_empty();
}

#[test]
fn plaintext_waits_for_the_first_packet_and_keeps_its_order() {
    let mut rig = Rig::new();
    let mut tls = Tls::new(0xa0, 1);
    for text in ["1", "2"] {
        let event = tls.writes(ms(1), text.as_bytes());
        rig.event(event);
    }
    rig.retry(2);
    rig.event(tls.closed(ms(2)));
    assert!(rig.taken().is_empty());
    assert_eq!(rig.binder.held(), (2, 2));
    let id = rig.packet(1);
    rig.retry(3);
    let all = [(id, "1 in_call".into()), (id, "2 in_call".into()), (id, "closed".into())];
    assert_eq!(rig.taken(), all);
    rig.retry(3);
    rig.assert_empty();
    assert_eq!(rig.binder.sessions(), 0);
}

#[test]
fn plaintext_waits_for_its_socket() {
    let mut rig = Rig::new();
    let id = rig.packet(1);
    let mut tls = Tls::unbound(0xa0);
    let event = tls.writes(ms(1), b"first");
    rig.event(event);
    rig.retry(1);
    assert!(rig.taken().is_empty());
    rig.event(tls.bound(ms(2), 1, TlsWitness::NearbyTransfer));
    let event = tls.writes(ms(3), b"second");
    rig.event(event);
    assert_eq!(rig.taken(), [(id, "first nearby_transfer".into()), (id, "second nearby_transfer".into())]);
    rig.retry(4);
    rig.assert_empty();
}

#[test]
fn what_never_finds_its_place_is_given_up_and_counted() {
    let mut rig = Rig::new();
    let (mut lost, mut elsewhere) = (Tls::unbound(0xa0), Tls::new(0xb0, 99));
    for event in [lost.writes(ms(0), b"x"), lost.writes(ms(0), b"y"), elsewhere.writes(ms(0), b"z")] {
        rig.event(event);
    }
    rig.event(elsewhere.closed(ms(0)));
    let patience = limits::tls::HELD_TIME.as_millis() as u64;
    rig.retry(patience - 1);
    assert_eq!(rig.binder.held(), (3, 3));
    rig.retry(patience);
    assert_eq!((rig.lost(DropReason::TlsUnbound), rig.lost(DropReason::TlsUnrouted)), (2, 1));
    rig.assert_empty();
    assert_eq!(rig.binder.sessions(), 1);
}

#[test]
fn a_handle_that_is_used_again_is_another_session() {
    let mut rig = Rig::new();
    let connections = [1, 2, 3].map(|cookie| rig.packet(cookie));
    for (generation, cookie) in [(0, 1), (1, 2)] {
        let mut tls = Tls::new(0xa0, cookie);
        tls.session.generation = generation;
        let event = tls.writes(ms(1), b"ask");
        rig.event(event);
        rig.event(tls.closed(ms(2)));
    }
    // Without a generation of its own, after it was freed.
    let mut again = Tls::new(0xa0, 3);
    let event = again.reads(ms(3), b"tell");
    rig.event(event);
    let went: Vec<u64> = rig.taken().into_iter().map(|(connection, _)| connection).collect();
    let [first, second, third] = connections;
    assert_eq!(went, [first, first, second, second, third]);
    assert_eq!(rig.out.disagreements, 0);
}

#[test]
fn better_evidence_moves_a_session_and_says_so() {
    let mut rig = Rig::new();
    let (wrong, right) = (rig.packet(1), rig.packet(2));
    let mut tls = Tls::unbound(0xa0);
    tls.socket = Some((SocketCookie(1), TlsWitness::Process));
    let event = tls.writes(ms(1), b"guess");
    rig.event(event);
    tls.socket = Some((SocketCookie(2), TlsWitness::InCall));
    let event = tls.writes(ms(2), b"known");
    rig.event(event);
    tls.socket = Some((SocketCookie(1), TlsWitness::Process));
    let event = tls.writes(ms(3), b"stays");
    rig.event(event);
    let expected = [
        (wrong, "guess process".into()),
        (wrong, "revoked".into()),
        (right, "known in_call".into()),
        (right, "stays in_call".into()),
    ];
    assert_eq!(rig.taken(), expected);
    assert_eq!((rig.out.disagreements, rig.out.losses.len()), (2, 0));
}

#[test]
fn the_cookie_of_a_listener_is_no_connection() {
    let mut rig = Rig::new();
    let (c, listener) = ("10.0.0.1:999", Socket::listener(7, S));
    let syn = Tcp::new(c, S, 1, 0, SYN, b"").bytes();
    let Routed::To { packet, .. } = rig.router.route(listener.arrive(ms(0), syn)) else { panic!() };
    let mut tls = Tls::new(0xa0, 8);
    let event = tls.reads(ms(1), b"ask");
    rig.event(event);
    rig.retry(1);
    assert!(rig.taken().is_empty() && rig.router.place_of(SocketCookie(7)).is_none());
    // The accepted socket shows itself.
    let data = Tcp::new(c, S, 2, 1, ACK, b"...").bytes();
    rig.router.route(Socket::connected(8, S, c).arrive(ms(2), data));
    rig.retry(2);
    assert_eq!(rig.taken(), [(packet.connection.0, "ask in_call".into())]);
}

#[test]
fn held_plaintext_is_bounded_per_session_and_in_all() {
    let mut rig = Rig::new();
    let piece = vec![b'x'; 256 << 10];
    let mut greedy = Tls::unbound(1);
    for _ in 0..20 {
        let event = greedy.writes(ms(0), &piece);
        rig.event(event);
    }
    assert_eq!(rig.binder.held().1, limits::tls::HELD_SESSION_BYTES);
    assert_eq!(rig.lost(DropReason::TlsHeldLimit), 12);
    for handle in 2..400 {
        let event = Tls::unbound(handle).writes(ms(0), &piece);
        rig.event(event);
        assert!(rig.binder.held().1 <= limits::tls::HELD_BYTES);
    }
    // The oldest went first.
    let event = greedy.bound(ms(1), 1, TlsWitness::InCall);
    rig.packet(1);
    rig.event(event);
    assert!(rig.taken().is_empty());
    assert_eq!(rig.binder.held().0 as u64 + rig.lost(DropReason::TlsHeldLimit), 20 + 398);
    rig.retry(limits::tls::HELD_TIME.as_millis() as u64);
    rig.retry(limits::tls::HELD_TIME.as_millis() as u64);
    rig.assert_empty();
}

#[test]
fn sessions_are_bounded() {
    let mut rig = Rig::new();
    for handle in 0..limits::tls::SESSIONS as u64 + 1000 {
        let mut tls = Tls::unbound(handle);
        let event = tls.writes(ms(0), b"x");
        rig.event(event);
    }
    assert_eq!(rig.binder.sessions(), limits::tls::SESSIONS);
    assert_eq!(rig.lost(DropReason::TlsHeldLimit), 1000);
    for _ in 0..=limits::tls::SESSIONS / limits::tls::LOOKUPS {
        rig.binder.retry(ms(0).plus(Duration::from_secs(9)), &rig.router, &mut rig.out);
    }
    rig.assert_empty();
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any order of events and packets: each piece comes out once or is counted, in its session's order.
        #[test]
        fn every_piece_comes_out_once_or_is_counted(
            steps in proptest::collection::vec((0..6_u8, 0..5_u64, 1..6_u64, 0..4_u8), 0..200),
        ) {
            let mut rig = Rig::new();
            let mut sessions: Vec<Tls> = (0..5).map(Tls::unbound).collect();
            let (mut made, mut out, mut at) = (0, 0, 0);
            let mut last = std::collections::HashMap::new();
            for (step, handle, cookie, rank) in steps {
                at += 100;
                let witness = [
                    TlsWitness::Process, TlsWitness::NearbyTransfer, TlsWitness::Descriptor, TlsWitness::InCall,
                ][usize::from(rank)];
                let tls = &mut sessions[handle as usize];
                let event = match step {
                    0 => { rig.packet(cookie); None }
                    1 => Some(tls.bound(ms(at), cookie, witness)),
                    2 => {
                        let event = tls.closed(ms(at));
                        tls.session.generation += 1;
                        Some(event)
                    }
                    3 => { rig.retry(at); None }
                    _ => {
                        tls.socket = (step == 4).then_some((SocketCookie(cookie), witness));
                        made += 1;
                        Some(tls.writes(ms(at), b"x"))
                    }
                };
                if let Some(event) = event {
                    rig.binder.event(event, ms(at), &rig.router, &mut rig.out);
                }
                for (_, routed) in rig.out.routed.drain(..) {
                    if let TlsNews::Data(chunk, _) = routed.news {
                        out += 1;
                        let before = last.insert(chunk.session, chunk.offset);
                        prop_assert!(before.is_none_or(|before| before < chunk.offset));
                    }
                }
            }
            rig.retry(at + 10_000);
            out += rig.out.routed.drain(..).filter(|(_, routed)| matches!(routed.news, TlsNews::Data(..))).count() as u64;
            let given_up = rig.lost(DropReason::TlsUnbound) + rig.lost(DropReason::TlsUnrouted);
            prop_assert_eq!(made, out + given_up);
            rig.assert_empty();
        }
    }
}
