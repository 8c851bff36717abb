//! The rehearsal from the first customer to the ledger.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::dirs;

use super::monitoring::Monitoring;
use super::outage::{self, Outage};
use crate::chaos::{BehaviourMix, Customers, Infrastructure, Load, Setup, System, users};
use crate::ledger::{self, AuditFacts, AuditResult};
use crate::runbook::{self, Block};

/// Customers at a time.
const AT_ONCE: usize = 16;
const USERS: u64 = 16;
/// Alerts that look back five minutes count a failure for as long.
const RESOLVED_WITHIN: Duration = Duration::from_mins(8);
const SETTLED_WITHIN: Duration = Duration::from_mins(4);

#[derive(Debug)]
pub struct Params {
    pub seed: u64,
    /// Least time between two customers.
    pub interval: Duration,
    /// How long the system runs before the first outage.
    pub healthy_for: Duration,
    /// A command that is run at the end, with `PROMETHEUS_URL` in its environment.
    pub final_command: Option<String>,
}

/// What one outage led to.
#[derive(Debug)]
pub struct OutageResult {
    pub outage: &'static Outage,
    pub fired_after: Duration,
    pub deadline: Duration,
    pub blocks_run: usize,
    pub other_alerts: BTreeSet<String>,
}

/// Runs every outage in turn, waits until all has settled, and checks the ledger. An error names the broken promise.
pub async fn run(outages: &[&'static Outage], params: &Params) -> Result<(Vec<OutageResult>, AuditResult)> {
    let mut infrastructure = Infrastructure::start().await?;
    let setup = Setup {
        confirmations: 2,
        block_time: 1.0,
        second_endpoint: false,
    };
    let mut system = System::start(Some(&infrastructure), setup, params.seed).await?;
    let before = ledger::minted(&system.app).await?;
    let users = users(&system.app, params.seed, USERS).await?;
    let customers = Customers::new(
        system.app.client()?,
        users,
        params.seed,
        "W",
        BehaviourMix::EVERYDAY,
    );
    let load = Load::new(customers.clone(), params.interval, AT_ONCE);
    let monitoring = Monitoring::start(&mut system).await?;

    let injecting = async {
        print_step(&load, "no outage yet");
        testkit::wait::pause(params.healthy_for).await;
        let results = run_outages(outages, &mut system, &mut infrastructure, &monitoring, &load).await;
        load.stop();
        results
    };
    let (results, ()) = tokio::try_join!(injecting, load.run())?;
    print_step(&load, "no further customers, settling");
    let refused = customers.request_log().refused.clone();
    ensure!(refused.is_empty(), "valid requests were refused: {refused:?}");
    let gather = async || {
        let sent = customers.request_log().sent.clone();
        AuditFacts::gather(&system.app, sent, before).await
    };
    let audited = ledger::settled(SETTLED_WITHIN, gather).await?;
    if !audited.violations.is_empty() || audited.pending > 0 {
        let kept = system.keep_logs("rehearsal")?;
        eprintln!("rehearsal: the services' logs are in {}", kept.display());
    }
    if !results.is_empty() {
        print_step(&load, "waiting until nothing fires any more");
        monitoring.wait_until_resolved(RESOLVED_WITHIN).await?;
    }
    if let Some(command) = &params.final_command {
        run_final_command(command, &monitoring.prometheus.url())?;
    }
    Ok((results, audited))
}

async fn run_outages(
    outages: &[&'static Outage],
    system: &mut System,
    infrastructure: &mut Infrastructure,
    monitoring: &Monitoring,
    load: &Load,
) -> Result<Vec<OutageResult>> {
    let runbook = std::fs::read_to_string(dirs::workspace().join("docs/RUNBOOK.md"))?;
    let blocks = runbook::blocks(&runbook);
    let mut explained = BTreeSet::new();
    let mut results = Vec::new();
    for outage in outages {
        print_step(load, &format!("{} is killed", outage.name));
        let begun = Instant::now();
        outage::start(outage.target, system, infrastructure)?;
        let fired = monitoring
            .wait_until_firing(outage)
            .await
            .with_context(|| outage.name)?;
        print_step(load, &format!("{} fires after {:?}", outage.alert, fired.after));
        explained.extend(outage.also_firing.iter().chain([&outage.alert]).copied());
        ensure_all_explained(&fired.other_alerts, &explained)?;
        monitoring
            .check_panel(outage, begun.elapsed().as_secs())
            .await
            .with_context(|| outage.name)?;
        let section = blocks
            .iter()
            .filter(|block| block.section == runbook::to_kebab_case(outage.alert));
        let (during, after): (Vec<&Block<'_>>, Vec<_>) =
            section.partition(|block| block.mark == "while it is away");
        ensure!(
            !during.is_empty() && !after.is_empty(),
            "the runbook lacks steps for {}",
            outage.alert
        );
        for block in &during {
            runbook::run(&system.app, block)?;
        }
        outage::end(outage.target, system, infrastructure).await?;
        for block in &after {
            runbook::run(&system.app, block)?;
        }
        print_step(load, &format!("{} is back", outage.name));
        results.push(OutageResult {
            outage,
            fired_after: fired.after,
            deadline: fired.deadline,
            blocks_run: during.len() + after.len(),
            other_alerts: fired.other_alerts,
        });
    }
    Ok(results)
}

/// Refuses a page that no outage so far explains: it would wake somebody without a reason.
fn ensure_all_explained(other_alerts: &BTreeSet<String>, explained: &BTreeSet<&str>) -> Result<()> {
    for other in other_alerts.iter().filter(|other| other.ends_with("(page)")) {
        let name = other.split(' ').next().unwrap_or_default();
        ensure!(explained.contains(name), "{other} fires as well");
    }
    Ok(())
}

fn run_final_command(command: &str, prometheus: &str) -> Result<()> {
    let done = std::process::Command::new("bash")
        .args(["-euc", command])
        .env("PROMETHEUS_URL", prometheus)
        .current_dir(dirs::workspace())
        .status()?;
    ensure!(done.success(), "{command}: {done}");
    Ok(())
}

fn print_step(load: &Load, what: &str) {
    eprintln!("rehearsal: {} customers; {what}", load.arrived());
}
