use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use testkit::app::{App, Options};
use testkit::client::fresh_address;
use testkit::eventually;
use testkit::wiring::{CALLBACK, EXECUTOR};

use e2e::{SHILLING, ledger};

const INTENTS: u32 = 100;
const SETTLED_WITHIN: Duration = Duration::from_secs(150);
const WORK_QUEUES: [&str; 5] = [
    "mint.submit.v1",
    "mint.execute.v1",
    "mint.refund.v1",
    "mint.outcome.v1",
    "mpesa.result.v1",
];

async fn purge_all(app: &App) -> Result<()> {
    for queue in WORK_QUEUES {
        app.vhost.purge(queue).await?;
    }
    Ok(())
}

fn count(app: &App, sql: &str) -> Result<u32> {
    Ok(app.database.sql(sql)?.trim().parse()?)
}

/// Waits until the outbox is empty, so that a purge hits its messages.
async fn relayed(app: &App, outbox: &str) -> Result<()> {
    eventually(SETTLED_WITHIN, "the outbox is empty", async || {
        Ok((count(app, &format!("select count(*) from {outbox}"))? == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purging_every_work_queue_with_intents_in_flight_loses_nothing() -> Result<()> {
    let mut app = App::start_with(Options {
        without: vec![EXECUTOR, CALLBACK],
        ..Options::default()
    })
    .await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    try_join_all((0..INTENTS).map(async |i| {
        app.create_intent(&user, 1, &format!("PURGE-{i}")).await?;
        app.report_payment(&format!("PURGE-{i}"), 1, &format!("PURGE{i:06}"))
            .await
    }))
    .await?;

    // The messages of mint.submit and mpesa.result are purged before they are consumed.
    relayed(&app, "gateway_outbox").await?;
    purge_all(&app).await?;

    // The deposits come from re-driven messages; their outcomes are purged before they are consumed.
    app.executor = Some(app.start_service(EXECUTOR).await?);
    eventually(SETTLED_WITHIN, "every deposit is mined", async || {
        let escrowed = count(&app, "select count(*) from chain_legs where leg = 'escrowed'")?;
        Ok((escrowed == INTENTS).then_some(()))
    })
    .await?;
    relayed(&app, "executor_outbox").await?;
    app.executor.as_mut().context("the executor runs")?.stop()?;
    purge_all(&app).await?;

    // The decisions come from re-driven outcomes and reports; their commands are purged in turn.
    app.callback = Some(app.start_service(CALLBACK).await?);
    app.executor
        .as_mut()
        .context("the executor runs")?
        .restart()
        .await?;
    eventually(SETTLED_WITHIN, "executes are commanded", async || {
        let live = count(
            &app,
            "select count(*) from decisions where live_command = 'execute'",
        )?;
        Ok((live > 0).then_some(()))
    })
    .await?;
    purge_all(&app).await?;

    eventually(SETTLED_WITHIN, "every intent is executed and final", async || {
        let done = count(
            &app,
            "select count(*) from chain_legs where leg = 'executed' and final",
        )?;
        Ok((done == INTENTS).then_some(()))
    })
    .await?;
    assert_eq!(app.token_balance(&user).await?, u128::from(INTENTS) * SHILLING);
    ledger::balances(&app, before).await
}
