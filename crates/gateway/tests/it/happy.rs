//! What an integrator and M-Pesa meet on a good day.

use messaging::wire::{MintSubmit, MpesaResult};
use serde_json::Value;

use crate::rig::{Rig, SOON, USER, paid};
use testkit::eventually;

async fn envelope(rig: &Rig, queue: &str) -> Value {
    eventually(SOON, "a message arrives", async || {
        let found = rig.vhost.peek(queue, 1).await?;
        Ok(found
            .first()
            .and_then(|m| serde_json::from_str(m["payload"].as_str()?).ok()))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_is_accepted_commanded_and_read_back() {
    let rig = Rig::new().await;
    let message = rig.intent("TX0000000001");
    let reply = rig.send(&message).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert!(reply.is_signed_for(&message));
    let id = reply.text("intentId");
    assert_eq!(
        id,
        "0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb"
    );
    assert_eq!(
        reply.header("Location"),
        Some(format!("/mint-intents/{id}").as_str())
    );
    assert_eq!(
        (reply.text("status"), reply.text("stage")),
        ("pending".into(), "queued".into())
    );
    assert!(reply.json()["txHash"].is_null());

    let envelope = envelope(&rig, "mint.submit.v1").await;
    assert_eq!(envelope["intentId"], id);
    let body: MintSubmit = serde_json::from_str(envelope["body"].as_str().unwrap()).unwrap();
    assert_eq!(body.intent.intent_id().to_string(), id);
    assert_eq!(body.integrator.as_str(), "dev");

    let read = rig.read(&id);
    let shown = rig.send(&read).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.is_signed_for(&read));
    assert_eq!(
        (shown.text("user"), shown.text("status")),
        (USER.into(), "pending".into())
    );
    assert_eq!(shown.text("createdAt"), reply.text("createdAt"));
    assert_eq!(shown.json()["payment"]["status"], "awaiting");
    assert_eq!(shown.json()["final"], false);
    assert!(shown.json()["history"].is_array());

    let foreign = rig.send(&rig.read(&id).by_other(&rig)).await;
    assert_eq!(foreign.summary(), "404 not-found");
    let unknown = rig.send(&rig.read(&id.replace("0xea", "0xeb"))).await;
    assert_eq!(unknown.summary(), "404 not-found");
}

/// The executor wrote where the leg stands, and how it came there.
fn leg(rig: &Rig, id: &str, leg: &str, is_final: bool, history: &str) {
    let id = id.trim_start_matches("0x");
    rig.sql(&format!(
        "insert into chain_legs (intent_id, tx_ref, preimage, leg, final) values ('\\x{id}', 'TX1', '{{}}', '{leg}', {is_final}) \
         on conflict (intent_id) do update set leg = excluded.leg, final = excluded.final; \
         insert into chain_leg_history (intent_id, from_leg, to_leg, cause) values ('\\x{id}', 'x', '{history}', 'test')"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_status_never_moves_backwards() {
    let rig = Rig::new().await;
    let id = rig.send(&rig.intent("TX1")).await.text("intentId");
    let shown = async || {
        let shown = rig.send(&rig.read(&id)).await.json();
        let text = |name: &str| shown[name].as_str().unwrap_or("none").to_owned();
        assert_eq!(
            shown["executedAt"].is_string(),
            text("status") == "executed" || text("stage") == "executed"
        );
        format!("{} {} {}", text("status"), text("stage"), shown["final"])
    };
    leg(&rig, &id, "executed", false, "executed");
    assert_eq!(shown().await, "pending executed false");
    leg(&rig, &id, "executed", true, "executed_final");
    assert_eq!(shown().await, "executed executed true");
    // A fork past final takes the mint away, and another block mines it again.
    leg(&rig, &id, "escrowed", false, "escrowed");
    assert_eq!(shown().await, "executed escrowed false");
    leg(&rig, &id, "executed", false, "executed");
    assert_eq!(shown().await, "executed executed false");
    leg(&rig, &id, "executed", true, "executed_final");
    assert_eq!(shown().await, "executed executed true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_durable_before_it_is_answered() {
    let rig = Rig::new().await;
    let message = rig.callback(&paid("TX0000000001", 150, "NLJ7RT61SV"));
    let reply = rig.send(&message).await;
    assert_eq!(
        (reply.status, reply.text("status")),
        (200, "accepted".into()),
        "{reply:?}"
    );
    assert_eq!(reply.text("txRef"), "TX0000000001");
    assert!(reply.is_signed_for(&message));
    assert_eq!(rig.count("mpesa_reports"), 1);

    let envelope = envelope(&rig, "mpesa.result.v1").await;
    let body: MpesaResult = serde_json::from_str(envelope["body"].as_str().unwrap()).unwrap();
    assert_eq!(body.report.body, message.body);
    assert_eq!(body.report.signature, message.signature());
    assert!(!body.late && body.accepted_by.is_none());

    let again = rig.send(&message).await;
    assert_eq!(
        (again.status, again.text("status")),
        (200, "already_processed".into())
    );
    assert_eq!(rig.count("mpesa_reports"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_routes_exist_under_api_v1() {
    let rig = Rig::new().await;
    let mut message = rig.intent("TX1");
    message.path = "/api/v1/mint-intents".into();
    let reply = rig.send(&message).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let mut read = rig.read(&reply.text("intentId"));
    read.path = format!("/api/v1{}", read.path);
    assert_eq!(rig.send(&read).await.status, 200);
    let mut callback = rig.callback(&paid("TX1", 150, "R1"));
    callback.path = "/api/v1/callbacks/mpesa".into();
    assert_eq!(rig.send(&callback).await.status, 200);
    let health = rig
        .http
        .get(format!("{}/api/v1/health", rig.base))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_reports_each_dependency_separately() {
    let rig = Rig::new().await;
    let health: Value = rig
        .http
        .get(format!("{}/health", rig.base))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["database"], "ok");
    assert_eq!(health["broker"], "ok");
    assert_eq!(health["rpc"]["connected"], false);
    assert_eq!(health["status"], "degraded");
    rig.sql(
        "insert into executor_heartbeats (instance, rpc_connected, rpc_latency_ms) \
         values (gen_random_uuid(), true, 7)",
    );
    eventually(SOON, "the heartbeat is seen", async || {
        let health: Value = rig
            .http
            .get(format!("{}/health", rig.base))
            .send()
            .await?
            .json()
            .await?;
        Ok(
            (health["status"] == "healthy" && health["rpc"]["latency_ms"] == 7 && health["dlq_depth"] == 0)
                .then_some(()),
        )
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_executor_beside_a_healthy_lease_holder_changes_nothing() {
    let rig = Rig::new().await;
    rig.sql(
        "insert into signers (address, next_nonce, lease_holder, lease_until) \
         select decode(repeat('11', 20), 'hex'), 0, gen_random_uuid(), now() + interval '1 hour'; \
         insert into executor_heartbeats (instance, reported_at, rpc_connected) \
         select lease_holder, now() + interval '1 hour' - interval '1 second', true from signers; \
         insert into executor_heartbeats (instance, reported_at, rpc_connected, blocked_reason) \
         select gen_random_uuid(), now() + interval '1 hour', true, 'another chain'",
    );
    // The role of the gateway itself reads it.
    let url = rig.database.login("gateway").unwrap();
    let pool = storage::Pool::new(&storage::PoolConfig::new(url.into(), "test")).unwrap();
    let client = pool.get().await.unwrap();
    let reported_problem = async || {
        let heartbeat = storage::gateway::heartbeat::latest(&client, 15.0).await.unwrap();
        heartbeat.unwrap().blocked_reason
    };
    assert_eq!(reported_problem().await, None, "the holder has no problem");
    rig.sql("update executor_heartbeats set blocked_reason = 'no gas' where blocked_reason is null");
    assert_eq!(
        reported_problem().await.as_deref(),
        Some("no gas"),
        "the lease holder's problem is reported"
    );
    rig.sql("update signers set lease_until = now()");
    assert_eq!(
        reported_problem().await.as_deref(),
        Some("another chain"),
        "the latest heartbeat is used"
    );
}
