//! One signal that tells every thread and task to finish, with the reason of whoever gave it first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A handle of the signal; clones share it. It can be given once and is never taken back.
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    triggered: AtomicBool,
    reason: Mutex<Option<Arc<str>>>,
    changed: Condvar,
    // For async waiters; carries nothing but the fact.
    signal: watch::Sender<bool>,
}

impl Shutdown {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        let inner = Inner {
            triggered: AtomicBool::new(false),
            reason: Mutex::new(None),
            changed: Condvar::new(),
            signal: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Gives the signal. The first reason is kept; later calls change nothing.
    pub fn trigger(&self, reason: impl Into<Arc<str>>) {
        let mut kept = self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_some() {
            return;
        }
        let reason = reason.into();
        tracing::info!(%reason, "shutting down");
        *kept = Some(reason);
        self.inner.triggered.store(true, Ordering::Release);
        self.inner.changed.notify_all();
        self.inner.signal.send_replace(true);
    }

    /// Whether the signal was given. Cheap enough for every batch of a hot loop.
    pub fn is_triggered(&self) -> bool {
        self.inner.triggered.load(Ordering::Acquire)
    }

    /// Why, once it was given.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Blocks the thread until the signal or for at most `timeout`; tells whether the signal was given.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut reason = self.inner.reason.lock().unwrap_or_else(PoisonError::into_inner);
        while reason.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.inner.changed.wait_timeout(reason, left);
            reason = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for the signal inside an async task.
    pub async fn wait(&self) {
        let mut signal = self.inner.signal.subscribe();
        // An error would mean that the sender is gone, but `self` holds it.
        let _given = signal.wait_for(|given| *given).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_kept() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_triggered());
        shutdown.trigger("SIGTERM");
        shutdown.clone().trigger("later");
        assert!(shutdown.is_triggered());
        assert_eq!(shutdown.reason().as_deref(), Some("SIGTERM"));
    }

    #[test]
    fn a_blocked_thread_wakes_on_the_signal() {
        let shutdown = Shutdown::new();
        let waiter = shutdown.clone();
        let thread = std::thread::spawn(move || waiter.wait_timeout(Duration::from_secs(60)));
        shutdown.trigger("test");
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_wait_without_signal_ends_at_its_timeout() {
        assert!(!Shutdown::new().wait_timeout(Duration::from_millis(1)));
    }

    #[tokio::test]
    async fn a_task_that_waits_late_or_early_sees_the_signal() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        shutdown.trigger("test");
        early.await.unwrap();
        shutdown.wait().await;
    }
}
