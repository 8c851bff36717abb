//! Compares one intent's row with its events on chain. Pure functions.

use std::fmt::Display;

use domain::fate::{Debt, Fate, FateTotals, ReceiptFacts, fate};
use domain::intent::{ChainLeg, Finality, PaymentLeg};
use domain::money::Shillings;
use domain::settlement::IntentStatus;
use serde::Serialize;
use storage::ops::reconcile::ReconcileRow;

use crate::escrow_history::IntentHistory;

/// A difference between the database and the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainDifference {
    pub kind: &'static str,
    pub intent_id: String,
    pub tx_ref: String,
    pub detail: String,
}

impl ChainDifference {
    pub fn new(kind: &'static str, intent_id: &impl Display, tx_ref: &str, detail: &str) -> Self {
        Self {
            kind,
            intent_id: intent_id.to_string(),
            tx_ref: tx_ref.to_owned(),
            detail: detail.to_owned(),
        }
    }

    pub fn total(kind: &'static str, detail: &str) -> Self {
        Self {
            kind,
            intent_id: String::new(),
            tx_ref: String::new(),
            detail: detail.to_owned(),
        }
    }
}

/// What became of the paid shillings, in whole shillings.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub received: u64,
    pub minted: u64,
    pub in_flight: u64,
    pub held: u64,
    pub owed_open: u64,
    pub owed_settled: u64,
    pub orphaned: u64,
}

impl From<&FateTotals> for Totals {
    fn from(fates: &FateTotals) -> Self {
        Self {
            received: fates.received(),
            minted: fates.of(Fate::Minted),
            in_flight: fates.of(Fate::InFlight),
            held: fates.of(Fate::Held),
            owed_open: fates.of(Fate::Owed),
            owed_settled: fates.of(Fate::Settled),
            orphaned: fates.of(Fate::Orphaned),
        }
    }
}

/// What is summed while the intents are compared one by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub fates: FateTotals,
    /// Pending deposits of ours on the chain, in base units.
    pub pending_units: u128,
}

impl Sums {
    fn count(&mut self, line: &ReconcileRow, on_chain: Option<&IntentHistory>) {
        if let Some(IntentHistory {
            deposited: Some(deposit),
            executed: None,
            refunded: None,
            ..
        }) = on_chain
        {
            self.pending_units = self.pending_units.saturating_add(deposit.amount.get());
        }
        if let Some(paid) = line.paid_shillings {
            self.fates.add(fate_of(line, on_chain), paid);
        }
    }
}

/// Returns a difference if a received shilling is unreconciled.
pub fn unexplained(fates: &FateTotals) -> Option<ChainDifference> {
    let (received, missing) = (fates.received(), fates.of(Fate::Unreconciled));
    (missing > 0).then(|| {
        ChainDifference::total(
            "money",
            &format!("{received} KES were received, {missing} KES of them are not accounted for"),
        )
    })
}

/// The fate of the intent's payment, by what the chain says rather than the row.
fn fate_of(line: &ReconcileRow, on_chain: Option<&IntentHistory>) -> Fate {
    fate(ReceiptFacts {
        is_first: true,
        has_intent: true,
        chain_leg: leg_on_chain(line, on_chain),
        payment_leg: line.payment,
        debt: line.debt,
        holds: line.holds,
    })
}

/// The leg that the chain shows. What it does not show is known from the row only.
fn leg_on_chain(line: &ReconcileRow, on_chain: Option<&IntentHistory>) -> ChainLeg {
    match (on_chain.map(IntentHistory::status), line.leg) {
        (Some(IntentStatus::Executed), _) => ChainLeg::Executed(Finality::Final),
        (Some(IntentStatus::Refunded), _) => ChainLeg::Refunded(Finality::Final),
        (Some(IntentStatus::Pending | IntentStatus::Failed), leg) if is_pending(leg) => leg,
        (Some(IntentStatus::Pending | IntentStatus::Failed), _) => ChainLeg::Escrowed,
        (None, leg) if is_absent(leg) => leg,
        (None, _) => ChainLeg::Submitting,
    }
}

/// The leg of an intent whose deposit the escrow holds.
const fn is_pending(leg: ChainLeg) -> bool {
    matches!(
        leg,
        ChainLeg::Escrowed | ChainLeg::Executing | ChainLeg::Refunding
    )
}

/// The leg of an intent that the escrow does not know.
const fn is_absent(leg: ChainLeg) -> bool {
    matches!(
        leg,
        ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Rejected | ChainLeg::Dropped
    )
}

/// Returns all differences of one intent, on a chain that was read up to block `horizon`.
pub fn compare(
    line: &ReconcileRow,
    on_chain: Option<&IntentHistory>,
    horizon: u64,
    sums: &mut Sums,
) -> Vec<ChainDifference> {
    sums.count(line, on_chain);
    let changed = line.preimage.intent_id() != line.intent_id;
    let history = |check: fn(&ReconcileRow, &IntentHistory) -> Option<String>| check(line, on_chain?);
    [
        (
            "row_changed",
            changed.then(|| "the stored fields do not hash to the intent's id".to_owned()),
        ),
        ("leg", leg_difference(line, on_chain, horizon)),
        ("paid_out_twice", history(paid_out_twice)),
        ("event_without_deposit", history(event_without_deposit)),
        ("deposit", history(deposit_difference)),
        ("mint_without_payment", history(mint_without_payment)),
        ("payment_unaccounted", unaccounted_payment(line, on_chain)),
        ("owed_after_mint", history(owed_after_mint)),
    ]
    .into_iter()
    .filter_map(|(kind, detail)| {
        let tx_ref = line.preimage.tx_ref.as_str();
        Some(ChainDifference::new(kind, &line.intent_id, tx_ref, &detail?))
    })
    .collect()
}

fn paid_out_twice(_: &ReconcileRow, on_chain: &IntentHistory) -> Option<String> {
    (on_chain.paid_out_twice || (on_chain.executed.is_some() && on_chain.refunded.is_some()))
        .then(|| "the chain shows more than one mint or refund".to_owned())
}

fn event_without_deposit(_: &ReconcileRow, on_chain: &IntentHistory) -> Option<String> {
    on_chain
        .deposited
        .is_none()
        .then(|| "paid out, but its deposit was not seen".to_owned())
}

fn deposit_difference(line: &ReconcileRow, on_chain: &IntentHistory) -> Option<String> {
    let deposit = on_chain.deposited.as_ref()?;
    (deposit.amount != line.preimage.amount || deposit.user != line.preimage.user).then(|| {
        let (amount, user) = (deposit.amount, deposit.user);
        format!("the chain holds {amount} base units for {user}")
    })
}

/// A mint of another amount than was paid, or without a confirmed payment.
fn mint_without_payment(line: &ReconcileRow, on_chain: &IntentHistory) -> Option<String> {
    let (block, amount) = on_chain.executed?;
    let (payment, paid) = (line.payment, line.paid_shillings);
    let is_paid = paid.map(|paid| Shillings::new(paid).to_base_units()) == Some(amount);
    if payment == PaymentLeg::Confirmed && is_paid {
        return None;
    }
    let paid = paid.map_or_else(|| "nothing".to_owned(), |paid| format!("{paid} KES"));
    Some(format!(
        "minted {amount} base units in block {block}; {payment}, paid {paid}"
    ))
}

/// Compares the row's leg with the chain: they must agree, or the row must be ahead because of a later block.
fn leg_difference(line: &ReconcileRow, on_chain: Option<&IntentHistory>, horizon: u64) -> Option<String> {
    let leg = line.leg;
    let block = line.block_number.and_then(|n| u64::try_from(n).ok());
    let later = block.is_some_and(|block| block > horizon);
    let fits = match on_chain.map(IntentHistory::status) {
        None => later || is_absent(leg),
        Some(IntentStatus::Executed) => matches!(leg, ChainLeg::Executed(_)),
        Some(IntentStatus::Refunded) => matches!(leg, ChainLeg::Refunded(_)),
        Some(IntentStatus::Pending | IntentStatus::Failed) => {
            is_pending(leg) || (later && matches!(leg, ChainLeg::Executed(_) | ChainLeg::Refunded(_)))
        }
    };
    let chain = on_chain.map_or("nothing", IntentHistory::state);
    (!fits).then(|| format!("the row says {leg}, the chain says {chain}"))
}

/// A payment for which nothing was or will be minted, and for which no exception exists.
fn unaccounted_payment(line: &ReconcileRow, on_chain: Option<&IntentHistory>) -> Option<String> {
    let paid = line.paid_shillings?;
    let ended = matches!(
        leg_on_chain(line, on_chain),
        ChainLeg::Refunded(_) | ChainLeg::Rejected | ChainLeg::Dropped
    );
    let receipt = line.receipt.as_deref().unwrap_or_default();
    (ended && fate_of(line, on_chain) == Fate::Unreconciled)
        .then(|| format!("{paid} KES of receipt {receipt} were neither minted nor recorded as owed"))
}

/// A minted payment that is still on the list of what must be paid back.
fn owed_after_mint(line: &ReconcileRow, on_chain: &IntentHistory) -> Option<String> {
    let paid = line.paid_shillings?;
    let receipt = line.receipt.as_deref().unwrap_or_default();
    (on_chain.executed.is_some() && line.debt == Debt::Open)
        .then(|| format!("minted, and {paid} KES of receipt {receipt} are still recorded as owed"))
}

#[cfg(test)]
mod tests;
