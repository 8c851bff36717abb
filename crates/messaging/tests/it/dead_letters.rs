//! The on-call's hand on the dead queues.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicRejectOptions};
use messaging::dead_letters::{DeadLetter, DeadLetterAction, replay_id};
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
    rig.until_ready(QUEUE.dead_letter_name(), count).await;
    running.stop().await;
    ids
}

fn only(entry: &DeadLetter, id: domain::ids::MessageId, action: DeadLetterAction) -> DeadLetterAction {
    if entry.message_id == Some(id) {
        action
    } else {
        DeadLetterAction::Keep
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn browsing_removes_nothing_however_often() {
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
    rig.until_ready(QUEUE.dead_letter_name(), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_over_many_pages_sees_each_entry_once() {
    let rig = Rig::new().await;
    let ids = park(&rig, 1700).await;
    let mut seen = std::collections::BTreeSet::new();
    let inspect = |entry: &DeadLetter| {
        seen.extend(entry.message_id);
        DeadLetterAction::Keep
    };
    assert_eq!(rig.settle_all(inspect).await.len(), 1700);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ids);
    rig.until_ready(QUEUE.dead_letter_name(), 1700).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_a_new_message_that_names_its_cause_and_works() {
    let rig = Rig::new().await;
    let ids = park(&rig, 2).await;
    let old = ids[1];
    let settled = rig
        .settle_all(|entry| only(entry, old, DeadLetterAction::Replay))
        .await;
    let new = settled
        .iter()
        .find_map(|one| *one.result.as_ref().unwrap())
        .unwrap();
    assert_eq!(new, replay_id(QUEUE, old));
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
    rig.until_ready(QUEUE.dead_letter_name(), 1).await;
    let settled = rig.settle_all(|_| DeadLetterAction::Replay).await;
    assert!(settled.len() == 1 && settled[0].result.is_err(), "{settled:?}");
    rig.until_ready(QUEUE.dead_letter_name(), 1).await;
    assert_eq!(rig.ready(QUEUE.name()).await, 0);
}

/// What a replay that died between publishing and taking the entry away leaves behind, and the next one repairs.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_interrupted_before_its_entry_was_taken_sends_the_same_message_again() {
    let rig = Rig::new().await;
    let id = park(&rig, 1).await.remove(0);
    let entry = rig.parked(1).await.remove(0);
    assert_eq!(rig.settle_all(|_| DeadLetterAction::Replay).await.len(), 1);
    // The entry is back, as if its acknowledgement had never arrived.
    rig.forge(
        topology::DEAD_EXCHANGE,
        &entry.payload,
        BasicProperties::default(),
    )
    .await;
    rig.until_ready(QUEUE.dead_letter_name(), 1).await;
    assert_eq!(rig.settle_all(|_| DeadLetterAction::Replay).await.len(), 1);
    let mut running = Running::start(rig.parts(quick_retry()), one_by_one(), |_| Disposition::Done);
    let sent = [running.next().await.remove(0), running.next().await.remove(0)];
    running.stop().await;
    assert_eq!(sent[0].message_id, sent[1].message_id, "one inbox row for both");
    assert_eq!((sent[0].causation_id, sent[1].causation_id), (Some(id), Some(id)));
}

/// The broker's own client of a quorum queue keeps back settlements once some thirty are under way, and forgets them
/// when the channel closes.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_settles_many_one_by_one_settles_all_of_them() {
    let rig = Rig::new().await;
    let mut left = 1500;
    park(&rig, left).await;
    while left > 500 {
        let mut discarded = 0;
        let mut discard = false;
        let every_other = |_: &DeadLetter| {
            discard = !discard;
            discarded += u32::from(discard);
            if discard {
                DeadLetterAction::Discard
            } else {
                DeadLetterAction::Keep
            }
        };
        rig.settle_pages(1, every_other).await;
        assert_eq!(discarded, 125);
        left -= discarded;
        rig.until_ready(QUEUE.dead_letter_name(), left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_removes_only_its_entry() {
    let rig = Rig::new().await;
    let ids = park(&rig, 3).await;
    rig.settle_all(|entry| only(entry, ids[0], DeadLetterAction::Discard))
        .await;
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
async fn a_reseal_keeps_the_entry_and_frees_the_old_key() {
    let rig = Rig::new().await;
    let id = park(&rig, 1).await.remove(0);
    let mut both = keys(2, "k2");
    let one = domain::signature::HmacSecret::from_bytes(&[1; 32]).unwrap();
    both.insert(QUEUE, "k1".parse().unwrap(), one);
    rig.keys.replace(both);
    assert_eq!(rig.settle_all(|_| DeadLetterAction::Reseal).await.len(), 1);
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
async fn messages_sealed_under_a_key_are_found_parked_and_delayed_and_stay_deliverable() {
    let rig = Rig::new().await;
    park(&rig, 1).await;
    let slow = domain::retry::RetryPolicy {
        base_ms: 3000,
        cap_ms: 3000,
        ..quick_retry()
    };
    let mut running = Running::start(rig.parts(slow), one_by_one(), |delivery| {
        if delivery.attempt == 1 {
            Disposition::retry("busy", "once")
        } else {
            Disposition::Done
        }
    });
    let id = rig.send().await;
    assert_eq!(running.next().await[0].message_id, id);
    rig.until_ready("delay.1.v1", 1).await;
    let found = rig
        .dead()
        .sealed_under(QUEUE, &"k1".parse().unwrap())
        .await
        .unwrap();
    let count = |name: &str| {
        found
            .iter()
            .find(|(queue, _)| queue == name)
            .map(|(_, count)| *count)
    };
    assert_eq!(
        (
            count(QUEUE.dead_letter_name()),
            count("delay.1.v1"),
            count("delay.2.v1")
        ),
        (Some(1), Some(1), Some(0))
    );
    let other = rig
        .dead()
        .sealed_under(QUEUE, &"k2".parse().unwrap())
        .await
        .unwrap();
    assert!(other.iter().all(|(_, count)| *count == 0), "{other:?}");
    let again = running.next().await;
    assert_eq!(
        (again[0].message_id, again[0].attempt),
        (id, 2),
        "looking held it up for good"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_dead_lettered_by_the_broker_are_readable() {
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
