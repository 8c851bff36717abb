//! Recorded payments, to be held against M-Pesa's own statement.

use std::collections::HashMap;

use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::row::Reader;
use crate::session::{Session, query};

/// A payment as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub receipt: String,
    pub tx_ref: String,
    pub shillings: u64,
    pub received_at: OffsetDateTime,
}

/// A paid report that is stored; whether it became a payment is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    pub receipt: String,
    pub tx_ref: String,
    /// What became of it; `None` while nobody judged it.
    pub outcome: Option<String>,
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
    session: &impl Session,
    receipts: &[&str],
) -> Result<HashMap<String, Recorded>, StorageError> {
    let rows = query(session, BY_RECEIPT, &[&receipts]).await?;
    rows.iter()
        .map(|row| read(row).map(|recorded| (recorded.receipt.clone(), recorded)))
        .collect()
}

/// Stored reports with one of the txRefs and one of the receipts.
pub async fn reported(
    session: &impl Session,
    tx_refs: &[&str],
    receipts: &[&str],
) -> Result<Vec<Reported>, StorageError> {
    let rows = query(session, REPORTED, &[&tx_refs, &receipts]).await?;
    rows.iter()
        .map(|row| {
            let receipt: String = row.try_get("receipt")?;
            let reader = Reader::new(row, "mpesa_reports", &receipt);
            Ok(Reported {
                tx_ref: reader.get("tx_ref")?,
                outcome: reader.get("outcome")?,
                receipt,
            })
        })
        .collect()
}

/// Up to `limit` payments that were received within the times, after `after` in the order of their receipts.
pub async fn within(
    session: &impl Session,
    (from, to): (OffsetDateTime, OffsetDateTime),
    after: &str,
    limit: i64,
) -> Result<Vec<Recorded>, StorageError> {
    let rows = query(session, WITHIN, &[&from, &to, &after, &limit]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Recorded, StorageError> {
    let receipt: String = row.try_get("receipt")?;
    let reader = Reader::new(row, "payments", &receipt);
    Ok(Recorded {
        tx_ref: reader.get("tx_ref")?,
        shillings: reader.unsigned("shillings")?,
        received_at: reader.get("received_at")?,
        receipt,
    })
}
