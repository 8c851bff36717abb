use domain::ids::Preimage;
use proptest::prelude::*;

use super::*;

fn report(tx_ref: &str, receipt: Option<&str>, amount: u64) -> PaymentReport {
    let result = match receipt {
        Some(receipt) => format!(r#""receipt":"{receipt}","resultCode":0"#),
        None => r#""resultCode":1032"#.to_owned(),
    };
    let body = format!(
        r#"{{"txRef":"{tx_ref}","amount":"{amount}","phone":"254708374149","timestamp":1,{result}}}"#
    );
    PaymentReport::parse(body.as_bytes()).unwrap()
}

fn facts(report: &PaymentReport) -> ReportFacts<'_> {
    ReportFacts {
        report,
        same_receipt: None,
        has_payment: false,
        expected: ExpectedAmount::Exactly(Shillings::new(150)),
        payment: PaymentLeg::Awaiting,
        refund_commanded: false,
    }
}

#[test]
fn the_first_paid_report_is_the_payment() {
    let paid = report("T1", Some("R1"), 150);
    let becomes = |leg| ReportClass::FirstPayment {
        leg: PaymentMatch::Accepted(leg),
    };
    assert_eq!(classify_report(&facts(&paid)), becomes(PaymentLeg::Confirmed));
    let other = report("T1", Some("R1"), 149);
    assert_eq!(classify_report(&facts(&other)), becomes(PaymentLeg::Mismatched));
    let declined_before = ReportFacts {
        payment: PaymentLeg::Declined,
        ..facts(&paid)
    };
    assert_eq!(classify_report(&declined_before), becomes(PaymentLeg::Confirmed));
}

#[test]
fn a_payment_that_is_too_late_is_owed() {
    let paid = report("T1", Some("R1"), 150);
    let owed = ReportClass::FirstPayment {
        leg: PaymentMatch::Owed,
    };
    let expired = ReportFacts {
        payment: PaymentLeg::Expired,
        ..facts(&paid)
    };
    assert_eq!(classify_report(&expired), owed);
    let refunding = ReportFacts {
        payment: PaymentLeg::Declined,
        refund_commanded: true,
        ..facts(&paid)
    };
    assert_eq!(classify_report(&refunding), owed);
}

#[test]
fn a_receipt_counts_once() {
    let paid = report("T1", Some("R1"), 150);
    let (same, other): (TxRef, TxRef) = ("T1".parse().unwrap(), "T2".parse().unwrap());
    let amount = Shillings::new(150);
    for (tx_ref, amount, verdict) in [
        (&same, amount, ReportClass::Duplicate),
        (&same, Shillings::new(151), ReportClass::Conflict),
        (&other, amount, ReportClass::Conflict),
    ] {
        let same_receipt = Some(RecordedReceipt { tx_ref, amount });
        for has_first in [true, false] {
            let facts = ReportFacts {
                same_receipt,
                has_payment: has_first,
                ..facts(&paid)
            };
            assert_eq!(classify_report(&facts), verdict);
        }
    }
    let further = ReportFacts {
        has_payment: true,
        payment: PaymentLeg::Confirmed,
        ..facts(&paid)
    };
    assert_eq!(classify_report(&further), ReportClass::AnotherPayment);
}

#[test]
fn a_payment_without_a_verified_intent_waits() {
    let paid = report("T1", Some("R1"), 150);
    let judged = |expected| {
        classify_report(&ReportFacts {
            expected,
            ..facts(&paid)
        })
    };
    assert_eq!(
        judged(ExpectedAmount::Nothing),
        ReportClass::FirstPayment {
            leg: PaymentMatch::Orphan
        }
    );
    assert_eq!(
        judged(ExpectedAmount::Unknown),
        ReportClass::FirstPayment {
            leg: PaymentMatch::Unverifiable
        }
    );
}

#[test]
fn a_declined_report_never_outranks_a_payment() {
    let declined = report("T1", None, 150);
    assert_eq!(classify_report(&facts(&declined)), ReportClass::Declined);
    for payment in [
        PaymentLeg::Confirmed,
        PaymentLeg::Declined,
        PaymentLeg::Mismatched,
        PaymentLeg::Expired,
    ] {
        let facts = ReportFacts {
            payment,
            ..facts(&declined)
        };
        assert_eq!(classify_report(&facts), ReportClass::DeclinedTooLate);
    }
    let orphan_paid = ReportFacts {
        has_payment: true,
        ..facts(&declined)
    };
    assert_eq!(classify_report(&orphan_paid), ReportClass::DeclinedTooLate);
}

#[test]
fn a_declined_report_naming_a_known_receipt_is_a_conflict() {
    let declined = report("T1", None, 150);
    let (same, other): (TxRef, TxRef) = ("T1".parse().unwrap(), "T2".parse().unwrap());
    for tx_ref in [&same, &other] {
        let amount = Shillings::new(150);
        let facts = ReportFacts {
            same_receipt: Some(RecordedReceipt { tx_ref, amount }),
            ..facts(&declined)
        };
        assert_eq!(classify_report(&facts), ReportClass::Conflict);
    }
}

fn leg(chain: ChainLeg, sequence: Option<u64>) -> ReportedLeg {
    ReportedLeg {
        chain,
        refused: false,
        sequence,
    }
}

/// The sequence is the block here; where they part, a test says so.
fn outcome(outcome: Outcome, is_final: bool, block_number: Option<u64>) -> MintOutcome {
    let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap();
    MintOutcome {
        intent: Preimage {
            chain_id: 1,
            escrow: address,
            depositor: address,
            user: address,
            amount: "1000000000000000000".parse().unwrap(),
            country_code: domain::country::CountryCode::KES,
            tx_ref: "T1".parse().unwrap(),
        },
        outcome,
        r#final: is_final,
        sequence: block_number.unwrap_or_default(),
        tx_hash: None,
        block_number,
        reason: None,
    }
}

const DONE: ChainLeg = ChainLeg::Executed(Finality::Final);

#[test]
fn outcomes_update_the_copy_of_the_chain_leg() {
    let start = leg(ChainLeg::Queued, None);
    let escrowed = classify_outcome(start, &outcome(Outcome::Escrowed, false, Some(5))).unwrap();
    assert_eq!(escrowed, leg(ChainLeg::Escrowed, Some(5)));
    assert_eq!(
        classify_outcome(escrowed, &outcome(Outcome::Escrowed, false, Some(5))),
        None
    );
    let refused = classify_outcome(escrowed, &outcome(Outcome::Refused, false, Some(7))).unwrap();
    assert_eq!((refused.chain, refused.refused), (ChainLeg::Escrowed, true));
    let executed = classify_outcome(escrowed, &outcome(Outcome::Executed, true, Some(8))).unwrap();
    assert_eq!(executed, leg(DONE, Some(8)));
    let dropped = classify_outcome(start, &outcome(Outcome::Dropped, true, None)).unwrap();
    assert_eq!(dropped.chain, ChainLeg::Dropped);
    let rejected = classify_outcome(start, &outcome(Outcome::Rejected, true, None)).unwrap();
    assert_eq!(rejected.chain, ChainLeg::Rejected);
}

#[test]
fn a_newer_fact_in_a_lower_block_is_applied() {
    let refused = ReportedLeg {
        refused: true,
        ..leg(ChainLeg::Escrowed, Some(105))
    };
    let after_the_reorganisation = |kind, is_final| MintOutcome {
        sequence: 106,
        ..outcome(kind, is_final, Some(104))
    };
    let refunded = classify_outcome(refused, &after_the_reorganisation(Outcome::Refunded, true)).unwrap();
    assert_eq!(refunded.chain, ChainLeg::Refunded(Finality::Final));
    let escrowed = leg(ChainLeg::Escrowed, Some(105));
    let refused = classify_outcome(escrowed, &after_the_reorganisation(Outcome::Refused, false)).unwrap();
    assert!(refused.refused);
}

#[test]
fn an_overtaken_message_changes_nothing() {
    for stale in [
        outcome(Outcome::Escrowed, false, Some(5)),
        outcome(Outcome::Escrowed, false, None),
        outcome(Outcome::Refused, false, Some(7)),
        outcome(Outcome::Rejected, true, None),
        outcome(Outcome::Dropped, true, None),
    ] {
        assert_eq!(
            classify_outcome(leg(DONE, Some(8)), &stale),
            None,
            "{:?}",
            stale.outcome
        );
    }
    assert_eq!(
        classify_outcome(
            leg(ChainLeg::Escrowed, Some(5)),
            &outcome(Outcome::Dropped, true, None)
        ),
        None
    );
}

#[test]
fn an_outcome_as_new_as_the_last_one_is_applied_unless_it_undoes_a_payout() {
    let mined = ChainLeg::Executed(Finality::Mined);
    let table = [
        (ChainLeg::Submitting, Outcome::Escrowed, Some(ChainLeg::Escrowed)),
        (ChainLeg::Escrowed, Outcome::Executed, Some(DONE)),
        (mined, Outcome::Executed, Some(DONE)),
        (mined, Outcome::Escrowed, None),
        (mined, Outcome::Rejected, None),
    ];
    for (current, kind, expected) in table {
        let found = classify_outcome(leg(current, Some(8)), &outcome(kind, true, Some(8)));
        assert_eq!(found.map(|next| next.chain), expected, "{current:?} {kind:?}");
    }
}

#[test]
fn what_is_on_chain_is_not_dropped_by_a_newer_command() {
    let drop = outcome(Outcome::Dropped, true, Some(9));
    assert_eq!(classify_outcome(leg(ChainLeg::Escrowed, Some(5)), &drop), None);
    let repeated = classify_outcome(leg(ChainLeg::Dropped, Some(5)), &drop);
    assert_eq!(
        repeated,
        Some(leg(ChainLeg::Dropped, Some(9))),
        "the copy keeps the newest sequence"
    );
}

#[test]
fn a_reorganisation_may_revert_a_mint() {
    let reverted = classify_outcome(leg(DONE, Some(8)), &outcome(Outcome::Executed, false, Some(9))).unwrap();
    assert_eq!(reverted.chain, ChainLeg::Executed(Finality::Mined));
    let again = classify_outcome(leg(DONE, Some(8)), &outcome(Outcome::Escrowed, false, Some(9))).unwrap();
    assert_eq!(again.chain, ChainLeg::Escrowed);
}

proptest! {
    #[test]
    fn only_a_later_block_reverts_a_payout(
        known in 0_u64..50, block in proptest::option::of(0_u64..50), is_final in any::<bool>(), kind in 0_usize..6,
    ) {
        let kinds = [Outcome::Escrowed, Outcome::Executed, Outcome::Refunded, Outcome::Refused, Outcome::Rejected,
            Outcome::Dropped];
        let next = classify_outcome(leg(DONE, Some(known)), &outcome(kinds[kind], is_final, block));
        if let Some(next) = next && matches!(next.chain, ChainLeg::Escrowed | ChainLeg::Rejected) {
            prop_assert!(block.is_some_and(|block| block > known));
        }
    }
}
