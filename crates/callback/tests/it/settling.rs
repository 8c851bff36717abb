//! docs/STATES.md, the chain's side.

use messaging::Disposition::Done;
use messaging::wire::Outcome;
use messaging::wire::RefundReason::{Declined, NotCompliant};

use crate::rig::{Rig, execute, refund};

#[tokio::test]
async fn a_refused_user_is_refunded_and_the_payer_is_owed() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    assert_eq!(
        rig.handle_outcome(&intent, Outcome::Refused, false, 12).await,
        Done
    );
    assert_eq!(rig.commands().await, [execute("T1"), refund("T1", NotCompliant)]);
    assert!(
        rig.exceptions("T1").is_empty(),
        "nothing is owed before the refund is final"
    );
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    assert_eq!(rig.exceptions("T1"), ["owed_to_payer R1 150"]);
    assert_eq!(rig.decision("T1"), "refunded|confirmed|");
}

#[tokio::test]
async fn an_executed_intent_is_done() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Executed, true, 12).await;
    assert_eq!(rig.decision("T1"), "executed|confirmed|");
    assert!(rig.exceptions("T1").is_empty());
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn an_overtaken_outcome_does_not_start_a_second_execute() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Executed, true, 12).await;
    rig.handle_outcome(&intent, Outcome::Escrowed, false, 10).await;
    assert_eq!(rig.decision("T1"), "executed|confirmed|");
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn a_mint_without_a_payment_pages_and_halts_executes() {
    let rig = Rig::start().await;
    for (tx_ref, declined) in [("T1", false), ("T2", true)] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.escrowed(&intent).await;
        if declined {
            rig.declined(tx_ref).await;
        }
        rig.handle_outcome(&intent, Outcome::Executed, true, 12).await;
        assert_eq!(rig.exceptions(tx_ref), ["mint_without_payment - -"]);
    }
    assert_eq!(
        rig.database
            .sql("select scope, halted, changed_by from halts")
            .unwrap(),
        "execute|t|callback"
    );
    assert_eq!(
        rig.database
            .sql("select count(*) from audit_log where action = 'halt'")
            .unwrap(),
        "1"
    );
}

#[tokio::test]
async fn a_deposit_that_never_came_is_owed_if_it_was_paid_for() {
    let rig = Rig::start().await;
    for (tx_ref, receipt, outcome) in [("T1", "R1", Outcome::Rejected), ("T2", "R2", Outcome::Dropped)] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.paid(tx_ref, receipt, 150).await;
        rig.handle_outcome(&intent, outcome, true, 12).await;
        assert_eq!(rig.exceptions(tx_ref), [format!("owed_to_payer {receipt} 150")]);
    }
    let unpaid = rig.accepted("T3", 150).await;
    rig.handle_outcome(&unpaid, Outcome::Rejected, true, 12).await;
    assert!(rig.exceptions("T3").is_empty());
    rig.paid("T3", "R3", 150).await;
    assert_eq!(rig.exceptions("T3"), ["owed_to_payer R3 150"]);
    assert!(rig.commands().await.is_empty());
}

#[tokio::test]
async fn an_owed_exception_opens_once_even_after_a_person_resolved_it() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'paid back'")
        .unwrap();
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    assert!(rig.exceptions("T1").is_empty());
}

#[tokio::test]
async fn after_an_owed_exception_nothing_is_minted_until_a_person_decides() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.handle_outcome(&intent, Outcome::Dropped, true, 12).await;
    // A fork, or a second attempt nobody knew of: the deposit is there after all.
    rig.handle_outcome(&intent, Outcome::Escrowed, false, 14).await;
    assert_eq!(rig.decision("T1"), "escrowed|confirmed|");
    assert_eq!(
        rig.exceptions("T1"),
        ["already_owed R1 150", "owed_to_payer R1 150"]
    );
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty());

    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'not paid back'")
        .unwrap();
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [execute("T1")]);
    rig.handle_outcome(&intent, Outcome::Executed, true, 16).await;
    assert!(rig.exceptions("T1").is_empty(), "a person decided so");
}

#[tokio::test]
async fn a_mint_after_an_owed_exception_opens_an_exception_for_a_person() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.handle_outcome(&intent, Outcome::Dropped, true, 12).await;
    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'paid back'")
        .unwrap();
    rig.handle_outcome(&intent, Outcome::Executed, false, 14).await;
    rig.handle_outcome(&intent, Outcome::Executed, true, 16).await;
    assert_eq!(rig.exceptions("T1"), ["minted_after_owed R1 150"]);
    assert!(rig.commands().await.is_empty());
}

#[tokio::test]
async fn a_reorganisation_past_a_final_block_opens_an_exception() {
    let rig = Rig::start().await;
    for (tx_ref, receipt, back) in [("T1", "R1", Outcome::Executed), ("T2", "R2", Outcome::Escrowed)] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.paid(tx_ref, receipt, 150).await;
        rig.escrowed(&intent).await;
        rig.handle_outcome(&intent, Outcome::Executed, false, 12).await;
        assert!(rig.exceptions(tx_ref).is_empty(), "not final");
        rig.handle_outcome(&intent, Outcome::Executed, true, 13).await;
        rig.handle_outcome(&intent, back, false, 14).await;
        assert_eq!(rig.exceptions(tx_ref), ["final_reverted - -"]);
        rig.handle_outcome(&intent, Outcome::Executed, true, 16).await;
        assert_eq!(
            rig.exceptions(tx_ref),
            ["final_reverted - -"],
            "a person resolves it"
        );
    }
}

#[tokio::test]
async fn a_mismatched_payment_of_a_refunded_deposit_is_owed() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 100).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    assert_eq!(
        rig.exceptions("T1"),
        ["amount_mismatch R1 100", "owed_to_payer R1 100"]
    );
}

/// The executor signed a deposit.
fn attempted(rig: &Rig, id: domain::ids::IntentId) {
    let id = id.to_string().replace("0x", "\\x");
    rig.database
        .sql(&format!(
            "insert into signers (address, next_nonce) values (decode(repeat('11', 20), 'hex'), 1); \
             insert into work_items (message_id, intent_id, command, state, envelope) \
             values (gen_random_uuid(), '{id}', 'submit', 'in_attempt', ''); \
             insert into attempts (signer, nonce, tx_hash, raw_transaction, command, state, fencing_token) \
             select address, 0, decode(repeat('22', 32), 'hex'), '', 'submit', 'signed', 1 from signers; \
             insert into attempt_items (attempt_id, position, message_id, intent_id) \
             select a.id, 0, w.message_id, w.intent_id from attempts a, work_items w"
        ))
        .unwrap();
}

#[tokio::test]
async fn declined_then_paid_before_the_deposit_is_mined_is_minted() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    attempted(&rig, intent.intent_id());
    rig.declined("T1").await;
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "the deposit is waited for");
    rig.paid("T1", "R1", 150).await;
    assert_eq!(rig.decision("T1"), "queued|confirmed|");
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert!(rig.exceptions("T1").is_empty());
}

#[tokio::test]
async fn declined_while_the_deposit_is_on_its_way_is_refunded_once_it_is_there() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    attempted(&rig, intent.intent_id());
    rig.declined("T1").await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
    rig.paid("T1", "R1", 150).await;
    assert_eq!(rig.exceptions("T1"), ["owed_to_payer R1 150"]);
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
}

#[tokio::test]
async fn an_early_decline_refunds_once_the_deposit_is_there_without_a_second_command() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.declined("T1").await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
}
