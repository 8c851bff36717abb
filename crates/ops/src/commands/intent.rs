//! `intent`: shows everything that any service knows about an intent or a payment reference.

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::ids::{IntegratorId, IntentId};
use domain::intent::{ChainLeg, PaymentLeg, PublicStatus};
use domain::tx_ref::TxRef;
use serde_json::json;
use storage::ops::intents::{self, IntentDossier, IntentFilter, IntentListRecord};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::text::{parse_since, stored_shillings, yes_no};
use crate::user_error::user_error;

/// Inspect intents
#[derive(Subcommand)]
pub enum IntentCommand {
    Show(ShowIntent),
    List(ListIntents),
}

/// Show everything that any service knows: legs, payments, commands, attempts, exceptions, history
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails intent show TX0000000001\n  \
    fiatrails intent show 0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb --json")]
pub struct ShowIntent {
    /// Intent id (0x...) or payment reference
    id: String,
}

/// List intents, newest first
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails intent list\n  \
    fiatrails intent list --stage escrowed --payment confirmed --since 1h\n  \
    fiatrails intent list --integrator acme --limit 10 --json")]
pub struct ListIntents {
    /// Show only this stage: queued, submitting, escrowed, executing, executed, refunding, refunded, rejected, dropped
    #[arg(long, value_parser = stage)]
    stage: Option<String>,
    /// Show only this payment status: awaiting, confirmed, declined, mismatched, expired
    #[arg(long)]
    payment: Option<PaymentLeg>,
    /// Show only this integrator's intents
    #[arg(long)]
    integrator: Option<IntegratorId>,
    /// Show only intents accepted since: 15m, 6h, 2d ago, or an RFC 3339 time
    #[arg(long, value_name = "AGE|TIME")]
    since: Option<String>,
    /// Maximum number of intents
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

fn stage(text: &str) -> Result<String, String> {
    let known = ChainLeg::ALL.into_iter().any(|leg| leg.name() == text);
    if known {
        Ok(text.to_owned())
    } else {
        Err("no such stage".to_owned())
    }
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &IntentCommand) -> Result<Completion> {
    match command {
        IntentCommand::Show(args) => show(context, out, args).await,
        IntentCommand::List(args) => list(context, out, args).await,
    }
}

async fn show(context: &CommandContext, out: &mut Output, args: &ShowIntent) -> Result<Completion> {
    let client = context.client().await?;
    let tx_ref = match args.id.parse::<IntentId>() {
        Ok(id) => intents::tx_ref_of(&client, id.as_bytes()).await?,
        Err(_) => match args.id.parse::<TxRef>() {
            Ok(tx_ref) => Some(tx_ref.as_str().to_owned()),
            Err(error) => {
                return Err(user_error(
                    format!("ID is neither an intent id nor a payment reference: {error}"),
                    "an intent id is 0x and 64 lower-case hexadecimal digits",
                ));
            }
        },
    };
    let found = match &tx_ref {
        Some(tx_ref) => intents::dossier(&client, tx_ref).await?,
        None => None,
    };
    let Some(dossier) = found else {
        crate::output::print_note(&format!("no service knows {}", args.id));
        return Ok(Completion::Negative);
    };
    let status = status(&dossier);
    let mut value = serde_json::to_value(&dossier)?;
    value["status"] = json!(status.name());
    out.show(&value, |page| describe(page, &dossier, status))?;
    Ok(Completion::Success)
}

fn status(dossier: &IntentDossier) -> PublicStatus {
    let Some(chain) = &dossier.chain else {
        return PublicStatus::of(ChainLeg::Queued);
    };
    let now = ChainLeg::from_stored(&chain.leg, chain.is_final).unwrap_or(ChainLeg::Queued);
    let ever = chain.ended.iter().filter_map(|name| ChainLeg::from_history(name));
    PublicStatus::furthest(now, ever)
}

fn describe(page: &mut TextPage, dossier: &IntentDossier, status: PublicStatus) {
    page.styled(Style::Strong, &dossier.tx_ref);
    match &dossier.intent {
        None => page.styled(Style::Warn, "no intent has this reference: an orphan payment"),
        Some(intent) => {
            let style = match status {
                PublicStatus::Executed => Style::Good,
                PublicStatus::Failed => Style::Bad,
                PublicStatus::Refunded => Style::Warn,
                PublicStatus::Pending => Style::Plain,
            };
            page.styled(
                style,
                format!("{} for {}", status.name(), stored_shillings(&intent.amount)),
            );
            page.field("intent id", &intent.intent_id);
            page.field("integrator", &intent.integrator);
            page.field("user", &intent.user);
            page.field("depositor", &intent.depositor);
            page.field("accepted", &intent.created_at);
        }
    }
    legs(page, dossier);
    evidence(page, dossier);
    processing(page, dossier);
    if !dossier.history.is_empty() {
        page.section("history");
        let row =
            |m: &intents::HistoryRecord| vec![m.at.clone(), m.fact.clone(), m.what.clone(), m.cause.clone()];
        page.table(
            &["at", "fact", "what", "cause"],
            &dossier.history.iter().map(row).collect::<Vec<_>>(),
        );
    }
}

fn legs(page: &mut TextPage, dossier: &IntentDossier) {
    page.section("legs");
    match &dossier.chain {
        None => page.field("chain", "queued"),
        Some(chain) => {
            let depth = if chain.is_final { " (final)" } else { "" };
            page.field("chain", format!("{}{depth}", chain.leg));
            page.field_opt("reason", chain.reason.as_ref());
            page.field_opt("transaction", chain.tx_hash.as_ref());
            page.field_opt("block", chain.block_number.map(|n| n.to_string()));
        }
    }
    if let Some(decision) = &dossier.decision {
        page.field("payment", &decision.payment);
        let seen = if decision.chain_final { " (final)" } else { "" };
        page.field("callback sees", format!("{}{seen}", decision.chain_leg));
        page.field_opt("live command", decision.live_command.as_ref());
        if decision.refused {
            page.field("refused", "the user was not compliant");
        }
    }
}

fn evidence(page: &mut TextPage, dossier: &IntentDossier) {
    if !dossier.reports.is_empty() {
        page.section("M-Pesa reports");
        let row = |r: &intents::ReportRecord| {
            let result = if r.paid { "paid" } else { "declined" };
            let late = if r.late { "late" } else { "in time" };
            vec![
                r.report_id.clone(),
                result.into(),
                format!("{} KES", r.amount_shillings),
                r.receipt.clone().unwrap_or_default(),
                late.into(),
                r.outcome.clone().unwrap_or_else(|| "waiting".into()),
                r.received_at.clone(),
            ]
        };
        let headers = [
            "report", "result", "amount", "receipt", "received", "outcome", "at",
        ];
        page.table(&headers, &dossier.reports.iter().map(row).collect::<Vec<_>>());
    }
    if !dossier.exceptions.is_empty() {
        page.section("exceptions");
        let row = |e: &intents::ExceptionRecord| {
            let state = if e.resolved_at.is_some() {
                "resolved"
            } else {
                "OPEN"
            };
            vec![
                e.id.to_string(),
                e.kind.clone(),
                state.into(),
                yes_no(e.holds),
                e.detail.clone(),
            ]
        };
        page.table(
            &["id", "kind", "state", "holds", "detail"],
            &dossier.exceptions.iter().map(row).collect::<Vec<_>>(),
        );
    }
}

fn processing(page: &mut TextPage, dossier: &IntentDossier) {
    if !dossier.work.is_empty() {
        page.section("commands at the executor");
        let row = |w: &intents::WorkItemRecord| {
            let reason = w.reason.clone().unwrap_or_default();
            vec![
                w.message_id.clone(),
                w.command.clone(),
                w.state.clone(),
                w.attempts.to_string(),
                reason,
            ]
        };
        page.table(
            &["message", "command", "state", "tries", "reason"],
            &dossier.work.iter().map(row).collect::<Vec<_>>(),
        );
    }
    if !dossier.attempts.is_empty() {
        page.section("transactions");
        let row = |a: &intents::AttemptRecord| {
            let block = a.block_number.map(|n| n.to_string()).unwrap_or_default();
            let outcome = a.outcome.clone().unwrap_or_default();
            vec![
                a.tx_hash.clone(),
                a.command.clone(),
                a.nonce.to_string(),
                a.state.clone(),
                outcome,
                block,
            ]
        };
        let headers = ["hash", "command", "nonce", "state", "outcome", "block"];
        page.table(&headers, &dossier.attempts.iter().map(row).collect::<Vec<_>>());
    }
    if !dossier.outbox.is_empty() {
        page.section("messages waiting to be sent");
        let row = |w: &intents::OutboxRecord| {
            vec![
                w.service.clone(),
                w.queue.clone(),
                w.message_id.clone(),
                w.since.clone(),
            ]
        };
        page.table(
            &["service", "queue", "message", "since"],
            &dossier.outbox.iter().map(row).collect::<Vec<_>>(),
        );
    }
}

async fn list(context: &CommandContext, out: &mut Output, args: &ListIntents) -> Result<Completion> {
    let since = match &args.since {
        None => None,
        Some(text) => Some(parse_since(text, context.clock.now()).ok_or_else(|| {
            user_error(
                format!("--since {text:?} is no age and no time"),
                "write 15m, 6h, 2d or 2026-01-31T12:00:00Z",
            )
        })?),
    };
    let filter = IntentFilter {
        stage: args.stage.as_deref(),
        payment: args.payment.map(PaymentLeg::name),
        integrator: args.integrator.as_ref().map(IntegratorId::as_str),
        since,
        limit: args.limit,
    };
    let found = intents::list(&context.client().await?, &filter).await?;
    out.show(&found, |page| {
        let row = |s: &IntentListRecord| {
            let stage = if s.is_final {
                format!("{} (final)", s.stage)
            } else {
                s.stage.clone()
            };
            let held = if s.held { "HELD" } else { "" };
            vec![
                s.tx_ref.clone(),
                stage,
                s.payment.clone(),
                held.into(),
                stored_shillings(&s.amount),
                s.integrator.clone(),
                s.created_at.chars().take(19).collect(),
                s.intent_id.clone(),
            ]
        };
        let headers = [
            "txRef",
            "stage",
            "payment",
            "held",
            "amount",
            "integrator",
            "accepted",
            "intent id",
        ];
        page.table(&headers, &found.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}
