//! Candidates for the sweeps: read without a lock, checked again under it. Where a row may stay a candidate for long
//! (because its key is missing, say), the page is drawn at random, so that such rows do not hide others.

use std::time::Duration;

use const_format::concatcp;
use domain::command::Command;
use domain::ids::MessageId;
use domain::tx_ref::TxRef;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_one};
use crate::settled::{OPEN_ITEMS, SETTLED_LEGS};

/// A person has resolved the mismatch of the decision `d`.
const MISMATCH_RESOLVED: &str = "exists (select from exceptions e \
     where e.tx_ref = d.tx_ref and e.kind = 'amount_mismatch' and e.resolved_at is not null)";

statements! {
    // Intents whose payment window is over and that have no report. `$2` limits how far back it looks.
    TO_EXPIRE =
        "select i.tx_ref from published.mint_intents i left join decisions d on d.tx_ref = i.tx_ref \
         where i.created_at < clock_timestamp() - $1::float8 * interval '1 second' \
         and i.created_at > clock_timestamp() - $2::float8 * interval '1 second' \
         and coalesce(d.payment_leg, 'awaiting') = 'awaiting' \
         and not exists (select from published.mpesa_reports r where r.tx_ref = i.tx_ref) \
         order by i.created_at limit $3";
    // Live commands whose chain leg has not moved and for which no message or work item is pending. Each re-drive
    // doubles the wait, up to 64 times the first.
    TO_REDRIVE = concatcp!(
        "select d.tx_ref, d.live_message_id from decisions d left join published.chain_legs l on l.intent_id = d.intent_id \
         where d.live_command is not null \
         and d.live_since < clock_timestamp() - $1::float8 * power(2, least(d.redrive_count, 6)) * interval '1 second' \
         and (l.intent_id is null or (l.leg not in ", SETTLED_LEGS, " \
         and l.updated_at < clock_timestamp() - $1::float8 * interval '1 second')) \
         and not exists (select from published.work_items w where w.intent_id = d.intent_id \
         and w.state in ", OPEN_ITEMS, ") \
         and not exists (select from published.work_items w where w.message_id = d.live_message_id and w.state = 'parked') \
         and not exists (select from callback_outbox o where o.subject = d.tx_ref) \
         order by random() limit $2"
    );
    // Rows that call for a command which was not sent: a key was missing, or a person has ended a hold.
    UNDECIDED = concatcp!(
        "select d.tx_ref from decisions d \
         where d.live_command is null and d.intent_id is not null \
         and ((d.chain_leg = 'escrowed' and (d.mint_refused or d.payment_leg in ('confirmed', 'declined', 'expired'))) \
         or (d.chain_leg = 'escrowed' and d.payment_leg = 'mismatched' and ", MISMATCH_RESOLVED, ") \
         or (d.chain_leg in ('queued', 'submitting') and d.payment_leg in ('declined', 'expired') \
         and not exists (select from published.signed_commands t \
         where t.intent_id = d.intent_id and t.command = 'submit')) \
         or (d.chain_leg = 'escrowed' and d.payment_leg = 'awaiting' \
         and exists (select from payments p where p.tx_ref = d.tx_ref and p.is_first) \
         and not exists (select from exceptions e where e.tx_ref = d.tx_ref and e.kind = 'orphan_payment'))) \
         and d.updated_at < clock_timestamp() - $1::float8 * interval '1 second' \
         and not exists (select from exceptions e where e.tx_ref = d.tx_ref and e.is_hold and e.resolved_at is null) \
         order by random() limit $2"
    );
    // Payments without an intent that are too old to be matched.
    OLD_ORPHANS =
        "select d.tx_ref from payments p join decisions d on d.tx_ref = p.tx_ref \
         where p.is_first and d.intent_id is null \
         and p.received_at < clock_timestamp() - $1::float8 * interval '1 second' \
         and not exists (select from exceptions e where e.tx_ref = d.tx_ref and e.kind = 'orphan_payment') \
         order by p.received_at limit $2";
    // Parked work of an intent that is not settled and has no other open work. It is listed again some time after a
    // person resolved it, if the intent is still not settled.
    PARKED = concatcp!(
        "select l.tx_ref, w.command, concat_ws(': ', w.error_class, w.reason) as reason \
         from published.work_items w join published.chain_legs l on l.intent_id = w.intent_id \
         where ($3::text is null or l.tx_ref = $3) and w.state = 'parked' and l.leg not in ", SETTLED_LEGS, " \
         and not exists (select from exceptions e where e.tx_ref = l.tx_ref and e.kind = 'command_parked' \
         and (e.resolved_at is null or e.resolved_at > clock_timestamp() - $1::float8 * interval '1 second')) \
         and not exists (select from published.work_items o where o.intent_id = w.intent_id \
         and o.state in ", OPEN_ITEMS, ") \
         order by w.updated_at limit $2"
    );
    ORPHANS =
        "select count(*) as orphans, \
         coalesce(extract(epoch from clock_timestamp() - min(p.received_at)), 0)::float8 as oldest \
         from payments p join decisions d on d.tx_ref = p.tx_ref \
         where p.is_first and d.intent_id is null and d.payment_leg = 'awaiting' \
         and not exists (select from exceptions e where e.tx_ref = d.tx_ref and e.kind = 'orphan_payment' \
         and e.resolved_at is not null)";
}

/// Maximum number of candidates per page.
pub const LIMIT: i64 = 500;

pub async fn to_expire(
    session: &impl DbSession,
    window: Duration,
    horizon: Duration,
) -> Result<Vec<TxRef>, StorageError> {
    tx_refs(
        &query(
            session,
            TO_EXPIRE,
            &[&window.as_secs_f64(), &horizon.as_secs_f64(), &LIMIT],
        )
        .await?,
    )
}

/// Each with the message that carries the live command.
pub async fn to_redrive(
    session: &impl DbSession,
    after: Duration,
) -> Result<Vec<(TxRef, MessageId)>, StorageError> {
    let rows = query(session, TO_REDRIVE, &[&after.as_secs_f64(), &LIMIT]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for (tx_ref, row) in tx_refs(&rows)?.into_iter().zip(&rows) {
        found.push((tx_ref, MessageId(row.try_get("live_message_id")?)));
    }
    Ok(found)
}

pub async fn undecided(session: &impl DbSession, after: Duration) -> Result<Vec<TxRef>, StorageError> {
    tx_refs(&query(session, UNDECIDED, &[&after.as_secs_f64(), &LIMIT]).await?)
}

pub async fn old_orphans(session: &impl DbSession, after: Duration) -> Result<Vec<TxRef>, StorageError> {
    tx_refs(&query(session, OLD_ORPHANS, &[&after.as_secs_f64(), &LIMIT]).await?)
}

/// A command that the executor parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedCommandRow {
    pub tx_ref: TxRef,
    pub command: Command,
    pub reason: String,
}

/// `recheck_after`: how long a resolved exception suppresses the candidate. `only`: one txRef, to check it again under
/// its lock.
pub async fn parked(
    session: &impl DbSession,
    recheck_after: Duration,
    only: Option<&TxRef>,
) -> Result<Vec<ParkedCommandRow>, StorageError> {
    let only = only.map(TxRef::as_str);
    let rows = query(session, PARKED, &[&recheck_after.as_secs_f64(), &LIMIT, &only]).await?;
    let read = |row: &Row| {
        let reader = RowReader::new(row, "work_items", row.try_get::<_, &str>("tx_ref")?);
        Ok(ParkedCommandRow {
            tx_ref: reader.parse("tx_ref")?,
            command: reader.parse("command")?,
            reason: reader.get("reason")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Number of payments that wait for their intent, and the age of the oldest in seconds.
pub async fn orphans(session: &impl DbSession) -> Result<(u64, f64), StorageError> {
    let row = query_one(session, ORPHANS, &[]).await?;
    let reader = RowReader::new(&row, "payments", "orphans");
    Ok((reader.unsigned("orphans")?, reader.get("oldest")?))
}

fn tx_refs(rows: &[Row]) -> Result<Vec<TxRef>, StorageError> {
    rows.iter()
        .map(|row| RowReader::new(row, "decisions", row.try_get::<_, &str>("tx_ref")?).parse("tx_ref"))
        .collect()
}
