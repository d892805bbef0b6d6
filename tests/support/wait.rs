//! Waiting for a condition with a deadline, never for a time.

use std::time::{Duration, Instant};

/// Polls `probe` until it gives a value. Panics with `what` after 45 s: on two busy cores a test
/// daemon can be slow, and a deadline that is too short fails for no reason.
pub(crate) fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(45), what, probe)
}

/// The same for work that takes a while even on an idle machine.
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "timed out waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
