//! `reconcile --statement`: M-Pesa's own account against recorded payments.

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::{Database, Servers};

use crate::cli::Cli;
use crate::dlq_rig::column;
use crate::reference::command;

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

const HEAD: &str = "Account Holder:,ACME LTD\nShort Code:,600000\n\n\
    Receipt No.,Completion Time,Initiation Time,Details,Transaction Status,Paid In,Withdrawn,Balance,\
    Balance Confirmed,Reason Type,Other Party Info,Linked Transaction ID,A/C No.\n";

/// One transaction of the statement.
#[derive(Clone, Copy, Default)]
struct Line<'a> {
    receipt: &'a str,
    time: &'a str,
    status: &'a str,
    paid_in: &'a str,
    withdrawn: &'a str,
    linked: &'a str,
    account: &'a str,
}

fn line(of: Line<'_>) -> String {
    let Line {
        receipt,
        time,
        status,
        paid_in,
        withdrawn,
        linked,
        account,
    } = of;
    format!(
        "{receipt},02-11-2025 {time},,\"Pay Bill, 2547***149\",{status},\"{paid_in}\",{withdrawn},,true,Pay Bill,,{linked},{account}\n"
    )
}

fn paid(receipt: &str, time: &str, amount: &str, account: &str) -> String {
    line(Line {
        receipt,
        time,
        status: "Completed",
        paid_in: amount,
        account,
        ..Line::default()
    })
}

/// The runbook's command, with this statement.
fn as_the_runbook_says(statement: &str) -> Result<Vec<String>> {
    let mark = format!("<!-- tested: {} -->\n```bash\n", file!());
    let (_, block) = RUNBOOK
        .split_once(&mark)
        .context("the runbook has no block of this test")?;
    let line = block.lines().next().context("the block is empty")?;
    command(&line.replace("2025-11-02.csv", statement)).context("no command of ours")
}

/// Recorded at a time of 2 November 2025 in Nairobi.
fn record(database: &Database, receipt: &str, tx_ref: &str, shillings: u32, time: &str) -> Result<()> {
    database.sql(&format!(
        "insert into payments (receipt, tx_ref, report_id, amount_shillings, phone, is_first, received_at) \
         values ('{receipt}', '{tx_ref}', gen_random_uuid(), {shillings}, '254708374149', true, '2025-11-02 {time}+03')"
    ))?;
    Ok(())
}

#[tokio::test]
async fn the_statement_shows_unknown_different_and_missing_payments() -> Result<()> {
    let database = Servers::shared()?.database().await?;
    let cli = Cli::new().on(&database)?;
    for (receipt, tx_ref, shillings, time) in [
        ("SKAAAAAA01", "TX1", 1150, "10:00:05"),
        ("SKAAAAAA02", "TX2", 20, "10:10:05"),
        ("SKAAAAAA03", "TX3", 30, "10:20:05"),
        ("SKAAAAAA04", "TX4", 40, "10:30:05"),
        ("SKAAAAAA05", "TX5", 50, "10:40:05"),
        ("SKAAAAAA06", "TX6", 60, "10:50:05"),
        // Paid before the statement begins, perhaps.
        ("SKAAAAAA07", "TX7", 70, "10:00:30"),
    ] {
        record(&database, receipt, tx_ref, shillings, time)?;
    }
    database.sql(
        "insert into mpesa_reports (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, \
         receipt, amount_shillings, paid, content_hash, late) values ('018f0000-0000-7000-8000-000000000001', 'TX9', \
         'mk', '', '1', 'x', '/callbacks/mpesa', '', 'SKAAAAAA09', 90, true, decode(repeat('00', 32), 'hex'), true); \
         insert into report_outcomes values ('018f0000-0000-7000-8000-000000000001', 'TX9', 'late')",
    )?;
    let good = paid("SKAAAAAA01", "10:00:00", "1,150.00", "TX1");
    let text = [
        HEAD,
        &good,
        &paid("SKAAAAAA02", "10:10:00", "20.50", "TX2"),
        &paid("SKAAAAAA03", "10:20:00", "30.00", "TX33"),
        &line(Line {
            receipt: "SKAAAAAA04",
            time: "10:30:00",
            status: "Failed",
            paid_in: "40.00",
            account: "TX4",
            ..Line::default()
        }),
        // 5 is ours, and not here.
        &paid("SKAAAAAA06", "10:50:00", "60.00", "TX6"),
        &line(Line {
            receipt: "SKAAAAAA66",
            time: "10:55:00",
            status: "Completed",
            withdrawn: "-60.00",
            linked: "SKAAAAAA06",
            ..Line::default()
        }),
        &paid("SKAAAAAA08", "11:10:00", "80.00", "TX8"),
        &paid("SKAAAAAA09", "11:20:00", "90.00", "TX9"),
        &paid("SKAAAAAA01", "11:30:00", "1,150.00", "TX1"),
    ]
    .concat();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("statement.csv");
    std::fs::write(&file, text)?;
    let path = file.display().to_string();
    let documented = as_the_runbook_says(&path)?;
    let mut args: Vec<&str> = documented.iter().map(String::as_str).collect();
    args.push("--json");
    let ran = cli.run(&args)?;
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout)?;
    let found = &report["differences"];
    let pairs: Vec<(&str, &str)> = column(found, "receipt")
        .into_iter()
        .zip(column(found, "kind"))
        .collect();
    assert_eq!(
        pairs,
        [
            ("SKAAAAAA02", "amount"),
            ("SKAAAAAA03", "tx_ref"),
            ("SKAAAAAA04", "not_completed"),
            ("SKAAAAAA66", "reversed"),
            ("SKAAAAAA08", "never_heard_of"),
            ("SKAAAAAA09", "not_recorded"),
            ("SKAAAAAA01", "twice_in_statement"),
            ("SKAAAAAA04", "not_in_statement"),
            ("SKAAAAAA05", "not_in_statement"),
        ],
        "{report}"
    );
    assert_eq!(report["atTheEdges"], 1, "{report}");
    let shown = cli.run(&["reconcile", "--statement", &path])?;
    assert!(shown.stdout.contains("never_heard_of"), "{shown:?}");

    // A statement that agrees, of a period that a person names.
    std::fs::write(&file, [HEAD, &good].concat())?;
    let (from, to) = ("2025-11-02T09:00:00+03:00", "2025-11-02T10:00:10+03:00");
    let day = ["reconcile", "--statement", &path, "--from", from, "--to", to];
    let agreed = cli.run(&day)?;
    assert!(agreed.code == 0 && agreed.stdout.contains("none"), "{agreed:?}");

    std::fs::write(&file, "not,a,statement\n")?;
    let odd = cli.run(&["reconcile", "--statement", &path])?;
    assert!(odd.code == 2 && odd.stderr.contains("Receipt No."), "{odd:?}");
    Ok(())
}
