//! Runs the drill of docs/RUNBOOK.md as written, on dead-letter queues with entries of every kind.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use testkit::app::{App, Options};
use testkit::client::fresh_address;
use testkit::{dirs, eventually};

use e2e::{SHILLING, ledger, runbook};

use crate::TIMEOUT;

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

async fn parked(app: &App, count: usize, class: &str) -> Result<()> {
    eventually(TIMEOUT, &format!("{count} entries of {class}"), async || {
        let found = app.vhost.peek("dead.mpesa.result.v1", 100).await?;
        let of_class = found
            .iter()
            .filter(|entry| entry["properties"]["headers"]["x-fr-class"] == class);
        Ok((of_class.count() == count).then_some(()))
    })
    .await
}

fn quick_retries() -> Options {
    let mut options = Options::default();
    for (name, value) in [
        ("RETRY_BASE_MS", "20"),
        ("RETRY_CAP_MS", "40"),
        // Otherwise the gateway would re-drive the reports while the cause lasts.
        ("WINDOWS_REDRIVE_SECONDS", "600"),
        ("WINDOWS_ORPHAN_MATCH_SECONDS", "3"),
    ] {
        options.extra.retain(|(known, _)| !known.ends_with(name));
        options
            .extra
            .push((format!("FIATRAILS_POLICY_{name}"), value.into()));
    }
    options
}

/// Three reports that cannot be recorded, and one that was tampered with.
async fn park_genuine_and_forged(app: &App) -> Result<()> {
    // The cause is a wrong grant: reports are accepted, but cannot be recorded.
    app.database
        .sql("revoke insert on payments from fiatrails_callback")?;
    app.report_payment("DRILL-GOOD", 10, "DRILL00001").await?;
    app.report_payment("DRILL-REFUSED", 20, "DRILL00002").await?;
    app.report_payment("DRILL-UNKNOWN", 30, "DRILL00003").await?;
    parked(app, 3, "storage").await?;
    let genuine = app.vhost.peek("dead.mpesa.result.v1", 1).await?.remove(0);
    let tampered = genuine["payload"]
        .as_str()
        .context("a text")?
        .replace("false", "true");
    let forged = json!({
        "properties": {"delivery_mode": 2}, "routing_key": "mpesa.result.v1", "payload": tampered,
        "payload_encoding": "string",
    });
    let path = format!("exchanges/{}/fiatrails.work/publish", app.vhost.name());
    app.vhost.management().post(&path, &forged).await?;
    parked(app, 1, "seal_invalid").await?;
    app.database
        .sql("grant insert on payments to fiatrails_callback")?;
    Ok(())
}

fn run_the_drill(app: &App, dir: &Path) -> Result<()> {
    let bin = dirs::binary("fiatrails")?;
    let out = Command::new("bash")
        .args(["-eu", "-c", runbook::block_of(RUNBOOK, file!())?.code])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", bin.parent().context("a directory")?.display()),
        )
        .envs(app.wiring.operator_env())
        .current_dir(dir)
        .output()?;
    let (output, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{output}{errors}");
    assert!(output.contains("nothing is parked"), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_drains_mixed_dead_letters_with_documented_commands_only() -> Result<()> {
    let app = App::start_with(quick_retries()).await?;
    let (good, refused) = (fresh_address()?, fresh_address()?);
    app.make_compliant(&good).await?;
    let before = ledger::minted(&app).await?;
    let minted = app.create_intent(&good, 10, "DRILL-GOOD").await?;
    let refunded = app.create_intent(&refused, 20, "DRILL-REFUSED").await?;
    for id in [&minted, &refunded] {
        app.until(id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
            .await?;
    }

    park_genuine_and_forged(&app).await?;

    let dir = dirs::private("on-call")?;
    run_the_drill(&app, dir.path())?;

    let done = app.until_status(&minted, "executed", TIMEOUT).await?;
    assert_eq!(done["payment"]["receipt"], "DRILL00001", "{done}");
    app.until_status(&refunded, "refunded", TIMEOUT).await?;
    eventually(TIMEOUT, "every other shilling is a person's business", async || {
        let open = app.database.sql(
            "select string_agg(kind || ' ' || tx_ref || ' ' || amount_shillings, ', ' order by kind) from exceptions",
        )?;
        let wanted = "orphan_payment DRILL-UNKNOWN 30, owed_to_payer DRILL-REFUSED 20";
        anyhow::ensure!(open == wanted, "{open}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(
        ledger::minted(&app).await? - before,
        10 * SHILLING,
        "the forged report minted nothing"
    );
    assert_eq!(app.token_balance(&good).await?, 10 * SHILLING);
    let acts = app
        .database
        .sql("select action || ' ' || error_class || ' ' || state from dead_letter_actions order by id")?;
    assert_eq!(
        acts,
        "discard seal_invalid done\nreplay storage done\nreplay storage done\nreplay storage done"
    );
    let evidence = std::fs::read_to_string(dir.path().join("INC-42.jsonl"))?;
    assert_eq!(evidence.lines().count(), 4, "taken before anything was changed");
    Ok(())
}
