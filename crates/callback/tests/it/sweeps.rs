//! What no message brings about: expiry, redrive, orphans.

use callback::sweep;
use messaging::wire::Outcome;
use messaging::wire::RefundReason::{Declined, Expired};

use crate::rig::{Rig, execute, paid_body, refund};

#[tokio::test]
async fn an_intent_nobody_reports_on_expires() {
    let rig = Rig::start().await;
    let escrowed = rig.accepted("T1", 150).await;
    rig.accepted("T2", 150).await;
    rig.escrowed(&escrowed).await;
    rig.age(3500);
    sweep::expire(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "the window is still open");
    rig.age(101);
    sweep::expire(&rig.state).await.unwrap();
    assert_eq!(rig.decision("T1"), "escrowed|expired|refund");
    assert_eq!(rig.decision("T2"), "queued|expired|refund");
    let mut commands = rig.commands().await;
    commands.sort_by_key(|command| format!("{command:?}"));
    assert_eq!(commands, [refund("T1", Expired), refund("T2", Expired)]);
}

#[tokio::test]
async fn nothing_expires_while_any_report_is_stored_processed_or_not() {
    let rig = Rig::start().await;
    for (tx_ref, receipt, late) in [("T1", "R1", false), ("T2", "R2", true)] {
        let intent = rig.accepted(tx_ref, 150).await;
        rig.escrowed(&intent).await;
        let signed = rig.sign(&paid_body(tx_ref, receipt, 150));
        rig.stored(&signed, late).await;
    }
    rig.age(4000);
    sweep::expire(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.decision("T1"), "escrowed|awaiting|");
}

#[tokio::test]
async fn a_lost_execute_is_decided_and_sent_again_under_a_new_id() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    let first = rig.database.sql("select live_message_id from decisions").unwrap();
    sweep::redrive(&rig.state).await.unwrap();
    rig.relayed();
    sweep::redrive(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "too early");
    rig.age(121);
    sweep::redrive(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [execute("T1")]);
    let second = rig.database.sql("select live_message_id from decisions").unwrap();
    assert_ne!(first, second);
    let cause = "select convert_from(envelope, 'UTF8')::json ->> 'causationId' from callback_outbox";
    assert_eq!(rig.database.sql(cause).unwrap(), first);
    rig.age(121);
    sweep::redrive(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await.len(), 1, "the unsent row explains it");
}

#[tokio::test]
async fn a_redrive_decides_from_the_raw_report_again() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.relayed();
    rig.database
        .sql("update mpesa_reports set body = body || ' '::bytea")
        .unwrap();
    rig.age(121);
    sweep::redrive(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.exceptions("T1"), ["report_tampered R1 -"]);
}

#[tokio::test]
async fn a_command_that_is_being_worked_on_is_not_sent_again() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.escrowed(&intent).await;
    rig.relayed();
    let id = intent.intent_id().to_string().replace("0x", "\\x");
    let live = rig.database.sql("select live_message_id from decisions").unwrap();
    for state in ["ready", "in_attempt", "parked"] {
        rig.database
            .sql(&format!(
                "delete from work_items; insert into work_items (message_id, intent_id, command, state, envelope) \
                 values ('{live}', '{id}', 'execute', '{state}', '')"
            ))
            .unwrap();
        rig.age(121);
        sweep::redrive(&rig.state).await.unwrap();
        assert!(rig.commands().await.is_empty(), "{state}");
    }
}

#[tokio::test]
async fn a_lost_refund_is_sent_again() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.declined("T1").await;
    rig.relayed();
    rig.age(121);
    sweep::redrive(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [refund("T1", Declined)]);
    rig.handle_outcome(&intent, Outcome::Refunded, true, 14).await;
    rig.relayed();
    rig.age(10_000);
    sweep::redrive(&rig.state).await.unwrap();
    assert!(rig.commands().await.is_empty(), "settled");
}

#[tokio::test]
async fn an_old_orphan_becomes_an_exception() {
    let rig = Rig::start().await;
    rig.paid("T1", "R1", 150).await;
    sweep::orphans(&rig.state).await.unwrap();
    assert!(rig.exceptions("T1").is_empty());
    rig.age(86_401);
    sweep::orphans(&rig.state).await.unwrap();
    assert_eq!(rig.exceptions("T1"), ["orphan_payment R1 150"]);
}

#[tokio::test]
async fn one_corrupt_row_does_not_stop_a_sweep() {
    let rig = Rig::start().await;
    rig.accepted("T1", 150).await;
    rig.accepted("T2", 150).await;
    rig.database
        .sql("insert into decisions (tx_ref, chain_leg) values ('T1', 'nonsense')")
        .unwrap();
    rig.age(3601);
    sweep::expire(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [refund("T2", Expired)]);
}

#[tokio::test]
async fn a_parked_command_is_held_until_a_person_resolves_it() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    let id = intent.intent_id().to_string().replace("0x", "\\x");
    let legs = "insert into chain_legs (intent_id, tx_ref, preimage, leg) values";
    let items = "insert into work_items (message_id, intent_id, command, state, envelope, reason) values";
    rig.database
        .sql(&format!(
            "{legs} ('{id}', 'T1', '', 'escrowed'); \
             {items} (gen_random_uuid(), '{id}', 'execute', 'parked', '', 'id_mismatch')"
        ))
        .unwrap();
    sweep::parked(&rig.state).await.unwrap();
    sweep::parked(&rig.state).await.unwrap();
    assert_eq!(rig.exceptions("T1"), ["command_parked - -"]);
    let detail = rig.database.sql("select detail from exceptions").unwrap();
    assert_eq!(detail, "execute is a dead letter: id_mismatch");
    rig.declined("T1").await;
    assert!(rig.commands().await.is_empty(), "held");

    let resolve = |ago: u32| {
        let sql = format!(
            "update exceptions set resolved_by = 'on-call', resolution = 'replayed', \
             resolved_at = clock_timestamp() - interval '{ago} seconds'"
        );
        rig.database.sql(&sql).unwrap();
    };
    resolve(1);
    sweep::parked(&rig.state).await.unwrap();
    assert!(rig.exceptions("T1").is_empty(), "believed for a while");
    resolve(1201);
    sweep::parked(&rig.state).await.unwrap();
    assert_eq!(rig.exceptions("T1"), ["command_parked - -"], "nothing came of it");
    resolve(1201);
    rig.database
        .sql("update chain_legs set leg = 'refunded'")
        .unwrap();
    sweep::parked(&rig.state).await.unwrap();
    assert!(rig.exceptions("T1").is_empty(), "settled");
}
