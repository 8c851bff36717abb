//! `halt` and `resume`: the halts that all services obey.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use storage::halts::{self, HaltScope};

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style};

/// Stop one kind of work immediately; without arguments, show what is stopped
///
/// intake: the gateway refuses new intents, and still accepts callbacks. submit, execute, refund: the executor leaves
/// those commands in their queue; no command is lost and no attempt is counted. Every change is audited.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails halt\n  \
    fiatrails halt execute --reason 'mint without payment, INC-42'\n  \
    fiatrails resume execute --reason 'INC-42 closed'")]
pub struct HaltCommand {
    /// What to stop: intake, submit, execute or refund
    #[arg(requires = "reason")]
    scope: Option<HaltScope>,
    /// Reason, for the audit log
    #[arg(long, requires = "scope")]
    reason: Option<String>,
}

/// Resume a stopped kind of work
#[derive(Args)]
#[command(after_long_help = "Examples:\n  fiatrails resume execute --reason 'INC-42 closed'")]
pub struct ResumeCommand {
    /// What to resume: intake, submit, execute or refund
    scope: HaltScope,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HaltState {
    scope: &'static str,
    halted: bool,
    reason: Option<String>,
    changed_by: Option<String>,
}

pub async fn halt(context: &CommandContext, out: &mut Output, args: &HaltCommand) -> Result<Completion> {
    match (args.scope, &args.reason) {
        (Some(scope), Some(reason)) => set_halt(context, out, scope, true, reason).await,
        _ => show(context, out).await,
    }
}

pub async fn resume(context: &CommandContext, out: &mut Output, args: &ResumeCommand) -> Result<Completion> {
    set_halt(context, out, args.scope, false, &args.reason).await
}

async fn set_halt(
    context: &CommandContext,
    out: &mut Output,
    scope: HaltScope,
    halted: bool,
    reason: &str,
) -> Result<Completion> {
    let who = context.who()?;
    let reason = crate::context::reason("--reason", reason)?;
    let mut client = context.client().await?;
    let tx = client.begin().await?;
    let changed = halts::set(&tx, scope, halted, reason, who).await?;
    tx.commit().await?;
    let state = if halted { "halted" } else { "running" };
    let value = serde_json::json!({ "scope": scope.name(), "halted": halted, "changed": changed });
    out.show(&value, |page| {
        let style = if halted { Style::Warn } else { Style::Good };
        if changed {
            page.styled(style, format!("{scope} is {state} from now on"));
        } else {
            page.line(format!("{scope} was {state} already"));
        }
    })?;
    Ok(Completion::Success)
}

async fn show(context: &CommandContext, out: &mut Output) -> Result<Completion> {
    let halts = halts::read(&context.client().await?).await?;
    let switches: Vec<HaltState> = HaltScope::ALL
        .into_iter()
        .map(|scope| {
            let found = halts.iter().find(|halt| halt.scope == scope);
            HaltState {
                scope: scope.name(),
                halted: found.is_some_and(|halt| halt.halted),
                reason: found.map(|halt| halt.reason.clone()),
                changed_by: found.map(|halt| halt.changed_by.clone()),
            }
        })
        .collect();
    out.show(&switches, |page| {
        let row = |s: &HaltState| {
            let state = if s.halted { "HALTED" } else { "running" };
            vec![
                s.scope.to_owned(),
                state.to_owned(),
                s.changed_by.clone().unwrap_or_default(),
                s.reason.clone().unwrap_or_default(),
            ]
        };
        page.table(
            &["scope", "state", "changed by", "reason"],
            &switches.iter().map(row).collect::<Vec<_>>(),
        );
    })?;
    Ok(Completion::Success)
}
