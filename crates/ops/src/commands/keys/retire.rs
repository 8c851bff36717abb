//! `keys retire`: a pipeline or stored-answer key goes once nothing needs it any more.

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
use tokio::time::{Instant, sleep};

use crate::Verdict;
use crate::commands::dlq;
use crate::confirm::confirm;
use crate::context::Context;
use crate::key_files::{KeyFiles, Place};
use crate::output::{Output, Style};
use crate::problem::problem;
use crate::text::age_argument;

/// From the writing of a key until everybody seals with it: its youth, and a few polls.
const TAKEN_UP: Duration = Duration::from_secs(15);
/// How often an empty work queue is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Remove the secret of a pipeline or stored-answer key that a newer one has replaced
///
/// Refused while anything is sealed under it: messages on their way (outboxes, work, delay and dead queues, the
/// executor's open work), answers that are still replayed, or intents. `dlq reseal` frees what is parked, `keys renew`
/// the intents; the rest passes by itself. A message that turns up afterwards is not lost: it waits a day for its key, so put the file back.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails keys retire pk_2026_01 --queue mint.submit --reason 'yearly rotation'\n  \
    fiatrails keys retire sk_2026_01 --reason 'yearly rotation' --yes\n\n\
    Exit code 1: something is sealed under it still.")]
pub struct Retire {
    /// The key to remove
    kid: KeyId,
    /// The queue whose pipeline key it is; without it a stored-answer key is meant
    #[arg(long)]
    queue: Option<WorkQueue>,
    /// How long to wait for a moment at which the work queue is empty
    #[arg(long, value_name = "AGE", default_value = "30s", value_parser = age_argument)]
    settle: Duration,
    /// How long a message may be in a service's hands
    #[arg(long, value_name = "AGE", default_value = "10s", value_parser = age_argument)]
    in_flight: Duration,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What is sealed under a key, by place.
type Sealed = BTreeMap<String, u64>;

pub async fn run(context: &Context, out: &mut Output, args: &Retire) -> Result<Verdict> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let files = KeyFiles::of(&context.environment)?;
    let place = place(&files, args)?;
    let successor = successor(&files, &place)?.key_id;
    let what = args
        .queue
        .map_or("stored answers".to_owned(), |queue| queue.to_string());
    confirm(
        args.yes,
        &format!("Remove the key {} of {what}, replaced by {successor}?", args.kid),
    )?;
    let client = context.client().await?;
    let sealed = match args.queue {
        Some(queue) => of_pipeline(context, &client, args, queue).await?,
        None => of_answers(context, &client, &files, &place).await?,
    };
    let left: Sealed = sealed.into_iter().filter(|(_, count)| *count > 0).collect();
    let removed = if left.is_empty() {
        let detail = json!({ "purpose": place.purpose, "owner": place.owner, "successor": successor });
        let act = AuditEntry {
            actor: who,
            action: "keys.retire",
            target: args.kid.as_str(),
            reason: why,
            detail,
        };
        audit::record(&client, &act).await?;
        files.remove(&place)?
    } else {
        Vec::new()
    };
    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
    let value = json!({ "keyId": args.kid, "retired": left.is_empty(), "sealed": left, "removed": removed });
    out.show(&value, |page| {
        if left.is_empty() {
            page.styled(Style::Good, format!("key {} is retired", args.kid));
        } else {
            page.styled(
                Style::Warn,
                format!("key {} stays: sealed under it are", args.kid),
            );
        }
        for (place, count) in &left {
            page.field(place, count.to_string());
        }
        for path in &removed {
            page.field("removed", path);
        }
    })?;
    if left.is_empty() && !files.reaches_services() {
        crate::output::note(
            "note: FIATRAILS_KEYS_ROOT is not set; remove the secret from the services' directories too",
        );
    }
    Ok(if left.is_empty() {
        Verdict::Yes
    } else {
        Verdict::No
    })
}

fn place(files: &KeyFiles, args: &Retire) -> Result<Place> {
    let Some(queue) = args.queue else {
        return stored_answer(files, &args.kid);
    };
    present(files, "pipeline", Some(queue.operation()), &args.kid)
}

/// Where a stored-answer key lies.
pub fn stored_answer(files: &KeyFiles, kid: &KeyId) -> Result<Place> {
    present(files, "stored-answer", None, kid)
}

fn present(files: &KeyFiles, purpose: &str, owner: Option<&str>, kid: &KeyId) -> Result<Place> {
    let place = Place {
        purpose: purpose.to_owned(),
        owner: owner.map(str::to_owned),
        key_id: kid.clone(),
    };
    if files.list()?.contains(&place) {
        return Ok(place);
    }
    Err(problem(
        format!("no {purpose} key {kid} is in the operator's directory"),
        "`fiatrails keys list` shows every key; a pipeline key needs --queue, others end by `keys revoke`",
    ))
}

/// The key that seals in its place, long enough for everybody to have taken it up.
pub fn successor(files: &KeyFiles, place: &Place) -> Result<Place> {
    let newest = files
        .list()?
        .into_iter()
        .filter(|other| other.purpose == place.purpose && other.owner == place.owner)
        .max_by(|a, b| a.key_id.cmp(&b.key_id))
        .filter(|newest| newest.key_id > place.key_id);
    let newest = newest.ok_or_else(|| {
        problem(
            format!("key {} is the one that seals", place.key_id),
            "`fiatrails keys add` its successor first",
        )
    })?;
    let age = files.age(&newest)?;
    if age < TAKEN_UP {
        let wait = TAKEN_UP.saturating_sub(age).as_secs() + 1;
        return Err(problem(
            format!("its successor {} is too young", newest.key_id),
            format!("try again in {wait} s: until then a service may seal with the old key"),
        ));
    }
    Ok(newest)
}

/// Answers that may still be replayed, and intents that could not be shown without the key.
async fn of_answers(
    context: &Context,
    client: &storage::DbClient,
    files: &KeyFiles,
    place: &Place,
) -> Result<Sealed> {
    let window = context.policy()?.windows.idempotency_seconds;
    let answers = keys::protected_answers(client, place.key_id.as_str(), window).await?;
    let intents = super::intents::count_under(client, &place.key_id, &files.read(place)?).await?;
    Ok([("idempotency_keys", answers), ("mint_intents", intents)]
        .map(|(table, count)| (table.to_owned(), count))
        .into())
}

/// Everywhere a sealed message can be. Messages in a service's hands cannot be seen; so the work queue must be seen
/// empty, their time must pass, and it must be seen empty again: then they are done, or in one of the other places.
async fn of_pipeline(
    context: &Context,
    client: &storage::DbClient,
    args: &Retire,
    queue: WorkQueue,
) -> Result<Sealed> {
    // Without its keys nothing would verify, and so nothing count.
    context.environment.required("FIATRAILS_KEYS_DIR")?;
    let dead = dlq::dead_letters(context)?;
    let found = look_everywhere(client, args, queue, &dead).await;
    dead.broker.close().await;
    found
}

async fn look_everywhere(
    client: &storage::DbClient,
    args: &Retire,
    queue: WorkQueue,
    dead: &DeadLetters,
) -> Result<Sealed> {
    // What can be seen at once is told at once.
    let early = visible(client, args, queue, dead).await?;
    if early.values().any(|count| *count > 0) {
        return Ok(early);
    }
    until_empty(dead, queue, args.settle).await?;
    sleep(args.in_flight).await;
    until_empty(dead, queue, args.settle).await?;
    visible(client, args, queue, dead).await
}

async fn visible(
    client: &storage::DbClient,
    args: &Retire,
    queue: WorkQueue,
    dead: &DeadLetters,
) -> Result<Sealed> {
    let mut sealed = keys::sealed_rows(client, queue.name(), args.kid.as_str()).await?;
    sealed.extend(dead.sealed_under(queue, &args.kid).await?);
    Ok(sealed)
}

async fn until_empty(dead: &DeadLetters, queue: WorkQueue, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        let depths = topology::depths(&dead.broker).await?;
        let depth = depths.iter().find(|depth| depth.queue == queue.name());
        match depth.map(|depth| depth.ready).context("the queue's depth")? {
            0 => return Ok(()),
            ready if Instant::now() >= end => {
                return Err(problem(
                    format!(
                        "{ready} message(s) wait on {queue}, and it was not empty for {} s",
                        patience.as_secs()
                    ),
                    "see to its consumer first, or wait longer: --settle 5m",
                ));
            }
            _ => sleep(LOOK).await,
        }
    }
}
