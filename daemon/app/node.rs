//! Who this node is.

use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::engine::model::NodeInfo;

/// The configured name or the host's, and the address that others would use: the first one of an
/// interface that is up and no loopback; loopback where there is none.
pub(super) fn info(name: &str) -> NodeInfo {
    let name = if name.is_empty() { host_name() } else { name.to_string() };
    NodeInfo { name: name.into(), ip: main_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_string())
}

fn main_address() -> Option<IpAddr> {
    let mut addresses: Vec<IpAddr> = getifaddrs()
        .ok()?
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect();
    // IPv4 first: it is what people recognise; the sort is stable, so interfaces keep their order.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied()
}
