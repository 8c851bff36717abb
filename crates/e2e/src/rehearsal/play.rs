//! The rehearsal from the first customer to the ledger.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::dirs;

use super::outage::{self, Outage};
use super::tower::Tower;
use crate::chaos::{Customers, Ground, Load, Mix, Setup, Stage, users};
use crate::ledger::{self, Facts, Verdict};
use crate::manual::{self, Block};

/// Customers in the shop.
const AT_ONCE: usize = 16;
const USERS: u64 = 16;
/// A figure that five minutes back still counts a failure needs them to forget it.
const QUIET_WITHIN: Duration = Duration::from_mins(8);
const SETTLED_WITHIN: Duration = Duration::from_mins(4);

#[derive(Debug)]
pub struct Params {
    pub seed: u64,
    /// Least distance between two customers.
    pub pace: Duration,
    /// How long all is well before anything is taken away.
    pub calm: Duration,
    /// Run at the end with `PROMETHEUS_URL` in its environment.
    pub then: Option<String>,
}

/// What came of one outage.
#[derive(Debug)]
pub struct Act {
    pub outage: &'static Outage,
    pub fired_after: Duration,
    pub promised: Duration,
    pub blocks_run: usize,
    pub others: BTreeSet<String>,
}

/// Every outage in turn, then calm and the ledger. An error names what was not as promised.
pub async fn play(outages: &[&'static Outage], params: &Params) -> Result<(Vec<Act>, Verdict)> {
    let mut ground = Ground::start().await?;
    let setup = Setup {
        confirmations: 2,
        block_time: 1.0,
        spare: false,
    };
    let mut stage = Stage::set(Some(&ground), setup, params.seed).await?;
    let before = ledger::minted(&stage.app).await?;
    let users = users(&stage.app, params.seed, USERS).await?;
    let customers = Customers::new(stage.app.client()?, users, params.seed, "W", Mix::EVERYDAY);
    let load = Load::new(customers.clone(), params.pace, AT_ONCE);
    let tower = Tower::build(&mut stage).await?;

    let night = async {
        tell(&load, "all is well");
        tokio::time::sleep(params.calm).await;
        let acts = outages_in_turn(outages, (&mut stage, &mut ground), &tower, &load).await;
        load.close();
        acts
    };
    let (acts, ()) = tokio::try_join!(night, load.run())?;
    tell(&load, "the shop is closed, settling");
    let refused = customers.notes().refused.clone();
    ensure!(refused.is_empty(), "good requests were refused: {refused:?}");
    let gather = async || {
        let sent = customers.notes().sent.clone();
        Facts::gather(&stage.app, sent, before).await
    };
    let verdict = ledger::settled(SETTLED_WITHIN, gather).await?;
    if !verdict.violations.is_empty() || verdict.pending > 0 {
        let kept = stage.keep_logs("rehearsal")?;
        eprintln!("rehearsal: the services' logs are in {}", kept.display());
    }
    if !acts.is_empty() {
        tell(&load, "waiting until nothing fires any more");
        tower.quiet(QUIET_WITHIN).await?;
    }
    if let Some(command) = &params.then {
        afterwards(command, &tower.prometheus.url())?;
    }
    Ok((acts, verdict))
}

async fn outages_in_turn(
    outages: &[&'static Outage],
    (stage, ground): (&mut Stage, &mut Ground),
    tower: &Tower,
    load: &Load,
) -> Result<Vec<Act>> {
    let runbook = std::fs::read_to_string(dirs::workspace().join("docs/RUNBOOK.md"))?;
    let blocks = manual::blocks(&runbook);
    let mut known = BTreeSet::new();
    let mut acts = Vec::new();
    for outage in outages {
        tell(load, &format!("{} is killed", outage.name));
        let begun = Instant::now();
        outage::take(outage.away, stage, ground)?;
        let fired = tower.fires(outage).await.with_context(|| outage.name)?;
        tell(load, &format!("{} fires after {:?}", outage.alert, fired.after));
        known.extend(outage.also.iter().chain([&outage.alert]).copied());
        only_known(&fired.others, &known)?;
        tower
            .sees(outage, begun.elapsed().as_secs())
            .await
            .with_context(|| outage.name)?;
        let section = blocks
            .iter()
            .filter(|block| block.section == manual::kebab(outage.alert));
        let (meanwhile, after): (Vec<&Block<'_>>, Vec<_>) =
            section.partition(|block| block.mark == "while it is away");
        ensure!(
            !meanwhile.is_empty() && !after.is_empty(),
            "the runbook lacks steps for {}",
            outage.alert
        );
        for block in &meanwhile {
            manual::run(&stage.app, block)?;
        }
        outage::bring_back(outage.away, stage, ground).await?;
        for block in &after {
            manual::run(&stage.app, block)?;
        }
        tell(load, &format!("{} is back", outage.name));
        acts.push(Act {
            outage,
            fired_after: fired.after,
            promised: fired.promised,
            blocks_run: meanwhile.len() + after.len(),
            others: fired.others,
        });
    }
    Ok(acts)
}

/// A page that nothing explains wakes somebody for nothing.
fn only_known(others: &BTreeSet<String>, known: &BTreeSet<&str>) -> Result<()> {
    for other in others.iter().filter(|other| other.ends_with("(page)")) {
        let name = other.split(' ').next().unwrap_or_default();
        ensure!(known.contains(name), "{other} fires as well");
    }
    Ok(())
}

fn afterwards(command: &str, prometheus: &str) -> Result<()> {
    let done = std::process::Command::new("bash")
        .args(["-euc", command])
        .env("PROMETHEUS_URL", prometheus)
        .current_dir(dirs::workspace())
        .status()?;
    ensure!(done.success(), "{command}: {done}");
    Ok(())
}

fn tell(load: &Load, what: &str) {
    eprintln!("rehearsal: {} customers; {what}", load.come());
}
