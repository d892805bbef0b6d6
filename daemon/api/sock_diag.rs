//! Asks the kernel which user owns the other end of a loopback TCP connection.
//!
//! One exact lookup over NETLINK_SOCK_DIAG (`linux/inet_diag.h`); the structures are written and read
//! by offset. A socket that its process has closed is reported with uid 0, which is why only an
//! established one that still has an inode counts: else a user could connect, close and be taken for
//! root.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` of `linux/netlink.h`.
const NLM_F_REQUEST: u16 = 1;
/// `NLMSG_ERROR` of `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `TCP_ESTABLISHED` of `net/tcp_states.h`.
const ESTABLISHED: u8 = 1;
/// The kernel answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(500);

/// The uid that owns the socket at `client` connected to `server`, both in this network namespace.
/// `None` when there is no such established socket.
pub(super) fn owner(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    let (client, server) = (canonical(client), canonical(server));
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let patience = TimeVal::new(0, PATIENCE.subsec_micros().into());
    setsockopt(&netlink, sockopt::ReceiveTimeout, &patience)?;
    let request = request(client, server);
    sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(read(answer.get(..length).unwrap_or_default(), client.port(), server.port()))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `nlmsghdr` + `inet_diag_req_v2` for the socket whose own address is `client`.
fn request(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes()); // sequence
    message.extend(0_u32.to_ne_bytes()); // port id: the kernel fills it in
    let family = if client.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.push(family as u8);
    message.push(nix::libc::IPPROTO_TCP as u8);
    message.extend([0, 0]); // extensions, padding
    message.extend(u32::MAX.to_ne_bytes()); // states: ignored in an exact lookup
    message.extend(client.port().to_be_bytes());
    message.extend(server.port().to_be_bytes());
    message.extend(sixteen(client.ip()));
    message.extend(sixteen(server.ip()));
    message.extend(0_u32.to_ne_bytes()); // any interface
    message.extend([0xff; 8]); // INET_DIAG_NOCOOKIE
    message
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
    }
}

/// The uid of an `inet_diag_msg` answer, if it is about an established socket with these ports that a
/// process still holds.
fn read(answer: &[u8], client_port: u16, server_port: u16) -> Option<u32> {
    let kind = u16::from_ne_bytes(bytes(answer, 4)?);
    if kind == NLMSG_ERROR || kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let body = answer.get(HEADER..)?;
    let [_family, state] = bytes(body, 0)?;
    let ports = (u16::from_be_bytes(bytes(body, 4)?), u16::from_be_bytes(bytes(body, 6)?));
    let uid = u32::from_ne_bytes(bytes(body, 64)?);
    let inode = u32::from_ne_bytes(bytes(body, 68)?);
    let held = state == ESTABLISHED && inode != 0 && ports == (client_port, server_port);
    held.then_some(uid)
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let mut target = listener.local_addr().unwrap();
        if target.ip().is_unspecified() {
            target.set_ip("127.0.0.1".parse().unwrap());
        }
        let client = TcpStream::connect(target).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn ask(server: &TcpStream) -> Option<u32> {
        owner(server.peer_addr().unwrap(), server.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn the_owner_of_the_other_end_is_found_on_ipv4_ipv6_and_mapped() {
        let me = nix::unistd::getuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let (_client, server) = pair(address);
            assert_eq!(ask(&server), Some(me), "{address}");
        }
    }

    #[test]
    fn a_closed_client_has_no_owner() {
        let (client, server) = pair("127.0.0.1:0");
        drop(client);
        assert_eq!(ask(&server), None);
    }

    #[test]
    fn nobody_owns_a_connection_that_does_not_exist() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(owner(unused, "127.0.0.1:1".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn broken_answers_are_nobody() {
        for length in 0..80 {
            assert_eq!(read(&vec![0xff; length], 1, 2), None);
        }
    }
}
