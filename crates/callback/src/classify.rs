//! Classifies a new report or outcome, given what is already known. Pure functions.

use domain::intent::{Cause, ChainLeg, Finality, PaymentLeg};
use domain::money::Shillings;
use domain::payment::PaymentReport;
use domain::tx_ref::TxRef;
use messaging::wire::{MintOutcome, Outcome};

/// The amount that the txRef's intent requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedAmount {
    /// No intent has this txRef, perhaps not yet.
    Nothing,
    /// The intent commits to this amount.
    Exactly(Shillings),
    /// There is an intent, but its row was tampered with.
    Unknown,
}

/// The recorded payment that has the same receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedReceipt<'a> {
    pub tx_ref: &'a TxRef,
    pub amount: Shillings,
}

#[derive(Clone, Copy, Debug)]
pub struct ReportFacts<'a> {
    pub report: &'a PaymentReport,
    /// The recorded payment with the report's receipt, under any txRef.
    pub same_receipt: Option<RecordedReceipt<'a>>,
    /// The txRef already has a payment.
    pub has_payment: bool,
    pub expected: ExpectedAmount,
    pub payment: PaymentLeg,
    pub refund_commanded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportClass {
    /// The same content was reported before.
    Duplicate,
    /// The same receipt with other content (for example declined) or under another txRef: kept as evidence, no effect.
    Conflict,
    /// Another receipt for a txRef that is already paid: additional money.
    AnotherPayment,
    /// The first payment of the txRef. `leg` says how it changes the payment leg.
    FirstPayment { leg: PaymentMatch },
    /// The payment was declined, and this changes the payment leg.
    Declined,
    /// The payment was declined, but a payment or a final state is already known.
    DeclinedTooLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentMatch {
    Accepted(PaymentLeg),
    /// No intent has this txRef yet: the payment waits for it.
    Orphan,
    /// The intent's row was tampered with: the payment waits for a person.
    Unverifiable,
    /// The payment came too late, the deposit is being refunded: the payer is owed.
    Owed,
}

/// Another report has the receipt that this one names.
const fn names_known_receipt(facts: &ReportFacts<'_>) -> bool {
    facts.same_receipt.is_some()
}

/// Classifies a verified report (docs/STATES.md).
pub fn classify_report(facts: &ReportFacts<'_>) -> ReportClass {
    let report = facts.report;
    if !report.is_paid() {
        if names_known_receipt(facts) {
            return ReportClass::Conflict;
        }
        let news = facts
            .payment
            .may_become(PaymentLeg::Declined, facts.refund_commanded)
            && !facts.has_payment;
        return if news {
            ReportClass::Declined
        } else {
            ReportClass::DeclinedTooLate
        };
    }
    match facts.same_receipt {
        Some(known) if *known.tx_ref == report.tx_ref && known.amount == report.amount => {
            ReportClass::Duplicate
        }
        Some(_) => ReportClass::Conflict,
        None if facts.has_payment => ReportClass::AnotherPayment,
        None => ReportClass::FirstPayment {
            leg: match_payment(
                facts.expected,
                report.amount,
                facts.payment,
                facts.refund_commanded,
            ),
        },
    }
}

/// How the first payment of a txRef changes the payment leg.
pub fn match_payment(
    expected: ExpectedAmount,
    paid: Shillings,
    payment: PaymentLeg,
    refund_commanded: bool,
) -> PaymentMatch {
    let to = match expected {
        ExpectedAmount::Nothing => return PaymentMatch::Orphan,
        ExpectedAmount::Unknown => return PaymentMatch::Unverifiable,
        ExpectedAmount::Exactly(amount) if amount == paid => PaymentLeg::Confirmed,
        ExpectedAmount::Exactly(_) => PaymentLeg::Mismatched,
    };
    if payment.may_become(to, refund_commanded) {
        PaymentMatch::Accepted(to)
    } else {
        PaymentMatch::Owed
    }
}

/// The callback service's copy of the chain leg, as the executor's outcomes reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedLeg {
    pub chain: ChainLeg,
    pub refused: bool,
    /// The sequence of the last outcome that was applied.
    pub sequence: Option<u64>,
}

/// Applies an outcome to the copy of the leg; `None` if it changes nothing. Observed facts outrank commands, but an older
/// outcome never replaces a newer one, because messages can overtake each other. The executor's sequence says which is
/// older, not the block number: after a reorganisation the newer outcome may be in a lower block.
pub fn classify_outcome(current: ReportedLeg, outcome: &MintOutcome) -> Option<ReportedLeg> {
    let finality = if outcome.r#final {
        Finality::Final
    } else {
        Finality::Mined
    };
    let (leg, cause) = match outcome.outcome {
        Outcome::Escrowed | Outcome::Refused => (ChainLeg::Escrowed, Cause::Observed),
        Outcome::Executed => (ChainLeg::Executed(finality), Cause::Observed),
        Outcome::Refunded => (ChainLeg::Refunded(finality), Cause::Observed),
        Outcome::Rejected => (ChainLeg::Rejected, Cause::Observed),
        Outcome::Dropped => (ChainLeg::Dropped, Cause::Commanded),
    };
    // Only a newer outcome may undo a pay-out.
    let paid_out = matches!(current.chain, ChainLeg::Executed(_) | ChainLeg::Refunded(_));
    let reverts = paid_out && !matches!(leg, ChainLeg::Executed(_) | ChainLeg::Refunded(_));
    let newest = current.sequence.map(|known| known + u64::from(reverts));
    if newest.is_some_and(|newest| outcome.sequence < newest) {
        return None;
    }
    let chain = if leg == current.chain {
        leg
    } else {
        current.chain.advance(leg, cause).ok()?
    };
    let reported = ReportedLeg {
        chain,
        refused: current.refused || outcome.outcome == Outcome::Refused,
        sequence: Some(outcome.sequence),
    };
    (reported != current).then_some(reported)
}

#[cfg(test)]
mod tests;
