//! Recorded payments, to be compared with M-Pesa's own statement.

use std::collections::HashMap;

use domain::report_outcome::ReportOutcome;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query};

/// A recorded payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPaymentRow {
    pub receipt: String,
    pub tx_ref: String,
    pub shillings: u64,
    pub received_at: OffsetDateTime,
}

/// A stored paid report, whether it became a payment or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidReportRow {
    pub receipt: String,
    pub tx_ref: String,
    /// `None` while it is not processed.
    pub outcome: Option<ReportOutcome>,
}

statements! {
    BY_RECEIPT = "\
select receipt, tx_ref, amount_shillings::bigint as shillings, received_at from payments where receipt = any($1::text[])";
    // By txRef, which has an index; a receipt alone has none.
    REPORTED = "\
select r.receipt, r.tx_ref, o.outcome from mpesa_reports r
left join report_outcomes o on o.report_id = r.report_id
where r.tx_ref = any($1::text[]) and r.receipt = any($2::text[]) and r.paid
order by r.received_at";
    WITHIN = "\
select receipt, tx_ref, amount_shillings::bigint as shillings, received_at from payments
where received_at >= $1 and received_at <= $2 and receipt > $3 order by receipt limit $4";
}

pub async fn by_receipt(
    session: &impl DbSession,
    receipts: &[&str],
) -> Result<HashMap<String, RecordedPaymentRow>, StorageError> {
    let rows = query(session, BY_RECEIPT, &[&receipts]).await?;
    rows.iter()
        .map(|row| read(row).map(|recorded| (recorded.receipt.clone(), recorded)))
        .collect()
}

/// Stored reports with one of the txRefs and one of the receipts.
pub async fn reported(
    session: &impl DbSession,
    tx_refs: &[&str],
    receipts: &[&str],
) -> Result<Vec<PaidReportRow>, StorageError> {
    let rows = query(session, REPORTED, &[&tx_refs, &receipts]).await?;
    rows.iter()
        .map(|row| {
            let receipt: String = row.try_get("receipt")?;
            let reader = RowReader::new(row, "mpesa_reports", &receipt);
            Ok(PaidReportRow {
                tx_ref: reader.get("tx_ref")?,
                outcome: reader.parse_opt("outcome")?,
                receipt,
            })
        })
        .collect()
}

/// Up to `limit` payments that were received within the times, after `after` in the order of their receipts.
pub async fn within(
    session: &impl DbSession,
    from: OffsetDateTime,
    to: OffsetDateTime,
    after: &str,
    limit: i64,
) -> Result<Vec<RecordedPaymentRow>, StorageError> {
    let rows = query(session, WITHIN, &[&from, &to, &after, &limit]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<RecordedPaymentRow, StorageError> {
    let receipt: String = row.try_get("receipt")?;
    let reader = RowReader::new(row, "payments", &receipt);
    Ok(RecordedPaymentRow {
        tx_ref: reader.get("tx_ref")?,
        shillings: reader.unsigned("shillings")?,
        received_at: reader.get("received_at")?,
        receipt,
    })
}
