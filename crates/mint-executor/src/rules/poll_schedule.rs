//! When to poll the head again: rarely right after a block, often when the next one is due. Pure.

use std::time::Duration;

/// Poll interval close to the expected block.
const DENSE: Duration = Duration::from_millis(40);
/// Measured block times are clamped to these.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Moving averages of the time between blocks.
#[derive(Clone, Copy, Debug)]
pub struct PollSchedule {
    interval: Duration,
    /// Average deviation from the interval.
    deviation: Duration,
}

impl Default for PollSchedule {
    fn default() -> Self {
        Self {
            interval: SHORTEST,
            deviation: SHORTEST,
        }
    }
}

impl PollSchedule {
    /// Records the time between two blocks.
    pub fn record_interval(&mut self, gap: Duration) {
        let gap = gap.clamp(SHORTEST, LONGEST);
        let off = self.interval.abs_diff(gap);
        self.interval = (self.interval * 3 + gap) / 4;
        self.deviation = (self.deviation * 3 + off) / 4;
    }

    /// The wait before the next poll, `since` the last block. It exceeds `sparse` only on a chain with regular blocks.
    pub fn wait(&self, since: Duration, sparse: Duration) -> Duration {
        let dense = DENSE.min(sparse);
        let margin = self.deviation * 2 + self.interval / 20;
        let due = self.interval.saturating_sub(margin);
        // Long overdue: the average is wrong, or blocks are irregular.
        if since > self.interval * 2 {
            return sparse;
        }
        let by_the_clock = self.deviation < self.interval / 10;
        let longest = if by_the_clock { due } else { sparse };
        due.saturating_sub(since).clamp(dense, longest.max(dense))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARSE: Duration = Duration::from_millis(150);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn schedule_after(gaps: impl IntoIterator<Item = u64>) -> PollSchedule {
        let mut schedule = PollSchedule::default();
        gaps.into_iter().for_each(|gap| schedule.record_interval(ms(gap)));
        schedule
    }

    /// The number of polls until a block `at` ms after the last is seen, and the delay.
    fn polls_until(schedule: &PollSchedule, at: u64) -> (u32, Duration) {
        let (mut since, mut count) = (Duration::ZERO, 0);
        while since < ms(at) {
            since += schedule.wait(since, SPARSE);
            count += 1;
            assert!(
                count < 1000,
                "{since:?} of {at} ms: the waits are too short to end"
            );
        }
        (count, since.saturating_sub(ms(at)))
    }

    #[test]
    fn regular_blocks_cost_few_polls_and_are_seen_at_once() {
        let (count, late) = polls_until(&schedule_after([1000; 40]), 1000);
        assert!(count <= 4 && late <= DENSE, "{count} looks, {late:?} late");
    }

    #[test]
    fn irregular_blocks_are_seen_within_the_longest_poll_interval() {
        let schedule = schedule_after([200, 1900, 400, 3000, 100, 1500, 700, 2500]);
        for at in [50, 300, 900, 1700, 5000] {
            assert!(
                polls_until(&schedule, at).1 <= SPARSE,
                "{at}: {:?}",
                polls_until(&schedule, at)
            );
        }
    }

    #[test]
    fn each_block_counts_a_quarter_of_the_averages() {
        let schedule = schedule_after([500, 300]);
        assert_eq!(
            (schedule.interval, schedule.deviation),
            (ms(225), ms(156) + ms(1) / 4)
        );
    }

    #[test]
    fn a_wait_ends_shortly_before_a_regular_block_and_is_never_long_otherwise() {
        // Of blocks each second: their average deviation, the time since the last one, the wait, all in ms.
        let table = [
            (20, 0, 910),
            (20, 860, 50),
            (20, 900, 40),
            (20, 910, 40),
            (20, 2000, 40),
            (20, 2001, 150),
            (99, 0, 752),
            // A deviation of a tenth is irregular.
            (100, 0, 150),
            (200, 0, 150),
            (200, 500, 50),
            (200, 550, 40),
        ];
        for (deviation, since, expected) in table {
            let schedule = PollSchedule {
                interval: ms(1000),
                deviation: ms(deviation),
            };
            assert_eq!(
                schedule.wait(ms(since), SPARSE),
                ms(expected),
                "+-{deviation} after {since}"
            );
        }
    }
}
