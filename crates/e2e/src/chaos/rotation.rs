//! Adds new keys for an integrator and for M-Pesa under load, with the operator's own commands; then ends the old ones,
//! which must be refused from then on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::keys::{INTEGRATOR, MPESA_KID, REQUEST_KID};
use testkit::{App, Client, eventually};

use super::customers::{Customers, SkipReason, TrafficCheck};

/// Services read their keys every 2 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
const NEW_REQUEST_KID: &str = "ik_dev_0002";
const NEW_MPESA_KID: &str = "mk_dev_0002";

/// Skipped if no customer was answered in some phase: then nothing was proved.
pub async fn rotate(app: &App, customers: &Customers) -> Result<SkipReason> {
    let mut traffic = TrafficCheck::since(customers);
    let old = customers.client();
    let mut new = old.clone();
    new.request_kid = NEW_REQUEST_KID.into();
    new.request_secret_hex = add(app, &["integrator", INTEGRATOR], NEW_REQUEST_KID).await?;
    new.mpesa_kid = NEW_MPESA_KID.into();
    new.mpesa_secret_hex = add(app, &["mpesa"], NEW_MPESA_KID).await?;
    wait_until_accepted(&new, true).await.context("the new keys")?;
    traffic.expect_traffic("before the new keys");
    customers.change_keys(|client| {
        client.clone_from(&new);
    });
    // Requests that were signed with the old keys a moment ago are answered first.
    testkit::wait::pause(Duration::from_secs(3)).await;
    traffic.expect_traffic("with the new keys");
    let reason = ["--reason", "rotated", "--yes"];
    fiatrails(app, &[&["keys", "revoke", REQUEST_KID][..], &reason].concat()).await?;
    fiatrails(
        app,
        &[
            &["keys", "revoke", MPESA_KID, "--as-state", "retired"][..],
            &reason,
        ]
        .concat(),
    )
    .await?;
    wait_until_accepted(&old, false).await.context("the old keys")?;
    ensure!(
        accepted(&new).await? == (true, true),
        "the new keys are refused now"
    );
    traffic.expect_traffic("while the old keys ended");
    Ok(traffic.into_skip_reason())
}

async fn fiatrails(app: &App, args: &[&str]) -> Result<String> {
    app.wiring.fiatrails(args).await
}

/// Adds a key as an operator does and returns its secret.
async fn add(app: &App, kind: &[&str], kid: &str) -> Result<String> {
    let args = [
        &["keys", "add"],
        kind,
        &["--kid", kid, "--print-secret", "--json"],
    ]
    .concat();
    let printed: serde_json::Value = serde_json::from_str(&fiatrails(app, &args).await?)?;
    Ok(printed["secretHex"]
        .as_str()
        .context("no secret was printed")?
        .to_owned())
}

/// Whether both keys of a client pass the signature check: an unknown intent is then 404, an empty report 400.
async fn accepted(client: &Client) -> Result<(bool, bool)> {
    let read = client.read(&format!("0x{}", "00".repeat(32))).await?;
    let report = client.callback(&serde_json::json!({})).await?;
    Ok((read.status != 401, report.status != 401))
}

async fn wait_until_accepted(client: &Client, expected: bool) -> Result<()> {
    let what = if expected {
        "both are accepted"
    } else {
        "both are refused"
    };
    eventually(NOTICED_WITHIN, what, async || {
        Ok((accepted(client).await? == (expected, expected)).then_some(()))
    })
    .await
}
