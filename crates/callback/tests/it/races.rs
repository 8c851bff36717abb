//! Facts that meet.

use std::sync::Arc;

use callback::{outcome, report};
use domain::clock::{IdSource, SystemSource};
use futures_util::future::join_all;
use messaging::Disposition;
use messaging::wire::Outcome;
use storage::callback::decisions;
use tokio::sync::Barrier;

use crate::rig::{Rig, delivery, execute, handled, mint_outcome, paid_body, result};

/// A transaction that loses against another is run again, as the service does.
async fn until_settled<F: Future<Output = Disposition>>(run: impl Fn() -> F) -> Disposition {
    for _ in 0..3 {
        let disposition = run().await;
        if !matches!(&disposition, Disposition::Retry(failure) if failure.class == "contention") {
            return disposition;
        }
    }
    run().await
}

async fn meet(rig: Arc<Rig>, n: usize) {
    let (tx_ref, receipt) = (format!("T{n}"), format!("R{n}"));
    let intent = rig.accepted(&tx_ref, 150).await;
    let signed = rig.sign(&paid_body(&tx_ref, &receipt, 150));
    rig.stored(&signed, false).await;
    let paid = Arc::new(delivery(SystemSource.message_id(), result(&signed, false, None)));
    let mined = Arc::new(delivery(
        SystemSource.message_id(),
        mint_outcome(&intent, Outcome::Escrowed, false, Some(1)),
    ));
    let barrier = Arc::new(Barrier::new(2));
    let (state, gate) = (rig.state.clone(), barrier.clone());
    let one = tokio::spawn(async move {
        gate.wait().await;
        until_settled(|| async { handled(report::handle(state.clone(), paid.clone()).await) }).await
    });
    let (state, gate) = (rig.state.clone(), barrier);
    let two = tokio::spawn(async move {
        gate.wait().await;
        until_settled(|| async { handled(outcome::handle(state.clone(), mined.clone()).await) }).await
    });
    assert_eq!(
        (one.await.unwrap(), two.await.unwrap()),
        (Disposition::Done, Disposition::Done)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_payment_and_a_deposit_that_commit_at_once_are_decided_exactly_once_a_thousand_times() {
    let rig = Arc::new(Rig::start().await);
    for round in 0..250 {
        join_all((0..4).map(|lane| meet(rig.clone(), round * 4 + lane))).await;
    }
    let mut refs: Vec<String> = rig
        .commands()
        .await
        .into_iter()
        .map(|command| format!("{command:?}"))
        .collect();
    assert_eq!(refs.len(), 1000);
    refs.sort();
    refs.dedup();
    assert_eq!(refs.len(), 1000, "each exactly once");
    assert!(refs.iter().all(|command| command.starts_with("Execute")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_equal_reports_at_once_are_one_execute() {
    let rig = Arc::new(Rig::start().await);
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    let first = rig.sign(&paid_body("T1", "R1", 150));
    rig.stored(&first, false).await;
    let barrier = Arc::new(Barrier::new(50));
    let all = (0..50).map(|_| {
        let (state, gate) = (rig.state.clone(), barrier.clone());
        let message = Arc::new(delivery(SystemSource.message_id(), result(&first, false, None)));
        tokio::spawn(async move {
            gate.wait().await;
            until_settled(|| async { handled(report::handle(state.clone(), message.clone()).await) }).await
        })
    });
    for settled in join_all(all).await {
        // A full pool sends a message back; it is not lost.
        assert!(matches!(
            settled.unwrap(),
            Disposition::Done | Disposition::Return
        ));
    }
    rig.report(&first).await;
    assert_eq!(rig.commands().await, [execute("T1")]);
    assert_eq!(rig.database.sql("select count(*) from payments").unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_receipt_under_two_tx_refs_at_once_pays_for_one() {
    let rig = Arc::new(Rig::start().await);
    for n in 0..20 {
        let barrier = Arc::new(Barrier::new(2));
        let mut running = Vec::new();
        for side in ["A", "B"] {
            let tx_ref = format!("{side}{n}");
            let intent = rig.accepted(&tx_ref, 150).await;
            rig.escrowed(&intent).await;
            let signed = rig.sign(&paid_body(&tx_ref, &format!("R{n}"), 150));
            rig.stored(&signed, false).await;
            let message = Arc::new(delivery(SystemSource.message_id(), result(&signed, false, None)));
            let (state, gate) = (rig.state.clone(), barrier.clone());
            running.push(tokio::spawn(async move {
                gate.wait().await;
                until_settled(|| async { handled(report::handle(state.clone(), message.clone()).await) })
                    .await
            }));
        }
        for settled in join_all(running).await {
            assert_eq!(settled.unwrap(), Disposition::Done);
        }
    }
    assert_eq!(rig.commands().await.len(), 20);
    assert_eq!(rig.database.sql("select count(*) from payments").unwrap(), "20");
    let conflicts = "select count(*) from exceptions where kind = 'callback_conflict'";
    assert_eq!(rig.database.sql(conflicts).unwrap(), "20");
}

/// As if the live command were forgotten: whoever handles the intent now commands again.
fn forget_command(rig: &Rig) {
    rig.database
        .sql("update decisions set live_command = null, live_message_id = null, live_since = null")
        .unwrap();
}

#[tokio::test]
async fn a_report_delivered_twice_is_handled_once() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    let signed = rig.sign(&paid_body("T1", "R1", 150));
    rig.stored(&signed, false).await;
    let paid = Arc::new(delivery(SystemSource.message_id(), result(&signed, false, None)));
    for round in 0..2 {
        let settled = handled(report::handle(rig.state.clone(), paid.clone()).await);
        assert_eq!(settled, Disposition::Done);
        assert_eq!(rig.commands().await, [execute("T1")], "round {round}");
        forget_command(&rig);
    }
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await.len(), 2, "a message of its own is looked at");
}

#[tokio::test]
async fn an_outcome_delivered_twice_is_handled_once() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    let mined = Arc::new(delivery(
        SystemSource.message_id(),
        mint_outcome(&intent, Outcome::Escrowed, false, Some(1)),
    ));
    for round in 0..2 {
        let settled = handled(outcome::handle(rig.state.clone(), mined.clone()).await);
        assert_eq!(settled, Disposition::Done);
        assert_eq!(rig.commands().await, [execute("T1")], "round {round}");
        forget_command(&rig);
    }
    rig.escrowed(&intent).await;
    assert_eq!(rig.commands().await.len(), 2, "a message of its own is looked at");
}

#[tokio::test]
async fn a_decision_that_was_saved_since_it_was_read_is_not_overwritten() {
    let rig = Rig::start().await;
    rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    let mut client = rig.state.pool.get().await.unwrap();
    let tx = client.begin().await.unwrap();
    let read = decisions::lock(&tx, &"T1".parse().unwrap()).await.unwrap();
    decisions::save(&tx, &read, &[], "test", None).await.unwrap();
    assert!(decisions::save(&tx, &read, &[], "test", None).await.is_err());
}
