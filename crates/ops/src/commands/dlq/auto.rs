//! `dlq auto`: replays chosen error classes automatically, within a budget and behind a breaker. It runs until stopped,
//! and only if somebody starts it (ADR 0011). All its state is in `dead_letter_actions`, so a restart loses nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use domain::ids::MessageId;
use indicatif::ProgressBar;
use messaging::WorkQueue;
use messaging::dead_letters::HeldDeadLetter;
use reconcile::auto_replay::{AutoReplayRules, HOUR, ReplayCandidate, ReplayDecision};
use runtime::health::Health;
use runtime::settings::LogSettings;
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use storage::ops::audit;
use storage::ops::dead_letters::{self, AutomaticReplayStats, OperatorRun};
use time::OffsetDateTime;

use super::bulk::{BulkRequest, BulkRun, Counts, EntryAction};
use super::dead_letters;
use super::facts::FactSources;
use crate::completion::Completion;
use crate::context::CommandContext;
use crate::observe;
use crate::output::{Output, print_note};
use crate::text::age_argument;

/// Replay parked messages of chosen error classes automatically, until stopped
///
/// Each entry passes the same checks as in `dlq replay`: seals, the services' rows, the chain. In addition, its cool-down
/// must be over, it must not have reached its replay limit, and the hourly budget must not be used up. When too many
/// replayed messages are parked again, the breaker opens and stops all replays for a while. The admin port counts the
/// decisions (fiatrails_dlq_auto_*), and `fiatrails dlq history` shows every action. Run only one at a time.
#[derive(Args)]
#[command(
    after_long_help = "Environment: as for `fiatrails dlq replay`, and ADMIN_ADDR, LOG_FORMAT, RUST_LOG.\n\n\
    Examples:\n  \
    fiatrails dlq auto --class storage --class contention\n  \
    fiatrails dlq auto --class storage --budget 500 --cool-down 2m --admin-addr 127.0.0.1:9095\n  \
    fiatrails dlq auto --class storage --once --dry-run"
)]
pub struct AutoReplay {
    /// Error class to replay; repeatable
    #[arg(long, required = true)]
    class: Vec<String>,
    /// Queue to replay; repeatable [default: all]
    #[arg(long)]
    queue: Vec<WorkQueue>,
    /// Maximum number of replays per hour
    #[arg(long, value_name = "N", default_value_t = 100)]
    budget: u64,
    /// Maximum number of replays of one message, counting the messages it was replayed from
    #[arg(long, value_name = "N", default_value_t = 2)]
    per_message: u64,
    /// Time to wait after a failure before a replay; doubled for each earlier replay
    #[arg(long, value_name = "AGE", default_value = "5m", value_parser = age_argument)]
    cool_down: Duration,
    /// Percentage of the hour's replays that are parked again at which the breaker opens
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    breaker_percent: u64,
    /// Minimum number of replays that are parked again before the breaker may open
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    breaker_min: u64,
    /// How long the breaker stays open after the last replay that was parked again
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = age_argument)]
    breaker_reset: Duration,
    /// Maximum entries per second
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Time between two passes
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    every: Duration,
    /// Address that serves metrics and health; port 0 picks a free port
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADMIN_ADDR",
        default_value = "127.0.0.1:0",
        hide_env_values = true
    )]
    admin_addr: SocketAddr,
    /// Run one pass, then exit
    #[arg(long)]
    once: bool,
    /// Decide and count, without replaying
    #[arg(long)]
    dry_run: bool,
}

impl AutoReplay {
    fn rules(&self) -> AutoReplayRules {
        AutoReplayRules {
            classes: self.class.clone(),
            budget: self.budget,
            per_message: self.per_message,
            cool_down: self.cool_down,
            breaker_percent: self.breaker_percent,
            breaker_min: self.breaker_min,
            breaker_reset: self.breaker_reset,
        }
    }

    fn queues(&self) -> Vec<WorkQueue> {
        if self.queue.is_empty() {
            WorkQueue::ALL.to_vec()
        } else {
            self.queue.clone()
        }
    }

    fn document(&self) -> Value {
        json!({
            "classes": self.class, "queues": self.queues().iter().map(|q| q.name()).collect::<Vec<_>>(),
            "budget": self.budget, "perMessage": self.per_message, "coolDownSeconds": self.cool_down.as_secs(),
            "breaker": { "percent": self.breaker_percent, "min": self.breaker_min,
                         "resetSeconds": self.breaker_reset.as_secs() },
            "dryRun": self.dry_run,
        })
    }
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &AutoReplay) -> Result<Completion> {
    let who = context.who()?;
    let mut scheduler = ReplayScheduler {
        context,
        args,
        rules: args.rules(),
        who,
        was_open: false,
    };
    scheduler
        .record_audit("dlq.auto", "automatic replay begins", args.document())
        .await?;
    if args.once {
        let counts = scheduler.pass().await?;
        out.show(&counts, |page| {
            page.line(format!(
                "replayed {}, closed {}, kept {}, failed {}",
                counts.replayed, counts.closed, counts.kept, counts.failed
            ));
        })?;
        return Ok(Completion::Success);
    }
    let stop = Stop::new();
    let tasks = serve(context, args, &stop)?;
    runtime::lifecycle::stop_on_signals(&stop, Duration::ZERO)?;
    while !stop.is_requested() {
        // A dependency may be down for a while; nothing is lost by waiting.
        if let Err(error) = scheduler.pass().await {
            tracing::warn!(error = format!("{error:#}"), "pass interrupted");
            observe::PASSES.increment(["failed"]);
        } else {
            observe::PASSES.increment(["ok"]);
        }
        stop.sleep(args.every).await;
    }
    tasks.run().await?;
    scheduler
        .record_audit("dlq.auto.done", "automatic replay ends", json!({}))
        .await?;
    Ok(Completion::Success)
}

/// Starts logs, metrics and health, as in every long-running process of ours.
fn serve(context: &CommandContext, args: &AutoReplay, stop: &Stop) -> Result<Tasks> {
    let log: LogSettings = context.environment.read()?;
    runtime::telemetry::install("dlq-auto", &log, None)?;
    let recorder = runtime::metrics::install()?;
    meter::register(observe::METRICS);
    let (addr, server) = runtime::admin::bind(args.admin_addr, Health::default(), recorder.clone())
        .with_context(|| format!("bind {}", args.admin_addr))?;
    print_note(&format!("metrics on http://{addr}/metrics"));
    let mut tasks = Tasks::new(stop.clone());
    let (handle, stopping) = (server.handle(), stop.clone());
    tasks.spawn("admin stop", async move {
        stopping.requested().await;
        handle.stop(true).await;
    });
    tasks.spawn_fallible("admin port", server);
    runtime::metrics::maintain(recorder, &mut tasks);
    Ok(tasks)
}

struct ReplayScheduler<'a> {
    context: &'a CommandContext,
    args: &'a AutoReplay,
    rules: AutoReplayRules,
    who: &'a str,
    was_open: bool,
}

impl ReplayScheduler<'_> {
    /// Processes every queue once. Opens new connections each time, so that renewed passwords and keys are used.
    async fn pass(&mut self) -> Result<Counts> {
        let (dead, client) = (dead_letters(self.context)?, self.context.client().await?);
        // Sets the depth gauges. Fails if the broker is unavailable.
        messaging::topology::depths(&dead.broker).await?;
        // The gauges must be updated even if all queues are empty.
        let hour = dead_letters::automatic_replay_stats(&client, HOUR.as_secs_f64()).await?;
        self.watch_breaker(&hour).await?;
        let sources = FactSources::new(self.context, dead.opener.clone(), true);
        let request = BulkRequest {
            action: EntryAction::Replay,
            run: OperatorRun {
                id: self.context.ids.message_id().0,
                actor: self.who,
                reason: "automatic replay",
                is_automatic: true,
            },
            max: u64::MAX,
            rate: Some(self.args.rate),
            dry_run: self.args.dry_run,
        };
        let mut bulk = BulkRun::new(&dead, &sources, &client, request, ProgressBar::hidden());
        let mut result = Ok(());
        for queue in self.args.queues() {
            result = self.queue(&mut bulk, queue).await;
            if result.is_err() {
                break;
            }
        }
        let counts = bulk.summary.counts;
        dead.broker.close().await;
        result.map(|()| counts)
    }

    async fn queue(&mut self, bulk: &mut BulkRun<'_>, queue: WorkQueue) -> Result<()> {
        let mut cursor = bulk.dead.cursor(queue).await?;
        loop {
            let page = cursor.next_page(bulk.page_size()).await?;
            if page.is_empty() {
                break;
            }
            let chosen = self.choose(bulk, queue, page).await?;
            let before = bulk.summary.counts;
            bulk.process(&mut cursor, chosen).await?;
            count_actions(queue, before, bulk.summary.counts);
        }
        Ok(cursor.finish().await?)
    }

    /// Selects the entries of a page that may be replayed now.
    async fn choose(
        &mut self,
        bulk: &BulkRun<'_>,
        queue: WorkQueue,
        page: Vec<HeldDeadLetter>,
    ) -> Result<Vec<HeldDeadLetter>> {
        let client = bulk.client;
        let ids: Vec<MessageId> = page.iter().filter_map(|held| held.entry.message_id).collect();
        let replays = dead_letters::record_parked_again(client, &ids).await?;
        let hour = dead_letters::automatic_replay_stats(client, HOUR.as_secs_f64()).await?;
        self.watch_breaker(&hour).await?;
        let now = self.context.clock.now();
        let mut chosen = Vec::new();
        for held in page {
            let entry = &held.entry;
            let candidate = ReplayCandidate {
                class: &entry.class,
                age: entry.failed_at.and_then(|at| age(at, now)),
                replays: entry
                    .message_id
                    .and_then(|id| replays.get(&id).copied())
                    .unwrap_or_default(),
            };
            // A dry run leaves no rows from which the hour's replays could be counted.
            let before = bulk.request.dry_run.then_some(bulk.summary.counts.replayed);
            let chosen_now = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
            let taken = before.unwrap_or_default().saturating_add(chosen_now);
            let decision = self.rules.decide(candidate, &hour, taken);
            observe::DECISIONS.increment([queue.name(), decision.name()]);
            if decision == ReplayDecision::Replay {
                chosen.push(held);
            }
        }
        Ok(chosen)
    }

    /// Updates the breaker's gauges, and records in the audit log when it opens or closes.
    async fn watch_breaker(&mut self, hour: &AutomaticReplayStats) -> Result<()> {
        let open = self.rules.is_open(hour);
        observe::BREAKER_OPEN.set([], if open { 1.0 } else { 0.0 });
        let left = u32::try_from(self.rules.budget_left(hour)).unwrap_or(u32::MAX);
        observe::BUDGET_LEFT.set([], f64::from(left));
        if open == self.was_open {
            return Ok(());
        }
        self.was_open = open;
        let (action, why) = if open {
            ("dlq.auto.open", "too many replays came back")
        } else {
            ("dlq.auto.closed", "nothing came back for a while")
        };
        tracing::warn!(
            open,
            replayed = hour.replayed,
            parked_again = hour.parked_again,
            "breaker of the automatic replay"
        );
        let detail = json!({ "replayed": hour.replayed, "parkedAgain": hour.parked_again });
        self.record_audit(action, why, detail).await
    }

    async fn record_audit(&self, action: &str, why: &str, detail: Value) -> Result<()> {
        let client = self.context.client().await?;
        let act = audit::AuditEntry {
            actor: self.who,
            action,
            target: "dead letters",
            reason: why,
            detail,
        };
        Ok(audit::record(&client, &act).await?)
    }
}

fn age(at: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
    // A time in the future has no age.
    Duration::try_from(now - at).ok()
}

fn count_actions(queue: WorkQueue, before: Counts, after: Counts) {
    for (action, count) in [
        ("replayed", after.replayed - before.replayed),
        ("closed", after.closed - before.closed),
        ("kept", after.kept - before.kept),
        ("failed", after.failed - before.failed),
    ] {
        if count > 0 {
            observe::ACTIONS.add([queue.name(), action], count);
        }
    }
}
