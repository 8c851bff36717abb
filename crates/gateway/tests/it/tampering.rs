//! Whoever can write rows can neither forge an answer nor an intent.

use crate::rig::{Rig, SOON, paid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_answer_is_never_served() {
    let rig = Rig::new().await;
    for (n, change) in [
        "body = 'forged'::bytea",
        "status = 200",
        "location = '/elsewhere'",
        "location = null",
        "fingerprint = sha256('x')",
        "mac = sha256('x')",
        "mac_key_id = 'sk_none'",
    ]
    .into_iter()
    .enumerate()
    {
        let message = rig.intent(&format!("TX{n}"));
        assert_eq!(rig.send(&message).await.status, 201);
        let key = message.key.clone().unwrap();
        rig.sql(&format!(
            "update idempotency_keys set {change} where idempotency_key = '{key}'"
        ));
        let reply = rig.send(&message).await;
        assert_eq!(reply.summary(), "500 stored-response-tampered", "{change}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("forged"));
    }
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains(r#"fiatrails_tampered_rows_total{table="idempotency_keys"} 7"#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_moved_to_another_key_or_tenant_is_detected() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    assert_eq!(rig.send(&message).await.status, 201);
    rig.sql("update idempotency_keys set idempotency_key = 'moved-to-another-key'");
    let moved = message.clone().with_key("moved-to-another-key");
    assert_eq!(rig.send(&moved).await.summary(), "500 stored-response-tampered");
    rig.sql("update idempotency_keys set integrator = 'acme'");
    let foreign = moved.by_other(&rig);
    assert_eq!(rig.send(&foreign).await.summary(), "500 stored-response-tampered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_does_not_match_its_id_is_not_shown() {
    let rig = Rig::new().await;
    for (n, change) in [
        "amount = amount + 1000000000000000000",
        "user_address = '\\x3c44cdddb6a900fa2b585dd299e03d12fa4293bc'",
        "tx_ref = 'OTHER'",
        "country_code = 'TZS'",
        "depositor = '\\x3c44cdddb6a900fa2b585dd299e03d12fa4293bc'",
        "integrator = 'acme'",
        "created_at = created_at + interval '1 microsecond'",
        "mac = sha256('x')",
        "mac_key_id = 'sk_none'",
    ]
    .into_iter()
    .enumerate()
    {
        let id = rig.send(&rig.intent(&format!("TX{n}"))).await.text("intentId");
        rig.sql(&format!(
            "update mint_intents set {change} where tx_ref = 'TX{n}'"
        ));
        assert_eq!(
            rig.send(&rig.read(&id)).await.summary(),
            "500 stored-response-tampered",
            "{change}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_moved_to_another_integrator_is_not_shown() {
    let rig = Rig::new().await;
    let owner = rig.intent("ACME1").by_other(&rig);
    let id = rig.send(&owner).await.text("intentId");
    rig.sql("update mint_intents set integrator = 'dev' where tx_ref = 'ACME1'");
    assert_eq!(
        rig.send(&rig.read(&id)).await.summary(),
        "500 stored-response-tampered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_moved_to_another_integrator_is_not_located() {
    let rig = Rig::new().await;
    assert_eq!(rig.send(&rig.intent("ACME1").by_other(&rig)).await.status, 201);
    rig.sql("update mint_intents set integrator = 'dev' where tx_ref = 'ACME1'");
    rig.sql("insert into tx_ref_prefixes values ('ACME1', 'dev')");
    eventually(SOON, "the prefix counts", async || {
        let reply = rig.send(&rig.intent("ACME1")).await;
        assert_eq!(reply.header("Location"), None);
        Ok((reply.summary() == "409 tx-ref-exists").then_some(()))
    })
    .await
    .unwrap();
}

const QUICK: [(&str, &str); 1] = [("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "1")];

async fn redriven(rig: &Rig, queue: &str, at_least: u32) {
    let series = format!(r#"fiatrails_redriven_total{{queue="{queue}"}} "#);
    eventually(SOON, "something is sent again", async || {
        let metrics = rig.metrics().await;
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok());
        Ok(count.is_some_and(|count| count >= at_least).then_some(()))
    })
    .await
    .unwrap();
}

/// What waits in the queue is about this txRef alone.
async fn assert_only(rig: &Rig, queue: &str, tx_ref: &str) {
    let waiting = eventually(SOON, "a message arrived", async || {
        let waiting = rig.vhost.peek(queue, 50).await?;
        Ok((!waiting.is_empty()).then_some(waiting))
    })
    .await
    .unwrap();
    for message in waiting {
        assert_eq!(about(&message), tx_ref, "{message}");
    }
}

fn about(message: &Value) -> Value {
    let json = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    let body = json(&json(&message["payload"])["body"]);
    let Some(report) = body["report"]["body"].as_str() else {
        return body["intent"]["txRef"].clone();
    };
    let raw = BASE64.decode(report).unwrap();
    serde_json::from_slice::<Value>(&raw).unwrap()["txRef"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_effect_is_redriven_until_it_has_one() {
    let rig = Rig::with(&QUICK).await;
    let reply = rig.send(&rig.intent("TX1")).await;
    assert_eq!(rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status, 200);
    for queue in ["mint.submit.v1", "mpesa.result.v1"] {
        eventually(SOON, "the first message arrived", async || {
            Ok((!rig.vhost.peek(queue, 1).await?.is_empty()).then_some(()))
        })
        .await
        .unwrap();
        rig.vhost.purge(queue).await.unwrap();
        redriven(&rig, queue, 1).await;
        eventually(SOON, "a new message arrived", async || {
            Ok((!rig.vhost.peek(queue, 1).await?.is_empty()).then_some(()))
        })
        .await
        .unwrap();
        redriven(&rig, queue, 2).await;
    }
    let id = reply.text("intentId");
    rig.sql(&format!(
        "insert into chain_legs (intent_id, tx_ref, preimage, leg) values ('\\x{}', 'TX1', '{{}}', 'queued')",
        id.trim_start_matches("0x")
    ));
    rig.sql("insert into report_outcomes (report_id, tx_ref, outcome) select report_id, tx_ref, 'x' from mpesa_reports");
    // Due again at once, were they not settled.
    rig.sql("update gateway_redrives set redrive_count = 0");
    let times = || rig.sql("select coalesce(sum(redrive_count), 0) from gateway_redrives");
    let seen = std::cell::RefCell::new((times(), tokio::time::Instant::now()));
    // Nothing is sent again once the executor and the callback service know.
    eventually(SOON, "re-drives end", async || {
        let now = times();
        if seen.borrow().0 != now {
            seen.replace((now, tokio::time::Instant::now()));
        }
        // Twice the time in which a re-drive would have come.
        Ok((seen.borrow().1.elapsed().as_secs() >= 3).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_else_wrote_is_never_commanded() {
    let rig = Rig::with(&QUICK).await;
    let genuine = rig.send(&rig.intent("TX1")).await.text("intentId");
    let forged = rig.send(&rig.intent("TX2")).await.text("intentId");
    assert_ne!(genuine, forged);
    eventually(SOON, "both messages arrived", async || {
        Ok((rig.vhost.peek("mint.submit.v1", 5).await?.len() == 2).then_some(()))
    })
    .await
    .unwrap();
    rig.vhost.purge("mint.submit.v1").await.unwrap();
    // The id still commits to the fields, but the integrator is another: only the MAC can tell.
    rig.sql("update mint_intents set integrator = 'acme' where tx_ref = 'TX2'");
    rig.sql("update mint_intents set amount = amount * 2 where tx_ref = 'TX1'");
    let third = rig.send(&rig.intent("TX3")).await;
    assert_eq!(third.status, 201);
    rig.vhost.purge("mint.submit.v1").await.unwrap();
    eventually(SOON, "each row is checked, and then the next ones", async || {
        let marks = rig.sql("select string_agg(subject, ',' order by subject) from gateway_redrives");
        Ok((marks == "TX1,TX2,TX3").then_some(()))
    })
    .await
    .unwrap();
    assert_only(&rig, "mint.submit.v1", "TX3").await;
    assert!(
        rig.metrics()
            .await
            .contains(r#"fiatrails_tampered_rows_total{table="mint_intents"} 2"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_report_is_not_sent_again() {
    let rig = Rig::with(&QUICK).await;
    assert_eq!(rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status, 200);
    assert_eq!(rig.send(&rig.callback(&paid("TX2", 150, "R2"))).await.status, 200);
    rig.sql("update mpesa_reports set body = replace(convert_from(body, 'utf8'), '150', '950')::bytea where tx_ref = 'TX1'");
    eventually(SOON, "each is looked at", async || {
        Ok((rig.count("gateway_redrives") == 2).then_some(()))
    })
    .await
    .unwrap();
    rig.vhost.purge("mpesa.result.v1").await.unwrap();
    redriven(&rig, "mpesa.result.v1", 3).await;
    assert_only(&rig, "mpesa.result.v1", "TX2").await;
}
