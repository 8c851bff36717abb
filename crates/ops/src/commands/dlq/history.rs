//! `dlq history`: shows what was done to parked messages, by whom and why.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use storage::ops::dead_letters::{self, ActionFilter, DeadLetterActionRow};
use uuid::Uuid;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::text::timestamp;

/// Show what was done to parked messages, latest first: who, when, why, and the new message of a replay
///
/// A line that remains 'begun' is an action that was interrupted: the entry may still be parked, and repeating the action is safe.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails dlq history\n  \
    fiatrails dlq history 018f0000-0000-7000-8000-000000000001\n  \
    fiatrails dlq history --tx-ref TX0000000001 --json")]
pub struct DeadLetterHistory {
    /// Id of an entry, or of the message that replaced it
    id: Option<String>,
    /// Show only this run of a command
    #[arg(long, value_name = "RUN_ID")]
    run: Option<Uuid>,
    /// Show only entries about this payment reference
    #[arg(long, value_name = "TXREF")]
    tx_ref: Option<String>,
    /// Maximum number of entries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &DeadLetterHistory) -> Result<Completion> {
    let filter = ActionFilter {
        run_id: args.run,
        entry_id: args.id.as_deref(),
        tx_ref: args.tx_ref.as_deref(),
        limit: args.limit,
    };
    let rows = dead_letters::list(&context.client().await?, &filter).await?;
    let value: Vec<Value> = rows.iter().map(document).collect();
    out.show(&value, |page| {
        if rows.is_empty() {
            page.styled(Style::Plain, "nothing was done");
            return;
        }
        let headers = [
            "at",
            "who",
            "action",
            "state",
            "queue",
            "id",
            "new id, or why",
            "reason",
        ];
        page.table(&headers, &rows.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}

fn document(row: &DeadLetterActionRow) -> Value {
    let intent = row.intent_id.as_ref().map(|id| format!("0x{}", hex::encode(id)));
    json!({
        "runId": row.run_id, "at": timestamp(row.started_at), "who": row.actor, "why": row.reason, "automatic": row.is_automatic,
        "action": row.action, "state": row.state, "error": row.error, "queue": row.queue, "id": row.entry_id,
        "newId": row.new_message_id, "intentId": intent, "txRef": row.tx_ref, "class": row.error_class, "note": row.resolution_note,
        "parkedAgainAt": row.parked_again_at.map(timestamp),
    })
}

fn row(row: &DeadLetterActionRow) -> Vec<String> {
    let new_id = row.new_message_id.map(|id| id.to_string());
    let state = match row.parked_again_at {
        Some(_) => "came back".to_owned(),
        None => row.state.clone(),
    };
    vec![
        timestamp(row.started_at),
        row.actor.clone(),
        row.action.clone(),
        state,
        row.queue.clone(),
        row.entry_id.clone(),
        new_id
            .or_else(|| row.error.clone())
            .or_else(|| row.resolution_note.clone())
            .unwrap_or_default(),
        row.reason.clone(),
    ]
}
