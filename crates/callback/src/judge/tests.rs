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
        has_first: false,
        expected: Expected::Exactly(Shillings::new(150)),
        payment: PaymentLeg::Awaiting,
        refund_commanded: false,
    }
}

#[test]
fn the_first_paid_report_is_the_payment() {
    let paid = report("T1", Some("R1"), 150);
    let becomes = |leg| ReportVerdict::First {
        leg: FirstLeg::Becomes(leg),
    };
    assert_eq!(judge_report(&facts(&paid)), becomes(PaymentLeg::Confirmed));
    let other = report("T1", Some("R1"), 149);
    assert_eq!(judge_report(&facts(&other)), becomes(PaymentLeg::Mismatched));
    let declined_before = ReportFacts {
        payment: PaymentLeg::Declined,
        ..facts(&paid)
    };
    assert_eq!(judge_report(&declined_before), becomes(PaymentLeg::Confirmed));
}

#[test]
fn what_comes_too_late_is_owed() {
    let paid = report("T1", Some("R1"), 150);
    let owed = ReportVerdict::First { leg: FirstLeg::Owed };
    let expired = ReportFacts {
        payment: PaymentLeg::Expired,
        ..facts(&paid)
    };
    assert_eq!(judge_report(&expired), owed);
    let refunding = ReportFacts {
        payment: PaymentLeg::Declined,
        refund_commanded: true,
        ..facts(&paid)
    };
    assert_eq!(judge_report(&refunding), owed);
}

#[test]
fn a_receipt_counts_once() {
    let paid = report("T1", Some("R1"), 150);
    let (same, other): (TxRef, TxRef) = ("T1".parse().unwrap(), "T2".parse().unwrap());
    let amount = Shillings::new(150);
    for (tx_ref, amount, verdict) in [
        (&same, amount, ReportVerdict::Duplicate),
        (&same, Shillings::new(151), ReportVerdict::Conflict),
        (&other, amount, ReportVerdict::Conflict),
    ] {
        let same_receipt = Some(Recorded { tx_ref, amount });
        for has_first in [true, false] {
            let facts = ReportFacts {
                same_receipt,
                has_first,
                ..facts(&paid)
            };
            assert_eq!(judge_report(&facts), verdict);
        }
    }
    let further = ReportFacts {
        has_first: true,
        payment: PaymentLeg::Confirmed,
        ..facts(&paid)
    };
    assert_eq!(judge_report(&further), ReportVerdict::Further);
}

#[test]
fn a_payment_without_a_believable_intent_waits() {
    let paid = report("T1", Some("R1"), 150);
    let judged = |expected| {
        judge_report(&ReportFacts {
            expected,
            ..facts(&paid)
        })
    };
    assert_eq!(
        judged(Expected::Nothing),
        ReportVerdict::First {
            leg: FirstLeg::Orphan
        }
    );
    assert_eq!(
        judged(Expected::Unknown),
        ReportVerdict::First {
            leg: FirstLeg::Unjudged
        }
    );
}

#[test]
fn a_declined_report_never_outranks_a_payment() {
    let declined = report("T1", None, 150);
    assert_eq!(judge_report(&facts(&declined)), ReportVerdict::Declined);
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
        assert_eq!(judge_report(&facts), ReportVerdict::DeclinedInVain);
    }
    let orphan_paid = ReportFacts {
        has_first: true,
        ..facts(&declined)
    };
    assert_eq!(judge_report(&orphan_paid), ReportVerdict::DeclinedInVain);
}

fn told(chain: ChainLeg, sequence: Option<u64>) -> Told {
    Told {
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
fn outcomes_move_the_copy_of_the_leg() {
    let start = told(ChainLeg::Queued, None);
    let escrowed = judge_outcome(start, &outcome(Outcome::Escrowed, false, Some(5))).unwrap();
    assert_eq!(escrowed, told(ChainLeg::Escrowed, Some(5)));
    assert_eq!(
        judge_outcome(escrowed, &outcome(Outcome::Escrowed, false, Some(5))),
        None
    );
    let refused = judge_outcome(escrowed, &outcome(Outcome::Refused, false, Some(7))).unwrap();
    assert_eq!((refused.chain, refused.refused), (ChainLeg::Escrowed, true));
    let executed = judge_outcome(escrowed, &outcome(Outcome::Executed, true, Some(8))).unwrap();
    assert_eq!(executed, told(DONE, Some(8)));
    let dropped = judge_outcome(start, &outcome(Outcome::Dropped, true, None)).unwrap();
    assert_eq!(dropped.chain, ChainLeg::Dropped);
    let rejected = judge_outcome(start, &outcome(Outcome::Rejected, true, None)).unwrap();
    assert_eq!(rejected.chain, ChainLeg::Rejected);
}

#[test]
fn a_newer_fact_in_a_lower_block_is_believed() {
    let refused = Told {
        refused: true,
        ..told(ChainLeg::Escrowed, Some(105))
    };
    let after_the_reorganisation = |kind, is_final| MintOutcome {
        sequence: 106,
        ..outcome(kind, is_final, Some(104))
    };
    let refunded = judge_outcome(refused, &after_the_reorganisation(Outcome::Refunded, true)).unwrap();
    assert_eq!(refunded.chain, ChainLeg::Refunded(Finality::Final));
    let escrowed = told(ChainLeg::Escrowed, Some(105));
    let refused = judge_outcome(escrowed, &after_the_reorganisation(Outcome::Refused, false)).unwrap();
    assert!(refused.refused);
}

#[test]
fn a_message_that_was_overtaken_changes_nothing() {
    for stale in [
        outcome(Outcome::Escrowed, false, Some(5)),
        outcome(Outcome::Escrowed, false, None),
        outcome(Outcome::Refused, false, Some(7)),
        outcome(Outcome::Rejected, true, None),
        outcome(Outcome::Dropped, true, None),
    ] {
        assert_eq!(
            judge_outcome(told(DONE, Some(8)), &stale),
            None,
            "{:?}",
            stale.outcome
        );
    }
    assert_eq!(
        judge_outcome(
            told(ChainLeg::Escrowed, Some(5)),
            &outcome(Outcome::Dropped, true, None)
        ),
        None
    );
}

#[test]
fn a_reorganisation_may_take_a_mint_back() {
    let undone = judge_outcome(told(DONE, Some(8)), &outcome(Outcome::Executed, false, Some(9))).unwrap();
    assert_eq!(undone.chain, ChainLeg::Executed(Finality::Mined));
    let again = judge_outcome(told(DONE, Some(8)), &outcome(Outcome::Escrowed, false, Some(9))).unwrap();
    assert_eq!(again.chain, ChainLeg::Escrowed);
}

proptest! {
    #[test]
    fn nothing_but_a_later_block_takes_back_what_was_paid_out(
        known in 0_u64..50, block in proptest::option::of(0_u64..50), is_final in any::<bool>(), kind in 0_usize..6,
    ) {
        let kinds = [Outcome::Escrowed, Outcome::Executed, Outcome::Refunded, Outcome::Refused, Outcome::Rejected,
            Outcome::Dropped];
        let next = judge_outcome(told(DONE, Some(known)), &outcome(kinds[kind], is_final, block));
        if let Some(next) = next && matches!(next.chain, ChainLeg::Escrowed | ChainLeg::Rejected) {
            prop_assert!(block.is_some_and(|block| block > known));
        }
    }
}
