//! Which entries may be replayed automatically. Pure rules.

use std::time::Duration;

use domain::backoff::Backoff;
use storage::ops::dead_letters::AutomaticReplayStats;
use strum::{IntoStaticStr, VariantArray};

/// The period over which the budget and the breaker count.
pub const HOUR: Duration = Duration::from_hours(1);
/// From then on the cool-down no longer doubles.
const MAX_DOUBLINGS: u32 = 16;

#[derive(Clone, Debug)]
pub struct AutoReplayRules {
    pub classes: Vec<String>,
    /// Maximum number of replays per hour.
    pub budget: u64,
    /// Maximum number of replays of one message, counting the messages it was replayed from.
    pub per_message: u64,
    /// Time to wait after a failure; doubled for each earlier replay.
    pub cool_down: Duration,
    /// The breaker opens when this percentage of the last hour's replays is parked again...
    pub breaker_percent: u64,
    /// ...and at least this number.
    pub breaker_min: u64,
    /// How long the breaker stays open after the last replay that was parked again.
    pub breaker_reset: Duration,
}

/// The facts about one entry.
#[derive(Clone, Copy, Debug)]
pub struct ReplayCandidate<'a> {
    pub class: &'a str,
    /// Time since it failed; `None` if unknown.
    pub age: Option<Duration>,
    /// How often the message, and the messages it was replayed from, were replayed.
    pub replays: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ReplayDecision {
    Replay,
    OtherClass,
    /// The message reached its replay limit and needs a person.
    #[strum(serialize = "replay_limit_reached")]
    ReplayLimit,
    CoolingDown,
    NoBudget,
    BreakerOpen,
}

impl ReplayDecision {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    /// The metric label.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

impl AutoReplayRules {
    pub fn budget_left(&self, hour: &AutomaticReplayStats) -> u64 {
        self.budget.saturating_sub(hour.replayed)
    }

    /// Whether the breaker is open, because too many replays were parked again.
    pub fn is_open(&self, hour: &AutomaticReplayStats) -> bool {
        let many = hour.parked_again >= self.breaker_min
            && hour.parked_again.saturating_mul(100) >= hour.replayed.saturating_mul(self.breaker_percent);
        many && hour
            .seconds_since
            .is_some_and(|seconds| seconds < self.breaker_reset.as_secs_f64())
    }

    const fn is_at_replay_limit(&self, candidate: ReplayCandidate<'_>) -> bool {
        candidate.replays >= self.per_message
    }

    pub fn decide(
        &self,
        candidate: ReplayCandidate<'_>,
        hour: &AutomaticReplayStats,
        taken: u64,
    ) -> ReplayDecision {
        if !self.classes.iter().any(|class| class == candidate.class) {
            return ReplayDecision::OtherClass;
        }
        if self.is_at_replay_limit(candidate) {
            return ReplayDecision::ReplayLimit;
        }
        if candidate
            .age
            .is_none_or(|age| age < self.cool_down_after(candidate.replays))
        {
            return ReplayDecision::CoolingDown;
        }
        if self.is_open(hour) {
            return ReplayDecision::BreakerOpen;
        }
        if self.budget_left(hour) <= taken {
            return ReplayDecision::NoBudget;
        }
        ReplayDecision::Replay
    }

    fn cool_down_after(&self, replays: u64) -> Duration {
        let cool_down = Backoff {
            first: self.cool_down,
            longest: self.cool_down.saturating_mul(1 << MAX_DOUBLINGS),
        };
        cool_down.wait(u32::try_from(replays).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> AutoReplayRules {
        AutoReplayRules {
            classes: vec!["storage".into()],
            budget: 10,
            per_message: 2,
            cool_down: Duration::from_mins(5),
            breaker_percent: 50,
            breaker_min: 3,
            breaker_reset: Duration::from_mins(15),
        }
    }

    fn hour(replayed: u64, parked_again: u64, seconds_since: Option<f64>) -> AutomaticReplayStats {
        AutomaticReplayStats {
            replayed,
            parked_again,
            seconds_since,
        }
    }

    fn candidate(class: &str, minutes: u64, replays: u64) -> ReplayCandidate<'_> {
        ReplayCandidate {
            class,
            age: Some(Duration::from_mins(minutes)),
            replays,
        }
    }

    #[test]
    fn every_rule_can_hold_an_entry_back() {
        let no_replays = hour(0, 0, None);
        let table = [
            (candidate("storage", 5, 0), no_replays, 0, "replay"),
            (candidate("seal_invalid", 5, 0), no_replays, 0, "other_class"),
            (candidate("storage", 4, 0), no_replays, 0, "cooling_down"),
            // The rest doubles with each replay.
            (candidate("storage", 9, 1), no_replays, 0, "cooling_down"),
            (candidate("storage", 10, 1), no_replays, 0, "replay"),
            (
                candidate("storage", 600, 2),
                no_replays,
                0,
                "replay_limit_reached",
            ),
            (candidate("storage", 5, 0), hour(10, 0, None), 0, "no_budget"),
            (candidate("storage", 5, 0), hour(9, 0, None), 1, "no_budget"),
            (candidate("storage", 5, 0), hour(9, 0, None), 0, "replay"),
            (
                candidate("storage", 5, 0),
                hour(6, 3, Some(10.0)),
                0,
                "breaker_open",
            ),
        ];
        for (candidate, hour, taken, wanted) in table {
            assert_eq!(
                rules().decide(candidate, &hour, taken).name(),
                wanted,
                "{candidate:?} {hour:?}"
            );
        }
        let undated = ReplayCandidate {
            age: None,
            ..candidate("storage", 0, 0)
        };
        assert_eq!(rules().decide(undated, &no_replays, 0).name(), "cooling_down");
    }

    #[test]
    fn the_breaker_opens_by_share_and_count_and_closes_after_its_reset_time() {
        let open = |replayed, parked_again, since| rules().is_open(&hour(replayed, parked_again, since));
        assert!(open(6, 3, Some(0.0)));
        assert!(!open(7, 3, Some(0.0)), "fewer than half came back");
        assert!(!open(2, 2, Some(0.0)), "too few failures to decide");
        assert!(open(6, 3, Some(899.0)));
        assert!(!open(6, 3, Some(900.0)), "after the reset time");
    }
}
