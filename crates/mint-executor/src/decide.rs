//! Turns facts about an item into its next step. Pure: no clock, no database, no node. The tables of the tests hold the
//! hard cases of the executor.

use chain::ItemOutcome;
use chain::watch::IntentStatus;
use domain::intent::{ChainLeg, Finality};
use storage::executor::items::WorkCommand;

/// The result of an item of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The escrow's log reports this outcome.
    Told(ItemOutcome),
    /// The whole transaction reverted.
    Reverted,
    /// The whole transaction reverted, and the signer lacked its role at that block.
    Forbidden,
    /// The transaction succeeded without a log for the item.
    Silent,
    /// Another transaction used the nonce in a final block, and none of ours with that nonce has a receipt.
    Gone,
}

impl Ending {
    /// The name in `attempt_items.outcome` and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Told(outcome) => outcome.name(),
            Self::Reverted => "reverted",
            Self::Forbidden => "forbidden",
            Self::Silent => "silent",
            Self::Gone => "gone",
        }
    }

    /// The result with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reverted, Self::Forbidden, Self::Silent, Self::Gone]
            .into_iter()
            .chain(ItemOutcome::ALL.into_iter().map(Self::Told))
            .find(|ending| ending.name() == name)
    }
}

/// The escrow's record of an intent at the block in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The record was not read, because the log itself implies it.
    NotAsked,
    Absent,
    Present(IntentStatus),
}

/// Why an item waits; waiting uses up no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The chain does not hold the deposit (any more).
    Deposit,
    /// Its transaction can never be mined, so the item goes into another one.
    Resend,
    /// A breaker of the command or of the signer opens.
    Breaker(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The chain holds its effect, by this attempt or another.
    Done,
    /// The user is not compliant: the outcome goes to callback, which commands the refund.
    Refused,
    /// The item becomes ready again and uses up no attempt.
    Again(Hold),
    /// The item becomes ready again, for a batch of at most this size.
    Smaller(u32),
    /// The deposit can never succeed; its leg is rejected once the block is final.
    Reject,
    /// A person must act, but only once the block is final: after a fork the same bytes may succeed.
    Park(&'static str),
}

/// The facts from which the next step of one item follows.
#[derive(Clone, Copy, Debug)]
pub struct ItemFacts {
    pub command: WorkCommand,
    pub ending: Ending,
    pub record: Record,
    /// Number of items in its batch.
    pub batch: u32,
}

/// The escrow's record decides first; the item's result decides only what the record leaves open.
pub fn after(facts: ItemFacts) -> Step {
    use ItemOutcome as O;
    match (facts.command, facts.record) {
        (WorkCommand::Submit, Record::Present(_))
        | (
            WorkCommand::Execute | WorkCommand::Refund,
            Record::Present(IntentStatus::Executed | IntentStatus::Refunded),
        ) => return Step::Done,
        (WorkCommand::Execute | WorkCommand::Refund, Record::Absent) => return Step::Again(Hold::Deposit),
        _ => {}
    }
    match facts.ending {
        Ending::Told(O::Done) => Step::Done,
        Ending::Told(O::NotCompliant) if facts.command == WorkCommand::Execute => Step::Refused,
        Ending::Told(
            outcome @ (O::CompliancePaused
            | O::EscrowPaused
            | O::TokenPaused
            | O::RateLimited
            | O::TransferFailed),
        ) => Step::Again(Hold::Breaker(outcome.name())),
        Ending::Told(O::NotFound) if facts.command != WorkCommand::Submit => Step::Again(Hold::Deposit),
        Ending::Told(O::OutOfGas) => smaller(facts.batch, "out_of_gas"),
        Ending::Reverted => smaller(facts.batch, "reverted"),
        Ending::Forbidden => Step::Again(Hold::Breaker("forbidden")),
        Ending::Told(outcome) if facts.command == WorkCommand::Submit && can_never_succeed(outcome) => {
            Step::Reject
        }
        Ending::Told(outcome) => Step::Park(outcome.name()),
        Ending::Silent => Step::Park("silent"),
        Ending::Gone => Step::Again(Hold::Resend),
    }
}

fn smaller(batch: u32, class: &'static str) -> Step {
    if batch > 1 {
        Step::Smaller(batch.div_ceil(2))
    } else {
        Step::Park(class)
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
pub const HOLDING: [&str; 6] = [
    ItemOutcome::CompliancePaused.name(),
    ItemOutcome::EscrowPaused.name(),
    ItemOutcome::TokenPaused.name(),
    ItemOutcome::RateLimited.name(),
    ItemOutcome::TransferFailed.name(),
    Ending::Forbidden.name(),
];

/// The leg that an escrow record implies.
pub const fn leg_of(record: Record) -> Option<ChainLeg> {
    match record {
        Record::NotAsked => None,
        Record::Absent => Some(ChainLeg::Submitting),
        Record::Present(IntentStatus::Pending) => Some(ChainLeg::Escrowed),
        Record::Present(IntentStatus::Executed) => Some(ChainLeg::Executed(Finality::Mined)),
        Record::Present(IntentStatus::Refunded) => Some(ChainLeg::Refunded(Finality::Mined)),
        // The contract reserves this status and never writes it.
        Record::Present(IntentStatus::Failed) => Some(ChainLeg::Rejected),
    }
}

/// The escrow record that a leg implies once every log up to a block is applied: the inverse of [`leg_for_record`].
pub const fn record_of(leg: ChainLeg) -> Record {
    match leg {
        ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Rejected | ChainLeg::Dropped => Record::Absent,
        ChainLeg::Escrowed | ChainLeg::Executing | ChainLeg::Refunding => {
            Record::Present(IntentStatus::Pending)
        }
        ChainLeg::Executed(_) => Record::Present(IntentStatus::Executed),
        ChainLeg::Refunded(_) => Record::Present(IntentStatus::Refunded),
    }
}

/// What becomes of a command while its intent is at a given leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It goes into the next batch.
    Go,
    /// It waits in its row.
    Wait,
    /// Nothing was sent, or nothing more may be: the intent is dropped unless the chain knows it.
    Undo,
    /// The command has nothing left to do.
    Close,
}

/// `expired` means that the payment window is over, so nothing may be deposited any more.
pub fn fits(command: WorkCommand, leg: ChainLeg, expired: bool) -> Fit {
    use ChainLeg as L;
    match (command, leg) {
        (WorkCommand::Submit, L::Queued | L::Submitting) if expired => Fit::Undo,
        (WorkCommand::Refund, L::Queued) => Fit::Undo,
        (WorkCommand::Submit, L::Queued | L::Submitting)
        | (WorkCommand::Execute | WorkCommand::Refund, L::Escrowed) => Fit::Go,
        (WorkCommand::Execute, L::Queued | L::Submitting)
        | (WorkCommand::Refund, L::Submitting | L::Executing) => Fit::Wait,
        _ => Fit::Close,
    }
}

/// Legs at which items of a command wait, so that queries leave them out.
pub fn waiting_legs(command: WorkCommand) -> Vec<ChainLeg> {
    ChainLeg::ALL
        .into_iter()
        .filter(|leg| fits(command, *leg, false) == Fit::Wait)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkCommand::{Execute, Refund, Submit};

    fn told(command: WorkCommand, outcome: ItemOutcome, record: Record, batch: u32) -> Step {
        after(ItemFacts {
            command,
            ending: Ending::Told(outcome),
            record,
            batch,
        })
    }

    #[test]
    fn each_outcome_has_one_consequence() {
        use ItemOutcome as O;
        let pending = Record::Present(IntentStatus::Pending);
        let breaker = |name| Step::Again(Hold::Breaker(name));
        // Columns: submit (record absent), execute and refund (record pending).
        let table = [
            (O::Done, [Step::Done; 3]),
            (
                O::NotCompliant,
                [
                    Step::Park("not_compliant"),
                    Step::Refused,
                    Step::Park("not_compliant"),
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
                    Step::Park("not_found"),
                    Step::Again(Hold::Deposit),
                    Step::Again(Hold::Deposit),
                ],
            ),
            (O::OutOfGas, [Step::Smaller(8); 3]),
            (O::IdMismatch, [Step::Park("id_mismatch"); 3]),
            (O::AlreadyExists, [Step::Park("already_exists"); 3]),
            (O::AlreadyExecuted, [Step::Park("already_executed"); 3]),
            (O::AlreadyRefunded, [Step::Park("already_refunded"); 3]),
            (
                O::TxRefAlreadyUsed,
                [
                    Step::Reject,
                    Step::Park("tx_ref_already_used"),
                    Step::Park("tx_ref_already_used"),
                ],
            ),
            (
                O::InvalidAmount,
                [
                    Step::Reject,
                    Step::Park("invalid_amount"),
                    Step::Park("invalid_amount"),
                ],
            ),
            (
                O::InvalidCountryCode,
                [
                    Step::Reject,
                    Step::Park("invalid_country_code"),
                    Step::Park("invalid_country_code"),
                ],
            ),
            (
                O::InvalidUser,
                [
                    Step::Reject,
                    Step::Park("invalid_user"),
                    Step::Park("invalid_user"),
                ],
            ),
            (
                O::DailyLimitExceeded,
                [
                    Step::Reject,
                    Step::Park("daily_limit_exceeded"),
                    Step::Park("daily_limit_exceeded"),
                ],
            ),
            (O::DepositorNotAllowed, [Step::Park("depositor_not_allowed"); 3]),
            (O::Expired, [Step::Park("expired"); 3]),
            (O::Unknown, [Step::Park("unknown"); 3]),
        ];
        assert_eq!(table.map(|(outcome, _)| outcome), ItemOutcome::ALL);
        for (outcome, [submit, execute, refund]) in table {
            assert_eq!(
                told(Submit, outcome, Record::Absent, 16),
                submit,
                "submit {outcome:?}"
            );
            assert_eq!(
                told(Execute, outcome, pending, 16),
                execute,
                "execute {outcome:?}"
            );
            assert_eq!(told(Refund, outcome, pending, 16), refund, "refund {outcome:?}");
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
                    told(Submit, outcome, Record::Present(status), 1),
                    Step::Done,
                    "{outcome:?}"
                );
            }
            for command in [Execute, Refund] {
                for status in [IntentStatus::Executed, IntentStatus::Refunded] {
                    assert_eq!(
                        told(command, outcome, Record::Present(status), 1),
                        Step::Done,
                        "{outcome:?}"
                    );
                }
                assert_eq!(
                    told(command, outcome, Record::Absent, 1),
                    Step::Again(Hold::Deposit),
                    "{outcome:?}"
                );
            }
        }
    }

    #[test]
    fn out_of_gas_halves_the_batch_until_a_single_item_is_parked() {
        let mut batch = 64;
        let mut sizes = Vec::new();
        while let Step::Smaller(next) = told(Submit, ItemOutcome::OutOfGas, Record::Absent, batch) {
            sizes.push(next);
            batch = next;
        }
        assert_eq!(sizes, [32, 16, 8, 4, 2, 1]);
        assert_eq!(
            told(Submit, ItemOutcome::OutOfGas, Record::Absent, 1),
            Step::Park("out_of_gas")
        );
    }

    #[test]
    fn a_lost_nonce_retries_the_item_and_a_revert_halves_the_batch() {
        let facts = |ending, record| ItemFacts {
            command: Execute,
            ending,
            record,
            batch: 4,
        };
        let pending = Record::Present(IntentStatus::Pending);
        assert_eq!(after(facts(Ending::Gone, pending)), Step::Again(Hold::Resend));
        assert_eq!(
            after(facts(Ending::Gone, Record::Absent)),
            Step::Again(Hold::Deposit)
        );
        assert_eq!(
            after(facts(Ending::Gone, Record::Present(IntentStatus::Executed))),
            Step::Done
        );
        assert_eq!(after(facts(Ending::Reverted, pending)), Step::Smaller(2));
        assert_eq!(after(facts(Ending::Silent, pending)), Step::Park("silent"));
    }

    #[test]
    fn legs_and_escrow_records_map_to_each_other() {
        use IntentStatus::{Executed, Pending, Refunded};
        for record in [Record::Absent]
            .into_iter()
            .chain([Pending, Executed, Refunded].map(Record::Present))
        {
            assert_eq!(leg_of(record).map(record_of), Some(record));
        }
        for leg in ChainLeg::ALL {
            let expected = match leg.name() {
                "executing" | "refunding" => "escrowed",
                "queued" | "rejected" | "dropped" => "submitting",
                same => same,
            };
            assert_eq!(leg_of(record_of(leg)).map(ChainLeg::name), Some(expected));
        }
    }

    #[test]
    fn each_command_is_eligible_at_its_own_legs() {
        use ChainLeg as L;
        use Fit::{Close, Go, Undo, Wait};
        let mined = Finality::Mined;
        // Columns: submit, submit after the window, execute, refund.
        let table = [
            (L::Queued, [Go, Undo, Wait, Undo]),
            (L::Submitting, [Go, Undo, Wait, Wait]),
            (L::Escrowed, [Close, Close, Go, Go]),
            (L::Executing, [Close, Close, Close, Wait]),
            (L::Executed(mined), [Close; 4]),
            (L::Executed(Finality::Final), [Close; 4]),
            (L::Refunding, [Close; 4]),
            (L::Refunded(mined), [Close; 4]),
            (L::Refunded(Finality::Final), [Close; 4]),
            (L::Rejected, [Close; 4]),
            (L::Dropped, [Close; 4]),
        ];
        assert_eq!(table.map(|(leg, _)| leg), ChainLeg::ALL);
        for (leg, row) in table {
            let found = [
                fits(Submit, leg, false),
                fits(Submit, leg, true),
                fits(Execute, leg, false),
                fits(Refund, leg, false),
            ];
            assert_eq!(found, row, "{leg}");
        }
        assert_eq!(waiting_legs(Execute), [L::Queued, L::Submitting]);
        assert_eq!(waiting_legs(Refund), [L::Submitting, L::Executing]);
        assert!(waiting_legs(Submit).is_empty());
    }

    #[test]
    fn breaker_results_are_exactly_those_that_open_a_breaker() {
        let endings = ItemOutcome::ALL.into_iter().map(Ending::Told);
        let more = [Ending::Reverted, Ending::Forbidden, Ending::Silent, Ending::Gone];
        for ending in endings.chain(more) {
            let step = after(ItemFacts {
                command: WorkCommand::Submit,
                ending,
                record: Record::Absent,
                batch: 2,
            });
            let holds = step == Step::Again(Hold::Breaker(ending.name()));
            assert_eq!(HOLDING.contains(&ending.name()), holds, "{ending:?}");
        }
    }
}
