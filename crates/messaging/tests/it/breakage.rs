//! Crashes, cuts and poison.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use messaging::{ConsumerConfig, Disposition, Service};
use testkit::{ChaosProxy, eventually};

use crate::rig::{QUEUE, Rig, Running, SOON, broker, one_by_one, quick_retry};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_dead_consumer_are_delivered_again() {
    let rig = Rig::new().await;
    let id = rig.send().await;
    let proxy = ChaosProxy::before(&rig.vhost.url()).await.unwrap();
    let through = broker(&proxy.through(&rig.vhost.url()).unwrap(), Service::MintExecutor);
    // Its connection is cut after the handler began and before the ack can leave.
    let proxy = Arc::new(proxy);
    let cutting = proxy.clone();
    let mut first = Running::start(rig.parts_of(through, quick_retry()), one_by_one(), move |_| {
        cutting.cut();
        Disposition::Done
    });
    assert_eq!(first.next().await[0].message_id, id);
    let mut second = Running::start(rig.parts(quick_retry()), one_by_one(), |_| Disposition::Done);
    let batch = second.next().await;
    assert_eq!(
        (batch[0].message_id, batch[0].attempt, batch[0].redelivered),
        (id, 1, true)
    );
    second.stop().await;
    first.stop().await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_reconnects_after_a_cut() {
    let rig = Rig::new().await;
    let proxy = ChaosProxy::before(&rig.vhost.url()).await.unwrap();
    let through = broker(&proxy.through(&rig.vhost.url()).unwrap(), Service::MintExecutor);
    let mut running = Running::start(rig.parts_of(through, quick_retry()), one_by_one(), |_| {
        Disposition::Done
    });
    let before = rig.send().await;
    assert_eq!(running.next().await[0].message_id, before);
    rig.until_ready(QUEUE.name(), 0).await;
    proxy.cut();
    let during = rig.send().await;
    proxy.resume();
    loop {
        // The first one may come again where its ack was lost.
        if running.next().await[0].message_id == during {
            break;
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_is_parked_and_its_neighbours_are_handled() {
    let rig = Rig::new().await;
    let ids = rig.send_many(8).await;
    let poison = ids[3];
    let config = ConsumerConfig {
        prefetch: 8,
        max_batch: 4,
        linger: Duration::from_millis(20),
    };
    let mut running = Running::start(rig.parts(quick_retry()), config, move |delivery| {
        assert!(delivery.message_id != poison, "the handler falls over");
        Disposition::Done
    });
    let (mut alone, mut last) = (0, Vec::new());
    // The poison comes three times among others, then alone until it is parked.
    while alone < 17 {
        last = running.next().await;
        let hit = last.iter().any(|d| d.message_id == poison);
        alone = if hit && last.len() == 1 {
            alone + 1
        } else if hit {
            0
        } else {
            alone
        };
    }
    rig.until_ready(QUEUE.dead_letter_name(), 1).await;
    assert!(
        running.batches.try_recv().is_err(),
        "parked at its twentieth return: {last:?}"
    );
    let entry = rig.parked(1).await.remove(0);
    assert_eq!(
        (entry.message_id, entry.class.as_str(), entry.attempts),
        (Some(poison), "crash_loop", 1)
    );
    rig.until_ready(QUEUE.name(), 0).await;
    running.stop().await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0, "all others were acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_returns_too_few_results_counts_as_a_crash() {
    use messaging::{Consumer, Delivery, wire::MintSubmit};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    let rig = Rig::new().await;
    rig.send().await;
    let once = Arc::new(AtomicBool::new(true));
    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |batch: Vec<Delivery<MintSubmit>>| {
        let first = once.swap(false, Ordering::SeqCst);
        let _ = seen.send(batch[0].redelivered);
        async move {
            if first {
                Vec::new()
            } else {
                batch.iter().map(|_| Disposition::Done).collect()
            }
        }
    };
    let shutdown = CancellationToken::new();
    let (_gate, gate) = watch::channel(true);
    let task = tokio::spawn(Consumer::new(rig.parts(quick_retry()), one_by_one()).run(
        handler,
        gate,
        shutdown.clone(),
    ));
    let calls = async { (calls.recv().await.unwrap(), calls.recv().await.unwrap()) };
    assert_eq!(tokio::time::timeout(SOON, calls).await.unwrap(), (false, true));
    rig.until_ready(QUEUE.name(), 0).await;
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_dead_letter_queue_delays_work_instead_of_losing_it() {
    let rig = Rig::new().await;
    let policy = serde_json::json!({
        "pattern": "^dead\\.mint\\.submit", "definition": {"max-length": 2}, "apply-to": "queues",
    });
    let path = format!("policies/{}/small", rig.vhost.name());
    rig.vhost.management().put(&path, &policy).await.unwrap();
    let running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| {
        Disposition::park("bad", "never")
    });
    rig.send_many(30).await;
    eventually(SOON, "the dead queue fills", async || {
        Ok((rig.ready(QUEUE.dead_letter_name()).await >= 2).then_some(()))
    })
    .await
    .unwrap();
    rig.vhost.management().delete(&path).await.unwrap();
    rig.until_ready(QUEUE.dead_letter_name(), 30).await;
    running.stop().await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0);
}
