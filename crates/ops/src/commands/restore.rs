//! `restore`: nothing is taken in or sent from a restored database until it agrees with the chain.

use std::collections::BTreeSet;

use anyhow::Result;
use chain::BlockRef;
use clap::{Args, Subcommand};
use domain::address::Address;
use serde::Serialize;
use storage::halts::{self, HaltScope};
use storage::ops::restore as rows;

use super::reconcile::{self, Difference, Range};
use crate::Verdict;
use crate::context::{Context, reason};
use crate::output::{Output, Page, Style};

/// Bring a restored database back to work
///
/// In this order: restore the database; `restore begin`, before any service is started; start the services; `restore
/// check` until it says yes; `restore finish`. The executor raises its nonce to the chain's count and follows the chain
/// from the last block in the backup, which moves each leg to where the chain has it. What the chain cannot know, reports
/// after the backup and intents of then, is shown as differences: M-Pesa and the integrators send those again.
#[derive(Subcommand)]
pub enum Restore {
    Begin(Begin),
    Check(Check),
    Finish(Finish),
}

/// Halt intake, submits, executes and refunds
#[derive(Args)]
#[command(after_long_help = "Examples:\n  fiatrails restore begin --reason 'INC-42: disk lost'")]
pub struct Begin {
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

/// Say whether the database has caught up with the chain
///
/// Yes when no signer would use a nonce that the chain has, the executor has taken in the head, and `reconcile` finds no
/// difference. Exit code 1 when not. Changes nothing.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails restore check\n  \
    fiatrails restore check --json | jq .differences")]
pub struct Check {
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    known: Known,
}

/// Check, and let everything go on if the answer is yes
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails restore finish --reason 'INC-42: reconciled'\n  \
    fiatrails restore finish --reason 'INC-42: 0x.. is sent again by acme' --known 0x.. --known pending_total")]
pub struct Finish {
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    known: Known,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

// No doc comment: it would stand in for the command's own description.
#[derive(Args)]
struct Known {
    /// A difference that a person has looked at and that may stay: an intent id, or the kind of a total
    #[arg(long = "known", value_name = "WHAT")]
    known: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    clean: bool,
    signers: Vec<SignerState>,
    /// The last block taken in, and the chain's head.
    followed: Option<u64>,
    head: u64,
    caught_up: bool,
    differences: Vec<Difference>,
    known: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignerState {
    address: Address,
    next_nonce: u64,
    on_chain: u64,
}

impl SignerState {
    const fn is_behind(&self) -> bool {
        self.next_nonce < self.on_chain
    }
}

impl Report {
    /// Pure.
    fn new(
        signers: Vec<SignerState>,
        (followed, head, lag): (Option<u64>, u64, u64),
        differences: Vec<Difference>,
        known: &[String],
    ) -> Self {
        let (known, differences): (Vec<_>, Vec<_>) = differences
            .into_iter()
            .partition(|d| known.iter().any(|k| *k == d.intent_id || *k == d.kind));
        let known: BTreeSet<String> = known
            .into_iter()
            .map(|d| format!("{} {}", d.kind, d.intent_id).trim_end().to_owned())
            .collect();
        let caught_up = followed.is_some_and(|block| block.saturating_add(lag) >= head);
        let behind = signers.iter().any(SignerState::is_behind);
        Self {
            clean: caught_up && !behind && differences.is_empty(),
            signers,
            followed,
            head,
            caught_up,
            differences,
            known: known.into_iter().collect(),
        }
    }
}

pub async fn run(context: &Context, out: &mut Output, command: &Restore) -> Result<Verdict> {
    match command {
        Restore::Begin(args) => begin(context, out, args).await,
        Restore::Check(args) => check(context, out, args).await,
        Restore::Finish(args) => finish(context, out, args).await,
    }
}

async fn begin(context: &Context, out: &mut Output, args: &Begin) -> Result<Verdict> {
    turn_all(context, true, &args.reason).await?;
    out.show(&serde_json::json!({ "halted": true }), |page| {
        page.styled(Style::Warn, "intake, submit, execute and refund are halted");
        page.line("start the services, then: fiatrails restore check");
    })?;
    Ok(Verdict::Yes)
}

async fn check(context: &Context, out: &mut Output, args: &Check) -> Result<Verdict> {
    let report = look(context, &args.range, &args.known).await?;
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.clean { Verdict::Yes } else { Verdict::No })
}

async fn finish(context: &Context, out: &mut Output, args: &Finish) -> Result<Verdict> {
    let report = look(context, &args.range, &args.known).await?;
    if report.clean {
        let why = match report.known.as_slice() {
            [] => args.reason.clone(),
            known => format!("{} (known: {})", args.reason, known.join(", ")),
        };
        turn_all(context, false, &why).await?;
    }
    out.show(&report, |page| {
        describe(page, &report);
        if report.clean {
            page.styled(Style::Good, "intake, submit, execute and refund go on");
        } else {
            page.styled(Style::Warn, "everything stays halted");
        }
    })?;
    Ok(if report.clean { Verdict::Yes } else { Verdict::No })
}

async fn turn_all(context: &Context, halted: bool, why: &str) -> Result<()> {
    let who = context.who()?;
    let why = reason("--reason", why)?;
    let mut client = context.client().await?;
    let tx = client.begin().await?;
    for scope in HaltScope::ALL {
        halts::set(&tx, scope, halted, why, who).await?;
    }
    Ok(tx.commit().await?)
}

async fn look(context: &Context, range: &Range, known: &Known) -> Result<Report> {
    let chain = context.chain(context.environment.contracts()?.escrow)?.pinned();
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
    Ok(Report::new(
        signers,
        (followed, head, range.lag),
        differences,
        &known.known,
    ))
}

fn describe(page: &mut Page, report: &Report) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(next_nonce: u64) -> SignerState {
        SignerState {
            address: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            next_nonce,
            on_chain: 7,
        }
    }

    fn lost() -> Vec<Difference> {
        vec![
            Difference::new("deposit_without_intent", &"0xab", "T-1", "lost"),
            Difference::total("pending_total", "150 more"),
        ]
    }

    #[test]
    fn clean_needs_nonces_blocks_and_books() {
        let clean = |signers, at, differences| Report::new(signers, at, differences, &[]).clean;
        let there = (Some(96), 100, 5);
        assert!(clean(vec![signer(7)], there, vec![]));
        assert!(!clean(vec![signer(7), signer(6)], there, vec![]), "a used nonce");
        assert!(!clean(vec![signer(7)], (Some(94), 100, 5), vec![]), "behind");
        assert!(!clean(vec![signer(7)], (None, 100, 5), vec![]), "never followed");
        assert!(!clean(vec![signer(7)], there, lost()), "books");
    }

    #[test]
    fn what_a_person_knows_of_may_stay_and_nothing_else() {
        let known = |known: &[&str]| {
            let known: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
            Report::new(vec![], (Some(1), 1, 0), lost(), &known)
        };
        assert!(!known(&["0xab"]).clean && !known(&["pending_total"]).clean && !known(&["0xac"]).clean);
        let both = known(&["0xab", "pending_total"]);
        assert!(both.clean);
        assert_eq!(both.known, ["deposit_without_intent 0xab", "pending_total"]);
    }
}
