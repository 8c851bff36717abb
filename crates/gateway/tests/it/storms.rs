//! Groups: a bad row harms nobody else, and a broken connection claims nothing.

use std::time::Duration;

use serde_json::json;

use crate::rig::{Rig, SOON, paid};
use testkit::{ChaosProxy, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_never_fails_its_neighbours() {
    let rig = Rig::new().await;
    rig.sql(
        "create function boom() returns trigger language plpgsql as \
         'begin if new.tx_ref = ''TX13'' then raise exception ''no''; end if; return new; end'",
    );
    rig.sql("create trigger boom before insert on mint_intents for each row execute function boom()");
    rig.sql("create trigger boom before insert on mpesa_reports for each row execute function boom()");
    let messages: Vec<_> = (0..60).map(|n| rig.intent(&format!("TX{n}"))).collect();
    let replies = futures_util::future::join_all(messages.iter().map(|message| rig.send(message))).await;
    for (n, reply) in replies.iter().enumerate() {
        let expected = if n == 13 { "500 internal" } else { "201 " };
        assert_eq!(reply.summary(), expected, "TX{n}");
    }
    assert_eq!(
        (rig.count("mint_intents"), rig.count("idempotency_keys")),
        (59, 59)
    );
    let callbacks: Vec<_> = (0..60)
        .map(|n| rig.callback(&paid(&format!("TX{n}"), 150, &format!("R{n}"))))
        .collect();
    let replies = futures_util::future::join_all(callbacks.iter().map(|message| rig.send(message))).await;
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, if n == 13 { 503 } else { 200 }, "TX{n}");
    }
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains(r#"fiatrails_intake_splits_total{route="/mint-intents""#),
        "a batch really was split"
    );
    assert!(
        metrics.contains(r#"fiatrails_intake_splits_total{route="/callbacks/mpesa""#),
        "a batch really was split"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_tx_ref_under_many_keys_at_once_is_one_intent() {
    let rig = Rig::new().await;
    let messages: Vec<_> = (0..40).map(|_| rig.intent("TX1")).collect();
    let replies = futures_util::future::join_all(messages.iter().map(|message| rig.send(message))).await;
    let accepted = replies.iter().filter(|reply| reply.status == 201).count();
    let refused = replies
        .iter()
        .filter(|reply| reply.summary() == "409 tx-ref-exists")
        .count();
    assert_eq!((accepted, refused), (1, 39));
    assert_eq!((rig.count("mint_intents"), rig.count("idempotency_keys")), (1, 1));
    assert_eq!(
        rig.sql("select total from user_daily_totals"),
        "150000000000000000000"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_claims_nothing_and_the_retry_finds_out() {
    let mut rig = Rig::new().await;
    rig.end().await;
    let url = rig.database.login("gateway").unwrap();
    let proxy = ChaosProxy::before(&url).await.unwrap();
    rig.set("DATABASE_URL", &proxy.through(&url).unwrap());
    rig.start().await;
    // The commit takes half a second, in which the connection is cut: it will have happened.
    rig.sql("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.5); return null; end'");
    rig.sql(
        "create constraint trigger slow after insert on mint_intents deferrable initially deferred \
         for each row execute function slow()",
    );
    let message = rig.intent("TX1");
    let (reply, ()) = tokio::join!(rig.send(&message), async {
        eventually(SOON, "the commit is running", async || {
            let running = rig.sql(
                "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query ilike 'commit%'",
            );
            Ok((running != "0").then_some(()))
        })
        .await
        .unwrap();
        proxy.cut();
    });
    assert_eq!(reply.summary(), "503 unavailable");
    assert!(reply.header("Retry-After").is_some());
    proxy.resume();
    eventually(SOON, "the commit happened", async || {
        Ok((rig.count("mint_intents") == 1).then_some(()))
    })
    .await
    .unwrap();
    let again = eventually(SOON, "the retry is answered", async || {
        let reply = rig.send(&message).await;
        Ok((reply.status != 503).then_some(reply))
    })
    .await
    .unwrap();
    assert_eq!(
        (again.status, again.header("Idempotent-Replayed")),
        (201, Some("true"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_everything_is_503_until_it_is_back() {
    let mut rig = Rig::new().await;
    rig.end().await;
    let url = rig.database.login("gateway").unwrap();
    let proxy = ChaosProxy::before(&url).await.unwrap();
    rig.set("DATABASE_URL", &proxy.through(&url).unwrap());
    rig.start().await;
    proxy.cut();
    let message = rig.intent("TX1");
    assert_eq!(rig.send(&message).await.summary(), "503 unavailable");
    assert_eq!(
        rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.summary(),
        "503 unavailable"
    );
    proxy.resume();
    eventually(SOON, "it works again", async || {
        let ok = rig.send(&message).await.status == 201
            && rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status == 200;
        Ok(ok.then_some(()))
    })
    .await
    .unwrap();
    assert_eq!((rig.count("mint_intents"), rig.count("mpesa_reports")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_still_answers_requests_in_progress() {
    let mut rig = Rig::new().await;
    rig.sql("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.4); return new; end'");
    rig.sql("create trigger slow before insert on mint_intents for each row execute function slow()");
    let message = rig.intent("TX1").field("amount", json!("1000000000000000000"));
    let stop = rig.stop.clone();
    let (reply, ()) = tokio::join!(rig.send(&message), async {
        eventually(SOON, "the request is in hand", async || {
            let waiting = rig.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'");
            Ok((waiting != "0").then_some(()))
        })
        .await
        .unwrap();
        stop.soft();
    });
    assert_eq!(reply.status, 201);
    let ended = tokio::time::timeout(Duration::from_secs(15), rig.running.take().unwrap()).await;
    ended.expect("the stop does not hang").unwrap();
}
