//! Work items: commands taken from their queues, each with its sealed envelope, until the chain has settled them.

use std::collections::HashSet;
use std::time::Duration;

use const_format::concatcp;
use domain::command::{Command, WorkItemState};
use domain::ids::{IntentId, MessageId};
use domain::intent::ChainLeg;
use uuid::Uuid;

use super::sharing::{MINED_OR_SIGNED, SHARES_WORK};
use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};
use crate::settled::OPEN_ITEMS;

/// No key that shares the work, and none whose nonces may still change, has the intent of the leg `l`.
const LET_GO_OF: &str =
    "l.signer not in (select address from sharing) and l.signer not in (select signer from held)";

/// The attempt can still be mined, or mined again after a fork: its signer has not let go of its intents.
const NOT_FINAL: &str = concatcp!("state in ", MINED_OR_SIGNED);

statements! {
    INSERT =
        "insert into work_items (message_id, intent_id, command, state, envelope) \
         select t.message_id, t.intent_id, $1, 'ready', t.envelope \
         from unnest($2::uuid[], $3::bytea[], $4::bytea[]) as t(message_id, intent_id, envelope) \
         on conflict (message_id) do nothing";
    // A share of the intents without a signer, or with one that released them (see `signers::released`), and the
    // intents of this key. Items of another key are left out, because they would fill the page each time.
    READY = concatcp!(
        "with sharing as materialized \
         (select s.address, row_number() over (order by s.address) - 1 as place, count(*) over () as size \
          from signers s left join published.signer_admin_states o on o.address = s.address \
          where ", SHARES_WORK, "), \
         held as materialized (select distinct signer from attempts where ", NOT_FINAL, ") \
         select w.message_id, w.intent_id, w.command, w.state, w.envelope, w.max_batch_size, \
         extract(epoch from clock_timestamp())::float8 as db_now \
         from sharing r, work_items w join chain_legs l on l.intent_id = w.intent_id \
         where r.address = $4 and w.command = $1 and w.state = 'ready' and w.not_before <= clock_timestamp() \
         and not (l.leg = any($2::text[])) \
         and (l.signer = $4 or (get_byte(l.intent_id, 0) * 256 + get_byte(l.intent_id, 1)) % r.size = r.place \
              and (l.signer is null or ", LET_GO_OF, ")) \
         order by w.created_at, w.message_id limit $3 for update of w skip locked"
    );
    LOCK =
        "select message_id, intent_id, command, state, envelope, max_batch_size, \
         extract(epoch from clock_timestamp())::float8 as db_now \
         from work_items where message_id = any($1::uuid[]) order by message_id for update";
    PENDING_DEAD_LETTERS =
        "select message_id, intent_id, command, state, envelope, max_batch_size, error_class, reason, \
         extract(epoch from clock_timestamp())::float8 as db_now, \
         (select count(*) from attempt_items i where i.message_id = w.message_id) as attempts, \
         (select a.tx_hash from attempt_items i join attempts a on a.id = i.attempt_id \
          where i.message_id = w.message_id order by a.id desc limit 1) as last_tx \
         from work_items w where dead_letter_pending order by updated_at limit $1";
    DEAD_LETTERS_SENT = "update work_items set dead_letter_pending = false where message_id = any($1::uuid[])";
    UPDATE =
        "update work_items w set state = c.state, reason = c.reason, max_batch_size = c.max_batch_size, error_class = c.error_class, \
         not_before = clock_timestamp() + c.wait * interval '1 second', dead_letter_pending = (c.state = 'parked'), \
         updated_at = clock_timestamp() \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::float8[], $6::text[]) \
         as c(message_id, state, reason, max_batch_size, wait, error_class) where w.message_id = c.message_id";
    IN_ATTEMPT =
        "select distinct intent_id from work_items where intent_id = any($1::bytea[]) and state = 'in_attempt'";
    OPEN = concatcp!(
        "select command, count(*) as items from work_items where state in ", OPEN_ITEMS, " group by command"
    );
}

/// A new item.
#[derive(Clone, Debug)]
pub struct NewWorkItem {
    pub message_id: MessageId,
    pub intent_id: IntentId,
    pub envelope: Vec<u8>,
}

/// A stored item. Nothing in it is trusted: the envelope is verified whenever a call is built from it.
#[derive(Clone, Debug)]
pub struct WorkItemRow {
    pub message_id: MessageId,
    pub intent_id: IntentId,
    pub command: Command,
    pub envelope: Vec<u8>,
    pub max_batch_size: Option<u32>,
    /// The database's time of the query, unix seconds.
    pub db_now: f64,
}

#[derive(Clone, Debug)]
pub struct WorkItemChange {
    pub message_id: MessageId,
    pub state: WorkItemState,
    pub reason: Option<String>,
    pub max_batch_size: Option<u32>,
    pub wait: Duration,
    /// Error class of a parked item.
    pub error_class: Option<&'static str>,
}

impl WorkItemChange {
    pub fn to(message_id: MessageId, state: WorkItemState) -> Self {
        Self {
            message_id,
            state,
            reason: None,
            max_batch_size: None,
            wait: Duration::ZERO,
            error_class: None,
        }
    }

    /// Parks an item for a person. `class` is one of the error classes, `text` a sentence for the on-call person.
    pub fn park(message_id: MessageId, class: &'static str, text: impl Into<String>) -> Self {
        Self {
            error_class: Some(class),
            reason: Some(text.into()),
            ..Self::to(message_id, WorkItemState::Parked)
        }
    }

    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    #[must_use]
    pub fn delayed_by(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// A parked item whose dead letter is not confirmed yet.
#[derive(Clone, Debug)]
pub struct PendingDeadLetterRow {
    pub item: WorkItemRow,
    pub error_class: String,
    pub reason: String,
    /// Number of transactions it was part of.
    pub attempts: u64,
    pub last_tx: Option<[u8; 32]>,
}

pub async fn insert(
    tx: &DbTransaction<'_>,
    command: Command,
    items: &[NewWorkItem],
) -> Result<(), StorageError> {
    if items.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = items.iter().map(|item| item.message_id.0).collect();
    let intents: Vec<&[u8]> = items
        .iter()
        .map(|item| item.intent_id.as_bytes().as_slice())
        .collect();
    let envelopes: Vec<&[u8]> = items.iter().map(|item| item.envelope.as_slice()).collect();
    execute(tx, INSERT, &[&command.name(), &ids, &intents, &envelopes]).await?;
    Ok(())
}

/// The oldest items of a command that a key may work on now: those of its share whose intent's leg is none of
/// `excluded_legs`. In a transaction they stay locked; items that another transaction has locked are skipped.
pub async fn ready(
    session: &impl DbSession,
    command: Command,
    excluded_legs: &[ChainLeg],
    signer: &[u8; 20],
    limit: usize,
) -> Result<Vec<WorkItemRow>, StorageError> {
    let excluded_legs: Vec<&str> = excluded_legs.iter().map(|leg| leg.name()).collect();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    query(
        session,
        READY,
        &[&command.name(), &excluded_legs, &limit, &signer.as_slice()],
    )
    .await?
    .iter()
    .map(read_row)
    .collect()
}

pub async fn lock(tx: &DbTransaction<'_>, ids: &[MessageId]) -> Result<Vec<WorkItemRow>, StorageError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    query(tx, LOCK, &[&ids]).await?.iter().map(read_row).collect()
}

/// Those of the intents that have an item in an attempt.
pub async fn in_attempt(
    session: &impl DbSession,
    ids: &[IntentId],
) -> Result<HashSet<IntentId>, StorageError> {
    let rows = query(session, IN_ATTEMPT, &[&super::legs::bytes(ids)]).await?;
    super::legs::intent_ids(&rows, "work_items")
}

pub async fn update(tx: &DbTransaction<'_>, changes: &[WorkItemChange]) -> Result<(), StorageError> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changes.iter().map(|c| c.message_id.0).collect();
    let states: Vec<&str> = changes.iter().map(|c| c.state.name()).collect();
    let reasons: Vec<Option<&str>> = changes.iter().map(|c| c.reason.as_deref()).collect();
    let limits: Vec<Option<i32>> = changes
        .iter()
        .map(|c| c.max_batch_size.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
        .collect();
    let waits: Vec<f64> = changes.iter().map(|c| c.wait.as_secs_f64()).collect();
    let classes: Vec<Option<&str>> = changes.iter().map(|c| c.error_class).collect();
    execute(tx, UPDATE, &[&ids, &states, &reasons, &limits, &waits, &classes]).await?;
    Ok(())
}

pub async fn pending_dead_letters(
    session: &impl DbSession,
    limit: u32,
) -> Result<Vec<PendingDeadLetterRow>, StorageError> {
    let rows = query(session, PENDING_DEAD_LETTERS, &[&i64::from(limit)]).await?;
    rows.iter()
        .map(|row| {
            let item = read_row(row)?;
            let reader = RowReader::new(row, "work_items", item.message_id);
            let class: Option<String> = reader.get("error_class")?;
            let reason: Option<String> = reader.get("reason")?;
            let attempts = reader.unsigned("attempts")?;
            let last_tx: Option<&[u8]> = reader.get("last_tx")?;
            let last_tx = last_tx.and_then(|bytes| bytes.try_into().ok());
            Ok(PendingDeadLetterRow {
                item,
                error_class: class.unwrap_or_default(),
                reason: reason.unwrap_or_default(),
                attempts,
                last_tx,
            })
        })
        .collect()
}

pub async fn mark_dead_letters_sent(session: &impl DbSession, ids: &[MessageId]) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    execute(session, DEAD_LETTERS_SENT, &[&ids]).await?;
    Ok(())
}

/// Number of open items by command.
pub async fn open_counts(session: &impl DbSession) -> Result<Vec<(Command, u64)>, StorageError> {
    let rows = query(session, OPEN, &[]).await?;
    let count = |row| {
        let reader = RowReader::new(row, "work_items", "counts");
        Ok((reader.parse("command")?, reader.unsigned("items")?))
    };
    rows.iter().map(count).collect()
}

fn read_row(row: &tokio_postgres::Row) -> Result<WorkItemRow, StorageError> {
    let message_id = MessageId(row.try_get("message_id")?);
    let reader = RowReader::new(row, "work_items", message_id);
    let intent: &[u8] = reader.get("intent_id")?;
    let limit: Option<i32> = reader.get("max_batch_size")?;
    Ok(WorkItemRow {
        message_id,
        intent_id: IntentId::from_slice(intent).map_err(|e| reader.corrupt("intent_id", &e))?,
        command: reader.parse("command")?,
        envelope: reader.get("envelope")?,
        max_batch_size: limit.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
        db_now: reader.get("db_now")?,
    })
}
