//! docs/OPERATIONS.md, as an operator would paste it: every block marked as tested, in order, against a running stack.

use anyhow::{Result, ensure};
use e2e::manual;
use testkit::app::App;
use testkit::client::fresh_address;
use testkit::eventually;

use crate::PATIENCE;

const OPERATIONS: &str = include_str!("../../../../docs/OPERATIONS.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_marked_block_of_the_operations_manual_works_as_written() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.allow(&user).await?;
    let id = app.accept(&user, 10, "MANUAL-1").await?;
    app.pay("MANUAL-1", 10, "RCPTMANUAL1").await?;
    app.until_status(&id, "executed", PATIENCE).await?;

    let blocks = manual::blocks(OPERATIONS);
    ensure!(blocks.len() >= 8, "only {} blocks are marked", blocks.len());
    for block in &blocks {
        manual::run(&app, block)?;
    }
    // The manual leaves everything running, and the rotated integrator on its new key.
    assert_eq!(app.database.sql("select count(*) from halts where halted")?, "0");
    assert_eq!(
        app.database
            .sql("select state from api_keys where key_id = 'ik_dev_0001'")?,
        "revoked"
    );
    Ok(())
}

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

/// What somebody sees at three in the morning: every section's commands do what it says, with something to see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_marked_block_of_the_runbook_works_as_written() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.allow(&user).await?;
    let id = app.accept(&user, 10, "NIGHT-1").await?;
    app.pay("NIGHT-1", 10, "RCPTNIGHT01").await?;
    app.until_status(&id, "executed", PATIENCE).await?;
    // Nobody may mint for this one, so the payer is owed.
    let refused = app.accept(&fresh_address()?, 10, "NIGHT-2").await?;
    app.pay("NIGHT-2", 10, "RCPTNIGHT02").await?;
    app.until_status(&refused, "refunded", PATIENCE).await?;

    let mut blocks = manual::blocks(RUNBOOK);
    ensure!(
        blocks.len() == RUNBOOK.matches("```bash").count(),
        "a block of the runbook is not marked, so nobody has run it"
    );
    // A drill that names its own test is run there, on what it asks for.
    blocks.retain(|block| !block.mark.contains(".rs"));
    ensure!(blocks.len() >= 20, "only {} blocks are marked", blocks.len());
    let owed = eventually(PATIENCE, "the payer is owed", async || {
        let open = app
            .database
            .sql("select count(*) from exceptions where kind = 'owed_to_payer'")?;
        Ok((open == "1").then_some(()))
    });
    owed.await?;
    for block in &blocks {
        let said = manual::run(&app, block)?;
        let seen = match block.section {
            "exceptions-wait" => "NIGHT-2",
            "key-expires-soon" => "ik_dev_next",
            "halted" => "deposit",
            "nonce-gap" => "fiatrails_sends_total",
            "paid-to-mined-burns-fast" => "fiatrails_signer_nonce_gap",
            _ => "",
        };
        ensure!(said.contains(seen), "{}: {said}", block.section);
    }
    assert_eq!(app.database.sql("select count(*) from halts where halted")?, "0");
    Ok(())
}
