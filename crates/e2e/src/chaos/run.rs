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
use super::params::Params;
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
    let mut run = ScenarioRun::start(scenario, params, intents, infrastructure.as_deref()).await?;
    let progress_watch = run.progress_watch.clone();
    let audited = tokio::select! {
        audited = run.finish(&schedule, infrastructure) => audited,
        () = progress_watch.run() => anyhow::bail!("the watch of the progress ended"),
    };
    run.check_faults_and_exits();
    let result = audited.map(|audited| run.result(audited));
    if !result.as_ref().is_ok_and(ScenarioResult::is_good) {
        let kept = run
            .system
            .keep_logs(&format!("{}-{}", scenario.name, params.seed))?;
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

/// A scenario on its way, with the system that it breaks.
struct ScenarioRun<'a> {
    scenario: &'a Scenario,
    params: &'a Params,
    /// Customers that are planned.
    intents: usize,
    /// The supply before the first of them.
    minted_before: u128,
    customers: Customers,
    progress_watch: ProgressWatch,
    log: RunLog,
    system: System,
}

impl<'a> ScenarioRun<'a> {
    async fn start(
        scenario: &'a Scenario,
        params: &'a Params,
        intents: usize,
        infrastructure: Option<&Infrastructure>,
    ) -> Result<Self> {
        let system = System::start(infrastructure, scenario.setup, params.seed).await?;
        let users = customers::users(&system.app, params.seed, USERS).await?;
        system.app.chain.mine(BLOCKS_BEFORE).await?;
        let minted_before = ledger::minted(&system.app).await?;
        let customers = Customers::new(system.app.client()?, users, params.seed, "C", scenario.mix);
        let database = system.app.database.url();
        let progress_watch = ProgressWatch::new(scenario.name, database, customers.clone(), intents);
        system.rpc.set(scenario.rpc_faults);
        Ok(Self {
            scenario,
            params,
            intents,
            minted_before,
            customers,
            progress_watch,
            log: RunLog::default(),
            system,
        })
    }

    /// Customers and faults, then a healthy system until all has settled, then the ledger.
    async fn finish(
        &mut self,
        schedule: &Schedule,
        infrastructure: Option<&mut Infrastructure>,
    ) -> Result<AuditResult> {
        self.run_customers_and_faults(schedule, infrastructure).await?;
        self.system.clear_faults();
        self.wait_until_settled().await?;
        self.log.drained = self
            .log
            .last_fault
            .map_or(Duration::ZERO, |ended| ended.elapsed());
        if self.scenario.only_outages && self.log.drained > DRAINED_WITHIN {
            let text = format!("took {:?}, at most {DRAINED_WITHIN:?}", self.log.drained);
            self.log.violations.push(run_violation("draining", &text));
        }
        let idle = self.system.idle_keys()?;
        if idle > 0 && self.intents >= ALL_KEYS_USED_FROM {
            let text = format!("{idle} of the executor's keys signed nothing");
            self.log.violations.push(run_violation("sharing", &text));
        }
        let gather = async || {
            let sent = self.customers.request_log().sent.clone();
            let mut facts = AuditFacts::gather(&self.system.app, sent, self.minted_before).await?;
            facts.retried = self.system.retried();
            facts.only_outages = self.scenario.only_outages;
            facts.one_nonce_per_command = !self.scenario.loses_nonces;
            Ok(facts)
        };
        ledger::settled(FINISHED_WITHIN, gather).await
    }

    /// Customers arrive as far as the schedule admits them, and each fault waits for its customer.
    async fn run_customers_and_faults(
        &mut self,
        schedule: &Schedule,
        infrastructure: Option<&mut Infrastructure>,
    ) -> Result<()> {
        let (arrived, started) = (AtomicUsize::new(0), tokio::time::Instant::now());
        let (done, admitted) = watch::channel(0_usize);
        let interval = self.scenario.interval;
        let arriving = self
            .customers
            .run(0..self.intents, self.params.at_once, async |number| {
                let mut admitted = admitted.clone();
                // The sender lives as long as faults are injected; after that every customer may arrive.
                drop(
                    admitted
                        .wait_for(|done| number < schedule.admitted_after(*done))
                        .await,
                );
                tokio::time::sleep_until(started + interval * u32::try_from(number).unwrap_or(u32::MAX))
                    .await;
                arrived.fetch_add(1, Ordering::SeqCst);
            });
        let mut injection = Injection {
            context: FaultContext {
                system: &mut self.system,
                infrastructure,
                customers: &self.customers,
                extra_customers: 0,
                groups: 0,
            },
            progress_watch: &self.progress_watch,
            log: &mut self.log,
        };
        let injecting = injection.run(schedule, &arrived, done);
        let ((), ended) = tokio::try_join!(arriving, injecting)?;
        self.log.last_fault = Some(if schedule.faults.is_empty() {
            Instant::now()
        } else {
            ended
        });
        let too_few = too_few_faults(self.log.not_done.len(), schedule.faults.len());
        self.log.violations.extend(too_few);
        Ok(())
    }

    /// Waits until every intent has reached its end, or until nothing moves any more.
    async fn wait_until_settled(&mut self) -> Result<()> {
        let intents = self.all_intents();
        self.progress_watch
            .set_activity("all faults are cleared, settling");
        let cleared = Instant::now();
        while self.progress_watch.settled() < intents {
            // A standstill during a fault does not count.
            if self.progress_watch.idle_for().min(cleared.elapsed()) > STUCK {
                let left = intents - self.progress_watch.settled();
                let text = format!("{left} intents moved no more for {STUCK:?}");
                self.log.violations.push(run_violation("settling", &text));
                break;
            }
            self.system.restart_ended().await?;
            testkit::wait::pause(Duration::from_millis(250)).await;
        }
        for (what, times) in &self.customers.request_log().refused {
            let text = format!("{times} valid requests: {what}");
            self.log.violations.push(run_violation("refused", &text));
        }
        Ok(())
    }

    /// The run proves nothing without its faults, and no service may end by itself.
    fn check_faults_and_exits(&mut self) {
        let made = self.system.rpc.made();
        self.log.counts.extend(rpc_faults(&made));
        let is_full_run = self.intents >= self.scenario.intents;
        let missing = missing_rpc_faults(&self.scenario.rpc_faults, &made, is_full_run);
        self.log.violations.extend(missing);
        let exits = self.system.unexpected_exits.iter();
        let exits = exits.map(|text| run_violation("service", text));
        self.log.violations.extend(exits);
    }

    fn all_intents(&self) -> usize {
        self.intents + self.log.extra_customers
    }

    fn result(&mut self, audited: AuditResult) -> ScenarioResult {
        let intents = self.all_intents();
        let RunLog {
            mut counts,
            not_done,
            mut violations,
            drained,
            ..
        } = std::mem::take(&mut self.log);
        let repeated = self.customers.request_log().reports.saturating_sub(intents);
        if repeated > 0 {
            counts.insert("repeated reports", repeated as u64);
        }
        violations.extend(audited.violations);
        let memory = self.progress_watch.memory();
        for (service, _) in memory.iter().filter(|(_, memory)| memory.grows()) {
            violations.push(run_violation("memory", &format!("{service} grows")));
        }
        let mut result = ScenarioResult {
            scenario: self.scenario.name,
            seed: self.params.seed,
            intents,
            faults: counts,
            not_done,
            recovered: audited.settled,
            pending: audited.pending,
            duplicates: 0,
            losses: 0,
            false_failures: 0,
            violations,
            totals: audited.totals,
            drained_seconds: drained.as_secs_f64(),
            longest_stall_seconds: self.progress_watch.longest_stall().as_secs_f64(),
            took_seconds: self.progress_watch.took().as_secs_f64(),
            memory,
        };
        result.duplicates = result.count(ViolationKind::is_duplicate);
        result.losses = result.count(ViolationKind::is_loss);
        result.false_failures = result.count(|kind| kind == ViolationKind::FalseFailure);
        result
    }
}

/// The faults of a run, one after another.
struct Injection<'a> {
    context: FaultContext<'a>,
    progress_watch: &'a ProgressWatch,
    log: &'a mut RunLog,
}

impl Injection<'_> {
    /// Injects each fault once its customer has arrived, and tells through `done` how many are over. Returns when the
    /// last one ended.
    async fn run(
        &mut self,
        schedule: &Schedule,
        arrived: &AtomicUsize,
        done: watch::Sender<usize>,
    ) -> Result<Instant> {
        for (index, planned) in schedule.faults.iter().enumerate() {
            while arrived.load(Ordering::SeqCst) < planned.after {
                testkit::wait::pause(Duration::from_millis(5)).await;
            }
            let (number, all) = (index + 1, schedule.faults.len());
            self.progress_watch
                .set_activity(format!("fault {number} of {all}: {}", planned.fault));
            self.track_services()?;
            let skipped = self
                .context
                .inject(planned.fault)
                .await
                .with_context(|| format!("fault {number}: {}", planned.fault))?;
            match skipped {
                Some(reason) => self.log.not_done.push(reason),
                None => *self.log.counts.entry(planned.fault.kind()).or_default() += 1,
            }
            self.context.system.restart_ended().await?;
            done.send_replace(number);
        }
        self.track_services()?;
        self.progress_watch.set_activity("all faults are done");
        self.log.extra_customers = self.context.extra_customers;
        Ok(Instant::now())
    }

    /// A service that was started again is another process.
    fn track_services(&mut self) -> Result<()> {
        for service in SERVICES {
            let pid = self.context.system.app.service(service)?.pid();
            self.progress_watch.track_process(service, pid);
        }
        Ok(())
    }
}
