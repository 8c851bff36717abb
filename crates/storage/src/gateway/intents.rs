//! `mint_intents`: insert only.

use const_format::concatcp;
use domain::idempotency::IdempotencyKey;
use domain::ids::{IntegratorId, IntentId, Preimage};
use domain::money::BaseUnits;
use domain::signature::{KeyId, Mac};
use domain::tx_ref::TxRef;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::idempotency::column;
use super::redrive::{PAUSE_IS_OVER, RedriveWindow, advance_watermark};
use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_one, query_opt};

/// However old the intent is: the watermark alone says from where on nothing is settled yet.
const SINCE_WATERMARK: &str = "i.created_at >= $1";

statements! {
    INSERT_BATCH = "\
insert into mint_intents
    (intent_id, integrator, chain_id, escrow, depositor, user_address, amount, country_code, tx_ref,
     idempotency_key, trace_parent, created_at, mac_key_id, mac)
select intent_id, integrator, chain_id, escrow, depositor, user_address, amount::numeric, country_code, tx_ref,
       idempotency_key, trace_parent, created_at, mac_key_id, mac
from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::bytea[])
    as t (intent_id, integrator, chain_id, escrow, depositor, user_address, amount, country_code, tx_ref,
          idempotency_key, trace_parent, created_at, mac_key_id, mac)
on conflict do nothing
returning tx_ref";

    FIND_BY_TX_REFS = "\
select i.intent_id, i.integrator, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount,
       i.country_code, i.tx_ref, i.idempotency_key, i.trace_parent, i.created_at,
       coalesce(m.mac_key_id, i.mac_key_id) as mac_key_id, coalesce(m.mac, i.mac) as mac
from mint_intents i left join published.renewed_intent_macs m using (intent_id) where i.tx_ref = any($1::text[])";

    COUNT_UNPAID = "\
select count(*) as unpaid from (
    select 1 from mint_intents i
    where i.integrator = $1
      and i.created_at > now() - make_interval(secs => $2::float8)
      and not exists (select 1 from mpesa_reports r where r.tx_ref = i.tx_ref and not r.late)
    limit $3) as waiting";

    FIND = "\
select i.intent_id, i.integrator, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount,
       i.country_code, i.tx_ref, i.idempotency_key, i.trace_parent, i.created_at,
       coalesce(m.mac_key_id, i.mac_key_id) as mac_key_id, coalesce(m.mac, i.mac) as mac
from mint_intents i left join published.renewed_intent_macs m using (intent_id) where intent_id = $1";

    // Intents never re-driven, from the watermark on, and intents whose last re-drive is old enough, whatever their age.
    TO_REDRIVE = concatcp!("\
with due as (
    (select i.intent_id from mint_intents i
     where ", SINCE_WATERMARK, " and i.created_at < now() - make_interval(secs => $2::float8)
       and not exists (select 1 from gateway_redrives d where d.subject = i.tx_ref)
       and not exists (select 1 from published.chain_legs l where l.intent_id = i.intent_id)
       and not exists (select 1 from published.work_items w where w.intent_id = i.intent_id)
       and not exists (select 1 from gateway_outbox o where o.subject = i.tx_ref and o.queue = $4)
     order by i.created_at limit $3)
    union all
    (select i.intent_id from gateway_redrives d join mint_intents i on i.tx_ref = d.subject
     where ", PAUSE_IS_OVER, "
       and not exists (select 1 from published.chain_legs l where l.intent_id = i.intent_id)
       and not exists (select 1 from published.work_items w where w.intent_id = i.intent_id)
       and not exists (select 1 from gateway_outbox o where o.subject = i.tx_ref and o.queue = $4)
     order by d.last_sent_at limit $3))
select i.intent_id, i.integrator, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount,
       i.country_code, i.tx_ref, i.idempotency_key, i.trace_parent, i.created_at,
       coalesce(m.mac_key_id, i.mac_key_id) as mac_key_id, coalesce(m.mac, i.mac) as mac
from due join mint_intents i using (intent_id) left join published.renewed_intent_macs m using (intent_id)
order by i.created_at");

    // One page of the watermark. Rows that were re-driven are found by `gateway_redrives`.
    OLDEST_UNSETTLED = "\
select coalesce(min(p.created_at) filter (where p.waits),
                case when count(*) = $3 then max(p.created_at) end,
                now() - make_interval(secs => $2::float8)) as reached,
       count(*) = $3 and count(*) filter (where p.waits) = 0 as more
from (select i.created_at,
             not exists (select 1 from published.chain_legs l where l.intent_id = i.intent_id)
             and not exists (select 1 from published.work_items w where w.intent_id = i.intent_id)
             and not exists (select 1 from gateway_redrives d where d.subject = i.tx_ref) as waits
      from mint_intents i
      where i.created_at >= $1 and i.created_at < now() - make_interval(secs => $2::float8)
      order by i.created_at limit $3) as p";
}

/// One stored intent. The MAC binds the row to its integrator; the MAC's key is not in the database, so a row that
/// somebody else wrote never becomes a command.
#[derive(Clone, Debug)]
pub struct MintIntent {
    pub intent_id: IntentId,
    pub preimage: Preimage,
    pub integrator: IntegratorId,
    pub idempotency_key: IdempotencyKey,
    pub trace_parent: Option<String>,
    pub created_at: OffsetDateTime,
    pub mac_key_id: KeyId,
    pub mac: Mac,
}

/// Inserts those whose txRef is new and returns their txRefs. No two rows may share one; give them in a fixed order.
pub async fn insert_batch(
    session: &impl DbSession,
    rows: &[&MintIntent],
) -> Result<Vec<String>, StorageError> {
    let chain_ids = rows
        .iter()
        .map(|r| chain_to_sql(r.preimage.chain_id))
        .collect::<Result<Vec<_>, _>>()?;
    let found = query(
        session,
        INSERT_BATCH,
        &[
            &column(rows, |r| r.intent_id.as_bytes().as_slice()),
            &column(rows, |r| r.integrator.as_str()),
            &chain_ids,
            &column(rows, |r| r.preimage.escrow.as_bytes().as_slice()),
            &column(rows, |r| r.preimage.depositor.as_bytes().as_slice()),
            &column(rows, |r| r.preimage.user.as_bytes().as_slice()),
            &column(rows, |r| r.preimage.amount.to_string()),
            &column(rows, |r| r.preimage.country_code.as_str()),
            &column(rows, |r| r.preimage.tx_ref.as_str()),
            &column(rows, |r| r.idempotency_key.as_str()),
            &column(rows, |r| r.trace_parent.as_deref()),
            &column(rows, |r| r.created_at),
            &column(rows, |r| r.mac_key_id.as_str()),
            &column(rows, |r| r.mac.as_bytes().as_slice()),
        ],
    )
    .await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The intents with these txRefs.
pub async fn find_by_tx_refs(
    session: &impl DbSession,
    tx_refs: &[&TxRef],
) -> Result<Vec<MintIntent>, StorageError> {
    let rows = query(session, FIND_BY_TX_REFS, &[&column(tx_refs, |r| r.as_str())]).await?;
    rows.iter().map(read).collect()
}

/// How many intents of one integrator, accepted within the payment window, have no report yet; counts up to `limit`.
pub async fn count_unpaid(
    session: &impl DbSession,
    integrator: &IntegratorId,
    window_seconds: f64,
    limit: i64,
) -> Result<u64, StorageError> {
    let row = query_one(
        session,
        COUNT_UNPAID,
        &[&integrator.as_str(), &window_seconds, &limit],
    )
    .await?;
    RowReader::new(&row, "mint_intents", integrator).unsigned("unpaid")
}

pub async fn find(session: &impl DbSession, id: &IntentId) -> Result<Option<MintIntent>, StorageError> {
    let row = query_opt(session, FIND, &[&id.as_bytes().as_slice()]).await?;
    row.as_ref().map(read).transpose()
}

/// An intent of which the executor may never have received the command.
#[derive(Debug)]
pub struct RedriveCandidate {
    pub tx_ref: String,
    /// The error of this row alone, if it cannot be read.
    pub intent: Result<MintIntent, StorageError>,
}

/// Old intents that the executor does not know and for which no message is pending, oldest first: up to `limit` that
/// were never re-driven, and as many that were.
pub async fn to_redrive(
    session: &impl DbSession,
    window: &RedriveWindow,
    queue: &str,
) -> Result<Vec<RedriveCandidate>, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&window.since, &window.after_seconds, &window.limit, &queue];
    let rows = query(session, TO_REDRIVE, params).await?;
    rows.iter()
        .map(|row| {
            Ok(RedriveCandidate {
                tx_ref: row.try_get("tx_ref")?,
                intent: read(row),
            })
        })
        .collect()
}

/// When the oldest intent was created that the executor does not know and that was never re-driven; no earlier intent
/// needs another check.
pub async fn oldest_unsettled(
    session: &impl DbSession,
    window: &RedriveWindow,
) -> Result<OffsetDateTime, StorageError> {
    advance_watermark(session, OLDEST_UNSETTLED, window).await
}

pub(super) fn read(row: &Row) -> Result<MintIntent, StorageError> {
    let bytes: &[u8] = row.try_get("intent_id")?;
    let id = IntentId::from_slice(bytes).map_err(|e| StorageError::bug(e.to_string()))?;
    let reader = RowReader::new(row, "mint_intents", id);
    let address = |name: &'static str| {
        domain::address::Address::from_bytes(reader.bytes(name)?).map_err(|e| reader.corrupt(name, &e))
    };
    Ok(MintIntent {
        intent_id: id,
        preimage: Preimage {
            chain_id: reader.unsigned("chain_id")?,
            escrow: address("escrow")?,
            depositor: address("depositor")?,
            user: address("user_address")?,
            amount: reader.parse::<BaseUnits>("amount")?,
            country_code: reader.parse("country_code")?,
            tx_ref: reader.parse("tx_ref")?,
        },
        integrator: reader.parse("integrator")?,
        idempotency_key: reader.parse("idempotency_key")?,
        trace_parent: reader.get("trace_parent")?,
        created_at: reader.get("created_at")?,
        mac_key_id: reader.parse("mac_key_id")?,
        mac: Mac::from_bytes(reader.bytes("mac")?),
    })
}

fn chain_to_sql(chain_id: u64) -> Result<i64, StorageError> {
    i64::try_from(chain_id).map_err(|_| StorageError::bug("the chain id does not fit"))
}
