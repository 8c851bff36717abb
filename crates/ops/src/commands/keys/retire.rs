//! `keys retire`: removes a pipeline or stored-answer key once nothing needs it any more.

use runtime::stop::pause;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use domain::signature::KeyId;
use messaging::dead_letters::DeadLetters;
use messaging::{WorkQueue, topology};
use serde_json::json;
use storage::ops::audit::{self, AuditEntry};
use storage::ops::keys;
use tokio::time::Instant;

use super::replacement::{present, stored_answer, successor};
use crate::commands::dlq;
use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::key_files::{KeyFiles, KeyLocation};
use crate::output::{Output, Style};
use crate::text::age_argument;
use crate::user_error::user_error;

/// How often to check whether the work queue is empty.
const POLL: Duration = Duration::from_millis(100);

/// Remove the secret of a pipeline or stored-answer key that a newer one has replaced
///
/// Refused while anything is sealed under the key: messages in transit (outboxes, work, delay and dead queues, the
/// executor's open work), answers that may still be replayed, or intents. `dlq reseal` reseals parked messages and
/// `keys renew` renews intents; the rest drains by itself. A message that arrives afterwards is not lost: it waits a day
/// for its key, so restore the file.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys retire pk_2026_01 --queue mint.submit --reason 'yearly rotation'\n  \
    fiatrails keys retire sk_2026_01 --reason 'yearly rotation' --yes\n\n\
    Exit code 1: something is still sealed under the key.")]
pub struct RetireKey {
    /// The key to remove
    kid: KeyId,
    /// Queue of the pipeline key; without it the key is a stored-answer key
    #[arg(long)]
    queue: Option<WorkQueue>,
    /// Maximum time to wait until the work queue is empty
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    settle: Duration,
    /// Maximum time that a service may take to handle a message
    #[arg(long, value_name = "AGE", default_value = "10s", value_parser = age_argument)]
    in_flight: Duration,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

/// The number of sealed items under a key, by table or queue.
type SealedCounts = BTreeMap<String, u64>;

pub async fn run(context: &CommandContext, out: &mut Output, args: &RetireKey) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let files = KeyFiles::of(&context.environment)?;
    let location = locate(&files, args)?;
    let successor = successor(&files, &location)?.key_id;
    let what = args
        .queue
        .map_or("stored answers".to_owned(), |queue| queue.to_string());
    confirm(
        args.yes,
        &format!("Remove the key {} of {what}, replaced by {successor}?", args.kid),
    )?;
    let client = context.client().await?;
    let sealed = match args.queue {
        Some(queue) => sealed_by_pipeline_key(context, &client, args, queue).await?,
        None => sealed_by_answer_key(context, &client, &files, &location).await?,
    };
    let left: SealedCounts = sealed.into_iter().filter(|(_, count)| *count > 0).collect();
    let is_free = left.is_empty();
    let removed = if is_free {
        let detail = json!({ "purpose": location.purpose, "owner": location.owner, "successor": successor });
        let act = AuditEntry {
            actor: who,
            action: "keys.retire",
            target: args.kid.as_str(),
            reason: why,
            detail,
        };
        audit::record(&client, &act).await?;
        files.remove(&location)?
    } else {
        Vec::new()
    };
    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
    let value = json!({ "keyId": args.kid, "retired": left.is_empty(), "sealed": left, "removed": removed });
    out.show(&value, |page| {
        if is_free {
            page.styled(Style::Good, format!("key {} is retired", args.kid));
        } else {
            let text = format!("key {} stays: sealed under it are", args.kid);
            page.styled(Style::Warn, text);
        }
        for (location, count) in &left {
            page.field(location, count.to_string());
        }
        for path in &removed {
            page.field("removed", path);
        }
    })?;
    if is_free && !files.reaches_services() {
        crate::output::print_note(
            "note: FIATRAILS_KEYS_ROOT is not set; remove the secret from the services' directories too",
        );
    }
    Ok(if is_free {
        Completion::Success
    } else {
        Completion::Negative
    })
}

fn locate(files: &KeyFiles, args: &RetireKey) -> Result<KeyLocation> {
    let Some(queue) = args.queue else {
        return stored_answer(files, &args.kid);
    };
    present(files, "pipeline", Some(queue.operation()), &args.kid)
}

/// Counts the answers that may still be replayed, and the intents that could not be shown without the key.
async fn sealed_by_answer_key(
    context: &CommandContext,
    client: &storage::DbClient,
    files: &KeyFiles,
    location: &KeyLocation,
) -> Result<SealedCounts> {
    let window = context.policy()?.windows.idempotency_seconds;
    let answers = keys::protected_answers(client, location.key_id.as_str(), window).await?;
    let intents = super::intents::count_under(client, &location.key_id, &files.read(location)?).await?;
    Ok([("idempotency_keys", answers), ("mint_intents", intents)]
        .map(|(table, count)| (table.to_owned(), count))
        .into())
}

/// Counts sealed messages everywhere they can be. Messages that a service is handling are invisible, so the work queue must
/// be empty, then the handling time must pass, and it must be empty again: after that they are done or visible elsewhere.
async fn sealed_by_pipeline_key(
    context: &CommandContext,
    client: &storage::DbClient,
    args: &RetireKey,
    queue: WorkQueue,
) -> Result<SealedCounts> {
    // Without the keys no seal would verify, so nothing would be counted.
    context.keys_dir()?;
    let dead = dlq::dead_letters(context)?;
    let found = count_everywhere(client, args, queue, &dead).await;
    dead.broker.close().await;
    found
}

async fn count_everywhere(
    client: &storage::DbClient,
    args: &RetireKey,
    queue: WorkQueue,
    dead: &DeadLetters,
) -> Result<SealedCounts> {
    // Reports what is visible immediately, without waiting for the queue.
    let early = count_visible(client, args, queue, dead).await?;
    if early.values().any(|count| *count > 0) {
        return Ok(early);
    }
    wait_until_empty(dead, queue, args.settle).await?;
    pause(args.in_flight).await;
    wait_until_empty(dead, queue, args.settle).await?;
    count_visible(client, args, queue, dead).await
}

async fn count_visible(
    client: &storage::DbClient,
    args: &RetireKey,
    queue: WorkQueue,
    dead: &DeadLetters,
) -> Result<SealedCounts> {
    let mut sealed = keys::sealed_rows(client, queue.name(), args.kid.as_str()).await?;
    sealed.extend(dead.sealed_under(queue, &args.kid).await?);
    Ok(sealed)
}

async fn wait_until_empty(dead: &DeadLetters, queue: WorkQueue, timeout: Duration) -> Result<()> {
    let end = Instant::now() + timeout;
    loop {
        let depths = topology::depths(&dead.broker).await?;
        let depth = depths.iter().find(|depth| depth.queue == queue.name());
        match depth.map(|depth| depth.ready).context("the queue's depth")? {
            0 => return Ok(()),
            ready if Instant::now() >= end => {
                return Err(user_error(
                    format!(
                        "{ready} message(s) wait on {queue}, and it was not empty for {} s",
                        timeout.as_secs()
                    ),
                    "see to its consumer first, or wait longer: --settle 5m",
                ));
            }
            _ => pause(POLL).await,
        }
    }
}
