//! `dlq`: dead-letter queues. Each entry contains its failure report; only entries with a verified seal can be replayed.

mod actions;
mod auto;
mod bulk;
mod export;
mod facts;
mod history;
mod selection;
mod stats;
mod view;

use anyhow::Result;
use clap::{Args, Subcommand};
use messaging::dead_letters::{DeadLetter, DeadLetters, MAX_PAGE};
use messaging::{Opener, Publisher, Sealer, SharedPipelineKeys, WorkQueue};
use runtime::KeyDirectory;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::settings::KeySettings;
use crate::text::timestamp;
use crate::user_error::user_error;
use selection::DeadLetterSelection;

/// Inspect, replay, discard, export or reseal parked messages
#[derive(Subcommand)]
pub enum DlqCommand {
    List(ListDeadLetters),
    Show(ShowDeadLetter),
    Stats(stats::DeadLetterStats),
    Replay(actions::ReplayDeadLetters),
    Discard(actions::DiscardDeadLetters),
    Reseal(actions::ResealDeadLetters),
    Auto(auto::AutoReplay),
    Export(export::ExportDeadLetters),
    History(history::DeadLetterHistory),
}

/// List parked messages, oldest first; nothing is removed
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq list\n  \
    fiatrails dlq list --queue mint.submit --class seal_invalid --json\n  \
    fiatrails dlq list --tx-ref TX0000000001\n  \
    fiatrails dlq list --older-than 2h --text 'connection refused'")]
pub struct ListDeadLetters {
    #[command(flatten)]
    which: DeadLetterSelection,
    /// Maximum number of entries per queue
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// Show one parked message: how it failed, whether its seal verifies, and its content
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq show 018f0000-0000-7000-8000-000000000001\n  \
    fiatrails dlq show sha256:0123456789abcdef --queue mpesa.result")]
pub struct ShowDeadLetter {
    /// Id of the entry, from the list
    id: String,
    /// Queue of the entry; without it all queues are searched
    #[arg(long)]
    queue: Option<WorkQueue>,
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &DlqCommand) -> Result<Completion> {
    match command {
        DlqCommand::List(args) => list(context, out, args).await,
        DlqCommand::Show(args) => show(context, out, args).await,
        DlqCommand::Stats(args) => stats::run(context, out, args).await,
        DlqCommand::Replay(args) => actions::replay(context, out, args).await,
        DlqCommand::Discard(args) => actions::discard(context, out, args).await,
        DlqCommand::Reseal(args) => actions::reseal(context, out, args).await,
        DlqCommand::Auto(args) => auto::run(context, out, args).await,
        DlqCommand::Export(args) => export::run(context, out, args).await,
        DlqCommand::History(args) => history::run(context, out, args).await,
    }
}

/// Opens the dead-letter queues with the pipeline keys that are mounted here.
pub(super) fn dead_letters(context: &CommandContext) -> Result<DeadLetters> {
    let broker = context.broker()?;
    let keys = match context.environment.read::<KeySettings>()?.keys_dir {
        Some(dir) => KeyDirectory::open(&dir)?.pipeline(),
        None => SharedPipelineKeys::default(),
    };
    Ok(DeadLetters {
        publisher: Publisher::new(&broker),
        broker,
        opener: Opener::new(keys.clone()),
        sealer: Sealer::new(keys),
        clock: context.clock.clone(),
    })
}

/// Passes every entry of the queues to `visit`, which returns whether to continue with that queue.
async fn visit_entries(
    dead: &DeadLetters,
    queues: &[WorkQueue],
    mut visit: impl FnMut(&DeadLetter) -> Result<bool>,
) -> Result<()> {
    for queue in queues {
        let mut cursor = dead.cursor(*queue).await?;
        'queue: loop {
            let page = cursor.next_page(MAX_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for held in &page {
                if !visit(&held.entry)? {
                    break 'queue;
                }
            }
        }
        cursor.finish().await?;
    }
    Ok(())
}

async fn list(context: &CommandContext, out: &mut Output, args: &ListDeadLetters) -> Result<Completion> {
    let dead = dead_letters(context)?;
    let filter = args.which.filter(context.clock.now())?;
    let (mut found, mut rows) = (Vec::new(), Vec::new());
    let (mut queue, mut kept) = (None, 0);
    // Only a line per entry is kept in memory, never its payload.
    visit_entries(&dead, &args.which.queues(), |entry| {
        if queue.replace(entry.origin) != Some(entry.origin) {
            kept = 0;
        }
        if filter.matches(entry) {
            kept += 1;
            found.push(view::document(entry, &dead.opener, false));
            rows.push(vec![
                entry.id.clone(),
                entry.origin.operation().to_owned(),
                entry.class.clone(),
                entry.attempts.to_string(),
                entry.failed_at.map(timestamp).unwrap_or_default(),
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
    Ok(Completion::Success)
}

async fn show(context: &CommandContext, out: &mut Output, args: &ShowDeadLetter) -> Result<Completion> {
    let dead = dead_letters(context)?;
    let found = find(&dead, args.queue, &args.id).await;
    dead.broker.close().await;
    let entry = found?;
    out.show(&view::document(&entry, &dead.opener, true), |page| {
        view::describe(page, &entry, &dead.opener);
    })?;
    Ok(Completion::Success)
}

/// Finds the entry in any of the queues.
async fn find(dead: &DeadLetters, queue: Option<WorkQueue>, id: &str) -> Result<DeadLetter> {
    for queue in queue.map_or_else(|| WorkQueue::ALL.to_vec(), |queue| vec![queue]) {
        if let Some(entry) = dead.find(queue, id).await? {
            return Ok(entry);
        }
    }
    Err(user_error(
        format!("no parked message is called {id}"),
        "`fiatrails dlq list` shows the ids; another command may hold the queue at this moment",
    ))
}
