//! The bounded queue between two stages: limited in bytes and items, drops the newest when full.
//!
//! A stage hands over batches: one lock per batch, and a wake-up only when the receiver sleeps, so
//! the cost per item is a move. Dropping the newest keeps what is already ordered intact and never
//! blocks the side nearer to the kernel. Rejected: channels of `tokio` and `crossbeam`, which bound
//! items and not bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much may wait in a queue; both bounds hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sum of the items' weights.
    pub bytes: usize,
    /// Number of items: bounds the overhead of many tiny ones.
    pub items: usize,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Items waiting.
    pub items: usize,
    /// Sum of their weights, bytes.
    pub bytes: usize,
    /// Limit of `bytes`.
    pub capacity_bytes: usize,
    /// Limit of `items`.
    pub capacity_items: usize,
    /// The queue's name in status and metrics.
    pub name: &'static str,
}

/// The item did not fit, or the receiver is gone. The caller counts it under its drop reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct Full<T>(pub T);

/// What a [`Receiver::pop_batch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    /// At least one item was appended.
    Items,
    /// Nothing came in time.
    TimedOut,
    /// Nothing is left and nothing will come: all senders are gone.
    Closed,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    senders: usize,
    receiver_gone: bool,
    receiver_sleeps: bool,
}

#[derive(Debug)]
struct Shared<T> {
    name: &'static str,
    capacity: Capacity,
    state: Mutex<State<T>>,
    arrived: Condvar,
    levels: Arc<Levels>,
}

/// Copies of the queue's levels for readers that must not take its lock.
#[derive(Debug)]
struct Levels {
    name: &'static str,
    capacity: Capacity,
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Levels {
    fn depth(&self) -> Depth {
        Depth {
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            capacity_bytes: self.capacity.bytes,
            capacity_items: self.capacity.items,
            name: self.name,
        }
    }
}

impl<T> Shared<T> {
    // A panic while the lock is held cannot leave a half-made state: nothing in between can panic
    // but allocation, which aborts. So a poisoned lock is simply taken.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State<T>) {
        self.levels.items.store(state.waiting.len(), Ordering::Relaxed);
        self.levels.bytes.store(state.bytes, Ordering::Relaxed);
    }

    fn fits(&self, state: &State<T>, weight: usize) -> bool {
        !state.receiver_gone
            && state.waiting.len() < self.capacity.items
            && weight <= self.capacity.bytes.saturating_sub(state.bytes)
    }

    /// Ends a push: publishes the levels, and wakes the receiver if it sleeps and there is something.
    fn finish_push(&self, mut state: MutexGuard<'_, State<T>>) {
        self.publish(&state);
        let wake = state.receiver_sleeps && !state.waiting.is_empty();
        if wake {
            state.receiver_sleeps = false;
        }
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }
}

/// A queue called `name` (in status and metrics) that holds up to `capacity`.
pub fn queue<T>(name: &'static str, capacity: Capacity) -> (Sender<T>, Receiver<T>) {
    let state = State {
        waiting: VecDeque::new(),
        bytes: 0,
        senders: 1,
        receiver_gone: false,
        receiver_sleeps: false,
    };
    let levels = Levels { name, capacity, items: AtomicUsize::new(0), bytes: AtomicUsize::new(0) };
    let shared = Arc::new(Shared {
        name,
        capacity,
        state: Mutex::new(state),
        arrived: Condvar::new(),
        levels: Arc::new(levels),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The end that work is put into; clones feed the same queue.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Puts one item of `weight` bytes in, or gives it back. Never blocks beyond the queue's lock.
    pub fn push(&self, item: T, weight: usize) -> Result<(), Full<T>> {
        let mut state = self.shared.lock();
        if !self.shared.fits(&state, weight) {
            return Err(Full(item));
        }
        state.bytes += weight;
        state.waiting.push_back((item, weight));
        self.shared.finish_push(state);
        Ok(())
    }

    /// Puts a batch in under one lock, in order, and empties it. Items that do not fit are dropped;
    /// their number is returned for the caller to count.
    pub fn push_all(&self, batch: &mut Vec<(T, usize)>) -> usize {
        if batch.is_empty() {
            return 0;
        }
        // Collected and dropped after the lock: freeing a batch must not stop the receiver.
        let mut refused = Vec::new();
        let mut state = self.shared.lock();
        for (item, weight) in batch.drain(..) {
            if self.shared.fits(&state, weight) {
                state.bytes += weight;
                state.waiting.push_back((item, weight));
            } else {
                refused.push(item);
            }
        }
        self.shared.finish_push(state);
        refused.len()
    }

    /// How full the queue is.
    pub fn depth(&self) -> Depth {
        self.shared.levels.depth()
    }

    /// A view of the levels that keeps the queue neither open nor alive.
    pub fn probe(&self) -> Probe {
        Probe { levels: Arc::clone(&self.shared.levels) }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        let closed = state.senders == 0;
        drop(state);
        if closed {
            self.shared.arrived.notify_one();
        }
    }
}

/// The end that work is taken from. There is one per queue.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Appends up to `max` items to `batch`, waiting up to `timeout` for the first.
    pub fn pop_batch(&self, batch: &mut Vec<T>, max: usize, timeout: Duration) -> Popped {
        let mut deadline = None;
        let mut state = self.shared.lock();
        while state.waiting.is_empty() {
            if state.senders == 0 {
                return Popped::Closed;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Popped::TimedOut;
            }
            state.receiver_sleeps = true;
            let woken = self.shared.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.receiver_sleeps = false;
        }
        let count = state.waiting.len().min(max);
        let mut weight = 0;
        batch.extend(state.waiting.drain(..count).map(|(item, bytes)| {
            weight += bytes;
            item
        }));
        state.bytes -= weight;
        self.shared.publish(&state);
        Popped::Items
    }

    /// How full the queue is.
    pub fn depth(&self) -> Depth {
        self.shared.levels.depth()
    }

    /// A view of the levels that keeps the queue neither open nor alive.
    pub fn probe(&self) -> Probe {
        Probe { levels: Arc::clone(&self.shared.levels) }
    }

    /// The queue's name.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver_gone = true;
        state.bytes = 0;
        // Freed after the lock.
        let left = std::mem::take(&mut state.waiting);
        self.shared.publish(&state);
        drop(state);
        drop(left);
    }
}

/// Reads a queue's levels for status and metrics.
#[derive(Clone, Debug)]
pub struct Probe {
    levels: Arc<Levels>,
}

impl Probe {
    /// How full the queue is.
    pub fn depth(&self) -> Depth {
        self.levels.depth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Capacity = Capacity { bytes: 1 << 20, items: 1000 };
    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn items_come_out_in_order_and_free_their_weight() {
        let (sender, receiver) = queue("test", ROOMY);
        sender.push(1, 10).unwrap();
        assert_eq!(sender.push_all(&mut vec![(2, 20), (3, 30)]), 0);
        assert_eq!((receiver.depth().items, receiver.depth().bytes), (3, 60));
        let mut batch = Vec::new();
        assert_eq!(receiver.pop_batch(&mut batch, 2, LONG), Popped::Items);
        assert_eq!(batch, [1, 2]);
        assert_eq!((receiver.depth().items, receiver.depth().bytes), (1, 30));
    }

    #[test]
    fn the_newest_is_given_back_when_bytes_or_items_are_full() {
        let (sender, _receiver) = queue("test", Capacity { bytes: 100, items: 2 });
        sender.push('a', 60).unwrap();
        assert_eq!(sender.push('b', 41), Err(Full('b')));
        sender.push('c', 40).unwrap();
        assert_eq!(sender.push('d', 0), Err(Full('d')));
        assert_eq!(sender.push_all(&mut vec![('e', 1), ('f', 1)]), 2);
    }

    #[test]
    fn an_item_heavier_than_the_queue_never_fits() {
        let (sender, _receiver) = queue("test", Capacity { bytes: 100, items: 2 });
        assert_eq!(sender.push('a', 101), Err(Full('a')));
    }

    #[test]
    fn what_was_sent_is_delivered_before_the_queue_closes() {
        let (sender, receiver) = queue("test", ROOMY);
        let other = sender.clone();
        other.push(1, 1).unwrap();
        drop(other);
        drop(sender);
        let mut batch = Vec::new();
        assert_eq!(receiver.pop_batch(&mut batch, 9, LONG), Popped::Items);
        assert_eq!(receiver.pop_batch(&mut batch, 9, LONG), Popped::Closed);
    }

    #[test]
    fn an_empty_queue_times_out_while_a_sender_lives() {
        let (_sender, receiver) = queue::<u8>("test", ROOMY);
        assert_eq!(receiver.pop_batch(&mut Vec::new(), 9, SOON), Popped::TimedOut);
    }

    #[test]
    fn without_receiver_nothing_fits_and_what_waited_is_freed() {
        let (sender, receiver) = queue("test", ROOMY);
        let item = Arc::new(());
        sender.push(Arc::clone(&item), 1).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(sender.push(item, 1).is_err());
    }

    #[test]
    fn a_sleeping_receiver_wakes_on_an_item_and_on_close() {
        let (sender, receiver) = queue("test", ROOMY);
        let thread = std::thread::spawn(move || {
            let mut batch = Vec::new();
            let first = receiver.pop_batch(&mut batch, 9, LONG);
            (first, receiver.pop_batch(&mut batch, 9, LONG))
        });
        sender.push(7, 1).unwrap();
        drop(sender);
        assert_eq!(thread.join().unwrap(), (Popped::Items, Popped::Closed));
    }

    #[test]
    fn every_item_of_four_senders_is_delivered_or_refused() {
        const EACH: usize = 50_000;
        let (sender, receiver) = queue("test", Capacity { bytes: 4096, items: 512 });
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut refused = 0;
                    for start in (0..EACH).step_by(50) {
                        let mut batch: Vec<_> = (start..start + 50).map(|item| (item, 16)).collect();
                        refused += sender.push_all(&mut batch);
                    }
                    refused
                })
            })
            .collect();
        drop(sender);
        let mut delivered = 0;
        let mut batch = Vec::new();
        while receiver.pop_batch(&mut batch, 256, LONG) != Popped::Closed {
            delivered += batch.drain(..).count();
        }
        let refused: usize = senders.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(delivered + refused, 4 * EACH);
        assert_eq!(receiver.depth().bytes, 0);
    }
}
