//! Compares one intent's row with its events on chain. Pure functions.

use std::fmt::Display;

use domain::money::Shillings;
use serde::Serialize;
use storage::ops::reconcile::{ReceivedTotals, ReconcileRow};

use super::events::IntentHistory;

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

/// What became of the paid shillings. Whole shillings unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub received: u64,
    pub minted: u64,
    pub in_flight: u64,
    pub held: u64,
    pub owed_open: u64,
    pub owed_settled: u64,
    pub orphaned: u64,
    /// Pending deposits of ours on the chain, in base units.
    #[serde(skip)]
    pub pending_units: u128,
}

impl Totals {
    pub fn add(&mut self, money: &ReceivedTotals) {
        self.received = money.received;
        self.owed_open = money.owed_open;
        self.owed_settled = money.owed_settled;
        self.orphaned = money.orphaned;
    }

    /// Returns a difference unless every received shilling is minted, in flight, held, owed or orphaned.
    pub fn unexplained(&self) -> Option<ChainDifference> {
        let explained: u64 = [
            self.minted,
            self.in_flight,
            self.held,
            self.owed_open,
            self.owed_settled,
            self.orphaned,
        ]
        .iter()
        .sum();
        let received = self.received;
        (explained != received).then(|| {
            ChainDifference::total(
                "money",
                &format!("{received} KES were received, {explained} KES are accounted for"),
            )
        })
    }

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
        if let Some((_, amount)) = on_chain.and_then(|c| c.executed) {
            let minted = amount.to_shillings().map_or(0, Shillings::get);
            self.minted = self.minted.saturating_add(minted);
            return;
        }
        let Some(paid) = line.paid_shillings else { return };
        // An owed payment is already counted as owed, held or not.
        if is_owed(line) {
            return;
        }
        let fate = if line.held {
            &mut self.held
        } else {
            &mut self.in_flight
        };
        *fate = fate.saturating_add(paid);
    }
}

/// Returns all differences of one intent, on a chain that was read up to block `horizon`.
pub fn compare(
    line: &ReconcileRow,
    on_chain: Option<&IntentHistory>,
    horizon: u64,
    totals: &mut Totals,
) -> Vec<ChainDifference> {
    totals.count(line, on_chain);
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
        if line.payment != "confirmed" || paid != Some(amount) {
            let paid = line
                .paid_shillings
                .map_or_else(|| "nothing".to_owned(), |paid| format!("{paid} KES"));
            let payment = &line.payment;
            differs(
                "mint_without_payment",
                format!("minted {amount} base units in block {block}; {payment}, paid {paid}"),
            );
        }
    }
    if let Some(detail) = unaccounted_payment(line, Some(on_chain)) {
        differs("payment_unaccounted", detail);
    }
    found
}

/// Held or not, what is owed is counted once, with the money.
const fn is_owed(line: &ReconcileRow) -> bool {
    line.owed_open || line.owed_settled
}

/// Compares the row's leg with the chain: they must agree, or the row must be ahead because of a later block.
fn leg_difference(line: &ReconcileRow, on_chain: Option<&IntentHistory>, horizon: u64) -> Option<String> {
    let leg = line.leg.as_str();
    let block = line.block_number.and_then(|n| u64::try_from(n).ok());
    let later = block.is_some_and(|block| block > horizon);
    let state = on_chain.map(IntentHistory::state);
    let fits = match state {
        None => later || matches!(leg, "queued" | "submitting" | "rejected" | "dropped"),
        Some(IntentHistory::PENDING) => {
            matches!(leg, "escrowed" | "executing" | "refunding")
                || (later && matches!(leg, "executed" | "refunded"))
        }
        Some(state) => leg == state,
    };
    let chain = state.unwrap_or("nothing");
    (!fits).then(|| format!("the row says {leg}, the chain says {chain}"))
}

/// A payment for which nothing was or will be minted, and for which no exception exists.
fn unaccounted_payment(line: &ReconcileRow, on_chain: Option<&IntentHistory>) -> Option<String> {
    let paid = line.paid_shillings?;
    let ended = match on_chain {
        Some(on_chain) => on_chain.executed.is_none() && on_chain.refunded.is_some(),
        None => matches!(line.leg.as_str(), "rejected" | "dropped"),
    };
    let accounted = line.held || line.owed_open || line.owed_settled;
    let receipt = line.receipt.as_deref().unwrap_or_default();
    (ended && !accounted)
        .then(|| format!("{paid} KES of receipt {receipt} were neither minted nor recorded as owed"))
}

#[cfg(test)]
mod tests {
    use domain::money::BaseUnits;
    use time::OffsetDateTime;

    use super::*;
    use crate::commands::reconcile::events::Deposit;

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
            leg: leg.into(),
            is_final: false,
            block_number: Some(50),
            decided_leg: None,
            payment: payment.into(),
            receipt: paid.map(|_| "NLJ7RT61SV".into()),
            paid_shillings: paid,
            held: false,
            owed_open: false,
            owed_settled: false,
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
        compare(line, on_chain, 100, &mut Totals::default())
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
                    owed_open: true,
                    ..owed.clone()
                },
                Some(&refunded())
            )
            .is_empty()
        );
        assert!(
            kinds(
                &ReconcileRow {
                    owed_settled: true,
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
        let mut totals = Totals::default();
        let mut count = |line: &ReconcileRow, on_chain: Option<&IntentHistory>| {
            compare(line, on_chain, 100, &mut totals);
        };
        count(&line("executed", "confirmed", Some(150)), Some(&executed()));
        count(&line("escrowed", "confirmed", Some(150)), Some(&deposited()));
        count(
            &ReconcileRow {
                held: true,
                ..line("escrowed", "mismatched", Some(10))
            },
            Some(&deposited()),
        );
        count(
            &ReconcileRow {
                owed_open: true,
                ..line("refunded", "confirmed", Some(20))
            },
            Some(&refunded()),
        );
        let mismatched = ReconcileRow {
            held: true,
            owed_open: true,
            ..line("refunded", "mismatched", Some(30))
        };
        count(&mismatched, Some(&refunded()));
        count(
            &ReconcileRow {
                owed_open: false,
                owed_settled: true,
                ..mismatched
            },
            Some(&refunded()),
        );
        assert_eq!((totals.minted, totals.in_flight, totals.held), (150, 150, 10));
        let money = ReceivedTotals {
            received: 390,
            owed_open: 50,
            owed_settled: 30,
            orphaned: 0,
        };
        totals.add(&money);
        assert_eq!(totals.unexplained(), None);
        totals.add(&ReceivedTotals {
            received: 391,
            ..money
        });
        assert_eq!(totals.unexplained().map(|d| d.kind), Some("money"));
        assert_eq!(totals.pending_units, 300 * domain::money::BASE_UNITS_PER_SHILLING);
    }
}
