//! `reconcile --statement`: compares M-Pesa's own statement with the payments that we recorded.

mod compare;
mod file;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use storage::DbClient;
use storage::ops::statement::{self as books, PaidReportRow, RecordedPaymentRow};
use time::OffsetDateTime;

use crate::Completion;
use crate::context::CommandContext;
use crate::output::{Output, Style, TextPage};
use crate::text::timestamp;
use crate::user_error::user_error;
use compare::{StatementDifference, compare_row, missing_payment, shillings};
use file::StatementRow;

/// Number of statement rows, and of payments, read at once.
const PAGE: usize = 1000;

/// The period that is compared.
pub struct StatementPeriod {
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    /// Maximum difference between M-Pesa's time of a payment and the arrival of its report.
    pub edge: Duration,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementReport {
    file: String,
    from: Option<String>,
    to: Option<String>,
    /// Number of completed rows that paid in.
    paid_in: u64,
    paid_in_cents: u64,
    recorded: u64,
    recorded_cents: u64,
    /// Number of payments so close to the ends of the period that the statement need not contain them.
    at_the_edges: u64,
    differences: Vec<StatementDifference>,
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    path: &Path,
    period: &StatementPeriod,
) -> Result<Completion> {
    let name = path.display().to_string();
    let reader = file::open(path).with_context(|| format!("statement {name}"))?;
    let client = context.client().await?;
    let mut report = StatementReport {
        file: name.clone(),
        ..StatementReport::default()
    };
    let (mut seen, mut times) = (HashSet::new(), None);
    let mut page: Vec<StatementRow> = Vec::with_capacity(PAGE);
    for row in reader {
        let row = row.with_context(|| format!("statement {name}"))?;
        let (first, last) = times.unwrap_or((row.completed_at, row.completed_at));
        times = Some((first.min(row.completed_at), last.max(row.completed_at)));
        page.push(row);
        if page.len() == PAGE {
            compare_page(&client, &std::mem::take(&mut page), &mut seen, &mut report).await?;
        }
    }
    compare_page(&client, &page, &mut seen, &mut report).await?;
    let Some((first, last)) = times else {
        return Err(user_error(
            format!("statement {name} has no rows"),
            "export it again, for a period with payments",
        ));
    };
    let (from, to) = (period.from.unwrap_or(first), period.to.unwrap_or(last));
    (report.from, report.to) = (Some(timestamp(from)), Some(timestamp(to)));
    find_missing(&client, (from, to), period.edge, &seen, &mut report).await?;
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.differences.is_empty() {
        Completion::Success
    } else {
        Completion::Negative
    })
}

/// Compares one page of the statement with the recorded payments.
async fn compare_page(
    client: &DbClient,
    rows: &[StatementRow],
    seen: &mut HashSet<String>,
    report: &mut StatementReport,
) -> Result<()> {
    let mut receipts: Vec<&str> = rows.iter().map(|row| row.receipt.as_str()).collect();
    receipts.extend(rows.iter().filter_map(|row| row.linked.as_deref()));
    let recorded = books::by_receipt(client, &receipts).await?;
    let reported = stored_reports(client, rows, &recorded).await?;
    for row in rows {
        if row.is_paid_in() {
            report.paid_in += 1;
            report.paid_in_cents += row.paid_in_cents;
            if !seen.insert(row.receipt.clone()) {
                report.differences.push(StatementDifference::of(
                    row,
                    "twice_in_statement",
                    "the statement has this receipt twice",
                ));
                continue;
            }
        }
        let linked = row.linked.as_ref().and_then(|receipt| recorded.get(receipt));
        let known = reported.get(&row.receipt);
        report
            .differences
            .extend(compare_row(row, recorded.get(&row.receipt), linked, known));
    }
    Ok(())
}

/// Finds the stored reports of receipts that are no recorded payment, by txRef.
async fn stored_reports(
    client: &DbClient,
    rows: &[StatementRow],
    recorded: &HashMap<String, RecordedPaymentRow>,
) -> Result<BTreeMap<String, PaidReportRow>> {
    let unknown: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row.is_paid_in() && !recorded.contains_key(&row.receipt))
        .filter_map(|row| Some((row.account.as_deref()?, row.receipt.as_str())))
        .collect();
    if unknown.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (tx_refs, receipts): (Vec<&str>, Vec<&str>) = unknown.into_iter().unzip();
    let found = books::reported(client, &tx_refs, &receipts).await?;
    Ok(found.into_iter().map(|one| (one.receipt.clone(), one)).collect())
}

/// Finds the payments of the period that the statement does not contain.
async fn find_missing(
    client: &DbClient,
    (from, to): (OffsetDateTime, OffsetDateTime),
    edge: Duration,
    seen: &HashSet<String>,
    report: &mut StatementReport,
) -> Result<()> {
    let mut after = String::new();
    loop {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let page = books::within(client, from, to, &after, limit).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.receipt);
        for payment in &page {
            report.recorded += 1;
            report.recorded_cents += payment.shillings.saturating_mul(100);
            if seen.contains(&payment.receipt) {
                continue;
            }
            match missing_payment(payment, (from, to), edge) {
                Some(difference) => report.differences.push(difference),
                None => report.at_the_edges += 1,
            }
        }
    }
}

fn describe(page: &mut TextPage, report: &StatementReport) {
    page.field("statement", &report.file);
    page.field_opt("from", report.from.as_ref());
    page.field_opt("to", report.to.as_ref());
    page.field(
        "paid in",
        format!(
            "{} in {} receipts",
            shillings(report.paid_in_cents),
            report.paid_in
        ),
    );
    page.field(
        "recorded",
        format!(
            "{} in {} receipts",
            shillings(report.recorded_cents),
            report.recorded
        ),
    );
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
    let row = |d: &StatementDifference| {
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
