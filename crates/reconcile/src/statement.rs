//! Compares M-Pesa's own statement with the payments that we recorded.

mod compare;
mod file;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use storage::ops::statement::{self as books, PaidReportRow, RecordedPaymentRow};
use storage::{DbClient, StorageError};
use time::OffsetDateTime;

pub use compare::{StatementDifference, shillings};
use compare::{compare_row, missing_payment};
use file::StatementRow;

/// Number of statement rows, and of payments, read at once.
const PAGE: usize = 1000;
const PAGE_LIMIT: i64 = 1000;

/// Why a statement was not compared.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("the file is no CSV")]
    Csv(#[from] csv::Error),
    #[error("no line of column names: one of the first {0} must have \"Receipt No.\"")]
    NoColumnNames(usize),
    #[error("the statement has no column {0:?}")]
    NoColumn(&'static str),
    /// A person must look at this line: an amount or a time in an unknown form.
    #[error("receipt {receipt}: {what}")]
    Row { receipt: String, what: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The period that is compared; without a bound, what the statement has.
#[derive(Clone, Copy, Debug)]
pub struct StatementPeriod {
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    /// Maximum difference between M-Pesa's time of a payment and the arrival of its report.
    pub edge: Duration,
}

/// The start and the end of what was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComparedPeriod {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
}

#[derive(Clone, Debug, Default)]
pub struct StatementComparison {
    /// `None` if the statement has no rows.
    pub period: Option<ComparedPeriod>,
    /// Number of completed rows that paid in.
    pub paid_in: u64,
    pub paid_in_cents: u64,
    pub recorded: u64,
    pub recorded_cents: u64,
    /// Number of payments so close to the ends of the period that the statement need not contain them.
    pub at_the_edges: u64,
    pub differences: Vec<StatementDifference>,
}

/// Reads the file page by page, so that its size does not matter.
pub async fn compare(
    client: &DbClient,
    path: &Path,
    period: &StatementPeriod,
) -> Result<StatementComparison, StatementError> {
    let mut pass = Pass {
        client,
        seen: HashSet::new(),
        found: StatementComparison::default(),
    };
    let mut times: Option<ComparedPeriod> = None;
    let mut page: Vec<StatementRow> = Vec::with_capacity(PAGE);
    for row in file::open(path)? {
        let row = row?;
        let at = row.completed_at;
        let known = times.unwrap_or(ComparedPeriod { from: at, to: at });
        times = Some(ComparedPeriod {
            from: known.from.min(at),
            to: known.to.max(at),
        });
        page.push(row);
        if page.len() == PAGE {
            pass.compare_page(&std::mem::take(&mut page)).await?;
        }
    }
    pass.compare_page(&page).await?;
    if let Some(of_file) = times {
        let compared = ComparedPeriod {
            from: period.from.unwrap_or(of_file.from),
            to: period.to.unwrap_or(of_file.to),
        };
        pass.find_missing(compared, period.edge).await?;
        pass.found.period = Some(compared);
    }
    Ok(pass.found)
}

/// One comparison: what it has seen and found so far.
struct Pass<'a> {
    client: &'a DbClient,
    /// Receipts of the statement that paid in.
    seen: HashSet<String>,
    found: StatementComparison,
}

impl Pass<'_> {
    /// Compares one page of the statement with the recorded payments.
    async fn compare_page(&mut self, rows: &[StatementRow]) -> Result<(), StatementError> {
        let mut receipts: Vec<&str> = rows.iter().map(|row| row.receipt.as_str()).collect();
        receipts.extend(rows.iter().filter_map(|row| row.linked.as_deref()));
        let recorded = books::by_receipt(self.client, &receipts).await?;
        let reported = self.stored_reports(rows, &recorded).await?;
        for row in rows {
            if row.is_paid_in() {
                self.found.paid_in += 1;
                self.found.paid_in_cents += row.paid_in_cents;
                if !self.seen.insert(row.receipt.clone()) {
                    let detail = "the statement has this receipt twice";
                    let twice = StatementDifference::of(row, "twice_in_statement", detail);
                    self.found.differences.push(twice);
                    continue;
                }
            }
            let linked = row.linked.as_ref().and_then(|receipt| recorded.get(receipt));
            let known = reported.get(&row.receipt);
            let difference = compare_row(row, recorded.get(&row.receipt), linked, known);
            self.found.differences.extend(difference);
        }
        Ok(())
    }

    /// Finds the stored reports of receipts that are no recorded payment, by txRef.
    async fn stored_reports(
        &self,
        rows: &[StatementRow],
        recorded: &HashMap<String, RecordedPaymentRow>,
    ) -> Result<BTreeMap<String, PaidReportRow>, StatementError> {
        let unknown: Vec<(&str, &str)> = rows
            .iter()
            .filter(|row| row.is_paid_in() && !recorded.contains_key(&row.receipt))
            .filter_map(|row| Some((row.account.as_deref()?, row.receipt.as_str())))
            .collect();
        if unknown.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (tx_refs, receipts): (Vec<&str>, Vec<&str>) = unknown.into_iter().unzip();
        let found = books::reported(self.client, &tx_refs, &receipts).await?;
        Ok(found.into_iter().map(|one| (one.receipt.clone(), one)).collect())
    }

    /// Finds the payments of the period that the statement does not contain.
    async fn find_missing(&mut self, period: ComparedPeriod, edge: Duration) -> Result<(), StatementError> {
        let mut after = String::new();
        loop {
            let page = books::within(self.client, period.from, period.to, &after, PAGE_LIMIT).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.receipt);
            for payment in &page {
                self.found.recorded += 1;
                self.found.recorded_cents += payment.shillings.saturating_mul(100);
                if self.seen.contains(&payment.receipt) {
                    continue;
                }
                match missing_payment(payment, period, edge) {
                    Some(difference) => self.found.differences.push(difference),
                    None => self.found.at_the_edges += 1,
                }
            }
        }
    }
}
