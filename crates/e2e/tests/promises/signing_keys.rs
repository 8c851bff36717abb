//! Signing keys: in an HSM, rotated under load, taken over by a standby.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{SHILLING, ledger};
use serde_json::{Value, json};
use testkit::app::{App, Options};
use testkit::client::fresh_address;
use testkit::evm::{self, OFFICER};
use testkit::wiring::EXECUTOR;
use testkit::{ChildService, SoftHsm, eventually, http, softhsm};

use crate::TIMEOUT;
use crate::load::Load;

const REASON: [&str; 2] = ["--reason", "test of the rotation"];

async fn fiatrails(app: &App, args: &[&str]) -> Result<Value> {
    let text = app
        .wiring
        .fiatrails(&[&["--json"], args, &REASON].concat())
        .await?;
    Ok(serde_json::from_str(&text)?)
}

/// A funded key in the token, with the executor role that `fiatrails` asked an admin to grant.
async fn new_key_in(app: &mut App, hsm: &SoftHsm, label: &str) -> Result<String> {
    app.wiring.extra.extend(hsm.env());
    let made = fiatrails(app, &["signer", "create", "--label", label]).await?;
    let address = made["address"].as_str().context("an address")?.to_owned();
    let fund = json!([address, "0x56bc75e2d63100000"]);
    http::rpc(&app.chain.url(), "anvil_setBalance", fund).await?;
    as_admin(app, &["signer", "add", &address]).await?;
    fiatrails(app, &["signer", "add", &address]).await?;
    Ok(address)
}

/// Sends the call that a refused command asked an admin for.
async fn as_admin(app: &App, command: &[&str]) -> Result<()> {
    let refused = fiatrails(app, command).await;
    let refused = format!("{:#}", refused.err().context("refused without the admin's call")?);
    let (_, call) = refused.split_once("with 0x").context(refused.clone())?;
    let call: String = call.chars().take_while(char::is_ascii_hexdigit).collect();
    evm::send(
        &app.chain.url(),
        OFFICER,
        &app.addresses.escrow,
        &format!("0x{call}"),
    )
    .await
}

/// An executor with only that key of the token.
async fn executor_with(app: &App, label: &str) -> Result<ChildService> {
    ChildService::start(EXECUTOR, env_with(app, label)?).await
}

fn env_with(app: &App, label: &str) -> Result<Vec<(String, String)>> {
    let mut env = app.wiring.env(EXECUTOR)?;
    env.retain(|(name, _)| name != "EXECUTOR_PRIVATE_KEY");
    env.push(("EXECUTOR_PKCS11_KEYS".into(), label.into()));
    Ok(env)
}

fn signer_of(app: &App, tx_ref: &str) -> Result<String> {
    let sql = format!("select '0x' || encode(signer, 'hex') from chain_legs where tx_ref = '{tx_ref}'");
    Ok(app.database.sql(&sql)?.trim().to_owned())
}

async fn executed(app: &App, ids: &[String]) -> Result<()> {
    for id in ids {
        app.until_status(id, "executed", TIMEOUT).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_in_an_hsm_mints_and_never_leaves_it() -> Result<()> {
    let hsm = SoftHsm::start()?;
    let options = Options {
        without: vec![EXECUTOR],
        ..Options::default()
    };
    let mut app = App::start_with(options).await?;
    let address = new_key_in(&mut app, &hsm, "executor-hsm").await?;
    let executor = executor_with(&app, "executor-hsm").await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 150, "HSM-1").await?;
    app.report_payment("HSM-1", 150, "RCPTHSM001").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 150 * SHILLING);
    assert_eq!(signer_of(&app, "HSM-1")?, address.to_lowercase());

    let private = hsm.look(&["--list-objects", "--type", "privkey"])?;
    assert!(
        private.contains("executor-hsm") && private.contains("always sensitive, never extractable, local"),
        "{private}"
    );
    // The tool reports it on standard error and exits with success.
    let export = hsm.look(&["--read-object", "--type", "privkey", "--label", "executor-hsm"]);
    assert_eq!(export.unwrap_or_default(), "", "it could be read");
    assert!(!executor.log().contains(softhsm::PIN), "the PIN is in the log");
    Ok(())
}

#[tokio::test]
async fn a_key_that_was_imported_into_the_token_signs_nothing() -> Result<()> {
    let hsm = SoftHsm::start()?;
    hsm.import("from-outside")?;
    let options = Options {
        without: vec![EXECUTOR],
        ..Options::default()
    };
    let mut app = App::start_with(options).await?;
    app.wiring.extra.extend(hsm.env());
    let (status, log) = ChildService::run_to_end(EXECUTOR, env_with(&app, "from-outside")?, TIMEOUT)?;
    ensure!(!status.success(), "it was taken: {log}");
    ensure!(
        log.contains("from-outside")
            && log.contains("CKA_LOCAL is not true")
            && log.contains("signer create"),
        "{log}"
    );
    Ok(())
}

/// Moves the work to a new key in the token, which succeeds only once an executor holds it; returns both.
async fn rotate(app: &mut App, hsm: &SoftHsm, old: &str) -> Result<(String, ChildService)> {
    let new = new_key_in(app, hsm, "executor-next").await?;
    let rotate = ["signer", "rotate", old, "--to", &new, "--wait", "60"];
    let early = format!("{:#}", fiatrails(app, &rotate).await.err().context("too early")?);
    ensure!(early.contains("no executor holds"), "{early}");
    let next = executor_with(app, "executor-next").await?;
    ensure!(
        fiatrails(app, &["signer", "retire", old]).await.is_err(),
        "it is not drained"
    );
    eventually(TIMEOUT, "the new key is held", async || {
        let held = "select count(*) from signers where lease_until > now()";
        Ok((app.database.sql(held)? == "2").then_some(()))
    })
    .await?;
    as_admin(app, &rotate).await?;
    let done = fiatrails(app, &rotate).await?;
    assert_eq!(done["state"], "retired", "{done}");
    fiatrails(app, &rotate).await.context("again changes nothing")?;
    Ok((new, next))
}

#[tokio::test]
async fn a_rotation_under_load_strands_and_refuses_nothing() -> Result<()> {
    let hsm = SoftHsm::start()?;
    let mut app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(app.create_intent(&user, 10, &format!("TURN-{n}")).await?);
    }
    for id in &ids {
        app.until(id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
            .await?;
    }
    let old = signer_of(&app, "TURN-0")?;
    for n in 0..4 {
        app.report_payment(&format!("TURN-{n}"), 10, &format!("RCPTTURN{n:02}"))
            .await?;
    }

    let load = Load::start(app.client()?, &user, "SIGN", 3);
    load.more_turns(2).await?;
    let (new, _next) = rotate(&mut app, &hsm, &old).await?;
    load.more_turns(2).await?;
    let mut first = app.executor.take().context("the first executor runs")?;
    first.kill9()?;
    // The old key must be useless to whoever still has it.
    let by_old = format!("select count(*) from attempts where '0x' || encode(signer, 'hex') = '{old}'");
    let signed = app.database.sql(&by_old)?;
    let again = app.start_service(EXECUTOR).await?;
    eventually(TIMEOUT, "the old key is refused", async || {
        Ok(again.log().contains("a signing key cannot work").then_some(()))
    })
    .await?;

    for n in 4..12 {
        app.report_payment(&format!("TURN-{n}"), 10, &format!("RCPTTURN{n:02}"))
            .await?;
    }
    ids.push(app.create_intent(&user, 10, "TURN-LAST").await?);
    app.report_payment("TURN-LAST", 10, "RCPTTURNXX").await?;
    load.more_turns(2).await?;
    let (accepted, refused) = load.end().await?;
    ensure!(refused.is_empty(), "of {accepted} were refused: {refused:#?}");
    ensure!(accepted >= 18, "{accepted} requests are no load");
    executed(&app, &ids).await?;
    for tx_ref in ["TURN-11", "TURN-LAST"] {
        assert_eq!(signer_of(&app, tx_ref)?, new.to_lowercase(), "{tx_ref}");
    }
    let minted = 130 + u128::try_from(accepted)?;
    eventually(TIMEOUT, "the load is minted", async || {
        Ok((app.token_balance(&user).await? == minted * SHILLING).then_some(()))
    })
    .await?;
    assert_eq!(app.database.sql(&by_old)?, signed, "signed with the old key");
    ledger::balances(&app, before).await
}

#[tokio::test]
async fn a_standby_takes_a_key_over_within_ten_seconds_and_finishes_the_mint() -> Result<()> {
    let mut app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 10, "STANDBY-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    let _standby = app.start_service(EXECUTOR).await?;
    let first = app.database.sql("select lease_holder from signers")?;
    // No block is mined from here on, so the holder's last transaction stays signed and not mined when it is killed.
    app.chain.rpc("evm_setIntervalMining", json!([0])).await?;
    app.report_payment("STANDBY-1", 10, "RCPTSTAND1").await?;
    let signed = "select count(*) from attempts where command = 'execute' and state = 'signed'";
    eventually(TIMEOUT, "the mint is signed", async || {
        Ok((app.database.sql(signed)? == "1").then_some(()))
    })
    .await?;
    app.chain.rpc("anvil_dropAllTransactions", json!([])).await?;
    app.executor
        .as_mut()
        .context("the first executor runs")?
        .kill9()?;
    let killed = Instant::now();
    eventually(TIMEOUT, "the standby holds the key", async || {
        let holder = app.database.sql("select lease_holder from signers")?;
        Ok((holder != first).then_some(()))
    })
    .await?;
    let took = killed.elapsed();
    println!("taken over after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    app.chain.rpc("evm_setIntervalMining", json!([1])).await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    assert_eq!(app.token_balance(&user).await?, 10 * SHILLING);
    let attempts = "select count(*) from attempts where command = 'execute'";
    assert_eq!(
        app.database.sql(attempts)?,
        "1",
        "the stored bytes, and no others"
    );
    ledger::balances(&app, before).await
}
