//! A capture file of many HTTP conversations at once, made up: the same bytes each time.
//!
//! Connections stay open over many calls, so that at any point of the file many are under way. Some calls are never
//! answered and time out, some packets are missing, and names of servers come from DNS answers in between.

/// Connections that are open at the same time.
const OPEN: usize = 64;
/// Calls of one connection before it ends.
const CALLS: usize = 24;
/// Microseconds between two packets: a file of a few thousand calls lasts longer than an answer is waited for.
const STEP: u64 = 3_000;
/// Moment of the first packet, microseconds since 1970.
const BEGIN: u64 = 1_760_000_000_000_000;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;

/// A classic pcap file with about `calls` calls, each answer with a body of `body` bytes.
pub(crate) fn conversations(calls: usize, body: usize) -> Vec<u8> {
    let mut file = File::new();
    let mut connections: Vec<Connection> = (0..OPEN).map(Connection::new).collect();
    let (mut opened, mut made) = (OPEN, 0);
    while made < calls {
        for connection in &mut connections {
            if connection.made == CALLS {
                connection.end(&mut file);
                *connection = Connection::new(opened);
                opened += 1;
            }
            connection.call(&mut file, made, body);
            made += 1;
        }
    }
    file.bytes
}

struct File {
    bytes: Vec<u8>,
    at: u64,
}

impl File {
    fn new() -> Self {
        let mut bytes = Vec::new();
        // pcap: magic, version 2.4, time zone, accuracy, longest packet, raw IP.
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
            bytes.extend(word.to_le_bytes());
        }
        Self { bytes, at: BEGIN }
    }

    fn packet(&mut self, src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) {
        self.at += STEP;
        let len = 20 + payload.len();
        for word in [(self.at / 1_000_000) as u32, (self.at % 1_000_000) as u32, len as u32, len as u32] {
            self.bytes.extend(word.to_le_bytes());
        }
        self.bytes.extend([0x45, 0]);
        self.bytes.extend((len as u16).to_be_bytes());
        self.bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        self.bytes.extend(src);
        self.bytes.extend(dst);
        self.bytes.extend(payload);
    }
}

struct Connection {
    number: usize,
    client: ([u8; 4], u16),
    server: ([u8; 4], u16),
    /// Next sequence numbers of client and server.
    next: (u32, u32),
    made: usize,
}

impl Connection {
    fn new(number: usize) -> Self {
        let client = ([10, 1, (number / 250) as u8, (number % 250) as u8], 30_000 + (number % 20_000) as u16);
        let server = ([10, 2, 0, (number % 9) as u8], 8080);
        Self { number, client, server, next: (1_000, 5_000), made: 0 }
    }

    fn segment(&mut self, file: &mut File, from_client: bool, flags: u8, payload: &[u8], is_lost: bool) {
        let (src, dst) = if from_client { (self.client, self.server) } else { (self.server, self.client) };
        let (seq, ack) = if from_client { self.next } else { (self.next.1, self.next.0) };
        let mut tcp = Vec::with_capacity(20 + payload.len());
        tcp.extend(src.1.to_be_bytes());
        tcp.extend(dst.1.to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        tcp.extend(payload);
        if !is_lost {
            file.packet(src.0, dst.0, 6, &tcp);
        }
        let taken = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        let next = if from_client { &mut self.next.0 } else { &mut self.next.1 };
        *next = next.wrapping_add(taken);
    }

    fn call(&mut self, file: &mut File, number: usize, body: usize) {
        if self.made == 0 {
            if self.number.is_multiple_of(5) {
                self.named(file);
            }
            self.segment(file, true, SYN, &[], false);
            self.segment(file, false, SYN | ACK, &[], false);
            self.segment(file, true, ACK, &[], false);
        }
        self.made += 1;
        let request = format!(
            "GET /{}/{number}?n={} HTTP/1.1\r\nHost: server-{}.test\r\nAccept: */*\r\n\r\n",
            self.number,
            self.made,
            self.number % 9
        );
        self.segment(file, true, ACK, request.as_bytes(), false);
        // The last call of some connections is never answered.
        if self.made == CALLS && self.number.is_multiple_of(7) {
            return;
        }
        let status = if number.is_multiple_of(11) { "503 Service Unavailable" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n");
        self.segment(file, false, ACK, head.as_bytes(), false);
        let text: Vec<u8> = (0..body).map(|at| b'a' + ((at * 7 + number) % 26) as u8).collect();
        for (part, piece) in text.chunks(1400).enumerate() {
            self.segment(file, false, ACK, piece, part == 1 && number.is_multiple_of(97));
        }
        self.segment(file, true, ACK, &[], false);
    }

    fn end(&mut self, file: &mut File) {
        if !self.number.is_multiple_of(7) {
            self.segment(file, true, FIN | ACK, &[], false);
            self.segment(file, false, FIN | ACK, &[], false);
        }
    }

    /// The client asks for the server's address.
    fn named(&mut self, file: &mut File) {
        let mut question = vec![(self.number >> 8) as u8, self.number as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in [format!("server-{}", self.number % 9).as_bytes(), b"test"] {
            question.push(label.len() as u8);
            question.extend(label);
        }
        question.extend([0, 0, 1, 0, 1]);
        let mut answer = question.clone();
        (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(self.server.0);
        for (from_client, message) in [(true, question), (false, answer)] {
            let mut udp = Vec::new();
            let (src, dst) = if from_client { (self.client.1, 53) } else { (53, self.client.1) };
            udp.extend(src.to_be_bytes());
            udp.extend(dst.to_be_bytes());
            udp.extend((8 + message.len() as u16).to_be_bytes());
            udp.extend([0, 0]);
            udp.extend(message);
            let resolver = [10, 3, 0, 1];
            let (src, dst) = if from_client { (self.client.0, resolver) } else { (resolver, self.client.0) };
            file.packet(src, dst, 17, &udp);
        }
    }
}
