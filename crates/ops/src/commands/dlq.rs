//! `dlq`: dead-letter queues. Each entry tells its whole story; only a verified seal makes it replayable.

mod act;
mod auto;
mod choose;
mod drain;
mod export;
mod facts;
mod fate;
mod history;
mod stats;
mod view;

use anyhow::Result;
use clap::{Args, Subcommand};
use messaging::dead_letters::{DeadLetter, DeadLetters, PAGE};
use messaging::{Opener, Sealer, SharedPipelineKeys, WorkQueue};
use runtime::KeyDirectory;

use crate::Verdict;
use crate::context::Context;
use crate::output::{Output, Style};
use crate::problem::problem;
use crate::text::moment;
pub use auto::rules::Verdict as Ruling;
use choose::Which;

/// Look into, replay, discard, export or re-seal parked messages
#[derive(Subcommand)]
pub enum Dlq {
    List(List),
    Show(Show),
    Stats(stats::Stats),
    Replay(act::Replay),
    Discard(act::Discard),
    Reseal(act::Reseal),
    Auto(auto::Auto),
    Export(export::Export),
    History(history::History),
}

/// List parked messages, oldest first; nothing is removed
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq list\n  \
    fiatrails dlq list --queue mint.submit --class seal_invalid --json\n  \
    fiatrails dlq list --tx-ref TX0000000001\n  \
    fiatrails dlq list --older-than 2h --text 'connection refused'")]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many per queue
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// Show one parked message: its story, whether its seal verifies, and its content
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq show 018f0000-0000-7000-8000-000000000001\n  \
    fiatrails dlq show sha256:0123456789abcdef --queue mpesa.result")]
pub struct Show {
    /// The entry's id, from the list
    id: String,
    /// Its queue, if known: spares looking through the others
    #[arg(long)]
    queue: Option<WorkQueue>,
}

pub async fn run(context: &Context, out: &mut Output, command: &Dlq) -> Result<Verdict> {
    match command {
        Dlq::List(args) => list(context, out, args).await,
        Dlq::Show(args) => show(context, out, args).await,
        Dlq::Stats(args) => stats::run(context, out, args).await,
        Dlq::Replay(args) => act::replay(context, out, args).await,
        Dlq::Discard(args) => act::discard(context, out, args).await,
        Dlq::Reseal(args) => act::reseal(context, out, args).await,
        Dlq::Auto(args) => auto::run(context, out, args).await,
        Dlq::Export(args) => export::run(context, out, args).await,
        Dlq::History(args) => history::run(context, out, args).await,
    }
}

/// The operator's hand on the dead queues, with whatever pipeline keys are mounted here.
pub(super) fn dead_letters(context: &Context) -> Result<DeadLetters> {
    let broker = context.broker()?;
    let keys = match context.environment.text("FIATRAILS_KEYS_DIR") {
        Some(dir) => KeyDirectory::open(dir.as_ref())?.pipeline(),
        None => SharedPipelineKeys::default(),
    };
    Ok(DeadLetters {
        publisher: broker.publisher(),
        broker,
        opener: Opener::new(keys.clone()),
        sealer: Sealer::new(keys),
        clock: context.clock.clone(),
    })
}

/// Shows every entry of the queues to `visit`, which says whether to go on with that queue.
async fn look(
    dead: &DeadLetters,
    queues: &[WorkQueue],
    mut visit: impl FnMut(&DeadLetter) -> Result<bool>,
) -> Result<()> {
    for queue in queues {
        let mut sweep = dead.sweep(*queue).await?;
        'queue: loop {
            let page = sweep.page(PAGE).await?;
            if page.is_empty() {
                break;
            }
            for held in &page {
                if !visit(&held.entry)? {
                    break 'queue;
                }
            }
        }
        sweep.finish().await?;
    }
    Ok(())
}

async fn list(context: &Context, out: &mut Output, args: &List) -> Result<Verdict> {
    let dead = dead_letters(context)?;
    let filter = args.which.filter(context.clock.now())?;
    let (mut found, mut rows) = (Vec::new(), Vec::new());
    let (mut queue, mut kept) = (None, 0);
    // What is kept of an entry is a line, never its payload.
    look(&dead, &args.which.queues(), |entry| {
        if queue.replace(entry.origin) != Some(entry.origin) {
            kept = 0;
        }
        if filter.fits(entry) {
            kept += 1;
            found.push(view::document(entry, &dead.opener, false));
            rows.push(vec![
                entry.id.clone(),
                entry.origin.operation().to_owned(),
                entry.class.clone(),
                entry.attempts.to_string(),
                entry.failed_at.map(moment).unwrap_or_default(),
                view::seal(entry, &dead.opener).to_owned(),
                view::tx_ref(entry).unwrap_or_default(),
                entry.text.clone(),
            ]);
        }
        Ok(kept < args.limit)
    })
    .await?;
    dead.broker.close().await;
    out.show(&found, |page| {
        if rows.is_empty() {
            page.styled(Style::Good, "nothing is parked");
            return;
        }
        let headers = ["id", "queue", "class", "tries", "failed", "seal", "txRef", "text"];
        page.table(&headers, &rows);
    })?;
    Ok(Verdict::Yes)
}

async fn show(context: &Context, out: &mut Output, args: &Show) -> Result<Verdict> {
    let dead = dead_letters(context)?;
    let found = find(&dead, args.queue, &args.id).await;
    dead.broker.close().await;
    let entry = found?;
    out.show(&view::document(&entry, &dead.opener, true), |page| {
        view::describe(page, &entry, &dead.opener);
    })?;
    Ok(Verdict::Yes)
}

/// The entry, wherever it lies.
async fn find(dead: &DeadLetters, queue: Option<WorkQueue>, id: &str) -> Result<DeadLetter> {
    for queue in queue.map_or_else(|| WorkQueue::ALL.to_vec(), |queue| vec![queue]) {
        if let Some(entry) = dead.find(queue, id).await? {
            return Ok(entry);
        }
    }
    Err(problem(
        format!("no parked message is called {id}"),
        "`fiatrails dlq list` shows the ids; another command may hold the queue at this moment",
    ))
}
