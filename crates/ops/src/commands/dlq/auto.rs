//! `dlq auto`: replays by error class without a person, within a budget, behind a breaker. Runs until stopped; off unless
//! somebody runs it (ADR 0011). Everything it remembers lies in `dead_letter_actions`, so a restart forgets nothing.

pub mod rules;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use domain::ids::MessageId;
use indicatif::ProgressBar;
use messaging::WorkQueue;
use messaging::dead_letters::Held;
use runtime::health::Health;
use runtime::settings::{LogFormat, LogSettings};
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use storage::ops::audit;
use storage::ops::dead_letters::{self as ledger, AutomaticReplayStats, OperatorRun};
use time::OffsetDateTime;

use super::dead_letters;
use super::drain::{Counts, Drain, Order, Verb};
use super::facts::Sources;
use crate::Verdict;
use crate::context::Context;
use crate::observe;
use crate::output::{Output, note};
use crate::text::age_argument;
use rules::{Candidate, HOUR, Rules};

/// Replay parked messages of some error classes by themselves, until stopped
///
/// What a person's replay checks is checked here too: seals, the services' rows, the chain. Beyond that an entry must
/// have rested, must not have been replayed too often, and the hour's budget must not be used up. When too many
/// replays come back parked, the breaker opens and nothing is replayed until they have rested. Decisions are counted on the admin port
/// (fiatrails_dlq_auto_*), every act is in `fiatrails dlq history`. Run one at a time.
#[derive(Args)]
#[command(
    after_long_help = "Environment: as for `fiatrails dlq replay`, and ADMIN_ADDR, LOG_FORMAT, RUST_LOG.\n\n\
    Examples:\n  \
    fiatrails dlq auto --class storage --class contention\n  \
    fiatrails dlq auto --class storage --budget 500 --cool-down 2m --admin-addr 127.0.0.1:9095\n  \
    fiatrails dlq auto --class storage --once --dry-run"
)]
pub struct Auto {
    /// Only this error class; repeatable
    #[arg(long, required = true)]
    class: Vec<String>,
    /// Only this queue; repeatable [default: all]
    #[arg(long)]
    queue: Vec<WorkQueue>,
    /// Replays within an hour, at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    budget: u64,
    /// Replays of one message and what it follows from, at most
    #[arg(long, value_name = "N", default_value_t = 2)]
    per_message: u64,
    /// How long an entry rests after it failed; doubled for each replay before
    #[arg(long, value_name = "AGE", default_value = "5m", value_parser = age_argument)]
    cool_down: Duration,
    /// The breaker opens when so many per cent of the hour's replays came back
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    breaker_share: u64,
    /// The breaker stays closed while fewer than this came back
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    breaker_least: u64,
    /// How long the breaker stays open after the last one came back
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = age_argument)]
    breaker_rest: Duration,
    /// Entries a second
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Time between two passes
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    every: Duration,
    /// Where metrics and health are served; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADMIN_ADDR",
        default_value = "127.0.0.1:0",
        hide_env_values = true
    )]
    admin_addr: SocketAddr,
    /// One pass, then end
    #[arg(long)]
    once: bool,
    /// Decide and count, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Auto {
    fn rules(&self) -> Rules {
        Rules {
            classes: self.class.clone(),
            budget: self.budget,
            per_message: self.per_message,
            cool_down: self.cool_down,
            share: self.breaker_share,
            least: self.breaker_least,
            rest: self.breaker_rest,
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
            "breaker": { "sharePercent": self.breaker_share, "least": self.breaker_least,
                         "restSeconds": self.breaker_rest.as_secs() },
            "dryRun": self.dry_run,
        })
    }
}

pub async fn run(context: &Context, out: &mut Output, args: &Auto) -> Result<Verdict> {
    let who = context.who()?;
    let mut keeper = Keeper {
        context,
        args,
        rules: args.rules(),
        who,
        was_open: false,
    };
    keeper
        .say("dlq.auto", "automatic replay begins", args.document())
        .await?;
    if args.once {
        let counts = keeper.pass().await?;
        out.show(&counts, |page| {
            page.line(format!(
                "replayed {}, closed {}, kept {}, failed {}",
                counts.replayed, counts.closed, counts.kept, counts.failed
            ));
        })?;
        return Ok(Verdict::Yes);
    }
    let stop = Stop::new();
    let tasks = serve(context, args, &stop)?;
    runtime::lifecycle::stop_on_signals(&stop, Duration::ZERO)?;
    while !stop.is_requested() {
        // Whatever is away is away for a while; nothing is lost by waiting.
        if let Err(error) = keeper.pass().await {
            tracing::warn!(error = format!("{error:#}"), "pass interrupted");
            observe::PASSES.one(["failed"]);
        } else {
            observe::PASSES.one(["ok"]);
        }
        stop.sleep(args.every).await;
    }
    tasks.run().await?;
    keeper
        .say("dlq.auto.done", "automatic replay ends", json!({}))
        .await?;
    Ok(Verdict::Yes)
}

/// Logs, metrics and health, as every long-running process of ours has them.
fn serve(context: &Context, args: &Auto, stop: &Stop) -> Result<Tasks> {
    let log = LogSettings {
        format: context.environment.parsed_or("LOG_FORMAT", LogFormat::Json)?,
        filter: context.environment.text("RUST_LOG").map(str::to_owned),
    };
    runtime::telemetry::install("dlq-auto", &log, None)?;
    let recorder = runtime::metrics::install()?;
    meter::register(observe::METRICS);
    let (addr, server) = runtime::admin::bind(args.admin_addr, Health::default(), recorder.clone())
        .with_context(|| format!("bind {}", args.admin_addr))?;
    note(&format!("metrics on http://{addr}/metrics"));
    let mut tasks = Tasks::new(stop.clone());
    let (handle, stopping) = (server.handle(), stop.clone());
    tasks.spawn("admin stop", async move {
        stopping.requested().await;
        handle.stop(true).await;
    });
    tasks.spawn_fallible("admin port", server);
    tasks.spawn("metrics", runtime::metrics::upkeep(recorder, stop.clone()));
    Ok(tasks)
}

struct Keeper<'a> {
    context: &'a Context,
    args: &'a Auto,
    rules: Rules,
    who: &'a str,
    was_open: bool,
}

impl Keeper<'_> {
    /// Every queue once. Connections are made anew, so that renewed passwords and keys are taken up.
    async fn pass(&mut self) -> Result<Counts> {
        let (dead, client) = (dead_letters(self.context)?, self.context.client().await?);
        // Fails when the broker is away; sets the depth gauges.
        messaging::topology::depths(&dead.broker).await?;
        // Queues may be empty: what is shown must follow the hour all the same.
        let hour = ledger::automatic_replay_stats(&client, HOUR.as_secs_f64()).await?;
        self.watch_breaker(&hour).await?;
        let sources = Sources::new(self.context, dead.opener.clone(), true);
        let order = Order {
            verb: Verb::Replay,
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
        let mut drain = Drain::new(&dead, &sources, &client, order, ProgressBar::hidden());
        let mut result = Ok(());
        for queue in self.args.queues() {
            result = self.queue(&mut drain, queue).await;
            if result.is_err() {
                break;
            }
        }
        let counts = drain.tally.counts;
        dead.broker.close().await;
        result.map(|()| counts)
    }

    async fn queue(&mut self, drain: &mut Drain<'_>, queue: WorkQueue) -> Result<()> {
        let mut sweep = drain.dead.sweep(queue).await?;
        loop {
            let page = sweep.page(drain.page_size()).await?;
            if page.is_empty() {
                break;
            }
            let chosen = self.choose(drain, queue, page).await?;
            let before = drain.tally.counts;
            drain.settle(&mut sweep, chosen).await?;
            show_acts(queue, before, drain.tally.counts);
        }
        Ok(sweep.finish().await?)
    }

    /// Those of a page that may be replayed now.
    async fn choose(&mut self, drain: &Drain<'_>, queue: WorkQueue, page: Vec<Held>) -> Result<Vec<Held>> {
        let client = drain.client;
        let ids: Vec<MessageId> = page.iter().filter_map(|held| held.entry.message_id).collect();
        let replays = ledger::record_parked_again(client, &ids).await?;
        let hour = ledger::automatic_replay_stats(client, HOUR.as_secs_f64()).await?;
        self.watch_breaker(&hour).await?;
        let now = self.context.clock.now();
        let mut chosen = Vec::new();
        for held in page {
            let entry = &held.entry;
            let candidate = Candidate {
                class: &entry.class,
                age: entry.failed_at.and_then(|at| age(at, now)),
                replays: entry
                    .message_id
                    .and_then(|id| replays.get(&id).copied())
                    .unwrap_or_default(),
            };
            // A dry run leaves no rows that the hour could be told from.
            let before = drain.order.dry_run.then_some(drain.tally.counts.replayed);
            let chosen_now = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
            let taken = before.unwrap_or_default().saturating_add(chosen_now);
            let verdict = self.rules.judge(candidate, &hour, taken);
            observe::DECISIONS.one([queue.name(), verdict.name()]);
            if verdict == rules::Verdict::Replay {
                chosen.push(held);
            }
        }
        Ok(chosen)
    }

    /// Says in the audit log when it opens and when it closes.
    async fn watch_breaker(&mut self, hour: &AutomaticReplayStats) -> Result<()> {
        let open = self.rules.is_open(hour);
        observe::BREAKER_OPEN.set([], if open { 1.0 } else { 0.0 });
        let left = u32::try_from(self.rules.budget_left(hour)).unwrap_or(u32::MAX);
        observe::BUDGET_LEFT.set([], f64::from(left));
        if open == self.was_open {
            return Ok(());
        }
        self.was_open = open;
        let (act, why) = if open {
            ("dlq.auto.open", "too many replays came back")
        } else {
            ("dlq.auto.closed", "nothing came back for a while")
        };
        tracing::warn!(
            open,
            replayed = hour.replayed,
            came_back = hour.parked_again,
            "breaker of the automatic replay"
        );
        let detail = json!({ "replayed": hour.replayed, "cameBack": hour.parked_again });
        self.say(act, why, detail).await
    }

    async fn say(&self, act: &str, why: &str, detail: Value) -> Result<()> {
        let client = self.context.client().await?;
        let act = audit::AuditEntry {
            actor: self.who,
            action: act,
            target: "dead letters",
            reason: why,
            detail,
        };
        Ok(audit::record(&client, &act).await?)
    }
}

fn age(at: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
    // A time from the future is no age.
    Duration::try_from(now - at).ok()
}

fn show_acts(queue: WorkQueue, before: Counts, after: Counts) {
    for (act, count) in [
        ("replayed", after.replayed - before.replayed),
        ("closed", after.closed - before.closed),
        ("kept", after.kept - before.kept),
        ("failed", after.failed - before.failed),
    ] {
        if count > 0 {
            observe::ACTS.add([queue.name(), act], count);
        }
    }
}
