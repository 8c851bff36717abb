//! Since which block an attempt waits, and whether it should have been mined by now.

use std::collections::HashMap;

use storage::executor::attempts::AttemptRow;

/// A transaction sent just before a block may miss it, so it counts as late after the next one.
const LATE_AFTER_BLOCKS: u64 = 2;

/// The head at which each open attempt was first seen waiting.
#[derive(Debug, Default)]
pub struct WaitingSince(HashMap<i64, u64>);

impl WaitingSince {
    /// Forgets attempts that are no longer open.
    pub fn keep(&mut self, open: &[AttemptRow]) {
        self.0
            .retain(|id, _| open.iter().any(|attempt| attempt.id == *id));
    }

    /// Records this head, unless an earlier one is known; returns the head since which the attempt waits.
    pub fn note(&mut self, attempt: i64, head: u64) -> u64 {
        *self.0.entry(attempt).or_insert(head)
    }

    pub fn since(&self, attempt: i64) -> Option<u64> {
        self.0.get(&attempt).copied()
    }

    /// Whether it should have been mined by now.
    pub fn is_late(&self, attempt: i64, head: u64) -> bool {
        self.since(attempt)
            .is_some_and(|since| head >= since + LATE_AFTER_BLOCKS)
    }

    pub fn any_late(&self, open: &[AttemptRow], head: u64) -> bool {
        open.iter().any(|attempt| self.is_late(attempt.id, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_late_once_it_missed_a_block_and_stays_late_in_each_that_follows() {
        let mut waits = WaitingSince::default();
        assert!(!waits.is_late(1, 9), "nothing is known");
        assert_eq!(waits.note(1, 10), 10);
        assert_eq!(waits.note(1, 12), 10, "it waits since it was first seen");
        let late = [10, 11, 12, 13, 14].map(|head| waits.is_late(1, head));
        assert_eq!(late, [false, false, true, true, true]);
        waits.keep(&[]);
        assert_eq!(waits.since(1), None);
    }
}
