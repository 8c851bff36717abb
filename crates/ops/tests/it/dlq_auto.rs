//! Automatic replay: only its classes, within its budget, behind its breaker, and every decision is seen.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use testkit::eventually;

use crate::dlq_rig::{Rig, column};

const SOON: Duration = Duration::from_mins(1);
const AUTO: [&str; 6] = ["dlq", "auto", "--class", "unavailable", "--rate", "100"];
const WITHOUT_REST: [&str; 2] = ["--cool-down", "0s"];

impl Rig {
    async fn work_depth(&self) -> Result<u64> {
        let (ready, held) = self.depth("mint.refund.v1").await?;
        Ok(ready + held)
    }

    /// Parks what was sent again, as a service that fails for the same reason would.
    async fn fail_again(&self) -> Result<usize> {
        let sent = self.work().await?;
        self.vhost.purge("mint.refund.v1").await?;
        for envelope in &sent {
            self.park(envelope.to_string().as_bytes(), "unavailable").await?;
        }
        Ok(sent.len())
    }
}

#[tokio::test]
async fn the_automatic_replay_respects_classes_budget_and_cool_down() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 5, "unavailable").await?;
    rig.park(&rig.message("OTHER")?.bytes, "contention").await?;
    rig.park(b"not an envelope", "unavailable").await?;
    let auto = |more: &[&str]| -> Result<Value> { rig.cli.json(&[&AUTO[..], &["--once"], more].concat()) };
    assert_eq!(auto(&[])?["replayed"], 0, "everything is fresh: it rests first");
    assert_eq!(auto(&["--cool-down", "0s", "--dry-run"])?["replayed"], 5);
    assert!(rig.work().await?.is_empty(), "a dry run does nothing");
    let first = auto(&["--cool-down", "0s", "--budget", "3"])?;
    assert_eq!(first["replayed"], 3, "{first}");
    assert_eq!(
        auto(&["--cool-down", "0s", "--budget", "3"])?["replayed"],
        0,
        "used up"
    );
    let rest = auto(&["--cool-down", "0s", "--budget", "100"])?;
    assert_eq!(
        (&rest["replayed"], &rest["kept"]),
        (&2.into(), &1.into()),
        "{rest}"
    );
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(column(&left, "class"), ["contention", "unavailable"], "{left}");
    let history = rig.cli.json(&["dlq", "history"])?;
    assert!(
        history
            .as_array()
            .is_some_and(|all| all.len() == 5 && all.iter().all(|one| one["automatic"] == true)),
        "{history}"
    );
    Ok(())
}

#[tokio::test]
async fn the_automatic_replay_gives_up_on_a_message_and_stops_when_replays_fail() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 4, "unavailable").await?;
    let auto = |least: &str| -> Result<Value> {
        let args = ["--breaker-min", least, "--once"];
        rig.cli.json(&[&AUTO[..], &WITHOUT_REST, &args].concat())
    };
    assert_eq!(auto("5")?["replayed"], 4);
    assert_eq!(rig.fail_again().await?, 4);
    // All four came back, and it takes five to open the breaker.
    assert_eq!(auto("5")?["replayed"], 4, "a second time");
    assert_eq!(rig.fail_again().await?, 4);
    assert_eq!(
        auto("100")?["replayed"],
        0,
        "twice is often enough: they are a person's now"
    );

    rig.park_many(10, 2, "unavailable").await?;
    assert_eq!(
        auto("5")?["replayed"],
        0,
        "eight of eight came back: the breaker is open"
    );
    let audit = rig
        .database
        .sql("select reason from audit_log where action = 'dlq.auto.open'")?;
    assert_eq!(audit, "too many replays came back");
    rig.database
        .sql("update dead_letter_actions set parked_again_at = parked_again_at - interval '16 minutes'")?;
    assert_eq!(auto("5")?["replayed"], 2, "after the reset time");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_automatic_replay_runs_until_stopped_and_shows_its_decisions() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, 3, "unavailable").await?;
    rig.park(&rig.message("OTHER")?.bytes, "contention").await?;
    let port = testkit::free_port()?;
    let addr = format!("127.0.0.1:{port}");
    let args = ["--every", "1s", "--admin-addr", &addr];
    let running = rig.cli.spawn(&[&AUTO[..], &WITHOUT_REST, &args].concat())?;
    let http = testkit::http::client()?;
    let metrics = eventually(SOON, "its decisions are counted", async || {
        let text = http
            .get(format!("http://{addr}/metrics"))
            .send()
            .await?
            .text()
            .await?;
        let replayed = "fiatrails_dlq_auto_actions_total{queue=\"mint.refund.v1\",action=\"replayed\"} 3";
        Ok(text.contains(replayed).then_some(text))
    })
    .await?;
    for wanted in [
        "decision=\"other_class\"",
        "fiatrails_dlq_auto_budget_left",
        "fiatrails_dlq_auto_breaker_open 0",
        "fiatrails_dlq_depth{queue=\"dead.mint.refund.v1\"}",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
    }
    rig.park_many(10, 2, "unavailable").await?;
    eventually(SOON, "what comes later is replayed too", async || {
        Ok((rig.work_depth().await? == 5).then_some(()))
    })
    .await?;
    let status = running.stop()?;
    assert!(status.success(), "{status:?}");
    let audit = rig
        .database
        .sql("select action from audit_log where action like 'dlq.auto%' order by id")?;
    assert_eq!(audit, "dlq.auto\ndlq.auto.done");
    Ok(())
}
