//! `audit`: shows who did what, and why.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use storage::ops::audit;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::Output;
use crate::text::timestamp;

/// Show the audit log, latest first
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails audit\n  \
    fiatrails audit --action keys\n  \
    fiatrails audit --target TX0000000001 --json")]
pub struct Audit {
    /// Show only this action, or all actions with this prefix (keys matches keys.add and keys.revoke)
    #[arg(long)]
    action: Option<String>,
    /// Show only actions on this target
    #[arg(long)]
    target: Option<String>,
    /// Maximum number of entries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &Audit) -> Result<Completion> {
    let client = context.client().await?;
    let rows = audit::list(
        &client,
        args.action.as_deref(),
        args.target.as_deref(),
        args.limit,
    )
    .await?;
    let value: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({ "id": row.id, "at": timestamp(row.occurred_at), "who": row.actor, "action": row.action, "target": row.target,
                    "why": row.reason, "detail": row.detail })
        })
        .collect();
    out.show(&value, |page| {
        let row = |r: &audit::AuditRow| {
            vec![
                timestamp(r.occurred_at),
                r.actor.clone(),
                r.action.clone(),
                r.target.clone(),
                r.reason.clone(),
            ]
        };
        page.table(
            &["at", "who", "action", "target", "why"],
            &rows.iter().map(row).collect::<Vec<_>>(),
        );
    })?;
    Ok(Completion::Success)
}
