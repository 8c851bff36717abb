//! Decides what a replay does with one dead letter, from all facts about it. Pure rules.

use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use domain::report_outcome::ReportOutcome;
use domain::settlement::IntentStatus;

/// The facts about one entry.
#[derive(Clone, Debug)]
pub enum EntryFacts {
    /// The seal does not verify, its key is unknown, or the body has the wrong type; the text says which.
    Unreadable(String),
    Command {
        command: Command,
        /// The leg in the executor's row.
        leg: Option<ChainLeg>,
        /// `None` if the chain is not queried.
        record: Option<OnChainStatus>,
    },
    Outcome {
        sequence: u64,
        /// The sequence of the last outcome that the decision applied.
        last_applied: Option<u64>,
    },
    Report {
        /// The stored result of the report.
        outcome: Option<ReportOutcome>,
    },
}

/// The escrow's record, at the head and at the last final block.
#[derive(Clone, Copy, Debug)]
pub struct OnChainStatus {
    pub latest: Option<IntentStatus>,
    pub finalized: Option<IntentStatus>,
}

impl OnChainStatus {
    /// Only what is final closes an entry.
    const fn final_status(self) -> Option<IntentStatus> {
        self.finalized
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayFate {
    Replay,
    /// Nothing is left to do; the reason is recorded.
    Close(String),
    /// The entry stays in its queue.
    Keep(String),
}

pub fn replay_fate(facts: &EntryFacts) -> ReplayFate {
    match facts {
        EntryFacts::Unreadable(error) => unsealed(error),
        EntryFacts::Command { command, leg, record } => match record {
            Some(record) => by_chain(*command, *leg, *record),
            None => by_leg(*command, *leg),
        },
        EntryFacts::Outcome {
            sequence,
            last_applied,
        } => match last_applied {
            Some(last_applied) if last_applied >= sequence => ReplayFate::Close(format!(
                "the decision already applied this outcome ({sequence}; the last applied is {last_applied})"
            )),
            _ => ReplayFate::Replay,
        },
        EntryFacts::Report { outcome } => match outcome {
            Some(outcome) if outcome.is_conclusive() => {
                ReplayFate::Close(format!("the report was processed: {outcome}"))
            }
            _ => ReplayFate::Replay,
        },
    }
}

/// What we did not seal ourselves is for a person.
fn unsealed(error: &str) -> ReplayFate {
    ReplayFate::Keep(error.to_owned())
}

fn by_chain(command: Command, leg: Option<ChainLeg>, record: OnChainStatus) -> ReplayFate {
    if let Some(why) = record.final_status().and_then(|status| done(command, status)) {
        return ReplayFate::Close(format!("{why}, and final"));
    }
    if let Some(why) = record.latest.and_then(|status| done(command, status)) {
        return ReplayFate::Keep(format!("{why}, but not final yet: look again in a minute"));
    }
    match leg {
        Some(leg @ (ChainLeg::Rejected | ChainLeg::Dropped)) if record.latest.is_none() => {
            ReplayFate::Close(format!("its leg is {leg}, and the chain knows nothing of it"))
        }
        _ => ReplayFate::Replay,
    }
}

/// Why a command has nothing left to do, given the status on chain; `None` if it has.
fn done(command: Command, status: IntentStatus) -> Option<&'static str> {
    command.is_settled_by(status).then_some(match (command, status) {
        (Command::Submit, _) => "the deposit is on chain",
        (Command::Execute, IntentStatus::Refunded) => "refunded on chain, so nothing can be minted",
        (Command::Execute, _) => "minted on chain",
        (Command::Refund, IntentStatus::Executed) => "minted on chain, so nothing can be refunded",
        (Command::Refund, _) => "refunded on chain",
    })
}

/// Without the chain, only a final row closes an entry.
fn by_leg(command: Command, leg: Option<ChainLeg>) -> ReplayFate {
    let status = match leg {
        Some(leg @ (ChainLeg::Rejected | ChainLeg::Dropped)) => {
            return ReplayFate::Close(format!("its leg is {leg}"));
        }
        Some(ChainLeg::Executed(Finality::Final)) => IntentStatus::Executed,
        Some(ChainLeg::Refunded(Finality::Final)) => IntentStatus::Refunded,
        _ => return ReplayFate::Replay,
    };
    done(command, status).map_or(ReplayFate::Replay, |why| {
        ReplayFate::Close(format!("{why}, by the executor's rows"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use IntentStatus::{Executed, Pending, Refunded};

    fn named(leg: &str, is_final: bool) -> Option<ChainLeg> {
        let leg = ChainLeg::from_stored(leg, is_final);
        assert!(leg.is_some());
        leg
    }

    fn on_chain(
        command: Command,
        latest: Option<IntentStatus>,
        finalized: Option<IntentStatus>,
        leg: &str,
    ) -> EntryFacts {
        EntryFacts::Command {
            command,
            leg: named(leg, false),
            record: Some(OnChainStatus { latest, finalized }),
        }
    }

    fn word(fate: &ReplayFate) -> &'static str {
        match fate {
            ReplayFate::Replay => "replay",
            ReplayFate::Close(_) => "close",
            ReplayFate::Keep(_) => "keep",
        }
    }

    #[test]
    fn what_is_done_on_chain_is_closed_and_only_once_it_is_final() {
        let (submit, execute, refund) = (Command::Submit, Command::Execute, Command::Refund);
        // Command, status at the head, status when final, leg in the executor's rows.
        let table = [
            (submit, None, None, "queued", "replay"),
            (submit, Some(Pending), None, "submitting", "keep"),
            (submit, Some(Pending), Some(Pending), "submitting", "close"),
            (submit, None, None, "rejected", "close"),
            (submit, None, None, "dropped", "close"),
            (execute, None, None, "submitting", "replay"),
            (execute, Some(Pending), Some(Pending), "escrowed", "replay"),
            (execute, Some(Executed), Some(Pending), "executing", "keep"),
            (execute, Some(Executed), Some(Executed), "escrowed", "close"),
            (execute, Some(Refunded), Some(Refunded), "escrowed", "close"),
            // The rows say it is over, the chain holds the deposit: facts outrank rows.
            (execute, Some(Pending), Some(Pending), "rejected", "replay"),
            (execute, Some(Pending), Some(Pending), "executed", "replay"),
            (refund, Some(Pending), Some(Pending), "escrowed", "replay"),
            (refund, Some(Refunded), Some(Refunded), "refunding", "close"),
            (refund, Some(Executed), Some(Executed), "executed", "close"),
            (refund, Some(Refunded), Some(Pending), "refunding", "keep"),
        ];
        for (command, latest, finalized, leg, wanted) in table {
            let found = replay_fate(&on_chain(command, latest, finalized, leg));
            assert_eq!(
                word(&found),
                wanted,
                "{command:?} {latest:?} {finalized:?} {leg}: {found:?}"
            );
        }
    }

    #[test]
    fn without_the_chain_only_a_final_leg_closes() {
        for (command, leg, is_final, wanted) in [
            (Command::Execute, "executed", true, "close"),
            (Command::Execute, "executed", false, "replay"),
            (Command::Execute, "refunded", true, "close"),
            (Command::Refund, "refunded", true, "close"),
            (Command::Refund, "refunded", false, "replay"),
            (Command::Refund, "dropped", false, "close"),
        ] {
            let found = replay_fate(&EntryFacts::Command {
                command,
                leg: named(leg, is_final),
                record: None,
            });
            assert_eq!(word(&found), wanted, "{command:?} {leg} {is_final}: {found:?}");
        }
    }

    #[test]
    fn an_outcome_that_the_decision_applied_is_not_replayed() {
        let outcome = |last_applied| EntryFacts::Outcome {
            sequence: 7,
            last_applied,
        };
        for (last_applied, wanted) in [
            (None, "replay"),
            (Some(6), "replay"),
            (Some(7), "close"),
            (Some(9), "close"),
        ] {
            assert_eq!(word(&replay_fate(&outcome(last_applied))), wanted);
        }
        for (known, wanted) in [
            (None, "replay"),
            (Some(ReportOutcome::Late), "replay"),
            (Some(ReportOutcome::Tampered), "replay"),
            (Some(ReportOutcome::CompromisedKey), "replay"),
            (Some(ReportOutcome::Confirmed), "close"),
            (Some(ReportOutcome::Conflict), "close"),
        ] {
            let facts = EntryFacts::Report { outcome: known };
            assert_eq!(word(&replay_fate(&facts)), wanted, "{known:?}");
        }
    }

    #[test]
    fn an_entry_not_sealed_by_us_stays() {
        let facts = EntryFacts::Unreadable("the seal does not verify".to_owned());
        assert_eq!(
            replay_fate(&facts),
            ReplayFate::Keep("the seal does not verify".to_owned())
        );
    }
}
