//! A flooded dead queue stays usable: bounded time, bounded memory. Figures are printed (`--no-capture`).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::cli::Measured;
use crate::dlq_rig::{Rig, column};

const FLOOD: u32 = 100_000;
/// What a page of entries and the program itself may take; the flood is many times that.
const MAX_PEAK_KIB: u64 = 120 * 1024;

fn figures(what: &str, measured: &Measured, within: Duration) -> Result<Value> {
    let Measured { ran, took, peak_kib } = measured;
    eprintln!(
        "{what}: {:.1} s, peak {} MiB",
        took.as_secs_f64(),
        peak_kib / 1024
    );
    ensure!(ran.code == 0, "{what}: {ran:?}");
    ensure!(*took <= within, "{what} took {took:?}");
    ensure!(
        *peak_kib > 0 && *peak_kib <= MAX_PEAK_KIB,
        "{what} took {peak_kib} KiB"
    );
    Ok(serde_json::from_str(&ran.stdout)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_100_000_entries_leaves_listing_and_replay_usable() -> Result<()> {
    let rig = Rig::start().await?;
    rig.park_many(0, FLOOD / 2, "unavailable").await?;
    // One that somebody is looking for, in the midst of it.
    let rare = rig.message("RARE-1")?;
    rig.park(&rare.bytes, "contention").await?;
    rig.park_many(FLOOD / 2, FLOOD / 2, "unavailable").await?;

    // Twice what a machine needs whose cores others use as well.
    let (soon, whole) = (Duration::from_secs(30), Duration::from_mins(5));
    let first = figures(
        "list the first 50",
        &rig.cli.measure(&["dlq", "list", "--json"])?,
        soon,
    )?;
    assert_eq!(first.as_array().map(Vec::len), Some(50));
    let found = rig
        .cli
        .measure(&["dlq", "list", "--class", "contention", "--json"])?;
    let found = figures("find one among all", &found, whole)?;
    assert_eq!(column(&found, "txRef"), ["RARE-1"]);
    let stats = figures("count all", &rig.cli.measure(&["dlq", "stats", "--json"])?, whole)?;
    let count = |at: usize| stats[at]["count"].as_u64().unwrap_or_default();
    assert_eq!((count(0), count(1)), (1, u64::from(FLOOD)), "{stats}");

    let replay = |max: &str| {
        let args = [
            "--limit", max, "--rate", "0", "--reason", "drill", "--yes", "--json",
        ];
        let which = ["dlq", "replay", "--class", "unavailable"];
        rig.cli.measure(&[&which[..], &args].concat())
    };
    let some = figures("replay 100, the chain asked", &replay("100")?, soon)?;
    assert_eq!(some["counts"]["replayed"], 100, "{some}");
    let rest = replay("1000000")?;
    let rest = figures("replay the rest, the chain asked", &rest, Duration::from_mins(20))?;
    assert_eq!(rest["counts"]["replayed"], FLOOD - 100, "{}", rest["counts"]);
    let left = rig.cli.json(&["dlq", "list"])?;
    assert_eq!(column(&left, "txRef"), ["RARE-1"]);
    let written = rig
        .database
        .sql("select count(distinct new_message_id) from dead_letter_actions where state = 'done'")?;
    assert_eq!(written, FLOOD.to_string(), "every replay is on record");
    Ok(())
}
