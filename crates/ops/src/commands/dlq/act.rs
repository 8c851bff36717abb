//! Replaying and discarding: chosen entries only, bounded, audited before and after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use messaging::WorkQueue;
use messaging::dead_letters::{Act, DeadLetter, DeadLetters, SweepReport};
use serde_json::json;
use storage::ops::audit;

use super::{Which, dead_letters, selection};
use crate::Verdict;
use crate::confirm::confirm;
use crate::context::Context;
use crate::output::{Output, Style};
use crate::problem::problem;

/// Send parked messages again
///
/// The seal is verified first; what does not verify stays where it is. A replay is a new message: new id, the old
/// one as its cause, sealed under the current key. It is handled like any other, so nothing happens twice.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq replay 018f0000-0000-7000-8000-000000000001 --reason 'RPC was down'\n  \
    fiatrails dlq replay --queue mint.submit --class unavailable --max 500 --reason 'RPC was down' --dry-run\n  \
    fiatrails dlq replay --queue mint.submit --class unavailable --max 500 --reason 'RPC was down' --yes")]
pub struct Replay {
    #[command(flatten)]
    args: Chosen,
}

/// Delete parked messages for good
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq discard sha256:0123456789abcdef --reason 'forged, INC-42'\n  \
    fiatrails dlq discard --queue mpesa.result --class malformed --max 1000 --reason 'INC-42' --yes")]
pub struct Discard {
    #[command(flatten)]
    args: Chosen,
}

#[derive(Args)]
struct Chosen {
    /// One entry by its id; else choose by --queue, --class or --intent
    id: Option<String>,
    #[command(flatten)]
    which: Which,
    /// At most so many entries
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
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

pub async fn replay(context: &Context, out: &mut Output, command: &Replay) -> Result<Verdict> {
    run(context, out, &command.args, Act::Replay).await
}

pub async fn discard(context: &Context, out: &mut Output, command: &Discard) -> Result<Verdict> {
    run(context, out, &command.args, Act::Discard).await
}

const fn verb(act: Act) -> &'static str {
    if matches!(act, Act::Replay) {
        "replay"
    } else {
        "discard"
    }
}

async fn run(context: &Context, out: &mut Output, args: &Chosen, act: Act) -> Result<Verdict> {
    if args.id.is_none() && args.which.is_everything() {
        return Err(problem(
            "nothing is chosen",
            "name one ID, or choose by --queue, --class or --intent",
        ));
    }
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let dead = dead_letters(context)?;
    let chosen = sweep(&dead, args, Act::Keep, None).await?.1;
    if args.dry_run || chosen.is_empty() {
        dead.broker.close().await;
        return plan(out, &dead, act, &chosen);
    }
    confirm(
        args.yes,
        &format!("{} {} parked message(s)?", capital(verb(act)), chosen.len()),
    )?;

    let client = context.client().await?;
    let target = args
        .id
        .clone()
        .unwrap_or_else(|| args.which.queue.map_or("all", WorkQueue::name).to_owned());
    let (begun, done) = (format!("dlq.{}", verb(act)), format!("dlq.{}.done", verb(act)));
    let detail = json!({ "selection": selection(&args.which, args.id.as_ref()), "max": args.max, "found": chosen.len() });
    // First the intention: if we die half-way, the log still says that someone was at it.
    audit::record(
        &client,
        &audit::Act {
            who,
            act: &begun,
            target: &target,
            why,
            detail,
        },
    )
    .await?;
    let progress = progress(chosen.len(), out.is_json());
    let swept = sweep(&dead, args, act, Some(progress.clone())).await;
    progress.finish_and_clear();
    dead.broker.close().await;
    let report = swept?.0;
    let replayed: Vec<_> = report
        .replayed
        .iter()
        .map(|(old, new)| json!({ "old": old, "new": new }))
        .collect();
    let result = json!({ "replayed": replayed, "discarded": report.discarded, "failed": report.failed });
    audit::record(
        &client,
        &audit::Act {
            who,
            act: &done,
            target: &target,
            why,
            detail: result.clone(),
        },
    )
    .await?;
    out.show(&result, |page| {
        for (old, new) in &report.replayed {
            page.styled(Style::Good, format!("replayed {old} as {new}"));
        }
        if report.discarded > 0 {
            page.styled(Style::Good, format!("discarded {}", report.discarded));
        }
        for (id, reason) in &report.failed {
            page.styled(Style::Bad, format!("{id} stays: {reason}"));
        }
    })?;
    Ok(if report.failed.is_empty() {
        Verdict::Yes
    } else {
        Verdict::No
    })
}

/// Shows every fitting entry to the sweep; at most `max` are acted upon, over all queues.
async fn sweep(
    dead: &DeadLetters,
    args: &Chosen,
    act: Act,
    progress: Option<ProgressBar>,
) -> Result<(SweepReport, Vec<DeadLetter>)> {
    let chosen = Arc::new(Mutex::new(Vec::new()));
    let mut total = SweepReport::default();
    for queue in args.which.queues() {
        let decide = |entry: &DeadLetter| {
            let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
            let named = args.id.as_ref().is_none_or(|id| *id == entry.id);
            let full = u64::try_from(chosen.len()).unwrap_or(u64::MAX) >= args.max;
            if full {
                return Act::Stop;
            }
            if !named || !args.which.fits(entry) {
                return Act::Keep;
            }
            if let Some(progress) = &progress {
                progress.inc(1);
            }
            chosen.push(entry.clone());
            act
        };
        let report = dead.sweep(queue, u64::MAX, decide).await?;
        total.seen += report.seen;
        total.discarded += report.discarded;
        total.replayed.extend(report.replayed);
        total.failed.extend(report.failed);
    }
    let chosen = std::mem::take(&mut *chosen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((total, chosen))
}

/// What would be done. Finding nothing is a no.
fn plan(out: &mut Output, dead: &DeadLetters, act: Act, chosen: &[DeadLetter]) -> Result<Verdict> {
    let value: Vec<_> = chosen
        .iter()
        .map(|entry| super::view::document(entry, &dead.opener, false))
        .collect();
    out.show(&json!({ "dryRun": true, "entries": value }), |page| {
        if chosen.is_empty() {
            page.styled(Style::Warn, "no parked message fits");
            return;
        }
        page.line(format!("would {} {} message(s):", verb(act), chosen.len()));
        let row = |e: &DeadLetter| {
            let seal = super::view::seal(e, &dead.opener).to_owned();
            vec![
                e.id.clone(),
                e.origin.operation().to_owned(),
                e.class.clone(),
                seal,
            ]
        };
        page.table(
            &["id", "queue", "class", "seal"],
            &chosen.iter().map(row).collect::<Vec<_>>(),
        );
    })?;
    Ok(if chosen.is_empty() {
        Verdict::No
    } else {
        Verdict::Yes
    })
}

/// On a terminal only; indicatif hides itself elsewhere.
fn progress(count: usize, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed}") {
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
