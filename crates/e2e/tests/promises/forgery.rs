use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::app::{App, Options};
use testkit::client::fresh_address;
use testkit::eventually;
use testkit::wiring::{CALLBACK, EXECUTOR};

use e2e::{SHILLING, ledger};

use crate::TIMEOUT;

/// Publishes a message as somebody with full control of the broker could.
async fn publish(app: &App, queue: &str, payload: &str) -> Result<()> {
    let body = json!({
        "properties": {"delivery_mode": 2}, "routing_key": queue, "payload": payload, "payload_encoding": "string",
    });
    let path = format!("exchanges/{}/fiatrails.work/publish", app.vhost.name());
    let answer = app.vhost.management().post(&path, &body).await?;
    ensure!(answer["routed"] == true, "{answer}");
    Ok(())
}

/// Waits until the dead-letter queue has an entry of this class, and returns it.
async fn parked(app: &App, queue: &str, class: &str) -> Result<Value> {
    eventually(TIMEOUT, &format!("a {class} entry on dead.{queue}"), async || {
        let entries = app.vhost.peek(&format!("dead.{queue}"), 50).await?;
        Ok(entries
            .into_iter()
            .find(|entry| entry["properties"]["headers"]["x-fr-class"] == class))
    })
    .await
}

#[tokio::test]
async fn a_forged_message_in_the_broker_is_parked_and_mints_nothing() -> Result<()> {
    let app = App::start_with(Options {
        without: vec![CALLBACK],
        ..Options::default()
    })
    .await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 10, "FORGED-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;

    // Starts from a genuine outcome: an attacker can copy everything in its envelope except the seal.
    let genuine = eventually(TIMEOUT, "an outcome to copy from", async || {
        Ok(app.vhost.peek("mint.outcome.v1", 1).await?.pop())
    })
    .await?;
    let mut envelope: Value = serde_json::from_str(genuine["payload"].as_str().context("a text payload")?)?;
    let outcome: Value = serde_json::from_str(envelope["body"].as_str().context("a body")?)?;
    let report = json!({
        "reportId": "018f0000-0000-7000-8000-00000000beef", "body": "e30=", "timestamp": "1767225600",
        "signature": format!("kid=mk_dev_0001,v1={}", "ab".repeat(32)), "path": "/callbacks/mpesa", "query": "",
        "receivedAt": 1_767_225_600_000_i64,
    });
    envelope["queue"] = json!("mint.execute.v1");
    envelope["messageId"] = json!("018f0000-0000-7000-8000-00000000f00d");
    envelope["body"] = json!(json!({"intent": outcome["intent"], "report": report}).to_string());
    publish(&app, "mint.execute.v1", &envelope.to_string()).await?;
    publish(&app, "mint.execute.v1", "not even JSON").await?;

    parked(&app, "mint.execute.v1", "seal_invalid").await?;
    parked(&app, "mint.execute.v1", "malformed").await?;
    assert_eq!(ledger::minted(&app).await?, before);
    assert_eq!(
        app.database
            .sql("select count(*) from work_items where command = 'execute'")?,
        "0"
    );
    Ok(())
}

#[tokio::test]
async fn an_intent_added_by_sql_to_a_stored_batch_is_never_signed() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let paid = app.create_intent(&user, 10, "STORED-1").await?;
    let unpaid = app.create_intent(&user, 900, "STORED-2").await?;
    app.until(&unpaid, "escrowed", TIMEOUT, |intent| {
        intent["stage"] == "escrowed"
    })
    .await?;
    app.report_payment("STORED-1", 10, "RCPT0000020").await?;
    app.until_status(&paid, "executed", TIMEOUT).await?;

    // Somebody with full control of the database copies the paid intent's command for the unpaid one and adds it to the
    // batch.
    let id = unpaid.trim_start_matches("0x");
    app.database.sql(&format!(
        "insert into work_items (message_id, intent_id, command, state, envelope)
           select '018f0000-0000-7000-8000-00000000dead', decode('{id}', 'hex'), 'execute', 'ready', envelope
           from work_items where command = 'execute' limit 1;
         insert into attempt_items (attempt_id, position, message_id, intent_id)
           select max(id), 99, '018f0000-0000-7000-8000-00000000dead', decode('{id}', 'hex')
           from attempts where command = 'execute'"
    ))?;
    eventually(TIMEOUT, "the added row is parked with a reason", async || {
        let row = app.database.sql(
            "select state, reason from work_items where message_id = '018f0000-0000-7000-8000-00000000dead'",
        )?;
        Ok((row.starts_with("parked|") && row.len() > "parked|".len()).then_some(()))
    })
    .await?;
    assert_eq!(ledger::minted(&app).await? - before, 10 * SHILLING);
    let unpaid_now = app.client()?.read(&unpaid).await?.json()?;
    assert_eq!(unpaid_now["status"], "pending", "{unpaid_now}");
    Ok(())
}

#[tokio::test]
async fn an_amount_changed_by_sql_mints_nothing() -> Result<()> {
    let mut app = App::start_with(Options {
        without: vec![EXECUTOR],
        ..Options::default()
    })
    .await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 10, "CHANGED-1").await?;
    app.database
        .sql("update mint_intents set amount = 900000000000000000000 where tx_ref = 'CHANGED-1'")?;
    app.executor = Some(app.start_service(EXECUTOR).await?);
    app.report_payment("CHANGED-1", 900, "RCPT0000021").await?;

    eventually(
        TIMEOUT,
        "the payment is held or refused with a reason",
        async || {
            let open = app
                .database
                .sql("select count(*) from exceptions where tx_ref = 'CHANGED-1'")?;
            Ok((open != "0").then_some(()))
        },
    )
    .await?;
    assert_eq!(ledger::minted(&app).await?, before);
    let seen = app.client()?.read(&id).await?;
    assert_eq!(seen.status, 500, "a row that does not match its id is not served");
    Ok(())
}
