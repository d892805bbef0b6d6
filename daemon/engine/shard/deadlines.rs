//! The queue of moments at which a connection wants attention: one entry per connection.

use std::collections::BTreeSet;

use crate::model::Timestamp;

/// Slots by deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: BTreeSet<(Timestamp, u32)>,
}

impl Deadlines {
    /// Moves a slot from the deadline it has to another.
    pub(super) fn arm(&mut self, slot: u32, from: Option<Timestamp>, to: Timestamp) {
        self.disarm(slot, from);
        self.queue.insert((to, slot));
    }

    /// Takes a slot out.
    pub(super) fn disarm(&mut self, slot: u32, from: Option<Timestamp>) {
        if let Some(at) = from {
            self.queue.remove(&(at, slot));
        }
    }

    /// Takes out the first slot whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<u32> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        self.queue.pop_first().map(|(_, slot)| slot)
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_slots_come_in_order_and_moved_ones_once() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(1, None, Timestamp(30));
        deadlines.arm(2, None, Timestamp(20));
        deadlines.arm(1, Some(Timestamp(30)), Timestamp(10));
        deadlines.arm(3, None, Timestamp(15));
        deadlines.disarm(3, Some(Timestamp(15)));
        assert_eq!(deadlines.first(), Some(Timestamp(10)));
        assert_eq!(deadlines.pop_due(Timestamp(9)), None);
        assert_eq!(deadlines.pop_due(Timestamp(40)), Some(1));
        assert_eq!(deadlines.pop_due(Timestamp(40)), Some(2));
        assert_eq!(deadlines.pop_due(Timestamp(40)), None);
    }
}
