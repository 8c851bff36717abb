//! Keys retire only when nothing needs them, and a database login only when nobody is connected with it.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use messaging::{Outgoing, WorkQueue};
use serde_json::Value;
use testkit::Servers;
use testkit::database::url_as;

use crate::cli::Cli;
use crate::dlq_rig::Rig;

const OLD: &str = "pk_dev_0001";

impl Rig {
    fn retire(&self) -> Result<(i32, Value)> {
        let ran = self.cli.run(&[
            "keys",
            "retire",
            OLD,
            "--queue",
            "mint.refund",
            "--in-flight",
            "0s",
            "--settle",
            "0s",
            "--reason",
            "rotation",
            "--yes",
            "--json",
        ])?;
        let output = if ran.stdout.is_empty() {
            &ran.stderr
        } else {
            &ran.stdout
        };
        let line = output
            .lines()
            .find(|line| line.starts_with('{'))
            .unwrap_or("null");
        Ok((
            ran.code,
            serde_json::from_str(output).or_else(|_| serde_json::from_str(line))?,
        ))
    }

    /// As if the key had been written a while ago.
    fn age(&self, kid: &str) -> Result<()> {
        let path = self.keys.dir("ops").join("pipeline/mint.refund").join(kid);
        let file = std::fs::File::options().write(true).open(path)?;
        #[expect(clippy::disallowed_methods, reason = "a file's time is the system's")]
        let now = SystemTime::now();
        Ok(file.set_modified(now - Duration::from_mins(1))?)
    }
}

#[tokio::test]
async fn a_pipeline_key_stays_while_anything_is_sealed_under_it() -> Result<()> {
    let rig = Rig::start().await?;
    let file = rig.keys.dir("ops").join("pipeline/mint.refund").join(OLD);
    let (code, output) = rig.retire()?;
    assert!(
        code == 2
            && output["error"]
                .as_str()
                .is_some_and(|e| e.contains("the one that seals")),
        "{output}"
    );
    rig.cli
        .ok(&["keys", "add", "pipeline", "mint.refund", "--kid", "pk_zz"])?;
    let (code, output) = rig.retire()?;
    assert!(
        code == 2
            && output["error"]
                .as_str()
                .is_some_and(|e| e.contains("not old enough")),
        "{output}"
    );
    rig.age("pk_zz")?;

    let parked = rig.message("TX1")?;
    rig.park(&parked.bytes, "unavailable").await?;
    // A forged message names the key and does not count.
    let forged = String::from_utf8(rig.message("TX2")?.bytes)?.replace("declined", "operator");
    rig.park(forged.as_bytes(), "seal_invalid").await?;
    let (code, output) = rig.retire()?;
    assert_eq!(
        (code, &output["sealed"]["dead.mint.refund.v1"]),
        (1, &1.into()),
        "{output}"
    );
    rig.cli.ok(&[
        "dlq",
        "reseal",
        "--class",
        "unavailable",
        "--reason",
        "rotation",
        "--yes",
    ])?;

    let hex = hex::encode(&rig.message("TX3")?.bytes);
    rig.database.sql(&format!(
        "insert into callback_outbox (message_id, queue, subject, envelope) \
         values (gen_random_uuid(), 'mint.refund.v1', 'TX3', decode('{hex}', 'hex')); \
         insert into work_items (message_id, intent_id, command, state, envelope) values \
         (gen_random_uuid(), decode(repeat('00', 32), 'hex'), 'refund', 'ready', decode('{hex}', 'hex'))"
    ))?;
    let (code, output) = rig.retire()?;
    assert_eq!(
        (
            code,
            &output["sealed"]["callback_outbox"],
            &output["sealed"]["work_items"]
        ),
        (1, &1.into(), &1.into()),
        "{output}"
    );
    rig.database
        .sql("delete from callback_outbox; update work_items set state = 'done'")?;

    let waiting = rig.message("TX4")?;
    rig.publisher
        .publish(Outgoing::work(
            WorkQueue::MintRefund,
            waiting.message_id,
            waiting.bytes,
        ))
        .await?;
    let (code, output) = rig.retire()?;
    assert!(
        code == 2
            && output["error"]
                .as_str()
                .is_some_and(|e| e.contains("wait on mint.refund")),
        "{output}"
    );
    assert!(file.exists());
    rig.vhost.purge("mint.refund.v1").await?;

    let (code, output) = rig.retire()?;
    assert_eq!((code, &output["retired"]), (0, &true.into()), "{output}");
    assert!(!file.exists());
    assert_eq!(
        rig.database
            .sql("select target from audit_log where action = 'keys.retire'")?,
        OLD
    );
    Ok(())
}

#[tokio::test]
async fn a_stored_answer_key_stays_while_an_answer_may_be_replayed() -> Result<()> {
    let database = Servers::shared()?.database().await?;
    let dir = tempfile::tempdir()?;
    let root = dir.path().display().to_string();
    let cli = Cli::new().on(&database)?.with("FIATRAILS_KEYS_ROOT", &*root);
    cli.ok(&["keys", "add", "stored-answer", "--kid", "sk_1"])?;
    cli.ok(&["keys", "add", "stored-answer", "--kid", "sk_2"])?;
    let newer = std::fs::File::options()
        .write(true)
        .open(dir.path().join("ops/stored-answer/sk_2"))?;
    newer.set_modified(SystemTime::UNIX_EPOCH)?;
    database.sql(
        "insert into idempotency_keys (integrator, idempotency_key, fingerprint, status, body, mac_key_id, mac) \
         values ('acme', 'k', decode(repeat('00', 32), 'hex'), 201, '', 'sk_1', decode(repeat('00', 32), 'hex'))",
    )?;
    let retire = ["keys", "retire", "sk_1", "--reason", "rotation", "--yes"];
    let kept = cli.run(&[&retire[..], &["--json"]].concat())?;
    let output: Value = serde_json::from_str(&kept.stdout)?;
    assert_eq!(
        (kept.code, &output["sealed"]["idempotency_keys"]),
        (1, &1.into()),
        "{output}"
    );
    database.sql("update idempotency_keys set created_at = now() - interval '2 days'")?;
    assert_eq!(cli.json(&retire)?["retired"], true);
    for service in ["ops", "gateway"] {
        assert!(!dir.path().join(service).join("stored-answer/sk_1").exists());
        assert!(dir.path().join(service).join("stored-answer/sk_2").exists());
    }
    Ok(())
}

#[tokio::test]
async fn a_database_login_is_renewed_beside_the_old_one() -> Result<()> {
    let database = Servers::shared()?.database().await?;
    let old_url = database.login("gateway")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("url");
    std::fs::write(&file, &old_url)?;
    let path = file.display().to_string();
    let cli = Cli::new().with("DATABASE_URL", database.url());
    let rotate = [
        "logins",
        "rotate",
        "gateway",
        "--url-file",
        &path,
        "--wait",
        "0s",
        "--reason",
        "yearly",
        "--json",
    ];
    let wrong = cli.run(&[
        "logins",
        "rotate",
        "callback",
        "--url-file",
        &path,
        "--reason",
        "yearly",
    ])?;
    assert!(wrong.code == 2 && wrong.stderr.contains("no member"), "{wrong:?}");
    let ran = cli.run(&rotate)?;
    let output: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(
        (ran.code, &output["seen"]),
        (1, &false.into()),
        "no service follows the file here: {output}"
    );
    let new_url = std::fs::read_to_string(&file)?;
    let (old, new) = (
        output["old"].as_str().unwrap_or_default(),
        output["new"].as_str().unwrap_or_default(),
    );
    for url in [old_url.as_str(), new_url.trim()] {
        assert_eq!(testkit::postgres::psql(url, "select 1")?.trim(), "1", "both work");
    }
    let rights = testkit::postgres::psql(new_url.trim(), "delete from payments");
    assert!(rights.is_err(), "the gateway's rights and no more");

    let foreign = cli.run(&["logins", "retire", "postgres", "--reason", "x", "--yes"])?;
    assert!(
        foreign.code == 2 && foreign.stderr.contains("no login of a service"),
        "{foreign:?}"
    );
    assert_eq!(
        cli.json(&["logins", "retire", old, "--reason", "yearly", "--yes"])?["retired"],
        true
    );
    assert!(
        testkit::postgres::psql(&old_url, "select 1").is_err(),
        "the old password is refused"
    );
    assert_eq!(testkit::postgres::psql(new_url.trim(), "select 1")?.trim(), "1");
    let actions = database.sql("select string_agg(action, ' ' order by id) from audit_log")?;
    assert_eq!(actions, "logins.rotate logins.retire");
    assert!(
        url_as(&new_url, new, "wrong").is_ok_and(|url| testkit::postgres::psql(&url, "select 1").is_err())
    );
    database.sql(&format!("drop owned by {new}; drop role {new}"))?;
    Ok(())
}
