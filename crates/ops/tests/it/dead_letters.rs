//! Dead letters on a real broker: read, replayed as new sealed messages, closed when done, discarded; forged ones stay.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::signature::HmacSecret;
use messaging::wire::MintSubmit;
use messaging::{PipelineKeys, Sealer, SharedPipelineKeys, WorkQueue};
use serde_json::Value;

use crate::dlq_rig::{QUEUE, Rig, column};

const REPLAY: [&str; 7] = [
    "dlq",
    "replay",
    "--queue",
    "mint.refund",
    "--reason",
    "drill",
    "--yes",
];

#[tokio::test]
async fn an_entry_is_shown_in_full_and_replayed_as_a_new_sealed_message() -> Result<()> {
    let rig = Rig::start().await?;
    let message = rig.message("TX1")?;
    let id = message.message_id.to_string();
    rig.park(&message.bytes, "unavailable").await?;

    let listed = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["seal"], &listed[0]["txRef"]),
        (&id.as_str().into(), &"valid".into(), &"TX1".into()),
        "{listed}"
    );
    let shown = rig.cli.json(&["dlq", "show", &id])?;
    assert_eq!(shown["payload"]["body"]["intent"]["txRef"], "TX1", "{shown}");
    assert_eq!(
        (&shown["service"], &shown["class"]),
        (&"mint-executor".into(), &"unavailable".into())
    );

    let replay = ["dlq", "replay", &id, "--reason", "RPC was down"];
    let planned = rig.cli.json(&[&replay[..], &["--dry-run"]].concat())?;
    assert_eq!(
        (&planned["entries"][0]["id"], &planned["entries"][0]["action"]),
        (&id.as_str().into(), &"replay".into()),
        "{planned}"
    );
    assert!(rig.work().await?.is_empty(), "a dry run does nothing");
    assert_eq!(rig.database.sql("select count(*) from audit_log")?, "0");
    let unasked = rig.cli.run(&replay)?;
    assert!(
        unasked.code == 2 && unasked.stderr.contains("--yes"),
        "{unasked:?}"
    );

    let done = rig.cli.json(&[&replay[..], &["--yes"]].concat())?;
    assert_eq!(done["counts"]["replayed"], 1, "{done}");
    let sent = rig.work().await?;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["causationId"], id.as_str());
    assert_eq!(sent[0]["messageId"], done["entries"][0]["newId"]);
    assert_ne!(sent[0]["messageId"], id.as_str());
    assert!(rig.cli.ok(&["dlq", "list"])?.contains("nothing is parked"));
    let audit = rig
        .database
        .sql("select actor || ' ' || action || ' ' || reason from audit_log order by id")?;
    assert_eq!(
        audit,
        "tester dlq.replay RPC was down\ntester dlq.replay.done RPC was down"
    );

    let new = done["entries"][0]["newId"].as_str().unwrap_or_default();
    for name in [id.as_str(), new] {
        let history = rig.cli.json(&["dlq", "history", name])?;
        let line = &history[0];
        assert_eq!(
            (
                &line["who"],
                &line["why"],
                &line["action"],
                &line["state"],
                &line["txRef"]
            ),
            (
                &"tester".into(),
                &"RPC was down".into(),
                &"replay".into(),
                &"done".into(),
                &"TX1".into()
            ),
            "{history}"
        );
        assert_eq!((&line["id"], &line["newId"]), (&id.as_str().into(), &new.into()));
    }
    Ok(())
}

#[tokio::test]
async fn an_entry_not_sealed_by_us_can_be_discarded_but_never_replayed() -> Result<()> {
    let rig = Rig::start().await?;
    let genuine = rig.message("TX1")?;
    let forged = String::from_utf8(rig.message("TX2")?.bytes)?.replace("declined", "operator");
    rig.park(&genuine.bytes, "unavailable").await?;
    rig.park(forged.as_bytes(), "seal_invalid").await?;
    rig.park(b"\x1b[31mnot an envelope", "malformed").await?;

    let listed = rig.cli.ok(&["dlq", "list", "--queue", "mint.refund"])?;
    assert!(
        listed.contains("INVALID") && listed.contains("sha256:") && !listed.contains('\u{1b}'),
        "{listed}"
    );
    let ran = rig.cli.run(&[&REPLAY[..], &["--json"]].concat())?;
    assert_eq!(ran.code, 1, "{ran:?}");
    let output: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(
        (&output["counts"]["replayed"], &output["counts"]["kept"]),
        (&1.into(), &2.into()),
        "{output}"
    );
    assert_eq!(rig.work().await?.len(), 1, "only the genuine one");
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");

    let unchosen = rig.cli.run(&["dlq", "discard", "--reason", "x", "--yes"])?;
    assert!(
        unchosen.code == 2 && unchosen.stderr.contains("nothing is chosen"),
        "{unchosen:?}"
    );
    let discard = [
        "dlq",
        "discard",
        "--class",
        "seal_invalid",
        "--reason",
        "forged",
        "--yes",
    ];
    assert_eq!(rig.cli.json(&discard)?["counts"]["discarded"], 1);
    assert_eq!(rig.cli.run(&discard)?.code, 1, "nothing fits any more");
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(column(&left, "class"), ["malformed"], "{left}");
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_maximum_are_replayed() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 5, "unavailable").await?;
    let args = [
        "dlq",
        "replay",
        "--class",
        "unavailable",
        "--limit",
        "3",
        "--reason",
        "drill",
        "--yes",
    ];
    assert_eq!(rig.cli.json(&args)?["counts"]["replayed"], 3);
    assert_eq!(rig.work().await?.len(), 3);
    assert_eq!(rig.cli.json(&["dlq", "list"])?.as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_replay_keeps_to_its_rate() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 6, "unavailable").await?;
    let begun = std::time::Instant::now();
    let args = [
        "dlq",
        "replay",
        "--class",
        "unavailable",
        "--rate",
        "2",
        "--reason",
        "drill",
        "--yes",
    ];
    assert_eq!(rig.cli.json(&args)?["counts"]["replayed"], 6);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn what_is_done_on_chain_is_closed_with_the_reason_and_not_sent() -> Result<()> {
    let rig = Rig::start().await?;
    let submit = |tx_ref: &str| -> Result<_> {
        rig.seal(&MintSubmit {
            intent: rig.intent(tx_ref)?,
            integrator: "acme".parse()?,
            accepted_at: 1_767_225_600,
        })
    };
    let (done, undone) = (submit("DIRECT-1")?, submit("DIRECT-2")?);
    rig.park_on(WorkQueue::MintSubmit, &done.bytes, "parked").await?;
    rig.park_on(WorkQueue::MintSubmit, &undone.bytes, "parked")
        .await?;
    // A chain younger than the finality has nothing final to ask about.
    rig.node.mine(10).await?;
    crate::chain::direct_deposit(&rig.node, &rig.addresses)?;

    let replay = [
        "dlq",
        "replay",
        "--queue",
        "mint.submit",
        "--reason",
        "drill",
        "--yes",
        "--json",
    ];
    let early = rig.cli.run(&[&replay[..], &["--dry-run"]].concat())?;
    let early: Value = serde_json::from_str(&early.stdout).with_context(|| format!("{early:?}"))?;
    assert_eq!(
        column(&early["entries"], "action"),
        ["keep", "replay"],
        "mined, not final: {early}"
    );
    rig.node.mine(20).await?;
    // What is final is for the policy to say: by a depth that is not reached, or by the chain's own word.
    let deep = rig.cli.clone().with("FIATRAILS_POLICY_CHAIN_CONFIRMATIONS", "90");
    let tagged = deep
        .clone()
        .with("FIATRAILS_POLICY_CHAIN_FINALITY", "finalizedTag");
    for (cli, act) in [(deep, "keep"), (tagged, "close")] {
        let ran = cli.run(&[&replay[..], &["--dry-run"]].concat())?;
        let output: Value = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
        assert_eq!(column(&output["entries"], "action"), [act, "replay"], "{output}");
    }
    let blind = rig.cli.clone().with("RPC_URL", "").run(&replay)?;
    assert!(
        blind.code == 2 && blind.stderr.contains("--without-chain"),
        "{blind:?}"
    );
    let ran = rig.cli.run(&replay)?;
    let output: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(
        (ran.code, column(&output["entries"], "action")),
        (0, vec!["close", "replay"]),
        "{output}"
    );
    let sent = rig.vhost.peek("mint.submit.v1", 10).await?;
    assert_eq!(sent.len(), 1);
    let history = rig.cli.json(&["dlq", "history", &done.message_id.to_string()])?;
    assert_eq!(
        history[0]["note"], "the deposit is on chain, and final",
        "{history}"
    );
    assert!(rig.cli.ok(&["dlq", "list"])?.contains("nothing is parked"));
    Ok(())
}

#[tokio::test]
async fn a_command_is_replayed_while_the_deployment_is_not_final_yet() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park(&rig.message("TX1")?.bytes, "unavailable").await?;
    let head = testkit::evm::block_number(&rig.node.url()).await?;
    let cli = rig.cli.clone();
    let cli = cli.with("FIATRAILS_POLICY_CHAIN_CONFIRMATIONS", head.to_string());
    assert_eq!(cli.json(&REPLAY)?["counts"]["replayed"], 1);
    assert_eq!(rig.work().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn entries_are_found_by_reference_age_and_text_and_counted_and_exported() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 3, "unavailable").await?;
    rig.park(b"not an envelope", "malformed").await?;
    let count = |args: &[&str]| -> Result<usize> {
        let found = rig.cli.json(&[&["dlq", "list"], args].concat())?;
        Ok(found.as_array().map_or(0, Vec::len))
    };
    assert_eq!(count(&["--tx-ref", "TX1"])?, 1);
    assert_eq!(count(&["--text", "TEST wants"])?, 4);
    assert_eq!(count(&["--text", "nobody said this"])?, 0);
    assert_eq!(
        (count(&["--newer-than", "1h"])?, count(&["--older-than", "1h"])?),
        (4, 0)
    );
    let bad = rig.cli.run(&["dlq", "list", "--older-than", "long"])?;
    assert!(bad.code == 2 && bad.stderr.contains("--older-than"), "{bad:?}");

    let stats = rig.cli.json(&["dlq", "stats"])?;
    let of = |class: &str| {
        let groups = stats.as_array().map(Vec::as_slice).unwrap_or_default();
        groups.iter().find(|group| group["class"] == class).cloned()
    };
    let group = of("unavailable").context("the group")?;
    assert_eq!(
        (&group["count"], &group["seals"]["valid"]),
        (&3.into(), &3.into()),
        "{stats}"
    );
    assert!(group["oldest"].is_string(), "{stats}");
    assert_eq!(
        of("malformed").context("the group")?["seals"]["malformed"],
        1,
        "{stats}"
    );

    let file = rig.dir.path().join("out.jsonl");
    let out = file.display().to_string();
    let export = [
        "dlq",
        "export",
        "--class",
        "unavailable",
        "--out",
        &out,
        "--reason",
        "INC-42",
    ];
    assert_eq!(rig.cli.json(&export)?["entries"], 3);
    assert_eq!(rig.cli.run(&export)?.code, 2, "a file is not overwritten");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let lines: Vec<Value> = std::fs::read_to_string(&file)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["payload"]["body"]["intent"]["txRef"], lines[0]["txRef"]);
    assert_eq!(
        rig.database
            .sql("select action || ' ' || reason from audit_log order by id")?,
        "dlq.export INC-42\ndlq.export.done INC-42"
    );
    assert_eq!(count(&[])?, 4, "looking takes nothing away");
    Ok(())
}

#[tokio::test]
async fn resealing_frees_an_old_key_and_leaves_forged_entries_unchanged() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 2, "unavailable").await?;
    rig.park(b"not an envelope", "malformed").await?;
    let dir = rig.keys.dir("ops").join("pipeline/mint.refund");
    let old = std::fs::read_dir(&dir)?.next().context("a key")??.path();
    let secret = "ab".repeat(32);
    std::fs::write(dir.join("pk_zzz"), &secret)?;

    let args = [
        "dlq",
        "reseal",
        "--queue",
        "mint.refund",
        "--reason",
        "rotation",
        "--yes",
        "--json",
    ];
    let first = rig.cli.run(&args)?;
    let output: Value = serde_json::from_str(&first.stdout)?;
    assert_eq!(
        (
            first.code,
            &output["counts"]["resealed"],
            &output["counts"]["kept"]
        ),
        (1, &2.into(), &1.into()),
        "{output}"
    );
    let again: Value = serde_json::from_str(&rig.cli.run(&args)?.stdout)?;
    assert_eq!(
        again["counts"]["resealed"], 0,
        "nothing is under the old key any more: {again}"
    );
    std::fs::remove_file(old)?;
    let stats = rig.cli.json(&["dlq", "stats", "--class", "unavailable"])?;
    assert_eq!(stats[0]["seals"]["valid"], 2, "{stats}");
    Ok(())
}

/// Not a key of the operator's: such an entry is nobody's to replay here.
#[tokio::test]
async fn an_entry_under_a_key_that_is_not_mounted_waits() -> Result<()> {
    let rig = Rig::start().await?;
    let foreign = PipelineKeys::new().with(QUEUE, "pk_elsewhere".parse()?, HmacSecret::from_bytes(&[9; 32])?);
    let message = rig.message("TX1")?;
    let sealer = Sealer::new(SharedPipelineKeys::new(foreign));
    let elsewhere = sealer.seal(
        &messaging::wire::MintRefund {
            intent: rig.intent("TX1")?,
            reason: messaging::wire::RefundReason::Declined,
        },
        messaging::MessageMetadata {
            message_id: message.message_id,
            causation_id: None,
            at: time::OffsetDateTime::UNIX_EPOCH,
            traceparent: None,
        },
    )?;
    rig.park(&elsewhere.bytes, "unknown_key").await?;
    let ran = rig.cli.run(&[
        "dlq",
        "replay",
        "--class",
        "unknown_key",
        "--reason",
        "drill",
        "--yes",
    ])?;
    assert!(
        ran.code == 1 && ran.stdout.contains("unknown pipeline key"),
        "{ran:?}"
    );
    assert!(rig.work().await?.is_empty());
    Ok(())
}
