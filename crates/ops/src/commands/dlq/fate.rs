//! What a replay is to do with one entry, from everything that is known about it: pure.

use chain::query::IntentStatus;
use messaging::{OpenError, WorkQueue};

/// What is known, read for a whole page at once.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The seal does not verify, its key is not here, or the body is not the queue's.
    Unreadable(OpenError),
    Command {
        leg: Option<Leg>,
        /// `None` when the chain is not to be asked.
        record: Option<Record>,
    },
    Outcome {
        sequence: u64,
        /// Of the last outcome the decision believed.
        believed: Option<u64>,
    },
    Report {
        /// What became of the report.
        outcome: Option<String>,
    },
}

/// The executor's row.
#[derive(Clone, Debug)]
pub struct Leg {
    pub name: String,
    pub is_final: bool,
}

/// The escrow's record, at the head and as deep as the policy's finality.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub latest: Option<IntentStatus>,
    pub settled: Option<IntentStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Replay,
    /// Nothing is left to be done; the reason is kept.
    Close(String),
    /// Stays where it is.
    Keep(String),
}

pub fn fate(queue: WorkQueue, facts: &Facts) -> Fate {
    match facts {
        Facts::Unreadable(error) => Fate::Keep(error.to_string()),
        Facts::Command { leg, record } => match record {
            Some(record) => by_chain(queue, leg.as_ref(), *record),
            None => by_leg(queue, leg.as_ref()),
        },
        Facts::Outcome { sequence, believed } => match believed {
            Some(believed) if believed >= sequence => Fate::Close(format!(
                "the decision has heard of this outcome ({sequence}, it is at {believed})"
            )),
            _ => Fate::Replay,
        },
        Facts::Report { outcome } => match outcome.as_deref() {
            // These wait for an operator or a key; the report itself was not judged.
            None | Some("late" | "tampered" | "compromised_key") => Fate::Replay,
            Some(outcome) => Fate::Close(format!("the report was judged: {outcome}")),
        },
    }
}

fn by_chain(queue: WorkQueue, leg: Option<&Leg>, record: Record) -> Fate {
    if let Some(why) = record.settled.and_then(|status| done(queue, status)) {
        return Fate::Close(format!("{why}, and final"));
    }
    if let Some(why) = record.latest.and_then(|status| done(queue, status)) {
        return Fate::Keep(format!("{why}, but not final yet: look again in a minute"));
    }
    match leg {
        Some(leg) if record.latest.is_none() && matches!(leg.name.as_str(), "rejected" | "dropped") => {
            Fate::Close(format!(
                "its leg is {}, and the chain knows nothing of it",
                leg.name
            ))
        }
        _ => Fate::Replay,
    }
}

/// What a status on chain leaves undone of a command: nothing, for this reason.
fn done(queue: WorkQueue, status: IntentStatus) -> Option<&'static str> {
    match (queue, status) {
        (WorkQueue::MintSubmit, _) => Some("the deposit is on chain"),
        (WorkQueue::MintExecute, IntentStatus::Executed) => Some("minted on chain"),
        (WorkQueue::MintExecute, IntentStatus::Refunded) => {
            Some("refunded on chain, so nothing can be minted")
        }
        (WorkQueue::MintRefund, IntentStatus::Refunded) => Some("refunded on chain"),
        (WorkQueue::MintRefund, IntentStatus::Executed) => {
            Some("minted on chain, so nothing can be refunded")
        }
        _ => None,
    }
}

/// Without the chain's word only a final row closes anything.
fn by_leg(queue: WorkQueue, leg: Option<&Leg>) -> Fate {
    let Some(leg) = leg else { return Fate::Replay };
    let status = match (leg.name.as_str(), leg.is_final) {
        ("rejected" | "dropped", _) => return Fate::Close(format!("its leg is {}", leg.name)),
        ("executed", true) => IntentStatus::Executed,
        ("refunded", true) => IntentStatus::Refunded,
        _ => return Fate::Replay,
    };
    done(queue, status).map_or(Fate::Replay, |why| {
        Fate::Close(format!("{why}, by the executor's rows"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use IntentStatus::{Executed, Pending, Refunded};

    fn command(latest: Option<IntentStatus>, settled: Option<IntentStatus>, leg: &str) -> Facts {
        Facts::Command {
            leg: Some(Leg {
                name: leg.into(),
                is_final: false,
            }),
            record: Some(Record { latest, settled }),
        }
    }

    fn word(fate: &Fate) -> &'static str {
        match fate {
            Fate::Replay => "replay",
            Fate::Close(_) => "close",
            Fate::Keep(_) => "keep",
        }
    }

    #[test]
    fn what_is_done_on_chain_is_closed_and_only_once_it_is_final() {
        let (submit, execute, refund) = (
            WorkQueue::MintSubmit,
            WorkQueue::MintExecute,
            WorkQueue::MintRefund,
        );
        // Queue, status at the head, status when final, leg in the executor's rows.
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
        for (queue, latest, settled, leg, wanted) in table {
            let found = fate(queue, &command(latest, settled, leg));
            assert_eq!(
                word(&found),
                wanted,
                "{queue} {latest:?} {settled:?} {leg}: {found:?}"
            );
        }
    }

    #[test]
    fn without_the_chain_only_a_final_leg_closes() {
        let at = |name: &str, is_final| Facts::Command {
            leg: Some(Leg {
                name: name.into(),
                is_final,
            }),
            record: None,
        };
        assert_eq!(
            word(&fate(WorkQueue::MintExecute, &at("executed", true))),
            "close"
        );
        assert_eq!(
            word(&fate(WorkQueue::MintExecute, &at("executed", false))),
            "replay"
        );
        assert_eq!(word(&fate(WorkQueue::MintRefund, &at("dropped", false))), "close");
    }

    #[test]
    fn what_the_decider_knows_is_not_told_again() {
        let outcome = |believed| Facts::Outcome {
            sequence: 7,
            believed,
        };
        for (believed, wanted) in [
            (None, "replay"),
            (Some(6), "replay"),
            (Some(7), "close"),
            (Some(9), "close"),
        ] {
            assert_eq!(word(&fate(WorkQueue::MintOutcome, &outcome(believed))), wanted);
        }
        for (known, wanted) in [
            (None, "replay"),
            (Some("late"), "replay"),
            (Some("confirmed"), "close"),
            (Some("conflict"), "close"),
        ] {
            let facts = Facts::Report {
                outcome: known.map(str::to_owned),
            };
            assert_eq!(word(&fate(WorkQueue::MpesaResult, &facts)), wanted, "{known:?}");
        }
    }

    #[test]
    fn what_is_not_sealed_by_us_stays() {
        let facts = Facts::Unreadable(OpenError::SealInvalid);
        for queue in WorkQueue::ALL {
            assert_eq!(word(&fate(queue, &facts)), "keep");
        }
    }
}
