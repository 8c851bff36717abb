//! What a simulation may decide. It decides temporary results (a breaker, a smaller batch) alone, and permanent results
//! only together with a final block; everything else is sent to the chain. Pure.

use std::collections::HashMap;

use domain::ids::MessageId;
use domain::item_result::{ItemOutcome, ItemResult};

use crate::rules::next_step::{Blocker, ItemFacts, NextStep, next_step};
use crate::rules::record::OnChainRecord;

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

/// The simulated results of the items of a batch; `None` if the simulation was skipped.
#[derive(Debug)]
pub struct Simulation(Option<HashMap<MessageId, SimulationResult>>);

impl Simulation {
    pub const fn of(results: HashMap<MessageId, SimulationResult>) -> Self {
        Self(Some(results))
    }

    /// No simulation: the batch is sent as it is, and the chain decides.
    pub const fn skipped() -> Self {
        Self(None)
    }

    /// `None` for an item that was not simulated.
    pub fn result_for(&self, item: MessageId) -> Option<SimulationResult> {
        match &self.0 {
            None => Some(SimulationResult::Send),
            Some(results) => results.get(&item).copied(),
        }
    }
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

    const PENDING: OnChainRecord = OnChainRecord::Present(IntentStatus::Pending);

    fn settled(result: ItemResult, record: OnChainRecord, step: NextStep) -> SimulationResult {
        SimulationResult::Withhold(SimulatedRefusal::Settle { result, record, step })
    }

    #[test]
    fn a_temporary_refusal_at_the_head_needs_no_final_block() {
        let reported = ItemResult::Reported;
        let not_read = |result, step| settled(result, OnChainRecord::NotRead, step);
        let breaker = |result: ItemResult| {
            let cause = result.breaker_cause().expect("it opens a breaker");
            not_read(result, NextStep::Retry(Blocker::Breaker(cause)))
        };
        let shrinks = |result| not_read(result, NextStep::ShrinkBatch(4));
        let table = [
            (
                Submit,
                reported(O::EscrowPaused),
                breaker(reported(O::EscrowPaused)),
            ),
            (
                Execute,
                reported(O::RateLimited),
                breaker(reported(O::RateLimited)),
            ),
            (
                Execute,
                ItemResult::Unauthorized,
                breaker(ItemResult::Unauthorized),
            ),
            (Submit, reported(O::OutOfGas), shrinks(reported(O::OutOfGas))),
            (Submit, ItemResult::Reverted, shrinks(ItemResult::Reverted)),
        ];
        for (command, result, expected) in table {
            let found = simulation_result(facts(command, result, 8), None);
            assert_eq!(found, expected, "{command:?} {result:?}");
        }
    }

    fn at_final(outcome: O, record: OnChainRecord) -> FinalBlockResult {
        let result = ItemResult::Reported(outcome);
        FinalBlockResult { result, record }
    }

    fn simulated(command: Command, outcome: O, at_final: Option<FinalBlockResult>) -> SimulationResult {
        simulation_result(facts(command, ItemResult::Reported(outcome), 8), at_final)
    }

    #[test]
    fn a_permanent_refusal_that_a_final_block_repeats_is_settled() {
        let absent = OnChainRecord::Absent;
        let parked = NextStep::Park(ItemResult::Reported(O::Expired));
        let table = [
            (Submit, O::InvalidAmount, absent, NextStep::Reject),
            (Submit, O::AlreadyExists, PENDING, NextStep::Done),
            (Execute, O::NotCompliant, PENDING, NextStep::Refused),
            (Refund, O::Expired, PENDING, parked),
        ];
        for (command, outcome, record, step) in table {
            let found = simulated(command, outcome, Some(at_final(outcome, record)));
            let expected = settled(ItemResult::Reported(outcome), record, step);
            assert_eq!(found, expected, "{command:?} {outcome:?}");
        }
    }

    #[test]
    fn each_simulated_result_has_one_consequence() {
        let absent = OnChainRecord::Absent;
        let waits = |outcome| {
            let result = ItemResult::Reported(outcome);
            SimulationResult::Withhold(SimulatedRefusal::RetryLater(result))
        };
        // Columns: command, the head's result, the final block's, the consequence.
        let table = [
            (Submit, O::Done, None, SimulationResult::Send),
            // Where no final block can be read, the chain decides.
            (Submit, O::InvalidAmount, None, SimulationResult::Send),
            (
                Submit,
                O::DailyLimitExceeded,
                Some(at_final(O::Done, absent)),
                waits(O::DailyLimitExceeded),
            ),
            (
                Execute,
                O::NotCompliant,
                Some(at_final(O::NotFound, absent)),
                waits(O::NotCompliant),
            ),
            // The legs include every log: a head without the deposit contradicts them, and the chain decides.
            (Execute, O::NotFound, None, SimulationResult::Send),
        ];
        for (command, outcome, at_final, expected) in table {
            let found = simulated(command, outcome, at_final);
            assert_eq!(found, expected, "{command:?} {outcome:?} {at_final:?}");
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
