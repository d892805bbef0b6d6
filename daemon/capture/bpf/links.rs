//! Attached programs that are detached together, since each detaching waits for the whole kernel.

use libbpf_rs::Link;

use crate::runtime::spawn_thread;

/// Links that are closed at the same time. Closing one takes tens of milliseconds on an idle host and ten times as
/// much on a busy one, nearly all of it waiting for what runs on any CPU; those that wait together wait once.
const AT_ONCE: usize = 64;

/// Links in the order in which they were attached; dropping them detaches all.
#[derive(Debug, Default)]
pub(in crate::capture) struct Links(Vec<Link>);

impl Links {
    pub(in crate::capture) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::capture) fn push(&mut self, link: Link) {
        self.0.push(link);
    }

    /// Takes others over, to be detached with these.
    pub(in crate::capture) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }
}

impl From<Vec<Link>> for Links {
    fn from(links: Vec<Link>) -> Self {
        Self(links)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.0);
        let share = rest.len().div_ceil(AT_ONCE);
        let mut closing = Vec::new();
        while rest.len() > share {
            let links = rest.split_off(rest.len() - share);
            // Without a thread they are closed here.
            closing.extend(spawn_thread("capture-detach", move || drop(links)));
        }
        drop(rest);
        for thread in closing {
            // A panic was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}
