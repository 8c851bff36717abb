//! `dlq replay`, `dlq discard`, `dlq reseal`: act on selected entries, within a maximum, audited before and after.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use messaging::WorkQueue;
use serde_json::{Value, json};
use storage::DbClient;
use storage::ops::audit;
use storage::ops::dead_letters::OperatorRun;

use super::bulk::{BulkRequest, BulkRun, BulkSummary, EntryAction, EntryResult};
use super::dead_letters;
use super::facts::FactSources;
use super::selection::DeadLetterSelection;
use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::user_error::user_error;

/// Send parked messages again
///
/// The seal is verified first; an entry whose seal does not verify stays in its queue. An entry whose command already
/// took effect, according to the services' rows and the chain, is closed with the reason and not sent. A replay is a new
/// message with a new id and the old message as its cause, sealed under the current key. The new id is derived from the
/// old one, so running an interrupted replay again sends no duplicates. Every action is recorded (`fiatrails dlq history`).
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL, AMQP_URL, FIATRAILS_KEYS_DIR;\n  \
    RPC_URLS (or RPC_URL), ESCROW_ADDRESS, TREASURY_ADDRESS, FIATRAILS_POLICY_FILE   to ask the chain\n\n\
    Examples:\n  \
    fiatrails dlq replay 018f0000-0000-7000-8000-000000000001 --reason 'RPC was down'\n  \
    fiatrails dlq replay --queue mint.submit --class unavailable --limit 500 --reason 'RPC was down' --dry-run\n  \
    fiatrails dlq replay --class storage --older-than 10m --limit 5000 --rate 20 --reason 'INC-42' --yes")]
pub struct ReplayDeadLetters {
    #[command(flatten)]
    chosen: ActionOptions,
    /// Maximum entries per second; 0 means unlimited
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// Do not query the chain for commands that already took effect; only the executor's final rows close an entry
    #[arg(long)]
    without_chain: bool,
}

/// Delete parked messages permanently
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq discard sha256:0123456789abcdef --reason 'forged, INC-42'\n  \
    fiatrails dlq discard --queue mpesa.result --class malformed --limit 1000 --reason 'INC-42' --yes")]
pub struct DiscardDeadLetters {
    #[command(flatten)]
    chosen: ActionOptions,
}

/// Reseal parked messages in place under the current key, so that an old key can be retired
///
/// The old seal is verified first; an entry whose seal does not verify is left unchanged.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq reseal --queue mint.submit --limit 10000 --reason 'rotation of pk_2026_01' --yes")]
pub struct ResealDeadLetters {
    #[command(flatten)]
    chosen: ActionOptions,
}

#[derive(Args)]
struct ActionOptions {
    /// Id of one entry; without it the filters select entries
    id: Option<String>,
    #[command(flatten)]
    which: DeadLetterSelection,
    /// Maximum number of entries
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// Show what would be done, without doing it
    #[arg(long)]
    dry_run: bool,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl ActionOptions {
    /// The maximum number of entries. An id selects one entry, even if there are several copies of it.
    fn max(&self) -> u64 {
        if self.id.is_some() { 1 } else { self.limit }
    }

    fn target(&self) -> String {
        let queue = || self.which.queue.map_or("all", WorkQueue::name).to_owned();
        self.id.clone().unwrap_or_else(queue)
    }
}

pub async fn replay(
    context: &CommandContext,
    out: &mut Output,
    args: &ReplayDeadLetters,
) -> Result<Completion> {
    let rate = (args.rate > 0).then_some(args.rate);
    run(
        context,
        out,
        &args.chosen,
        EntryAction::Replay,
        rate,
        !args.without_chain,
    )
    .await
}

pub async fn discard(
    context: &CommandContext,
    out: &mut Output,
    args: &DiscardDeadLetters,
) -> Result<Completion> {
    run(context, out, &args.chosen, EntryAction::Discard, None, false).await
}

pub async fn reseal(
    context: &CommandContext,
    out: &mut Output,
    args: &ResealDeadLetters,
) -> Result<Completion> {
    run(context, out, &args.chosen, EntryAction::Reseal, None, false).await
}

async fn run(
    context: &CommandContext,
    out: &mut Output,
    args: &ActionOptions,
    verb: EntryAction,
    rate: Option<u32>,
    ask_chain: bool,
) -> Result<Completion> {
    if args.id.is_none() && args.which.is_unrestricted() {
        return Err(user_error(
            "nothing is chosen",
            "name one ID, or choose by a filter such as --queue or --class",
        ));
    }
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let question = format!("{} up to {} parked message(s)?", capital(verb.name()), args.max());
    confirm(args.yes || args.dry_run, &question)?;
    let (dead, client) = (dead_letters(context)?, context.client().await?);
    let sources = FactSources::new(context, dead.opener.clone(), ask_chain);
    let request = BulkRequest {
        action: verb,
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
    let run = request.run;
    let selection =
        json!({ "runId": run.id, "selection": args.which.document(args.id.as_deref()), "max": args.max() });
    if !args.dry_run {
        // The intention is recorded first: if the command is interrupted, the log still shows that it was started.
        record_audit(&client, &run, verb.name(), &args.target(), selection).await?;
    }
    let progress = progress(args.max(), out.is_json());
    let mut bulk = BulkRun::new(&dead, &sources, &client, request, progress);
    let result = process_queues(&mut bulk, context, args).await;
    bulk.progress.finish_and_clear();
    let summary = std::mem::take(&mut bulk.summary);
    dead.broker.close().await;
    if !args.dry_run {
        let detail = json!({ "runId": run.id, "counts": summary.counts, "error": result.as_ref().err().map(|e| format!("{e:#}")) });
        record_audit(
            &client,
            &run,
            &format!("{}.done", verb.name()),
            &args.target(),
            detail,
        )
        .await?;
    }
    result?;
    show(out, args.dry_run, &run, &summary)
}

async fn process_queues(
    bulk: &mut BulkRun<'_>,
    context: &CommandContext,
    args: &ActionOptions,
) -> Result<()> {
    let filter = args.which.filter(context.clock.now())?;
    for queue in args.which.queues() {
        let current = bulk.dead.sealer.current_kid(queue);
        let opener = bulk.sources.opener.clone();
        let verb = bulk.request.action;
        bulk.queue(queue, |entry| {
            let named = args.id.as_ref().is_none_or(|id| *id == entry.id);
            let sealed_now = || {
                let opened = opener.open(entry.origin, &entry.payload);
                opened.is_ok_and(|opened| Some(opened.kid()) == current.as_ref())
            };
            named && filter.matches(entry) && !(verb == EntryAction::Reseal && sealed_now())
        })
        .await?;
    }
    Ok(())
}

async fn record_audit(
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

/// Prints the result. It is negative if nothing was found, or if an entry stays in its queue.
fn show(out: &mut Output, dry_run: bool, run: &OperatorRun<'_>, summary: &BulkSummary) -> Result<Completion> {
    let counts = summary.counts;
    let run_id = (!dry_run).then_some(run.id);
    let value = json!({ "dryRun": dry_run, "runId": run_id, "counts": counts, "entries": summary.sample });
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
            &summary.sample.iter().map(row).collect::<Vec<_>>(),
        );
        print_summary(page, dry_run, run, summary);
    })?;
    let stays = counts.kept > 0 || counts.failed > 0;
    Ok(if counts.total() == 0 || (stays && !dry_run) {
        Completion::Negative
    } else {
        Completion::Success
    })
}

fn row(line: &EntryResult) -> Vec<String> {
    let new_id = line.new_id.map(|id| id.to_string());
    vec![
        line.id.clone(),
        line.queue.to_owned(),
        line.tx_ref.clone().unwrap_or_default(),
        line.class.clone(),
        line.action.to_owned(),
        new_id.or_else(|| line.note.clone()).unwrap_or_default(),
    ]
}

fn print_summary(page: &mut TextPage, dry_run: bool, run: &OperatorRun<'_>, summary: &BulkSummary) {
    let counts = summary.counts;
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
    let shown = u64::try_from(summary.sample.len()).unwrap_or(u64::MAX);
    if counts.total() > shown {
        page.line(format!("the first {shown} are shown"));
    }
    if !dry_run && counts.total() > counts.kept {
        page.line(format!("all of it: fiatrails dlq history --run {}", run.id));
    }
}

/// The progress bar. indicatif shows it only on a terminal.
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
