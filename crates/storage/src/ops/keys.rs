//! `api_keys` and `tx_ref_prefixes`: metadata that restricts what the mounted secrets allow.

use domain::key_state::KeyState;
use std::collections::BTreeMap;

use const_format::concatcp;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one, query_opt};
use crate::settled::{OPEN_ITEMS, terminal};

/// A key to be registered.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    pub key_id: &'a str,
    /// `integrator` or `mpesa`.
    pub purpose: &'a str,
    pub owner: &'a str,
    pub not_before: Option<OffsetDateTime>,
    pub not_after: Option<OffsetDateTime>,
}

/// Metadata of one key; a key without a row in `api_keys`, or one never used, has only half of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub key_id: String,
    pub purpose: Option<String>,
    pub owner: Option<String>,
    pub state: Option<String>,
    pub not_before: Option<OffsetDateTime>,
    pub not_after: Option<OffsetDateTime>,
    pub last_used_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxRefPrefixRow {
    pub prefix: String,
    pub owner: String,
}

/// A stored envelope is sealed under the wanted key.
const SEALED_UNDER_IT: &str = "position(mark in envelope) > 0";
/// A stored answer is young enough to be asked for again.
const STILL_ASKED_FOR: &str = "created_at > now() - make_interval(secs => $2::float8)";

statements! {
    INSERT = "\
insert into api_keys (key_id, purpose, owner, not_before, not_after) values ($1, $2, $3, $4, $5)
on conflict do nothing";
    LIST = "\
select coalesce(k.key_id, u.key_id) as key_id, k.purpose, k.owner, k.state, k.not_before, k.not_after, u.last_used_at
from api_keys k full join api_key_usage u on u.key_id = k.key_id
order by 1";
    SET_STATE = "\
insert into api_keys (key_id, purpose, owner, state) values ($1, $2, $3, $4)
on conflict (key_id) do update set state = excluded.state, updated_at = now()
where api_keys.state <> excluded.state and api_keys.state <> 'compromised'";
    STATE = "\
select state, extract(epoch from clock_timestamp() - updated_at)::float8 as seconds from api_keys where key_id = $1";
    // A sealed message names its key before its body, where every quote is escaped.
    SEALED = concatcp!("\
with wanted as (select convert_to('\"kid\":\"' || $2::text || '\"', 'UTF8') as mark),
box as (select 'gateway_outbox' as place, envelope from gateway_outbox where queue = $1
    union all select 'callback_outbox', envelope from callback_outbox where queue = $1
    union all select 'executor_outbox', envelope from executor_outbox where queue = $1
    union all select 'ops_outbox', envelope from ops_outbox where queue = $1
    union all select 'work_items', envelope from work_items
        where (state in ", OPEN_ITEMS, " or dead_letter_pending) and $1 = 'mint.' || command || '.v1')
select place, count(*) as sealed from box, wanted where ", SEALED_UNDER_IT, " group by place");
    PROTECTED = concatcp!("\
select count(*) as answers from idempotency_keys
where mac_key_id = $1 and ", STILL_ASKED_FOR);
    PIPELINE_KEY_USAGE = "\
select queue, key_id, max(last_used_at) as last_used_at from (
    select * from gateway_pipeline_key_usage union all select * from callback_pipeline_key_usage
    union all select * from executor_pipeline_key_usage) as uses
group by queue, key_id";
    ADD_PREFIX = "insert into tx_ref_prefixes (prefix, owner) values ($1, $2) on conflict do nothing";
    PREFIX_OWNER = "select owner from tx_ref_prefixes where prefix = $1";
    PREFIXES = "select prefix, owner from tx_ref_prefixes order by prefix";
    UNDECIDED = concatcp!("\
select count(*) as undecided from mpesa_reports r
left join decisions d on d.tx_ref = r.tx_ref
where r.key_id = $1
  and (not exists (select from report_outcomes o where o.report_id = r.report_id)
       or not ", terminal!("coalesce(d.chain_leg, 'queued')", "d.chain_final"), ")");
}

/// False when the key id is taken.
pub async fn insert(session: &impl DbSession, key: &NewKey<'_>) -> Result<bool, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &key.key_id,
        &key.purpose,
        &key.owner,
        &key.not_before,
        &key.not_after,
    ];
    Ok(execute(session, INSERT, params).await? == 1)
}

/// Every key that is registered or was used.
pub async fn list(session: &impl DbSession) -> Result<Vec<KeyRow>, StorageError> {
    let rows = query(session, LIST, &[]).await?;
    rows.iter()
        .map(|row| {
            let key_id: String = row.try_get("key_id")?;
            let reader = RowReader::new(row, "api_keys", &key_id);
            Ok(KeyRow {
                purpose: reader.get("purpose")?,
                owner: reader.get("owner")?,
                state: reader.get("state")?,
                not_before: reader.get("not_before")?,
                not_after: reader.get("not_after")?,
                last_used_at: reader.get("last_used_at")?,
                key_id,
            })
        })
        .collect()
}

/// The state of a key, and the seconds since it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyStateRow {
    pub state: KeyState,
    pub seconds: f64,
}

/// Sets the state of a key, registered or not, and returns the resulting state. A compromised key stays compromised.
pub async fn set_state(
    session: &impl DbSession,
    key_id: &str,
    purpose: &str,
    owner: &str,
    state: KeyState,
) -> Result<KeyStateRow, StorageError> {
    execute(session, SET_STATE, &[&key_id, &purpose, &owner, &state.name()]).await?;
    let row = query_one(session, STATE, &[&key_id]).await?;
    let reader = RowReader::new(&row, "api_keys", key_id);
    Ok(KeyStateRow {
        state: reader.parse("state")?,
        seconds: reader.get("seconds")?,
    })
}

/// Registers a prefix and returns its owner, which is another one if the prefix was taken.
pub async fn claim_prefix(
    session: &impl DbSession,
    prefix: &str,
    owner: &str,
) -> Result<String, StorageError> {
    execute(session, ADD_PREFIX, &[&prefix, &owner]).await?;
    let row = query_opt(session, PREFIX_OWNER, &[&prefix]).await?;
    match row {
        Some(row) => Ok(row.try_get("owner")?),
        None => Err(StorageError::stale("tx_ref_prefixes")),
    }
}

pub async fn prefixes(session: &impl DbSession) -> Result<Vec<TxRefPrefixRow>, StorageError> {
    let rows = query(session, PREFIXES, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(TxRefPrefixRow {
                prefix: row.try_get("prefix")?,
                owner: row.try_get("owner")?,
            })
        })
        .collect()
}

/// Number of pending messages of the queue that are sealed under the key, by table.
pub async fn sealed_rows(
    session: &impl DbSession,
    queue: &str,
    key_id: &str,
) -> Result<BTreeMap<String, u64>, StorageError> {
    let rows = query(session, SEALED, &[&queue, &key_id]).await?;
    rows.iter().map(counted).collect()
}

/// Number of stored answers under the key that may still be replayed.
pub async fn protected_answers(
    session: &impl DbSession,
    key_id: &str,
    idempotency_seconds: u64,
) -> Result<u64, StorageError> {
    let seconds = f64::from(u32::try_from(idempotency_seconds).unwrap_or(u32::MAX));
    let row = query_one(session, PROTECTED, &[&key_id, &seconds]).await?;
    RowReader::new(&row, "idempotency_keys", key_id).unsigned("answers")
}

fn counted(row: &tokio_postgres::Row) -> Result<(String, u64), StorageError> {
    let place: String = row.try_get("place")?;
    let count = RowReader::new(row, "sealed", &place).unsigned("sealed")?;
    Ok((place, count))
}

/// When each pipeline key was last used by a service: queue, key id, time.
pub async fn pipeline_key_usage(
    session: &impl DbSession,
) -> Result<BTreeMap<(String, String), OffsetDateTime>, StorageError> {
    let rows = query(session, PIPELINE_KEY_USAGE, &[]).await?;
    rows.iter()
        .map(|row| {
            let (queue, key_id) = (row.try_get("queue")?, row.try_get("key_id")?);
            Ok(((queue, key_id), row.try_get("last_used_at")?))
        })
        .collect()
}

/// Number of stored reports under an M-Pesa key that may still lead to a decision.
pub async fn undecided_reports(session: &impl DbSession, key_id: &str) -> Result<u64, StorageError> {
    let row = query_one(session, UNDECIDED, &[&key_id]).await?;
    RowReader::new(&row, "mpesa_reports", key_id).unsigned("undecided")
}
