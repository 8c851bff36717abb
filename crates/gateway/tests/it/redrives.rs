//! A purged queue loses nothing, however long nobody looked.

use domain::ids::IntentId;
use gateway::answers;
use runtime::KeyDirectory;
use serde_json::Value;
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
    let row = storage::gateway::intents::find(&client, &id)
        .await
        .unwrap()
        .unwrap();
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
    assert!(
        !rig.metrics().await.contains("fiatrails_tampered_rows_total"),
        "both are ours"
    );
}
