//! `reconcile`: compares intents, payments and chain legs with the escrow's own events.

mod events;
mod statement;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::reconcile::books::{DirectDeposit, compare_books, pending_total_difference, unknown_deposits};
use ::reconcile::escrow_history::EscrowHistory;
use ::reconcile::intents::{ChainDifference, Totals};
use ::reconcile::statement::StatementPeriod;
use anyhow::Result;
use chain::{BlockRef, ChainClient};
use clap::Args;
use domain::address::Address;
use domain::ids::IntentId;
use serde::Serialize;
use time::OffsetDateTime;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::text::{age_argument, stored_shillings, time_argument};
use crate::user_error::user_error;

/// Compare payments, intents and chain legs with the escrow's events, read from the chain itself
///
/// Reads the chain up to --lag blocks before the policy's finality, so that work in progress is no difference. Deposits
/// that users made directly are listed separately: the users reclaim them after they expire. Exit code 1 when anything
/// differs. Changes nothing.
///
/// With --statement it compares with M-Pesa's own statement instead and does not query the chain: a CSV export of the
/// organisation portal (lines about the account, then the columns Receipt No., Completion Time, Transaction Status, Paid In,
/// and where there are any Details, Withdrawn, Linked Transaction ID, A/C No.; times are East Africa Time). Listed are:
/// never_heard_of (paid in, and no report came), not_judged and not_recorded (a report came and is no payment),
/// amount, tx_ref, not_completed, reversed, twice_in_statement, and not_in_statement (ours, and the statement
/// lacks it).
#[derive(Args)]
#[command(after_long_help = "Environment:\n  \
    DATABASE_URL, RPC_URLS (or RPC_URL), ESCROW_ADDRESS, TREASURY_ADDRESS;\n  \
    FIATRAILS_POLICY_FILE           for what is final\n\n\
    Examples:\n  \
    fiatrails reconcile\n  \
    fiatrails reconcile --from-block 120000 --json | jq .differences\n  \
    fiatrails reconcile --statement 2025-11-02.csv\n  \
    fiatrails reconcile --statement day.csv --from 2025-11-02T00:00:00+03:00 --to 2025-11-03T00:00:00+03:00")]
pub struct Reconcile {
    #[command(flatten)]
    range: BlockRange,
    /// Compare with this M-Pesa statement (CSV) instead of the chain
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    /// Start of the statement's period, RFC 3339 [default: its first line]
    #[arg(long, value_name = "TIME", requires = "statement", value_parser = time_argument)]
    from: Option<OffsetDateTime>,
    /// End of the statement's period, RFC 3339 [default: its last line]
    #[arg(long, value_name = "TIME", requires = "statement", value_parser = time_argument)]
    to: Option<OffsetDateTime>,
    /// Payments recorded within this time of either end of the period are not reported as missing
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = age_argument)]
    edge: Duration,
}

// No doc comment here: clap would use it as the command's description.
#[derive(Args)]
pub struct BlockRange {
    /// First block to read, where the escrow was deployed; events before it count as missing
    #[arg(long, value_name = "N", env = "ESCROW_DEPLOY_BLOCK", default_value_t = 0)]
    from_block: u64,
    /// Maximum blocks per request to the node; halved when the node refuses
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    step: u64,
    /// Blocks past finality that the services may lag behind
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub lag: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReconcileReport {
    from_block: u64,
    to_block: u64,
    intents: u64,
    events: u64,
    totals: Totals,
    differences: Vec<ChainDifference>,
    direct_deposits: Vec<DirectDeposit>,
}

pub async fn run(context: &CommandContext, out: &mut Output, args: &Reconcile) -> Result<Completion> {
    if let Some(path) = &args.statement {
        let period = StatementPeriod {
            from: args.from,
            to: args.to,
            edge: args.edge,
        };
        return statement::run(context, out, path, &period).await;
    }
    let report = compare_with_chain(context, &args.range).await?;
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.differences.is_empty() {
        Completion::Success
    } else {
        Completion::Negative
    })
}

/// Returns all differences.
pub async fn differences(context: &CommandContext, range: &BlockRange) -> Result<Vec<ChainDifference>> {
    Ok(compare_with_chain(context, range).await?.differences)
}

async fn compare_with_chain(context: &CommandContext, args: &BlockRange) -> Result<ReconcileReport> {
    let contracts = context.contracts()?;
    let policy = context.policy()?;
    let chain = context.chain(contracts.escrow)?.pinned();
    context.check_chain_id(&chain).await?;
    let head = chain.latest_header().await?.number;
    let final_block = chain.final_block_number(&policy.chain, head).await?;
    let settled = final_block.and_then(|block| block.checked_sub(args.lag));
    let Some(to_block) = settled.filter(|to| *to >= args.from_block) else {
        return Err(user_error(
            format!(
                "the chain has {head} blocks: nothing is final {} blocks ago yet",
                args.lag
            ),
            "wait for more blocks, or lower --lag or --from-block",
        ));
    };
    let mut history = events::read(&chain, args.from_block, to_block, args.step).await?;
    let mut client = context.client().await?;
    let books = compare_books(&mut client, &mut history, to_block).await?;
    // The histories that are left have no row.
    let depositors = depositors(&chain, &history, to_block).await?;
    let unknown = unknown_deposits(&history, &depositors, &contracts.treasury);
    let pending = chain.pending_total(BlockRef::Number(to_block)).await?;
    let mut differences = books.differences;
    differences.extend(unknown.differences);
    differences.extend(pending_total_difference(
        pending,
        books.pending_units,
        &unknown.direct,
    ));
    Ok(ReconcileReport {
        from_block: args.from_block,
        to_block,
        intents: books.intents,
        events: history.events,
        totals: books.totals,
        differences,
        direct_deposits: unknown.direct,
    })
}

/// Who made the deposits, by the escrow's records.
async fn depositors(
    chain: &ChainClient,
    history: &EscrowHistory,
    to_block: u64,
) -> Result<BTreeMap<IntentId, Address>> {
    let asked: Vec<IntentId> = history.intents.keys().copied().collect();
    let found = chain.intents(&asked, BlockRef::Number(to_block)).await?;
    let known = asked.into_iter().zip(found);
    Ok(known
        .filter_map(|(id, record)| Some((id, record?.depositor)))
        .collect())
}

fn describe(page: &mut TextPage, report: &ReconcileReport) {
    page.field("blocks", format!("{} to {}", report.from_block, report.to_block));
    page.field("intents", report.intents.to_string());
    page.field("events", report.events.to_string());
    page.section("payments");
    let totals = &report.totals;
    for (name, value) in [
        ("received", totals.received),
        ("minted", totals.minted),
        ("in flight", totals.in_flight),
        ("held", totals.held),
        ("owed to payers", totals.owed_open),
        ("settled by hand", totals.owed_settled),
        ("without intent", totals.orphaned),
    ] {
        page.field(name, format!("{value} KES"));
    }
    if !report.direct_deposits.is_empty() {
        page.section("deposits that users made directly (left to expiry and reclaim)");
        let row = |d: &DirectDeposit| {
            vec![
                d.block.to_string(),
                d.depositor.to_string(),
                stored_shillings(&d.amount),
                d.state.into(),
                d.intent_id.to_string(),
            ]
        };
        page.table(
            &["block", "depositor", "amount", "state", "intent id"],
            &report.direct_deposits.iter().map(row).collect::<Vec<_>>(),
        );
    }
    list(page, &report.differences);
}

pub fn list(page: &mut TextPage, differences: &[ChainDifference]) {
    page.section("differences");
    if differences.is_empty() {
        page.styled(Style::Good, "none");
        return;
    }
    let row = |d: &ChainDifference| {
        vec![
            d.kind.to_owned(),
            d.tx_ref.clone(),
            d.detail.clone(),
            d.intent_id.clone(),
        ]
    };
    page.table(
        &["kind", "txRef", "what", "intent id"],
        &differences.iter().map(row).collect::<Vec<_>>(),
    );
}
