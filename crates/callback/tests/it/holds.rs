//! A hold ends by a person, and only that.

use messaging::wire::Outcome;
use messaging::wire::RefundReason::Operator;

use crate::rig::{Rig, execute, refund};

#[tokio::test]
async fn a_resolved_hold_is_decided_again_without_a_new_message() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.database
        .sql("insert into exceptions (kind, tx_ref, detail, is_hold) values ('intent_tampered', 'T1', 'x', true)")
        .unwrap();
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "held");
    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'looked at'")
        .unwrap();
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn a_resolved_mismatch_is_refunded_and_owed() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 100).await;
    rig.escrowed(&intent).await;
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "held");
    assert_eq!(rig.exceptions("T1"), ["amount_mismatch R1 100"]);

    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'give it back'")
        .unwrap();
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [refund("T1", Operator)]);
    assert_eq!(rig.decision("T1"), "escrowed|mismatched|refund");
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    assert_eq!(rig.exceptions("T1"), ["owed_to_payer R1 100"]);
    assert_eq!(rig.decision("T1"), "refunded|mismatched|");
}

#[tokio::test]
async fn a_mismatch_resolved_before_the_deposit_is_there_is_refunded_when_it_is() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 100).await;
    rig.database
        .sql("update exceptions set resolved_at = now(), resolved_by = 'x', resolution = 'give it back'")
        .unwrap();
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await, [refund("T1", Operator)]);
}

#[tokio::test]
async fn a_hold_on_one_tx_ref_does_not_affect_others() {
    let rig = Rig::start().await;
    rig.database
        .sql("insert into exceptions (kind, tx_ref, detail, is_hold) values ('intent_tampered', 'T1', 'x', true)")
        .unwrap();
    for (tx_ref, receipt) in [("T1", "R1"), ("T2", "R2")] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.paid(tx_ref, receipt, 150).await;
        rig.escrowed(&intent).await;
    }
    assert_eq!(rig.commands().await, [execute("T2")]);
}
