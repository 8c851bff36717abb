//! A late report counts once a person accepted it, and only if its signature still verifies.

use anyhow::Result;
use serde_json::Value;
use testkit::sign::{self, RequestParts};
use testkit::{Database, DevKeys, Servers, Vhost};

use crate::cli::Cli;

const BODY: &str = r#"{"txRef":"TX1","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
const REPORT: &str = "018f0000-0000-7000-8000-000000000002";

async fn fixture() -> Result<(Cli, Database, Vhost, tempfile::TempDir)> {
    let servers = Servers::shared()?;
    let (database, vhost) = (servers.database().await?, servers.vhost().await?);
    let dir = tempfile::tempdir()?;
    let keys = DevKeys::generate(dir.path())?;
    let cli = Cli::new().on(&database)?.broker(&vhost).keys(&keys);
    cli.ok(&["topology", "declare"])?;
    let parts = RequestParts {
        kid: testkit::keys::MPESA_KID,
        timestamp: 1_767_225_600,
        method: "POST",
        path: "/callbacks/mpesa",
        query: "",
        idempotency_key: "",
        body: BODY.as_bytes(),
    };
    let signature = sign::mpesa(&keys.mpesa_secret_hex, &parts)?;
    database.sql(&format!(
        "insert into mpesa_reports (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, \
         receipt, amount_shillings, paid, content_hash, late) values ('{REPORT}', 'TX1', '{}', \
         convert_to('{BODY}', 'UTF8'), '1767225600', '{signature}', '/callbacks/mpesa', '', 'NLJ7RT61SV', 150, true, \
         decode(repeat('00', 32), 'hex'), true)",
        testkit::keys::MPESA_KID
    ))?;
    Ok((cli, database, vhost, dir))
}

#[tokio::test]
async fn an_accepted_late_report_goes_out_once_as_a_sealed_message() -> Result<()> {
    let (cli, database, vhost, _dir) = fixture().await?;
    assert_eq!(cli.json(&["payments", "late"])?[0]["reportId"], REPORT);
    let accept = ["payments", "accept", REPORT, "--reason", "M-Pesa outage", "--yes"];
    assert_eq!(cli.json(&accept)?["messagesSent"], 1);
    assert!(
        cli.ok(&accept)?.contains("accepted by tester"),
        "a second time changes nothing"
    );
    let sent = vhost.peek("mpesa.result.v1", 10).await?;
    assert_eq!(sent.len(), 1);
    let envelope: Value = serde_json::from_str(sent[0]["payload"].as_str().unwrap_or_default())?;
    let body: Value = serde_json::from_str(envelope["body"].as_str().unwrap_or_default())?;
    assert_eq!(
        (&body["late"], &body["acceptedBy"]),
        (&true.into(), &"tester".into()),
        "{body}"
    );
    assert_eq!(database.sql("select count(*) from ops_outbox")?, "0");
    assert_eq!(
        database.sql("select count(*) from audit_log where action = 'payments.accept'")?,
        "1"
    );
    assert_eq!(cli.json(&["payments", "late"])?, serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn an_acceptance_survives_a_broker_that_is_down() -> Result<()> {
    let (cli, database, vhost, _dir) = fixture().await?;
    let cut = cli.clone().with("AMQP_URL", "amqp://u:p@127.0.0.1:1/v");
    let accept = ["payments", "accept", REPORT, "--reason", "M-Pesa outage", "--yes"];
    let ran = cut.run(&accept)?;
    assert!(ran.code == 2 && ran.stderr.contains("nothing is lost"), "{ran:?}");
    assert_eq!(database.sql("select count(*) from ops_outbox")?, "1");
    // A command that was killed still holds it.
    database.sql("update ops_outbox set claimed_until = now() + interval '1 hour'")?;
    let ran = cli.run(&accept)?;
    assert!(
        ran.code == 1 && ran.stdout.contains("messages waiting") && ran.stderr.contains("half a minute"),
        "{ran:?}"
    );
    database.sql("update ops_outbox set claimed_until = null")?;
    assert_eq!(cli.json(&accept)?["messagesSent"], 1);
    assert_eq!(vhost.peek("mpesa.result.v1", 10).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_changed_report_is_not_accepted() -> Result<()> {
    let (cli, database, vhost, _dir) = fixture().await?;
    database.sql("update mpesa_reports set body = convert_to(replace(convert_from(body, 'UTF8'), '150', '950'), 'UTF8')")?;
    let ran = cli.run(&["payments", "accept", REPORT, "--reason", "x", "--yes"])?;
    assert!(ran.code == 2 && ran.stderr.contains("does not verify"), "{ran:?}");
    assert_eq!(vhost.peek("mpesa.result.v1", 10).await?.len(), 0);
    Ok(())
}
