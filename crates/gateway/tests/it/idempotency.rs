//! Each row of the table of docs/IDEMPOTENCY.md.

use serde_json::json;

use crate::rig::{Rig, SOON};
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn key_missing_malformed_or_sent_twice() {
    let rig = Rig::new().await;
    let mut missing = rig.intent("TX1");
    missing.key = None;
    let reply = rig.send(&missing).await;
    assert_eq!(reply.summary(), "400 idempotency-key-missing");
    assert!(
        reply.is_signed_for(&missing),
        "whoever signs rightly gets a signed answer"
    );

    for bad in ["short", "with space in it, long", "ümlautümlautümlaut"] {
        let reply = rig.send(&rig.intent("TX1").with_key(bad)).await;
        assert_eq!(reply.summary(), "400 idempotency-key-invalid", "{bad}");
    }
    let mut twice = rig.intent("TX1");
    twice
        .headers
        .push(("X-Idempotency-Key".into(), twice.key.clone().unwrap()));
    assert_eq!(rig.send(&twice).await.summary(), "400 idempotency-key-invalid");
    assert_eq!(rig.count("idempotency_keys"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_or_stale_signature_stores_nothing() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let other = rig.intent("TX2").signature();
    assert_eq!(
        rig.send_signed(&message, &other).await.summary(),
        "401 signature-invalid"
    );
    let mut stale = message.clone();
    stale.timestamp -= 301;
    let reply = rig.send(&stale).await;
    assert_eq!(reply.summary(), "401 timestamp-stale");
    let ours = reply.json()["serverTime"].as_i64().unwrap();
    assert!((ours - message.timestamp).abs() < 60);
    assert_eq!((rig.count("idempotency_keys"), rig.count("mint_intents")), (0, 0));
    assert_eq!(rig.send(&message).await.status, 201, "the key stayed free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_leaves_the_key_free() {
    let rig = Rig::new().await;
    let good = rig.intent("TX1");
    let reply = rig.send(&good.clone().field("amount", json!(150))).await;
    assert_eq!(reply.summary(), "400 validation-failed");
    assert_eq!(reply.json()["errors"][0]["pointer"], "/amount");
    assert_eq!(rig.count("idempotency_keys"), 0);
    assert_eq!(rig.send(&good).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_commits_key_intent_message_and_answer_together() {
    let rig = Rig::new().await;
    rig.sql("create function boom() returns trigger language plpgsql as 'begin raise exception ''no''; end'");
    rig.sql("create trigger boom before insert on gateway_outbox for each row execute function boom()");
    let message = rig.intent("TX1");
    assert_eq!(rig.send(&message).await.summary(), "500 internal");
    assert_eq!((rig.count("idempotency_keys"), rig.count("mint_intents")), (0, 0));
    rig.sql("drop trigger boom on gateway_outbox");
    assert_eq!(rig.send(&message).await.status, 201);
    assert_eq!((rig.count("idempotency_keys"), rig.count("mint_intents")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_same_bytes() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let first = rig.send(&message).await;
    assert_eq!((first.status, first.header("Idempotent-Replayed")), (201, None));
    let mut later = message.clone();
    later.timestamp += 1;
    let again = rig.send(&later).await;
    assert_eq!(
        (again.status, again.header("Idempotent-Replayed")),
        (201, Some("true"))
    );
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("Location"), first.header("Location"));
    assert!(again.is_signed_for(&message));
    assert_eq!((rig.count("mint_intents"), rig.count("idempotency_keys")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    assert_eq!(rig.send(&message).await.status, 201);
    let other_body = rig.send(&message.clone().field("txRef", json!("TX2"))).await;
    assert_eq!(other_body.summary(), "422 idempotency-key-reused");
    let mut other_path = message.clone();
    other_path.path = "/api/v1/mint-intents".into();
    assert_eq!(
        rig.send(&other_path).await.summary(),
        "422 idempotency-key-reused"
    );
    let mut other_query = message;
    other_query.query = "a=b".into();
    assert_eq!(
        rig.send(&other_query).await.summary(),
        "422 idempotency-key-reused"
    );
    assert_eq!(rig.count("mint_intents"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_tx_ref_under_a_new_key_is_refused_and_not_stored() {
    let rig = Rig::new().await;
    let first = rig.send(&rig.intent("TX1")).await;
    let again = rig.intent("TX1").field("amount", json!("1000000000000000000"));
    let reply = rig.send(&again).await;
    assert_eq!(reply.summary(), "409 tx-ref-exists");
    assert_eq!(reply.header("Location"), first.header("Location"));
    assert_eq!(rig.count("idempotency_keys"), 1);
    assert_eq!(
        rig.sql("select total from user_daily_totals"),
        "150000000000000000000",
        "nothing was charged for it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_comes_before_existence() {
    let rig = Rig::new().await;
    assert_eq!(rig.send(&rig.intent("TX1")).await.status, 201);
    let foreign = rig.intent("TX1").by_other(&rig);
    let (known, unknown) = (
        rig.send(&foreign).await,
        rig.send(&rig.intent("TX9").by_other(&rig)).await,
    );
    assert_eq!(known.summary(), "422 tx-ref-not-yours");
    assert_eq!(unknown.summary(), "422 tx-ref-not-yours");
    assert_eq!(known.header("Location"), None);
    let again = rig.send(&foreign).await;
    assert_eq!(
        (again.body, again.status),
        (known.body, 422),
        "stored like a success"
    );
    assert_eq!(rig.send(&rig.intent("ACME1").by_other(&rig)).await.status, 201);
    assert_eq!(
        rig.send(&rig.intent("ACME2")).await.summary(),
        "422 tx-ref-not-yours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_free_again() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let first = rig.send(&message).await;
    rig.sql("update idempotency_keys set created_at = now() - interval '25 hours'");
    let reply = rig.send(&message).await;
    assert_eq!(reply.summary(), "409 tx-ref-exists");
    assert_eq!(reply.header("Location"), first.header("Location"));
    let other = rig.send(&message.clone().field("txRef", json!("TX2"))).await;
    assert_eq!(other.status, 201);
    assert_eq!(rig.count("mint_intents"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_integrator_has_its_own_keys() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let key = message.key.clone().unwrap();
    assert_eq!(rig.send(&message).await.status, 201);
    let other = rig.intent("ACME1").by_other(&rig).with_key(&key);
    assert_eq!(rig.send(&other).await.status, 201);
    assert_eq!(rig.count("idempotency_keys"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_requests_make_one_intent_and_fifty_answers() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let replies = futures_util::future::join_all((0..50).map(|_| rig.send(&message))).await;
    let first = &replies[0].body;
    for reply in &replies {
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(&reply.body, first);
        assert!(reply.is_signed_for(&message));
    }
    let fresh = replies
        .iter()
        .filter(|r| r.header("Idempotent-Replayed").is_none())
        .count();
    assert_eq!(fresh, 1);
    assert_eq!((rig.count("mint_intents"), rig.count("idempotency_keys")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_that_holds_the_key_makes_it_409() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let key = message.key.clone().unwrap();
    let pool = rig.pool();
    let mut client = pool.get().await.unwrap();
    let tx = client.begin().await.unwrap();
    let held = format!(
        "insert into idempotency_keys (integrator, idempotency_key, fingerprint, status, body, mac_key_id, mac) \
         values ('dev', '{key}', sha256(''), 201, '', 'k', sha256(''))"
    );
    tx.execute(&held, &[]).await.unwrap();
    let reply = rig.send(&message).await;
    assert_eq!(reply.summary(), "409 request-in-progress");
    assert_eq!(reply.header("Retry-After"), Some("1"));
    tx.rollback().await.unwrap();
    assert_eq!(rig.send(&message).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_here_is_waited_for() {
    let rig = Rig::new().await;
    // The first one takes 300 ms to commit, so the second certainly comes meanwhile.
    rig.sql("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return new; end'");
    rig.sql("create trigger slow before insert on mint_intents for each row execute function slow()");
    let message = rig.intent("TX1");
    let other = message.clone().field("txRef", json!("TX2"));
    let (a, b, c) = tokio::join!(rig.send(&message), rig.send(&message), async {
        eventually(SOON, "the first is in flight", async || {
            let waiting = rig.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'");
            Ok((waiting != "0").then_some(()))
        })
        .await
        .unwrap();
        rig.send(&other).await
    });
    assert_eq!((a.status, b.status), (201, 201));
    assert_eq!(a.body, b.body);
    assert_eq!(c.summary(), "422 idempotency-key-reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_longer_than_a_second_makes_its_duplicate_409() {
    let rig = Rig::new().await;
    rig.sql("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1.6); return new; end'");
    rig.sql("create trigger slow before insert on mint_intents for each row execute function slow()");
    let message = rig.intent("TX1");
    let (a, b) = tokio::join!(rig.send(&message), rig.send(&message));
    let mut replies = [a.summary(), b.summary()];
    replies.sort();
    assert_eq!(replies, ["201 ", "409 request-in-progress"]);
}
