//! What becomes of a delivery.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::ids::MessageId;
use domain::retry::RetryPolicy;
use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use messaging::{ConsumerConfig, Disposition, WorkQueue, topology};
use testkit::eventually;

use crate::rig::{QUEUE, Rig, Running, SOON, keys, one_by_one, quick_retry};

const KNOWN_ID: &str = "018f0000-0000-7000-8000-000000000001";

fn spec_retry() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 6,
        base_ms: 751,
        cap_ms: 30_000,
        seed: "fiatrails".into(),
    }
}

/// A queue of our own behind every retry exchange: sees each copy as it is published.
async fn tap(channel: &lapin::Channel) -> lapin::Consumer {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    channel
        .queue_declare("tap".into(), options, FieldTable::default())
        .await
        .unwrap();
    for n in 1..=topology::RETRY_STEPS {
        let exchange = format!("fiatrails.retry.{n}").into();
        let bind = QueueBindOptions::default();
        channel
            .queue_bind("tap".into(), exchange, "".into(), bind, FieldTable::default())
            .await
            .unwrap();
    }
    let options = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    channel
        .basic_consume("tap".into(), "".into(), options, FieldTable::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn done_leaves_the_queue() {
    let rig = Rig::new().await;
    let mut running = Running::start(rig.parts(spec_retry()), one_by_one(), |_| Disposition::Done);
    let id = rig.send().await;
    let batch = running.next().await;
    assert_eq!(
        (batch[0].message_id, batch[0].attempt, batch[0].redelivered),
        (id, 1, false)
    );
    rig.until_ready(QUEUE.name(), 0).await;
    running.stop().await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0, "acknowledged, not returned");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_schedule_goes_over_the_wire() {
    let rig = Rig::new().await;
    let (_connection, channel) = rig.raw().await;
    let mut tap = tap(&channel).await;
    let id: MessageId = KNOWN_ID.parse().unwrap();
    let running = Running::start(rig.parts(spec_retry()), one_by_one(), |_| {
        Disposition::retry("rpc", "down")
    });
    for (attempt, wait) in (1..).zip(["610", "1749", "3521", "5720", "9210"]) {
        rig.send_attempt(id, attempt).await;
        let copy = loop {
            // Copies that ripened meanwhile come round with a higher attempt; look at the one of this step.
            let copy = tap.next().await.unwrap().unwrap();
            if copy.exchange.as_str() == format!("fiatrails.retry.{attempt}") {
                break copy;
            }
        };
        assert_eq!(copy.properties.expiration().as_ref().unwrap().as_str(), wait);
        assert_eq!(copy.routing_key.as_str(), QUEUE.name());
        let body: serde_json::Value = serde_json::from_slice(&copy.data).unwrap();
        assert_eq!(
            (body["attempt"].as_u64(), body["messageId"].as_str()),
            (Some(u64::from(attempt) + 1), Some(KNOWN_ID))
        );
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_failures_park_the_message_with_a_full_report() {
    let rig = Rig::new().await;
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| {
        Disposition::retry("rpc_rejected", "the node\nsaid no").with_tx([0xab; 32])
    });
    let id = rig.send().await;
    for attempt in 1..=6 {
        let batch = running.next().await;
        assert_eq!(
            (batch[0].message_id, batch[0].attempt),
            (id, attempt),
            "a retry keeps its id"
        );
    }
    let entry = rig.parked(1).await.remove(0);
    assert_eq!(
        (entry.id.as_str(), entry.message_id),
        (id.to_string().as_str(), Some(id))
    );
    assert_eq!(
        (entry.origin, entry.class.as_str(), entry.text.as_str()),
        (QUEUE, "rpc_rejected", "the node said no")
    );
    assert_eq!(
        (entry.attempts, entry.service.as_str(), entry.version.as_str()),
        (6, "mint-executor", "9.9.9")
    );
    assert_eq!(entry.last_tx_hash.unwrap(), format!("0x{}", "ab".repeat(32)));
    assert_eq!(
        entry.trace_id.as_deref(),
        Some("0af7651916cd43dd8448eb211c80319c")
    );
    let opened = rig
        .opener
        .open(QUEUE, &entry.payload)
        .expect("the sealed bytes were kept");
    assert_eq!(entry.intent_id, opened.intent_id());
    assert!(entry.intent_id.is_some());
    assert!(entry.first_seen.unwrap() <= entry.failed_at.unwrap());
    assert_eq!(rig.ready(QUEUE.name()).await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_unreadable_message_is_parked_and_never_handled() {
    let rig = Rig::new().await;
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| Disposition::Done);
    let sealed = rig.seal().bytes;
    let forged = String::from_utf8(sealed.clone())
        .unwrap()
        .replace("1000000000000000000", "9000000000000000000");
    // Sealed by us, for another queue.
    let foreign = String::from_utf8(sealed)
        .unwrap()
        .replace("mint.submit.v1", "mint.refund.v1");
    for payload in [
        forged.as_bytes(),
        b"\xff\x00 not json",
        &vec![b'['; 200_000],
        foreign.as_bytes(),
    ] {
        rig.forge(topology::WORK_EXCHANGE, payload, BasicProperties::default())
            .await;
    }

    let parked = rig.parked(4).await;
    let mut classes: Vec<_> = parked.iter().map(|e| e.class.as_str()).collect();
    classes.sort_unstable();
    assert_eq!(
        classes,
        ["malformed", "malformed", "seal_invalid", "seal_invalid"]
    );
    assert!(
        parked
            .iter()
            .any(|e| e.id.starts_with("sha256:") && e.payload == b"\xff\x00 not json")
    );
    let id = rig.send().await;
    assert_eq!(
        running.next().await[0].message_id,
        id,
        "the first the handler sees is the good one"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_death_header_does_not_drop_the_retry() {
    let rig = Rig::new().await;
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |d| {
        if d.attempt < 4 {
            Disposition::retry("rpc", "down")
        } else {
            Disposition::Done
        }
    });
    // As a message would look whose history in the delay cycle had been copied along.
    let mut death = FieldTable::default();
    death.insert("queue".into(), AMQPValue::LongString("delay.1.v1".into()));
    death.insert("reason".into(), AMQPValue::LongString("expired".into()));
    death.insert(
        "exchange".into(),
        AMQPValue::LongString("fiatrails.retry.1".into()),
    );
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    let keys = FieldArray::from(vec![AMQPValue::LongString(QUEUE.name().into())]);
    death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
    let mut headers = FieldTable::default();
    headers.insert(
        "x-death".into(),
        AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])),
    );
    let payload = rig.seal().bytes;
    rig.forge(
        topology::WORK_EXCHANGE,
        &payload,
        BasicProperties::default().with_headers(headers),
    )
    .await;
    for attempt in 1..=4 {
        assert_eq!(running.next().await[0].attempt, attempt);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_fill_to_the_limit_within_a_time_limit() {
    let rig = Rig::new().await;
    rig.send_many(10).await;
    let config = ConsumerConfig {
        prefetch: 20,
        max_batch: 8,
        linger: Duration::from_millis(200),
    };
    let mut running = Running::start(rig.parts(quick_retry()), config, |_| Disposition::Done);
    assert_eq!(running.next().await.len(), 8);
    assert_eq!(running.next().await.len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_returns_unstarted_messages_and_an_open_one_consumes_them() {
    let rig = Rig::new().await;
    let (release, released) = tokio::sync::watch::channel(false);
    rig.send_many(20).await;
    let config = ConsumerConfig {
        prefetch: 20,
        max_batch: 5,
        linger: Duration::from_millis(50),
    };
    // The first batch holds until released, so that the gate closes while fifteen are prefetched.
    let mut running = Running::start(rig.parts(quick_retry()), config, move |_| {
        let mut released = released.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(async { released.wait_for(|r| *r).await.map(drop).unwrap() });
        });
        Disposition::Done
    });
    assert_eq!(running.next().await.len(), 5);
    running.gate.send_replace(false);
    release.send_replace(true);
    rig.until_ready(QUEUE.name(), 15).await;
    assert!(
        running.batches.try_recv().is_err(),
        "nothing is begun behind a closed gate"
    );

    running.gate.send_replace(true);
    let mut seen = 0;
    while seen < 15 {
        let batch = running.next().await;
        assert!(batch.iter().all(|d| d.attempt == 1), "no attempt was burnt");
        seen += batch.len();
    }
    rig.until_ready(QUEUE.name(), 0).await;
    running.stop().await;
    assert_eq!(rig.ready(QUEUE.dead_letter_name()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_stays_down_parks_nothing() {
    let rig = Rig::new().await;
    rig.send().await;
    // Returned more often than a crashing message would be let live.
    let returns = AtomicU32::new(0);
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), move |_| {
        let again = returns.fetch_add(1, Ordering::SeqCst) < 22;
        if again {
            Disposition::Return
        } else {
            Disposition::Done
        }
    });
    for _ in 0..=22 {
        assert_eq!(running.next().await[0].attempt, 1, "no attempt is burnt");
    }
    running.stop().await;
    assert_eq!(
        (
            rig.ready(QUEUE.name()).await,
            rig.ready(QUEUE.dead_letter_name()).await
        ),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_started_messages_and_returns_the_rest() {
    let rig = Rig::new().await;
    rig.send_many(6).await;
    let config = ConsumerConfig {
        prefetch: 6,
        max_batch: 2,
        linger: Duration::from_millis(50),
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let stop = shutdown.clone();
    let mut running = Running::start(rig.parts(quick_retry()), config, move |_| {
        stop.cancel();
        Disposition::Done
    });
    // Two as a rule; one, when the second comes later than the linger.
    let begun = u32::try_from(running.next().await.len()).unwrap();
    shutdown.cancelled().await;
    running.stop().await;
    rig.until_ready(QUEUE.name(), 6 - begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_a_key_not_yet_mounted_waits_for_it() {
    let rig = Rig::new().await;
    let old = rig.keys.current();
    rig.keys.replace(keys(2, "k2"));
    let id = rig.send().await;
    rig.keys.replace(old.as_ref().clone());
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| Disposition::Done);
    rig.until_ready("delay.2.v1", 0).await;
    eventually(SOON, "it waits in a delay queue", async || {
        let mut waiting = 0;
        for n in 1..=topology::RETRY_STEPS {
            waiting += rig.ready(&format!("delay.{n}.v1")).await;
        }
        Ok((waiting == 1).then_some(()))
    })
    .await
    .unwrap();
    assert!(running.batches.try_recv().is_err());
    rig.keys.replace(keys(2, "k2"));
    let batch = running.next().await;
    assert_eq!((batch[0].message_id, batch[0].attempt), (id, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_queue_does_not_see_anothers_retries() {
    let rig = Rig::new().await;
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |d| {
        if d.attempt < 3 {
            Disposition::retry("rpc", "down")
        } else {
            Disposition::Done
        }
    });
    rig.send().await;
    for _ in 0..3 {
        running.next().await;
    }
    running.stop().await;
    for queue in WorkQueue::ALL {
        assert_eq!(rig.ready(queue.name()).await, 0, "{queue}");
    }
}
