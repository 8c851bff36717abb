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
