//! What a simulation may decide. It decides temporary results (a breaker, a smaller batch) alone, and permanent results
//! only together with a final block; everything else is sent to the chain. Pure.

use crate::decide::{Ending, Hold, ItemFacts, Record, Step, after};

/// What the simulation means for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The item goes into the batch.
    Send,
    Keep(Refusal),
}

/// What happens to an item that is withheld from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The consequence is the same as if the chain had refused it, without the gas.
    Settle {
        ending: Ending,
        record: Record,
        step: Step,
    },
    /// Only the head refuses it, which a fork may take back: it is simulated again soon.
    Wait(Ending),
}

/// The result of the same item at a final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtFinal {
    pub ending: Ending,
    pub record: Record,
}

/// Whether the result would settle an item or send it to a person; the head alone may not decide that.
pub fn lasts(head: ItemFacts) -> bool {
    // A revert, or a lack of gas, may be the node's own fault; a single item is sent, so that the chain decides.
    matches!(head.ending, Ending::Told(outcome) if outcome != chain::ItemOutcome::OutOfGas)
        && head.ending != Ending::Told(chain::ItemOutcome::Done)
        && matches!(
            after(head),
            Step::Done | Step::Refused | Step::Reject | Step::Park(_)
        )
}

/// `head` holds the result of the simulated call, without a record.
pub fn advice(head: ItemFacts, at_final: Option<AtFinal>) -> Advice {
    let settle = |record, step| {
        Advice::Keep(Refusal::Settle {
            ending: head.ending,
            record,
            step,
        })
    };
    if !lasts(head) {
        return match after(head) {
            step @ (Step::Again(Hold::Breaker(_)) | Step::Smaller(_)) => settle(Record::NotAsked, step),
            _ => Advice::Send,
        };
    }
    match at_final {
        None => Advice::Send,
        Some(there) if there.ending != head.ending => Advice::Keep(Refusal::Wait(head.ending)),
        Some(there) => {
            let step = after(ItemFacts {
                record: there.record,
                ..head
            });
            settle(there.record, step)
        }
    }
}

#[cfg(test)]
mod tests {
    use chain::ItemOutcome as O;
    use chain::watch::IntentStatus;
    use storage::executor::items::WorkCommand::{self, Execute, Refund, Submit};

    use super::*;

    fn facts(command: WorkCommand, ending: Ending, batch: u32) -> ItemFacts {
        ItemFacts {
            command,
            ending,
            record: Record::NotAsked,
            batch,
        }
    }

    #[test]
    fn no_permanent_result_follows_from_the_head_alone() {
        for command in WorkCommand::ALL {
            let told = O::ALL.map(Ending::Told);
            for ending in told.into_iter().chain([Ending::Reverted, Ending::Forbidden]) {
                for batch in [1, 8] {
                    let head = facts(command, ending, batch);
                    for at_final in [
                        None,
                        Some(AtFinal {
                            ending: Ending::Told(O::Done),
                            record: Record::Absent,
                        }),
                    ] {
                        if let Advice::Keep(Refusal::Settle { step, .. }) = advice(head, at_final) {
                            assert!(
                                matches!(step, Step::Again(Hold::Breaker(_)) | Step::Smaller(_)),
                                "{head:?} {at_final:?}: {step:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn each_simulated_result_has_one_consequence() {
        let pending = Record::Present(IntentStatus::Pending);
        let settled = |ending, record, step| Advice::Keep(Refusal::Settle { ending, record, step });
        let waits = |ending| Advice::Keep(Refusal::Wait(ending));
        let final_says = |ending, record| Some(AtFinal { ending, record });
        let told = Ending::Told;
        let breaker = |ending: Ending| {
            let step = Step::Again(Hold::Breaker(ending.name()));
            settled(ending, Record::NotAsked, step)
        };
        let table = [
            (Submit, told(O::Done), None, Advice::Send),
            // Temporary results need no final block.
            (
                Submit,
                told(O::EscrowPaused),
                None,
                breaker(told(O::EscrowPaused)),
            ),
            (Execute, told(O::RateLimited), None, breaker(told(O::RateLimited))),
            (Execute, Ending::Forbidden, None, breaker(Ending::Forbidden)),
            (
                Submit,
                told(O::OutOfGas),
                None,
                settled(told(O::OutOfGas), Record::NotAsked, Step::Smaller(4)),
            ),
            (
                Submit,
                Ending::Reverted,
                None,
                settled(Ending::Reverted, Record::NotAsked, Step::Smaller(4)),
            ),
            // Permanent results do; where no final block can be read, the chain decides.
            (Submit, told(O::InvalidAmount), None, Advice::Send),
            (
                Submit,
                told(O::InvalidAmount),
                final_says(told(O::InvalidAmount), Record::Absent),
                settled(told(O::InvalidAmount), Record::Absent, Step::Reject),
            ),
            (
                Submit,
                told(O::DailyLimitExceeded),
                final_says(told(O::Done), Record::Absent),
                waits(told(O::DailyLimitExceeded)),
            ),
            (
                Submit,
                told(O::AlreadyExists),
                final_says(told(O::AlreadyExists), pending),
                settled(told(O::AlreadyExists), pending, Step::Done),
            ),
            (
                Execute,
                told(O::NotCompliant),
                final_says(told(O::NotFound), Record::Absent),
                waits(told(O::NotCompliant)),
            ),
            (
                Execute,
                told(O::NotCompliant),
                final_says(told(O::NotCompliant), pending),
                settled(told(O::NotCompliant), pending, Step::Refused),
            ),
            (
                Refund,
                told(O::Expired),
                final_says(told(O::Expired), pending),
                settled(told(O::Expired), pending, Step::Park("expired")),
            ),
            // The legs include every log: a head without the deposit contradicts them, and the chain decides.
            (Execute, told(O::NotFound), None, Advice::Send),
        ];
        for (command, ending, at_final, expected) in table {
            let found = advice(facts(command, ending, 8), at_final);
            assert_eq!(found, expected, "{command:?} {ending:?} {at_final:?}");
        }
    }

    #[test]
    fn a_single_item_that_would_revert_is_sent_anyway() {
        for ending in [Ending::Reverted, Ending::Told(O::OutOfGas)] {
            assert_eq!(advice(facts(Submit, ending, 1), None), Advice::Send);
        }
    }
}
