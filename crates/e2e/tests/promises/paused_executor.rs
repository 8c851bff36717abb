//! An executor that is paused past its lease inside a signing transaction. It had checked its lease before, so only the
//! fencing token in the database can refuse it.

use anyhow::{Context, Result};
use e2e::{SHILLING, ledger};
use testkit::app::{App, Options};
use testkit::chaos_proxy::{BytePattern, ChaosProxy, Direction};
use testkit::client::fresh_address;
use testkit::wiring::EXECUTOR;
use testkit::{ChildService, eventually};
use tokio::time::timeout;

use crate::TIMEOUT;

/// The proxies between an executor and its servers.
struct Wires {
    database: ChaosProxy,
    broker: ChaosProxy,
    node: ChaosProxy,
}

impl Wires {
    async fn of(app: &App) -> Result<Self> {
        Ok(Self {
            database: ChaosProxy::before(&app.wiring.database_url).await?,
            broker: ChaosProxy::before(&app.wiring.amqp_url).await?,
            node: ChaosProxy::before(&app.wiring.rpc_url).await?,
        })
    }

    async fn executor(&self, app: &App) -> Result<ChildService> {
        let mut wiring = app.wiring.clone();
        wiring.database_url = self.database.through(&wiring.database_url)?;
        wiring.amqp_url = self.broker.through(&wiring.amqp_url)?;
        wiring.rpc_url = self.node.through(&wiring.rpc_url)?;
        wiring
            .extra
            .push(("RUST_LOG".into(), "info,mint_executor=debug".into()));
        ChildService::start(EXECUTOR, wiring.env(EXECUTOR)?).await
    }

    /// When the node is asked about a mint, the lease has been checked; the next transaction signs the mint.
    async fn mint_in_hand(&self, pay: impl Future<Output = Result<()>>) -> Result<()> {
        let stop_at = |wire: &ChaosProxy, pattern: Vec<u8>| {
            wire.stall_at(BytePattern {
                pattern,
                direction: Direction::ToServer,
                passes: false,
                skip: 0,
            })
        };
        let selector = hex::encode(&chain::calls::execute_mints([])[..4]);
        let mut rehearsing = stop_at(&self.node, format!("0x{selector}").into_bytes());
        pay.await?;
        timeout(TIMEOUT, rehearsing.wait())
            .await
            .context("no node was asked about the mint")??;
        // The answer is held back; the executor continues without it after its time-out.
        let mut signing = stop_at(&self.database, b"START TRANSACTION".to_vec());
        timeout(TIMEOUT, signing.wait())
            .await
            .context("no transaction began")?
    }

    fn mend(&self) {
        for wire in [&self.node, &self.broker, &self.database] {
            wire.resume();
        }
    }
}

fn token(app: &App) -> Result<u64> {
    Ok(app.database.sql("select fencing_token from signers")?.parse()?)
}

fn signed_under(app: &App, token: u64) -> Result<u64> {
    let sql = format!("select count(*) from attempts where fencing_token = {token}");
    Ok(app.database.sql(&sql)?.parse()?)
}

async fn until_passed_on(app: &App, held: u64) -> Result<u64> {
    eventually(TIMEOUT, "the key changes hands", async || {
        let now = token(app)?;
        Ok((now > held).then_some(now))
    })
    .await
}

/// Log text of a signing round that found the lease with another executor.
fn was_refused(log: &str) -> bool {
    log.lines()
        .any(|line| line.contains("the lease is not ours") && line.contains("submit"))
}

async fn escrowed(app: &App, user: &str, tx_ref: &str) -> Result<String> {
    let id = app.create_intent(user, 10, tx_ref).await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    Ok(id)
}

/// Wakes the first executor, which must end the transaction that it had begun without a signature.
async fn wake(app: &mut App, wires: &Wires, old: u64, signed: u64) -> Result<()> {
    assert!(!was_refused(&app.service(EXECUTOR)?.log()));
    wires.mend();
    app.service(EXECUTOR)?.wake()?;
    let first = app.executor.as_ref().context("the first executor runs")?;
    eventually(TIMEOUT, "its transaction is over", async || {
        let over = was_refused(&first.log()) || signed_under(app, old)? > signed;
        Ok(over.then_some(()))
    })
    .await?;
    assert_eq!(
        signed_under(app, old)?,
        signed,
        "signed under a lease that had passed on"
    );
    Ok(())
}

fn nothing_is_signed_twice(app: &App) -> Result<()> {
    for (what, sql) in [
        (
            "commands signed twice",
            "select count(*) - count(distinct message_id) from attempt_items",
        ),
        (
            "nonces used twice",
            "select count(*) - count(distinct nonce) from attempts",
        ),
    ] {
        assert_eq!(app.database.sql(sql)?, "0", "{what}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_slept_past_its_lease_with_a_mint_in_hand_signs_nothing() -> Result<()> {
    let options = Options {
        without: vec![EXECUTOR],
        ..Options::default()
    };
    let mut app = App::start_with(options).await?;
    let wires = Wires::of(&app).await?;
    app.executor = Some(wires.executor(&app).await?);
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let held = escrowed(&app, &user, "SLEPT-1").await?;
    let old = token(&app)?;
    let signed = signed_under(&app, old)?;

    wires
        .mint_in_hand(app.report_payment("SLEPT-1", 10, "RCPTSLEPT1"))
        .await?;
    app.service(EXECUTOR)?.pause()?;
    // The broker drops the paused consumer and redelivers its messages.
    wires.broker.cut();
    // Mints are halted, so the mint of the paused executor stays ready.
    let halt = ["halt", "execute", "--reason", "test of the lease"];
    app.wiring.fiatrails(&halt).await?;
    let mut second = app.start_service(EXECUTOR).await?;
    let new = until_passed_on(&app, old).await?;
    let other = escrowed(&app, &user, "SLEPT-2").await?;
    assert!(signed_under(&app, new)? > 0, "the second executor works");
    let ready = "select count(*) from work_items where command = 'execute' and state = 'ready'";
    assert_eq!(app.database.sql(ready)?, "1");
    assert_eq!(signed_under(&app, old)?, signed);

    wake(&mut app, &wires, old, signed).await?;
    assert_eq!(token(&app)?, new, "the second executor has the key");

    let resume = ["resume", "execute", "--reason", "test of the lease"];
    app.wiring.fiatrails(&resume).await?;
    app.report_payment("SLEPT-2", 10, "RCPTSLEPT2").await?;
    for id in [&held, &other] {
        app.until_status(id, "executed", TIMEOUT).await?;
    }
    second.kill9()?;
    assert!(until_passed_on(&app, new).await? > new);
    let last = escrowed(&app, &user, "SLEPT-3").await?;
    app.report_payment("SLEPT-3", 10, "RCPTSLEPT3").await?;
    app.until_status(&last, "executed", TIMEOUT).await?;

    assert_eq!(signed_under(&app, old)?, signed);
    nothing_is_signed_twice(&app)?;
    assert_eq!(ledger::mint_events(&app).await?, 3);
    assert_eq!(app.token_balance(&user).await?, 30 * SHILLING);
    ledger::balances(&app, before).await
}
