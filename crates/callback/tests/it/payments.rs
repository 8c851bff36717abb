//! docs/STATES.md, the payment's side.

use messaging::Disposition::Done;
use messaging::wire::RefundReason::{Declined, Expired};

use crate::rig::{Rig, execute, paid_body, refund};

#[tokio::test]
async fn a_confirmed_payment_of_an_escrowed_intent_is_executed_once() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.decision("T1"), "escrowed|awaiting|");
    assert_eq!(rig.paid("T1", "R1", 150).await, Done);
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert_eq!(rig.decision("T1"), "escrowed|confirmed|execute");
    assert!(rig.exceptions("T1").is_empty());
}

#[tokio::test]
async fn a_payment_that_comes_before_the_deposit_waits_for_it() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.decision("T1"), "queued|confirmed|");
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn a_declined_payment_is_refunded() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.declined("T1").await;
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
    assert_eq!(rig.decision("T1"), "escrowed|declined|refund");
}

#[tokio::test]
async fn a_payment_declined_before_anything_was_sent_drops_the_intent() {
    let rig = Rig::start().await;
    rig.accepted("T1", 150).await;
    rig.declined("T1").await;
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
    assert_eq!(rig.decision("T1"), "queued|declined|refund");
}

#[tokio::test]
async fn paid_after_declined_confirms_unless_a_refund_was_commanded() {
    let rig = Rig::start().await;
    // An orphan's decline commands nothing, so the payment that follows counts.
    rig.declined("T1").await;
    rig.paid("T1", "R1", 150).await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.decision("T1"), "escrowed|confirmed|execute");
    assert_eq!(rig.commands().await, [execute("T1")]);

    let intent = rig.accepted("T2", 150).await;
    rig.escrowed(&intent).await;
    rig.declined("T2").await;
    rig.paid("T2", "R2", 150).await;
    assert_eq!(rig.decision("T2"), "escrowed|declined|refund");
    assert_eq!(rig.exceptions("T2"), ["owed_to_payer R2 150"]);
}

#[tokio::test]
async fn a_decline_after_the_payment_changes_nothing() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.declined("T1").await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn another_amount_holds_until_a_person_acts() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 149).await;
    rig.escrowed(&intent).await;
    assert_eq!(rig.decision("T1"), "escrowed|mismatched|");
    assert_eq!(rig.exceptions("T1"), ["amount_mismatch R1 149"]);
    assert!(rig.commands().await.is_empty());
}

#[tokio::test]
async fn the_same_content_again_changes_nothing() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T1", "R1", 150).await;
    // Another report with equal content, and the same report in another message.
    let again = rig.sign(&paid_body("T1", "R1", 150).replace("254708374149", "254700000000"));
    assert_eq!(rig.report(&again).await, Done);
    assert_eq!(rig.outcome_of(&again), "duplicate");
    assert_eq!(rig.report(&again).await, Done);
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert!(rig.exceptions("T1").is_empty());
}

#[tokio::test]
async fn a_further_payment_under_another_receipt_is_owed_to_the_payer() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T1", "R1", 150).await;
    rig.paid("T1", "R2", 150).await;
    assert_eq!(
        rig.exceptions("T1"),
        ["duplicate_payment R2 -", "owed_to_payer R2 150"]
    );
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert_eq!(rig.decision("T1"), "escrowed|confirmed|execute");
}

#[tokio::test]
async fn the_same_receipt_with_another_amount_is_evidence_without_effect() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T1", "R1", 150).await;
    rig.paid("T1", "R1", 999).await;
    assert_eq!(rig.exceptions("T1"), ["callback_conflict R1 -"]);
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert_eq!(
        rig.database
            .sql("select count(*), sum(amount_shillings) from payments")
            .unwrap(),
        "1|150"
    );
}

#[tokio::test]
async fn the_same_receipt_under_another_tx_ref_is_evidence_without_effect() {
    let rig = Rig::start().await;
    for tx_ref in ["T1", "T2"] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.escrowed(&intent).await;
        rig.paid(tx_ref, "R1", 150).await;
    }
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert_eq!(rig.decision("T2"), "escrowed|awaiting|");
    assert_eq!(rig.exceptions("T2"), ["callback_conflict R1 -"]);
    assert!(rig.exceptions("T1").is_empty());
}

#[tokio::test]
async fn an_orphan_is_matched_when_its_intent_is_escrowed() {
    let rig = Rig::start().await;
    rig.paid("T1", "R1", 150).await;
    assert_eq!(rig.decision("T1"), "queued|awaiting|");
    let intent = rig.accepted("T1", 150).await;
    assert!(rig.commands().await.is_empty());
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn an_orphan_that_waited_too_long_is_never_matched() {
    let rig = Rig::start().await;
    rig.paid("T1", "R1", 150).await;
    let intent = rig.accepted("T1", 150).await;
    rig.age(86_401);
    rig.escrowed(&intent).await;
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.exceptions("T1"), ["orphan_payment R1 150"]);
}

#[tokio::test]
async fn a_payment_after_the_window_is_owed() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.age(3601);
    callback::sweep::expire(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [refund("T1", Expired)]);
    rig.paid("T1", "R1", 150).await;
    assert_eq!(rig.exceptions("T1"), ["owed_to_payer R1 150"]);
    assert_eq!(rig.commands().await, [refund("T1", Expired)]);
}

#[tokio::test]
async fn a_late_report_counts_once_an_operator_accepted_it() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    let signed = rig.sign(&paid_body("T1", "R1", 150));
    rig.stored(&signed, true).await;
    assert_eq!(rig.report_as(&signed, true, None).await, Done);
    assert_eq!(rig.exceptions("T1"), ["late_report R1 150"]);
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.report_as(&signed, true, Some("amina")).await, Done);
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert!(rig.exceptions("T1").is_empty());
    assert_eq!(rig.outcome_of(&signed), "confirmed");
}

#[tokio::test]
async fn every_step_leaves_a_history_row_with_its_cause_and_message() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T1", "R1", 150).await;
    let sql =
        "select event || ', ' || cause || ', ' || (message_id is not null) from decision_history order by id";
    assert_eq!(
        rig.database.sql(sql).unwrap(),
        "chain queued -> escrowed, mint.outcome.v1, true\n\
         payment awaiting -> confirmed, mpesa.result.v1, true\n\
         command execute, mpesa.result.v1, true"
    );
}

#[tokio::test]
async fn a_declined_report_naming_a_paid_receipt_is_a_conflict() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    for tx_ref in ["T1", "T2"] {
        let body = paid_body(tx_ref, "R1", 150).replace("\"resultCode\":0", "\"resultCode\":1032");
        let signed = rig.sign(&body);
        rig.stored(&signed, false).await;
        assert_eq!(rig.report(&signed).await, Done);
        assert_eq!(rig.outcome_of(&signed), "conflict");
        assert_eq!(rig.exceptions(tx_ref), ["callback_conflict R1 -"]);
    }
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [execute("T1")], "no effect");
}
