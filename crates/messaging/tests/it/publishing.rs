//! What counts as published, and what does not.

use std::time::{Duration, Instant};

use messaging::{Outgoing, PublishError, Publisher, Service, WorkQueue};
use serde_json::json;
use testkit::{ChaosProxy, eventually};

use crate::rig::{QUEUE, Rig, SOON, broker};

#[tokio::test(flavor = "multi_thread")]
async fn an_unroutable_message_is_an_error_and_fails_no_other() {
    let rig = Rig::new().await;
    // The executor's exchange routes only outcomes; every third message is one.
    let executor = Publisher::new(&broker(&rig.vhost.url(), Service::MintExecutor));
    let queue_of = |n: usize| {
        if n.is_multiple_of(3) {
            WorkQueue::MintOutcome
        } else {
            WorkQueue::MintSubmit
        }
    };
    let messages = (0..600)
        .map(|n| Outgoing::work(queue_of(n), rig.seal().message_id, b"{}".to_vec()))
        .collect();
    let results = executor.publish_many(messages).await;
    for (n, result) in results.iter().enumerate() {
        match queue_of(n) {
            WorkQueue::MintOutcome => assert_eq!(*result, Ok(()), "{n}"),
            _ => assert!(
                matches!(result, Err(PublishError::Unroutable { .. })),
                "{n}: {result:?}"
            ),
        }
    }
    rig.until_ready(WorkQueue::MintOutcome.name(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_windows_keep_their_returns_apart() {
    let rig = Rig::new().await;
    let executor = Publisher::new(&broker(&rig.vhost.url(), Service::MintExecutor));
    let burst = |queue: WorkQueue| {
        let messages = (0..300)
            .map(|_| Outgoing::work(queue, rig.seal().message_id, b"{}".to_vec()))
            .collect();
        let executor = executor.clone();
        async move { executor.publish_many(messages).await }
    };
    let (good, bad, more) = tokio::join!(
        burst(WorkQueue::MintOutcome),
        burst(WorkQueue::MintRefund),
        burst(WorkQueue::MintOutcome)
    );
    assert!(good.iter().chain(&more).all(Result::is_ok));
    assert!(
        bad.iter()
            .all(|r| matches!(r, Err(PublishError::Unroutable { .. })))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_nothing_is_dropped() {
    let rig = Rig::new().await;
    let policy = json!({
        "pattern": "^mint\\.submit", "definition": {"max-length": 5}, "apply-to": "queues", "priority": 1,
    });
    rig.vhost
        .management()
        .put(&format!("policies/{}/small", rig.vhost.name()), &policy)
        .await
        .unwrap();
    let (mut stored, mut refused) = (0_u32, 0);
    // A quorum queue tells its publishers a little late that it is full.
    while refused < 4 {
        assert!(stored < 1000, "the queue never refused");
        match rig.publisher.publish(rig.seal().into()).await {
            Ok(()) => stored += 1,
            Err(PublishError::Refused) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    rig.until_ready(QUEUE.name(), stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_not_sent() {
    let rig = Rig::new().await;
    let big = Outgoing::work(QUEUE, rig.seal().message_id, vec![b'x'; 65 * 1024]);
    let results = rig.publisher.publish_many(vec![big, rig.seal().into()]).await;
    assert_eq!(results, [Err(PublishError::TooLarge(65 * 1024)), Ok(())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_persistent() {
    let rig = Rig::new().await;
    let id = rig.send().await;
    rig.until_ready(QUEUE.name(), 1).await;
    let got = rig.get(QUEUE.name()).await.unwrap();
    assert_eq!(*got.properties.delivery_mode(), Some(2));
    assert_eq!(
        got.properties.message_id().as_ref().unwrap().as_str(),
        id.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publisher_survives_a_cut_and_nothing_confirmed_is_missing() {
    let rig = Rig::new().await;
    let proxy = ChaosProxy::before(&rig.vhost.url()).await.unwrap();
    let publisher = Publisher::new(&broker(&proxy.through(&rig.vhost.url()).unwrap(), Service::Ops));
    publisher.publish(rig.seal().into()).await.unwrap();

    let burst = |count: usize| (0..count).map(|_| Outgoing::from(rig.seal())).collect::<Vec<_>>();
    let many = burst(4000);
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_many(many).await }
    });
    eventually(SOON, "the burst is under way", async || {
        Ok((rig.ready(QUEUE.name()).await > 100).then_some(()))
    })
    .await
    .unwrap();
    proxy.cut();
    let results = publishing.await.unwrap();
    let confirmed = u32::try_from(results.iter().filter(|r| r.is_ok()).count()).unwrap();
    let known = |r: &Result<(), PublishError>| {
        matches!(
            r,
            Ok(()) | Err(PublishError::Unknown(_) | PublishError::NotSent(_))
        )
    };
    assert!(results.iter().all(known), "{results:?}");
    assert!(
        results.iter().any(Result::is_err),
        "the cut came too late to matter"
    );
    assert!(matches!(
        publisher.publish(rig.seal().into()).await,
        Err(PublishError::NotSent(_))
    ));

    proxy.resume();
    eventually(SOON, "the publisher is back", async || {
        Ok(publisher.publish(rig.seal().into()).await.ok())
    })
    .await
    .unwrap();
    // What was not confirmed may be there too, never the other way round.
    eventually(SOON, "all that was confirmed is there", async || {
        Ok((rig.ready(QUEUE.name()).await >= confirmed + 2).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_confirm_within_ten_seconds_is_unknown() {
    let rig = Rig::new().await;
    let proxy = ChaosProxy::before(&rig.vhost.url()).await.unwrap();
    let publisher = Publisher::new(&broker(&proxy.through(&rig.vhost.url()).unwrap(), Service::Ops));
    publisher.publish(rig.seal().into()).await.unwrap();
    proxy.stall();
    let started = Instant::now();
    let result = publisher.publish(rig.seal().into()).await;
    assert!(matches!(result, Err(PublishError::Unknown(_))), "{result:?}");
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "{:?}",
        started.elapsed()
    );
}
