use super::*;
use crate::ledger::facts::{Attempt, Dead, Intent, Item, Leg, Payment, SentPayment, Signer, Waiting};

const USER: &str = "0x00000000000000000000000000000000000000aa";

fn id(n: u8) -> String {
    format!("0x{n:064x}")
}

fn event(kind: Kind, n: u8, shillings: u128) -> EscrowEvent {
    EscrowEvent {
        kind,
        intent_id: id(n),
        user: USER.into(),
        amount: shillings * SHILLING,
        tx_hash: "0x1".into(),
        block: 9,
    }
}

fn exception(kind: &str, n: u8, holds: bool) -> Exception {
    Exception {
        kind: kind.into(),
        tx_ref: format!("TX{n}"),
        receipt: Some(format!("R{n}")),
        holds,
        open: true,
    }
}

/// Intent 1 is minted, 2 is refunded and its payer owed, 3 is held: nothing is wrong.
fn good() -> Facts {
    let mut facts = Facts {
        minted: 5 * SHILLING,
        pending: 7 * SHILLING,
        signers: vec![Signer {
            address: "0x51".into(),
            next_nonce: 4,
            used: 4,
        }],
        attempts: vec![attempt(1, 2, 1), attempt(2, 3, 2)],
        ..Facts::default()
    };
    let story = [
        (1, 5, Wanted::Minted, "executed", true),
        (2, 6, Wanted::Refunded, "refunded", true),
        (3, 7, Wanted::Held, "escrowed", false),
    ];
    for (n, shillings, wanted, leg, last) in story {
        let tx_ref = format!("TX{n}");
        let user = USER.into();
        facts.sent.intents.insert(
            id(n),
            SentIntent {
                tx_ref: tx_ref.clone(),
                user,
                shillings,
                wanted,
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
        facts.intents.push(Intent {
            id: id(n),
            tx_ref: tx_ref.clone(),
        });
        facts.legs.push(Leg {
            id: id(n),
            at: leg.into(),
            last,
        });
        facts.decisions.push(Decided {
            tx_ref,
            chain_leg: leg.into(),
            chain_final: last,
            live_command: None,
        });
        facts.items.push(Item {
            id: id(n),
            command: "submit".into(),
            state: "done".into(),
            failures: 0,
            nonces: 1,
        });
        facts.events.push(event(Kind::Submitted, n, shillings.into()));
    }
    facts.events.push(event(Kind::Executed, 1, 5));
    facts.events.push(event(Kind::Refunded, 2, 6));
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

fn leg(facts: &mut Facts, n: u8) -> &mut Leg {
    let wanted = id(n);
    facts.legs.iter_mut().find(|leg| leg.id == wanted).unwrap()
}

#[test]
fn a_good_end_has_no_violation_and_every_shilling_its_place() {
    let verdict = audit(&good());
    assert_eq!(verdict.violations, []);
    let expected = Totals {
        paid: 12,
        minted: 5,
        held: 1,
        owed: 6,
        ..Totals::default()
    };
    assert_eq!(
        (verdict.totals, verdict.settled, verdict.pending),
        (expected, 3, 0)
    );
}

/// What is done to a good end, and the violation that must be among those found.
fn plant(sort: Sort, facts: &mut Facts) {
    match sort {
        Sort::MintedTwice => facts.events.push(event(Kind::Executed, 1, 5)),
        Sort::PaidOutTwice => facts.events.push(event(Kind::Refunded, 1, 5)),
        Sort::DepositedTwice => facts.events.push(event(Kind::Submitted, 1, 5)),
        Sort::WrongMint => facts.events[3].amount += 1,
        Sort::UnpaidMint => facts.sent.payments.get_mut("R1").unwrap().shillings = 4,
        Sort::StrangeMint => facts.minted += 1,
        Sort::IntentLost => facts.intents.retain(|row| row.id != id(1)),
        Sort::PaymentLost => facts.payments.retain(|row| row.receipt != "R1"),
        Sort::Abandoned => {
            facts.events.retain(|event| event.kind != Kind::Executed);
            facts.minted = 0;
            facts.pending += 5 * SHILLING;
            *leg(facts, 1) = Leg {
                id: id(1),
                at: "escrowed".into(),
                last: false,
            };
        }
        Sort::FalseFailure => facts.sent.intents.get_mut(&id(2)).unwrap().wanted = Wanted::Minted,
        Sort::FalseSuccess => facts.sent.intents.get_mut(&id(1)).unwrap().wanted = Wanted::Refunded,
        Sort::LegDiffers => leg(facts, 3).at = "executed".into(),
        Sort::OutcomeLost => facts.decisions[0].chain_leg = "escrowed".into(),
        Sort::ReportLost => facts.unjudged.push("TX1".into()),
        Sort::LeftOver => facts.waiting.push(Waiting {
            place: "mint.submit.v1".into(),
            count: 1,
        }),
        Sort::MoneyMissing => facts.exceptions.retain(|row| row.kind != "owed_to_payer"),
        Sort::BackingDiffers => facts.pending -= 1,
        Sort::NonceGap => facts.signers[0].next_nonce += 1,
        Sort::Unstored => facts.events[0].tx_hash = "0xbeef".into(),
        Sort::StaleLease => facts.attempts.push(attempt(3, 4, 1)),
        Sort::DeadLetter => facts.dead.push(Dead {
            queue: "dead.mint.submit.v1".into(),
            class: Some("silent".into()),
            text: Some("why".into()),
            origin: Some("mint.submit.v1".into()),
        }),
        Sort::SentAgain => {
            facts.one_nonce_each = true;
            facts.items[0].nonces = 2;
        }
        Sort::AttemptBurnt => {
            facts.only_outages = true;
            facts.items[0].failures = 1;
        }
        Sort::Story => {}
    }
}

#[test]
fn a_message_that_went_round_again_burnt_an_attempt_only_if_nothing_but_dependencies_failed() {
    let mut facts = good();
    facts.retried = 1;
    assert!(audit(&facts).violations.is_empty());
    facts.only_outages = true;
    let found: Vec<_> = audit(&facts).violations.iter().map(|found| found.sort).collect();
    assert_eq!(found, [Sort::AttemptBurnt]);
}

#[test]
fn every_planted_violation_is_found() {
    for sort in Sort::ALL {
        let mut facts = good();
        plant(sort, &mut facts);
        let found: Vec<_> = audit(&facts).violations.iter().map(|found| found.sort).collect();
        // Told by whoever runs a story, never by the audit.
        assert_eq!(
            found.contains(&sort),
            sort != Sort::Story,
            "{sort:?} planted, found {found:?}"
        );
    }
}

#[test]
fn what_is_on_its_way_is_pending_and_its_money_in_flight() {
    let mut facts = good();
    facts.events.retain(|event| event.kind != Kind::Executed);
    facts.minted = 0;
    facts.pending += 5 * SHILLING;
    *leg(&mut facts, 1) = Leg {
        id: id(1),
        at: "executing".into(),
        last: false,
    };
    facts.decisions[0].chain_leg = "escrowed".into();
    facts.decisions[0].live_command = Some("execute".into());
    let verdict = audit(&facts);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.pending, verdict.totals.in_flight), (1, 5));
}

#[test]
fn what_a_fork_may_still_take_back_is_in_flight_and_not_minted() {
    let mut facts = good();
    leg(&mut facts, 1).last = false;
    facts.decisions[0].chain_final = false;
    let verdict = audit(&facts);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.totals.minted, verdict.totals.in_flight), (0, 5));
    // It counts against the supply all the same.
    facts.minted = 0;
    assert!(
        audit(&facts)
            .violations
            .iter()
            .any(|found| found.sort == Sort::MoneyMissing)
    );
}

#[test]
fn a_dead_letter_with_a_reason_that_the_story_gives_is_explained() {
    let mut facts = good();
    plant(Sort::DeadLetter, &mut facts);
    facts.explained.push("silent");
    assert_eq!(audit(&facts).violations, []);
    facts.dead[0].text = None;
    assert_eq!(audit(&facts).count(|sort| sort == Sort::DeadLetter), 1);
}

#[test]
fn what_a_person_settled_is_accounted_for() {
    let mut facts = good();
    facts.exceptions[0].open = false;
    let verdict = audit(&facts);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.totals.settled, 6);
}

#[test]
fn each_key_has_its_own_nonces_and_its_own_leases() {
    let mut facts = good();
    facts.signers.push(Signer {
        address: "0x52".into(),
        next_nonce: 9,
        used: 8,
    });
    // Older than the other key's token, and its own newest.
    facts.attempts.push(Attempt {
        signer: "0x52".into(),
        ..attempt(3, 8, 1)
    });
    let verdict = audit(&facts);
    let found = verdict.violations.iter();
    let found: Vec<_> = found.map(|found| (found.sort, found.subject.as_str())).collect();
    assert_eq!(found, [(Sort::NonceGap, "0x52")]);
}
