//! Restores a backup: the database comes back older than the chain, and the broker empty.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use messaging::WorkQueue;
use serde_json::{Value, json};
use testkit::app::App;
use testkit::client::{Reply, fresh_address, fresh_key, intent_body};
use testkit::{Database, Servers, dirs, eventually, evm, http};

use e2e::runbook::{self, Block};
use e2e::{SHILLING, ledger};

use crate::TIMEOUT;

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

/// The runbook's steps of a restore, as written.
fn as_the_runbook_says(app: &App, backup: &Path) -> Result<()> {
    let block = runbook::block_of(RUNBOOK, file!())?;
    let code = block.code.replace("DIR", &backup.display().to_string());
    ensure!(code != block.code, "the runbook restores no folder: {code}");
    let block = Block { code: &code, ..block };
    runbook::run(app, &block).map(drop)
}

/// `scripts/<name>` of the repository, with the connections of this test.
fn script(app: &App, name: &str, dir: &Path) -> Result<()> {
    let out = Command::new(dirs::workspace().join("scripts").join(name))
        .arg(dir)
        .env("DATABASE_URL", app.database.url())
        .env("AMQP_MANAGEMENT_URL", &app.wiring.amqp_management_url)
        .env("BROKER_VHOST", app.vhost.name())
        .output()?;
    ensure!(
        out.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

fn fiatrails(app: &App, args: &[&str]) -> Result<Output> {
    Ok(Command::new(dirs::binary("fiatrails")?)
        .args(args)
        .env_clear()
        .envs(app.wiring.operator_env())
        .output()?)
}

/// Exit code and JSON answer of `fiatrails restore`.
fn restore(app: &App, args: &[&str]) -> Result<(Option<i32>, Value)> {
    let out = fiatrails(app, &[&["restore"], args, &["--json"]].concat())?;
    let answer = serde_json::from_slice(&out.stdout)
        .with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?;
    Ok((out.status.code(), answer))
}

/// Kind and txRef of each difference, in order.
fn differences_of(answer: &Value) -> Vec<(String, String)> {
    let text = |d: &Value, field: &str| d[field].as_str().unwrap_or_default().to_owned();
    let differences = answer["differences"].as_array().map(Vec::as_slice);
    let mut listed: Vec<_> = differences
        .unwrap_or_default()
        .iter()
        .map(|d| (text(d, "kind"), text(d, "txRef")))
        .collect();
    listed.sort();
    listed
}

/// Records the applied migrations, which the test's copied database lacks because `fiatrails migrate` did not make it.
async fn knows_its_migrations(app: &App) -> Result<()> {
    let made = Database::create_empty(&Servers::shared()?.pg_url).await?;
    let out = Command::new(dirs::binary("fiatrails")?)
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", made.url())
        .output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rows = made.sql(
        "select string_agg(format('(%s, %L, %L, %L)', version, name, applied_on, checksum), ', ') \
         from refinery_schema_history",
    )?;
    app.database.sql(&format!(
        "create table refinery_schema_history (version int primary key, name text, applied_on text, checksum text); \
         insert into refinery_schema_history values {rows}"
    ))?;
    Ok(())
}

fn next_nonce(app: &App) -> Result<u64> {
    Ok(app.database.sql("select next_nonce from signers")?.parse()?)
}

async fn mined(app: &App) -> Result<u64> {
    let signer = format!(
        "0x{}",
        app.database.sql("select encode(address, 'hex') from signers")?
    );
    let count = http::rpc(
        &app.chain.url(),
        "eth_getTransactionCount",
        json!([signer, "latest"]),
    )
    .await?;
    let digits = count.as_str().context("no count")?.trim_start_matches("0x");
    Ok(u64::from_str_radix(digits, 16)?)
}

async fn escrowed(app: &App, user: &str, tx_ref: &str) -> Result<String> {
    let id = app.create_intent(user, 10, tx_ref).await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    Ok(id)
}

fn kill_all(app: &mut App) -> Result<()> {
    for service in [&mut app.gateway, &mut app.executor, &mut app.callback] {
        service.as_mut().context("the service runs")?.kill9()?;
    }
    Ok(())
}

/// Creates the virtual host again, empty.
async fn lose_broker(app: &App) -> Result<()> {
    let (name, url) = (app.vhost.name(), app.vhost.url());
    let (_, rest) = url.split_once("://").context("no AMQP URL")?;
    let (admin, _) = rest.split_once(':').context("no user")?;
    let management = app.vhost.management();
    management.delete(&format!("vhosts/{name}")).await?;
    management.put(&format!("vhosts/{name}"), &json!({})).await?;
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    management.put(&format!("permissions/{name}/{admin}"), &all).await
}

/// Loses disk and broker, and restores the backup's database and empty queues.
async fn lose_and_restore(app: &App, backup: &Path) -> Result<()> {
    app.database
        .sql("drop schema public cascade; create schema public; grant usage on schema public to public")?;
    lose_broker(app).await?;
    eventually(TIMEOUT, "everybody has left the database", async || {
        script(app, "restore", backup).map(Some)
    })
    .await?;
    // Forgetting the next step or starting a service too early must not lose anything.
    let halted = app.database.sql("select count(*) from halts where halted")?;
    ensure!(halted == "4", "{halted} of 4 scopes are halted");
    // The broker's definitions are part of the backup: each queue exists before a service declares it.
    for queue in WorkQueue::ALL {
        for queue in [queue.name(), queue.dead_letter_name()] {
            ensure!(
                app.vhost.peek(queue, 1).await?.is_empty(),
                "{queue} has a message"
            );
        }
    }
    as_the_runbook_says(app, backup)
}

/// Waits until legs and nonce come from the chain; returns the differences that are left.
async fn until_caught_up(app: &App) -> Result<[(String, String); 3]> {
    let wanted = [
        ("deposit_without_intent", "LOST-1"),
        ("mint_without_payment", "HALF-1"),
        ("pending_total", ""),
    ]
    .map(|(kind, tx_ref)| (kind.to_owned(), tx_ref.to_owned()));
    eventually(TIMEOUT, "legs and nonce come from the chain", async || {
        let (code, answer) = restore(app, &["check"])?;
        ensure!(
            code == Some(1) && answer["caughtUp"] == true && differences_of(&answer) == wanted,
            "{answer}"
        );
        Ok(Some(()))
    })
    .await?;
    Ok(wanted)
}

async fn until_only_the_lost_is_left(app: &App, left: &[(String, String); 3]) -> Result<()> {
    eventually(TIMEOUT, "only the lost intent is left", async || {
        let (_, answer) = restore(app, &["check"])?;
        ensure!(
            differences_of(&answer) == [left[0].clone(), left[2].clone()],
            "{answer}"
        );
        Ok(Some(()))
    })
    .await
}

async fn until_open(app: &App, key: &str, body: &Value) -> Result<Reply> {
    eventually(TIMEOUT, "intake is open", async || {
        let reply = app.client()?.create(key, body).await?;
        Ok((reply.status != 503).then_some(reply))
    })
    .await
}

async fn until_the_books_are_clean(app: &App) -> Result<()> {
    eventually(TIMEOUT, "the books are clean", async || {
        let out = fiatrails(app, &["reconcile"])?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        Ok(Some(()))
    })
    .await
}

async fn begin_and_restart(app: &mut App) -> Result<()> {
    let (code, _) = restore(app, &["begin", "--reason", "drill"])?;
    assert_eq!(code, Some(0));
    for service in [&mut app.gateway, &mut app.executor, &mut app.callback] {
        service.as_mut().context("the service runs")?.restart().await?;
    }
    Ok(())
}

/// Intake opens only once each difference that is left was named.
fn finish_with_known(app: &App, lost: &str) -> Result<()> {
    let (code, answer) = restore(app, &["finish", "--reason", "drill"])?;
    assert_eq!(code, Some(1), "opened with differences: {answer}");
    let known = [
        "finish",
        "--reason",
        "drill",
        "--known",
        lost,
        "--known",
        "pending_total",
    ];
    let (code, answer) = restore(app, &known)?;
    assert_eq!(code, Some(0), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_catches_up_with_the_chain_before_anything_is_taken_in() -> Result<()> {
    let mut app = App::start().await?;
    knows_its_migrations(&app).await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let whole = escrowed(&app, &user, "KEPT-1").await?;
    app.report_payment("KEPT-1", 10, "RCPTKEPT01").await?;
    app.until_status(&whole, "executed", TIMEOUT).await?;
    let half = escrowed(&app, &user, "HALF-1").await?;
    let dir = tempfile::tempdir()?;
    let backup = dir.path().join("backup");
    script(&app, "backup", &backup)?;

    // Made after the backup: a payment and its mint, and an intent with its deposit.
    app.report_payment("HALF-1", 10, "RCPTHALF01").await?;
    app.until_status(&half, "executed", TIMEOUT).await?;
    let (key, body) = (fresh_key()?, intent_body(&user, 10, "LOST-1"));
    let lost = app.client()?.create(&key, &body).await?.json()?["intentId"].clone();
    let lost = lost.as_str().context("no intentId")?.to_owned();
    app.until(&lost, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    kill_all(&mut app)?;
    lose_and_restore(&app, &backup).await?;
    let used = mined(&app).await?;
    ensure!(next_nonce(&app)? < used, "the backup is not older than the chain");

    begin_and_restart(&mut app).await?;
    let closed = app
        .client()?
        .create(&fresh_key()?, &intent_body(&user, 10, "NEW-1"))
        .await?;
    assert_eq!(closed.status, 503, "intake is open: {:?}", closed.code());
    let left = until_caught_up(&app).await?;
    assert!(next_nonce(&app)? >= used, "a used nonce would be signed again");

    // M-Pesa repeats its report; the integrator repeats its request once intake is open.
    app.report_payment("HALF-1", 10, "RCPTHALF01").await?;
    until_only_the_lost_is_left(&app, &left).await?;
    finish_with_known(&app, &lost)?;

    let again = until_open(&app, &key, &body).await?;
    assert_eq!(again.status, 201, "{:?}", again.code());
    assert_eq!(again.json()?["intentId"], lost.as_str());
    app.report_payment("LOST-1", 10, "RCPTLOST01").await?;
    app.until_status(&lost, "executed", TIMEOUT).await?;
    assert_eq!(
        evm::balance_of(&app.chain.url(), &app.addresses.country_token, &user).await?,
        30 * SHILLING
    );
    until_the_books_are_clean(&app).await?;
    ledger::balances(&app, before).await
}
