//! Runs every block of docs/RUNBOOK.md unchanged and in order against a running stack.

use anyhow::{Result, ensure};
use e2e::runbook::{self, Block, to_kebab_case};
use testkit::app::App;
use testkit::client::fresh_address;
use testkit::{dirs, eventually};

use crate::TIMEOUT;

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

#[test]
fn every_block_of_the_runbook_is_run_by_a_test() -> Result<()> {
    runbook::check_all_blocks_are_tested(RUNBOOK)
}

/// The sections that alerts lead to.
fn sections_of_alerts() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(dirs::workspace().join("deploy/prometheus/alerts"))? {
        let rules = std::fs::read_to_string(file?.path())?;
        names.extend(
            rules
                .lines()
                .filter_map(|line| line.trim().strip_prefix("- alert: "))
                .map(to_kebab_case),
        );
    }
    Ok(names)
}

/// Splits the blocks into planned work and steps for an alert. A block that names its own test is run there.
fn planned_and_alerted() -> Result<(Vec<Block<'static>>, Vec<Block<'static>>)> {
    let alerts = sections_of_alerts()?;
    Ok(runbook::blocks(RUNBOOK)
        .into_iter()
        .filter(|block| block.named_test().is_none())
        .partition(|block| !alerts.iter().any(|alert| alert == block.section)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_that_is_done_by_plan_works_as_written() -> Result<()> {
    let (blocks, _) = planned_and_alerted()?;
    ensure!(blocks.len() >= 12, "only {} blocks are run", blocks.len());
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 10, "MANUAL-1").await?;
    app.report_payment("MANUAL-1", 10, "RCPTMANUAL1").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;

    for block in &blocks {
        runbook::run(&app, block)?;
    }
    // The runbook leaves everything running, and the rotated integrator on its new key.
    assert_eq!(app.database.sql("select count(*) from halts where halted")?, "0");
    assert_eq!(
        app.database
            .sql("select state from api_keys where key_id = 'ik_dev_0001'")?,
        "revoked"
    );
    Ok(())
}

/// Every section's commands must do what it says, in a system where there is something to find.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_that_an_alert_asks_for_works_as_written() -> Result<()> {
    let (_, blocks) = planned_and_alerted()?;
    ensure!(blocks.len() >= 20, "only {} blocks are run", blocks.len());
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 10, "NIGHT-1").await?;
    app.report_payment("NIGHT-1", 10, "RCPTNIGHT01").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    // This user is not compliant, so the payer is owed.
    let refused = app.create_intent(&fresh_address()?, 10, "NIGHT-2").await?;
    app.report_payment("NIGHT-2", 10, "RCPTNIGHT02").await?;
    app.until_status(&refused, "refunded", TIMEOUT).await?;

    let owed = eventually(TIMEOUT, "the payer is owed", async || {
        let open = app
            .database
            .sql("select count(*) from exceptions where kind = 'owed_to_payer'")?;
        Ok((open == "1").then_some(()))
    });
    owed.await?;
    for block in &blocks {
        let output = runbook::run(&app, block)?;
        let seen = match block.section {
            "exceptions-wait" => "NIGHT-2",
            "key-expires-soon" => "ik_dev_next",
            "halted" => "submit",
            "nonce-gap" => "fiatrails_sends_total",
            "paid-to-mined-burns-fast" => "fiatrails_signer_nonce_gap",
            _ => "",
        };
        ensure!(output.contains(seen), "{}: {output}", block.section);
    }
    assert_eq!(app.database.sql("select count(*) from halts where halted")?, "0");
    Ok(())
}
