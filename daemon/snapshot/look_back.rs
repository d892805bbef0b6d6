//! Entries of a window of raw capture that nobody dissected when it happened.
//!
//! Reading begins somewhat before the window and ends as much after it, so that calls under way at its ends are whole.
//! Calls that stored entries stand for already are left out: same ends, same moments.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::dissector::file_context;
use super::library::Library;
use super::pace::{Pacer, STEP};
use super::{CaptureFile, Dissector, SnapshotError};
use crate::engine::model::{CaptureSource, Entry, Timestamp};
use crate::engine::shard::ShardContext;
use crate::store::{Reader, Search};

/// Read before and after the window: longer than a request waits for its response.
pub const LEAD: Duration = Duration::from_secs(70);
/// Dissection stops and starts a little after it was switched, when the queues are worked off.
const MARGIN: Duration = Duration::from_secs(1);

/// Stored calls around a window that are remembered: 72 MiB. Beyond it the newest are not, so that some calls may come
/// twice, which is said.
const MAX_KNOWN: usize = 4 << 20;

/// What a look back is to do.
#[derive(Clone, Debug)]
pub struct LookBack {
    /// The window that was not dissected.
    pub window: (Timestamp, Timestamp),
    /// Prefix of the entries' stream ids; never used before.
    pub run: CompactString,
    /// Whether calls that are unfinished at the end of what is captured are given as such. False while
    /// dissection is off: the next look back sees them whole.
    pub with_unfinished: bool,
}

/// What a look back did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedBack {
    /// Entries that were handed out.
    pub entries: u64,
    /// Calls of the window that stored entries stand for already.
    pub known: u64,
    /// Files that could not be read to their end, and why.
    pub errors: Vec<String>,
    /// Whether `out` ended it.
    pub is_broken_off: bool,
}

impl Library {
    /// Dissects what raw capture holds of a window and hands each call of it to `out` that is not stored
    /// yet. Makes the calling thread nice and goes at the pace of delayed dissection.
    pub fn look_back(
        &self,
        wanted: &LookBack,
        stored: &Reader,
        out: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<LookedBack, SnapshotError> {
        self.config.delayed.pace.take_on();
        let from = Timestamp(wanted.window.0.0.saturating_sub(LEAD.as_nanos() as u64));
        let (directory, segments) = match self.hold(from, wanted.window.1.plus(LEAD)) {
            Err(SnapshotError::Empty) => return Ok(LookedBack::default()),
            held => held?,
        };
        let done = self.look_through(&directory, &segments, wanted, stored, out);
        super::library::remove_all(&directory);
        done
    }

    fn look_through(
        &self,
        directory: &Path,
        segments: &[String],
        wanted: &LookBack,
        stored: &Reader,
        out: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<LookedBack, SnapshotError> {
        let mut look = Look::new(wanted, stored, self.pacer())?;
        let context = ShardContext { source: CaptureSource::Ebpf, ..file_context(wanted.run.clone()) };
        let mut dissector = Dissector::new(self.limits(), context);
        for name in segments {
            if look.file(&directory.join(name), &mut dissector, out).is_break() {
                look.done.is_broken_off = true;
                return Ok(look.done);
            }
        }
        if wanted.with_unfinished {
            dissector.finish(&mut |entry| look.take(entry));
        }
        // Entries around the end may have been made live meanwhile.
        look.learn(wanted.window.1, wanted.window.1.plus(2 * LEAD))?;
        let at_the_end = std::mem::take(&mut look.at_the_end);
        at_the_end.into_iter().for_each(|entry| look.judge(entry));
        look.done.is_broken_off = look.hand_out(out).is_break();
        Ok(look.done)
    }
}

/// A look back under way.
struct Look<'a> {
    stored: &'a Reader,
    window: (Timestamp, Timestamp),
    known: Known,
    ready: Vec<Entry>,
    /// Judged last: they end about when the window does.
    at_the_end: Vec<Entry>,
    done: LookedBack,
    pacer: Pacer,
}

impl<'a> Look<'a> {
    fn new(wanted: &LookBack, stored: &'a Reader, pacer: Pacer) -> Result<Self, SnapshotError> {
        let (from, to) = wanted.window;
        let mut this = Self {
            stored,
            window: (Timestamp(from.0.saturating_sub(MARGIN.as_nanos() as u64)), to.plus(MARGIN)),
            known: Known::new(MAX_KNOWN),
            ready: Vec::new(),
            at_the_end: Vec::new(),
            done: LookedBack::default(),
            pacer,
        };
        this.learn(Timestamp(this.window.0.0.saturating_sub(LEAD.as_nanos() as u64)), this.window.1)?;
        Ok(this)
    }

    /// Notes which calls of these moments are stored.
    fn learn(&mut self, from: Timestamp, to: Timestamp) -> Result<(), SnapshotError> {
        let mut search = Search::new(super::library::filter_of("")?);
        (search.from, search.to, search.whole) = (from, to, false);
        let keys = |entries: Vec<Arc<Entry>>| -> Vec<u64> {
            entries.iter().map(|entry| key_of(entry, half_of(entry))).collect()
        };
        let known = &mut self.known;
        self.stored.search(&Arc::new(search), keys, |found| {
            found.value.into_iter().for_each(|key| known.add(key));
            ControlFlow::Continue(())
        })?;
        if known.left_out > 0 {
            let (most, more) = (known.most, std::mem::take(&mut known.left_out));
            self.done.errors.push(format!(
                "of the calls around the window that are stored, {most} are remembered; {more} others may come twice"
            ));
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        dissector: &mut Dissector,
        out: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut file = match CaptureFile::open(path) {
            Ok(file) => file,
            Err(error) => {
                self.done.errors.push(error.to_string());
                return ControlFlow::Continue(());
            }
        };
        let mut items = 0;
        loop {
            match file.next_item() {
                Ok(Some(item)) => dissector.item(item, &mut |entry| self.take(entry)),
                Ok(None) => break,
                // Nothing behind it can be told apart.
                Err(error) => {
                    self.done.errors.push(error.to_string());
                    break;
                }
            }
            items += 1;
            if items % STEP == 0 {
                self.hand_out(out)?;
                self.pacer.pause(|| false);
            }
        }
        self.hand_out(out)
    }

    fn hand_out(&mut self, out: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> ControlFlow<()> {
        for entry in self.ready.drain(..) {
            out(entry)?;
            self.done.entries += 1;
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, entry: Entry) {
        let (from, to) = self.window;
        if entry.timing.began() > to || entry.timing.ended() < from {
            return;
        }
        // Both margins: what was made live here may become readable a moment later.
        if entry.timing.ended().plus(2 * MARGIN) >= to {
            self.at_the_end.push(entry);
        } else {
            self.judge(entry);
        }
    }

    /// Lets a call pass unless it is stored, whole or as the half that was seen when dissection began.
    fn judge(&mut self, entry: Entry) {
        let is_known =
            [Half::Whole, Half::Response].iter().any(|half| self.known.keys.contains(&key_of(&entry, *half)));
        if is_known {
            self.done.known += 1;
        } else {
            self.ready.push(entry);
        }
    }
}

/// Calls that stored entries stand for, up to a number.
struct Known {
    keys: HashSet<u64>,
    most: usize,
    left_out: u64,
}

impl Known {
    fn new(most: usize) -> Self {
        Self { keys: HashSet::new(), most, left_out: 0 }
    }

    fn add(&mut self, key: u64) {
        if self.keys.len() < self.most || self.keys.contains(&key) {
            self.keys.insert(key);
        } else {
            self.left_out += 1;
        }
    }
}

/// How much of a call an entry holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Half {
    Whole,
    Response,
}

fn half_of(entry: &Entry) -> Half {
    if entry.timing.request_start == Timestamp::ZERO { Half::Response } else { Half::Whole }
}

/// What is the same in all entries of one call, however they were made.
fn key_of(entry: &Entry, half: Half) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (one, other) = (entry.src.addr, entry.dst.addr);
    // Whoever joins a connection in its middle may take the server for the client.
    (one.min(other), one.max(other), half, entry.timing.response_start).hash(&mut hasher);
    if half == Half::Whole {
        (entry.timing.request_start, &entry.method, &entry.summary).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_not_is_counted() {
        let mut known = Known::new(3);
        [1, 2, 2, 3, 3, 4, 5, 1].into_iter().for_each(|key| known.add(key));
        assert_eq!((known.keys.len(), known.left_out), (3, 2));
        assert!([1, 2, 3].iter().all(|key| known.keys.contains(key)));
    }
}
