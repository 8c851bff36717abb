//! `restore`: keeps everything halted until a restored database agrees with the chain.

use ::reconcile::restore::{FollowProgress, RestoreReport, SignerState};
use anyhow::Result;
use chain::BlockRef;
use clap::{Args, Subcommand};
use storage::halts::{self, HaltScope};
use storage::ops::restore as rows;

use super::reconcile::{self, BlockRange};
use crate::completion::Completion;
use crate::context::{CommandContext, reason};
use crate::output::{Output, Style, TextPage};

/// Bring a restored database back into service
///
/// In this order: restore the database; `restore begin`, before any service is started; start the services; `restore
/// check` until it succeeds; `restore finish`. The executor raises its nonce to the chain's count and follows the chain
/// from the last block in the backup, which moves each leg to its state on chain. What the chain does not know, such as
/// reports and intents received after the backup, is shown as differences: M-Pesa and the integrators send those again.
#[derive(Subcommand)]
pub enum RestoreCommand {
    Begin(BeginRestore),
    Check(CheckRestore),
    Finish(FinishRestore),
}

/// Halt intake, submits, executes and refunds
#[derive(Args)]
#[command(after_long_help = "Examples:\n  fiatrails restore begin --reason 'INC-42: disk lost'")]
pub struct BeginRestore {
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

/// Check whether the database has caught up with the chain
///
/// Succeeds when no signer would reuse a nonce, the executor has processed the head block, and `reconcile` finds no
/// difference. Exit code 1 otherwise. Changes nothing.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails restore check\n  \
    fiatrails restore check --json | jq .differences")]
pub struct CheckRestore {
    #[command(flatten)]
    range: BlockRange,
    #[command(flatten)]
    known: AcceptedDifferences,
}

/// Check, and resume everything if the check succeeds
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails restore finish --reason 'INC-42: reconciled'\n  \
    fiatrails restore finish --reason 'INC-42: 0x.. is sent again by acme' --known 0x.. --known pending_total")]
pub struct FinishRestore {
    #[command(flatten)]
    range: BlockRange,
    #[command(flatten)]
    known: AcceptedDifferences,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
}

// No doc comment here: clap would use it as the command's description.
#[derive(Args)]
struct AcceptedDifferences {
    /// Difference that a person has reviewed and accepts: an intent id, or the kind of a total
    #[arg(long = "known", value_name = "WHAT")]
    known: Vec<String>,
}

pub async fn run(context: &CommandContext, out: &mut Output, command: &RestoreCommand) -> Result<Completion> {
    match command {
        RestoreCommand::Begin(args) => begin(context, out, args).await,
        RestoreCommand::Check(args) => check(context, out, args).await,
        RestoreCommand::Finish(args) => finish(context, out, args).await,
    }
}

async fn begin(context: &CommandContext, out: &mut Output, args: &BeginRestore) -> Result<Completion> {
    set_all_halts(context, true, &args.reason).await?;
    out.show(&serde_json::json!({ "halted": true }), |page| {
        page.styled(Style::Warn, "intake, submit, execute and refund are halted");
        page.line("start the services, then: fiatrails restore check");
    })?;
    Ok(Completion::Success)
}

async fn check(context: &CommandContext, out: &mut Output, args: &CheckRestore) -> Result<Completion> {
    let report = inspect(context, &args.range, &args.known).await?;
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.clean {
        Completion::Success
    } else {
        Completion::Negative
    })
}

async fn finish(context: &CommandContext, out: &mut Output, args: &FinishRestore) -> Result<Completion> {
    let report = inspect(context, &args.range, &args.known).await?;
    if report.clean {
        let why = match report.known.as_slice() {
            [] => args.reason.clone(),
            known => format!("{} (known: {})", args.reason, known.join(", ")),
        };
        set_all_halts(context, false, &why).await?;
    }
    out.show(&report, |page| {
        describe(page, &report);
        if report.clean {
            page.styled(Style::Good, "intake, submit, execute and refund go on");
        } else {
            page.styled(Style::Warn, "everything stays halted");
        }
    })?;
    Ok(if report.clean {
        Completion::Success
    } else {
        Completion::Negative
    })
}

async fn set_all_halts(context: &CommandContext, halted: bool, why: &str) -> Result<()> {
    let who = context.who()?;
    let why = reason("--reason", why)?;
    let mut client = context.client().await?;
    let tx = client.begin().await?;
    for scope in HaltScope::ALL {
        halts::set(&tx, scope, halted, why, who).await?;
    }
    Ok(tx.commit().await?)
}

async fn inspect(
    context: &CommandContext,
    range: &BlockRange,
    known: &AcceptedDifferences,
) -> Result<RestoreReport> {
    let chain = context.chain(context.contracts()?.escrow)?.pinned();
    let differences = reconcile::differences(context, range).await?;
    let client = context.client().await?;
    let mut signers = Vec::new();
    for (address, next_nonce) in rows::signers(&client).await? {
        let on_chain = chain.nonce(&address, BlockRef::Latest).await?;
        signers.push(SignerState {
            address,
            next_nonce,
            on_chain,
        });
    }
    let followed = rows::tip(&client).await?;
    let head = chain.latest_header().await?.number;
    let progress = FollowProgress {
        followed,
        head,
        lag: range.lag,
    };
    Ok(RestoreReport::new(signers, progress, differences, &known.known))
}

fn describe(page: &mut TextPage, report: &RestoreReport) {
    for signer in &report.signers {
        let text = format!(
            "{}: next nonce {}, the chain counts {}",
            signer.address, signer.next_nonce, signer.on_chain
        );
        page.styled(
            if signer.is_behind() {
                Style::Warn
            } else {
                Style::Good
            },
            text,
        );
    }
    let followed = report
        .followed
        .map_or_else(|| "nothing".to_owned(), |block| block.to_string());
    let style = if report.caught_up {
        Style::Good
    } else {
        Style::Warn
    };
    page.styled(style, format!("followed to block {followed} of {}", report.head));
    for known in &report.known {
        page.line(format!("known: {known}"));
    }
    reconcile::list(page, &report.differences);
}
