//! `reconcile --statement`: compares M-Pesa's own statement with the payments that we recorded.

use std::path::Path;

use anyhow::{Context as _, Result};
use reconcile::statement::{StatementComparison, StatementDifference, StatementPeriod, compare, shillings};
use serde::Serialize;
use time::OffsetDateTime;

use crate::completion::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::text::timestamp;
use crate::user_error::user_error;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementReport {
    file: String,
    from: String,
    to: String,
    paid_in: u64,
    paid_in_cents: u64,
    recorded: u64,
    recorded_cents: u64,
    at_the_edges: u64,
    differences: Vec<StatementLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementLine {
    kind: &'static str,
    receipt: String,
    tx_ref: Option<String>,
    at: String,
    detail: String,
}

impl From<StatementDifference> for StatementLine {
    fn from(found: StatementDifference) -> Self {
        Self {
            kind: found.kind,
            receipt: found.receipt,
            tx_ref: found.tx_ref,
            at: timestamp(found.at),
            detail: found.detail,
        }
    }
}

impl StatementReport {
    fn new(file: String, from: OffsetDateTime, to: OffsetDateTime, found: StatementComparison) -> Self {
        Self {
            file,
            from: timestamp(from),
            to: timestamp(to),
            paid_in: found.paid_in,
            paid_in_cents: found.paid_in_cents,
            recorded: found.recorded,
            recorded_cents: found.recorded_cents,
            at_the_edges: found.at_the_edges,
            differences: found.differences.into_iter().map(StatementLine::from).collect(),
        }
    }
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    path: &Path,
    period: &StatementPeriod,
) -> Result<Completion> {
    let name = path.display().to_string();
    let client = context.client().await?;
    let found = compare(&client, path, period).await;
    let found = found.with_context(|| format!("statement {name}"))?;
    let Some(compared) = found.period else {
        return Err(user_error(
            format!("statement {name} has no rows"),
            "export it again, for a period with payments",
        ));
    };
    let report = StatementReport::new(name, compared.from, compared.to, found);
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.differences.is_empty() {
        Completion::Success
    } else {
        Completion::Negative
    })
}

fn describe(page: &mut TextPage, report: &StatementReport) {
    let receipts = |cents: u64, count: u64| format!("{} in {count} receipts", shillings(cents));
    page.field("statement", &report.file);
    page.field("from", &report.from);
    page.field("to", &report.to);
    page.field("paid in", receipts(report.paid_in_cents, report.paid_in));
    page.field("recorded", receipts(report.recorded_cents, report.recorded));
    if report.at_the_edges > 0 {
        page.field(
            "at the edges",
            format!("{} payments, not compared", report.at_the_edges),
        );
    }
    page.section("differences");
    if report.differences.is_empty() {
        page.styled(Style::Good, "none");
        return;
    }
    let row = |d: &StatementLine| {
        vec![
            d.kind.to_owned(),
            d.receipt.clone(),
            d.tx_ref.clone().unwrap_or_default(),
            d.at.clone(),
            d.detail.clone(),
        ]
    };
    page.table(
        &["kind", "receipt", "txRef", "at", "what"],
        &report.differences.iter().map(row).collect::<Vec<_>>(),
    );
}
