//! The ingested chain: recent block hashes, and every event of the escrow.

use std::collections::HashMap;

use domain::ids::IntentId;
use domain::settlement::IntentStatus;

use super::legs::to_bigint;
use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_opt};

statements! {
    RECENT = "select number, hash, parent_hash from blocks order by number desc limit $1";
    HASH = "select hash from blocks where number = $1";
    INSERT =
        "insert into blocks (number, hash, parent_hash, block_time) values ($1, $2, $3, to_timestamp($4::float8))";
    DELETE_AFTER = "delete from blocks where number > $1";
    PRUNE = "delete from blocks where number < $1";
    INSERT_EVENTS =
        "insert into escrow_events (block_number, log_index, block_hash, tx_hash, kind, intent_id, user_address, \
         amount, detail) \
         select $1::bigint, t.log_index, $2::bytea, t.tx_hash, t.kind, t.intent_id, t.user_address, t.amount::numeric, t.detail \
         from unnest($3::integer[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::text[]) \
         as t(log_index, tx_hash, kind, intent_id, user_address, amount, detail)";
    EVENTS_AFTER = "select distinct intent_id from escrow_events where block_number > $1";
    LAST_EVENTS =
        "select distinct on (intent_id) intent_id, kind from escrow_events \
         where intent_id = any($1::bytea[]) and block_number <= $2 and kind in ('submitted', 'executed', 'refunded') \
         order by intent_id, block_number desc, log_index desc";
    DELETE_EVENTS_AFTER = "delete from escrow_events where block_number > $1";
}

/// An ingested block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRow {
    pub number: u64,
    pub hash: [u8; 32],
    pub parent: [u8; 32],
}

#[derive(Clone, Debug)]
pub struct EventRow {
    pub log_index: u64,
    pub tx_hash: [u8; 32],
    pub kind: &'static str,
    pub intent_id: IntentId,
    pub user: Option<[u8; 20]>,
    /// Base units.
    pub amount: Option<u128>,
    pub detail: Option<String>,
}

/// The newest blocks, newest first.
pub async fn recent(session: &impl DbSession, limit: u32) -> Result<Vec<BlockRow>, StorageError> {
    let rows = query(session, RECENT, &[&i64::from(limit)]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "blocks", "recent");
            Ok(BlockRow {
                number: reader.unsigned("number")?,
                hash: reader.bytes("hash")?,
                parent: reader.bytes("parent_hash")?,
            })
        })
        .collect()
}

/// The hash of an ingested block that is still stored.
pub async fn hash(session: &impl DbSession, number: u64) -> Result<Option<[u8; 32]>, StorageError> {
    let row = query_opt(session, HASH, &[&to_bigint(number)?]).await?;
    row.map(|row| RowReader::new(&row, "blocks", number).bytes("hash"))
        .transpose()
}

/// Stores the next block and its events.
pub async fn insert(
    tx: &DbTransaction<'_>,
    block: &BlockRow,
    timestamp: u64,
    events: &[EventRow],
) -> Result<(), StorageError> {
    let number = to_bigint(block.number)?;
    // Seconds since 1970 lie far below 2^53.
    let seconds = f64::from(u32::try_from(timestamp).unwrap_or(u32::MAX));
    execute(
        tx,
        INSERT,
        &[
            &number,
            &block.hash.as_slice(),
            &block.parent.as_slice(),
            &seconds,
        ],
    )
    .await?;
    if events.is_empty() {
        return Ok(());
    }
    insert_events(tx, number, block, events).await
}

async fn insert_events(
    tx: &DbTransaction<'_>,
    number: i64,
    block: &BlockRow,
    events: &[EventRow],
) -> Result<(), StorageError> {
    let indexes: Vec<i32> = events
        .iter()
        .map(|e| i32::try_from(e.log_index).unwrap_or(i32::MAX))
        .collect();
    let hashes: Vec<&[u8]> = events.iter().map(|e| e.tx_hash.as_slice()).collect();
    let kinds: Vec<&str> = events.iter().map(|e| e.kind).collect();
    let intents: Vec<&[u8]> = events.iter().map(|e| e.intent_id.as_bytes().as_slice()).collect();
    let users: Vec<Option<&[u8]>> = events
        .iter()
        .map(|e| e.user.as_ref().map(<[u8; 20]>::as_slice))
        .collect();
    let amounts: Vec<Option<String>> = events.iter().map(|e| e.amount.map(|a| a.to_string())).collect();
    let details: Vec<Option<&str>> = events.iter().map(|e| e.detail.as_deref()).collect();
    execute(
        tx,
        INSERT_EVENTS,
        &[
            &number,
            &block.hash.as_slice(),
            &indexes,
            &hashes,
            &kinds,
            &intents,
            &users,
            &amounts,
            &details,
        ],
    )
    .await?;
    Ok(())
}

/// Intents with an event after that block.
pub async fn intents_after(session: &impl DbSession, ancestor: u64) -> Result<Vec<IntentId>, StorageError> {
    let rows = query(session, EVENTS_AFTER, &[&to_bigint(ancestor)?]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "escrow_events", "after");
            let id: &[u8] = reader.get("intent_id")?;
            IntentId::from_slice(id).map_err(|e| reader.corrupt("intent_id", &e))
        })
        .collect()
}

/// Deletes blocks and events after the ancestor, which a reorganisation replaced.
pub async fn delete_after(tx: &DbTransaction<'_>, ancestor: u64) -> Result<(), StorageError> {
    let ancestor = to_bigint(ancestor)?;
    execute(tx, DELETE_AFTER, &[&ancestor]).await?;
    execute(tx, DELETE_EVENTS_AFTER, &[&ancestor]).await?;
    Ok(())
}

/// Deletes block hashes that are no longer needed.
pub async fn prune(tx: &DbTransaction<'_>, before: u64) -> Result<(), StorageError> {
    execute(tx, PRUNE, &[&to_bigint(before)?]).await?;
    Ok(())
}

/// The status that the last event of each intent up to a block left it in; intents without one are left out.
pub async fn last_events(
    session: &impl DbSession,
    ids: &[IntentId],
    block: u64,
) -> Result<HashMap<IntentId, IntentStatus>, StorageError> {
    let rows = query(
        session,
        LAST_EVENTS,
        &[&super::legs::bytes(ids), &to_bigint(block)?],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "escrow_events", "last");
            let status = match reader.get("kind")? {
                "executed" => IntentStatus::Executed,
                "refunded" => IntentStatus::Refunded,
                _ => IntentStatus::Pending,
            };
            Ok((super::legs::intent_id(&reader)?, status))
        })
        .collect()
}
