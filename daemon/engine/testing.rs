//! Builds synthetic packets and conversations for the tests of this crate.

use std::net::IpAddr;

use bytes::Bytes;

use crate::model::{
    AddrPort, Hook, Packet, ProcessKey, SocketCookie, SocketTuple, Timestamp, TlsChunk, TlsEvent, TlsLibrary,
    TlsSession, TlsWitness,
};
use crate::wire::TcpFlags;

/// No flag but ACK.
pub(crate) const ACK: TcpFlags = TcpFlags::ACK;
/// Opens a connection.
pub(crate) const SYN: TcpFlags = TcpFlags::SYN;
/// Answers an opening.
pub(crate) const SYN_ACK: TcpFlags = TcpFlags(0x12);
/// Ends a direction.
pub(crate) const FIN_ACK: TcpFlags = TcpFlags(0x11);
/// Resets.
pub(crate) const RST: TcpFlags = TcpFlags::RST;

/// `a.b.c.d:port` or `[v6]:port`.
pub(crate) fn addr(text: &str) -> AddrPort {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    AddrPort::new(socket.ip(), socket.port())
}

/// One TCP segment to be.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) src: AddrPort,
    pub(crate) dst: AddrPort,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: TcpFlags,
    pub(crate) window: u16,
    pub(crate) tsval: Option<u32>,
    pub(crate) payload: Vec<u8>,
}

impl Tcp {
    pub(crate) fn new(src: &str, dst: &str, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> Self {
        let (src, dst) = (addr(src), addr(dst));
        Self { src, dst, seq, ack, flags, window: 512, tsval: None, payload: payload.to_vec() }
    }

    /// The bytes of the packet from its IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.src.port.to_be_bytes());
        tcp.extend(self.dst.port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let mut options = Vec::new();
        if self.flags.has(SYN) {
            options.extend([2, 4, 0x05, 0xb4, 3, 3, 7, 4, 2]);
        }
        if let Some(tsval) = self.tsval {
            options.extend([8, 10]);
            options.extend(tsval.to_be_bytes());
            options.extend(0_u32.to_be_bytes());
        }
        options.resize(options.len().next_multiple_of(4), 1);
        tcp.push((((20 + options.len()) / 4) as u8) << 4);
        tcp.push(self.flags.0);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        ip(self.src.ip, self.dst.ip, 6, &tcp)
    }
}

/// An IP packet around `body`.
pub(crate) fn ip(src: IpAddr, dst: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend([0x45, 0]);
            out.extend(((20 + body.len()) as u16).to_be_bytes());
            out.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend([0x60, 0, 0, 0]);
            out.extend((body.len() as u16).to_be_bytes());
            out.extend([protocol, 64]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        _ => panic!("both addresses of a packet are of one version"),
    }
    out.extend(body);
    out
}

/// A UDP packet.
pub(crate) fn udp(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (addr(src), addr(dst));
    let mut body = Vec::new();
    body.extend(src.port.to_be_bytes());
    body.extend(dst.port.to_be_bytes());
    body.extend(((8 + payload.len()) as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    ip(src.ip, dst.ip, 17, &body)
}

/// Milliseconds since an arbitrary start as a moment.
pub(crate) fn ms(millis: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + millis * 1_000_000)
}

/// A packet without a socket, as a capture file has it.
pub(crate) fn from_file(at: Timestamp, data: Vec<u8>) -> Packet {
    Packet {
        at,
        cookie: SocketCookie(0),
        hook: Hook::Ingress,
        ifindex: 0,
        socket: None,
        wire_len: data.len() as u32,
        data: Bytes::from(data),
    }
}

/// A socket at which packets are seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) cookie: u64,
    pub(crate) tuple: SocketTuple,
}

impl Socket {
    /// A connected socket.
    pub(crate) fn connected(cookie: u64, local: &str, remote: &str) -> Self {
        Self { cookie, tuple: SocketTuple { local: addr(local), remote: addr(remote) } }
    }

    /// A listening or unconnected socket.
    pub(crate) fn listener(cookie: u64, local: &str) -> Self {
        Self { cookie, tuple: SocketTuple { local: addr(local), remote: AddrPort::default() } }
    }

    /// `data` leaving the socket.
    pub(crate) fn out(&self, at: Timestamp, data: Vec<u8>) -> Packet {
        self.packet(Hook::Egress, at, data)
    }

    /// `data` arriving at the socket.
    pub(crate) fn arrive(&self, at: Timestamp, data: Vec<u8>) -> Packet {
        self.packet(Hook::Ingress, at, data)
    }

    fn packet(&self, hook: Hook, at: Timestamp, data: Vec<u8>) -> Packet {
        Packet { hook, cookie: SocketCookie(self.cookie), socket: Some(self.tuple), ..from_file(at, data) }
    }
}

/// A TCP connection on this host, seen at the sockets that are set.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) client: Option<Socket>,
    pub(crate) server: Option<Socket>,
    /// Addresses in the headers: client's, server's.
    pub(crate) header: [&'static str; 2],
    /// Next position to the server and to the client.
    pub(crate) seq: [u32; 2],
    pub(crate) at: Timestamp,
    pub(crate) mss: usize,
}

impl Talk {
    /// Both ends on this host.
    pub(crate) fn local(client: &'static str, server: &'static str, cookie: u64) -> Self {
        Self {
            client: Some(Socket::connected(cookie, client, server)),
            server: Some(Socket::connected(cookie + 1, server, client)),
            header: [client, server],
            seq: [1000, 5000],
            at: ms(0),
            mss: 1400,
        }
    }

    /// One segment at both sockets. `to_server` tells the direction.
    pub(crate) fn segment(&mut self, to_server: bool, flags: TcpFlags, payload: &[u8]) -> Vec<Packet> {
        let own = usize::from(!to_server);
        let (from, to) = (self.header[own], self.header[1 - own]);
        let ack = if flags.has(TcpFlags::ACK) { self.seq[1 - own] } else { 0 };
        let data = Tcp::new(from, to, self.seq[own], ack, flags, payload).bytes();
        let control = u32::from(flags.has(SYN)) + u32::from(flags.has(TcpFlags::FIN));
        self.seq[own] = self.seq[own].wrapping_add(payload.len() as u32 + control);
        let (sender, receiver) =
            if to_server { (self.client, self.server) } else { (self.server, self.client) };
        self.at = Timestamp(self.at.0 + 10_000);
        let mut packets: Vec<Packet> =
            sender.map(|socket| socket.out(self.at, data.clone())).into_iter().collect();
        self.at = Timestamp(self.at.0 + 10_000);
        packets.extend(receiver.map(|socket| socket.arrive(self.at, data.clone())));
        if packets.is_empty() {
            packets.push(from_file(self.at, data));
        }
        packets
    }

    /// The three packets of the handshake.
    pub(crate) fn open(&mut self) -> Vec<Packet> {
        let mut packets = self.segment(true, SYN, b"");
        packets.extend(self.segment(false, SYN_ACK, b""));
        packets.extend(self.segment(true, ACK, b""));
        packets
    }

    /// `payload` in as many segments as it takes, each acknowledged.
    pub(crate) fn say(&mut self, to_server: bool, payload: &[u8]) -> Vec<Packet> {
        let mut packets = Vec::new();
        for piece in payload.chunks(self.mss) {
            packets.extend(self.segment(to_server, ACK, piece));
            packets.extend(self.segment(!to_server, ACK, b""));
        }
        packets
    }

    /// An orderly end, begun by the client.
    pub(crate) fn close(&mut self) -> Vec<Packet> {
        let mut packets = self.segment(true, FIN_ACK, b"");
        packets.extend(self.segment(false, FIN_ACK, b""));
        packets.extend(self.segment(true, ACK, b""));
        packets
    }
}

/// A session of a TLS library whose probes show it.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) session: TlsSession,
    pub(crate) socket: Option<(SocketCookie, TlsWitness)>,
    pub(crate) from_start: bool,
    /// Bytes written and read so far.
    pub(crate) offsets: [u64; 2],
}

impl Tls {
    /// A session that is seen from its start; its calls do their I/O on the socket with this cookie.
    pub(crate) fn new(handle: u64, cookie: u64) -> Self {
        let process = ProcessKey { pid: 7, started: 1 };
        Self {
            session: TlsSession { process, handle, generation: 0 },
            socket: Some((SocketCookie(cookie), TlsWitness::InCall)),
            from_start: true,
            offsets: [0, 0],
        }
    }

    /// The same, not tied to a socket.
    pub(crate) fn unbound(handle: u64) -> Self {
        Self { socket: None, ..Self::new(handle, 0) }
    }

    /// The application writes.
    pub(crate) fn writes(&mut self, at: Timestamp, text: &[u8]) -> TlsEvent {
        self.chunk(Hook::Egress, at, text)
    }

    /// The application reads.
    pub(crate) fn reads(&mut self, at: Timestamp, text: &[u8]) -> TlsEvent {
        self.chunk(Hook::Ingress, at, text)
    }

    /// The socket becomes known.
    pub(crate) fn bound(&self, at: Timestamp, cookie: u64, witness: TlsWitness) -> TlsEvent {
        TlsEvent::Bound { at, session: self.session, cookie: SocketCookie(cookie), witness }
    }

    /// The library frees it.
    pub(crate) fn closed(&self, at: Timestamp) -> TlsEvent {
        TlsEvent::Closed { at, session: self.session }
    }

    fn chunk(&mut self, hook: Hook, at: Timestamp, text: &[u8]) -> TlsEvent {
        let offset = &mut self.offsets[usize::from(hook == Hook::Ingress)];
        let chunk = TlsChunk {
            at,
            session: self.session,
            library: TlsLibrary::OpenSsl,
            hook,
            offset: *offset,
            from_start: self.from_start,
            socket: self.socket,
            data: Bytes::copy_from_slice(text),
        };
        *offset += text.len() as u64;
        TlsEvent::Data(chunk)
    }
}
