//! The on-call's hand on the dead queues.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicRejectOptions};
use messaging::dead_letters::Act;
use messaging::{Disposition, topology};

use crate::rig::{QUEUE, Rig, Running, keys, one_by_one, quick_retry};

/// Parks `count` messages the way services do.
async fn park(rig: &Rig, count: u32) -> Vec<domain::ids::MessageId> {
    let config = messaging::ConsumerConfig {
        prefetch: 500,
        max_batch: 250,
        ..Default::default()
    };
    let running = Running::start(rig.parts(quick_retry()), config, |_| {
        Disposition::park("bad", "never")
    });
    let ids = rig.send_many(usize::try_from(count).unwrap()).await;
    rig.until_ready(QUEUE.dead_name(), count).await;
    running.stop().await;
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_takes_nothing_away_however_often() {
    let rig = Rig::new().await;
    let ids = park(&rig, 3).await;
    for _ in 0..25 {
        let mut seen: Vec<_> = rig
            .parked(3)
            .await
            .into_iter()
            .filter_map(|e| e.message_id)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, ids);
    }
    assert_eq!(rig.dead().browse(QUEUE, 2).await.unwrap().len(), 2);
    rig.until_ready(QUEUE.dead_name(), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_over_many_pages_sees_each_entry_once() {
    let rig = Rig::new().await;
    let ids = park(&rig, 1700).await;
    let mut seen = std::collections::BTreeSet::new();
    let look = |entry: &messaging::dead_letters::DeadLetter| {
        seen.extend(entry.message_id);
        Act::Keep
    };
    assert_eq!(rig.dead().sweep(QUEUE, u64::MAX, look).await.unwrap().seen, 1700);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ids);
    rig.until_ready(QUEUE.dead_name(), 1700).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_a_new_message_that_names_its_cause_and_works() {
    let rig = Rig::new().await;
    let ids = park(&rig, 2).await;
    let report = rig
        .dead()
        .act_on(QUEUE, &ids[1].to_string(), Act::Replay)
        .await
        .unwrap();
    let [(old, new)] = report.replayed[..] else {
        panic!("{report:?}")
    };
    assert_eq!(old, ids[1]);
    assert_ne!(old, new);
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| Disposition::Done);
    let batch = running.next().await;
    assert_eq!(
        (batch[0].message_id, batch[0].causation_id, batch[0].attempt),
        (new, Some(old), 1)
    );
    running.stop().await;
    let left = rig.parked(1).await;
    assert_eq!(
        left[0].message_id,
        Some(ids[0]),
        "only that entry left the dead queue"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_entry_is_never_replayed() {
    let rig = Rig::new().await;
    let forged = String::from_utf8(rig.seal().bytes)
        .unwrap()
        .replace("acme", "evil");
    rig.forge(
        topology::DEAD_EXCHANGE,
        forged.as_bytes(),
        BasicProperties::default(),
    )
    .await;
    rig.until_ready(QUEUE.dead_name(), 1).await;
    let report = rig.dead().sweep(QUEUE, 10, |_| Act::Replay).await.unwrap();
    assert!(
        report.replayed.is_empty() && report.failed.len() == 1,
        "{report:?}"
    );
    rig.until_ready(QUEUE.dead_name(), 1).await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_removes_only_its_entry() {
    let rig = Rig::new().await;
    let ids = park(&rig, 3).await;
    let report = rig
        .dead()
        .act_on(QUEUE, &ids[0].to_string(), Act::Discard)
        .await
        .unwrap();
    assert_eq!(report.discarded, 1);
    let left: Vec<_> = rig
        .parked(2)
        .await
        .into_iter()
        .filter_map(|e| e.message_id)
        .collect();
    assert!(!left.contains(&ids[0]));
    assert!(
        rig.dead()
            .find(QUEUE, &ids[0].to_string())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        rig.dead()
            .find(QUEUE, &ids[2].to_string())
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reseal_keeps_the_entry_and_lets_the_old_key_go() {
    let rig = Rig::new().await;
    let id = park(&rig, 1).await.remove(0);
    let mut both = keys(2, "k2");
    let one = domain::signature::HmacSecret::from_bytes(&[1; 32]).unwrap();
    both.insert(QUEUE, "k1".parse().unwrap(), one);
    rig.keys.replace(both);
    let report = rig.dead().sweep(QUEUE, 10, |_| Act::Reseal).await.unwrap();
    assert_eq!(report.resealed, 1);
    rig.keys.replace(keys(2, "k2"));
    let entry = rig.parked(1).await.remove(0);
    assert_eq!(
        (entry.message_id, entry.class.as_str(), entry.text.as_str()),
        (Some(id), "bad", "never")
    );
    assert_eq!(
        rig.opener.open(QUEUE, &entry.payload).unwrap().kid().as_str(),
        "k2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_itself_dead_letters_is_readable_too() {
    let rig = Rig::new().await;
    let id = rig.send().await;
    rig.until_ready(QUEUE.name(), 1).await;
    // Past our own limit, to the broker's: a consumer that dies 101 times.
    let (_connection, channel) = rig.raw().await;
    while let Some(got) = channel
        .basic_get(QUEUE.name().into(), BasicGetOptions::default())
        .await
        .unwrap()
    {
        got.reject(BasicRejectOptions { requeue: true }).await.unwrap();
    }
    let entry = rig.parked(1).await.remove(0);
    assert_eq!(
        (entry.message_id, entry.origin, entry.class.as_str()),
        (Some(id), QUEUE, "delivery_limit")
    );
    assert!(entry.failed_at.is_some() && entry.first_seen.is_some() && entry.intent_id.is_some());
    assert!(
        entry.text.contains("dead-lettered by the broker"),
        "{}",
        entry.text
    );
}
