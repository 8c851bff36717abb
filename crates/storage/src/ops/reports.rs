//! Late reports: authentic, but stale when they were received. A person may accept one.

use domain::evidence::SignedReport;
use domain::ids::ReportId;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_opt};

/// A stored report for display; the payer's phone stays in the signed bytes.
#[derive(Clone, Debug)]
pub struct ReportRow {
    pub tx_ref: String,
    pub receipt: Option<String>,
    pub amount_shillings: String,
    pub paid: bool,
    pub late: bool,
    pub received_at: OffsetDateTime,
    pub signed: SignedReport,
    /// Who accepted it, and when.
    pub accepted: Option<(String, OffsetDateTime)>,
}

/// The action under which the audit log records an acceptance.
pub const ACCEPT: &str = "payments.accept";

macro_rules! report_columns {
    ($rest:literal) => {
        concat!(
            "select r.report_id, r.tx_ref, r.receipt, r.amount_shillings::text as amount_shillings, r.paid, r.late, \
             r.received_at, r.body, r.timestamp_header, r.signature_header, r.path, r.query, a.actor, a.occurred_at \
             from mpesa_reports r \
             left join lateral (select actor, occurred_at from audit_log where action = 'payments.accept' \
             and target = r.report_id::text order by id limit 1) a on true ",
            $rest
        )
    };
}

statements! {
    FIND = report_columns!("where r.report_id = $1");
    LIST = report_columns!("where r.late and ($1 or a.occurred_at is null) order by r.received_at limit $2");
    LOCK = "select pg_advisory_xact_lock(hashtextextended($1, 0))";
}

pub async fn find(session: &impl DbSession, id: ReportId) -> Result<Option<ReportRow>, StorageError> {
    query_opt(session, FIND, &[&id.0])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Late reports, oldest first.
pub async fn list(
    session: &impl DbSession,
    with_accepted: bool,
    limit: i64,
) -> Result<Vec<ReportRow>, StorageError> {
    let rows = query(session, LIST, &[&with_accepted, &limit]).await?;
    rows.iter().map(read).collect()
}

/// Allows one acceptance of a report at a time.
pub async fn lock(tx: &DbTransaction<'_>, id: ReportId) -> Result<(), StorageError> {
    execute(tx, LOCK, &[&format!("{ACCEPT}:{id}")]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<ReportRow, StorageError> {
    let id: Uuid = row.try_get("report_id")?;
    let reader = RowReader::new(row, "mpesa_reports", id);
    let received_at: OffsetDateTime = reader.get("received_at")?;
    let (who, at): (Option<String>, Option<OffsetDateTime>) =
        (reader.get("actor")?, reader.get("occurred_at")?);
    Ok(ReportRow {
        tx_ref: reader.get("tx_ref")?,
        receipt: reader.get("receipt")?,
        amount_shillings: reader.get("amount_shillings")?,
        paid: reader.get("paid")?,
        late: reader.get("late")?,
        received_at,
        signed: SignedReport {
            report_id: ReportId(id),
            body: reader.get("body")?,
            timestamp: reader.get("timestamp_header")?,
            signature: reader.get("signature_header")?,
            path: reader.get("path")?,
            query: reader.get("query")?,
            received_at: received_at.unix_timestamp() * 1000 + i64::from(received_at.millisecond()),
        },
        accepted: who.zip(at),
    })
}
