//! An executor that hangs inside a transaction: its locks are released before its lease expires.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{SHILLING, ledger};
use serde_json::json;
use testkit::app::{App, Options};
use testkit::chaos_proxy::{BytePattern, Direction};
use testkit::client::fresh_address;
use testkit::wiring::EXECUTOR;
use testkit::{ChaosProxy, ChildService, eventually};

use crate::TIMEOUT;

/// The same limit as after a kill.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// Counts sessions that hold locks on rows of `signers` and wait for their client.
const HUNG: &str = "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
    where a.datname = current_database() and a.state = 'idle in transaction' \
    and l.relation = 'signers'::regclass and l.mode = 'RowShareLock'";

/// The whole product with one executor behind a proxy, an intent of 10 shillings in escrow, and a standby. Dropped in
/// this order: services before what they are connected to.
struct LoadedExecutor {
    holder: ChildService,
    _standby: ChildService,
    wire: ChaosProxy,
    app: App,
    user: String,
    intent: String,
}

impl LoadedExecutor {
    async fn start() -> Result<Self> {
        let app = App::start_with(Options {
            without: vec![EXECUTOR],
            ..Options::default()
        })
        .await?;
        let wire = ChaosProxy::before(&app.wiring.database_url).await?;
        let mut wiring = app.wiring.clone();
        wiring.database_url = wire.through(&wiring.database_url)?;
        let holder = ChildService::start(EXECUTOR, wiring.env(EXECUTOR)?).await?;
        let user = fresh_address()?;
        app.make_compliant(&user).await?;
        let intent = app.create_intent(&user, 10, "HUNG-1").await?;
        app.until(&intent, "escrowed", TIMEOUT, |intent| {
            intent["stage"] == "escrowed"
        })
        .await?;
        let standby = app.start_service(EXECUTOR).await?;
        Ok(Self {
            holder,
            _standby: standby,
            wire,
            app,
            user,
            intent,
        })
    }

    /// Waits until the holder hangs before its commit while others wait for the rows it has locked; returns when that began.
    async fn hang(&mut self) -> Result<Instant> {
        loop {
            let mut caught = self.wire.stall_at(BytePattern {
                pattern: b"COMMIT\0".to_vec(),
                direction: Direction::ToServer,
                passes: false,
                skip: 0,
            });
            caught.wait().await?;
            let since = Instant::now();
            if self.app.database.sql(HUNG)? != "0" {
                self.holder.pause()?;
                return Ok(since);
            }
            self.wire.resume();
        }
    }

    async fn taken_over_from(&self, first: &str, hung: Instant) -> Result<()> {
        eventually(TIMEOUT, "the standby holds the key", async || {
            let holder = self.app.database.sql("select lease_holder from signers")?;
            Ok((holder != first).then_some(()))
        })
        .await?;
        let took = hung.elapsed();
        println!("taken over after {took:?}");
        assert!(took < TAKEN_OVER_WITHIN, "{took:?}");
        Ok(())
    }

    /// The holder continues beside the executor that took over: nothing is minted twice.
    async fn wake(&mut self, before: u128) -> Result<()> {
        let app = &self.app;
        app.until_status(&self.intent, "executed", TIMEOUT).await?;
        self.holder.wake()?;
        self.wire.resume();
        let next = app.create_intent(&self.user, 10, "HUNG-2").await?;
        app.report_payment("HUNG-2", 10, "RCPTHUNG02").await?;
        app.until_status(&next, "executed", TIMEOUT).await?;
        assert!(!self.holder.has_ended(), "it lives, and waits for its turn");
        assert_eq!(app.token_balance(&self.user).await?, 20 * SHILLING);
        let attempts = "select count(*) from attempts where command = 'execute'";
        assert_eq!(app.database.sql(attempts)?, "2", "one for each mint");
        ledger::balances(app, before).await
    }
}

#[tokio::test]
async fn a_holder_that_hangs_while_it_signs_is_replaced_within_ten_seconds() -> Result<()> {
    let mut executor = LoadedExecutor::start().await?;
    let before = ledger::minted(&executor.app).await?;
    let first = executor.app.database.sql("select lease_holder from signers")?;
    // No block is ingested from here on, so only signing locks the signer's row.
    executor
        .app
        .chain
        .rpc("evm_setIntervalMining", json!([0]))
        .await?;
    executor.app.report_payment("HUNG-1", 10, "RCPTHUNG01").await?;
    let hung = executor.hang().await?;
    executor.taken_over_from(&first, hung).await?;
    executor
        .app
        .chain
        .rpc("evm_setIntervalMining", json!([1]))
        .await?;
    executor.wake(before).await
}

#[tokio::test]
async fn a_holder_that_hangs_while_it_ingests_a_block_is_replaced_within_ten_seconds() -> Result<()> {
    let mut executor = LoadedExecutor::start().await?;
    let before = ledger::minted(&executor.app).await?;
    let first = executor.app.database.sql("select lease_holder from signers")?;
    // There is no work to sign, so only the ingestion of a block locks the signers' rows.
    let hung = executor.hang().await?;
    executor.app.report_payment("HUNG-1", 10, "RCPTHUNG01").await?;
    executor.taken_over_from(&first, hung).await?;
    executor.wake(before).await
}
