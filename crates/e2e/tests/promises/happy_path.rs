use anyhow::Result;
use serde_json::json;
use testkit::app::App;
use testkit::client::{fresh_address, fresh_key, intent_body, now};

use e2e::{SHILLING, ledger};

use crate::TIMEOUT;

#[tokio::test]
async fn a_paid_intent_is_minted_once_and_becomes_final() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;

    let id = app.create_intent(&user, 150, "HAPPY-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    app.report_payment("HAPPY-1", 150, "RCPT0000001").await?;
    let done = app.until_status(&id, "executed", TIMEOUT).await?;

    assert_eq!(done["final"], true, "{done}");
    assert_eq!(done["payment"]["receipt"], "RCPT0000001", "{done}");
    assert!(
        done["txHash"].as_str().is_some_and(|hash| hash.len() == 66),
        "{done}"
    );
    assert!(done["executedAt"].is_string(), "{done}");
    assert!(
        done["history"].as_array().is_some_and(|steps| steps.len() >= 4),
        "{done}"
    );
    assert_eq!(app.token_balance(&user).await?, 150 * SHILLING);
    ledger::balances(&app, before).await
}

#[tokio::test]
async fn a_payment_that_comes_before_the_deposit_is_minted_all_the_same() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    app.report_payment("EARLY-1", 20, "RCPT0000002").await?;
    let id = app.create_intent(&user, 20, "EARLY-1").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 20 * SHILLING);
    Ok(())
}

#[tokio::test]
async fn a_user_who_is_not_compliant_is_refunded_and_the_payer_is_owed() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 30, "REFUSED-1").await?;
    app.report_payment("REFUSED-1", 30, "RCPT0000003").await?;
    app.until_status(&id, "refunded", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 0);
    testkit::eventually(TIMEOUT, "the payer is owed", async || {
        let owed = app
            .database
            .sql("select amount_shillings from exceptions where kind = 'owed_to_payer'")?;
        Ok((owed == "30").then_some(()))
    })
    .await?;
    ledger::balances(&app, before).await
}

#[tokio::test]
async fn a_declined_payment_refunds_the_deposit() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 40, "DECLINED-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    let declined = json!({
        "txRef": "DECLINED-1", "amount": "40", "phone": "254708374149", "timestamp": now()?,
        "resultCode": 1032, "resultDesc": "Request cancelled by user",
    });
    assert_eq!(app.client()?.callback(&declined).await?.status, 200);
    app.until_status(&id, "refunded", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_payment_of_another_amount_is_held_for_a_person() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 50, "MISMATCH-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    app.report_payment("MISMATCH-1", 49, "RCPT0000004").await?;
    let held = app
        .until(&id, "held", TIMEOUT, |intent| {
            intent["payment"]["status"] == "mismatched"
        })
        .await?;
    assert_eq!(held["status"], "pending", "{held}");
    assert_eq!(app.token_balance(&user).await?, 0);
    ledger::balances(&app, before).await
}

#[tokio::test]
async fn another_integrator_cannot_see_or_squat_an_intent() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    let id = app.create_intent(&user, 10, "MINE-1").await?;
    let secret = app.keys.add_integrator("other", "ik_other_0001")?;
    let mut other = app.client()?;
    other.request_kid = "ik_other_0001".into();
    other.request_secret_hex = secret;
    let seen = testkit::eventually(TIMEOUT, "the new key is loaded", async || {
        let reply = other.read(&id).await?;
        Ok((reply.status != 401).then_some(reply))
    })
    .await?;
    assert_eq!((seen.status, seen.code().as_deref()), (404, Some("not-found")));
    let squat = other
        .create(&fresh_key()?, &intent_body(&user, 10, "MINE-1"))
        .await?;
    assert_eq!(
        (squat.status, squat.code().as_deref()),
        (422, Some("tx-ref-not-yours"))
    );
    Ok(())
}
