//! Plays one scenario: customers and faults together, then calm, then the ledger.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::rpc_proxy::{Made, Troubles, lies};
use testkit::wiring::SERVICES;
use tokio::sync::watch as channel;

use super::customers::{self, Customers};
use super::fault::Scene;
use super::report::Row;
use super::scenarios::Scenario;
use super::schedule::Schedule;
use super::stage::{Ground, Stage};
use super::watch::Watch;
use crate::ledger::{self, Facts, Sort, Verdict, Violation};

/// Enough blocks that no fork reaches what was set up before the story.
const BLOCKS_BEFORE: u64 = 10;
const USERS: u64 = 16;
/// Nothing moved for so long after the last fault: it never will.
const STUCK: Duration = Duration::from_secs(150);
/// What an outage held up is through so soon after it.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);
/// So many intents leave no key without a share.
const SHARED_FROM: usize = 60;
/// What may still be on its way when the last intent has settled: outcomes, acknowledgements, empty transactions.
const TIDY_WITHIN: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
pub struct Params {
    pub seed: u64,
    pub intents: Option<usize>,
    pub kills: Option<usize>,
    /// Of the RPC endpoint.
    pub outage: Duration,
    pub at_once: usize,
}

/// One scenario from the first customer to the verdict. An error means that the story could not be told.
pub async fn play(scenario: &Scenario, params: &Params, ground: Option<&mut Ground>) -> Result<Row> {
    let intents = params.intents.unwrap_or(scenario.intents);
    let mut random = fastrand::Rng::with_seed(params.seed);
    let faults = (scenario.faults)(&mut random, params);
    let schedule = Schedule::spread(&mut random, faults, intents);

    let mut stage = Stage::set(ground.as_deref(), scenario.setup, params.seed).await?;
    let users = customers::users(&stage.app, params.seed, USERS).await?;
    stage.app.chain.mine(BLOCKS_BEFORE).await?;
    let before = ledger::minted(&stage.app).await?;
    let customers = Customers::new(stage.app.client()?, users, params.seed, "C", scenario.mix);
    let watch = Watch::new(
        scenario.name,
        stage.app.database.url(),
        customers.clone(),
        intents,
    );
    stage.rpc.set(scenario.troubles);

    let mut told = Told::default();
    let story = async {
        let scene = Scene {
            stage: &mut stage,
            ground,
            customers: &customers,
            passers_by: 0,
            crowds: 0,
        };
        let shop = Shop {
            customers: &customers,
            intents,
            at_once: params.at_once,
            pace: scenario.pace,
        };
        perform(scene, &schedule, shop, &watch, &mut told).await?;
        stage.calm();
        let everybody = intents + told.passers_by;
        settle(&mut stage, &customers, &watch, &mut told, everybody).await?;
        told.drained = told.last_fault.map_or(Duration::ZERO, |ended| ended.elapsed());
        if scenario.only_outages && told.drained > DRAINED_WITHIN {
            let text = format!("took {:?}, at most {DRAINED_WITHIN:?}", told.drained);
            told.violations.push(story_violation("draining", &text));
        }
        let idle = stage.idle_keys()?;
        if idle > 0 && intents >= SHARED_FROM {
            let text = format!("{idle} of the executor's keys signed nothing");
            told.violations.push(story_violation("sharing", &text));
        }
        let gather = async || {
            let sent = customers.notes().sent.clone();
            let mut facts = Facts::gather(&stage.app, sent, before).await?;
            facts.retried = stage.retried();
            facts.only_outages = scenario.only_outages;
            facts.one_nonce_each = !scenario.loses_nonces;
            Ok(facts)
        };
        ledger::settled(TIDY_WITHIN, gather).await
    };
    let verdict = tokio::select! {
        verdict = story => verdict,
        () = watch.run() => anyhow::bail!("the watch ended"),
    };
    let made = stage.rpc.made();
    told.counts.extend(rpc_faults(&made));
    let whole = intents >= scenario.intents;
    told.violations
        .extend(too_quiet(&scenario.troubles, &made, whole));
    let fallen = stage.fallen.iter().map(|text| story_violation("service", text));
    told.violations.extend(fallen);
    let row = verdict.map(|verdict| {
        row(
            scenario,
            params,
            intents + told.passers_by,
            (told, verdict),
            (&customers, &watch),
        )
    });
    if !row.as_ref().is_ok_and(Row::is_good) {
        let kept = stage.keep_logs(&format!("{}-{}", scenario.name, params.seed))?;
        eprintln!("chaos: the services' logs are in {}", kept.display());
    }
    row
}

#[derive(Debug, Default)]
struct Told {
    counts: BTreeMap<&'static str, u64>,
    not_done: Vec<String>,
    /// Intents beside those that were planned.
    passers_by: usize,
    violations: Vec<Violation>,
    /// When the last fault ended, or the last customer was served if there was none.
    last_fault: Option<Instant>,
    /// From then to the end of the last intent.
    drained: Duration,
}

fn story_violation(subject: &str, text: &str) -> Violation {
    Violation::new(Sort::Story, subject, text)
}

/// Who comes, how many of them at a time, and how far apart at least.
struct Shop<'a> {
    customers: &'a Customers,
    intents: usize,
    at_once: usize,
    pace: Duration,
}

/// Customers come as far as the schedule admits them, and each fault waits for its customer.
async fn perform(
    mut scene: Scene<'_>,
    schedule: &Schedule,
    shop: Shop<'_>,
    watch: &Watch,
    told: &mut Told,
) -> Result<()> {
    let (come, opened) = (AtomicUsize::new(0), tokio::time::Instant::now());
    let (done, admitted) = channel::channel(0_usize);
    let Shop {
        customers,
        intents,
        at_once,
        pace,
    } = shop;
    let shop = customers.come(0..intents, at_once, async |number| {
        let mut admitted = admitted.clone();
        // The sender lives as long as the faults; after them everybody may come.
        drop(admitted.wait_for(|done| number < schedule.admits(*done)).await);
        tokio::time::sleep_until(opened + pace * u32::try_from(number).unwrap_or(u32::MAX)).await;
        come.fetch_add(1, Ordering::SeqCst);
    });
    let breaking = async {
        for (index, planned) in schedule.faults.iter().enumerate() {
            while come.load(Ordering::SeqCst) < planned.after {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            watch.doing(format!(
                "fault {} of {}: {}",
                index + 1,
                schedule.faults.len(),
                planned.fault
            ));
            for service in SERVICES {
                watch.lives(service, scene.stage.app.service(service)?.pid());
            }
            let skipped = scene
                .perform(planned.fault)
                .await
                .with_context(|| format!("fault {}: {}", index + 1, planned.fault))?;
            match skipped {
                Some(why) => told.not_done.push(why),
                None => *told.counts.entry(planned.fault.kind()).or_default() += 1,
            }
            scene.stage.pick_up().await?;
            done.send_replace(index + 1);
        }
        for service in SERVICES {
            watch.lives(service, scene.stage.app.service(service)?.pid());
        }
        watch.doing("all faults are done");
        Ok(Instant::now())
    };
    let ((), ended) = tokio::try_join!(shop, breaking)?;
    told.passers_by = scene.passers_by;
    told.last_fault = Some(if schedule.faults.is_empty() {
        Instant::now()
    } else {
        ended
    });
    told.violations
        .extend(too_few(told.not_done.len(), schedule.faults.len()));
    Ok(())
}

/// A run that broke nothing proves nothing. A point that nothing passed, or a pool with nothing to forget, may be missed
/// once in ten times.
fn too_few(not_done: usize, planned: usize) -> Option<Violation> {
    (not_done * 10 > planned)
        .then(|| story_violation("faults", &format!("{not_done} of {planned} were not done")))
}

/// The same of the troubles on the way to the node. One of which seven or more were to be expected and none came is no
/// chance any more. Lies, which only transactions meet, must be told in any case, and in a run that is `whole` each of
/// them: they are told in turn.
fn too_quiet(asked: &Troubles, made: &Made, whole: bool) -> Vec<Violation> {
    let expected = |per_mille: u32| u64::from(per_mille) * made.requests / 1000;
    let texts = lies::ALL.len() as u64;
    let untold = (whole && asked.lie > 0 && (1..texts).contains(&made.lies))
        .then(|| format!("only {} of {texts} texts were told as lies", made.lies));
    let silent = [
        (
            "requests lost",
            expected(asked.lose_request) >= 7,
            made.lost_requests,
        ),
        (
            "answers lost",
            expected(asked.lose_answer) >= 7,
            made.lost_answers,
        ),
        ("refusals", expected(asked.refuse) >= 7, made.refused),
        ("delays", expected(asked.delay) >= 7, made.delayed),
        ("lies", asked.lie > 0, made.lies),
    ]
    .into_iter()
    .filter(|(_, due, count)| *due && *count == 0)
    .map(|(what, ..)| format!("no {what} among {} RPC calls", made.requests));
    silent
        .chain(untold)
        .map(|text| story_violation("faults", &text))
        .collect()
}

/// Waits until every intent has come to its end, or until nothing moves any more.
async fn settle(
    stage: &mut Stage,
    customers: &Customers,
    watch: &Watch,
    told: &mut Told,
    intents: usize,
) -> Result<()> {
    watch.doing("all is calm, settling");
    let calm = Instant::now();
    while watch.settled() < intents {
        // What stood still during a fault says nothing.
        if watch.still_for().min(calm.elapsed()) > STUCK {
            let left = intents - watch.settled();
            told.violations.push(story_violation(
                "settling",
                &format!("{left} intents moved no more for {STUCK:?}"),
            ));
            break;
        }
        stage.pick_up().await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for (what, times) in &customers.notes().refused {
        told.violations.push(story_violation(
            "refused",
            &format!("{times} good requests: {what}"),
        ));
    }
    Ok(())
}

fn rpc_faults(made: &Made) -> Vec<(&'static str, u64)> {
    [
        ("rpc requests lost", made.lost_requests),
        ("rpc answers lost", made.lost_answers),
        ("rpc calls lost without a sign", made.lost_silently),
        ("rpc refusals", made.refused),
        ("rpc delays", made.delayed),
        ("rpc lies", made.lies),
        ("rpc calls cut off", made.cut_off),
        ("rpc answers of long ago", made.behind),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect()
}

fn row(
    scenario: &Scenario,
    params: &Params,
    intents: usize,
    (told, verdict): (Told, Verdict),
    (customers, watch): (&Customers, &Watch),
) -> Row {
    let mut violations = told.violations;
    let mut counts = told.counts;
    let repeated = customers.notes().reports.saturating_sub(intents);
    if repeated > 0 {
        counts.insert("repeated reports", repeated as u64);
    }
    violations.extend(verdict.violations);
    let memory = watch.memory();
    for (service, _) in memory.iter().filter(|(_, memory)| memory.grows()) {
        violations.push(story_violation("memory", &format!("{service} grows")));
    }
    let mut row = Row {
        scenario: scenario.name,
        seed: params.seed,
        intents,
        faults: counts,
        not_done: told.not_done,
        recovered: verdict.settled,
        pending: verdict.pending,
        duplicates: 0,
        losses: 0,
        false_failures: 0,
        violations,
        totals: verdict.totals,
        drained_seconds: told.drained.as_secs_f64(),
        longest_stall_seconds: watch.longest_stall().as_secs_f64(),
        took_seconds: watch.took().as_secs_f64(),
        memory,
    };
    row.duplicates = row.count(Sort::is_duplicate);
    row.losses = row.count(Sort::is_loss);
    row.false_failures = row.count(|sort| sort == Sort::FalseFailure);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_its_faults_is_no_good_run() {
        assert!(too_few(1, 1).is_some(), "the only one");
        assert!(too_few(6, 50).is_some());
        assert!(too_few(5, 50).is_none());
        assert!(too_few(0, 0).is_none(), "a scenario without faults");
    }

    #[test]
    fn a_run_whose_node_gave_no_trouble_is_no_good_run() {
        let asked = Troubles {
            lose_answer: 20,
            lie: 400,
            ..Troubles::default()
        };
        let of = |requests, lost_answers, lies| Made {
            requests,
            lost_answers,
            lies,
            ..Made::default()
        };
        let quiet =
            |requests, lost_answers, lies| too_quiet(&asked, &of(requests, lost_answers, lies), false);
        assert!(quiet(500, 9, 1).is_empty());
        assert!(quiet(200, 0, 1).is_empty(), "chance");
        assert_eq!(quiet(400, 0, 1).len(), 1);
        assert_eq!(quiet(400, 0, 0).len(), 2);
        assert!(too_quiet(&Troubles::default(), &of(400, 0, 0), true).is_empty());

        let texts = lies::ALL.len() as u64;
        assert_eq!(too_quiet(&asked, &of(500, 9, texts - 1), true).len(), 1);
        assert!(too_quiet(&asked, &of(500, 9, texts), true).is_empty());
    }
}
