//! The items of signed transactions, and what became of each.

use std::collections::HashSet;

use const_format::concatcp;
use domain::command::Command;
use domain::ids::{IntentId, MessageId};
use domain::item_result::{BreakerCause, ItemResult};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::executor::legs::{self, to_bigint};
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

/// The block of the attempt `a` is final, so no fork takes its outcomes back.
const BLOCK_IS_FINAL: &str = "a.block_number <= $1";

statements! {
    ITEMS =
        "select attempt_id, message_id, intent_id, outcome from attempt_items \
         where attempt_id = any($1::bigint[]) order by attempt_id, position";
    SET_OUTCOMES =
        "update attempt_items i set outcome = c.outcome \
         from unnest($1::bigint[], $2::uuid[], $3::text[]) as c(attempt_id, message_id, outcome) \
         where i.attempt_id = c.attempt_id and i.message_id = c.message_id";
    CLEAR_OUTCOMES = "update attempt_items set outcome = null where attempt_id = any($1::bigint[])";
    IN_FLIGHT =
        "select distinct i.intent_id from attempt_items i join attempts a on a.id = i.attempt_id \
         where i.intent_id = any($1::bytea[]) and a.state = 'signed'";
    NOT_FINAL =
        "select distinct i.intent_id from attempt_items i join attempts a on a.id = i.attempt_id \
         where i.intent_id = any($1::bytea[]) and a.state in ('signed', 'mined')";
    REFUSALS =
        "select distinct on (a.signer, a.command, i.outcome) a.signer, a.command, i.outcome, i.intent_id \
         from attempts a join attempt_items i on i.attempt_id = a.id \
         where a.state in ('mined', 'final') and a.block_number > $2 and a.signer = any($1::bytea[]) \
         and i.outcome = any($3::text[]) \
         order by a.signer, a.command, i.outcome, a.id desc, i.position";
    // Items whose outcome takes effect when mined have left their attempt; those that wait for finality are still in it.
    // No later attempt may contain the item.
    WITH_FINAL_OUTCOME = concatcp!(
        "select i.attempt_id, i.message_id, i.intent_id, i.outcome from work_items w \
         join attempt_items i on i.message_id = w.message_id join attempts a on a.id = i.attempt_id \
         where w.state = 'in_attempt' and i.outcome is not null \
         and a.state in ('mined', 'final') and ", BLOCK_IS_FINAL, " \
         and not exists (select from attempt_items j join attempts b on b.id = j.attempt_id \
                         where j.message_id = w.message_id and (b.state = 'signed' or b.state in ('mined', 'final') \
                         and (b.block_number, b.nonce) > (a.block_number, a.nonce)))"
    );
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptItemRow {
    pub attempt_id: i64,
    pub message_id: MessageId,
    pub intent_id: IntentId,
    /// `None` while no block holds the attempt, or for a result that this code does not know.
    pub outcome: Option<ItemResult>,
}

/// The items of these attempts according to the rows; the signed bytes say what was really called.
pub async fn items(session: &impl DbSession, ids: &[i64]) -> Result<Vec<AttemptItemRow>, StorageError> {
    query(session, ITEMS, &[&ids])
        .await?
        .iter()
        .map(read_item)
        .collect()
}

pub async fn set_outcomes(
    tx: &DbTransaction<'_>,
    outcomes: &[(i64, MessageId, ItemResult)],
) -> Result<(), StorageError> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = outcomes.iter().map(|(id, ..)| *id).collect();
    let messages: Vec<Uuid> = outcomes.iter().map(|(_, message, _)| message.0).collect();
    let names: Vec<&str> = outcomes.iter().map(|(.., result)| result.name()).collect();
    execute(tx, SET_OUTCOMES, &[&ids, &messages, &names]).await?;
    Ok(())
}

/// Forgets the outcomes of attempts that a fork took back.
pub(super) async fn clear(tx: &DbTransaction<'_>, ids: &[i64]) -> Result<(), StorageError> {
    execute(tx, CLEAR_OUTCOMES, &[&ids]).await?;
    Ok(())
}

/// Those of the intents that have an attempt which is not mined, or whose block is not final.
pub async fn not_final(
    session: &impl DbSession,
    ids: &[IntentId],
) -> Result<HashSet<IntentId>, StorageError> {
    let rows = query(session, NOT_FINAL, &[&legs::bytes(ids)]).await?;
    legs::intent_ids(&rows, "attempt_items")
}

/// Those of the intents that have an unmined attempt.
pub async fn in_flight(
    session: &impl DbSession,
    ids: &[IntentId],
) -> Result<HashSet<IntentId>, StorageError> {
    let rows = query(session, IN_FLIGHT, &[&legs::bytes(ids)]).await?;
    legs::intent_ids(&rows, "attempt_items")
}

/// A refusal of an item of a key, by a mined transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    pub signer: [u8; 20],
    pub command: Command,
    pub cause: BreakerCause,
    /// One of the refused intents.
    pub intent_id: IntentId,
}

/// The distinct refusals of commands of these keys after that block, of those that open a breaker.
pub async fn refusals(
    session: &impl DbSession,
    signers: &[[u8; 20]],
    after: u64,
) -> Result<Vec<RefusalRow>, StorageError> {
    let signers: Vec<&[u8]> = signers.iter().map(<[u8; 20]>::as_slice).collect();
    let outcomes = BreakerCause::ALL.map(BreakerCause::name);
    let rows = query(
        session,
        REFUSALS,
        &[&signers, &to_bigint(after)?, &outcomes.as_slice()],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "attempt_items", "refusals");
            Ok(RefusalRow {
                signer: reader.bytes("signer")?,
                command: reader.parse("command")?,
                cause: reader
                    .parse::<ItemResult>("outcome")?
                    .breaker_cause()
                    .ok_or_else(|| reader.corrupt("outcome", &"opens no breaker"))?,
                intent_id: legs::intent_id(&reader)?,
            })
        })
        .collect()
}

/// Items that waited for finality and whose outcome is now in a final block.
pub async fn with_final_outcome(
    session: &impl DbSession,
    final_block: u64,
) -> Result<Vec<AttemptItemRow>, StorageError> {
    let rows = query(session, WITH_FINAL_OUTCOME, &[&to_bigint(final_block)?]).await?;
    rows.iter().map(read_item).collect()
}

fn read_item(row: &Row) -> Result<AttemptItemRow, StorageError> {
    let attempt_id: i64 = row.try_get("attempt_id")?;
    let reader = RowReader::new(row, "attempt_items", attempt_id);
    let intent: &[u8] = reader.get("intent_id")?;
    let outcome: Option<&str> = reader.get("outcome")?;
    Ok(AttemptItemRow {
        attempt_id,
        message_id: MessageId(reader.get("message_id")?),
        intent_id: IntentId::from_slice(intent).map_err(|e| reader.corrupt("intent_id", &e))?,
        outcome: outcome.and_then(|name| name.parse().ok()),
    })
}
