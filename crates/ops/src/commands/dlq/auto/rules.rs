//! What may be replayed without a person: pure.

use std::time::Duration;

use storage::ops::dead_letters::AutomaticReplayStats;

/// The span that the budget and the breaker look back on.
pub const HOUR: Duration = Duration::from_hours(1);

#[derive(Clone, Debug)]
pub struct Rules {
    pub classes: Vec<String>,
    /// Replays within an hour.
    pub budget: u64,
    /// Replays of one message and what it follows from.
    pub per_message: u64,
    /// Rest of an entry after it failed; doubled for each replay before.
    pub cool_down: Duration,
    /// The breaker opens when so many per cent of the last hour's replays came back...
    pub share: u64,
    /// ...and no fewer than this many.
    pub least: u64,
    /// How long it stays open after the last one came back.
    pub rest: Duration,
}

/// What is asked about one entry.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub class: &'a str,
    /// Since it failed; `None` when the entry does not say.
    pub age: Option<Duration>,
    /// How often it, and what it follows from, was replayed.
    pub replays: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Replay,
    OtherClass,
    /// Replayed often enough: a person's business.
    WornOut,
    Cooling,
    NoBudget,
    BreakerOpen,
}

impl Verdict {
    pub const ALL: [Self; 6] = [
        Self::Replay,
        Self::OtherClass,
        Self::WornOut,
        Self::Cooling,
        Self::NoBudget,
        Self::BreakerOpen,
    ];

    /// The metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::OtherClass => "other_class",
            Self::WornOut => "replay_limit_reached",
            Self::Cooling => "cooling_down",
            Self::NoBudget => "no_budget",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

impl Rules {
    pub fn budget_left(&self, hour: &AutomaticReplayStats) -> u64 {
        self.budget.saturating_sub(hour.replayed)
    }

    /// Replaying does not help: too many come back.
    pub fn is_open(&self, hour: &AutomaticReplayStats) -> bool {
        let many = hour.parked_again >= self.least
            && hour.parked_again.saturating_mul(100) >= hour.replayed.saturating_mul(self.share);
        many && hour
            .seconds_since
            .is_some_and(|seconds| seconds < self.rest.as_secs_f64())
    }

    pub fn judge(&self, candidate: Candidate<'_>, hour: &AutomaticReplayStats, taken: u64) -> Verdict {
        if !self.classes.iter().any(|class| class == candidate.class) {
            return Verdict::OtherClass;
        }
        if candidate.replays >= self.per_message {
            return Verdict::WornOut;
        }
        if candidate
            .age
            .is_none_or(|age| age < self.rest_after(candidate.replays))
        {
            return Verdict::Cooling;
        }
        if self.is_open(hour) {
            return Verdict::BreakerOpen;
        }
        if self.budget_left(hour) <= taken {
            return Verdict::NoBudget;
        }
        Verdict::Replay
    }

    fn rest_after(&self, replays: u64) -> Duration {
        let doublings = u32::try_from(replays.min(16)).unwrap_or(16);
        self.cool_down.saturating_mul(1 << doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            classes: vec!["storage".into()],
            budget: 10,
            per_message: 2,
            cool_down: Duration::from_mins(5),
            share: 50,
            least: 3,
            rest: Duration::from_mins(15),
        }
    }

    fn hour(replayed: u64, came_back: u64, seconds_since: Option<f64>) -> AutomaticReplayStats {
        AutomaticReplayStats {
            replayed,
            parked_again: came_back,
            seconds_since,
        }
    }

    fn candidate(class: &str, minutes: u64, replays: u64) -> Candidate<'_> {
        Candidate {
            class,
            age: Some(Duration::from_mins(minutes)),
            replays,
        }
    }

    #[test]
    fn every_rule_can_hold_an_entry_back() {
        let calm = hour(0, 0, None);
        let table = [
            (candidate("storage", 5, 0), calm, 0, Verdict::Replay),
            (candidate("seal_invalid", 5, 0), calm, 0, Verdict::OtherClass),
            (candidate("storage", 4, 0), calm, 0, Verdict::Cooling),
            // The rest doubles with each replay.
            (candidate("storage", 9, 1), calm, 0, Verdict::Cooling),
            (candidate("storage", 10, 1), calm, 0, Verdict::Replay),
            (candidate("storage", 600, 2), calm, 0, Verdict::WornOut),
            (
                candidate("storage", 5, 0),
                hour(10, 0, None),
                0,
                Verdict::NoBudget,
            ),
            (candidate("storage", 5, 0), hour(9, 0, None), 1, Verdict::NoBudget),
            (candidate("storage", 5, 0), hour(9, 0, None), 0, Verdict::Replay),
            (
                candidate("storage", 5, 0),
                hour(6, 3, Some(10.0)),
                0,
                Verdict::BreakerOpen,
            ),
        ];
        for (candidate, hour, taken, wanted) in table {
            assert_eq!(
                rules().judge(candidate, &hour, taken),
                wanted,
                "{candidate:?} {hour:?}"
            );
        }
        let undated = Candidate {
            age: None,
            ..candidate("storage", 0, 0)
        };
        assert_eq!(rules().judge(undated, &calm, 0), Verdict::Cooling);
    }

    #[test]
    fn the_breaker_opens_by_share_and_number_and_closes_after_a_rest() {
        let open = |replayed, came_back, since| rules().is_open(&hour(replayed, came_back, since));
        assert!(open(6, 3, Some(0.0)));
        assert!(!open(7, 3, Some(0.0)), "fewer than half came back");
        assert!(!open(2, 2, Some(0.0)), "too few to judge by");
        assert!(open(6, 3, Some(899.0)));
        assert!(!open(6, 3, Some(900.0)), "rested");
    }
}
