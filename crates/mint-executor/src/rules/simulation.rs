//! What a simulation may decide. It decides temporary results (a breaker, a smaller batch) alone, and permanent results
//! only together with a final block; everything else is sent to the chain. Pure.

use domain::item_result::{ItemOutcome, ItemResult};

use crate::rules::next_step::{Blocker, ItemFacts, NextStep, OnChainRecord, next_step};

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
        result: ItemResult,
        record: OnChainRecord,
        step: NextStep,
    },
    /// Only the head refuses it, which a fork may take back: it is simulated again soon.
    RetryLater(ItemResult),
}

/// The result of the same item at a final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBlockResult {
    pub result: ItemResult,
    pub record: OnChainRecord,
}

/// Whether the result would settle an item or send it to a person; the head alone may not decide that.
pub fn is_permanent(head: ItemFacts) -> bool {
    // A revert, or a lack of gas, may be the node's own fault; a single item is sent, so that the chain decides.
    matches!(head.result, ItemResult::Reported(outcome) if outcome != ItemOutcome::OutOfGas)
        && head.result != ItemResult::Reported(ItemOutcome::Done)
        && matches!(
            next_step(head),
            NextStep::Done | NextStep::Refused | NextStep::Reject | NextStep::Park(_)
        )
}

/// `head` holds the result of the simulated call, without a record.
pub fn simulation_result(head: ItemFacts, at_final: Option<FinalBlockResult>) -> SimulationResult {
    let settle = |record, step| {
        SimulationResult::Withhold(SimulatedRefusal::Settle {
            result: head.result,
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
        Some(at_final_block) if at_final_block.result != head.result => {
            SimulationResult::Withhold(SimulatedRefusal::RetryLater(head.result))
        }
        Some(at_final_block) => {
            let step = next_step(ItemFacts {
                record: at_final_block.record,
                ..head
            });
            settle(at_final_block.record, step)
        }
    }
}

#[cfg(test)]
mod tests {
    use chain::query::IntentStatus;
    use domain::command::Command::{self, Execute, Refund, Submit};
    use domain::item_result::ItemOutcome as O;

    use super::*;

    fn facts(command: Command, result: ItemResult, batch: u32) -> ItemFacts {
        ItemFacts {
            command,
            result,
            record: OnChainRecord::NotRead,
            batch_size: batch,
        }
    }

    #[test]
    fn no_permanent_result_follows_from_the_head_alone() {
        for command in Command::ALL {
            let reported = O::ALL.map(ItemResult::Reported);
            for result in reported
                .into_iter()
                .chain([ItemResult::Reverted, ItemResult::Unauthorized])
            {
                for batch in [1, 8] {
                    let head = facts(command, result, batch);
                    for at_final in [
                        None,
                        Some(FinalBlockResult {
                            result: ItemResult::Reported(O::Done),
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
        let settled = |result, record, step| {
            SimulationResult::Withhold(SimulatedRefusal::Settle { result, record, step })
        };
        let waits = |result| SimulationResult::Withhold(SimulatedRefusal::RetryLater(result));
        let final_says = |result, record| Some(FinalBlockResult { result, record });
        let reported = ItemResult::Reported;
        let breaker = |result: ItemResult| {
            let step = NextStep::Retry(Blocker::Breaker(
                result.breaker_cause().expect("it opens a breaker"),
            ));
            settled(result, OnChainRecord::NotRead, step)
        };
        let table = [
            (Submit, reported(O::Done), None, SimulationResult::Send),
            // Temporary results need no final block.
            (
                Submit,
                reported(O::EscrowPaused),
                None,
                breaker(reported(O::EscrowPaused)),
            ),
            (
                Execute,
                reported(O::RateLimited),
                None,
                breaker(reported(O::RateLimited)),
            ),
            (
                Execute,
                ItemResult::Unauthorized,
                None,
                breaker(ItemResult::Unauthorized),
            ),
            (
                Submit,
                reported(O::OutOfGas),
                None,
                settled(
                    reported(O::OutOfGas),
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
            (Submit, reported(O::InvalidAmount), None, SimulationResult::Send),
            (
                Submit,
                reported(O::InvalidAmount),
                final_says(reported(O::InvalidAmount), OnChainRecord::Absent),
                settled(
                    reported(O::InvalidAmount),
                    OnChainRecord::Absent,
                    NextStep::Reject,
                ),
            ),
            (
                Submit,
                reported(O::DailyLimitExceeded),
                final_says(reported(O::Done), OnChainRecord::Absent),
                waits(reported(O::DailyLimitExceeded)),
            ),
            (
                Submit,
                reported(O::AlreadyExists),
                final_says(reported(O::AlreadyExists), pending),
                settled(reported(O::AlreadyExists), pending, NextStep::Done),
            ),
            (
                Execute,
                reported(O::NotCompliant),
                final_says(reported(O::NotFound), OnChainRecord::Absent),
                waits(reported(O::NotCompliant)),
            ),
            (
                Execute,
                reported(O::NotCompliant),
                final_says(reported(O::NotCompliant), pending),
                settled(reported(O::NotCompliant), pending, NextStep::Refused),
            ),
            (
                Refund,
                reported(O::Expired),
                final_says(reported(O::Expired), pending),
                settled(
                    reported(O::Expired),
                    pending,
                    NextStep::Park(reported(O::Expired)),
                ),
            ),
            // The legs include every log: a head without the deposit contradicts them, and the chain decides.
            (Execute, reported(O::NotFound), None, SimulationResult::Send),
        ];
        for (command, result, at_final, expected) in table {
            let found = simulation_result(facts(command, result, 8), at_final);
            assert_eq!(found, expected, "{command:?} {result:?} {at_final:?}");
        }
    }

    #[test]
    fn a_single_item_that_would_revert_is_sent_anyway() {
        for result in [ItemResult::Reverted, ItemResult::Reported(O::OutOfGas)] {
            assert_eq!(
                simulation_result(facts(Submit, result, 1), None),
                SimulationResult::Send
            );
        }
    }
}
