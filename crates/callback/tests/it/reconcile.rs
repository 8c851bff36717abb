//! Every paid shilling is accounted for, and contradictions are named.

use std::time::Duration;

use domain::fate::Fate;
use messaging::wire::Outcome;

use crate::rig::Rig;

#[tokio::test]
async fn every_paid_shilling_is_minted_or_owed_exactly_once() {
    let rig = Rig::start().await;
    // Minted.
    let intent = rig.accepted("T1", 100).await;
    rig.paid("T1", "R1", 100).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Executed, true, 12).await;
    // Paid twice: once in flight, once owed.
    rig.accepted("T2", 20).await;
    rig.paid("T2", "R2", 20).await;
    rig.paid("T2", "R3", 20).await;
    // Held.
    rig.accepted("T4", 7).await;
    rig.paid("T4", "R4", 5).await;
    // Refunded: owed.
    let intent = rig.accepted("T5", 3).await;
    rig.paid("T5", "R5", 3).await;
    rig.escrowed(&intent).await;
    rig.handle_outcome(&intent, Outcome::Refunded, true, 12).await;
    let summary = callback::reconcile::pass(&rig.state.pool, Duration::ZERO)
        .await
        .unwrap();
    let money = summary.money;
    let fates = [Fate::Minted, Fate::InFlight, Fate::Owed, Fate::Held];
    assert_eq!(fates.map(|fate| money.of(fate)), [100, 20, 23, 5]);
    assert_eq!((money.received(), money.of(Fate::Unreconciled)), (148, 0));

    rig.database
        .sql("delete from exceptions where receipt = 'R5'")
        .unwrap();
    let summary = callback::reconcile::pass(&rig.state.pool, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        summary.money.of(Fate::Unreconciled),
        3,
        "money without a fate shows"
    );
}

#[tokio::test]
async fn contradictions_between_the_tables_are_reported_and_kept() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 100).await;
    let id = intent.intent_id().to_string().replace("0x", "\\x");
    let stranger = "\\x".to_owned() + &"ab".repeat(32);
    rig.paid("T9", "R9", 5).await;
    rig.database
        .sql(&format!(
            "insert into chain_legs (intent_id, tx_ref, preimage, leg, final) \
             values ('{id}', 'T1', '', 'executed', true); \
             insert into decisions (tx_ref) values ('T1'); \
             insert into escrow_events (block_number, log_index, block_hash, tx_hash, kind, intent_id, amount) values \
             (1, 1, '', '', 'submitted', '{stranger}', 5), (1, 2, '', '', 'executed', '{id}', 5)"
        ))
        .unwrap();
    rig.age(10);
    let found = callback::reconcile::pass(&rig.state.pool, Duration::from_secs(5))
        .await
        .unwrap();
    let mut kinds: Vec<_> = found.differences.iter().map(|d| d.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "amount_differs",
            "direct_deposit",
            "executed_without_payment",
            "leg_differs",
            "orphan_payment"
        ]
    );
    assert_eq!(
        rig.database
            .sql("select count(*) from reconcile_differences")
            .unwrap(),
        "5"
    );
    callback::reconcile::pass(&rig.state.pool, Duration::from_hours(1))
        .await
        .unwrap();
    assert_eq!(
        rig.database
            .sql("select count(*) from reconcile_differences")
            .unwrap(),
        "2"
    );
}

#[test]
fn the_on_call_page_names_every_kind_of_exception_and_whether_it_holds() {
    let page = include_str!("../../../../docs/EXCEPTIONS.md");
    for kind in domain::exception::ExceptionKind::ALL {
        let holds = if kind.holds() { "yes" } else { "no" };
        let row = format!("| `{}` | {holds} |", kind.name());
        assert!(page.contains(&row), "{row}");
    }
}

#[tokio::test]
async fn no_sum_is_too_large() {
    let rig = Rig::start().await;
    rig.database
        .sql(
            "insert into decisions (tx_ref) values ('T1'), ('T2'); \
             insert into payments (receipt, tx_ref, report_id, amount_shillings, phone, is_first, received_at) \
             select 'R' || tx_ref, tx_ref, gen_random_uuid(), 18446744073709551615, '254708374149', true, now() \
             from decisions",
        )
        .unwrap();
    let client = rig.all.get().await.unwrap();
    for money in [
        storage::fate::totals(&client).await.unwrap(),
        storage::fate::totals_beside_intents(&client).await.unwrap(),
    ] {
        let fates = [Fate::Orphaned, Fate::InFlight, Fate::Owed].map(|fate| money.of(fate));
        assert_eq!((money.received(), fates), (u64::MAX, [u64::MAX, 0, 0]));
    }
}
