//! What a simulation may decide. It decides temporary results (a breaker, a smaller batch) alone, and permanent results
//! only together with a final block; everything else is sent to the chain. Pure.

use crate::decide::{Blocker, ItemFacts, ItemResult, NextStep, OnChainRecord, next_step};

/// What the simulation means for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulationResult {
    /// The item goes into the batch.
    Send,
    Withhold(SimulatedRefusal),
}

/// What happens to an item that is withheld from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedRefusal {
    /// The consequence is the same as if the chain had refused it, without the gas.
    Settle {
        ending: ItemResult,
        record: OnChainRecord,
        step: NextStep,
    },
    /// Only the head refuses it, which a fork may take back: it is simulated again soon.
    RetryLater(ItemResult),
}

/// The result of the same item at a final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBlockResult {
    pub ending: ItemResult,
    pub record: OnChainRecord,
}

/// Whether the result would settle an item or send it to a person; the head alone may not decide that.
pub fn is_permanent(head: ItemFacts) -> bool {
    // A revert, or a lack of gas, may be the node's own fault; a single item is sent, so that the chain decides.
    matches!(head.result, ItemResult::Reported(outcome) if outcome != chain::ItemOutcome::OutOfGas)
        && head.result != ItemResult::Reported(chain::ItemOutcome::Done)
        && matches!(
            next_step(head),
            NextStep::Done | NextStep::Refused | NextStep::Reject | NextStep::Park(_)
        )
}

/// `head` holds the result of the simulated call, without a record.
pub fn simulation_result(head: ItemFacts, at_final: Option<FinalBlockResult>) -> SimulationResult {
    let settle = |record, step| {
        SimulationResult::Withhold(SimulatedRefusal::Settle {
            ending: head.result,
            record,
            step,
        })
    };
    if !is_permanent(head) {
        return match next_step(head) {
            step @ (NextStep::Retry(Blocker::Breaker(_)) | NextStep::ShrinkBatch(_)) => {
                settle(OnChainRecord::NotRead, step)
            }
            _ => SimulationResult::Send,
        };
    }
    match at_final {
        None => SimulationResult::Send,
        Some(there) if there.ending != head.result => {
            SimulationResult::Withhold(SimulatedRefusal::RetryLater(head.result))
        }
        Some(there) => {
            let step = next_step(ItemFacts {
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
    use chain::query::IntentStatus;
    use storage::executor::items::WorkCommand::{self, Execute, Refund, Submit};

    use super::*;

    fn facts(command: WorkCommand, ending: ItemResult, batch: u32) -> ItemFacts {
        ItemFacts {
            command,
            result: ending,
            record: OnChainRecord::NotRead,
            batch_size: batch,
        }
    }

    #[test]
    fn no_permanent_result_follows_from_the_head_alone() {
        for command in WorkCommand::ALL {
            let told = O::ALL.map(ItemResult::Reported);
            for ending in told
                .into_iter()
                .chain([ItemResult::Reverted, ItemResult::Unauthorized])
            {
                for batch in [1, 8] {
                    let head = facts(command, ending, batch);
                    for at_final in [
                        None,
                        Some(FinalBlockResult {
                            ending: ItemResult::Reported(O::Done),
                            record: OnChainRecord::Absent,
                        }),
                    ] {
                        if let SimulationResult::Withhold(SimulatedRefusal::Settle { step, .. }) =
                            simulation_result(head, at_final)
                        {
                            assert!(
                                matches!(
                                    step,
                                    NextStep::Retry(Blocker::Breaker(_)) | NextStep::ShrinkBatch(_)
                                ),
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
        let pending = OnChainRecord::Present(IntentStatus::Pending);
        let settled = |ending, record, step| {
            SimulationResult::Withhold(SimulatedRefusal::Settle { ending, record, step })
        };
        let waits = |ending| SimulationResult::Withhold(SimulatedRefusal::RetryLater(ending));
        let final_says = |ending, record| Some(FinalBlockResult { ending, record });
        let told = ItemResult::Reported;
        let breaker = |ending: ItemResult| {
            let step = NextStep::Retry(Blocker::Breaker(ending.name()));
            settled(ending, OnChainRecord::NotRead, step)
        };
        let table = [
            (Submit, told(O::Done), None, SimulationResult::Send),
            // Temporary results need no final block.
            (
                Submit,
                told(O::EscrowPaused),
                None,
                breaker(told(O::EscrowPaused)),
            ),
            (Execute, told(O::RateLimited), None, breaker(told(O::RateLimited))),
            (
                Execute,
                ItemResult::Unauthorized,
                None,
                breaker(ItemResult::Unauthorized),
            ),
            (
                Submit,
                told(O::OutOfGas),
                None,
                settled(
                    told(O::OutOfGas),
                    OnChainRecord::NotRead,
                    NextStep::ShrinkBatch(4),
                ),
            ),
            (
                Submit,
                ItemResult::Reverted,
                None,
                settled(
                    ItemResult::Reverted,
                    OnChainRecord::NotRead,
                    NextStep::ShrinkBatch(4),
                ),
            ),
            // Permanent results do; where no final block can be read, the chain decides.
            (Submit, told(O::InvalidAmount), None, SimulationResult::Send),
            (
                Submit,
                told(O::InvalidAmount),
                final_says(told(O::InvalidAmount), OnChainRecord::Absent),
                settled(told(O::InvalidAmount), OnChainRecord::Absent, NextStep::Reject),
            ),
            (
                Submit,
                told(O::DailyLimitExceeded),
                final_says(told(O::Done), OnChainRecord::Absent),
                waits(told(O::DailyLimitExceeded)),
            ),
            (
                Submit,
                told(O::AlreadyExists),
                final_says(told(O::AlreadyExists), pending),
                settled(told(O::AlreadyExists), pending, NextStep::Done),
            ),
            (
                Execute,
                told(O::NotCompliant),
                final_says(told(O::NotFound), OnChainRecord::Absent),
                waits(told(O::NotCompliant)),
            ),
            (
                Execute,
                told(O::NotCompliant),
                final_says(told(O::NotCompliant), pending),
                settled(told(O::NotCompliant), pending, NextStep::Refused),
            ),
            (
                Refund,
                told(O::Expired),
                final_says(told(O::Expired), pending),
                settled(told(O::Expired), pending, NextStep::Park("expired")),
            ),
            // The legs include every log: a head without the deposit contradicts them, and the chain decides.
            (Execute, told(O::NotFound), None, SimulationResult::Send),
        ];
        for (command, ending, at_final, expected) in table {
            let found = simulation_result(facts(command, ending, 8), at_final);
            assert_eq!(found, expected, "{command:?} {ending:?} {at_final:?}");
        }
    }

    #[test]
    fn a_single_item_that_would_revert_is_sent_anyway() {
        for ending in [ItemResult::Reverted, ItemResult::Reported(O::OutOfGas)] {
            assert_eq!(
                simulation_result(facts(Submit, ending, 1), None),
                SimulationResult::Send
            );
        }
    }
}
