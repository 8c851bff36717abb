//! Keys that sign: taken over by a standby.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{SHILLING, ledger};
use testkit::app::App;
use testkit::client::fresh_address;
use testkit::eventually;
use testkit::wiring::EXECUTOR;

use crate::PATIENCE;

#[tokio::test]
async fn a_standby_takes_a_key_over_within_ten_seconds_and_finishes_the_mint() -> Result<()> {
    let mut app = App::start().await?;
    let user = fresh_address()?;
    app.allow(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.accept(&user, 10, "STANDBY-1").await?;
    app.until(&id, "escrowed", PATIENCE, |intent| intent["stage"] == "escrowed")
        .await?;
    let _standby = app.start_service(EXECUTOR).await?;
    let first = app.database.sql("select lease_holder from signers")?;
    // No block is mined from here on: what the holder signs dies with it, signed and not mined.
    app.chain
        .rpc("evm_setIntervalMining", serde_json::json!([0]))
        .await?;
    app.pay("STANDBY-1", 10, "RCPTSTAND1").await?;
    let signed = "select count(*) from attempts where command = 'execute' and state = 'signed'";
    eventually(PATIENCE, "the mint is signed", async || {
        Ok((app.database.sql(signed)? == "1").then_some(()))
    })
    .await?;
    app.chain
        .rpc("anvil_dropAllTransactions", serde_json::json!([]))
        .await?;
    app.executor
        .as_mut()
        .context("the first executor runs")?
        .kill9()?;
    let killed = Instant::now();
    eventually(PATIENCE, "the standby holds the key", async || {
        let holder = app.database.sql("select lease_holder from signers")?;
        Ok((holder != first).then_some(()))
    })
    .await?;
    let took = killed.elapsed();
    println!("taken over after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    app.chain
        .rpc("evm_setIntervalMining", serde_json::json!([1]))
        .await?;
    app.until_status(&id, "executed", PATIENCE).await?;
    assert_eq!(app.tokens_of(&user).await?, 10 * SHILLING);
    let attempts = "select count(*) from attempts where command = 'execute'";
    assert_eq!(
        app.database.sql(attempts)?,
        "1",
        "the stored bytes, and no others"
    );
    ledger::balances(&app, before).await
}
