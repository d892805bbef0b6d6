//! Named threads whose panic is never silent.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use super::Shutdown;

/// Longest thread name in bytes: what the kernel keeps (`TASK_COMM_LEN` less the final zero).
pub const MAX_THREAD_NAME: usize = 15;

static GUARDIAN: OnceLock<Shutdown> = OnceLock::new();

/// From now on a panic in any thread of [`spawn_thread`] gives this signal: a daemon that lost a
/// stage must end and be restarted, not go on half blind. Only the first call counts.
pub fn guard_threads(shutdown: &Shutdown) {
    // A second guardian in one process can only be a test; the first stays in charge.
    let _already_set = GUARDIAN.set(shutdown.clone());
}

/// Starts an OS thread. A panic in it is logged, gives the signal of [`guard_threads`], and is
/// seen by whoever joins. A name longer than [`MAX_THREAD_NAME`] is refused.
#[allow(clippy::disallowed_methods, reason = "this is the one place that starts threads")]
pub fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    if name.is_empty() || name.len() > MAX_THREAD_NAME {
        let message = format!("thread name {name:?} must have 1 to {MAX_THREAD_NAME} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let thread_name = name.to_owned();
    std::thread::Builder::new().name(thread_name.clone()).spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            report(&thread_name, panic.as_ref());
            resume_unwind(panic);
        }
    })
}

fn report(thread: &str, panic: &(dyn std::any::Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(thread, message, "a thread panicked: this is a bug, please report it");
    if let Some(shutdown) = GUARDIAN.get() {
        shutdown.trigger(format!("thread {thread} panicked: {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_panic_triggers_the_guardian_and_reaches_the_joiner() {
        let shutdown = Shutdown::new();
        guard_threads(&shutdown);
        let thread = spawn_thread("doomed", || panic!("on purpose")).unwrap();
        assert!(thread.join().is_err());
        assert!(shutdown.wait_timeout(Duration::from_secs(10)));
        assert_eq!(shutdown.reason().as_deref(), Some("thread doomed panicked: on purpose"));
    }

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        assert!(spawn_thread("exactly-fifteen", || {}).unwrap().join().is_ok());
        assert!(spawn_thread("sixteen-bytes-is", || {}).is_err());
        assert!(spawn_thread("", || {}).is_err());
    }
}
