//! Slows down those who try tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that one address may send per window.
const ALLOWED: u32 = 10;

/// The window.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered; beyond it the whole table is one address, so that an attacker with many
/// addresses gains nothing.
const MAX_ADDRESSES: usize = 1024;

/// How long each wrong token waits for its answer.
pub(super) const DELAY: Duration = Duration::from_millis(250);

/// Wrong tokens by address. A tenth of a percent of a 256-bit secret cannot be tried this way; what
/// this prevents is load and noise.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    table: Mutex<HashMap<Option<IpAddr>, (Instant, u32)>>,
}

impl Throttle {
    /// Whether this address may try a token now.
    pub(super) fn allows(&self, from: Option<IpAddr>) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&table, from);
        !table.get(&key).is_some_and(|(since, count)| *count >= ALLOWED && since.elapsed() < WINDOW)
    }

    /// Remembers a wrong token.
    pub(super) fn failed(&self, from: Option<IpAddr>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_ADDRESSES {
            table.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        let key = key(&table, from);
        let (since, count) = table.entry(key).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
    }
}

fn key(table: &HashMap<Option<IpAddr>, (Instant, u32)>, from: Option<IpAddr>) -> Option<IpAddr> {
    if table.len() >= MAX_ADDRESSES && !table.contains_key(&from) { None } else { from }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_stopped_after_too_many_wrong_tokens_and_others_are_not() {
        let throttle = Throttle::default();
        let (bad, good) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
        for _ in 0..ALLOWED {
            assert!(throttle.allows(bad));
            throttle.failed(bad);
        }
        assert!(!throttle.allows(bad));
        assert!(throttle.allows(good));
    }

    #[test]
    fn the_table_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..5000_u32 {
            throttle.failed(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(throttle.table.lock().unwrap().len() <= MAX_ADDRESSES + 1);
    }
}
