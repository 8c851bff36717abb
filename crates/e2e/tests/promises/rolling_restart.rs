//! Restarts every service in turn under load; no request fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use testkit::app::{App, Options};
use testkit::client::{Client, fresh_address, fresh_key, intent_body, paid_body};
use testkit::{Balancer, ChildService, eventually};

use e2e::ledger;

use crate::TIMEOUT;

const CLIENTS: usize = 4;
/// Pause between two requests of a client: the test checks that none fails, not how many there are.
const PACE: Duration = Duration::from_millis(100);
/// Number of requests that must be answered between two restarts.
const BETWEEN: usize = 20;
const SETTLED_WITHIN: Duration = Duration::from_secs(150);

#[derive(Default)]
struct Load {
    done: AtomicUsize,
    over: AtomicBool,
}

/// Every first answer must be the expected one.
async fn keep_asking(client: &Client, who: usize, user: &str, load: &Load) -> Result<()> {
    let mut turn = 0;
    while !load.over.load(Ordering::SeqCst) {
        turn += 1;
        let tx_ref = format!("ROLL-{who}-{turn}");
        let asked = client.create(&fresh_key()?, &intent_body(user, 1, &tx_ref)).await;
        let created = asked.with_context(|| format!("{tx_ref} was not answered"))?;
        ensure!(
            created.status == 201,
            "{tx_ref}: {} {:?}",
            created.status,
            created.code()
        );
        let report = paid_body(&tx_ref, 1, &format!("ROLL{who}R{turn:05}"))?;
        let asked = client.callback(&report).await;
        let paid = asked.with_context(|| format!("the report of {tx_ref} was not answered"))?;
        ensure!(
            paid.status == 200,
            "{tx_ref} paid: {} {:?}",
            paid.status,
            paid.code()
        );
        load.done.fetch_add(1, Ordering::SeqCst);
        testkit::wait::pause(PACE).await;
    }
    Ok(())
}

async fn some_more(load: &Load) -> Result<()> {
    let wanted = load.done.load(Ordering::SeqCst) + BETWEEN;
    eventually(TIMEOUT, "requests come in", async || {
        Ok((load.done.load(Ordering::SeqCst) >= wanted).then_some(()))
    })
    .await
}

/// Restarts as an orchestrator does: SIGTERM, wait for the exit, start, wait until ready.
async fn roll(service: &mut ChildService) -> Result<()> {
    let ended = tokio::task::block_in_place(|| service.stop())?;
    ensure!(ended.success(), "{} ended with {ended}", service.name());
    service.restart().await
}

async fn roll_all(app: &mut App, second: &mut ChildService, balancer: &Balancer, load: &Load) -> Result<()> {
    let first = app.gateway.as_mut().context("the gateway runs")?;
    for gateway in [first, second] {
        eventually(TIMEOUT, "both gateways are ready", async || {
            Ok((balancer.ready() == 2).then_some(()))
        })
        .await?;
        some_more(load).await?;
        roll(gateway).await?;
        balancer.add(&gateway.api_url()?);
    }
    for service in [&mut app.executor, &mut app.callback] {
        some_more(load).await?;
        roll(service.as_mut().context("the service runs")?).await?;
    }
    some_more(load).await?;
    load.over.store(true, Ordering::SeqCst);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restarting_every_service_in_turn_under_load_fails_no_request() -> Result<()> {
    let mut options = Options::default();
    options.extra.push(("DRAIN_MS".into(), "1500".into()));
    let mut app = App::start_with(options).await?;
    let mut second = app.start_service("gateway").await?;
    let balancer = Balancer::start(&[app.client()?.base().to_owned(), second.api_url()?]).await?;
    let client = Client::new(balancer.url(), &app.keys)?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    eventually(TIMEOUT, "both gateways are ready", async || {
        Ok((balancer.ready() == 2).then_some(()))
    })
    .await?;

    let load = Load::default();
    let asking = try_join_all((0..CLIENTS).map(|who| keep_asking(&client, who, &user, &load)));
    tokio::try_join!(asking, roll_all(&mut app, &mut second, &balancer, &load))?;

    let asked = load.done.load(Ordering::SeqCst);
    eventually(SETTLED_WITHIN, "every intent is executed and final", async || {
        let done = app
            .database
            .sql("select count(*) from chain_legs where leg = 'executed' and final")?;
        Ok((done == asked.to_string()).then_some(()))
    })
    .await?;
    ledger::balances(&app, before).await
}
