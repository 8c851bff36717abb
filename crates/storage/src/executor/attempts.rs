//! Signed transactions: stored before they are broadcast, kept as they were signed.

use std::collections::HashSet;

use domain::ids::{IntentId, MessageId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::legs::signed;
use crate::error::StorageError;
use crate::pool::Transaction;
use crate::row::Reader;
use crate::session::{Session, execute, query, query_one};

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
    OPEN_COUNT =
        "select count(distinct nonce) as open from attempts where signer = $1 and state = 'signed' and nonce >= $2";
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
    ITEMS =
        "select attempt_id, message_id, intent_id, outcome from attempt_items \
         where attempt_id = any($1::bigint[]) order by attempt_id, position";
    OUTCOMES =
        "update attempt_items i set outcome = c.outcome \
         from unnest($1::bigint[], $2::uuid[], $3::text[]) as c(attempt_id, message_id, outcome) \
         where i.attempt_id = c.attempt_id and i.message_id = c.message_id";
    MINED =
        "update attempts set state = 'mined', block_number = $2, block_hash = $3 where id = any($1::bigint[])";
    SUPERSEDED = "update attempts set state = 'superseded' where id = any($1::bigint[])";
    // One nonce is used once: what else was signed for it is out of the race, until a reorganisation.
    OUTRUN =
        "update attempts set state = 'superseded' where state = 'signed' and id <> all($1::bigint[]) \
         and (signer, nonce) in (select signer, nonce from attempts where id = any($1::bigint[]))";
    BACK_IN_THE_RACE =
        "update attempts set state = 'signed' where state = 'superseded' \
         and (signer, nonce) in (select signer, nonce from attempts where id = any($1::bigint[]))";
    OF_NONCE = "select tx_hash from attempts where signer = $1 and nonce = $2 order by id";
    // Once more in place of an attempt that waits, or of nothing at all; never beside what a block holds.
    IS_FREE =
        "select not exists (select from attempts where signer = $1 and nonce = $2 \
                            and (state in ('mined', 'final') or state = 'signed' and $3::bigint is null)) \
         and ($3 is null or exists (select from attempts where id = $3 and state = 'signed')) as free";
    FINAL =
        "with settled as (update attempts set state = 'final' where state = 'mined' and block_number <= $1 \
                          returning signer, nonce) \
         update attempts a set state = 'superseded' from settled s \
         where a.signer = s.signer and a.nonce = s.nonce and a.state = 'signed'";
    ORPHANED =
        "update attempts set state = 'signed', block_number = null, block_hash = null \
         where state in ('mined', 'final') and block_number > $1 returning id";
    FORGET_OUTCOMES = "update attempt_items set outcome = null where attempt_id = any($1::bigint[])";
    BROADCAST = "update attempts set last_broadcast_at = clock_timestamp() where id = any($1::bigint[])";
    IN_FLIGHT =
        "select distinct i.intent_id from attempt_items i join attempts a on a.id = i.attempt_id \
         where i.intent_id = any($1::bytea[]) and a.state = 'signed'";
    IN_RACE =
        "select distinct i.intent_id from attempt_items i join attempts a on a.id = i.attempt_id \
         where i.intent_id = any($1::bytea[]) and a.state in ('signed', 'mined')";
    REFUSALS =
        "select distinct on (a.signer, a.command, i.outcome) a.signer, a.command, i.outcome, i.intent_id \
         from attempts a join attempt_items i on i.attempt_id = a.id \
         where a.state in ('mined', 'final') and a.block_number > $2 and a.signer = any($1::bytea[]) \
         and i.outcome = any($3::text[]) \
         order by a.signer, a.command, i.outcome, a.id desc, i.position";
    // What ends with its block has left its attempt; what waits for finality has not. No later attempt has it.
    ENDED =
        "select i.attempt_id, i.message_id, i.intent_id, i.outcome from work_items w \
         join attempt_items i on i.message_id = w.message_id join attempts a on a.id = i.attempt_id \
         where w.state = 'in_attempt' and i.outcome is not null \
         and a.state in ('mined', 'final') and a.block_number <= $1 \
         and not exists (select from attempt_items j join attempts b on b.id = j.attempt_id \
                         where j.message_id = w.message_id and (b.state = 'signed' or b.state in ('mined', 'final') \
                         and (b.block_number, b.nonce) > (a.block_number, a.nonce)))";
}

#[derive(Clone, Debug)]
pub struct NewAttempt<'a> {
    pub nonce: u64,
    pub tx_hash: [u8; 32],
    pub raw: &'a [u8],
    pub command: &'a str,
    pub replaces: Option<i64>,
    pub items: &'a [(MessageId, IntentId)],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    pub id: i64,
    pub signer: [u8; 20],
    pub nonce: u64,
    pub tx_hash: [u8; 32],
    pub raw: Vec<u8>,
    pub command: String,
    pub block_number: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptItem {
    pub attempt_id: i64,
    pub message_id: MessageId,
    pub intent_id: IntentId,
    pub outcome: Option<String>,
}

/// Stores a signed transaction with its members under the lease's fencing token.
pub async fn insert(
    tx: &Transaction<'_>,
    lease: &super::signers::Lease,
    new: &NewAttempt<'_>,
) -> Result<i64, StorageError> {
    let row = query_one(
        tx,
        INSERT,
        &[
            &lease.signer.as_slice(),
            &signed(new.nonce)?,
            &new.tx_hash.as_slice(),
            &new.raw,
            &new.command,
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

/// Attempts of every key that no block holds, by key and nonce; several of one nonce in the order in which they were
/// signed.
pub async fn open(session: &impl Session) -> Result<Vec<AttemptRow>, StorageError> {
    query(session, OPEN, &[]).await?.iter().map(read_row).collect()
}

/// The same, of one key.
pub async fn open_of(session: &impl Session, signer: &[u8; 20]) -> Result<Vec<AttemptRow>, StorageError> {
    query(session, OPEN_OF, &[&signer.as_slice()])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

/// How many nonces wait for a block; those below `used` have one, be it a stranger's.
pub async fn open_count(session: &impl Session, signer: &[u8; 20], used: u64) -> Result<u64, StorageError> {
    let row = query_one(session, OPEN_COUNT, &[&signer.as_slice(), &signed(used)?]).await?;
    Reader::new(&row, "attempts", "count").unsigned("open")
}

/// The transactions of a signer that no block holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenAttempts {
    pub signer: [u8; 20],
    pub nonces: u64,
    /// 0 where there is none.
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

/// Of every key, also of one that nobody holds any more.
pub async fn open_summary(session: &impl Session) -> Result<Vec<OpenAttempts>, StorageError> {
    let rows = query(session, OPEN_SUMMARY, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = Reader::new(row, "attempts", "summary");
            Ok(OpenAttempts {
                signer: reader.bytes("signer")?,
                nonces: reader.unsigned("open")?,
                oldest_seconds: reader.get("oldest")?,
            })
        })
        .collect()
}

pub async fn lock_by_hash(
    tx: &Transaction<'_>,
    hashes: &[[u8; 32]],
) -> Result<Vec<AttemptRow>, StorageError> {
    let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    query(tx, BY_HASH, &[&hashes])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

pub async fn lock_by_id(tx: &Transaction<'_>, ids: &[i64]) -> Result<Vec<AttemptRow>, StorageError> {
    query(tx, BY_ID, &[&ids]).await?.iter().map(read_row).collect()
}

/// The members that rows name; what was really called stands in the signed bytes.
pub async fn items(session: &impl Session, ids: &[i64]) -> Result<Vec<AttemptItem>, StorageError> {
    query(session, ITEMS, &[&ids])
        .await?
        .iter()
        .map(read_item)
        .collect()
}

pub async fn set_outcomes(
    tx: &Transaction<'_>,
    outcomes: &[(i64, MessageId, &'static str)],
) -> Result<(), StorageError> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = outcomes.iter().map(|(id, ..)| *id).collect();
    let messages: Vec<Uuid> = outcomes.iter().map(|(_, message, _)| message.0).collect();
    let names: Vec<&str> = outcomes.iter().map(|(.., name)| *name).collect();
    execute(tx, OUTCOMES, &[&ids, &messages, &names]).await?;
    Ok(())
}

/// Also takes the other attempts of the same nonces out of the race.
pub async fn mark_mined(
    tx: &Transaction<'_>,
    ids: &[i64],
    block_number: u64,
    block_hash: &[u8; 32],
) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(tx, MINED, &[&ids, &signed(block_number)?, &block_hash.as_slice()]).await?;
        execute(tx, OUTRUN, &[&ids]).await?;
    }
    Ok(())
}

/// Another transaction of the same nonce is final: these can never be mined.
pub async fn mark_superseded(tx: &Transaction<'_>, ids: &[i64]) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(tx, SUPERSEDED, &[&ids]).await?;
    }
    Ok(())
}

/// What else was signed for those nonces can never be mined.
pub async fn mark_final(tx: &Transaction<'_>, final_block: u64) -> Result<(), StorageError> {
    execute(tx, FINAL, &[&signed(final_block)?]).await?;
    Ok(())
}

/// Whether a nonce may be signed for once more, in place of that attempt or of none. The lock of the signer keeps the
/// answer true until the transaction ends.
pub async fn is_free(
    tx: &Transaction<'_>,
    signer: &[u8; 20],
    nonce: u64,
    replaces: Option<i64>,
) -> Result<bool, StorageError> {
    let row = query_one(tx, IS_FREE, &[&signer.as_slice(), &signed(nonce)?, &replaces]).await?;
    Ok(row.try_get("free")?)
}

/// Hashes of everything we ever signed for a nonce.
pub async fn hashes_of_nonce(
    session: &impl Session,
    signer: &[u8; 20],
    nonce: u64,
) -> Result<Vec<[u8; 32]>, StorageError> {
    query(session, OF_NONCE, &[&signer.as_slice(), &signed(nonce)?])
        .await?
        .iter()
        .map(|row| Reader::new(row, "attempts", nonce).bytes("tx_hash"))
        .collect()
}

/// Attempts mined after `ancestor` are in flight again, and what they outran with them; gives the ids of the former.
pub async fn return_orphaned(tx: &Transaction<'_>, ancestor: u64) -> Result<Vec<i64>, StorageError> {
    let rows = query(tx, ORPHANED, &[&signed(ancestor)?]).await?;
    let ids = rows
        .iter()
        .map(|row| Ok(row.try_get("id")?))
        .collect::<Result<Vec<i64>, StorageError>>()?;
    if !ids.is_empty() {
        execute(tx, FORGET_OUTCOMES, &[&ids]).await?;
        execute(tx, BACK_IN_THE_RACE, &[&ids]).await?;
    }
    Ok(ids)
}

/// Those of the intents that an attempt names which may still take effect, or whose block is not final.
pub async fn in_race(session: &impl Session, ids: &[IntentId]) -> Result<HashSet<IntentId>, StorageError> {
    let rows = query(session, IN_RACE, &[&super::legs::bytes(ids)]).await?;
    super::legs::intent_ids(&rows, "attempt_items")
}

/// Those of the intents that an attempt holds which no block has yet.
pub async fn in_flight(session: &impl Session, ids: &[IntentId]) -> Result<HashSet<IntentId>, StorageError> {
    let rows = query(session, IN_FLIGHT, &[&super::legs::bytes(ids)]).await?;
    super::legs::intent_ids(&rows, "attempt_items")
}

pub async fn mark_broadcast(session: &impl Session, ids: &[i64]) -> Result<(), StorageError> {
    if !ids.is_empty() {
        execute(session, BROADCAST, &[&ids]).await?;
    }
    Ok(())
}

/// What a block answered to the items of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    pub signer: [u8; 20],
    pub command: String,
    pub outcome: String,
    /// One of those refused.
    pub intent_id: IntentId,
}

/// Each refusal of a command of these keys after that block, once, where its outcome is one of `outcomes`.
pub async fn refusals(
    session: &impl Session,
    signers: &[[u8; 20]],
    (after, outcomes): (u64, &[&str]),
) -> Result<Vec<RefusalRow>, StorageError> {
    let signers: Vec<&[u8]> = signers.iter().map(<[u8; 20]>::as_slice).collect();
    let rows = query(session, REFUSALS, &[&signers, &signed(after)?, &outcomes]).await?;
    rows.iter()
        .map(|row| {
            let reader = Reader::new(row, "attempt_items", "refusals");
            Ok(RefusalRow {
                signer: reader.bytes("signer")?,
                command: reader.get("command")?,
                outcome: reader.get("outcome")?,
                intent_id: super::legs::intent_id(&reader)?,
            })
        })
        .collect()
}

/// Items whose outcome lies in a final block, and that wait for that.
pub async fn ended(session: &impl Session, final_block: u64) -> Result<Vec<AttemptItem>, StorageError> {
    let rows = query(session, ENDED, &[&signed(final_block)?]).await?;
    rows.iter().map(read_item).collect()
}

fn read_row(row: &Row) -> Result<AttemptRow, StorageError> {
    let id: i64 = row.try_get("id")?;
    let reader = Reader::new(row, "attempts", id);
    let block: Option<i64> = reader.get("block_number")?;
    Ok(AttemptRow {
        id,
        signer: reader.bytes("signer")?,
        nonce: reader.unsigned("nonce")?,
        tx_hash: reader.bytes("tx_hash")?,
        raw: reader.get("raw_transaction")?,
        command: reader.get("command")?,
        block_number: block
            .map(u64::try_from)
            .transpose()
            .map_err(|e| reader.corrupt("block_number", &e))?,
    })
}

fn read_item(row: &Row) -> Result<AttemptItem, StorageError> {
    let attempt_id: i64 = row.try_get("attempt_id")?;
    let reader = Reader::new(row, "attempt_items", attempt_id);
    let intent: &[u8] = reader.get("intent_id")?;
    Ok(AttemptItem {
        attempt_id,
        message_id: MessageId(reader.get("message_id")?),
        intent_id: IntentId::from_slice(intent).map_err(|e| reader.corrupt("intent_id", &e))?,
        outcome: reader.get("outcome")?,
    })
}
