//! Turns facts about an item into its next step. Pure: no clock, no database, no node. The tables of the tests hold the
//! hard cases of the executor.

use domain::command::Command;
use domain::item_result::{BreakerCause, ItemOutcome, ItemResult};

use super::record::OnChainRecord;

/// Why an item waits; waiting uses up no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The chain does not hold the deposit (any more).
    MissingDeposit,
    /// Its transaction can never be mined, so the item goes into another one.
    NonceLost,
    /// A breaker of the command or of the signer opens.
    Breaker(BreakerCause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The chain holds its effect, by this attempt or another.
    Done,
    /// The user is not compliant: the outcome goes to callback, which commands the refund.
    Refused,
    /// The item becomes ready again and uses up no attempt.
    Retry(Blocker),
    /// The item becomes ready again, for a batch of at most this size.
    ShrinkBatch(u32),
    /// The deposit can never succeed; its leg is rejected once the block is final.
    Reject,
    /// A person must act, but only once the block is final: after a fork the same bytes may succeed.
    Park(ItemResult),
}

/// The facts from which the next step of one item follows.
#[derive(Clone, Copy, Debug)]
pub struct ItemFacts {
    pub command: Command,
    pub result: ItemResult,
    pub record: OnChainRecord,
    /// Number of items in its batch.
    pub batch_size: u32,
}

/// The escrow's record decides first; the item's result decides only what the record leaves open.
pub fn next_step(facts: ItemFacts) -> NextStep {
    use ItemOutcome as O;
    match (facts.command, facts.record) {
        (command, OnChainRecord::Present(status)) if command.is_settled_by(status) => {
            return NextStep::Done;
        }
        (Command::Execute | Command::Refund, OnChainRecord::Absent) => {
            return NextStep::Retry(Blocker::MissingDeposit);
        }
        _ => {}
    }
    if let Some(cause) = facts.result.breaker_cause() {
        return NextStep::Retry(Blocker::Breaker(cause));
    }
    match facts.result {
        ItemResult::Reported(O::Done) => NextStep::Done,
        ItemResult::Reported(O::NotCompliant) if facts.command == Command::Execute => NextStep::Refused,
        ItemResult::Reported(O::NotFound) if facts.command != Command::Submit => {
            NextStep::Retry(Blocker::MissingDeposit)
        }
        ItemResult::Reported(O::OutOfGas) | ItemResult::Reverted => {
            shrink_batch(facts.batch_size, facts.result)
        }
        ItemResult::Reported(outcome) if facts.command == Command::Submit && can_never_succeed(outcome) => {
            NextStep::Reject
        }
        ItemResult::NonceLost => NextStep::Retry(Blocker::NonceLost),
        result => NextStep::Park(result),
    }
}

fn shrink_batch(batch: u32, result: ItemResult) -> NextStep {
    if batch > 1 {
        NextStep::ShrinkBatch(batch.div_ceil(2))
    } else {
        NextStep::Park(result)
    }
}

/// Refusals of a deposit that no later attempt can avoid.
const fn can_never_succeed(outcome: ItemOutcome) -> bool {
    use ItemOutcome as O;
    matches!(
        outcome,
        O::TxRefAlreadyUsed
            | O::InvalidAmount
            | O::InvalidCountryCode
            | O::InvalidUser
            | O::DailyLimitExceeded
    )
}

#[cfg(test)]
mod tests {
    use chain::query::IntentStatus;

    use super::*;
    use Command::{Execute, Refund, Submit};

    fn step_after(command: Command, outcome: ItemOutcome, record: OnChainRecord, batch: u32) -> NextStep {
        next_step(ItemFacts {
            command,
            result: ItemResult::Reported(outcome),
            record,
            batch_size: batch,
        })
    }

    #[test]
    fn each_outcome_has_one_consequence() {
        use ItemOutcome as O;
        let pending = OnChainRecord::Present(IntentStatus::Pending);
        let breaker = |cause| NextStep::Retry(Blocker::Breaker(cause));
        let park = |outcome| NextStep::Park(ItemResult::Reported(outcome));
        let parked = |outcome| (outcome, [park(outcome); 3]);
        let rejected = |outcome| (outcome, [NextStep::Reject, park(outcome), park(outcome)]);
        let waits = NextStep::Retry(Blocker::MissingDeposit);
        // Columns: submit (record absent), execute and refund (record pending).
        let table = [
            (O::Done, [NextStep::Done; 3]),
            (
                O::NotCompliant,
                [park(O::NotCompliant), NextStep::Refused, park(O::NotCompliant)],
            ),
            (O::CompliancePaused, [breaker(BreakerCause::CompliancePaused); 3]),
            (O::EscrowPaused, [breaker(BreakerCause::EscrowPaused); 3]),
            (O::TokenPaused, [breaker(BreakerCause::TokenPaused); 3]),
            (O::RateLimited, [breaker(BreakerCause::RateLimited); 3]),
            (O::TransferFailed, [breaker(BreakerCause::TransferFailed); 3]),
            (O::NotFound, [park(O::NotFound), waits, waits]),
            (O::OutOfGas, [NextStep::ShrinkBatch(8); 3]),
            parked(O::IdMismatch),
            parked(O::AlreadyExists),
            parked(O::AlreadyExecuted),
            parked(O::AlreadyRefunded),
            rejected(O::TxRefAlreadyUsed),
            rejected(O::InvalidAmount),
            rejected(O::InvalidCountryCode),
            rejected(O::InvalidUser),
            rejected(O::DailyLimitExceeded),
            parked(O::DepositorNotAllowed),
            parked(O::Expired),
            parked(O::Unknown),
        ];
        assert_eq!(table.map(|(outcome, _)| outcome), ItemOutcome::ALL);
        for (outcome, expected) in table {
            let found = [
                step_after(Submit, outcome, OnChainRecord::Absent, 16),
                step_after(Execute, outcome, pending, 16),
                step_after(Refund, outcome, pending, 16),
            ];
            assert_eq!(found, expected, "{outcome:?}");
        }
    }

    #[test]
    fn the_escrow_record_outranks_the_reported_outcome() {
        for outcome in ItemOutcome::ALL {
            for status in [
                IntentStatus::Pending,
                IntentStatus::Executed,
                IntentStatus::Refunded,
            ] {
                assert_eq!(
                    step_after(Submit, outcome, OnChainRecord::Present(status), 1),
                    NextStep::Done,
                    "{outcome:?}"
                );
            }
            for command in [Execute, Refund] {
                for status in [IntentStatus::Executed, IntentStatus::Refunded] {
                    assert_eq!(
                        step_after(command, outcome, OnChainRecord::Present(status), 1),
                        NextStep::Done,
                        "{outcome:?}"
                    );
                }
                assert_eq!(
                    step_after(command, outcome, OnChainRecord::Absent, 1),
                    NextStep::Retry(Blocker::MissingDeposit),
                    "{outcome:?}"
                );
            }
        }
    }

    #[test]
    fn out_of_gas_halves_the_batch_until_a_single_item_is_parked() {
        for (batch, next) in [
            (64, NextStep::ShrinkBatch(32)),
            (3, NextStep::ShrinkBatch(2)),
            (2, NextStep::ShrinkBatch(1)),
            (1, NextStep::Park(ItemResult::Reported(ItemOutcome::OutOfGas))),
        ] {
            let found = step_after(Submit, ItemOutcome::OutOfGas, OnChainRecord::Absent, batch);
            assert_eq!(found, next, "{batch}");
        }
    }

    #[test]
    fn a_lost_nonce_retries_the_item_and_a_revert_halves_the_batch() {
        let facts = |result, record| ItemFacts {
            command: Execute,
            result,
            record,
            batch_size: 4,
        };
        let pending = OnChainRecord::Present(IntentStatus::Pending);
        assert_eq!(
            next_step(facts(ItemResult::NonceLost, pending)),
            NextStep::Retry(Blocker::NonceLost)
        );
        assert_eq!(
            next_step(facts(ItemResult::NonceLost, OnChainRecord::Absent)),
            NextStep::Retry(Blocker::MissingDeposit)
        );
        assert_eq!(
            next_step(facts(
                ItemResult::NonceLost,
                OnChainRecord::Present(IntentStatus::Executed)
            )),
            NextStep::Done
        );
        assert_eq!(
            next_step(facts(ItemResult::Reverted, pending)),
            NextStep::ShrinkBatch(2)
        );
        assert_eq!(
            next_step(facts(ItemResult::NoEvent, pending)),
            NextStep::Park(ItemResult::NoEvent)
        );
    }

    #[test]
    fn breaker_results_are_exactly_those_that_open_a_breaker() {
        for result in ItemResult::ALL {
            let step = next_step(ItemFacts {
                command: Command::Submit,
                result,
                record: OnChainRecord::Absent,
                batch_size: 2,
            });
            let cause = match step {
                NextStep::Retry(Blocker::Breaker(cause)) => Some(cause),
                _ => None,
            };
            assert_eq!(cause, result.breaker_cause(), "{result:?}");
        }
    }
}
