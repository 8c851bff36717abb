use super::*;
use crate::ledger::facts::{
    Attempt, ChainLegRow, DeadLetter, Intent, Leftover, Payment, SentPayment, Signer, WorkItem,
};

const USER: &str = "0x00000000000000000000000000000000000000aa";

fn id(n: u8) -> String {
    format!("0x{n:064x}")
}

fn event(kind: EscrowEventKind, n: u8, shillings: u128) -> EscrowEvent {
    EscrowEvent {
        kind,
        intent_id: id(n),
        user: USER.into(),
        amount: shillings * SHILLING,
        tx_hash: "0x1".into(),
        block: 9,
    }
}

fn exception(kind: &str, n: u8, is_hold: bool) -> Exception {
    Exception {
        kind: kind.into(),
        tx_ref: format!("TX{n}"),
        receipt: Some(format!("R{n}")),
        is_hold,
        open: true,
    }
}

/// An intent, its payment and its rows.
fn add_intent(facts: &mut AuditFacts, n: u8, shillings: u32, expected: ExpectedResult, leg: &str) {
    let tx_ref = format!("TX{n}");
    let user = USER.into();
    facts.sent.intents.insert(
        id(n),
        SentIntent {
            tx_ref: tx_ref.clone(),
            user,
            shillings,
            expected,
        },
    );
    // The third pays another amount.
    let paid = if n == 3 { 1 } else { shillings };
    facts.sent.payments.insert(
        format!("R{n}"),
        SentPayment {
            tx_ref: tx_ref.clone(),
            shillings: paid,
        },
    );
    facts.payments.push(Payment {
        receipt: format!("R{n}"),
        tx_ref: tx_ref.clone(),
        shillings: paid.into(),
        is_first: true,
    });
    facts.intents.push(Intent { id: id(n), tx_ref });
    add_rows(facts, n, leg);
    facts
        .events
        .push(event(EscrowEventKind::Submitted, n, shillings.into()));
}

/// The rows of services about the intent. A leg that is escrowed is not final.
fn add_rows(facts: &mut AuditFacts, n: u8, leg: &str) {
    let is_final = leg != "escrowed";
    facts.legs.push(ChainLegRow {
        id: id(n),
        leg: leg.into(),
        is_final,
    });
    facts.decisions.push(DecisionCopy {
        tx_ref: format!("TX{n}"),
        chain_leg: leg.into(),
        chain_final: is_final,
        live_command: None,
    });
    facts.items.push(WorkItem {
        id: id(n),
        command: "submit".into(),
        state: "done".into(),
        failures: 0,
        nonces: 1,
    });
}

/// Intent 1 is minted, 2 is refunded and its payer owed, 3 is held: nothing is wrong.
fn good() -> AuditFacts {
    let mut facts = AuditFacts {
        minted: 5 * SHILLING,
        pending: 7 * SHILLING,
        signers: vec![Signer {
            address: "0x51".into(),
            next_nonce: 4,
            confirmed_nonce: 4,
        }],
        attempts: vec![attempt(1, 2, 1), attempt(2, 3, 2)],
        ..AuditFacts::default()
    };
    add_intent(&mut facts, 1, 5, ExpectedResult::Minted, "executed");
    add_intent(&mut facts, 2, 6, ExpectedResult::Refunded, "refunded");
    add_intent(&mut facts, 3, 7, ExpectedResult::Held, "escrowed");
    facts.events.push(event(EscrowEventKind::Executed, 1, 5));
    facts.events.push(event(EscrowEventKind::Refunded, 2, 6));
    facts.exceptions = vec![
        exception("owed_to_payer", 2, false),
        exception("amount_mismatch", 3, true),
    ];
    facts
}

fn attempt(id: i64, nonce: u64, fencing_token: i64) -> Attempt {
    Attempt {
        id,
        signer: "0x51".into(),
        nonce,
        tx_hash: format!("0x{id}"),
        fencing_token,
    }
}

fn leg(facts: &mut AuditFacts, n: u8) -> &mut ChainLegRow {
    let expected = id(n);
    facts.legs.iter_mut().find(|leg| leg.id == expected).unwrap()
}

#[test]
fn a_good_end_has_no_violation_and_every_shilling_is_accounted_for() {
    let result = audit(&good());
    assert_eq!(result.violations, []);
    let expected = Totals {
        paid: 12,
        minted: 5,
        held: 1,
        owed: 6,
        ..Totals::default()
    };
    assert_eq!((result.totals, result.settled, result.pending), (expected, 3, 0));
}

/// What is done to a good end, and the violation that must be among those found.
fn plant(kind: ViolationKind, facts: &mut AuditFacts) {
    match kind {
        ViolationKind::MintedTwice => facts.events.push(event(EscrowEventKind::Executed, 1, 5)),
        ViolationKind::PaidOutTwice => facts.events.push(event(EscrowEventKind::Refunded, 1, 5)),
        ViolationKind::DepositedTwice => facts.events.push(event(EscrowEventKind::Submitted, 1, 5)),
        ViolationKind::WrongMint => facts.events[3].amount += 1,
        ViolationKind::UnpaidMint => facts.sent.payments.get_mut("R1").unwrap().shillings = 4,
        ViolationKind::UnknownMint => facts.minted += 1,
        ViolationKind::IntentLost => facts.intents.retain(|row| row.id != id(1)),
        ViolationKind::PaymentLost => facts.payments.retain(|row| row.receipt != "R1"),
        ViolationKind::Abandoned => {
            facts
                .events
                .retain(|event| event.kind != EscrowEventKind::Executed);
            facts.minted = 0;
            facts.pending += 5 * SHILLING;
            *leg(facts, 1) = ChainLegRow {
                id: id(1),
                leg: "escrowed".into(),
                is_final: false,
            };
        }
        ViolationKind::FalseFailure => {
            facts.sent.intents.get_mut(&id(2)).unwrap().expected = ExpectedResult::Minted;
        }
        ViolationKind::FalseSuccess => {
            facts.sent.intents.get_mut(&id(1)).unwrap().expected = ExpectedResult::Refunded;
        }
        ViolationKind::LegDiffers => leg(facts, 3).leg = "executed".into(),
        ViolationKind::OutcomeLost => facts.decisions[0].chain_leg = "escrowed".into(),
        ViolationKind::ReportLost => facts.unprocessed_reports.push("TX1".into()),
        ViolationKind::LeftOver => facts.leftovers.push(Leftover {
            place: "mint.submit.v1".into(),
            count: 1,
        }),
        ViolationKind::MoneyMissing => facts.exceptions.retain(|row| row.kind != "owed_to_payer"),
        ViolationKind::BackingDiffers => facts.pending -= 1,
        ViolationKind::NonceGap => facts.signers[0].next_nonce += 1,
        ViolationKind::SentUnstored => facts.events[0].tx_hash = "0xbeef".into(),
        ViolationKind::StaleLease => facts.attempts.push(attempt(3, 4, 1)),
        ViolationKind::DeadLetter => facts.dead_letters.push(DeadLetter {
            queue: "dead.mint.submit.v1".into(),
            class: Some("no_event".into()),
            text: Some("why".into()),
            origin: Some("mint.submit.v1".into()),
        }),
        ViolationKind::SecondNonce => {
            facts.one_nonce_per_command = true;
            facts.items[0].nonces = 2;
        }
        ViolationKind::AttemptWasted => {
            facts.only_outages = true;
            facts.items[0].failures = 1;
        }
        ViolationKind::Run => {}
    }
}

#[test]
fn a_repeated_message_wasted_an_attempt_only_if_only_dependencies_failed() {
    let mut facts = good();
    facts.retried = 1;
    assert!(audit(&facts).violations.is_empty());
    facts.only_outages = true;
    let found: Vec<_> = audit(&facts).violations.iter().map(|found| found.kind).collect();
    assert_eq!(found, [ViolationKind::AttemptWasted]);
}

#[test]
fn every_planted_violation_is_found() {
    for &kind in ViolationKind::ALL {
        let mut facts = good();
        plant(kind, &mut facts);
        let found: Vec<_> = audit(&facts).violations.iter().map(|found| found.kind).collect();
        // Reported while a scenario runs, never by the audit.
        assert_eq!(
            found.contains(&kind),
            kind != ViolationKind::Run,
            "{kind:?} planted, found {found:?}"
        );
    }
}

#[test]
fn an_intent_in_progress_is_pending_and_its_money_in_flight() {
    let mut facts = good();
    facts
        .events
        .retain(|event| event.kind != EscrowEventKind::Executed);
    facts.minted = 0;
    facts.pending += 5 * SHILLING;
    *leg(&mut facts, 1) = ChainLegRow {
        id: id(1),
        leg: "executing".into(),
        is_final: false,
    };
    facts.decisions[0].chain_leg = "escrowed".into();
    facts.decisions[0].live_command = Some("execute".into());
    let result = audit(&facts);
    assert_eq!(result.violations, []);
    assert_eq!((result.pending, result.totals.in_flight), (1, 5));
}

#[test]
fn a_mint_that_a_fork_may_still_undo_is_in_flight_and_not_minted() {
    let mut facts = good();
    leg(&mut facts, 1).is_final = false;
    facts.decisions[0].chain_final = false;
    let result = audit(&facts);
    assert_eq!(result.violations, []);
    assert_eq!((result.totals.minted, result.totals.in_flight), (0, 5));
    // It counts against the supply all the same.
    facts.minted = 0;
    assert!(
        audit(&facts)
            .violations
            .iter()
            .any(|found| found.kind == ViolationKind::MoneyMissing)
    );
}

#[test]
fn a_dead_letter_with_a_reason_that_the_scenario_gives_is_explained() {
    let mut facts = good();
    plant(ViolationKind::DeadLetter, &mut facts);
    facts.explained_classes.push("no_event");
    assert_eq!(audit(&facts).violations, []);
    facts.dead_letters[0].text = None;
    assert_eq!(audit(&facts).count(|kind| kind == ViolationKind::DeadLetter), 1);
}

#[test]
fn money_that_a_person_settled_is_accounted_for() {
    let mut facts = good();
    facts.exceptions[0].open = false;
    let result = audit(&facts);
    assert_eq!(result.violations, []);
    assert_eq!(result.totals.settled, 6);
}

#[test]
fn each_key_has_its_own_nonces_and_its_own_leases() {
    let mut facts = good();
    facts.signers.push(Signer {
        address: "0x52".into(),
        next_nonce: 9,
        confirmed_nonce: 8,
    });
    // Older than the other key's token, and its own newest.
    facts.attempts.push(Attempt {
        signer: "0x52".into(),
        ..attempt(3, 8, 1)
    });
    let result = audit(&facts);
    let found = result.violations.iter();
    let found: Vec<_> = found.map(|found| (found.kind, found.subject.as_str())).collect();
    assert_eq!(found, [(ViolationKind::NonceGap, "0x52")]);
}
