//! What a new fact means, from what is known already. Pure: facts in, verdict out.

use domain::intent::{Cause, ChainLeg, Finality, PaymentLeg};
use domain::money::Shillings;
use domain::payment::PaymentReport;
use domain::tx_ref::TxRef;
use messaging::wire::{MintOutcome, Outcome};

/// What the txRef's intent asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No intent has this txRef (yet).
    Nothing,
    /// The intent commits to this amount.
    Exactly(Shillings),
    /// There is an intent, but its row cannot be believed.
    Unknown,
}

/// A payment recorded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    pub tx_ref: &'a TxRef,
    pub amount: Shillings,
}

#[derive(Clone, Copy, Debug)]
pub struct ReportFacts<'a> {
    pub report: &'a PaymentReport,
    /// The payment that holds the report's receipt, under any txRef.
    pub same_receipt: Option<Recorded<'a>>,
    /// The txRef has its payment already.
    pub has_first: bool,
    pub expected: Expected,
    pub payment: PaymentLeg,
    pub refund_commanded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportVerdict {
    /// The same content again.
    Duplicate,
    /// The same receipt with other content (declined, say), or under another txRef: evidence, no effect.
    Conflict,
    /// Another receipt for a txRef that is paid: other money.
    Further,
    /// The payment. `leg` is where it takes the payment leg.
    First { leg: FirstLeg },
    /// Declined, and that is news.
    Declined,
    /// Declined, but something stronger is known.
    DeclinedInVain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLeg {
    Becomes(PaymentLeg),
    /// Nobody asked for it yet: it waits for its intent.
    Orphan,
    /// The intent's row cannot be believed: it waits for a person.
    Unjudged,
    /// Too late, the deposit is on its way back: the payer is owed.
    Owed,
}

/// What a verified report means (docs/STATES.md).
pub fn judge_report(facts: &ReportFacts<'_>) -> ReportVerdict {
    let report = facts.report;
    if !report.is_paid() {
        if facts.same_receipt.is_some() {
            return ReportVerdict::Conflict;
        }
        let news = facts
            .payment
            .may_become(PaymentLeg::Declined, facts.refund_commanded)
            && !facts.has_first;
        return if news {
            ReportVerdict::Declined
        } else {
            ReportVerdict::DeclinedInVain
        };
    }
    match facts.same_receipt {
        Some(known) if *known.tx_ref == report.tx_ref && known.amount == report.amount => {
            ReportVerdict::Duplicate
        }
        Some(_) => ReportVerdict::Conflict,
        None if facts.has_first => ReportVerdict::Further,
        None => ReportVerdict::First {
            leg: match_payment(
                facts.expected,
                report.amount,
                facts.payment,
                facts.refund_commanded,
            ),
        },
    }
}

/// Where the first paid report takes the payment leg.
pub fn match_payment(
    expected: Expected,
    paid: Shillings,
    payment: PaymentLeg,
    refund_commanded: bool,
) -> FirstLeg {
    let to = match expected {
        Expected::Nothing => return FirstLeg::Orphan,
        Expected::Unknown => return FirstLeg::Unjudged,
        Expected::Exactly(amount) if amount == paid => PaymentLeg::Confirmed,
        Expected::Exactly(_) => PaymentLeg::Mismatched,
    };
    if payment.may_become(to, refund_commanded) {
        FirstLeg::Becomes(to)
    } else {
        FirstLeg::Owed
    }
}

/// What an outcome changes in the decider's copy of the chain leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub chain: ChainLeg,
    pub refused: bool,
    /// Of the last outcome that was believed.
    pub sequence: Option<u64>,
}

/// Facts outrank wishes, but an older fact never replaces a newer one: messages overtake each other. Which is older
/// the executor's sequence says, not the block: a reorganisation can mine the newer fact in a lower one. `None` when
/// the outcome says nothing new.
pub fn judge_outcome(current: Told, outcome: &MintOutcome) -> Option<Told> {
    let finality = if outcome.r#final {
        Finality::Final
    } else {
        Finality::Mined
    };
    let (leg, cause) = match outcome.outcome {
        Outcome::Escrowed | Outcome::Refused => (ChainLeg::Escrowed, Cause::ChainFact),
        Outcome::Executed => (ChainLeg::Executed(finality), Cause::ChainFact),
        Outcome::Refunded => (ChainLeg::Refunded(finality), Cause::ChainFact),
        Outcome::Rejected => (ChainLeg::Rejected, Cause::ChainFact),
        Outcome::Dropped => (ChainLeg::Dropped, Cause::Wish),
    };
    // What was paid out is undone only by something newer.
    let paid_out = matches!(current.chain, ChainLeg::Executed(_) | ChainLeg::Refunded(_));
    let undoes = paid_out && !matches!(leg, ChainLeg::Executed(_) | ChainLeg::Refunded(_));
    let newest = current.sequence.map(|known| known + u64::from(undoes));
    if newest.is_some_and(|newest| outcome.sequence < newest) {
        return None;
    }
    let chain = if leg == current.chain {
        leg
    } else {
        current.chain.advance(leg, cause).ok()?
    };
    let told = Told {
        chain,
        refused: current.refused || outcome.outcome == Outcome::Refused,
        sequence: Some(outcome.sequence),
    };
    (told != current).then_some(told)
}

#[cfg(test)]
mod tests;
