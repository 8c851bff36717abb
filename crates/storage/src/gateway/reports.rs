//! `mpesa_reports`: raw signed reports, append only. Equal content is stored once.

use const_format::concatcp;
use domain::evidence::SignedReport;
use domain::ids::ReportId;
use domain::payment::PaymentReport;
use domain::signature::KeyId;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::idempotency::column;
use super::redrive::{PAUSE_IS_OVER, RedriveWindow, advance_watermark};
use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query};

statements! {
    INSERT_BATCH = "\
insert into mpesa_reports
    (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, receipt, amount_shillings,
     paid, content_hash, late, received_at)
select report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, receipt,
       amount_shillings::numeric, paid, content_hash, late, received_at
from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::boolean[], $12::bytea[], $13::boolean[], $14::timestamptz[])
    as t (report_id, tx_ref, key_id, body, timestamp_header, signature_header, path, query, receipt,
          amount_shillings, paid, content_hash, late, received_at)
where not t.late
   or not exists (select 1 from mpesa_reports r where r.content_hash = t.content_hash and not r.late)
on conflict (content_hash, late) do nothing
returning report_id";

    // Reports never re-driven, from the watermark on, and reports whose last re-drive is old enough, whatever their age.
    // A re-drive with a txRef as its subject is an intent's: a txRef is shorter than the id of a report.
    TO_REDRIVE = concatcp!("\
with due as (
    (select r.report_id from mpesa_reports r
     where r.received_at >= $1 and r.received_at < now() - make_interval(secs => $2::float8)
       and not exists (select 1 from gateway_redrives d where d.subject = r.report_id::text)
       and not exists (select 1 from published.report_outcomes o where o.report_id = r.report_id)
       and not exists (select 1 from gateway_outbox o where o.subject = r.tx_ref and o.queue = $4)
     order by r.received_at limit $3)
    union all
    (select r.report_id from gateway_redrives d
     join mpesa_reports r on r.report_id = case when length(d.subject) = 36 then d.subject::uuid end
     where ", PAUSE_IS_OVER, "
       and not exists (select 1 from published.report_outcomes o where o.report_id = r.report_id)
       and not exists (select 1 from gateway_outbox o where o.subject = r.tx_ref and o.queue = $4)
     order by d.last_sent_at limit $3))
select r.report_id, r.body, r.timestamp_header, r.signature_header, r.path, r.query, r.received_at, r.late
from due join mpesa_reports r using (report_id)
order by r.received_at");

    // One page of the watermark. Rows that were re-driven are found by `gateway_redrives`.
    OLDEST_UNSETTLED = "\
select coalesce(min(p.received_at) filter (where p.waits),
                case when count(*) = $3 then max(p.received_at) end,
                now() - make_interval(secs => $2::float8)) as reached,
       count(*) = $3 and count(*) filter (where p.waits) = 0 as more
from (select r.received_at,
             not exists (select 1 from published.report_outcomes o where o.report_id = r.report_id)
             and not exists (select 1 from gateway_redrives d where d.subject = r.report_id::text) as waits
      from mpesa_reports r
      where r.received_at >= $1 and r.received_at < now() - make_interval(secs => $2::float8)
      order by r.received_at limit $3) as p";
}

/// One report to be stored.
#[derive(Clone, Debug)]
pub struct NewReport {
    pub signed: SignedReport,
    pub parsed: PaymentReport,
    pub content_hash: [u8; 32],
    pub key_id: KeyId,
    pub late: bool,
    pub received_at: OffsetDateTime,
}

/// Stores every report whose content is new and returns their ids. A late report is not new if the same content was
/// received in time. Give them in content order: rows are locked in that order.
pub async fn insert_batch(
    session: &impl DbSession,
    rows: &[&NewReport],
) -> Result<Vec<ReportId>, StorageError> {
    let found = query(
        session,
        INSERT_BATCH,
        &[
            &column(rows, |r| r.signed.report_id.0),
            &column(rows, |r| r.parsed.tx_ref.as_str()),
            &column(rows, |r| r.key_id.as_str()),
            &column(rows, |r| r.signed.body.as_slice()),
            &column(rows, |r| r.signed.timestamp.as_str()),
            &column(rows, |r| r.signed.signature.as_str()),
            &column(rows, |r| r.signed.path.as_str()),
            &column(rows, |r| r.signed.query.as_str()),
            &column(rows, |r| {
                r.parsed.receipt().map(domain::payment::MpesaReceipt::as_str)
            }),
            &column(rows, |r| r.parsed.amount.to_string()),
            &column(rows, |r| r.parsed.is_paid()),
            &column(rows, |r| r.content_hash.as_slice()),
            &column(rows, |r| r.late),
            &column(rows, |r| r.received_at),
        ],
    )
    .await?;
    found.iter().map(|row| Ok(ReportId(row.try_get(0)?))).collect()
}

/// A stored report as it was received; its MAC is not verified.
#[derive(Clone, Debug)]
pub struct StoredReport {
    pub signed: SignedReport,
    pub late: bool,
    pub received_at: OffsetDateTime,
}

/// Old reports that the callback service has not processed and for which no message is pending, oldest first: up to
/// `limit` that were never re-driven, and as many that were.
pub async fn to_redrive(
    session: &impl DbSession,
    window: &RedriveWindow,
    queue: &str,
) -> Result<Vec<StoredReport>, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&window.since, &window.after_seconds, &window.limit, &queue];
    let rows = query(session, TO_REDRIVE, params).await?;
    rows.iter().map(read).collect()
}

/// When the oldest report was received that is not processed and was never re-driven.
pub async fn oldest_unsettled(
    session: &impl DbSession,
    window: &RedriveWindow,
) -> Result<OffsetDateTime, StorageError> {
    advance_watermark(session, OLDEST_UNSETTLED, window).await
}

fn read(row: &Row) -> Result<StoredReport, StorageError> {
    let id: uuid::Uuid = row.try_get("report_id")?;
    let reader = RowReader::new(row, "mpesa_reports", id);
    let received_at: OffsetDateTime = reader.get("received_at")?;
    Ok(StoredReport {
        signed: SignedReport {
            report_id: ReportId(id),
            body: reader.get("body")?,
            timestamp: reader.get("timestamp_header")?,
            signature: reader.get("signature_header")?,
            path: reader.get("path")?,
            query: reader.get("query")?,
            received_at: unix_ms(received_at),
        },
        late: reader.get("late")?,
        received_at,
    })
}

fn unix_ms(at: OffsetDateTime) -> i64 {
    at.unix_timestamp() * 1000 + i64::from(at.millisecond())
}
