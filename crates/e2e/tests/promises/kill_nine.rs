use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{TryStreamExt, stream};
use testkit::ChildService;
use testkit::app::App;
use testkit::client::{Client, fresh_address, intent_body, paid_body};
use testkit::eventually;

use e2e::{SHILLING, ledger};

const INTENTS: usize = 200;
const USERS: usize = 4;
const CLIENTS: usize = 4;
const SETTLED_WITHIN: Duration = Duration::from_secs(150);

/// Repeats a request until it is answered, as every client must.
async fn accept_and_pay(client: &Client, index: usize, user: &str, paid: &AtomicUsize) -> Result<()> {
    let tx_ref = format!("KILL-{index}");
    let (key, body) = (format!("kill-nine-key-{index:06}"), intent_body(user, 1, &tx_ref));
    eventually(SETTLED_WITHIN, "the intent is accepted", async || {
        Ok((client.create(&key, &body).await?.status == 201).then_some(()))
    })
    .await?;
    let report = paid_body(&tx_ref, 1, &format!("KILL{index:06}"))?;
    eventually(SETTLED_WITHIN, "the payment is accepted", async || {
        Ok((client.callback(&report).await?.status == 200).then_some(()))
    })
    .await?;
    paid.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Kills the service once this many payments are accepted, while others are in flight, and starts it again.
async fn kill_at(service: &mut Option<ChildService>, paid: &AtomicUsize, at: usize) -> Result<()> {
    eventually(SETTLED_WITHIN, "the flow goes on", async || {
        Ok((paid.load(Ordering::SeqCst) >= at).then_some(()))
    })
    .await?;
    let service = service.as_mut().context("the service runs")?;
    service.kill9()?;
    service.restart().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_each_service_in_turn_loses_nothing_and_doubles_nothing() -> Result<()> {
    let mut app = App::start().await?;
    let client = app.client()?;
    // A restarted gateway must listen where its clients expect it.
    let address = client.base().trim_start_matches("http://").to_owned();
    app.gateway
        .as_mut()
        .context("the gateway runs")?
        .set_env("LISTEN_ADDR", address);
    let mut users = Vec::new();
    for _ in 0..USERS {
        let user = fresh_address()?;
        app.make_compliant(&user).await?;
        users.push(user);
    }
    let before = ledger::minted(&app).await?;

    let paid = AtomicUsize::new(0);
    let flow = stream::iter((0..INTENTS).map(Ok)).try_for_each_concurrent(CLIENTS, |index| {
        accept_and_pay(&client, index, &users[index % USERS], &paid)
    });
    let kills = async {
        for at in [20, 110] {
            kill_at(&mut app.executor, &paid, at).await?;
            kill_at(&mut app.callback, &paid, at + 20).await?;
            kill_at(&mut app.gateway, &paid, at + 40).await?;
        }
        Ok(())
    };
    tokio::try_join!(flow, kills)?;

    let expected = u128::try_from(INTENTS)? * SHILLING;
    eventually(SETTLED_WITHIN, "every payment is minted", async || {
        Ok((ledger::minted(&app).await? - before >= expected).then_some(()))
    })
    .await?;
    eventually(SETTLED_WITHIN, "every intent is executed and final", async || {
        let done = app
            .database
            .sql("select count(*) from chain_legs where leg = 'executed' and final")?;
        Ok((done == INTENTS.to_string()).then_some(()))
    })
    .await?;
    for user in &users {
        assert_eq!(
            app.token_balance(user).await?,
            u128::try_from(INTENTS / USERS)? * SHILLING
        );
    }
    assert_eq!(ledger::mint_events(&app).await?, INTENTS);
    ledger::balances(&app, before).await
}
