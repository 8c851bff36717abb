use anyhow::{Context, Result};
use testkit::anvil::EXECUTOR_PRIVATE_KEY;
use testkit::app::App;
use testkit::client::{fresh_address, paid_body};

use crate::TIMEOUT;

/// Every secret that any of the services was given.
fn canaries(app: &App) -> Result<Vec<String>> {
    let mut all = vec![
        EXECUTOR_PRIVATE_KEY.trim_start_matches("0x").to_owned(),
        app.wiring.database_password.clone(),
        app.wiring.amqp_password.clone(),
    ];
    let mut folders = vec![app.keys.dir("ops")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push(std::fs::read_to_string(path)?.trim().to_owned());
            }
        }
    }
    Ok(all)
}

#[tokio::test]
async fn no_log_or_metric_of_any_service_holds_a_secret() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 10, "SECRET-1").await?;
    app.report_payment("SECRET-1", 10, "RCPT0000030").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    // Errors are the most likely place for a leak.
    let mut wrong = app.client()?;
    wrong.mpesa_secret_hex = "00".repeat(32);
    assert_eq!(
        wrong
            .callback(&paid_body("SECRET-2", 1, "RCPT0000031")?)
            .await?
            .status,
        401
    );

    let canaries = canaries(&app)?;
    assert!(canaries.len() >= 10, "the secrets were not found");
    let http = testkit::http::client()?;
    for service in [&app.gateway, &app.executor, &app.callback] {
        let service = service.as_ref().context("the service runs")?;
        let metrics = http
            .get(format!("{}/metrics", service.admin_url()?))
            .send()
            .await?
            .text()
            .await?;
        let text = service.log() + &metrics;
        assert!(text.len() > 500, "nothing was logged");
        for secret in &canaries {
            assert!(
                !text.contains(secret.as_str()),
                "a secret is in the log or the metrics"
            );
        }
        // The payer's number is personal data.
        assert!(!text.contains("254708374149"), "a phone number is in the log");
    }
    Ok(())
}
