//! Rotates every kind of secret under load: no valid request is refused, and the old secret is refused afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::app::App;
use testkit::client::{Reply, fresh_address, fresh_key, intent_body, paid_body};
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};
use testkit::{ChildService, Client, eventually};

use e2e::runbook::{self, Block};

use crate::TIMEOUT;
use crate::load::{Load, loaded};

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

const SETTLED_WITHIN: Duration = Duration::from_secs(150);
const QUEUES: [&str; 5] = [
    "mint.submit",
    "mint.execute",
    "mint.refund",
    "mint.outcome",
    "mpesa.result",
];

/// Returns the secret that `keys add --print-secret` prints.
async fn add(app: &App, args: &[&str]) -> Result<String> {
    let shown = app
        .wiring
        .fiatrails(&[&["keys", "add"], args, &["--print-secret", "--json"]].concat())
        .await?;
    let printed: Value = serde_json::from_str(&shown)?;
    Ok(printed["secretHex"]
        .as_str()
        .context("no secret was printed")?
        .to_owned())
}

/// The arguments of a command in which none has a space.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// Polls until the gateway knows the client's keys: they answer something else than 401.
async fn known(client: &Client, what: &str) -> Result<()> {
    eventually(TIMEOUT, what, async || {
        let read = client.read(&format!("0x{}", "00".repeat(32))).await?.status;
        let callback = client.callback(&json!({})).await?.status;
        ensure!(read == 404 && callback == 400, "{read} and {callback}");
        Ok(Some(()))
    })
    .await
}

/// Retires the old M-Pesa key once nothing needs its secret.
async fn until_retired(app: &App) -> Result<()> {
    let retire = words("keys revoke mk_dev_0001 --as-state retired --reason rotation --yes --json");
    eventually(
        SETTLED_WITHIN,
        "the old M-Pesa secret is not needed any more",
        async || {
            let printed: Value = serde_json::from_str(&app.wiring.fiatrails(&retire).await?)?;
            let removed = printed["removed"].as_array().map_or(0, Vec::len);
            Ok((removed > 0).then_some(()))
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_integrators_and_of_mpesa_rotate_without_a_refused_request() -> Result<()> {
    let app = App::start().await?;
    let (load, before) = loaded(&app, "HMAC-").await?;
    let old = app.client()?;
    let mut new = old.clone();
    new.request_secret_hex = add(&app, &["integrator", "dev", "--kid", "ik_dev_0002"]).await?;
    new.request_kid = "ik_dev_0002".into();
    new.mpesa_secret_hex = add(&app, &["mpesa", "--kid", "mk_dev_0002"]).await?;
    new.mpesa_kid = "mk_dev_0002".into();
    known(&new, "the gateway knows the new keys").await?;
    let moved = new.clone();
    load.switch(|client| *client = moved).await?;

    app.wiring
        .fiatrails(&["keys", "revoke", "ik_dev_0001", "--reason", "rotation", "--yes"])
        .await?;
    until_retired(&app).await?;
    load.more_turns(3).await?;

    let user = fresh_address()?;
    eventually(TIMEOUT, "the old keys are refused", async || {
        let create = old.create(&fresh_key()?, &intent_body(&user, 1, "OLD-1")).await?;
        let callback = old.callback(&paid_body("OLD-1", 1, "OLDOLDOLD1")?).await?;
        let codes = (create.code(), callback.code());
        ensure!(create.status == 401 && callback.status == 401, "{codes:?}");
        Ok(Some(()))
    })
    .await?;
    // An answer is signed with the key of its request, so the response key rotates too; `Client` checks every answer.
    let listed: Value = serde_json::from_str(&app.wiring.fiatrails(&["keys", "list", "--json"]).await?)?;
    for (kid, state) in [("ik_dev_0001", "revoked"), ("mk_dev_0001", "retired")] {
        let line = find(&listed, kid, "")?;
        assert_eq!(
            (&line["state"], &line["file"]),
            (&state.into(), &false.into()),
            "{line}"
        );
    }
    until_used(&app, "ik_dev_0002", "").await?;
    for kid in ["ik_dev_0002", "mk_dev_0002"] {
        let series = format!("fiatrails_key_last_use_timestamp_seconds{{key=\"{kid}\"}}");
        until_shown(app.gateway.as_ref(), &series).await?;
    }
    load.nothing_was_lost(&app, before).await
}

fn find<'v>(listed: &'v Value, kid: &str, owner: &str) -> Result<&'v Value> {
    let lines = listed.as_array().context("a list")?;
    lines
        .iter()
        .find(|line| line["keyId"] == kid && (owner.is_empty() || line["owner"] == owner))
        .with_context(|| format!("{kid} is not listed"))
}

async fn until_used(app: &App, kid: &str, owner: &str) -> Result<()> {
    eventually(TIMEOUT, &format!("{kid} {owner} was used"), async || {
        let listed: Value = serde_json::from_str(&app.wiring.fiatrails(&["keys", "list", "--json"]).await?)?;
        Ok(find(&listed, kid, owner)?["lastUsedAt"].is_string().then_some(()))
    })
    .await
}

/// The last use of a key is on a service's admin port.
async fn until_shown(service: Option<&ChildService>, series: &str) -> Result<()> {
    let service = service.context("the service runs")?;
    let url = format!("{}/metrics", service.admin_url()?);
    let http = testkit::http::client()?;
    eventually(TIMEOUT, series, async || {
        let text = http.get(&url).send().await?.text().await?;
        Ok(text.contains(series).then_some(()))
    })
    .await
}

/// Gives every queue a new key and retires the old ones, which takes until nothing is sealed under them.
async fn replace_pipeline_keys(app: &App) -> Result<()> {
    for queue in QUEUES {
        add(app, &["pipeline", queue, "--kid", "pk_zz_0002"]).await?;
    }
    let retire = words("keys retire pk_dev_0001 --queue mint.submit --reason r --yes");
    let early = app.wiring.fiatrails(&retire).await;
    assert!(format!("{:#}", early.err().context("it was too early")?).contains("not old enough"));

    for queue in QUEUES {
        let retire =
            format!("keys retire pk_dev_0001 --queue {queue} --in-flight 3s --reason rotation --yes");
        let retire = words(&retire);
        eventually(
            SETTLED_WITHIN,
            &format!("{queue}: nothing needs the old key"),
            async || app.wiring.fiatrails(&retire).await.map(Some),
        )
        .await?;
        // No intent of this test is refunded.
        if queue != "mint.refund" {
            until_used(app, "pk_zz_0002", queue).await?;
        }
    }
    for (service, queue) in [
        (app.executor.as_ref(), "mint.execute.v1"),
        (app.callback.as_ref(), "mpesa.result.v1"),
    ] {
        let labels = format!("{{queue=\"{queue}\",key=\"pk_zz_0002\"}}");
        until_shown(
            service,
            &format!("fiatrails_pipeline_key_last_use_timestamp_seconds{labels}"),
        )
        .await?;
    }
    Ok(())
}

/// An answer under the old key, and the request that gets it again.
struct KeptAnswer {
    answer: Reply,
    key: String,
    body: Value,
}

/// Retires the key of stored answers, which takes until no answer under it may be asked for.
async fn replace_stored_answer_key(app: &App, load: &Load, client: &Client, kept: &KeptAnswer) -> Result<()> {
    let again = client.create(&kept.key, &kept.body).await?;
    let printed = (
        again.status,
        again.header("Idempotent-Replayed").map(str::to_owned),
    );
    assert_eq!(
        printed,
        (201, Some("true".into())),
        "an answer under the old key is still served"
    );
    assert_eq!(again.body, kept.answer.body);
    until_used(app, "sk_zz_0002", "").await?;
    let renew = ["keys", "renew", "sk_dev_0001", "--reason", "rotation", "--yes"];
    let retire = ["keys", "retire", "sk_dev_0001", "--reason", "rotation", "--yes"];
    app.wiring.fiatrails(&renew).await?;
    let early = app.wiring.fiatrails(&retire).await;
    ensure!(early.is_err(), "answers under the old key are still replayed");
    // Simulates that a day has passed.
    app.database.sql(
        "update idempotency_keys set created_at = created_at - interval '2 days' where mac_key_id = 'sk_dev_0001'",
    )?;
    app.wiring.fiatrails(&retire).await?;
    load.more_turns(3).await?;
    eventually(TIMEOUT, "an answer under the old key is refused", async || {
        app.database
            .sql("update idempotency_keys set created_at = now() where mac_key_id = 'sk_dev_0001'")?;
        let code = client.create(&kept.key, &kept.body).await?.code();
        Ok((code.as_deref() == Some("stored-response-tampered")).then_some(()))
    })
    .await
}

/// A message sealed with the old key is not processed: it is retried until its key returns, which never happens here.
async fn waits_for_its_key(app: &App, genuine: &str) -> Result<()> {
    let envelope: Value = serde_json::from_str(genuine)?;
    assert_eq!(envelope["kid"], "pk_dev_0001");
    let publish = json!({
        "properties": {"delivery_mode": 2}, "routing_key": "mint.execute.v1", "payload": genuine,
        "payload_encoding": "string",
    });
    let path = format!("exchanges/{}/fiatrails.work/publish", app.vhost.name());
    app.vhost.management().post(&path, &publish).await?;
    eventually(TIMEOUT, "it waits in a delay queue", async || {
        for step in 1..=5 {
            let waiting = app.vhost.peek(&format!("delay.{step}.v1"), 50).await?;
            if waiting
                .iter()
                .any(|one| one["payload"].as_str().is_some_and(|p| p.contains("pk_dev_0001")))
            {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipeline_and_stored_answer_keys_rotate_without_a_refused_request() -> Result<()> {
    let app = App::start().await?;
    let (load, before) = loaded(&app, "PIPE-").await?;
    let client = app.client()?;
    let user = fresh_address()?;
    let (key, body) = (fresh_key()?, intent_body(&user, 1, "PIPE-KEPT"));
    let kept = KeptAnswer {
        answer: client.create(&key, &body).await?,
        key,
        body,
    };
    assert_eq!(kept.answer.status, 201);
    let kept_id = kept.answer.json()?["intentId"]
        .as_str()
        .context("an id")?
        .to_owned();

    let genuine = eventually(TIMEOUT, "a command sealed under the old key", async || {
        let envelope = app
            .database
            .sql("select convert_from(envelope, 'UTF8') from work_items where command = 'execute' limit 1")?;
        Ok((!envelope.is_empty()).then_some(envelope))
    })
    .await?;
    add(&app, &["stored-answer", "--kid", "sk_zz_0002"]).await?;
    replace_pipeline_keys(&app).await?;
    replace_stored_answer_key(&app, &load, &client, &kept).await?;
    let read = client.read(&kept_id).await?;
    assert_eq!(
        read.status, 200,
        "an intent of before is shown: its MAC was renewed"
    );

    waits_for_its_key(&app, &genuine).await?;
    load.nothing_was_lost(&app, before).await
}

/// Writes the service's database URL to a file and restarts the service with it.
async fn from_file(service: &mut Option<ChildService>, url: &str, dir: &std::path::Path) -> Result<String> {
    let service = service.as_mut().context("the service runs")?;
    let file = dir.join(service.name());
    std::fs::write(&file, url)?;
    service.set_env("DATABASE_URL", "");
    service.set_env("DATABASE_URL_FILE", &file);
    service.restart().await?;
    Ok(file.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_logins_rotate_without_a_restart_and_without_a_refused_request() -> Result<()> {
    let mut app = App::start().await?;
    let dir = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (name, service) in [
        (GATEWAY, &mut app.gateway),
        (CALLBACK, &mut app.callback),
        (EXECUTOR, &mut app.executor),
    ] {
        let env = app.wiring.env(name)?;
        let url = env
            .iter()
            .find(|(name, _)| name == "DATABASE_URL")
            .context("a URL")?
            .1
            .clone();
        let file = from_file(service, &url, dir.path()).await?;
        files.push((testkit::wiring::login_name(name), url, file));
    }
    let (load, before) = loaded(&app, "LOGIN-").await?;
    let pids =
        |app: &App| [&app.gateway, &app.callback, &app.executor].map(|s| s.as_ref().map(ChildService::pid));
    let begun = pids(&app);
    for (service, old_url, file) in &files {
        if service.ends_with(GATEWAY) {
            as_the_runbook_says(&app, service, file)?;
        } else {
            rotate_login(&app, service, file).await?;
        }
        load.more_turns(2).await?;
        assert!(
            testkit::postgres::psql(old_url, "select 1").is_err(),
            "the old password is refused"
        );
    }
    assert_eq!(pids(&app), begun, "no service was restarted");
    load.nothing_was_lost(&app, before).await?;
    let made = app.database.sql(&format!(
        "select string_agg(rolname, ',') from pg_roles where rolname ~ '^{}_[a-z]+_[0-9]+$'",
        app.database.name()
    ))?;
    // Roles belong to the shared server, so the services must disconnect before the roles are dropped.
    (app.gateway, app.callback, app.executor) = (None, None, None);
    for role in made.split(',') {
        app.database.sql(&format!("drop role {role}"))?;
    }
    Ok(())
}

/// The runbook's steps for a login, as written, with the names of this test.
fn as_the_runbook_says(app: &App, service: &str, file: &str) -> Result<()> {
    let block = runbook::block_of(RUNBOOK, file!())?;
    let code = block
        .code
        .replace("/run/fiatrails/database/gateway/url", file)
        // Here each database has logins of its own.
        .replace(
            "retire gateway",
            &format!("retire {}_{service}", app.database.name()),
        );
    ensure!(code.contains(file), "the runbook writes no file: {code}");
    let block = Block { code: &code, ..block };
    runbook::run(app, &block).map(drop)
}

async fn rotate_login(app: &App, service: &str, file: &str) -> Result<()> {
    let rotate = [
        "logins",
        "rotate",
        service,
        "--url-file",
        file,
        "--reason",
        "rotation",
        "--json",
    ];
    let printed: Value = serde_json::from_str(&app.wiring.fiatrails(&rotate).await?)?;
    assert_eq!(printed["seen"], true, "{printed}");
    let old = printed["old"].as_str().context("the old login")?;
    app.wiring
        .fiatrails(&["logins", "retire", old, "--reason", "rotation", "--yes"])
        .await?;
    Ok(())
}
