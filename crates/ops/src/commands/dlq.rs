//! `dlq`: dead-letter queues. Each entry tells its whole story; only a verified seal makes it replayable.

mod act;
mod view;

use anyhow::Result;
use clap::{Args, Subcommand};
use messaging::dead_letters::{DeadLetter, DeadLetters};
use messaging::{Opener, Sealer, SharedPipelineKeys, WorkQueue};
use runtime::KeyDirectory;
use serde_json::json;

use crate::Verdict;
use crate::context::Context;
use crate::output::{Output, Style};
use crate::problem::problem;
use crate::text::moment;

/// Look into, replay or discard parked messages
#[derive(Subcommand)]
pub enum Dlq {
    List(List),
    Show(Show),
    Replay(act::Replay),
    Discard(act::Discard),
}

/// List parked messages, oldest first; nothing is removed
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq list\n  \
    fiatrails dlq list --queue mint.submit --class seal_invalid --json")]
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

/// A choice of entries.
#[derive(Args, Clone)]
struct Which {
    /// Only this queue: mint.submit, mint.execute, mint.refund, mint.outcome, mpesa.result [default: all]
    #[arg(long)]
    queue: Option<WorkQueue>,
    /// Only this error class, e.g. seal_invalid
    #[arg(long)]
    class: Option<String>,
    /// Only about this intent (0x...)
    #[arg(long, value_name = "ID")]
    intent: Option<domain::ids::IntentId>,
}

impl Which {
    fn queues(&self) -> Vec<WorkQueue> {
        self.queue
            .map_or_else(|| WorkQueue::ALL.to_vec(), |queue| vec![queue])
    }

    fn fits(&self, entry: &DeadLetter) -> bool {
        self.class.as_ref().is_none_or(|class| *class == entry.class)
            && self.intent.is_none_or(|intent| entry.intent_id == Some(intent))
    }

    fn is_everything(&self) -> bool {
        self.queue.is_none() && self.class.is_none() && self.intent.is_none()
    }
}

pub async fn run(context: &Context, out: &mut Output, command: &Dlq) -> Result<Verdict> {
    match command {
        Dlq::List(args) => list(context, out, args).await,
        Dlq::Show(args) => show(context, out, args).await,
        Dlq::Replay(args) => act::replay(context, out, args).await,
        Dlq::Discard(args) => act::discard(context, out, args).await,
    }
}

/// The operator's hand on the dead queues, with whatever pipeline keys are mounted here.
fn dead_letters(context: &Context) -> Result<DeadLetters> {
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
        ids: context.ids.clone(),
    })
}

async fn list(context: &Context, out: &mut Output, args: &List) -> Result<Verdict> {
    let dead = dead_letters(context)?;
    let mut found = Vec::new();
    for queue in args.which.queues() {
        let mut kept = 0;
        let keep = |entry: &DeadLetter| {
            if kept == args.limit {
                return messaging::dead_letters::Act::Stop;
            }
            if args.which.fits(entry) {
                kept += 1;
                found.push(entry.clone());
            }
            messaging::dead_letters::Act::Keep
        };
        dead.sweep(queue, u64::MAX, keep).await?;
    }
    dead.broker.close().await;
    let value: Vec<_> = found
        .iter()
        .map(|entry| view::document(entry, &dead.opener, false))
        .collect();
    out.show(&value, |page| {
        if found.is_empty() {
            page.styled(Style::Good, "nothing is parked");
            return;
        }
        let row = |e: &DeadLetter| {
            vec![
                e.id.clone(),
                e.origin.operation().to_owned(),
                e.class.clone(),
                e.attempts.to_string(),
                e.failed_at.map(moment).unwrap_or_default(),
                view::seal(e, &dead.opener).to_owned(),
                e.text.clone(),
            ]
        };
        let headers = ["id", "queue", "class", "tries", "failed", "seal", "text"];
        page.table(&headers, &found.iter().map(row).collect::<Vec<_>>());
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

/// What was chosen, for the audit log.
fn selection(which: &Which, id: Option<&String>) -> serde_json::Value {
    json!({
        "id": id,
        "queue": which.queue.map(WorkQueue::name),
        "class": which.class,
        "intentId": which.intent,
    })
}
