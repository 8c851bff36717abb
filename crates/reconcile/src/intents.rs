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
    let mut found = Vec::new();
    let mut differs = |kind, detail: String| {
        found.push(ChainDifference::new(
            kind,
            &line.intent_id,
            line.preimage.tx_ref.as_str(),
            &detail,
        ));
    };
    if line.preimage.intent_id() != line.intent_id {
        differs(
            "row_changed",
            "the stored fields do not hash to the intent's id".into(),
        );
    }
    if let Some(detail) = leg_difference(line, on_chain, horizon) {
        differs("leg", detail);
    }
    let Some(on_chain) = on_chain else {
        if let Some(detail) = unaccounted_payment(line, None) {
            differs("payment_unaccounted", detail);
        }
        return found;
    };
    if on_chain.paid_out_twice || (on_chain.executed.is_some() && on_chain.refunded.is_some()) {
        differs(
            "paid_out_twice",
            "the chain shows more than one mint or refund".into(),
        );
    }
    match &on_chain.deposited {
        None => differs(
            "event_without_deposit",
            "paid out, but its deposit was not seen".into(),
        ),
        Some(deposit) if deposit.amount != line.preimage.amount || deposit.user != line.preimage.user => {
            let (amount, user) = (deposit.amount, deposit.user);
            differs(
                "deposit",
                format!("the chain holds {amount} base units for {user}"),
            );
        }
        Some(_) => {}
    }
    if let Some((block, amount)) = on_chain.executed {
        let paid = line
            .paid_shillings
            .map(|paid| Shillings::new(paid).to_base_units());
        if line.payment != PaymentLeg::Confirmed || paid != Some(amount) {
            let paid = line
                .paid_shillings
                .map_or_else(|| "nothing".to_owned(), |paid| format!("{paid} KES"));
            let payment = line.payment;
            differs(
                "mint_without_payment",
                format!("minted {amount} base units in block {block}; {payment}, paid {paid}"),
            );
        }
    }
    if let Some(detail) = unaccounted_payment(line, Some(on_chain)) {
        differs("payment_unaccounted", detail);
    }
    if let Some(detail) = owed_after_mint(line, on_chain) {
        differs("owed_after_mint", detail);
    }
    found
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
mod tests {
    use domain::fate::Holds;
    use domain::money::BaseUnits;
    use time::OffsetDateTime;

    use super::*;
    use crate::escrow_history::Deposit;

    fn line(leg: &str, payment: &str, paid: Option<u64>) -> ReconcileRow {
        let preimage = domain::ids::Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
            amount: Shillings::new(150).to_base_units(),
            country_code: domain::country::CountryCode::KES,
            tx_ref: "TX0000000001".parse().unwrap(),
        };
        ReconcileRow {
            intent_id: preimage.intent_id(),
            preimage,
            created_at: OffsetDateTime::UNIX_EPOCH,
            leg: ChainLeg::from_stored(leg, false).unwrap(),
            block_number: Some(50),
            payment: payment.parse().unwrap(),
            receipt: paid.map(|_| "NLJ7RT61SV".into()),
            paid_shillings: paid,
            debt: Debt::None,
            holds: Holds::default(),
        }
    }

    fn deposited() -> IntentHistory {
        let line = line("escrowed", "awaiting", None);
        let (user, amount) = (line.preimage.user, line.preimage.amount);
        IntentHistory {
            deposited: Some(Deposit {
                block: 40,
                user,
                amount,
                tx_ref: "TX0000000001".into(),
            }),
            ..IntentHistory::default()
        }
    }

    fn executed() -> IntentHistory {
        IntentHistory {
            executed: Some((50, Shillings::new(150).to_base_units())),
            ..deposited()
        }
    }

    fn refunded() -> IntentHistory {
        IntentHistory {
            refunded: Some((50, Shillings::new(150).to_base_units())),
            ..deposited()
        }
    }

    fn kinds(line: &ReconcileRow, on_chain: Option<&IntentHistory>) -> Vec<&'static str> {
        compare(line, on_chain, 100, &mut Sums::default())
            .into_iter()
            .map(|d| d.kind)
            .collect()
    }

    #[test]
    fn what_agrees_is_no_difference() {
        assert!(kinds(&line("queued", "awaiting", None), None).is_empty());
        assert!(kinds(&line("escrowed", "awaiting", None), Some(&deposited())).is_empty());
        assert!(kinds(&line("executing", "confirmed", Some(150)), Some(&deposited())).is_empty());
        assert!(kinds(&line("executed", "confirmed", Some(150)), Some(&executed())).is_empty());
        assert!(kinds(&line("refunded", "declined", None), Some(&refunded())).is_empty());
        let ahead = ReconcileRow {
            block_number: Some(101),
            ..line("executed", "confirmed", Some(150))
        };
        assert!(kinds(&ahead, Some(&deposited())).is_empty());
    }

    #[test]
    fn a_leg_that_is_not_where_the_chain_is() {
        assert_eq!(kinds(&line("escrowed", "awaiting", None), None), ["leg"]);
        assert_eq!(
            kinds(&line("submitting", "awaiting", None), Some(&deposited())),
            ["leg"]
        );
        assert_eq!(
            kinds(&line("escrowed", "confirmed", Some(150)), Some(&executed())),
            ["leg"]
        );
        // The last block that was read shows what happened in it.
        for block in [50, 100] {
            let executed = ReconcileRow {
                block_number: Some(block),
                ..line("executed", "confirmed", Some(150))
            };
            assert_eq!(kinds(&executed, Some(&deposited())), ["leg"], "{block}");
        }
    }

    #[test]
    fn a_mint_needs_its_payment() {
        for (payment, paid) in [
            ("awaiting", None),
            ("mismatched", Some(150)),
            ("confirmed", Some(149)),
            ("confirmed", None),
        ] {
            assert_eq!(
                kinds(&line("executed", payment, paid), Some(&executed())),
                ["mint_without_payment"],
                "{payment}"
            );
        }
    }

    #[test]
    fn a_changed_row_and_a_changed_deposit_are_differences() {
        let mut changed = line("escrowed", "awaiting", None);
        changed.preimage.amount = BaseUnits::new(1);
        assert_eq!(kinds(&changed, Some(&deposited())), ["row_changed", "deposit"]);
    }

    #[test]
    fn paid_and_refunded_needs_a_person() {
        let owed = line("refunded", "confirmed", Some(150));
        assert_eq!(kinds(&owed, Some(&refunded())), ["payment_unaccounted"]);
        assert!(
            kinds(
                &ReconcileRow {
                    debt: Debt::Open,
                    ..owed.clone()
                },
                Some(&refunded())
            )
            .is_empty()
        );
        assert!(
            kinds(
                &ReconcileRow {
                    debt: Debt::Resolved,
                    ..owed
                },
                Some(&refunded())
            )
            .is_empty()
        );
        assert_eq!(
            kinds(&line("dropped", "confirmed", Some(150)), None),
            ["payment_unaccounted"]
        );
    }

    #[test]
    fn an_intent_pays_out_once() {
        let both = IntentHistory {
            refunded: Some((60, BaseUnits::ZERO)),
            ..executed()
        };
        assert_eq!(
            kinds(&line("executed", "confirmed", Some(150)), Some(&both)),
            ["paid_out_twice"]
        );
    }

    #[test]
    fn each_payment_is_counted_once() {
        let open = Holds {
            open: true,
            ..Holds::default()
        };
        let mut sums = Sums::default();
        let mut count = |line: &ReconcileRow, on_chain: Option<&IntentHistory>| {
            compare(line, on_chain, 100, &mut sums);
        };
        count(&line("executed", "confirmed", Some(150)), Some(&executed()));
        count(&line("escrowed", "confirmed", Some(150)), Some(&deposited()));
        count(
            &ReconcileRow {
                holds: open,
                ..line("escrowed", "mismatched", Some(10))
            },
            Some(&deposited()),
        );
        count(
            &ReconcileRow {
                debt: Debt::Open,
                ..line("refunded", "confirmed", Some(20))
            },
            Some(&refunded()),
        );
        let mismatched = ReconcileRow {
            holds: open,
            debt: Debt::Open,
            ..line("refunded", "mismatched", Some(30))
        };
        count(&mismatched, Some(&refunded()));
        count(
            &ReconcileRow {
                debt: Debt::Resolved,
                ..mismatched
            },
            Some(&refunded()),
        );
        let totals = Totals::from(&sums.fates);
        assert_eq!((totals.minted, totals.in_flight, totals.held), (150, 150, 10));
        assert_eq!((totals.owed_open, totals.owed_settled), (50, 30));
        assert_eq!((totals.received, unexplained(&sums.fates)), (390, None));
        sums.fates.add(Fate::Unreconciled, 1);
        assert_eq!(unexplained(&sums.fates).map(|d| d.kind), Some("money"));
        assert_eq!(sums.pending_units, 300 * domain::money::BASE_UNITS_PER_SHILLING);
    }

    /// The payer has the tokens, so the row of the chain decides, and the debt is a difference until a person ends it.
    #[test]
    fn a_minted_payment_that_is_still_owed_is_a_difference_and_counted_once() {
        for (debt, expected) in [(Debt::Open, &["owed_after_mint"][..]), (Debt::Resolved, &[])] {
            let minted = ReconcileRow {
                debt,
                ..line("executed", "confirmed", Some(150))
            };
            assert_eq!(kinds(&minted, Some(&executed())), expected);
            let mut sums = Sums::default();
            compare(&minted, Some(&executed()), 100, &mut sums);
            assert_eq!((sums.fates.of(Fate::Minted), sums.fates.received()), (150, 150));
        }
    }

    #[test]
    fn the_chain_decides_where_a_payment_is_and_the_row_what_the_chain_does_not_show() {
        use ChainLeg as L;
        let (last, legs) = (Finality::Final, L::ALL);
        for leg in legs {
            let row = ReconcileRow {
                leg,
                ..line("queued", "confirmed", Some(150))
            };
            assert_eq!(leg_on_chain(&row, Some(&executed())), L::Executed(last));
            assert_eq!(leg_on_chain(&row, Some(&refunded())), L::Refunded(last));
            let pending = match leg {
                L::Executing | L::Refunding => leg,
                _ => L::Escrowed,
            };
            assert_eq!(leg_on_chain(&row, Some(&deposited())), pending, "{leg}");
            let absent = match leg {
                L::Queued | L::Rejected | L::Dropped => leg,
                _ => L::Submitting,
            };
            assert_eq!(leg_on_chain(&row, None), absent, "{leg}");
        }
    }
}
