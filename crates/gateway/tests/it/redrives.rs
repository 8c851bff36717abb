//! A purged queue loses nothing, however long nobody looked.

use domain::clock::{Clock as _, SystemSource};
use domain::ids::IntentId;
use gateway::answers;
use runtime::KeyDirectory;
use serde_json::{Value, json};
use storage::gateway::redrive::RedriveWindow;
use storage::gateway::{intents, reports};
use testkit::eventually;
use time::Duration;

use crate::rig::{Rig, SOON, paid};

const QUICK: [(&str, &str); 1] = [("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "1")];

async fn arrived(rig: &Rig, queue: &str) -> Vec<Value> {
    eventually(SOON, "a message arrives", async || {
        let waiting = rig.vhost.peek(queue, 50).await?;
        Ok((!waiting.is_empty()).then_some(waiting))
    })
    .await
    .unwrap()
}

/// As if it had been accepted so much earlier: the MAC covers the time.
async fn age_intent(rig: &Rig, id: &str, by: Duration) {
    let id: IntentId = id.parse().unwrap();
    let client = rig.pool().get().await.unwrap();
    let row = intents::find(&client, &id).await.unwrap().unwrap();
    let keys = KeyDirectory::open(&rig.keys.dir("gateway")).unwrap();
    let earlier = row.created_at - by;
    let ring = &keys.current().stored_answers;
    let (_, mac) = answers::mac_intent(ring, &id, &row.integrator, earlier).unwrap();
    let micros = earlier.unix_timestamp_nanos() / 1000;
    rig.sql(&format!(
        "update mint_intents set mac = '\\x{}', \
         created_at = timestamptz 'epoch' + {micros} * interval '1 microsecond' where tx_ref = '{}'",
        hex::encode(mac.as_bytes()),
        row.preimage.tx_ref
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_redrives_of_an_intent_become_rarer() {
    let rig = with_redriven_rows().await;
    let client = rig.pool().get().await.unwrap();
    let due = intents::to_redrive(&client, &from_now_on(), "mint.submit.v1")
        .await
        .unwrap();
    let due: Vec<_> = due.iter().map(|row| row.tx_ref.as_str()).collect();
    assert_eq!(due, ["TX1", "TX3", "TX5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_redrives_of_a_report_become_rarer() {
    let rig = with_redriven_rows().await;
    let client = rig.pool().get().await.unwrap();
    let due = reports::to_redrive(&client, &from_now_on(), "mpesa.result.v1")
        .await
        .unwrap();
    assert_eq!(due.len(), 3);
}

/// Only what has a mark is due.
fn from_now_on() -> RedriveWindow {
    RedriveWindow {
        since: SystemSource.now(),
        after_seconds: 100.0,
        limit: 100,
    }
}

/// Six intents and their reports, each re-driven some times without effect, each second one just long enough ago.
async fn with_redriven_rows() -> Rig {
    let rig = Rig::with(&[("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "100")]).await;
    let mut marks = Vec::new();
    for (n, (times, ago)) in [(1, 190), (1, 210), (3, 790), (3, 810), (30, 3590), (30, 3610)]
        .into_iter()
        .enumerate()
    {
        let (reference, receipt) = (format!("TX{n}"), format!("R{n}"));
        assert_eq!(rig.send(&rig.intent(&reference)).await.status, 201);
        assert_eq!(
            rig.send(&rig.callback(&paid(&reference, 150, &receipt)))
                .await
                .status,
            200
        );
        let mark = format!("{times}, now() - interval '{ago} seconds'");
        marks.push(format!(
            "insert into gateway_redrives select tx_ref, {mark} from mint_intents where tx_ref = '{reference}'; \
             insert into gateway_redrives select report_id::text, {mark} from mpesa_reports \
             where tx_ref = '{reference}'"
        ));
    }
    eventually(SOON, "the first messages are gone", async || {
        Ok((rig.count("gateway_outbox") == 0).then_some(()))
    })
    .await
    .unwrap();
    rig.sql(&marks.join("; "));
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_queue_loses_nothing_after_a_long_outage() {
    let mut rig = Rig::with(&QUICK).await;
    let id = rig.send(&rig.intent("TX1")).await.text("intentId");
    assert_eq!(rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status, 200);
    let queues = ["mint.submit.v1", "mpesa.result.v1"];
    for queue in queues {
        arrived(&rig, queue).await;
    }
    rig.end().await;
    for queue in queues {
        rig.vhost.purge(queue).await.unwrap();
    }
    age_intent(&rig, &id, Duration::hours(3)).await;
    rig.sql("update mpesa_reports set received_at = received_at - interval '8 days'");
    rig.sql("delete from gateway_redrives; delete from gateway_outbox");
    rig.start().await;
    for queue in queues {
        arrived(&rig, queue).await;
    }
    let metrics = rig.metrics().await;
    let mut tampered = metrics
        .lines()
        .filter(|line| line.starts_with("fiatrails_tampered_rows_total"));
    assert!(tampered.all(|line| line.ends_with(" 0")), "both are ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_redrive_pass_sends_more_than_a_page() {
    const MANY: usize = 150;
    // A pass every ten seconds.
    let mut rig = Rig::with(&[
        ("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "40"),
        ("RATE_LIMIT_BURST", "1000"),
    ])
    .await;
    let mut ids = Vec::new();
    for n in 0..MANY {
        let small = json!("10000000000000000000");
        let reply = rig
            .send(&rig.intent(&format!("TX{n}")).field("amount", small))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.summary());
        ids.push(reply.text("intentId"));
    }
    rig.end().await;
    rig.vhost.purge("mint.submit.v1").await.unwrap();
    rig.sql("delete from gateway_outbox");
    for id in &ids {
        age_intent(&rig, id, Duration::minutes(2)).await;
    }
    rig.start().await;
    let passes = std::time::Duration::from_mins(2);
    let waiting = eventually(passes, "all are sent again", async || {
        let waiting = rig.vhost.peek("mint.submit.v1", 500).await?;
        Ok((waiting.len() >= MANY).then_some(waiting))
    })
    .await
    .unwrap();
    assert_eq!(waiting.len(), MANY, "each once");
    let one_pass = "(select 1 from gateway_redrives \
        having max(last_sent_at) - min(last_sent_at) < interval '10 seconds') as pass";
    assert_eq!(rig.count(one_pass), 1, "page by page in as many passes");
}
