//! Runs one scenario: customers and faults together, then a healthy system that settles, then the ledger.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::wiring::SERVICES;
use tokio::sync::watch;

use super::customers::{self, Customers};
use super::fault::FaultContext;
use super::fault_counts::{missing_rpc_faults, rpc_faults, run_violation, too_few_faults};
use super::progress::ProgressWatch;
use super::results::ScenarioResult;
use super::scenarios::Scenario;
use super::schedule::Schedule;
use super::system::{Infrastructure, System};
use crate::ledger::{self, AuditFacts, AuditResult, Violation, ViolationKind};

/// Enough blocks that no fork reaches what was set up before the scenario.
const BLOCKS_BEFORE: u64 = 10;
const USERS: u64 = 16;
/// If nothing moved for this long after the last fault, nothing ever will.
const STUCK: Duration = Duration::from_secs(150);
/// The backlog of an outage must have drained within this time.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);
/// With this many intents every key must have had a share.
const ALL_KEYS_USED_FROM: usize = 60;
/// Outcomes, acknowledgements and empty transactions may still be in progress when the last intent has settled.
const FINISHED_WITHIN: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
pub struct Params {
    pub seed: u64,
    pub intents: Option<usize>,
    pub kills: Option<usize>,
    /// How long the RPC endpoint fails.
    pub outage: Duration,
    pub at_once: usize,
}

/// Runs a scenario from the first customer to the audit. An error means that it could not be run to its end.
pub async fn run(
    scenario: &Scenario,
    params: &Params,
    infrastructure: Option<&mut Infrastructure>,
) -> Result<ScenarioResult> {
    let intents = params.intents.unwrap_or(scenario.intents);
    let mut random = fastrand::Rng::with_seed(params.seed);
    let faults = (scenario.faults)(&mut random, params);
    let schedule = Schedule::spread(&mut random, faults, intents);

    let mut system = System::start(infrastructure.as_deref(), scenario.setup, params.seed).await?;
    let users = customers::users(&system.app, params.seed, USERS).await?;
    system.app.chain.mine(BLOCKS_BEFORE).await?;
    let before = ledger::minted(&system.app).await?;
    let customers = Customers::new(system.app.client()?, users, params.seed, "C", scenario.mix);
    let progress_watch = ProgressWatch::new(
        scenario.name,
        system.app.database.url(),
        customers.clone(),
        intents,
    );
    system.rpc.set(scenario.rpc_faults);

    let mut run_log = RunLog::default();
    let running = async {
        let context = FaultContext {
            system: &mut system,
            infrastructure,
            customers: &customers,
            extra_customers: 0,
            groups: 0,
        };
        let arrivals = Arrivals {
            customers: &customers,
            intents,
            at_once: params.at_once,
            interval: scenario.interval,
        };
        run_customers_and_faults(context, &schedule, arrivals, &progress_watch, &mut run_log).await?;
        system.clear_faults();
        let total = intents + run_log.extra_customers;
        wait_until_settled(&mut system, &customers, &progress_watch, &mut run_log, total).await?;
        run_log.drained = run_log.last_fault.map_or(Duration::ZERO, |ended| ended.elapsed());
        if scenario.only_outages && run_log.drained > DRAINED_WITHIN {
            let text = format!("took {:?}, at most {DRAINED_WITHIN:?}", run_log.drained);
            run_log.violations.push(run_violation("draining", &text));
        }
        let idle = system.idle_keys()?;
        if idle > 0 && intents >= ALL_KEYS_USED_FROM {
            let text = format!("{idle} of the executor's keys signed nothing");
            run_log.violations.push(run_violation("sharing", &text));
        }
        let gather = async || {
            let sent = customers.request_log().sent.clone();
            let mut facts = AuditFacts::gather(&system.app, sent, before).await?;
            facts.retried = system.retried();
            facts.only_outages = scenario.only_outages;
            facts.one_nonce_per_command = !scenario.loses_nonces;
            Ok(facts)
        };
        ledger::settled(FINISHED_WITHIN, gather).await
    };
    let audited = tokio::select! {
        audited = running => audited,
        () = progress_watch.run() => anyhow::bail!("the watch of the progress ended"),
    };
    let made = system.rpc.made();
    run_log.counts.extend(rpc_faults(&made));
    let is_full_run = intents >= scenario.intents;
    run_log
        .violations
        .extend(missing_rpc_faults(&scenario.rpc_faults, &made, is_full_run));
    let unexpected_exits = system
        .unexpected_exits
        .iter()
        .map(|text| run_violation("service", text));
    run_log.violations.extend(unexpected_exits);
    let result = audited.map(|audited| {
        result(
            scenario,
            params,
            intents + run_log.extra_customers,
            (run_log, audited),
            (&customers, &progress_watch),
        )
    });
    if !result.as_ref().is_ok_and(ScenarioResult::is_good) {
        let kept = system.keep_logs(&format!("{}-{}", scenario.name, params.seed))?;
        eprintln!("chaos: the services' logs are in {}", kept.display());
    }
    result
}

/// What happened in the course of a run.
#[derive(Debug, Default)]
struct RunLog {
    counts: BTreeMap<&'static str, u64>,
    not_done: Vec<String>,
    /// Customers beside those that were planned.
    extra_customers: usize,
    violations: Vec<Violation>,
    /// When the last fault ended, or the last customer was answered if there was no fault.
    last_fault: Option<Instant>,
    /// Time from then to the end of the last intent.
    drained: Duration,
}

/// Who arrives, how many at a time, and with what least time between two.
struct Arrivals<'a> {
    customers: &'a Customers,
    intents: usize,
    at_once: usize,
    interval: Duration,
}

/// Customers arrive as far as the schedule admits them, and each fault waits for its customer.
async fn run_customers_and_faults(
    mut context: FaultContext<'_>,
    schedule: &Schedule,
    arrivals: Arrivals<'_>,
    progress_watch: &ProgressWatch,
    run_log: &mut RunLog,
) -> Result<()> {
    let (arrived, started) = (AtomicUsize::new(0), tokio::time::Instant::now());
    let (done, admitted) = watch::channel(0_usize);
    let Arrivals {
        customers,
        intents,
        at_once,
        interval,
    } = arrivals;
    let arriving = customers.run(0..intents, at_once, async |number| {
        let mut admitted = admitted.clone();
        // The sender lives as long as faults are injected; after that every customer may arrive.
        drop(
            admitted
                .wait_for(|done| number < schedule.admitted_after(*done))
                .await,
        );
        tokio::time::sleep_until(started + interval * u32::try_from(number).unwrap_or(u32::MAX)).await;
        arrived.fetch_add(1, Ordering::SeqCst);
    });
    let injecting = async {
        for (index, planned) in schedule.faults.iter().enumerate() {
            while arrived.load(Ordering::SeqCst) < planned.after {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let text = format!(
                "fault {} of {}: {}",
                index + 1,
                schedule.faults.len(),
                planned.fault
            );
            progress_watch.set_activity(text);
            track_services(progress_watch, context.system)?;
            let skipped = context
                .inject(planned.fault)
                .await
                .with_context(|| format!("fault {}: {}", index + 1, planned.fault))?;
            match skipped {
                Some(reason) => run_log.not_done.push(reason),
                None => *run_log.counts.entry(planned.fault.kind()).or_default() += 1,
            }
            context.system.restart_ended().await?;
            done.send_replace(index + 1);
        }
        track_services(progress_watch, context.system)?;
        progress_watch.set_activity("all faults are done");
        Ok(Instant::now())
    };
    let ((), ended) = tokio::try_join!(arriving, injecting)?;
    run_log.extra_customers = context.extra_customers;
    run_log.last_fault = Some(if schedule.faults.is_empty() {
        Instant::now()
    } else {
        ended
    });
    run_log
        .violations
        .extend(too_few_faults(run_log.not_done.len(), schedule.faults.len()));
    Ok(())
}

/// A service that was started again is another process.
fn track_services(progress_watch: &ProgressWatch, system: &mut System) -> Result<()> {
    for service in SERVICES {
        progress_watch.track_process(service, system.app.service(service)?.pid());
    }
    Ok(())
}

/// Waits until every intent has reached its end, or until nothing moves any more.
async fn wait_until_settled(
    system: &mut System,
    customers: &Customers,
    progress_watch: &ProgressWatch,
    run_log: &mut RunLog,
    intents: usize,
) -> Result<()> {
    progress_watch.set_activity("all faults are cleared, settling");
    let cleared = Instant::now();
    while progress_watch.settled() < intents {
        // A standstill during a fault does not count.
        if progress_watch.idle_for().min(cleared.elapsed()) > STUCK {
            let left = intents - progress_watch.settled();
            run_log.violations.push(run_violation(
                "settling",
                &format!("{left} intents moved no more for {STUCK:?}"),
            ));
            break;
        }
        system.restart_ended().await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for (what, times) in &customers.request_log().refused {
        run_log.violations.push(run_violation(
            "refused",
            &format!("{times} valid requests: {what}"),
        ));
    }
    Ok(())
}

fn result(
    scenario: &Scenario,
    params: &Params,
    intents: usize,
    (run_log, audited): (RunLog, AuditResult),
    (customers, progress_watch): (&Customers, &ProgressWatch),
) -> ScenarioResult {
    let mut violations = run_log.violations;
    let mut counts = run_log.counts;
    let repeated = customers.request_log().reports.saturating_sub(intents);
    if repeated > 0 {
        counts.insert("repeated reports", repeated as u64);
    }
    violations.extend(audited.violations);
    let memory = progress_watch.memory();
    for (service, _) in memory.iter().filter(|(_, memory)| memory.grows()) {
        violations.push(run_violation("memory", &format!("{service} grows")));
    }
    let mut result = ScenarioResult {
        scenario: scenario.name,
        seed: params.seed,
        intents,
        faults: counts,
        not_done: run_log.not_done,
        recovered: audited.settled,
        pending: audited.pending,
        duplicates: 0,
        losses: 0,
        false_failures: 0,
        violations,
        totals: audited.totals,
        drained_seconds: run_log.drained.as_secs_f64(),
        longest_stall_seconds: progress_watch.longest_stall().as_secs_f64(),
        took_seconds: progress_watch.took().as_secs_f64(),
        memory,
    };
    result.duplicates = result.count(ViolationKind::is_duplicate);
    result.losses = result.count(ViolationKind::is_loss);
    result.false_failures = result.count(|kind| kind == ViolationKind::FalseFailure);
    result
}
