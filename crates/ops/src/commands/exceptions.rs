//! `exceptions`: lists, shows and resolves the cases that need a person.

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::tx_ref::TxRef;
use serde_json::{Value, json};
use storage::ops::audit::{self, AuditEntry};
use storage::ops::exceptions::{self, ExceptionFilter, ExceptionRow};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::text::{timestamp, yes_no};
use crate::user_error::user_error;

/// List, show or resolve exceptions: the cases that need a person
#[derive(Subcommand)]
pub enum ExceptionsCommand {
    List(ListExceptions),
    Show(ShowException),
    Resolve(ResolveException),
}

/// List exceptions, oldest first; only open ones unless --all
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails exceptions list\n  \
    fiatrails exceptions list --kind owed_to_payer --json\n  \
    fiatrails exceptions list --tx-ref TX0000000001 --all")]
pub struct ListExceptions {
    /// Show only this kind, e.g. owed_to_payer
    #[arg(long)]
    kind: Option<String>,
    /// Show only this payment reference
    #[arg(long)]
    tx_ref: Option<TxRef>,
    /// Include resolved exceptions
    #[arg(long)]
    all: bool,
    /// Maximum number of exceptions
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

/// Show one exception
#[derive(Args)]
#[command(after_long_help = "Examples:\n  fiatrails exceptions show 42")]
pub struct ShowException {
    /// Number of the exception, from the list
    id: i64,
}

/// Close an exception permanently, with a resolution text
///
/// If the exception held its txRef, the normal decision runs again. The text and your name go into the audit log.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails exceptions resolve 42 --resolution 'paid back by M-Pesa reversal NLK1ABCDEF'")]
pub struct ResolveException {
    /// Number of the exception, from the list
    id: i64,
    /// What was done to resolve it
    #[arg(long, value_name = "TEXT")]
    resolution: String,
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    command: &ExceptionsCommand,
) -> Result<Completion> {
    match command {
        ExceptionsCommand::List(args) => list(context, out, args).await,
        ExceptionsCommand::Show(args) => show(context, out, args).await,
        ExceptionsCommand::Resolve(args) => resolve(context, out, args).await,
    }
}

async fn list(context: &CommandContext, out: &mut Output, args: &ListExceptions) -> Result<Completion> {
    let filter = ExceptionFilter {
        kind: args.kind.as_deref(),
        tx_ref: args.tx_ref.as_ref().map(TxRef::as_str),
        with_resolved: args.all,
        limit: args.limit,
    };
    let found = exceptions::list(&context.client().await?, &filter).await?;
    let value: Vec<Value> = found.iter().map(document).collect();
    out.show(&value, |page| {
        if found.is_empty() {
            page.styled(Style::Good, "nothing is open");
            return;
        }
        let row = |e: &ExceptionRow| {
            let amount = e.amount_shillings.clone().unwrap_or_default();
            let state = if e.resolved_at.is_some() {
                "resolved"
            } else {
                "open"
            };
            vec![
                e.id.to_string(),
                e.kind.clone(),
                e.tx_ref.clone(),
                amount,
                yes_no(e.is_hold),
                state.to_owned(),
                timestamp(e.opened_at),
                e.detail.clone(),
            ]
        };
        let headers = ["id", "kind", "txRef", "KES", "holds", "state", "opened", "detail"];
        page.table(&headers, &found.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}

async fn show(context: &CommandContext, out: &mut Output, args: &ShowException) -> Result<Completion> {
    let found = exceptions::find(&context.client().await?, args.id).await?;
    let Some(exception) = found else {
        return Err(unknown(args.id));
    };
    out.show(&document(&exception), |page| describe(page, &exception))?;
    Ok(Completion::Success)
}

async fn resolve(context: &CommandContext, out: &mut Output, args: &ResolveException) -> Result<Completion> {
    let who = context.who()?;
    let resolution = crate::context::reason("--resolution", &args.resolution)?;
    let mut client = context.client().await?;
    let Some(before) = exceptions::find(&client, args.id).await? else {
        return Err(unknown(args.id));
    };
    let tx = client.begin().await?;
    let changed = exceptions::resolve(&tx, args.id, who, resolution).await?;
    if changed {
        let detail = json!({ "exception": before.id, "kind": before.kind, "receipt": before.receipt,
                             "amountShillings": before.amount_shillings, "held": before.is_hold });
        let act = AuditEntry {
            actor: who,
            action: "exceptions.resolve",
            target: &before.tx_ref,
            reason: resolution,
            detail,
        };
        audit::record(&tx, &act).await?;
    }
    tx.commit().await?;
    let Some(after) = exceptions::find(&client, args.id).await? else {
        return Err(unknown(args.id));
    };
    out.show(&document(&after), |page| {
        if changed {
            page.styled(
                Style::Good,
                format!("exception {} of {} is resolved", after.id, after.tx_ref),
            );
        } else {
            page.styled(Style::Warn, format!("exception {} was resolved before", after.id));
        }
        describe(page, &after);
    })?;
    Ok(if changed {
        Completion::Success
    } else {
        Completion::Negative
    })
}

fn unknown(id: i64) -> anyhow::Error {
    user_error(
        format!("there is no exception {id}"),
        "`fiatrails exceptions list --all` shows every one",
    )
}

fn describe(page: &mut TextPage, exception: &ExceptionRow) {
    page.field("id", exception.id.to_string());
    page.field("kind", &exception.kind);
    page.field("txRef", &exception.tx_ref);
    page.field_opt("intentId", intent_id(exception));
    page.field_opt("receipt", exception.receipt.as_ref());
    page.field_opt(
        "amount",
        exception
            .amount_shillings
            .as_ref()
            .map(|amount| format!("{amount} KES")),
    );
    page.field("holds", yes_no(exception.is_hold));
    page.field("opened", timestamp(exception.opened_at));
    page.field("detail", &exception.detail);
    page.field_opt("resolved", exception.resolved_at.map(timestamp));
    page.field_opt("resolved by", exception.resolved_by.as_ref());
    page.field_opt("resolution", exception.resolution.as_ref());
}

fn document(exception: &ExceptionRow) -> Value {
    json!({
        "id": exception.id,
        "kind": exception.kind,
        "txRef": exception.tx_ref,
        "intentId": intent_id(exception),
        "receipt": exception.receipt,
        "amountShillings": exception.amount_shillings,
        "detail": exception.detail,
        "holds": exception.is_hold,
        "openedAt": timestamp(exception.opened_at),
        "resolvedAt": exception.resolved_at.map(timestamp),
        "resolvedBy": exception.resolved_by,
        "resolution": exception.resolution,
    })
}

fn intent_id(exception: &ExceptionRow) -> Option<String> {
    exception
        .intent_id
        .as_ref()
        .map(|bytes| format!("0x{}", hex::encode(bytes)))
}
