//! `reconcile --statement`: M-Pesa's own account of what was paid in, held against the payments we recorded.

mod file;
mod judge;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use storage::DbClient;
use storage::ops::statement::{self as books, PaidReportRow, RecordedPaymentRow};
use time::OffsetDateTime;

use crate::Verdict;
use crate::context::Context;
use crate::output::{Output, Page, Style};
use crate::problem::problem;
use crate::text::moment;
use file::Row;
use judge::{Difference, judge, lacking, shillings};

/// Rows, and payments, looked up at once.
const PAGE: usize = 1000;

/// What is compared.
pub struct Period {
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    /// How far apart M-Pesa's time of a payment and the arrival of its report may be.
    pub edge: Duration,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    file: String,
    from: Option<String>,
    to: Option<String>,
    /// Completed rows that paid in.
    paid_in: u64,
    paid_in_cents: u64,
    recorded: u64,
    recorded_cents: u64,
    /// Payments so near the ends of the statement that it need not hold them.
    at_the_edges: u64,
    differences: Vec<Difference>,
}

pub async fn run(context: &Context, out: &mut Output, path: &Path, period: &Period) -> Result<Verdict> {
    let name = path.display().to_string();
    let reader = file::open(path).with_context(|| format!("statement {name}"))?;
    let client = context.client().await?;
    let mut report = Report {
        file: name.clone(),
        ..Report::default()
    };
    let (mut seen, mut times) = (HashSet::new(), None);
    let mut page: Vec<Row> = Vec::with_capacity(PAGE);
    for row in reader {
        let row = row.with_context(|| format!("statement {name}"))?;
        let (first, last) = times.unwrap_or((row.completed_at, row.completed_at));
        times = Some((first.min(row.completed_at), last.max(row.completed_at)));
        page.push(row);
        if page.len() == PAGE {
            compare(&client, &std::mem::take(&mut page), &mut seen, &mut report).await?;
        }
    }
    compare(&client, &page, &mut seen, &mut report).await?;
    let Some((first, last)) = times else {
        return Err(problem(
            format!("statement {name} has no rows"),
            "export it again, for a period with payments",
        ));
    };
    let (from, to) = (period.from.unwrap_or(first), period.to.unwrap_or(last));
    (report.from, report.to) = (Some(moment(from)), Some(moment(to)));
    missing(&client, (from, to), period.edge, &seen, &mut report).await?;
    out.show(&report, |page| describe(page, &report))?;
    Ok(if report.differences.is_empty() {
        Verdict::Yes
    } else {
        Verdict::No
    })
}

/// One page of the statement against the books.
async fn compare(
    client: &DbClient,
    rows: &[Row],
    seen: &mut HashSet<String>,
    report: &mut Report,
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
                report.differences.push(Difference::of(
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
            .extend(judge(row, recorded.get(&row.receipt), linked, known));
    }
    Ok(())
}

/// For receipts that are no payment: is a report stored under the txRef, and what became of it?
async fn stored_reports(
    client: &DbClient,
    rows: &[Row],
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

/// Payments of the period that the statement does not hold.
async fn missing(
    client: &DbClient,
    (from, to): (OffsetDateTime, OffsetDateTime),
    edge: Duration,
    seen: &HashSet<String>,
    report: &mut Report,
) -> Result<()> {
    let mut after = String::new();
    loop {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let page = books::within(client, (from, to), &after, limit).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.receipt);
        for payment in &page {
            report.recorded += 1;
            report.recorded_cents += payment.shillings.saturating_mul(100);
            if seen.contains(&payment.receipt) {
                continue;
            }
            match lacking(payment, (from, to), edge) {
                Some(difference) => report.differences.push(difference),
                None => report.at_the_edges += 1,
            }
        }
    }
}

fn describe(page: &mut Page, report: &Report) {
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
            format!("{} payments, not judged", report.at_the_edges),
        );
    }
    page.section("differences");
    if report.differences.is_empty() {
        page.styled(Style::Good, "none");
        return;
    }
    let row = |d: &Difference| {
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
