//! SIGTERM and SIGINT end, a second one at once; SIGHUP reloads.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reload;
use crate::runtime::{ExitCode, Shutdown};

/// Watches until the process ends.
pub(super) async fn watch(shutdown: Shutdown, reload: Reload) {
    let signals = (|| {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ))
    })();
    match signals {
        Ok(signals) => serve(signals, &shutdown, Arc::new(reload)).await,
        Err(error) => shutdown.trigger(format!("signals cannot be received: {error}")),
    }
}

async fn serve(signals: (Signal, Signal, Signal), shutdown: &Shutdown, reload: Arc<Reload>) {
    let (mut terminate, mut interrupt, mut hangup) = signals;
    loop {
        tokio::select! {
            _ = terminate.recv() => end(shutdown, "SIGTERM"),
            _ = interrupt.recv() => end(shutdown, "SIGINT"),
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
