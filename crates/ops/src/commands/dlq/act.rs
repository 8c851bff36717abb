//! `dlq replay`, `dlq discard`, `dlq reseal`: chosen entries only, within a budget, audited before and after.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use messaging::WorkQueue;
use serde_json::{Value, json};
use storage::DbClient;
use storage::ops::audit;
use storage::ops::dead_letters::OperatorRun;

use super::choose::Which;
use super::dead_letters;
use super::drain::{Drain, Line, Order, Tally, Verb};
use super::facts::Sources;
use crate::Verdict;
use crate::confirm::confirm;
use crate::context::Context;
use crate::output::{Output, Page, Style};
use crate::problem::problem;

/// Send parked messages again
///
/// The seal is verified first; what does not verify stays where it is. What is done already (asked of the services'
/// rows and of the chain itself) is closed with the reason and not sent. A replay is a new message: new id, the old one as its
/// cause, sealed under the current key. Its id follows from the old one, so a replay that was interrupted and is run
/// again doubles nothing. Every entry is written down (`fiatrails dlq history`).
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL, AMQP_URL, FIATRAILS_KEYS_DIR;\n  \
    RPC_URLS (or RPC_URL), ESCROW_ADDRESS, TREASURY_ADDRESS, FIATRAILS_POLICY_FILE   to ask the chain\n\n\
    Examples:\n  \
    fiatrails dlq replay 018f0000-0000-7000-8000-000000000001 --reason 'RPC was down'\n  \
    fiatrails dlq replay --queue mint.submit --class unavailable --max 500 --reason 'RPC was down' --dry-run\n  \
    fiatrails dlq replay --class storage --older-than 10m --max 5000 --rate 20 --reason 'INC-42' --yes")]
pub struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Entries a second; 0 is as fast as it goes
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// Do not ask the chain what is done already; only final rows of the executor close an entry
    #[arg(long)]
    without_chain: bool,
}

/// Delete parked messages for good
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq discard sha256:0123456789abcdef --reason 'forged, INC-42'\n  \
    fiatrails dlq discard --queue mpesa.result --class malformed --max 1000 --reason 'INC-42' --yes")]
pub struct Discard {
    #[command(flatten)]
    chosen: Chosen,
}

/// Seal parked messages anew under the current key, in place, so that an old key can be retired
///
/// The old seal is verified first; what does not verify stays as it is.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq reseal --queue mint.submit --max 10000 --reason 'rotation of pk_2026_01' --yes")]
pub struct Reseal {
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args)]
struct Chosen {
    /// One entry by its id; else choose by the filters
    id: Option<String>,
    #[command(flatten)]
    which: Which,
    /// At most so many entries
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    max: u64,
    /// Show what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Chosen {
    /// One entry by its id is one entry, however many copies of it there are.
    fn max(&self) -> u64 {
        if self.id.is_some() { 1 } else { self.max }
    }

    fn target(&self) -> String {
        let queue = || self.which.queue.map_or("all", WorkQueue::name).to_owned();
        self.id.clone().unwrap_or_else(queue)
    }
}

pub async fn replay(context: &Context, out: &mut Output, args: &Replay) -> Result<Verdict> {
    let rate = (args.rate > 0).then_some(args.rate);
    run(
        context,
        out,
        &args.chosen,
        (Verb::Replay, rate, !args.without_chain),
    )
    .await
}

pub async fn discard(context: &Context, out: &mut Output, args: &Discard) -> Result<Verdict> {
    run(context, out, &args.chosen, (Verb::Discard, None, false)).await
}

pub async fn reseal(context: &Context, out: &mut Output, args: &Reseal) -> Result<Verdict> {
    run(context, out, &args.chosen, (Verb::Reseal, None, false)).await
}

async fn run(
    context: &Context,
    out: &mut Output,
    args: &Chosen,
    (verb, rate, ask_chain): (Verb, Option<u32>, bool),
) -> Result<Verdict> {
    if args.id.is_none() && args.which.is_everything() {
        return Err(problem(
            "nothing is chosen",
            "name one ID, or choose by a filter such as --queue or --class",
        ));
    }
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let question = format!("{} up to {} parked message(s)?", capital(verb.name()), args.max());
    confirm(args.yes || args.dry_run, &question)?;
    let (dead, client) = (dead_letters(context)?, context.client().await?);
    let sources = Sources::new(context, dead.opener.clone(), ask_chain);
    let order = Order {
        verb,
        run: OperatorRun {
            id: context.ids.message_id().0,
            actor: who,
            reason: why,
            is_automatic: false,
        },
        max: args.max(),
        rate,
        dry_run: args.dry_run,
    };
    let run = order.run;
    let selection =
        json!({ "runId": run.id, "selection": args.which.document(args.id.as_deref()), "max": args.max() });
    if !args.dry_run {
        // First the intention: if we die half-way, the log still says that someone was at it.
        audited(&client, &run, verb.name(), &args.target(), selection).await?;
    }
    let progress = progress(args.max(), out.is_json());
    let mut drain = Drain::new(&dead, &sources, &client, order, progress);
    let drained = all(&mut drain, context, args).await;
    drain.progress.finish_and_clear();
    let tally = std::mem::take(&mut drain.tally);
    dead.broker.close().await;
    if !args.dry_run {
        let detail = json!({ "runId": run.id, "counts": tally.counts, "error": drained.as_ref().err().map(|e| format!("{e:#}")) });
        audited(
            &client,
            &run,
            &format!("{}.done", verb.name()),
            &args.target(),
            detail,
        )
        .await?;
    }
    drained?;
    show(out, args.dry_run, &run, &tally)
}

async fn all(drain: &mut Drain<'_>, context: &Context, args: &Chosen) -> Result<()> {
    let filter = args.which.filter(context.clock.now())?;
    for queue in args.which.queues() {
        let current = drain.dead.sealer.current_kid(queue);
        let opener = drain.sources.opener.clone();
        let verb = drain.order.verb;
        drain
            .queue(queue, |entry| {
                let named = args.id.as_ref().is_none_or(|id| *id == entry.id);
                let sealed_now = || {
                    let opened = opener.open(entry.origin, &entry.payload);
                    opened.is_ok_and(|opened| Some(opened.kid()) == current.as_ref())
                };
                named && filter.fits(entry) && !(verb == Verb::Reseal && sealed_now())
            })
            .await?;
    }
    Ok(())
}

async fn audited(
    client: &DbClient,
    run: &OperatorRun<'_>,
    what: &str,
    target: &str,
    detail: Value,
) -> Result<()> {
    let act = audit::AuditEntry {
        actor: run.actor,
        action: &format!("dlq.{what}"),
        target,
        reason: run.reason,
        detail,
    };
    Ok(audit::record(client, &act).await?)
}

/// Finding nothing is a no, and so is anything that stays.
fn show(out: &mut Output, dry_run: bool, run: &OperatorRun<'_>, tally: &Tally) -> Result<Verdict> {
    let counts = tally.counts;
    let run_id = (!dry_run).then_some(run.id);
    let value = json!({ "dryRun": dry_run, "runId": run_id, "counts": counts, "entries": tally.sample });
    out.show(&value, |page| {
        if counts.total() == 0 {
            page.styled(Style::Warn, "no parked message fits");
            return;
        }
        page.table(
            &[
                "id",
                "queue",
                "txRef",
                "class",
                if dry_run { "would" } else { "did" },
                "new id, or why",
            ],
            &tally.sample.iter().map(row).collect::<Vec<_>>(),
        );
        summary(page, dry_run, run, tally);
    })?;
    let stays = counts.kept > 0 || counts.failed > 0;
    Ok(if counts.total() == 0 || (stays && !dry_run) {
        Verdict::No
    } else {
        Verdict::Yes
    })
}

fn row(line: &Line) -> Vec<String> {
    let new_id = line.new_id.map(|id| id.to_string());
    vec![
        line.id.clone(),
        line.queue.to_owned(),
        line.tx_ref.clone().unwrap_or_default(),
        line.class.clone(),
        line.act.to_owned(),
        new_id.or_else(|| line.note.clone()).unwrap_or_default(),
    ]
}

fn summary(page: &mut Page, dry_run: bool, run: &OperatorRun<'_>, tally: &Tally) {
    let counts = tally.counts;
    let named = [
        ("replayed", counts.replayed, Style::Good),
        ("closed", counts.closed, Style::Good),
        ("discarded", counts.discarded, Style::Good),
        ("resealed", counts.resealed, Style::Good),
        ("kept", counts.kept, Style::Warn),
        ("failed", counts.failed, Style::Bad),
    ];
    let prefix = if dry_run { "would be " } else { "" };
    for (name, count, style) in named.into_iter().filter(|(_, count, _)| *count > 0) {
        page.styled(style, format!("{prefix}{name}: {count}"));
    }
    let shown = u64::try_from(tally.sample.len()).unwrap_or(u64::MAX);
    if counts.total() > shown {
        page.line(format!("the first {shown} are shown"));
    }
    if !dry_run && counts.total() > counts.kept {
        page.line(format!("all of it: fiatrails dlq history --run {}", run.id));
    }
}

/// On a terminal only; indicatif hides itself elsewhere.
fn progress(count: u64, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
