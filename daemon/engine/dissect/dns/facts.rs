//! What answers teach about the names of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::{Entry, NameFact, Value};

/// Tells the addresses in an answer under the name that was asked for: it is the one that the program
/// knows, whatever aliases lie between.
pub(super) fn names(entry: &Entry, learn: &mut dyn FnMut(NameFact)) {
    let Some(Value::List(answers)) = entry.response.get("answers") else { return };
    if entry.status != 0 {
        return;
    }
    let asked = match entry.request.get("names").or_else(|| entry.response.get("names")) {
        Some(Value::List(names)) => match names.as_slice() {
            [only] => only.as_str(),
            _ => None,
        },
        _ => None,
    };
    let text = |record: &Value, key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
    for record in answers {
        let ttl = record.get("ttl").and_then(Value::as_int).and_then(|ttl| u64::try_from(ttl).ok());
        let Some(owner) = text(record, "name") else { continue };
        let found = if let Some(ip) = text(record, "ip") {
            ip.parse().ok().zip(Some(asked.map_or(owner, str::to_owned)))
        } else if let Some(name) = text(record, "ptr") {
            reverse(&owner).zip(Some(name))
        } else {
            None
        };
        if let Some((ip, name)) = found {
            let ttl = Duration::from_secs(ttl.unwrap_or(0));
            learn(NameFact { ip, name: name.as_str().into(), at: entry.timing.response_end, ttl });
        }
    }
}

/// The address in a name below `in-addr.arpa` or `ip6.arpa` (RFC 1035 3.5, RFC 3596 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(front) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = front.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let front = name.strip_suffix(".ip6.arpa")?;
    let mut address = 0_u128;
    let mut count = 0;
    for part in front.split('.') {
        let digit = u128::from_str_radix(part, 16).ok().filter(|_| part.len() == 1 && count < 32)?;
        address |= digit << (count * 4);
        count += 1;
    }
    (count == 32).then_some(IpAddr::V6(Ipv6Addr::from(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_hold_addresses() {
        assert_eq!(reverse("4.3.2.1.in-addr.arpa"), Some(IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4))));
        assert_eq!(reverse("1.in-addr.arpa"), None);
        assert_eq!(reverse("example.com"), None);
        let six = format!("1{}.ip6.arpa", ".0".repeat(31));
        assert_eq!(reverse(&six), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }
}
