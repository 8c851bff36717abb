use std::collections::BTreeSet;

use anyhow::Result;
use futures_util::future::try_join_all;
use testkit::app::App;
use testkit::client::{fresh_address, fresh_key, intent_body, paid_body};

use e2e::{SHILLING, ledger};

use crate::TIMEOUT;

const STORM: usize = 50;

#[tokio::test]
async fn fifty_identical_requests_at_once_are_one_intent_and_fifty_answers() -> Result<()> {
    let app = App::start().await?;
    let client = app.client()?;
    let (key, body) = (fresh_key()?, intent_body(&fresh_address()?, 10, "STORM-1"));
    let replies = try_join_all((0..STORM).map(|_| client.create(&key, &body))).await?;

    let statuses: BTreeSet<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, BTreeSet::from([201]));
    let bodies: BTreeSet<_> = replies.iter().map(|reply| reply.body.clone()).collect();
    assert_eq!(bodies.len(), 1, "every answer is byte-identical");
    let fresh = replies
        .iter()
        .filter(|reply| reply.header("Idempotent-Replayed").is_none())
        .count();
    assert_eq!(
        fresh, 1,
        "one answer is the first, the others say that they are replayed"
    );
    assert_eq!(app.database.sql("select count(*) from mint_intents")?, "1");
    Ok(())
}

#[tokio::test]
async fn fifty_identical_callbacks_at_once_are_one_mint() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 25, "STORM-2").await?;
    let client = app.client()?;
    let body = paid_body("STORM-2", 25, "RCPT0000010")?;
    let replies = try_join_all((0..STORM).map(|_| client.callback(&body))).await?;

    let mut accepted = 0;
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let answer = reply.json()?;
        assert_eq!(answer["txRef"], "STORM-2");
        match answer["status"].as_str() {
            Some("accepted") => accepted += 1,
            Some("already_processed") => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, 1);
    app.until_status(&id, "executed", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 25 * SHILLING);
    assert_eq!(ledger::mint_events(&app).await?, 1);

    // The callback arrives once more after everything has settled.
    let late = client.callback(&body).await?;
    assert_eq!(late.json()?["status"], "already_processed");
    ledger::balances(&app, before).await
}
