//! What the daemon tells its service manager; outside systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Start-up is complete: the sockets answer and capture runs.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    // A line break would begin another assignment of the protocol.
    let line = text.replace(['\n', '\r'], " ");
    send(&[NotifyState::Status(&line)]);
}

/// A reload begins. [`ready`] must follow, whether it worked or not.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock: the reload is not announced"),
    }
}

/// The drain has begun; systemd stops waiting for readiness and counts `TimeoutStopSec`.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`ping`] must be called; half of `WatchdogSec`, as sd_watchdog_enabled(3) advises.
/// `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

/// The daemon is alive. Call it only after having seen that the stages still make progress.
pub fn ping() {
    send(&[NotifyState::Watchdog]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager did not take a notification");
    }
}
