//! Records that wait for key material, which others want to read before the packets that it opens.
//!
//! Programs read a file from its front to its back, and a key that comes behind the packet that needs it is
//! of no use to them. Keys are known some milliseconds after that packet at the latest.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::model::{Record, Timestamp};

/// How long. A handshake's keys are known once its other half has come, within one round trip.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that wait at most; beyond, the oldest wait less.
const MAX_BYTES: usize = 32 << 20;

/// Records in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    records: VecDeque<(Timestamp, Record, usize)>,
    bytes: usize,
}

impl HeldBack {
    /// Takes a record of this weight in bytes.
    pub(super) fn push(&mut self, now: Timestamp, record: Record, weight: usize) {
        self.bytes += weight;
        self.records.push_back((now, record, weight));
    }

    /// The next record that has waited long enough.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Record> {
        let (came, ..) = self.records.front()?;
        (self.bytes > MAX_BYTES || now >= came.plus(PATIENCE)).then(|| self.pop()).flatten()
    }

    /// The next record.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let (_, record, weight) = self.records.pop_front()?;
        self.bytes -= weight;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::{DropReason, Loss};

    #[test]
    fn records_come_out_in_order_after_a_second_or_when_they_are_too_many() {
        let loss = |count| Record::Loss(Loss { at: Timestamp(1), reason: DropReason::Paused, count });
        let mut held = HeldBack::default();
        let start = Timestamp(5);
        held.push(start, loss(1), 10);
        held.push(start.plus(PATIENCE), loss(2), 10);
        assert_eq!(held.pop_due(start), None);
        assert_eq!(held.pop_due(start.plus(PATIENCE)), Some(loss(1)));
        assert_eq!(held.pop_due(start.plus(PATIENCE)), None);
        held.push(start.plus(PATIENCE), loss(3), MAX_BYTES);
        assert_eq!(held.pop_due(start), Some(loss(2)));
        assert_eq!(held.pop_due(start), None);
        assert_eq!(held.pop(), Some(loss(3)));
        assert_eq!((held.pop(), held.bytes), (None, 0));
    }
}
