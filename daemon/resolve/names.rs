//! Names of addresses, learned from answers that went over the wire, for as long as they hold.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use compact_str::CompactString;

use crate::engine::model::{NameFact, Timestamp};
use crate::host::RecentMap;

/// Addresses remembered, the most recently used ones; about 100 bytes each.
const MAX_NAMES: usize = 32_768;
/// An answer that may not be cached still names the connection that it was asked for.
const SHORTEST: Duration = Duration::from_secs(60);
/// No answer is trusted longer, whatever it claims.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longer names are not learned; the protocol allows 255 bytes, more when escaped.
const MAX_NAME: usize = 255;

/// The name of an address, and until when.
#[derive(Debug)]
struct Known {
    name: CompactString,
    from: Timestamp,
    until: Timestamp,
}

/// Names by address. Filled and asked by the entry thread.
#[derive(Debug)]
pub(super) struct Names {
    known: Mutex<RecentMap<IpAddr, Known>>,
}

impl Default for Names {
    fn default() -> Self {
        Self { known: Mutex::new(RecentMap::new(MAX_NAMES)) }
    }
}

impl Names {
    /// Learns from an answer. The latest one counts.
    pub(super) fn learn(&self, fact: NameFact) {
        // These stand for "nowhere" and "here": filters answer with them for any name.
        let nowhere = fact.ip.is_unspecified()
            || fact.ip == IpAddr::from([127, 0, 0, 1])
            || fact.ip == IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
            || fact.ip.is_multicast();
        if nowhere || fact.name.len() > MAX_NAME || fact.name == "." {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let until = fact.at.plus(fact.ttl.clamp(SHORTEST, LONGEST));
        if known.peek(&fact.ip).is_some_and(|old| old.from > fact.at) {
            return;
        }
        known.insert(fact.ip, Known { name: fact.name, from: fact.at, until });
    }

    /// The name of an address at a moment; empty when none is known.
    pub(super) fn of(&self, ip: IpAddr, at: Timestamp) -> CompactString {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&ip) {
            Some(known) if at <= known.until => known.name.clone(),
            _ => CompactString::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn fact(ip: [u8; 4], name: &str, at: u64, ttl: u64) -> NameFact {
        NameFact {
            ip: ip.into(),
            name: name.into(),
            at: Timestamp(at * SECOND),
            ttl: Duration::from_secs(ttl),
        }
    }

    fn at(names: &Names, ip: [u8; 4], second: u64) -> String {
        names.of(ip.into(), Timestamp(second * SECOND)).to_string()
    }

    #[test]
    fn a_name_holds_for_its_ttl_and_the_latest_counts() {
        let names = Names::default();
        names.learn(fact([10, 0, 0, 1], "old.example", 100, 3600));
        names.learn(fact([10, 0, 0, 1], "new.example", 200, 300));
        names.learn(fact([10, 0, 0, 1], "late.example", 150, 300));
        assert_eq!(at(&names, [10, 0, 0, 1], 201), "new.example");
        assert_eq!(at(&names, [10, 0, 0, 1], 500), "new.example");
        assert_eq!(at(&names, [10, 0, 0, 1], 501), "");
        assert_eq!(at(&names, [10, 0, 0, 2], 201), "");
    }

    #[test]
    fn an_answer_that_may_not_be_cached_names_the_next_connection() {
        let names = Names::default();
        names.learn(fact([10, 0, 0, 1], "a.example", 100, 0));
        assert_eq!(at(&names, [10, 0, 0, 1], 130), "a.example");
    }

    #[test]
    fn blocked_names_do_not_name_this_host() {
        let names = Names::default();
        for ip in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 251]] {
            names.learn(fact(ip, "ads.example", 100, 60));
            assert_eq!(at(&names, ip, 101), "");
        }
        names.learn(fact([127, 0, 0, 2], "local.example", 100, 60));
        assert_eq!(at(&names, [127, 0, 0, 2], 101), "local.example");
    }
}
