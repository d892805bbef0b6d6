//! The work that one evaluation may do: what a filter costs per entry is bounded.

use crate::limits::kfl as limits;

/// What is left of the budget of one evaluation.
#[derive(Debug)]
pub(super) struct Work {
    left: u32,
    exhausted: bool,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { left: limits::WORK, exhausted: false }
    }

    /// Takes units; `false`, from then on always, when there are not enough.
    pub(super) fn spend(&mut self, units: usize) -> bool {
        match u32::try_from(units).ok().and_then(|units| self.left.checked_sub(units)) {
            Some(left) if !self.exhausted => {
                self.left = left;
                true
            }
            _ => {
                self.exhausted = true;
                false
            }
        }
    }

    /// Whether more was asked for than there was.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}
