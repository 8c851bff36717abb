use super::*;
use Fate::{Held, InFlight, Minted, Orphaned, Owed, Settled, Unreconciled};

const NO_HOLDS: Holds = Holds {
    open: false,
    orphan_resolved: false,
    mismatch_resolved: false,
    unpaid_mint_resolved: false,
};
const FINAL_MINT: ChainLeg = ChainLeg::Executed(Finality::Final);
const UNMATCHED: [PaymentLeg; 3] = [PaymentLeg::Awaiting, PaymentLeg::Declined, PaymentLeg::Expired];

fn facts(chain_leg: ChainLeg, payment_leg: PaymentLeg) -> ReceiptFacts {
    ReceiptFacts {
        is_first: true,
        has_intent: true,
        chain_leg,
        payment_leg,
        debt: Debt::None,
        holds: NO_HOLDS,
    }
}

/// In every cell, `changed` makes of the fate `expected` (`None`: what it was).
fn assert_changes(
    changed: impl Fn(ReceiptFacts) -> ReceiptFacts,
    expected: impl Fn(ChainLeg, PaymentLeg) -> Option<Fate>,
) {
    for chain in ChainLeg::ALL {
        for payment in PaymentLeg::ALL {
            let before = facts(chain, payment);
            let wanted = expected(chain, payment).unwrap_or(fate(before));
            assert_eq!(fate(changed(before)), wanted, "{chain:?} x {payment}");
        }
    }
}

#[test]
fn the_fate_of_a_payment_follows_from_the_two_legs() {
    let (mined, last) = (Finality::Mined, Finality::Final);
    let before = [InFlight, InFlight, InFlight, Unreconciled, Unreconciled];
    let on_its_way = [Unreconciled, InFlight, Unreconciled, Unreconciled, Unreconciled];
    // Columns: awaiting, confirmed, declined, mismatched, expired.
    let table = [
        (ChainLeg::Queued, before),
        (ChainLeg::Submitting, before),
        (ChainLeg::Escrowed, before),
        (ChainLeg::Executing, on_its_way),
        (ChainLeg::Executed(mined), on_its_way),
        (
            FINAL_MINT,
            [Unreconciled, Minted, Unreconciled, Unreconciled, Unreconciled],
        ),
        (ChainLeg::Refunding, on_its_way),
        (ChainLeg::Refunded(mined), on_its_way),
        (ChainLeg::Refunded(last), [Unreconciled; 5]),
        (ChainLeg::Rejected, [Unreconciled; 5]),
        (ChainLeg::Dropped, [Unreconciled; 5]),
    ];
    assert_eq!(table.map(|(leg, _)| leg), ChainLeg::ALL);
    for (chain, row) in table {
        for (payment, expected) in PaymentLeg::ALL.into_iter().zip(row) {
            assert_eq!(fate(facts(chain, payment)), expected, "{chain:?} x {payment}");
        }
    }
}

#[test]
fn a_payment_without_an_intent_waits_for_it() {
    assert_changes(
        |facts| ReceiptFacts {
            has_intent: false,
            ..facts
        },
        |_, payment| UNMATCHED.contains(&payment).then_some(Orphaned),
    );
}

#[test]
fn a_further_receipt_is_never_minted_and_must_be_owed() {
    let further = |debt| {
        move |facts| ReceiptFacts {
            is_first: false,
            debt,
            ..facts
        }
    };
    assert_changes(further(Debt::None), |_, _| Some(Unreconciled));
    assert_changes(further(Debt::Void), |_, _| Some(Unreconciled));
    assert_changes(further(Debt::Open), |_, _| Some(Owed));
    assert_changes(further(Debt::Resolved), |_, _| Some(Settled));
}

/// The case in which two sums once differed. An open hold says why money stands still. A resolved one does not: after it
/// the legs move again, so the legs must explain the money, and a debt that nobody recorded must show.
#[test]
fn an_open_hold_explains_money_and_a_resolved_hold_does_not() {
    let hold = |holds| move |facts| ReceiptFacts { holds, ..facts };
    let final_mint = |chain, payment| (chain, payment) == (FINAL_MINT, PaymentLeg::Confirmed);
    let open = Holds {
        open: true,
        ..NO_HOLDS
    };
    assert_changes(hold(open), |chain, payment| {
        (!final_mint(chain, payment)).then_some(Held)
    });
    // Resolved, the deposit goes back, and once that is final the payment must be owed.
    let mismatch = Holds {
        mismatch_resolved: true,
        ..NO_HOLDS
    };
    assert_changes(hold(mismatch), |chain, payment| {
        let ended = chain.is_terminal() || matches!(chain, ChainLeg::Executed(_));
        (payment == PaymentLeg::Mismatched && !ended).then_some(InFlight)
    });
    let gone = facts(ChainLeg::Refunded(Finality::Final), PaymentLeg::Mismatched);
    let unrecorded = ReceiptFacts {
        holds: mismatch,
        ..gone
    };
    assert_eq!(fate(unrecorded), Unreconciled, "it went back, and nobody owes it");
}

/// Two kinds of holds have no leg that moves afterwards: what the person said is all there is, so the gauge is not red.
#[test]
fn a_person_settles_an_orphan_and_an_unpaid_mint() {
    let hold = |holds| move |facts| ReceiptFacts { holds, ..facts };
    let orphan = Holds {
        orphan_resolved: true,
        ..NO_HOLDS
    };
    assert_changes(hold(orphan), |_, payment| {
        UNMATCHED.contains(&payment).then_some(Settled)
    });
    let unpaid_mint = Holds {
        unpaid_mint_resolved: true,
        ..NO_HOLDS
    };
    assert_changes(hold(unpaid_mint), |chain, payment| {
        let executed = matches!(chain, ChainLeg::Executed(_));
        (executed && payment != PaymentLeg::Confirmed).then_some(Settled)
    });
}

/// The other case in which two sums once differed: a receipt that was owed and minted nevertheless. It counts once, as
/// minted: the sum of what is owed is what a person pays back, and the payer has the tokens. That it was owed at all is
/// not lost: `already_owed` holds before such a mint, and `minted_after_owed` pages after it.
#[test]
fn an_owed_receipt_that_was_minted_is_minted_and_nothing_else() {
    let owed = |debt| move |facts| ReceiptFacts { debt, ..facts };
    for (debt, expected) in [(Debt::Open, Owed), (Debt::Resolved, Settled)] {
        let minted = owed(debt)(facts(FINAL_MINT, PaymentLeg::Confirmed));
        assert_eq!(fate(minted), Minted, "{debt:?}");
        assert_changes(owed(debt), |chain, payment| {
            let minted = (chain, payment) == (FINAL_MINT, PaymentLeg::Confirmed);
            (!minted).then_some(expected)
        });
        // Until the mint is final, a fork may take it back, and the debt stands.
        let mined = owed(debt)(facts(ChainLeg::Executed(Finality::Mined), PaymentLeg::Confirmed));
        assert_eq!(fate(mined), expected, "{debt:?}");
    }
}

#[test]
fn a_void_debt_is_none_and_a_debt_outranks_a_hold() {
    assert_changes(
        |facts| ReceiptFacts {
            debt: Debt::Void,
            ..facts
        },
        |_, _| None,
    );
    let held = ReceiptFacts {
        debt: Debt::Open,
        holds: Holds {
            open: true,
            ..NO_HOLDS
        },
        ..facts(ChainLeg::Escrowed, PaymentLeg::Confirmed)
    };
    assert_eq!(fate(held), Owed);
}

#[test]
fn each_shilling_is_in_one_sum_and_no_sum_is_too_large() {
    let mut totals = FateTotals::default();
    for (n, fate) in (1_u64..).zip(Fate::ALL) {
        totals.add(fate, n);
        totals.add(fate, 10);
        assert_eq!(totals.of(fate), n + 10, "{fate}");
        assert_eq!(fate.name().parse(), Ok(fate));
    }
    assert_eq!(totals.received(), (1..=7).sum::<u64>() + 70);
    totals.add(Minted, u64::MAX);
    assert_eq!((totals.of(Minted), totals.received()), (u64::MAX, u64::MAX));
    assert_eq!("paid".parse::<Fate>(), Err(UnknownFate));
}
