//! SIGTERM and SIGINT end, a second one at once; SIGHUP reloads.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reload;
use crate::runtime::{ExitCode, Shutdown};

/// The signals that are taken.
pub(super) type Signals = (Signal, Signal, Signal);

/// Takes the signals from here on: before anybody is told that the daemon is ready, and may send one. Needs
/// tokio's context.
pub(super) fn listen() -> std::io::Result<Signals> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?))
}

/// Answers them until the process ends.
pub(super) async fn serve(signals: Signals, shutdown: Shutdown, reload: Reload) {
    let (mut terminate, mut interrupt, mut hangup) = signals;
    let reload = Arc::new(reload);
    loop {
        tokio::select! {
            _ = terminate.recv() => end(&shutdown, "SIGTERM"),
            _ = interrupt.recv() => end(&shutdown, "SIGINT"),
            _ = hangup.recv() => {
                let reload = Arc::clone(&reload);
                // Reads files; a panic in it is reported by tokio and must not end the daemon.
                let _done = tokio::task::spawn_blocking(move || reload.run()).await;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever signals twice wants no drain")]
fn end(shutdown: &Shutdown, signal: &str) {
    if shutdown.is_triggered() {
        tracing::warn!("second {signal}: ending at once");
        std::process::exit(ExitCode::TemporaryFailure as i32);
    }
    shutdown.trigger(signal);
}
