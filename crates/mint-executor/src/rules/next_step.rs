//! Turns facts about an item into its next step. Pure: no clock, no database, no node. The tables of the tests hold the
//! hard cases of the executor.

use chain::query::IntentStatus;
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use domain::item_result::{BreakerCause, ItemOutcome, ItemResult};

/// The escrow's record of an intent at the block in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChainRecord {
    /// The record was not read: the log implies it, or the node no longer has the state.
    NotRead,
    Absent,
    Present(IntentStatus),
}

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

/// The leg that an escrow record implies.
pub const fn leg_for_record(record: OnChainRecord) -> Option<ChainLeg> {
    match record {
        OnChainRecord::NotRead => None,
        OnChainRecord::Absent => Some(ChainLeg::Submitting),
        OnChainRecord::Present(IntentStatus::Pending) => Some(ChainLeg::Escrowed),
        OnChainRecord::Present(IntentStatus::Executed) => Some(ChainLeg::Executed(Finality::Mined)),
        OnChainRecord::Present(IntentStatus::Refunded) => Some(ChainLeg::Refunded(Finality::Mined)),
        // The contract reserves this status and never writes it.
        OnChainRecord::Present(IntentStatus::Failed) => Some(ChainLeg::Rejected),
    }
}

/// The escrow record that a leg implies once every log up to a block is applied: the inverse of [`leg_for_record`].
pub const fn record_for_leg(leg: ChainLeg) -> OnChainRecord {
    match leg {
        ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Rejected | ChainLeg::Dropped => {
            OnChainRecord::Absent
        }
        ChainLeg::Escrowed | ChainLeg::Executing | ChainLeg::Refunding => {
            OnChainRecord::Present(IntentStatus::Pending)
        }
        ChainLeg::Executed(_) => OnChainRecord::Present(IntentStatus::Executed),
        ChainLeg::Refunded(_) => OnChainRecord::Present(IntentStatus::Refunded),
    }
}

/// What becomes of a command while its intent is at a given leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It goes into the next batch.
    Ready,
    /// It waits in its row.
    NotYet,
    /// Nothing was sent, or nothing more may be: the intent is dropped unless the chain knows it.
    Cancel,
    /// The command has nothing left to do.
    AlreadyDone,
}

/// `expired` means that the payment window is over, so nothing may be deposited any more.
pub fn eligibility(command: Command, leg: ChainLeg, expired: bool) -> Eligibility {
    use ChainLeg as L;
    match (command, leg) {
        (Command::Submit, L::Queued | L::Submitting) if expired => Eligibility::Cancel,
        (Command::Refund, L::Queued) => Eligibility::Cancel,
        (Command::Submit, L::Queued | L::Submitting) | (Command::Execute | Command::Refund, L::Escrowed) => {
            Eligibility::Ready
        }
        (Command::Execute, L::Queued | L::Submitting) | (Command::Refund, L::Submitting | L::Executing) => {
            Eligibility::NotYet
        }
        _ => Eligibility::AlreadyDone,
    }
}

/// Legs at which items of a command wait, so that queries leave them out.
pub fn waiting_legs(command: Command) -> Vec<ChainLeg> {
    ChainLeg::ALL
        .into_iter()
        .filter(|leg| eligibility(command, *leg, false) == Eligibility::NotYet)
        .collect()
}

#[cfg(test)]
mod tests {
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
            (
                O::NotFound,
                [
                    park(O::NotFound),
                    NextStep::Retry(Blocker::MissingDeposit),
                    NextStep::Retry(Blocker::MissingDeposit),
                ],
            ),
            (O::OutOfGas, [NextStep::ShrinkBatch(8); 3]),
            (O::IdMismatch, [park(O::IdMismatch); 3]),
            (O::AlreadyExists, [park(O::AlreadyExists); 3]),
            (O::AlreadyExecuted, [park(O::AlreadyExecuted); 3]),
            (O::AlreadyRefunded, [park(O::AlreadyRefunded); 3]),
            (
                O::TxRefAlreadyUsed,
                [
                    NextStep::Reject,
                    park(O::TxRefAlreadyUsed),
                    park(O::TxRefAlreadyUsed),
                ],
            ),
            (
                O::InvalidAmount,
                [NextStep::Reject, park(O::InvalidAmount), park(O::InvalidAmount)],
            ),
            (
                O::InvalidCountryCode,
                [
                    NextStep::Reject,
                    park(O::InvalidCountryCode),
                    park(O::InvalidCountryCode),
                ],
            ),
            (
                O::InvalidUser,
                [NextStep::Reject, park(O::InvalidUser), park(O::InvalidUser)],
            ),
            (
                O::DailyLimitExceeded,
                [
                    NextStep::Reject,
                    park(O::DailyLimitExceeded),
                    park(O::DailyLimitExceeded),
                ],
            ),
            (O::DepositorNotAllowed, [park(O::DepositorNotAllowed); 3]),
            (O::Expired, [park(O::Expired); 3]),
            (O::Unknown, [park(O::Unknown); 3]),
        ];
        assert_eq!(table.map(|(outcome, _)| outcome), ItemOutcome::ALL);
        for (outcome, [submit, execute, refund]) in table {
            assert_eq!(
                step_after(Submit, outcome, OnChainRecord::Absent, 16),
                submit,
                "submit {outcome:?}"
            );
            assert_eq!(
                step_after(Execute, outcome, pending, 16),
                execute,
                "execute {outcome:?}"
            );
            assert_eq!(
                step_after(Refund, outcome, pending, 16),
                refund,
                "refund {outcome:?}"
            );
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
    fn legs_and_escrow_records_map_to_each_other() {
        use IntentStatus::{Executed, Pending, Refunded};
        for record in [OnChainRecord::Absent]
            .into_iter()
            .chain([Pending, Executed, Refunded].map(OnChainRecord::Present))
        {
            assert_eq!(leg_for_record(record).map(record_for_leg), Some(record));
        }
        for leg in ChainLeg::ALL {
            let expected = match leg.name() {
                "executing" | "refunding" => "escrowed",
                "queued" | "rejected" | "dropped" => "submitting",
                same => same,
            };
            assert_eq!(
                leg_for_record(record_for_leg(leg)).map(ChainLeg::name),
                Some(expected)
            );
        }
    }

    #[test]
    fn each_command_is_eligible_at_its_own_legs() {
        use ChainLeg as L;
        use Eligibility::{AlreadyDone, Cancel, NotYet, Ready};
        let mined = Finality::Mined;
        // Columns: submit, submit after the window, execute, refund.
        let table = [
            (L::Queued, [Ready, Cancel, NotYet, Cancel]),
            (L::Submitting, [Ready, Cancel, NotYet, NotYet]),
            (L::Escrowed, [AlreadyDone, AlreadyDone, Ready, Ready]),
            (L::Executing, [AlreadyDone, AlreadyDone, AlreadyDone, NotYet]),
            (L::Executed(mined), [AlreadyDone; 4]),
            (L::Executed(Finality::Final), [AlreadyDone; 4]),
            (L::Refunding, [AlreadyDone; 4]),
            (L::Refunded(mined), [AlreadyDone; 4]),
            (L::Refunded(Finality::Final), [AlreadyDone; 4]),
            (L::Rejected, [AlreadyDone; 4]),
            (L::Dropped, [AlreadyDone; 4]),
        ];
        assert_eq!(table.map(|(leg, _)| leg), ChainLeg::ALL);
        for (leg, row) in table {
            let found = [
                eligibility(Submit, leg, false),
                eligibility(Submit, leg, true),
                eligibility(Execute, leg, false),
                eligibility(Refund, leg, false),
            ];
            assert_eq!(found, row, "{leg}");
        }
        assert_eq!(waiting_legs(Execute), [L::Queued, L::Submitting]);
        assert_eq!(waiting_legs(Refund), [L::Submitting, L::Executing]);
        assert!(waiting_legs(Submit).is_empty());
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
