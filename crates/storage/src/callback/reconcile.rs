//! Compares our tables with each other: the contradictions between them.

use std::time::Duration;

use const_format::concatcp;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};
use crate::settled::terminal;

statements! {
    // Rows younger than `$1` seconds are skipped: another service may not have heard of them yet.
    DIFFERENCES = concatcp!(
        "with quiet as (select clock_timestamp() - $1::float8 * interval '1 second' as since) \
         (select 'orphan_payment' as kind, p.tx_ref as subject, 'a payment without an intent' as detail \
          from payments p, quiet where p.is_first and p.processed_at < since \
          and not exists (select from published.mint_intents i where i.tx_ref = p.tx_ref) limit $2) \
         union all \
         (select 'leg_differs', l.tx_ref, 'executor says ' || l.leg || ', callback says ' || d.chain_leg \
          from published.chain_legs l join decisions d on d.tx_ref = l.tx_ref, quiet \
          where ", terminal!("l.leg", "l.final"), " \
          and d.chain_leg <> l.leg and l.updated_at < since limit $2) \
         union all \
         (select 'executed_without_payment', l.tx_ref, 'minted, payment is ' || coalesce(d.payment_leg, 'unknown') \
          from published.chain_legs l left join decisions d on d.tx_ref = l.tx_ref, quiet \
          where l.leg = 'executed' and coalesce(d.payment_leg, '') <> 'confirmed' and l.updated_at < since limit $2) \
         union all \
         (select 'intent_differs', d.tx_ref, 'the decision and the intent row name different intents' \
          from decisions d join published.mint_intents i on i.tx_ref = d.tx_ref \
          where d.intent_id is not null and d.intent_id <> i.intent_id limit $2) \
         union all \
         (select 'report_unprocessed', r.tx_ref, 'report ' || r.report_id || ' has no outcome' \
          from published.mpesa_reports r, quiet where r.received_at < since \
          and not exists (select from report_outcomes o where o.report_id = r.report_id) limit $2) \
         union all \
         (select 'paid_not_settled', p.tx_ref, 'confirmed, chain is ' || d.chain_leg \
          from payments p join decisions d on d.tx_ref = p.tx_ref, quiet \
          where p.is_first and d.payment_leg = 'confirmed' \
          and not ", terminal!("d.chain_leg", "d.chain_final"), " and p.processed_at < since - interval '1 hour' \
          and not exists (select from exceptions e where e.tx_ref = p.tx_ref and e.is_hold and e.resolved_at is null) \
          limit $2) \
         union all \
         (select 'direct_deposit', '0x' || encode(e.intent_id, 'hex'), 'a deposit that did not come through us' \
          from published.escrow_events e where e.kind = 'submitted' \
          and not exists (select from published.mint_intents i where i.intent_id = e.intent_id) limit $2) \
         union all \
         (select 'event_differs', '0x' || encode(e.intent_id, 'hex'), \
          'the chain says ' || e.kind || ', the leg is ' || l.leg \
          from published.escrow_events e join published.chain_legs l on l.intent_id = e.intent_id, quiet \
          where e.kind in ('executed', 'refunded') and l.leg <> e.kind and l.updated_at < since limit $2) \
         union all \
         (select 'amount_differs', i.tx_ref, 'the chain says ' || e.amount || ', the intent row ' || i.amount \
          from published.escrow_events e join published.mint_intents i on i.intent_id = e.intent_id \
          where e.kind in ('submitted', 'executed') and e.amount <> i.amount limit $2)"
    );
    CLEAR = "delete from reconcile_differences";
    INSERT =
        "insert into reconcile_differences (run_at, kind, subject, detail) \
         select clock_timestamp(), kind, subject, detail \
         from unnest($1::text[], $2::text[], $3::text[]) as t(kind, subject, detail)";
    LATEST = "select run_at, kind, subject, detail from reconcile_differences order by kind, subject limit 10000";
}

/// Every kind of difference that can be found: the label of the metric.
pub const DIFFERENCE_KINDS: [&str; 9] = [
    "orphan_payment",
    "leg_differs",
    "executed_without_payment",
    "intent_differs",
    "report_unprocessed",
    "paid_not_settled",
    "direct_deposit",
    "event_differs",
    "amount_differs",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferenceRow {
    pub kind: String,
    /// A txRef, or an intent id if we never accepted the intent.
    pub subject: String,
    pub detail: String,
}

/// Returns at most `limit` differences of each kind, among rows older than `min_age`.
pub async fn differences(
    session: &impl DbSession,
    min_age: Duration,
    limit: u32,
) -> Result<Vec<DifferenceRow>, StorageError> {
    let rows = query(session, DIFFERENCES, &[&min_age.as_secs_f64(), &i64::from(limit)]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "reconcile_differences", "new");
            Ok(DifferenceRow {
                kind: reader.get("kind")?,
                subject: reader.get("subject")?,
                detail: reader.get("detail")?,
            })
        })
        .collect()
}

/// Replaces the results of the previous run.
pub async fn replace(tx: &DbTransaction<'_>, found: &[DifferenceRow]) -> Result<(), StorageError> {
    execute(tx, CLEAR, &[]).await?;
    let column = |f: fn(&DifferenceRow) -> &str| found.iter().map(f).collect::<Vec<_>>();
    let (kinds, subjects) = (column(|d| &d.kind), column(|d| &d.subject));
    execute(tx, INSERT, &[&kinds, &subjects, &column(|d| &d.detail)]).await?;
    Ok(())
}

/// The time and the results of the last run.
pub async fn latest(
    session: &impl DbSession,
) -> Result<(Option<OffsetDateTime>, Vec<DifferenceRow>), StorageError> {
    let rows = query(session, LATEST, &[]).await?;
    let mut run_at = None;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let reader = RowReader::new(row, "reconcile_differences", "latest");
        run_at = Some(reader.get("run_at")?);
        found.push(DifferenceRow {
            kind: reader.get("kind")?,
            subject: reader.get("subject")?,
            detail: reader.get("detail")?,
        });
    }
    Ok((run_at, found))
}
