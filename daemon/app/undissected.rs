//! Which windows were captured and not dissected, and the thread that makes up for it.
//!
//! Windows are written down, so that a restart forgets none. They are made up for when dissection is
//! switched on and when somebody asks for the past.

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use compact_str::format_compact;
use serde::{Deserialize, Serialize};

use crate::engine::model::Timestamp;
use crate::pipeline::Handle;
use crate::runtime::{self, Shutdown, clock};
use crate::snapshot::{self, Library, LookBack, SnapshotError};
use crate::store::{Setting, Store, StoreError};

/// Windows that are remembered; beyond it neighbours become one, which costs time and no doubles.
const MAX_WINDOWS: usize = 256;
/// Packets are on their way to the disk as long, and calls that are under way may end meanwhile.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks back while dissection is off: each begins with reading what was before its window.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest sleep.
const IDLE: Duration = Duration::from_secs(60);

/// What was captured and not dissected; as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Windows {
    /// Oldest first, apart from each other.
    past: Vec<(Timestamp, Timestamp)>,
    /// Since when dissection is off.
    since: Option<Timestamp>,
}

impl Windows {
    fn begin(&mut self, now: Timestamp) {
        self.since.get_or_insert(now);
    }

    /// The window under way is in the past from here on; it goes on if `is_off`.
    fn end(&mut self, now: Timestamp, is_off: bool) {
        let Some(since) = self.since.take() else { return };
        self.since = is_off.then_some(now.max(since));
        match self.past.last_mut() {
            Some(last) if last.1 >= since => last.1 = now.max(last.1),
            _ if now > since => self.past.push((since, now)),
            _ => {}
        }
        if self.past.len() > MAX_WINDOWS {
            let (from, _) = self.past.remove(0);
            if let Some(first) = self.past.first_mut() {
                first.0 = from;
            }
        }
    }

    /// Parts that are not before `from`.
    fn after(&self, from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let parts = self.past.iter().map(|window| (window.0.max(from), window.1));
        parts.filter(|(from, to)| from < to).collect()
    }

    /// This part is made up for.
    fn done(&mut self, (from, to): (Timestamp, Timestamp)) {
        if to <= from {
            return;
        }
        let parts = self
            .past
            .iter()
            .flat_map(|window| [(window.0, window.1.min(from)), (window.0.max(to), window.1)]);
        self.past = parts.filter(|(from, to)| from < to).collect();
    }
}

/// The windows, for those who switch dissection and ask for the past.
#[derive(Debug)]
pub(super) struct Undissected {
    store: Arc<Store>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    windows: Windows,
    /// Make up for everything from here on.
    asked: Option<Timestamp>,
    not_before: Instant,
}

impl Undissected {
    /// Reads what was written down.
    pub(super) fn open(store: &Arc<Store>, is_dissecting: bool) -> Result<Self, StoreError> {
        let written = store.setting(Setting::Undissected)?.unwrap_or_default();
        let mut windows: Windows = serde_json::from_str(&written).unwrap_or_default();
        let now = clock::now();
        if is_dissecting {
            windows.end(now, false);
        } else {
            windows.begin(now);
        }
        let asked = (is_dissecting && !windows.past.is_empty()).then_some(Timestamp::ZERO);
        let state = State { windows, asked, not_before: Instant::now() + SETTLE };
        let this = Self { store: Arc::clone(store), state: Mutex::new(state), changed: Condvar::new() };
        this.write(&this.state());
        Ok(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change stands for itself, so a panic leaves nothing half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, state: &State) {
        // Numbers alone: serialization cannot fail.
        let text = serde_json::to_string(&state.windows).unwrap_or_default();
        if let Err(error) = self.store.set_setting(Setting::Undissected, Some(&text)) {
            tracing::warn!("what was not dissected is not written down: {error}");
        }
    }

    /// Dissection was switched.
    pub(super) fn switched(&self, is_dissecting: bool) {
        let mut state = self.state();
        let before = state.windows.clone();
        if is_dissecting {
            state.windows.end(clock::now(), false);
            state.asked = Some(Timestamp::ZERO);
            state.not_before = Instant::now() + SETTLE;
        } else {
            state.windows.begin(clock::now());
        }
        if state.windows != before {
            self.write(&state);
        }
        self.changed.notify_all();
    }

    /// Somebody wants to see what happened since then.
    pub(super) fn ask(&self, from: Timestamp) {
        let mut state = self.state();
        let is_off = state.windows.since.is_some();
        if is_off {
            state.windows.end(clock::now(), true);
        }
        if !state.windows.after(from).is_empty() {
            if state.asked.is_none() {
                state.not_before = state.not_before.max(Instant::now() + SETTLE);
            }
            state.asked = Some(state.asked.map_or(from, |asked| asked.min(from)));
            self.changed.notify_all();
        }
    }

    /// What to do next, once there is something; `None` now and then.
    fn next(&self) -> Option<(Vec<(Timestamp, Timestamp)>, bool)> {
        let mut state = self.state();
        let wait = match state.asked {
            Some(_) => state.not_before.saturating_duration_since(Instant::now()),
            None => IDLE,
        };
        if !wait.is_zero() {
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if Instant::now() < state.not_before {
            return None;
        }
        let asked = state.asked.take()?;
        Some((state.windows.after(asked), state.windows.since.is_some()))
    }

    fn done(&self, window: (Timestamp, Timestamp)) {
        let mut state = self.state();
        state.windows.done(window);
        state.not_before = Instant::now() + INTERVAL;
        self.write(&state);
    }

    /// Starts the thread; it ends when nobody holds this any more or the daemon stops.
    pub(super) fn start(
        self: &Arc<Self>,
        library: Arc<Library>,
        pipeline: Handle,
        shutdown: Shutdown,
    ) -> std::io::Result<()> {
        let this = Arc::clone(self);
        // Not waited for: what it did not do is done after the next start.
        let _detached = runtime::spawn_thread("look-back", move || this.run(&library, &pipeline, &shutdown))?;
        Ok(())
    }

    fn run(&self, library: &Library, pipeline: &Handle, shutdown: &Shutdown) {
        while !shutdown.is_triggered() {
            let Some((windows, is_off)) = self.next() else { continue };
            for window in windows {
                match self.make_up(window, is_off, library, pipeline, shutdown) {
                    Ok(true) => self.done((window.0, settled(window.1, is_off))),
                    // The daemon stops.
                    Ok(false) => return,
                    Err(error) => tracing::warn!("a window that was not dissected stays so: {error}"),
                }
            }
        }
    }

    fn make_up(
        &self,
        window: (Timestamp, Timestamp),
        is_off: bool,
        library: &Library,
        pipeline: &Handle,
        shutdown: &Shutdown,
    ) -> Result<bool, SnapshotError> {
        // No two looks back begin in the same millisecond: there is one thread, and each writes to the store.
        let run = format_compact!("{:x}b", clock::now().millis());
        let with_unfinished = settled(window.1, is_off) == window.1;
        let wanted = LookBack { window, run, with_unfinished };
        let done = library.look_back(&wanted, &self.store.reader(), &mut |entry| {
            if !shutdown.is_triggered() && pipeline.deliver(entry) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        for error in &done.errors {
            tracing::warn!("while making up for what was not dissected: {error}");
        }
        tracing::info!(
            from = clock::rfc3339(window.0),
            to = clock::rfc3339(window.1),
            entries = done.entries,
            known = done.known,
            "what was not dissected is made up for"
        );
        Ok(!done.is_broken_off)
    }
}

/// Up to where calls are over. While dissection is off, the end of the window is looked at again later,
/// when the calls that are under way there are whole.
fn settled(to: Timestamp, is_off: bool) -> Timestamp {
    if is_off {
        to.min(Timestamp(clock::now().0.saturating_sub(snapshot::LEAD.as_nanos() as u64)))
    } else {
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(past: &[(u64, u64)]) -> Windows {
        Windows {
            past: past.iter().map(|(from, to)| (Timestamp(*from), Timestamp(*to))).collect(),
            since: None,
        }
    }

    #[test]
    fn windows_begin_end_and_are_made_up_for_in_parts() {
        let mut known = Windows::default();
        known.begin(Timestamp(10));
        known.begin(Timestamp(15));
        known.end(Timestamp(20), true);
        assert_eq!((known.past.len(), known.since), (1, Some(Timestamp(20))));
        known.end(Timestamp(30), false);
        assert_eq!(known, windows(&[(10, 30)]), "neighbours are one");
        known.begin(Timestamp(50));
        known.end(Timestamp(60), false);
        assert_eq!(known.after(Timestamp(20)), windows(&[(20, 30), (50, 60)]).past);
        known.done((Timestamp(20), Timestamp(30)));
        assert_eq!(known, windows(&[(10, 20), (50, 60)]));
        known.done((Timestamp(52), Timestamp(54)));
        assert_eq!(known, windows(&[(10, 20), (50, 52), (54, 60)]));
        known.done((Timestamp(0), Timestamp(100)));
        assert_eq!(known, Windows::default());
        known.end(Timestamp(7), false);
        assert_eq!(known, Windows::default(), "an end without a beginning");
    }

    #[test]
    fn the_number_of_windows_is_bounded_and_none_is_lost() {
        let mut known = Windows::default();
        for n in 0..2 * MAX_WINDOWS as u64 {
            known.begin(Timestamp(10 * n + 1));
            known.end(Timestamp(10 * n + 5), false);
        }
        assert_eq!(known.past.len(), MAX_WINDOWS);
        assert_eq!(known.past[0].0, Timestamp(1));
    }
}
