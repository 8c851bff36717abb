//! How long to leave alone what fails.

use std::time::Duration;

/// A wait that doubles with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Backoff {
    /// `first * 2^failures`, at most `longest`; `failures` counts those before the last one.
    pub fn wait(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(31)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        };
        let waits: Vec<_> = [0, 1, 2, 5, 6, 31, 60, u32::MAX]
            .map(|failures| backoff.wait(failures).as_millis())
            .into();
        assert_eq!(waits, [100, 200, 400, 3200, 5000, 5000, 5000, 5000]);
    }
}
