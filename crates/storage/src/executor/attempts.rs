//! Signed transactions: stored before they are broadcast, kept as they were signed.

pub(super) mod outcomes;

use const_format::concatcp;
use domain::command::AttemptPurpose;
use domain::ids::{IntentId, MessageId};
use tokio_postgres::Row;
use uuid::Uuid;

pub use outcomes::{
    AttemptItemRow, RefusalRow, in_flight, items, not_final, refusals, set_outcomes, with_final_outcome,
};

use super::legs::to_bigint;
use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one};

/// The chain has not used the nonce, as far as the asker knows.
const NONCE_UNUSED: &str = "nonce >= $2";

statements! {
    INSERT =
        "insert into attempts (signer, nonce, tx_hash, raw_transaction, command, state, replaces_attempt_id, fencing_token) \
         values ($1, $2, $3, $4, $5, 'signed', $6, $7) returning id";
    INSERT_ITEMS =
        "insert into attempt_items (attempt_id, position, message_id, intent_id) \
         select $1::bigint, t.n - 1, t.message_id, t.intent_id \
         from unnest($2::uuid[], $3::bytea[]) with ordinality as t(message_id, intent_id, n)";
    OPEN =
        "select id, signer, nonce, tx_hash, raw_transaction, command, block_number from attempts \
         where state = 'signed' order by signer, nonce, id";
    OPEN_OF =
        "select id, signer, nonce, tx_hash, raw_transaction, command, block_number from attempts \
         where signer = $1 and state = 'signed' order by nonce, id";
    OPEN_COUNT = concatcp!(
        "select count(distinct nonce) as open from attempts where signer = $1 and state = 'signed' and ",
        NONCE_UNUSED
    );
    OPEN_SUMMARY =
        "select s.address as signer, count(distinct t.nonce) as open, \
         coalesce(extract(epoch from clock_timestamp() - min(t.created_at)), 0)::float8 as oldest \
         from signers s left join attempts t on t.signer = s.address and t.state = 'signed' group by s.address";
    BY_HASH =
        "select id, signer, nonce, tx_hash, raw_transaction, command, block_number from attempts \
         where tx_hash = any($1::bytea[]) order by signer, nonce, id for update";
    BY_ID =
        "select id, signer, nonce, tx_hash, raw_transaction, command, block_number from attempts \
         where id = any($1::bigint[]) order by signer, nonce, id for update";
    MARK_MINED =
        "update attempts set state = 'mined', block_number = $2, block_hash = $3 where id = any($1::bigint[])";
    MARK_SUPERSEDED = "update attempts set state = 'superseded' where id = any($1::bigint[])";
    // A nonce is used once: the other transactions signed for it are superseded, until a reorganisation.
    SUPERSEDE_SAME_NONCE =
        "update attempts set state = 'superseded' where state = 'signed' and id <> all($1::bigint[]) \
         and (signer, nonce) in (select signer, nonce from attempts where id = any($1::bigint[]))";
    REOPEN_SAME_NONCE =
        "update attempts set state = 'signed' where state = 'superseded' \
         and (signer, nonce) in (select signer, nonce from attempts where id = any($1::bigint[]))";
    HASHES_OF_NONCE = "select tx_hash from attempts where signer = $1 and nonce = $2 order by id";
    // Free to sign again in place of a pending attempt, or where there is no attempt; never beside a mined one.
    NONCE_IS_FREE =
        "select not exists (select from attempts where signer = $1 and nonce = $2 \
                            and (state in ('mined', 'final') or state = 'signed' and $3::bigint is null)) \
         and ($3 is null or exists (select from attempts where id = $3 and state = 'signed')) as free";
    MARK_FINAL =
        "with settled as (update attempts set state = 'final' where state = 'mined' and block_number <= $1 \
                          returning signer, nonce) \
         update attempts a set state = 'superseded' from settled s \
         where a.signer = s.signer and a.nonce = s.nonce and a.state = 'signed'";
    REOPEN_AFTER =
        "update attempts set state = 'signed', block_number = null, block_hash = null \
         where state in ('mined', 'final') and block_number > $1 returning id";
    MARK_BROADCAST = "update attempts set last_broadcast_at = clock_timestamp() where id = any($1::bigint[])";
}

#[derive(Clone, Debug)]
pub struct NewAttempt<'a> {
    pub nonce: u64,
    pub tx_hash: [u8; 32],
    pub raw_transaction: &'a [u8],
    pub purpose: AttemptPurpose,
    pub replaces: Option<i64>,
    pub items: &'a [(MessageId, IntentId)],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    pub id: i64,
    pub signer: [u8; 20],
    pub nonce: u64,
    pub tx_hash: [u8; 32],
    pub raw_transaction: Vec<u8>,
    pub purpose: AttemptPurpose,
    pub block_number: Option<u64>,
}

/// Stores a signed transaction with its items under the fencing token of the lease.
pub async fn insert(
    tx: &DbTransaction<'_>,
    lease: &super::signers::SignerLease,
    new: &NewAttempt<'_>,
) -> Result<i64, StorageError> {
    let row = query_one(
        tx,
        INSERT,
        &[
            &lease.signer.as_slice(),
            &to_bigint(new.nonce)?,
            &new.tx_hash.as_slice(),
            &new.raw_transaction,
            &new.purpose.name(),
            &new.replaces,
            &lease.fencing_token,
        ],
    )
    .await?;
    let id: i64 = row.try_get("id")?;
    let messages: Vec<Uuid> = new.items.iter().map(|(message, _)| message.0).collect();
    let intents: Vec<&[u8]> = new
        .items
        .iter()
        .map(|(_, intent)| intent.as_bytes().as_slice())
        .collect();
    execute(tx, INSERT_ITEMS, &[&id, &messages, &intents]).await?;
    Ok(id)
}

/// Unmined attempts of every key, by key and nonce; several of one nonce in the order of signing.
pub async fn open(session: &impl DbSession) -> Result<Vec<AttemptRow>, StorageError> {
    query(session, OPEN, &[]).await?.iter().map(read_row).collect()
}

/// Unmined attempts of one key, by nonce.
pub async fn open_of(session: &impl DbSession, signer: &[u8; 20]) -> Result<Vec<AttemptRow>, StorageError> {
    query(session, OPEN_OF, &[&signer.as_slice()])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

/// Number of nonces that are not mined. Those below `confirmed_nonce` are mined, perhaps by somebody else's transaction.
pub async fn open_count(
    session: &impl DbSession,
    signer: &[u8; 20],
    confirmed_nonce: u64,
) -> Result<u64, StorageError> {
    let row = query_one(
        session,
        OPEN_COUNT,
        &[&signer.as_slice(), &to_bigint(confirmed_nonce)?],
    )
    .await?;
    RowReader::new(&row, "attempts", "count").unsigned("open")
}

/// Unmined transactions of a signer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenAttempts {
    pub signer: [u8; 20],
    pub nonces: u64,
    /// 0 if there is none.
    pub oldest_seconds: f64,
}

impl OpenAttempts {
    pub fn none(signer: [u8; 20]) -> Self {
        Self {
            signer,
            nonces: 0,
            oldest_seconds: 0.0,
        }
    }
}

/// Open attempts of every key, also of one without a lease holder.
pub async fn open_summary(session: &impl DbSession) -> Result<Vec<OpenAttempts>, StorageError> {
    let rows = query(session, OPEN_SUMMARY, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "attempts", "summary");
            Ok(OpenAttempts {
                signer: reader.bytes("signer")?,
                nonces: reader.unsigned("open")?,
                oldest_seconds: reader.get("oldest")?,
            })
        })
        .collect()
}

pub async fn lock_by_hash(
    tx: &DbTransaction<'_>,
    hashes: &[[u8; 32]],
) -> Result<Vec<AttemptRow>, StorageError> {
    let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    query(tx, BY_HASH, &[&hashes])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

pub async fn lock_by_id(tx: &DbTransaction<'_>, ids: &[i64]) -> Result<Vec<AttemptRow>, StorageError> {
    query(tx, BY_ID, &[&ids]).await?.iter().map(read_row).collect()
}

/// Marks attempts as mined and the other attempts of the same nonces as superseded.
pub async fn mark_mined(
    tx: &DbTransaction<'_>,
    ids: &[i64],
    block_number: u64,
    block_hash: &[u8; 32],
) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(
            tx,
            MARK_MINED,
            &[&ids, &to_bigint(block_number)?, &block_hash.as_slice()],
        )
        .await?;
        execute(tx, SUPERSEDE_SAME_NONCE, &[&ids]).await?;
    }
    Ok(())
}

/// Another transaction of the same nonce is final: these can never be mined.
pub async fn mark_superseded(tx: &DbTransaction<'_>, ids: &[i64]) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(tx, MARK_SUPERSEDED, &[&ids]).await?;
    }
    Ok(())
}

/// Marks mined attempts up to `final_block` as final; other attempts of the same nonces can never be mined.
pub async fn mark_final(tx: &DbTransaction<'_>, final_block: u64) -> Result<(), StorageError> {
    execute(tx, MARK_FINAL, &[&to_bigint(final_block)?]).await?;
    Ok(())
}

/// Whether another transaction may be signed for a nonce, in place of that attempt or of none. The lock of the signer
/// keeps the answer valid until the transaction ends.
pub async fn nonce_is_free(
    tx: &DbTransaction<'_>,
    signer: &[u8; 20],
    nonce: u64,
    replaces: Option<i64>,
) -> Result<bool, StorageError> {
    let row = query_one(
        tx,
        NONCE_IS_FREE,
        &[&signer.as_slice(), &to_bigint(nonce)?, &replaces],
    )
    .await?;
    Ok(row.try_get("free")?)
}

/// Hashes of all transactions we ever signed for a nonce.
pub async fn hashes_of_nonce(
    session: &impl DbSession,
    signer: &[u8; 20],
    nonce: u64,
) -> Result<Vec<[u8; 32]>, StorageError> {
    query(
        session,
        HASHES_OF_NONCE,
        &[&signer.as_slice(), &to_bigint(nonce)?],
    )
    .await?
    .iter()
    .map(|row| RowReader::new(row, "attempts", nonce).bytes("tx_hash"))
    .collect()
}

/// Returns attempts mined after `ancestor` to the state before they were mined, and reopens the attempts they had
/// superseded. Returns the ids of the former.
pub async fn reopen_after(tx: &DbTransaction<'_>, ancestor: u64) -> Result<Vec<i64>, StorageError> {
    let rows = query(tx, REOPEN_AFTER, &[&to_bigint(ancestor)?]).await?;
    let ids = rows
        .iter()
        .map(|row| Ok(row.try_get("id")?))
        .collect::<Result<Vec<i64>, StorageError>>()?;
    if !ids.is_empty() {
        outcomes::clear(tx, &ids).await?;
        execute(tx, REOPEN_SAME_NONCE, &[&ids]).await?;
    }
    Ok(ids)
}

pub async fn mark_broadcast(session: &impl DbSession, ids: &[i64]) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(session, MARK_BROADCAST, &[&ids]).await?;
    }
    Ok(())
}

fn read_row(row: &Row) -> Result<AttemptRow, StorageError> {
    let id: i64 = row.try_get("id")?;
    let reader = RowReader::new(row, "attempts", id);
    let block: Option<i64> = reader.get("block_number")?;
    Ok(AttemptRow {
        id,
        signer: reader.bytes("signer")?,
        nonce: reader.unsigned("nonce")?,
        tx_hash: reader.bytes("tx_hash")?,
        raw_transaction: reader.get("raw_transaction")?,
        purpose: reader.parse("command")?,
        block_number: block
            .map(u64::try_from)
            .transpose()
            .map_err(|e| reader.corrupt("block_number", &e))?,
    })
}
