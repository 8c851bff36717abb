//! Commands over a real database, with the operator's own rights.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use testkit::{Database, Servers};

use crate::cli::Cli;

async fn fixture() -> Result<(Database, Cli)> {
    let database = Servers::shared()?.database().await?;
    let cli = Cli::new().on(&database)?;
    Ok((database, cli))
}

#[tokio::test]
async fn migrate_makes_the_schema_and_logins_that_can_do_only_their_service() -> Result<()> {
    let servers = Servers::shared()?;
    let database = Database::create_empty(&servers.pg_url).await?;
    let prefix = format!("{}_", database.name());
    let mut cli = Cli::new().with("DATABASE_URL", database.url());
    let planned = cli.json(&["migrate", "--dry-run"])?;
    assert!(
        planned["migrations"].as_array().is_some_and(|m| !m.is_empty()),
        "{planned}"
    );
    let early = cli.run(&["migrate", "--login-roles"])?;
    assert!(
        early.code == 2 && early.stderr.contains("GATEWAY_DB_PASSWORD"),
        "{early:?}"
    );
    assert_eq!(
        database.sql("select to_regclass('mint_intents') is null")?,
        "t",
        "nothing before all is known"
    );
    for service in ["GATEWAY", "CALLBACK", "EXECUTOR", "OPS"] {
        cli = cli.with(&format!("{service}_DB_PASSWORD"), "canary-password-0123456789");
    }
    let args = ["migrate", "--login-roles", "--login-prefix", &prefix];
    let first = cli.ok(&args)?;
    assert!(
        first.contains("applied V1") && first.contains(&format!("login {prefix}gateway is ready")),
        "{first}"
    );
    let again = cli.ok(&args)?;
    assert!(
        again.contains("up to date") && !again.contains("canary"),
        "{again}"
    );

    let url = testkit::database::url_as(
        &database.url(),
        &format!("{prefix}ops"),
        "canary-password-0123456789",
    )?;
    let ops = Cli::new().with("DATABASE_URL", url);
    ops.ok(&["halt", "intake", "--reason", "drill"])?;
    let denied = ops.run(&["migrate"])?;
    assert_eq!(denied.code, 2, "{denied:?}");
    let stored = database.sql(&format!(
        "select rolpassword from pg_authid where rolname = '{prefix}gateway'"
    ))?;
    assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");
    // Every deployment migrates anew, with the passwords of the first day.
    let retired = format!("{prefix}gateway");
    cli.ok(&["logins", "retire", &retired, "--reason", "rotated", "--yes"])?;
    let later = cli.ok(&args)?;
    assert!(
        later.contains(&format!("login {retired} was retired and stays so"))
            && later.contains(&format!("login {prefix}ops is ready"))
            && !later.contains(&format!("login {retired} is ready")),
        "{later}"
    );
    let old = testkit::database::url_as(&database.url(), &retired, "canary-password-0123456789")?;
    assert!(
        testkit::postgres::psql(&old, "select 1").is_err(),
        "a retired login came back"
    );
    for service in ["gateway", "callback", "executor", "ops"] {
        database.sql(&format!("drop role {prefix}{service}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn halt_and_resume_are_audited_and_need_a_reason() -> Result<()> {
    let (database, cli) = fixture().await?;
    let bare = cli.run(&["halt", "execute"])?;
    assert!(bare.code == 2 && bare.stderr.contains("--reason"), "{bare:?}");
    let empty = cli.run(&["halt", "execute", "--reason", "  "])?;
    assert!(
        empty.code == 2 && empty.stderr.contains("--reason is empty"),
        "{empty:?}"
    );
    assert_eq!(
        cli.json(&["halt", "execute", "--reason", "INC-42"])?["changed"],
        true
    );
    assert_eq!(
        cli.json(&["halt", "execute", "--reason", "again"])?["changed"],
        false
    );
    let shown = cli.json(&["halt"])?;
    let execute = shown
        .as_array()
        .and_then(|all| all.iter().find(|s| s["scope"] == "execute"))
        .cloned();
    assert_eq!(
        execute.map(|s| (s["halted"].clone(), s["changedBy"].clone())),
        Some((true.into(), "tester".into()))
    );
    cli.ok(&["--as", "anna", "resume", "execute", "--reason", "closed"])?;
    let audit = database
        .sql("select actor || ' ' || action || ' ' || target || ' ' || reason from audit_log order by id")?;
    assert_eq!(audit, "tester halt execute INC-42\nanna resume execute closed");
    let nobody = Cli::new()
        .on(&database)?
        .with("USER", "")
        .run(&["halt", "intake", "--reason", "x"])?;
    assert!(nobody.code == 2 && nobody.stderr.contains("--as"), "{nobody:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_is_added_restricted_and_revoked_with_audit() -> Result<()> {
    let (database, cli) = fixture().await?;
    let dir = tempfile::tempdir()?;
    let cli = cli.with("FIATRAILS_KEYS_ROOT", dir.path().display().to_string());
    let args = [
        "keys",
        "add",
        "integrator",
        "acme",
        "--kid",
        "ik_acme_1",
        "--tx-ref-prefix",
        "ACME-",
        "--not-after",
        "2099-01-01T00:00:00Z",
    ];
    let added = cli.ok(&args)?;
    let file = dir.path().join("gateway/integrator/acme/ik_acme_1");
    let secret = std::fs::read_to_string(&file)?;
    assert_eq!(secret.trim().len(), 64);
    assert!(!added.contains(secret.trim()), "not shown unless asked for");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        database.sql("select owner from tx_ref_prefixes where prefix = 'ACME-'")?,
        "acme"
    );
    let dump = database.sql("select api_keys::text || audit_log::text from api_keys, audit_log")?;
    assert!(
        dump.contains("ik_acme_1") && !dump.contains(secret.trim()),
        "{dump}"
    );

    let taken = cli.run(&["keys", "add", "integrator", "rival", "--tx-ref-prefix", "ACME-"])?;
    assert!(
        taken.code == 2 && taken.stderr.contains("belongs to acme"),
        "{taken:?}"
    );
    assert_eq!(
        database.sql("select count(*) from api_keys")?,
        "1",
        "all or nothing"
    );
    assert_eq!(cli.run(&args)?.code, 2, "a key id is for ever");

    let shown = cli.ok(&["keys", "add", "mpesa", "--kid", "mk_1", "--print-secret"])?;
    let mpesa = std::fs::read_to_string(dir.path().join("callback/mpesa/mk_1"))?;
    assert!(shown.contains(mpesa.trim()));
    database.sql("insert into api_key_usage values ('ik_acme_1', '2026-01-01T00:00:00Z')")?;
    let listed = cli.json(&["keys", "list"])?;
    let line = listed
        .as_array()
        .and_then(|all| all.iter().find(|k| k["keyId"] == "ik_acme_1"))
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        (&line["lastUsedAt"], &line["file"]),
        (&"2026-01-01T00:00:00Z".into(), &true.into()),
        "{line}"
    );
    assert!(!listed.to_string().contains(secret.trim()));

    let unasked = cli.run(&["keys", "revoke", "ik_acme_1", "--reason", "rotated"])?;
    assert!(
        unasked.code == 2 && unasked.stderr.contains("--yes") && file.exists(),
        "{unasked:?}"
    );
    cli.ok(&["keys", "revoke", "ik_acme_1", "--reason", "rotated", "--yes"])?;
    assert!(!file.exists() && !dir.path().join("ops/integrator/acme/ik_acme_1").exists());
    assert_eq!(
        database.sql("select state from api_keys where key_id = 'ik_acme_1'")?,
        "revoked"
    );
    assert_eq!(
        database.sql("select count(*) from audit_log where action like 'keys.%'")?,
        "3"
    );
    Ok(())
}

#[tokio::test]
async fn a_retired_mpesa_key_keeps_its_secret_while_a_report_is_undecided() -> Result<()> {
    let (database, cli) = fixture().await?;
    let dir = tempfile::tempdir()?;
    let cli = cli.with("FIATRAILS_KEYS_ROOT", dir.path().display().to_string());
    cli.ok(&["keys", "add", "mpesa", "--kid", "mk_1"])?;
    let refused = cli.run(&["keys", "revoke", "mk_1", "--reason", "x", "--yes"])?;
    assert!(
        refused.code == 2 && refused.stderr.contains("retired"),
        "{refused:?}"
    );
    database.sql(&report_row(
        "018f0000-0000-7000-8000-000000000001",
        "TX1",
        "mk_1",
        false,
    ))?;
    let retire = [
        "keys",
        "revoke",
        "mk_1",
        "--as-state",
        "retired",
        "--reason",
        "rotation",
        "--yes",
    ];
    assert_eq!(cli.json(&retire)?["undecidedReports"], 1);
    let file = dir.path().join("callback/mpesa/mk_1");
    assert!(file.exists());
    database.sql(
        "insert into report_outcomes values ('018f0000-0000-7000-8000-000000000001', 'TX1', 'confirmed')",
    )?;
    database
        .sql("insert into decisions (tx_ref, chain_leg, chain_final) values ('TX1', 'executed', true)")?;
    let early = cli.json(&retire)?;
    assert_eq!(early["undecidedReports"], 0);
    assert!(
        file.exists()
            && early["tryAgainSeconds"]
                .as_u64()
                .is_some_and(|s| (1..=30).contains(&s)),
        "a gateway may still be taking a report under it: {early}"
    );
    database.sql("update api_keys set updated_at = updated_at - interval '30 seconds'")?;
    assert_eq!(cli.json(&retire)?["tryAgainSeconds"], 0);
    assert!(!file.exists());

    cli.ok(&["keys", "add", "mpesa", "--kid", "mk_2"])?;
    let end = |state: &'static str| {
        [
            "keys",
            "revoke",
            "mk_2",
            "--as-state",
            state,
            "--reason",
            "r",
            "--yes",
        ]
    };
    cli.ok(&end("compromised"))?;
    assert!(!dir.path().join("callback/mpesa/mk_2").exists());
    let refused = cli.run(&end("retired"))?;
    assert!(
        refused.code == 2 && refused.stderr.contains("is compromised"),
        "{refused:?}"
    );
    assert_eq!(
        database.sql("select state from api_keys where key_id = 'mk_2'")?,
        "compromised"
    );
    Ok(())
}

fn report_row(id: &str, tx_ref: &str, key_id: &str, late: bool) -> String {
    format!(
        "insert into mpesa_reports (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, \
         receipt, amount_shillings, paid, content_hash, late) values ('{id}', '{tx_ref}', '{key_id}', '', '1', 'x', \
         '/callbacks/mpesa', '', 'NLJ7RT61SV', 150, true, decode(repeat('00', 32), 'hex'), {late})"
    )
}

#[tokio::test]
async fn an_exception_is_resolved_once_with_a_text() -> Result<()> {
    let (database, cli) = fixture().await?;
    database.sql(
        "insert into exceptions (kind, tx_ref, receipt, amount_shillings, detail, is_hold) \
         values ('owed_to_payer', 'TX1', 'NLJ7RT61SV', 150, 'refunded after payment', true)",
    )?;
    let listed = cli.json(&["exceptions", "list"])?;
    let id = listed[0]["id"].to_string();
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["holds"]),
        (&"owed_to_payer".into(), &true.into())
    );
    assert!(
        cli.ok(&["exceptions", "show", &id])?
            .contains("refunded after payment")
    );
    let resolve = ["exceptions", "resolve", &id, "--resolution", "reversed by NLK1"];
    assert!(cli.ok(&resolve)?.contains("is resolved"));
    let again = cli.run(&["exceptions", "resolve", &id, "--resolution", "other"])?;
    assert!(
        again.code == 1 && again.stdout.contains("resolved before"),
        "{again:?}"
    );
    let row = database.sql("select resolved_by || ': ' || resolution from exceptions")?;
    assert_eq!(row, "tester: reversed by NLK1");
    assert_eq!(
        database.sql("select target || ' ' || reason from audit_log")?,
        "TX1 reversed by NLK1"
    );
    assert!(cli.ok(&["exceptions", "list"])?.contains("nothing is open"));
    let unknown = cli.run(&["exceptions", "show", "999"])?;
    assert!(
        unknown.code == 2 && unknown.stderr.contains("no exception 999"),
        "{unknown:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_intent_is_shown_from_every_table_and_an_orphan_too() -> Result<()> {
    let (database, cli) = fixture().await?;
    let id = "ab".repeat(32);
    database.sql(&format!(
        "insert into mint_intents (intent_id, integrator, chain_id, escrow, depositor, user_address, amount, country_code, \
         tx_ref, idempotency_key, mac_key_id, mac) values (decode('{id}', 'hex'), 'acme', 31430, \
         decode(repeat('11', 20), 'hex'), decode(repeat('22', 20), 'hex'), decode(repeat('33', 20), 'hex'), \
         150000000000000000000, 'KES', 'TX1', 'k', 'sk', decode(repeat('00', 32), 'hex'))"
    ))?;
    let shown = cli.ok(&["intent", "show", "TX1"])?;
    assert!(
        shown.contains("pending for 150 KES") && shown.contains(&id),
        "{shown}"
    );
    database.sql("insert into decisions (tx_ref, payment_leg) values ('TX1', 'confirmed')")?;
    database.sql(
        "insert into exceptions (kind, tx_ref, detail, is_hold) values ('mismatch', 'TX1', 'odd', true)",
    )?;
    let value = cli.json(&["intent", "show", &format!("0x{id}")])?;
    assert_eq!(
        (&value["decision"]["payment"], &value["status"]),
        (&"confirmed".into(), &"pending".into()),
        "{value}"
    );
    assert_eq!(value["exceptions"][0]["holds"], true);

    database.sql(&report_row(
        "018f0000-0000-7000-8000-000000000002",
        "TX2",
        "mk_1",
        true,
    ))?;
    let orphan = cli.ok(&["intent", "show", "TX2"])?;
    assert!(orphan.contains("orphan") && orphan.contains("late"), "{orphan}");
    let unknown = cli.run(&["intent", "show", "TX3"])?;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));

    let list = |args: &[&str]| -> Result<usize> {
        let value = cli.json(&[&["intent", "list"], args].concat())?;
        Ok(value.as_array().map_or(0, Vec::len))
    };
    assert_eq!(list(&[])?, 1);
    assert_eq!(
        list(&[
            "--stage",
            "queued",
            "--payment",
            "confirmed",
            "--integrator",
            "acme",
            "--since",
            "1h"
        ])?,
        1
    );
    assert_eq!(
        list(&["--stage", "escrowed"])? + list(&["--integrator", "other"])? + list(&["--since", "0s"])?,
        0
    );
    let bad = cli.run(&["intent", "list", "--since", "yesterday"])?;
    assert!(bad.code == 2 && bad.stderr.contains("--since"), "{bad:?}");
    // Minted and final once, until a fork past final took it back.
    database.sql(&format!(
        "insert into chain_legs (intent_id, tx_ref, preimage, leg) values ('\\x{id}', 'TX1', '', 'escrowed'); \
         insert into chain_leg_history (intent_id, from_leg, to_leg, cause) values \
         ('\\x{id}', 'executed', 'executed_final', 'x'), ('\\x{id}', 'executed_final', 'escrowed', 'x')"
    ))?;
    let value = cli.json(&["intent", "show", "TX1"])?;
    assert_eq!(
        (&value["chain"]["leg"], &value["status"]),
        (&"escrowed".into(), &"executed".into()),
        "{value}"
    );
    Ok(())
}

#[tokio::test]
async fn a_dead_database_is_named_without_its_password() -> Result<()> {
    let cli = Cli::new().with("DATABASE_URL", "postgres://u:canary-secret@127.0.0.1:1/d");
    let ran = cli.run(&["halt"])?;
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("127.0.0.1:1") && !ran.stderr.contains("canary"),
        "{ran:?}"
    );
    let unset = Cli::new().run(&["halt"])?;
    assert!(
        unset.stderr.contains("DATABASE_URL is not set") && unset.stderr.contains("fix:"),
        "{unset:?}"
    );
    Ok(())
}
