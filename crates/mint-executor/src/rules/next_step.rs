//! Turns facts about an item into its next step. Pure: no clock, no database, no node. The tables of the tests hold the
//! hard cases of the executor.

use chain::ItemOutcome;
use chain::query::IntentStatus;
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};

/// The result of an item of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemResult {
    /// The escrow's log reports this outcome.
    Reported(ItemOutcome),
    /// The whole transaction reverted.
    Reverted,
    /// The whole transaction reverted, and the signer lacked its role at that block.
    Unauthorized,
    /// The transaction succeeded without a log for the item.
    NoEvent,
    /// Another transaction used the nonce in a final block, and none of ours with that nonce has a receipt.
    NonceLost,
}

impl ItemResult {
    /// The name in `attempt_items.outcome` and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported(outcome) => outcome.name(),
            Self::Reverted => "reverted",
            Self::Unauthorized => "unauthorized",
            Self::NoEvent => "no_event",
            Self::NonceLost => "nonce_lost",
        }
    }

    /// The result with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reverted, Self::Unauthorized, Self::NoEvent, Self::NonceLost]
            .into_iter()
            .chain(ItemOutcome::ALL.into_iter().map(Self::Reported))
            .find(|result| result.name() == name)
    }
}

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
    Breaker(&'static str),
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
    Park(&'static str),
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
        (Command::Submit, OnChainRecord::Present(_))
        | (
            Command::Execute | Command::Refund,
            OnChainRecord::Present(IntentStatus::Executed | IntentStatus::Refunded),
        ) => return NextStep::Done,
        (Command::Execute | Command::Refund, OnChainRecord::Absent) => {
            return NextStep::Retry(Blocker::MissingDeposit);
        }
        _ => {}
    }
    match facts.result {
        ItemResult::Reported(O::Done) => NextStep::Done,
        ItemResult::Reported(O::NotCompliant) if facts.command == Command::Execute => NextStep::Refused,
        ItemResult::Reported(
            outcome @ (O::CompliancePaused
            | O::EscrowPaused
            | O::TokenPaused
            | O::RateLimited
            | O::TransferFailed),
        ) => NextStep::Retry(Blocker::Breaker(outcome.name())),
        ItemResult::Reported(O::NotFound) if facts.command != Command::Submit => {
            NextStep::Retry(Blocker::MissingDeposit)
        }
        ItemResult::Reported(O::OutOfGas) => shrink_batch(facts.batch_size, "out_of_gas"),
        ItemResult::Reverted => shrink_batch(facts.batch_size, "reverted"),
        ItemResult::Unauthorized => NextStep::Retry(Blocker::Breaker("unauthorized")),
        ItemResult::Reported(outcome) if facts.command == Command::Submit && can_never_succeed(outcome) => {
            NextStep::Reject
        }
        ItemResult::Reported(outcome) => NextStep::Park(outcome.name()),
        ItemResult::NoEvent => NextStep::Park("no_event"),
        ItemResult::NonceLost => NextStep::Retry(Blocker::NonceLost),
    }
}

fn shrink_batch(batch: u32, class: &'static str) -> NextStep {
    if batch > 1 {
        NextStep::ShrinkBatch(batch.div_ceil(2))
    } else {
        NextStep::Park(class)
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

/// Names of the results that open a breaker of the command or of the signer.
pub const BREAKER_RESULTS: [&str; 6] = [
    ItemOutcome::CompliancePaused.name(),
    ItemOutcome::EscrowPaused.name(),
    ItemOutcome::TokenPaused.name(),
    ItemOutcome::RateLimited.name(),
    ItemOutcome::TransferFailed.name(),
    ItemResult::Unauthorized.name(),
];

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

    fn results() -> impl Iterator<Item = ItemResult> {
        let of_transactions = [
            ItemResult::Reverted,
            ItemResult::Unauthorized,
            ItemResult::NoEvent,
            ItemResult::NonceLost,
        ];
        of_transactions
            .into_iter()
            .chain(ItemOutcome::ALL.map(ItemResult::Reported))
    }

    #[test]
    fn stored_results_parse_back() {
        for result in results() {
            assert_eq!(ItemResult::from_name(result.name()), Some(result));
        }
        assert_eq!(ItemResult::from_name(""), None);
    }

    #[test]
    fn each_outcome_has_one_consequence() {
        use ItemOutcome as O;
        let pending = OnChainRecord::Present(IntentStatus::Pending);
        let breaker = |name| NextStep::Retry(Blocker::Breaker(name));
        // Columns: submit (record absent), execute and refund (record pending).
        let table = [
            (O::Done, [NextStep::Done; 3]),
            (
                O::NotCompliant,
                [
                    NextStep::Park("not_compliant"),
                    NextStep::Refused,
                    NextStep::Park("not_compliant"),
                ],
            ),
            (O::CompliancePaused, [breaker("compliance_paused"); 3]),
            (O::EscrowPaused, [breaker("escrow_paused"); 3]),
            (O::TokenPaused, [breaker("token_paused"); 3]),
            (O::RateLimited, [breaker("rate_limited"); 3]),
            (O::TransferFailed, [breaker("transfer_failed"); 3]),
            (
                O::NotFound,
                [
                    NextStep::Park("not_found"),
                    NextStep::Retry(Blocker::MissingDeposit),
                    NextStep::Retry(Blocker::MissingDeposit),
                ],
            ),
            (O::OutOfGas, [NextStep::ShrinkBatch(8); 3]),
            (O::IdMismatch, [NextStep::Park("id_mismatch"); 3]),
            (O::AlreadyExists, [NextStep::Park("already_exists"); 3]),
            (O::AlreadyExecuted, [NextStep::Park("already_executed"); 3]),
            (O::AlreadyRefunded, [NextStep::Park("already_refunded"); 3]),
            (
                O::TxRefAlreadyUsed,
                [
                    NextStep::Reject,
                    NextStep::Park("tx_ref_already_used"),
                    NextStep::Park("tx_ref_already_used"),
                ],
            ),
            (
                O::InvalidAmount,
                [
                    NextStep::Reject,
                    NextStep::Park("invalid_amount"),
                    NextStep::Park("invalid_amount"),
                ],
            ),
            (
                O::InvalidCountryCode,
                [
                    NextStep::Reject,
                    NextStep::Park("invalid_country_code"),
                    NextStep::Park("invalid_country_code"),
                ],
            ),
            (
                O::InvalidUser,
                [
                    NextStep::Reject,
                    NextStep::Park("invalid_user"),
                    NextStep::Park("invalid_user"),
                ],
            ),
            (
                O::DailyLimitExceeded,
                [
                    NextStep::Reject,
                    NextStep::Park("daily_limit_exceeded"),
                    NextStep::Park("daily_limit_exceeded"),
                ],
            ),
            (
                O::DepositorNotAllowed,
                [NextStep::Park("depositor_not_allowed"); 3],
            ),
            (O::Expired, [NextStep::Park("expired"); 3]),
            (O::Unknown, [NextStep::Park("unknown"); 3]),
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
            (1, NextStep::Park("out_of_gas")),
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
            NextStep::Park("no_event")
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
        for result in results() {
            let step = next_step(ItemFacts {
                command: Command::Submit,
                result,
                record: OnChainRecord::Absent,
                batch_size: 2,
            });
            let holds = step == NextStep::Retry(Blocker::Breaker(result.name()));
            assert_eq!(BREAKER_RESULTS.contains(&result.name()), holds, "{result:?}");
        }
    }
}
